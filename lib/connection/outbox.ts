import type { Transport } from './transport.ts'
import type { Flushable, Turn } from './turn.ts'

/** Which channel frames are of, so that they can be taken back as long as they are ours. */
export interface Origin {
  readonly channel: string
  /** What is sent in place of a frame that is taken back; nothing where it is left out. */
  readonly instead?: () => Uint8Array
}

/** What all outboxes share. */
export interface OutboxParts {
  readonly turn: Turn
  readonly outboxBytes: number
}

/** Whose outbox it is. */
export interface OutboxOwner {
  readonly transport: Transport
  /** Called once, when the bound is passed; the outbox is closed by then. */
  outgrown(): void
}

interface Waiting {
  readonly frames: Uint8Array
  readonly origin: Origin | null
}

/**
 * What one connection is still to be sent, bounded in bytes together with what its transport holds. Most that are flushed
 * hold one batch, and most connections wait for nothing: neither costs an array.
 */
export class Outbox implements Flushable {
  readonly #parts: OutboxParts
  readonly #owner: OutboxOwner
  /** The owner's. */
  readonly #transport: Transport
  /** What was put into it so far. */
  messagesOut = 0
  bytesOut = 0
  #first: Uint8Array | null = null
  #firstOrigin: Origin | null = null
  /** Behind the first. */
  #rest: Waiting[] | null = null
  #bytes = 0
  #overflown = false
  #closed = false
  /** Channels of which the transport may still hold frames, one or more; only looked at while it holds any. */
  #handed: string | Set<string> | null = null

  constructor(parts: OutboxParts, owner: OutboxOwner) {
    this.#parts = parts
    this.#owner = owner
    this.#transport = owner.transport
  }

  /**
   * Takes encoded frames, to be written with the others of this turn. It calls nobody: channels push while they walk
   * their members, and whoever is closed for being slow is closed when the frames are written.
   */
  push(frames: Uint8Array, count: number, origin: Origin | null): void {
    this.messagesOut += count
    this.bytesOut += frames.byteLength
    this.#push(frames, origin)
  }

  #push(frames: Uint8Array, origin: Origin | null): void {
    if (this.#closed || this.#overflown) return
    if (this.#first === null) {
      this.#parts.turn.addOutbox(this)
      this.#first = frames
      this.#firstOrigin = origin
    } else if (this.#rest === null) this.#rest = [{ frames, origin }]
    else this.#rest.push({ frames, origin })
    this.#bytes += frames.byteLength
    this.#overflown = this.#bytes > this.#parts.outboxBytes
  }

  /** As `push`, of one piece, and written at once where nothing waits before it and that calls nobody either. */
  write(frames: readonly [Uint8Array], count: number, origin: Origin): void {
    const transport = this.#transport
    const { byteLength } = frames[0]
    if (this.#first !== null || byteLength > this.#parts.outboxBytes || !transport.quiet) {
      this.push(frames[0], count, origin)
      return
    }
    this.messagesOut += count
    this.bytesOut += byteLength
    if (this.#closed || this.#overflown) return
    if (this.#handed !== null && transport.buffered() === 0) this.#handed = null
    transport.write(frames)
    const buffered = transport.buffered()
    if (buffered === 0) return
    this.#note(origin.channel)
    this.#overflown = buffered > this.#parts.outboxBytes
    if (this.#overflown) this.#parts.turn.addOutbox(this)
  }

  flush(): void {
    const first = this.#first
    const overflown = this.#overflown
    if (first === null && !overflown) return
    const origin = this.#firstOrigin
    const rest = this.#rest
    this.#empty()
    const transport = this.#transport
    // Before it takes more, which it may hold to the end of the turn: what it held of other channels is gone.
    if (this.#handed !== null && transport.buffered() === 0) this.#handed = null
    if (first !== null && !overflown) {
      transport.write(rest === null ? [first] : [first, ...rest.map(({ frames }) => frames)])
    }
    const buffered = transport.buffered()
    if (buffered > 0) this.#remember(origin, rest)
    if (overflown || buffered > this.#parts.outboxBytes) {
      this.close()
      this.#owner.outgrown()
    }
  }

  /** Takes back what waits of a channel. What did not find room meanwhile is still missing: a full outbox stays full. */
  purge(channel: string): void {
    const first = this.#first
    if (first === null) return
    const waiting = [{ frames: first, origin: this.#firstOrigin }, ...(this.#rest ?? [])]
    const overflown = this.#overflown
    this.#empty()
    for (const { frames, origin } of waiting) {
      const kept = origin?.channel === channel ? origin.instead?.() : frames
      if (kept !== undefined) this.#push(kept, origin)
    }
    this.#overflown = overflown
  }

  /** Whether the transport may still hold frames of that channel. */
  holds(channel: string): boolean {
    const handed = this.#handed
    const known = typeof handed === 'string' ? handed === channel : handed?.has(channel) === true
    return known && this.#transport.buffered() > 0
  }

  /** Drops what waits and takes no more. */
  close(): void {
    this.#closed = true
    this.#empty()
  }

  #empty(): void {
    this.#first = null
    this.#firstOrigin = null
    this.#rest = null
    this.#bytes = 0
    this.#overflown = false
  }

  /** What a transport holds, it holds until it has nothing more. */
  #remember(origin: Origin | null, rest: readonly Waiting[] | null): void {
    if (origin !== null) this.#note(origin.channel)
    for (const { origin } of rest ?? []) if (origin !== null) this.#note(origin.channel)
  }

  /** Every connection gets its greeting before its transport starts, so that each notes one channel, and most no other. */
  #note(channel: string): void {
    if (this.#handed === null || this.#handed === channel) this.#handed = channel
    else if (typeof this.#handed === 'string') this.#handed = new Set([this.#handed, channel])
    else this.#handed.add(channel)
  }
}
