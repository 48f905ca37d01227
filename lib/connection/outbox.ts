import type { Transport } from './transport.ts'
import type { Flushable, Turn } from './turn.ts'

/** What one connection is still to be sent, bounded in bytes together with what its transport holds. */
export class Outbox implements Flushable {
  readonly #transport: Transport
  readonly #turn: Turn
  readonly #maxBytes: number
  readonly #onFull: () => void
  #frames: Uint8Array[] = []
  #bytes = 0
  #closed = false

  /** `onFull` is called once, when the bound is passed; the outbox is closed by then. */
  constructor(transport: Transport, turn: Turn, maxBytes: number, onFull: () => void) {
    this.#transport = transport
    this.#turn = turn
    this.#maxBytes = maxBytes
    this.#onFull = onFull
  }

  /**
   * Takes encoded frames, to be written with the others of this turn. It calls nobody: channels push while they walk
   * their members, and whoever is closed for being slow is closed when the frames are written.
   */
  push(frames: Uint8Array): void {
    if (this.#closed || this.#bytes > this.#maxBytes) return
    if (this.#frames.length === 0) this.#turn.addOutbox(this)
    this.#frames.push(frames)
    this.#bytes += frames.byteLength
  }

  flush(): void {
    if (this.#frames.length === 0) return
    const frames = this.#frames
    const overflown = this.#bytes > this.#maxBytes
    this.#frames = []
    this.#bytes = 0
    if (!overflown) this.#transport.write(frames)
    if (overflown || this.#transport.buffered() > this.#maxBytes) {
      this.close()
      this.#onFull()
    }
  }

  /** Drops what waits and takes no more. */
  close(): void {
    this.#closed = true
    this.#frames = []
    this.#bytes = 0
  }
}
