import type { Transport } from './transport.ts'
import type { Flushable, Turn } from './turn.ts'

/** Above this many bytes an outbox is written before its turn ends, so that a long loop does not hold them all. */
const EARLY_FLUSH_BYTES = 64 * 1024

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

  /** Takes encoded frames, to be written with the others of this turn. */
  push(frames: Uint8Array): void {
    if (this.#closed) return
    this.#frames.push(frames)
    this.#bytes += frames.byteLength
    if (this.#frames.length === 1) this.#turn.addOutbox(this)
    if (this.#bytes >= EARLY_FLUSH_BYTES) this.flush()
  }

  flush(): void {
    if (this.#frames.length === 0) return
    const frames = this.#frames
    this.#frames = []
    this.#bytes = 0
    this.#transport.write(frames)
    if (this.#transport.buffered() > this.#maxBytes) {
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
