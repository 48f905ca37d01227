import type { Broker, Entry, ReadResult } from '../broker/broker.ts'
import { PAGE_ENTRIES } from '../broker/broker.ts'
import { encodeText } from '../connection/frame.ts'
import type { Clock } from '../protocol/clock.ts'
import { withPlace } from '../protocol/message.ts'
import type { Position } from '../protocol/position.ts'
import { samePosition } from '../protocol/position.ts'

/** Pages that are kept for others; each is as large as a page may be. */
const MAX_PAGES = 8
/** Milliseconds for which one is: what a log trims by age must not be sent much later. */
const KEEP_MS = 1_000

/** What was read, for whoever asked for it. */
export interface Replayed {
  readonly result: ReadResult
  /** All of the page's publications, as those get them whom none of them leaves out. */
  readonly frames: Uint8Array
  /** Whom some of the page's publications leave out. */
  readonly except: readonly string[]
}

interface Kept {
  readonly after: Position
  readonly bytes: number
  readonly readAt: number
  /** The channel's head when the reading began. */
  readonly head: Position
  readonly reading: Promise<Replayed>
  /** Whether it brought something: then it is of use whatever has come since. */
  brought: boolean
}

/**
 * Reads a channel's log for those who come back. After a restart all of them do, most with the same position: a page that
 * several ask for is read once, and encoded once.
 */
export class Replay {
  readonly #channel: string
  readonly #broker: Broker
  readonly #clock: Clock
  /** The oldest first. */
  #kept: Kept[] = []

  constructor(channel: string, broker: Broker, clock: Clock) {
    this.#channel = channel
    this.#broker = broker
    this.#clock = clock
  }

  /** A page after that position. Rejects where the store fails. `head` is what has been delivered here by now. */
  read(after: Position, bytes: number, head: Position): Promise<Replayed> {
    const now = this.#clock.monotonic()
    this.#kept = this.#kept.filter(({ readAt }) => now - readAt < KEEP_MS)
    const isSame = (kept: Kept): boolean =>
      kept.bytes === bytes && samePosition(kept.after, after) && (kept.brought || samePosition(kept.head, head))
    const known = this.#kept.find(isSame)
    return known === undefined ? this.#read(after, bytes, head, now) : known.reading
  }

  #read(after: Position, bytes: number, head: Position, readAt: number): Promise<Replayed> {
    const kept: Kept = { after, bytes, readAt, head, reading: this.#ask(after, bytes), brought: false }
    this.#kept.push(kept)
    if (this.#kept.length > MAX_PAGES) this.#kept.shift()
    const brought = ({ result }: Replayed): void => {
      kept.brought = result.kind === 'page' && result.entries.length > 0
    }
    const forget = (): void => {
      this.#kept = this.#kept.filter(other => other !== kept)
    }
    kept.reading.then(brought, forget)
    return kept.reading
  }

  async #ask(after: Position, bytes: number): Promise<Replayed> {
    const ask = async () => this.#broker.read(this.#channel, { after }, { entries: PAGE_ENTRIES, bytes })
    // Once more: all who share the page would be told of a gap, though a store whose thread died has another one already.
    const result = await ask().catch(ask)
    const entries = result.kind === 'page' ? result.entries : []
    const frames = Buffer.concat(entries.map(encodeEntry))
    return { result, frames, except: [...new Set(entries.flatMap(entry => entry.except))] }
  }
}

/** The bytes of a publication: the same in a replay as live. */
export function encodeEntry({ text, offset, tag }: Entry): Uint8Array {
  return encodeText(withPlace(text, offset, tag))
}
