import type { Entry } from '../broker/broker.ts'
import { PAGE_ENTRIES } from '../broker/broker.ts'
import { isAddressed } from '../connection/address.ts'
import { encodeText } from '../connection/frame.ts'
import { encodeFrame, withPlace } from '../protocol/message.ts'
import type { GapReason, Outcome, Position } from '../protocol/position.ts'
import { gapStart, samePosition } from '../protocol/position.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Channel } from './channel.ts'
import type { Replayed } from './replay.ts'
import { encodeEntry } from './replay.ts'
import type { Subscription } from './subscription.ts'

/** Milliseconds until the log is read again where the last reading brought nothing new. */
const RETRY_MS = 100

/** Makes the subscription a member and tells it so; false where that came to nothing. */
export type Admit = (outcome: Outcome, position: Position) => boolean

/**
 * Brings one subscription from the position that its client has to the live end: reads the log page by page, at the pace
 * of the peer, holds back what is published meanwhile, and joins the two where the one follows on the other.
 */
export class Recovery {
  readonly #channel: Channel
  readonly #subscription: Subscription
  readonly #admit: Admit
  /** Live entries since the last reading began; null where there were too many to hold. */
  #held: Entry[] | null = []
  #heldLength = 0
  /** Characters that were sent since then. */
  #sent = 0
  #at: Position
  #admitted = false

  constructor(channel: Channel, subscription: Subscription, position: Position, admit: Admit) {
    this.#channel = channel
    this.#subscription = subscription
    this.#at = position
    this.#admit = admit
  }

  /** Takes a live entry of the channel. */
  take(entry: Entry): void {
    if (this.#held === null) return
    this.#heldLength += entry.text.length
    if (this.#held.length < PAGE_ENTRIES && this.#heldLength <= this.#subscription.connection.pageBytes) {
      this.#held.push(entry)
    } else this.#held = null
  }

  /** Resolves when the subscription is live, or has ended. */
  async run(): Promise<void> {
    this.#channel.recover(this.#subscription, this)
    try {
      for (let before: Position | null = null; ; before = this.#at) {
        const more = await this.#subscription.connection.sendPage(() => this.#turn())
        if (!more) return
        // The log may be ahead of what has been delivered here: there is nothing to join before that has come.
        await this.#channel.reach(this.#at)
        // Node and log do not agree yet on what is the head.
        if (this.#at === before) await this.#channel.pause(RETRY_MS)
      }
    } finally {
      this.#channel.recovered(this.#subscription)
    }
  }

  /** One page. False where there is nothing more to do. */
  async #turn(): Promise<boolean> {
    this.#held = []
    this.#heldLength = this.#sent = 0
    const replayed = await this.#read()
    if (this.#ended) return false
    // Delivery must not go on before the place where the client stands: it would get again what it has.
    if (replayed === 'failed') return this.#isAhead || this.#lose('store-error')
    const { result } = replayed
    if (result.kind === 'lost') {
      await this.#channel.reach(result.head)
      return !this.#ended && this.#lose(result.reason)
    }
    if (!this.#enter({ kind: 'recovered', from: this.#at.offset, to: result.head.offset })) return false
    this.#sendAll(result.entries, replayed)
    return !(result.complete && this.#join())
  }

  async #read(): Promise<Replayed | 'failed'> {
    try {
      return await this.#channel.read(this.#at, this.#subscription.connection.pageBytes)
    } catch (error) {
      this.#channel.failed(error)
      return 'failed'
    }
  }

  get #ended(): boolean {
    const { state, connection } = this.#subscription
    return !connection.open || state === 'ended'
  }

  /** Whether the client has more than has been delivered here; or says so, which only the log can tell. */
  get #isAhead(): boolean {
    const head = this.#channel.head!
    return this.#at.epoch === head.epoch && this.#at.offset > head.offset
  }

  #enter(outcome: Outcome): boolean {
    if (this.#admitted) return true
    this.#admitted = true
    return this.#admit(outcome, outcome.kind === 'recovered' ? this.#at : this.#channel.head!)
  }

  /** Goes live where everything up to the head has been sent; false where the log has to be read once more. */
  #join(): boolean {
    // One that is larger than a page went alone.
    if (this.#sent + this.#heldLength > 2 * this.#subscription.connection.pageBytes) return false
    for (const entry of this.#held ?? []) {
      if (entry.offset <= this.#at.offset) continue
      if (entry.offset !== this.#at.offset + 1 || entry.prev !== this.#at.tag) return false
      this.#send(entry)
    }
    if (!samePosition(this.#at, this.#channel.head!)) return false
    this.#channel.recovered(this.#subscription)
    return true
  }

  /** What is missing is told, and delivery goes on from the channel's head, in this turn. */
  #lose(reason: GapReason): false {
    const position = this.#channel.head!
    const from = this.#at
    this.#channel.recovered(this.#subscription)
    const since = gapStart(from, position)
    if (this.#admitted) {
      const gap = { ...since, to: position.offset, reason, position }
      const frame = encodeFrame(systemFrame('$gap', gap, { channel: this.#channel.name }))
      this.#subscription.connection.sendEncoded(encodeText(frame), 1, this.#channel.origin)
      return false
    }
    this.#enter({ kind: 'gap', ...since, to: position.offset, reason })
    return false
  }

  /** A page in one piece, unless some of it is not for this one. */
  #sendAll(entries: readonly Entry[], { frames, except }: Replayed): void {
    const { connection } = this.#subscription
    const last = entries.at(-1)
    if (last === undefined) return
    if (isAddressed(connection, except)) {
      for (const entry of entries) this.#send(entry)
      return
    }
    this.#at = { epoch: this.#at.epoch, offset: last.offset, tag: last.tag }
    for (const { text } of entries) this.#sent += text.length
    connection.sendEncoded(frames, entries.length, this.#channel.origin)
  }

  #send(entry: Entry): void {
    const { connection } = this.#subscription
    this.#at = { epoch: this.#at.epoch, offset: entry.offset, tag: entry.tag }
    this.#sent += entry.text.length
    const frame = isAddressed(connection, entry.except) ? encodeSkip(this.#channel.name, entry) : encodeEntry(entry)
    connection.sendEncoded(frame, 1, this.#channel.origin)
  }
}

/** What stands in a publication's place for those that it is not for. */
export function encodeSkip(channel: string, { offset, tag }: Entry): Uint8Array {
  return encodeText(withPlace(encodeFrame(systemFrame('$skip', undefined, { channel })), offset, tag))
}
