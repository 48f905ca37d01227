import type { Awaitable } from '../awaitable.ts'
import type { Broker, Entry } from '../broker/broker.ts'
import { isAddressed } from '../connection/address.ts'
import type { Connection } from '../connection/connection.ts'
import type { Delayed } from '../connection/delay-line.ts'
import { encodeText } from '../connection/frame.ts'
import type { Origin } from '../connection/outbox.ts'
import type { Turn } from '../connection/turn.ts'
import type { Clock, Timer } from '../protocol/clock.ts'
import { encodeFrame } from '../protocol/message.ts'
import type { Position } from '../protocol/position.ts'
import type { PresenceMember } from '../protocol/system.ts'
import { systemFrame } from '../protocol/system.ts'
import type { TrafficStats } from '../stats.ts'
import type { Resolved } from './definition.ts'
import type { Audience, FanOutOwner } from './fan-out.ts'
import { FanOut } from './fan-out.ts'
import type { FeedSink, LiveGap } from './feed.ts'
import { Feed } from './feed.ts'
import { Presence } from './presence.ts'
import type { Recovery } from './recovery.ts'
import { encodeSkip } from './recovery.ts'
import type { Replayed } from './replay.ts'
import { encodeEntry, Replay } from './replay.ts'
import type { Subscription } from './subscription.ts'

/**
 * For so long, in milliseconds for each member, members are not told again who is there: to tell one takes about a fifth of it. Where they are many
 * and everybody comes at once (after a restart, say), nobody could get in for telling.
 */
const PRESENCE_REST_MS = 0.05
/** A shorter rest is none: what changes in a small channel is told in the same turn. */
const MIN_PRESENCE_REST_MS = 10

const NO_PARAMS: Readonly<Record<string, string>> = Object.freeze({})

/** A user who is waited for. */
export interface Lost {
  readonly userId: string
  readonly departure: Delayed
}

/** What a channel is made of. */
export interface ChannelParts {
  readonly clock: Clock
  readonly turn: Turn
  readonly broker: Broker
  /** The store failed while nobody waited for it. */
  readonly failed: (error: unknown) => void
}

/** A name that connections join. It is there while it has members, or somebody is on the way in. */
export class Channel implements FeedSink, FanOutOwner {
  readonly name: string
  readonly resolved: Resolved | null
  readonly params: Readonly<Record<string, string>>
  /** Of all that is sent through it. */
  readonly origin: Origin
  /** Members that were lost and may be back in a moment, by session: till then their users are here. Null where there are none. */
  lost: Map<string, Lost> | null = null
  /** Connections on the way in, which count against the room. */
  arriving = 0
  readonly #parts: ChannelParts
  readonly #fanOut: FanOut
  /** Members that still read their past, and those about to be; with what follows null where there are none, as mostly. */
  #recoveries: Map<Subscription, Recovery> | null = null
  /** What those read. */
  #replay: Replay | null = null
  /** Null before the first user. */
  #presence: Presence | null = null
  /** Null in a channel without a log. */
  readonly #feed: Feed | null
  #started: Awaitable<void> | null = null
  #messagesIn = 0
  #bytesIn = 0
  /** Runs until members may be told again who is there. */
  #presenceRest: Timer | null = null

  constructor(name: string, resolved: Resolved | null, parts: ChannelParts) {
    this.name = name
    this.origin = { channel: name }
    this.resolved = resolved
    this.params = resolved?.params ?? NO_PARAMS
    this.#parts = parts
    this.#feed = (resolved?.definition.log ?? null) === null ? null : new Feed(name, parts.broker, parts.clock, this)
    this.#fanOut = new FanOut(this, parts.turn)
  }

  /** Users with at least one connection here, whether or not the members are told. */
  get presence(): Presence {
    this.#presence ??= new Presence(this.tellsPresence)
    return this.#presence
  }

  get members(): readonly Subscription[] {
    return this.#fanOut.members
  }

  /** From now on live entries are the recovery's to send. */
  recover(subscription: Subscription, recovery: Recovery): void {
    this.#recoveries ??= new Map()
    this.#recoveries.set(subscription, recovery)
  }

