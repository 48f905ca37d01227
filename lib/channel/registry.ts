import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Broker } from '../broker/broker.ts'
import type { Connection } from '../connection/connection.ts'
import { encodeText } from '../connection/frame.ts'
import type { Origin } from '../connection/outbox.ts'
import type { Turn } from '../connection/turn.ts'
import { storeFailed } from '../errors.ts'
import type { Observer } from '../observer.ts'
import type { Clock } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import type { Frame } from '../protocol/message.ts'
import { encodeFrame } from '../protocol/message.ts'
import type { Outcome, Position } from '../protocol/position.ts'
import { samePosition } from '../protocol/position.ts'
import type { JoinedBy, LeaveReason } from '../protocol/system.ts'
import { systemFrame } from '../protocol/system.ts'
import type { ServiceStats } from '../stats.ts'
import type { ChannelParts } from './channel.ts'
import { Channel } from './channel.ts'
import type { Definitions, Resolved } from './definition.ts'
import { Departures } from './departures.ts'
import type { Audience } from './fan-out.ts'
import { Recovery } from './recovery.ts'
import { Subscription } from './subscription.ts'

/** Where a joining client wants to go on from; `over-limit` where it had a position and no room to tell it. */
export type Since = Position | 'over-limit' | null

/** This node's channels, and who is in them. */
export class Channels {
  readonly definitions: Definitions
  readonly #observer: Observer
  readonly #byName = new Map<string, Channel>()
  readonly #parts: ChannelParts
  readonly #departures: Departures

  constructor(clock: Clock, definitions: Definitions, turn: Turn, observer: Observer, broker: Broker, graceMs: number) {
    this.#parts = { clock, turn, broker, failed: error => observer.failed(error, null) }
    this.#departures = new Departures(clock, graceMs, observer, channel => this.#forgetIdle(channel))
    this.definitions = definitions
    this.#observer = observer
  }

  get size(): number {
    return this.#byName.size
  }

  get(name: string): Channel | undefined {
    return this.#byName.get(name)
  }

  all(): IterableIterator<Channel> {
    return this.#byName.values()
  }

  /** What the contract says of a name. */
  resolve(name: string): Resolved | null {
    const channel = this.#byName.get(name)
    return channel === undefined ? this.definitions.resolve(name) : channel.resolved
  }

  /** What went through each channel, and how many connections it has. */
  stats(): ServiceStats['perChannel'] {
    return Object.fromEntries(
      [...this.all()].map(({ name, traffic, members }) => [name, { ...traffic, connections: members.length }])
    )
  }

  /** Notes that a connection is on its way into a channel. */
  expect(connection: Connection, name: string, by: JoinedBy): Subscription {
    const subscription = new Subscription(name, connection, by)
    connection.memberships.add(subscription)
    return subscription
  }

  /** Sends encoded messages to a channel's members, of whom there may be none. */
  publish(name: string, frame: Uint8Array, audience?: Audience): void {
    this.#byName.get(name)?.publish(frame, audience)
  }

  /** Resolves once the channel's members have been told everything up to a position that was committed. */
  reach(name: string, position: Position): Awaitable<void> {
    return this.#byName.get(name)?.reach(position)
  }

  /** Whether one more connection may join, by the channel's own limit. */
  hasRoom(name: string): boolean {
    const channel = this.#byName.get(name)
    const limit = channel?.resolved?.definition.rules.limits?.connections ?? 0
    return channel === undefined || limit === 0 || channel.members.length + channel.arriving < limit
  }

  /** The whole of a join that nobody has to decide: in the subscription's turn, and `onJoin` after it. */
  join(subscription: Subscription, since: Since): Awaitable<void> {
    let entered: Awaitable<void>
    subscription.run(() => {
      entered = this.#enterOrClose(subscription, since)
      return chain(entered, () => this.greet(subscription))
    })
    return entered!
  }

