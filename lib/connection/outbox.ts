import type { Transport } from './transport.ts'
import type { Flushable, Turn } from './turn.ts'

/** Which channel frames are of, so that they can be taken back as long as they are ours. */
export interface Origin {
  readonly channel: string
  /** What is sent in place of a frame that is taken back; nothing where it is left out. */
  readonly instead?: () => Uint8Array
}

/** What one connection is still to be sent, bounded in bytes together with what its transport holds. */
export class Outbox implements Flushable {
  readonly #transport: Transport
  readonly #turn: Turn
  readonly #maxBytes: number
  readonly #onFull: () => void
  #frames: Uint8Array[] = []
  /** One for each of the frames. */
  #origins: Array<Origin | null> = []
  #bytes = 0
  #overflown = false
  #closed = false
  /** Channels of which the transport may still hold frames; only looked at while it holds any. */
  readonly #handed = new Set<string>()

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
  push(frames: Uint8Array, origin: Origin | null): void {
    if (this.#closed || this.#overflown) return
    if (this.#frames.length === 0) this.#turn.addOutbox(this)
    this.#frames.push(frames)
    this.#origins.push(origin)
    this.#bytes += frames.byteLength
    this.#overflown = this.#bytes > this.#maxBytes
  }

  flush(): void {
    if (this.#frames.length === 0 && !this.#overflown) return
    const frames = this.#frames
    const origins = this.#origins
    const overflown = this.#overflown
    this.#empty()
    if (!overflown) this.#transport.write(frames)
    const buffered = this.#transport.buffered()
    this.#remember(buffered > 0 ? origins : null)
    if (overflown || buffered > this.#maxBytes) {
      this.close()
      this.#onFull()
    }
  }

  /** Takes back what waits of a channel. What did not find room meanwhile is still missing: a full outbox stays full. */
  purge(channel: string): void {
    const frames = this.#frames
    const origins = this.#origins
    const overflown = this.#overflown
    this.#empty()
    frames.forEach((frame, i) => {
      const origin = origins[i]!
      const kept = origin?.channel === channel ? origin.instead?.() : frame
      if (kept !== undefined) this.push(kept, origin)
    })
    this.#overflown = overflown
  }

  /** Whether the transport may still hold frames of that channel. */
  holds(channel: string): boolean {
    return this.#handed.has(channel) && this.#transport.buffered() > 0
  }

  /** Drops what waits and takes no more. */
  close(): void {
    this.#closed = true
    this.#empty()
  }

  #empty(): void {
    this.#frames = []
    this.#origins = []
    this.#bytes = 0
    this.#overflown = false
  }

  /** What a transport holds, it holds until it has nothing more. */
  #remember(origins: ReadonlyArray<Origin | null> | null): void {
    if (origins === null) {
      if (this.#handed.size > 0) this.#handed.clear()
      return
    }
    for (const origin of origins) if (origin !== null) this.#handed.add(origin.channel)
  }
}