  /** From this very moment on live entries are for fan-out to send. */
  recovered(subscription: Subscription): void {
    this.#recoveries?.delete(subscription)
    if (this.#recoveries?.size === 0) this.#recoveries = this.#replay = null
  }

  /** A page of its log, for who reads its past. Rejects where the store fails. */
  read(after: Position, bytes: number): Promise<Replayed> {
    this.#replay ??= new Replay(this.name, this.#parts.broker, this.#parts.clock)
    return this.#replay.read(after, bytes, this.head!)
  }

  /** Whether its members are told who is there. */
  get tellsPresence(): boolean {
    const presence = this.resolved?.definition.rules.presence
    return presence !== undefined && presence !== false
  }

  /** What went through it until now. */
  get traffic(): TrafficStats {
    const { messagesOut, bytesOut } = this.#fanOut
    return { messagesIn: this.#messagesIn, bytesIn: this.#bytesIn, messagesOut, bytesOut }
  }

  /** A member's command has come. */
  countIn(bytes: number): void {
    this.#messagesIn++
    this.#bytesIn += bytes
  }

  /** The position up to which its members have been told everything; null where there is no log. */
  get head(): Position | null {
    return this.#feed?.head ?? null
  }

  /** Resolves once its members have been told everything up to a position that was committed. */
  reach(position: Position): Awaitable<void> {
    return this.#feed?.reach(position)
  }

  /** A commit to its log failed, and may have been stored all the same. */
  doubt(): void {
    this.#feed?.doubt()
  }

  get idle(): boolean {
    return this.members.length === 0 && this.arriving === 0 && this.lost === null
  }

  /** Listens to its log, once. Rejects or throws where the store fails; the next call tries anew. */
  start(): Awaitable<void> {
    if (this.#started !== null) return this.#started
    const started = this.#feed?.start()
    this.#started = started
    if (started instanceof Promise) {
      const forget = (): void => {
        this.#started = null
      }
      started.catch(forget)
    }
    return started
  }

  end(): void {
    this.#presenceRest?.cancel()
    this.#feed?.end()
  }

  /** A publication out of its log. */
  entry(entry: Entry): void {
    const frame = encodeEntry(entry)
    if (this.#recoveries === null && entry.except.length === 0) {
      this.publish(frame)
      return
    }
    const except = new Set<Connection>()
    for (const recovery of this.#recoveries?.values() ?? []) recovery.take(entry)
    for (const connection of this.#recovering()) except.add(connection)
    const skipped = new Set<Connection>()
    for (const { connection } of entry.except.length === 0 ? [] : this.members) {
      if (isAddressed(connection, entry.except) && !except.has(connection)) skipped.add(connection)
    }
    for (const connection of skipped) except.add(connection)
    // First: whatever is published meanwhile has to come after both.
    if (skipped.size > 0) this.#fanOut.add(encodeSkip(this.name, entry), { kind: 'channels.v1', only: skipped })
    this.publish(frame, { except })
  }

  /** Publications that are lost to the members; those that still read find out by themselves. */
  gap(gap: LiveGap): void {
    const except = new Set(this.#recovering())
    const frame = encodeText(encodeFrame(systemFrame('$gap', gap, { channel: this.name })))
    this.publish(frame, { kind: 'channels.v1', except })
  }

  /** Members that are not live yet; one that ended in the middle may have come back, and be live. */
  #recovering(): Connection[] {
    return [...(this.#recoveries?.keys() ?? [])]
      .filter(({ channel }) => channel === this)
      .map(({ connection }) => connection)
  }

  pause(ms: number): Promise<void> {
    return new Promise(resolve => void this.#parts.clock.after(ms, resolve))
  }

  failed(error: unknown): void {
    this.#parts.failed(error)
  }

  publish(frame: Uint8Array, audience?: Audience): void {
    this.#fanOut.publish(frame, audience)
  }

  /** Sends a frame to one member after everything published here so far. */
  reply(subscription: Subscription, frame: Uint8Array, origin: Origin | null): void {
    this.#fanOut.reply(subscription.connection, frame, origin)
  }

  /**
   * True where it is the user's first connection here. What was published before is not the new member's.
   * @throws what the presence rule throws; nothing has changed then
   */
  add(subscription: Subscription): boolean {
    const member = this.#member(subscription)
    this.#fanOut.admit(subscription)
    subscription.channel = this
    subscription.state = 'joined'
    if (member === null) return false
    const first = this.presence.add(member.id, member)
    if (first && this.tellsPresence) this.#fanOut.touch()
    return first
  }

  /** No member any more; its user is still here until `depart`. What was published before is the leaving member's. */
  remove(subscription: Subscription): void {
    this.#fanOut.dismiss(subscription)
    subscription.end()
  }

  /** The user of a removed member is gone. True where it was the user's last connection here. */
  depart({ profile }: Connection): boolean {
    if (profile === null) return false
    const last = this.presence.remove(profile.id)
    if (last && this.tellsPresence) this.#fanOut.touch()
    return last
  }

  /** What the others are told of this connection's user; null where it has none. */
  #member({ connection }: Subscription): PresenceMember | null {
    const { profile } = connection
    if (profile === null) return null
    const { id } = profile
    // Of a user who is here already the info is known.
    if (this.presence.has(id)) return { id }
    const definition = this.resolved?.definition
    const presence = definition?.rules.presence
    const info = typeof presence === 'function' ? presence(profile, connection) : namedInfo(profile.name)
    if (this.tellsPresence) definition!.assertPresence(info)
    // It has to have a JSON form, now and whenever it is told: so that form is what is kept.
    const text: string | undefined = JSON.stringify(info)
    return text === undefined ? { id } : { id, info: JSON.parse(text) }
  }

  /** Tells its members who has come and gone. */
  beforeBatch(): void {
    if (this.#presenceRest !== null) return
    const diff = this.presence.takeDiff()
    if (diff === null || this.members.length === 0 || !this.tellsPresence) return
    const frame = encodeText(encodeFrame(systemFrame('$presence', diff, { channel: this.name })))
    this.publish(frame, { kind: 'channels.v1' })
    for (const { id } of diff.joins) this.#tellOnline(id, true)
    for (const { id } of diff.leaves) this.#tellOnline(id, false)
    this.#restPresence()
  }

  #restPresence(): void {
    const restMs = this.members.length * PRESENCE_REST_MS
    if (restMs < MIN_PRESENCE_REST_MS) return
    this.#presenceRest = this.#parts.clock.after(restMs, () => {
      this.#presenceRest = null
      this.#fanOut.touch()
    })
  }

  /** The same news in the words that a plain client knows. */
  #tellOnline(userID: string, connected: boolean): void {
    const param = { userID, connected }
    this.publish(encodeText(encodeFrame({ channel: this.name, cmd: 'online-update', param })), { kind: 'plain' })
  }
}

function namedInfo(name: string | undefined): { name: string } | undefined {
  return name === undefined ? undefined : { name }
}