  /** Without its channel such a connection is of no use; its client may try another node, or later. */
  #enterOrClose(subscription: Subscription, since: Since): Awaitable<void> {
    const fail = (error: unknown): void => {
      this.#observer.failed(error, subscription.connection)
      this.leave(subscription, 'server')
      const { code, reason } = closeCode('try-again-later')
      subscription.connection.close(code, reason)
    }
    const entered = (): void => {
      if (subscription.overtaken && !subscription.admitted) this.leave(subscription, 'revoked')
    }
    try {
      const entering = this.enter(subscription, since)
      return entering instanceof Promise ? entering.then(entered).catch(fail) : entered()
    } catch (error) {
      return fail(error)
    }
  }

  /**
   * The end of the way: member from now on, told so first of all, and sent what it missed. Must run in the subscription's
   * turn, and `greet` after it. Does nothing where nobody wants it any more, or a revocation has overtaken it.
   * @throws or rejects with FST_CHANNELS_STORE_FAILED
   */
  enter(subscription: Subscription, since: Since, ref?: number): Awaitable<void> {
    const { name } = subscription
    const known = this.#byName.get(name)
    const channel = known ?? new Channel(name, this.definitions.resolve(name), this.#parts)
    this.#byName.set(name, channel)
    channel.arriving++
    const arrived = (): void => {
      channel.arriving--
      this.#forgetIdle(channel)
    }
    const fail = (error: unknown): never => {
      arrived()
      throw storeFailed(error)
    }
    let started: Awaitable<void>
    try {
      started = channel.start()
    } catch (error) {
      return fail(error)
    }
    const admit = (): Awaitable<void> => this.#admit(channel, subscription, since, arrived, ref)
    return started instanceof Promise ? started.then(admit, fail) : admit()
  }

  #admit(
    channel: Channel,
    subscription: Subscription,
    since: Since,
    arrived: () => void,
    ref: number | undefined
  ): Awaitable<void> {
    const { head } = channel
    const { connection } = subscription
    const take = (outcome: Outcome, position: Position | null): boolean => {
      const wanted = subscription.state === 'joining' && !subscription.overtaken && connection.open
      const taken = wanted && this.#take(channel, subscription)
      arrived()
      if (taken) {
        connection.cameWith?.joined(channel.name)
        subscription.admitted = true
        this.#tell(subscription, outcome, position, ref)
        this.#observer.joined(connection, channel.name, subscription.by)
      }
      return taken
    }
    if (head === null || connection.kind === 'plain' || since === null) void take({ kind: 'fresh' }, head)
    else if (since === 'over-limit') void take({ kind: 'gap', to: head.offset, reason: since }, head)
    else if (samePosition(since, head)) void take({ kind: 'recovered', from: head.offset, to: head.offset }, head)
    else {
      let done = false
      const recovery = new Recovery(channel, subscription, since, (outcome, position) => {
        done = true
        return take(outcome, position)
      })
      return recovery.run().finally(() => {
        if (!done) arrived()
      })
    }
  }

  /** False where the presence rule would not have it: then the connection is closed. */
  #take(channel: Channel, subscription: Subscription): boolean {
    try {
      subscription.first = channel.add(subscription)
      channel.lost?.get(subscription.connection.session)?.departure.run()
      return true
    } catch (error) {
      void this.#observer.run(subscription.connection, () => {
        throw error
      })
      return false
    }
  }

  /** Runs the channel's `onJoin` for who has just entered. */
  greet(subscription: Subscription): Awaitable<void> {
    const { channel, connection, by, first } = subscription
    const onJoin = channel?.resolved?.definition.rules.onJoin
    if (channel === null || onJoin === undefined) return
    const event = { channel: channel.name, params: channel.params, connection, by, first }
    return this.#observer.run(connection, () => onJoin(event))
  }

  /** Tells a member once more that it is one: it has been told everything up to the head. */
  confirm(subscription: Subscription, ref: number): void {
    const { head } = subscription.channel!
    const outcome: Outcome =
      head === null ? { kind: 'fresh' } : { kind: 'recovered', from: head.offset, to: head.offset }
    this.#tell(subscription, outcome, head, ref)
  }

  #tell(subscription: Subscription, outcome: Outcome, head: Position | null, ref: number | undefined): void {
    const channel = subscription.channel!
    if (subscription.connection.kind === 'plain') return
    const { by } = subscription
    const at = ref === undefined ? { channel: channel.name } : { channel: channel.name, ref }
    const param = head === null ? { by, outcome } : { by, position: head, outcome }
    const bare = systemFrame('$joined', param, at)
    if (!channel.tellsPresence) this.reply(subscription, bare, bare)
    // Who is there is not for somebody who has to leave before it was told.
    else this.reply(subscription, systemFrame('$joined', { ...param, presence: channel.presence.state() }, at), bare)
  }

  #forgetIdle(channel: Channel): void {
    if (!channel.idle || this.#byName.get(channel.name) !== channel) return
    this.#byName.delete(channel.name)
    channel.end()
  }

  /** Ends a membership, or the way to one. Nothing of the channel reaches the connection after `$left`. */
  leave(subscription: Subscription, reason: LeaveReason, ref?: number): void {
    const { channel, connection, name } = subscription
    // A hook may have ended it first, and have joined the connection anew.
    if (subscription.state === 'ended') return
    connection.memberships.delete(name)
    if (channel === null) {
      subscription.end()
      if (reason === 'revoked') this.#tellLeft(connection, name, reason)
      return
    }
    channel.remove(subscription)
    if (reason === 'revoked') connection.outbox.purge(name)
    this.#tellLeft(connection, name, reason, ref)
    this.#observer.left(connection, name, reason)
    this.#departures.leave(channel, connection, reason)
  }

  /** From now on nobody who was lost is waited for. */
  close(): void {
    this.#departures.close()
  }

  #tellLeft(connection: Connection, channel: string, reason: LeaveReason, ref?: number): void {
    if (!connection.open || connection.kind === 'plain') return
    connection.sendFrame(systemFrame('$left', { reason }, { channel, ...(ref === undefined ? {} : { ref }) }))
  }

  leaveAll(connection: Connection): void {
    for (const membership of connection.memberships.all()) this.leave(membership as Subscription, 'closed')
  }

  /**
   * Sends one member a frame that must not overtake what was published on its channel before. `instead` is what it gets
   * where access is revoked before that was written.
   */
  reply(subscription: Subscription, frame: Frame, instead: Frame): void {
    this.replyText(subscription, encodeFrame(frame), instead)
  }

  replyText(subscription: Subscription, text: string, instead: Frame): void {
    const origin = { channel: subscription.name, instead: () => encodeText(encodeFrame(instead)) }
    this.replyEncoded(subscription, encodeText(text), origin)
  }

  replyEncoded(subscription: Subscription, encoded: Uint8Array, origin: Origin | null): void {
    // A member that left and came back while its command ran is owed what the command published there.
    const channel = subscription.channel ?? this.#byName.get(subscription.name)
    if (channel === undefined) subscription.connection.sendEncoded(encoded, 1, origin)
    else channel.reply(subscription, encoded, origin)
  }
}
