import type { Connection } from '../connection/connection.ts'
import { encodeText } from '../connection/frame.ts'
import type { OutgoingMessage } from '../connection/publication.ts'
import { encodeMessage } from '../connection/publication.ts'
import type { Turn } from '../connection/turn.ts'
import type { Observer } from '../observer.ts'
import type { Frame } from '../protocol/message.ts'
import { encodeFrame } from '../protocol/message.ts'
import type { JoinedBy, LeaveReason } from '../protocol/system.ts'
import { systemFrame } from '../protocol/system.ts'
import type { ServiceStats } from '../stats.ts'
import { Channel } from './channel.ts'
import type { Definitions } from './definition.ts'
import type { Audience } from './fan-out.ts'
import { Subscription } from './subscription.ts'

/** What is asked of messages before they go out. */
export interface Publishing {
  /** Largest message, in bytes of its encoded frame. */
  readonly messageBytes: number
  /** Whether events are held against the contract. */
  readonly checkEvents: boolean
}

/** This node's channels, and who is in them. */
export class Channels {
  readonly definitions: Definitions
  readonly #publishing: Publishing
  readonly #turn: Turn
  readonly #observer: Observer
  readonly #byName = new Map<string, Channel>()

  constructor(definitions: Definitions, turn: Turn, observer: Observer, publishing: Publishing) {
    this.#publishing = publishing
    this.definitions = definitions
    this.#turn = turn
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

  /** What went through each channel, and how many connections it has. */
  stats(): ServiceStats['perChannel'] {
    return Object.fromEntries(
      [...this.all()].map(({ name, traffic, members }) => [name, { ...traffic.toJSON(), connections: members.length }])
    )
  }

  /**
   * The bytes of a message for a channel's members.
   * @throws as encodeMessage; FST_CHANNELS_UNKNOWN_EVENT and FST_CHANNELS_INVALID_EVENT where events are checked
   */
  encode(through: string, message: OutgoingMessage): Buffer {
    const frame = encodeMessage(through, message, this.#publishing.messageBytes)
    if (this.#publishing.checkEvents) {
      this.definitions.resolve(message.channel ?? through)?.definition.assertEvent(message.cmd, message.param)
    }
    return frame
  }

  /** Sends encoded messages to a channel's members, of whom there may be none. */
  publish(name: string, frame: Uint8Array, audience?: Audience): void {
    this.#byName.get(name)?.publish(frame, audience)
  }

  /** Notes that a connection is on its way into a channel. */
  expect(connection: Connection, name: string, by: JoinedBy): Subscription {
    const subscription = new Subscription(name, connection, by)
    connection.memberships.set(name, subscription)
    return subscription
  }

  /** Whether one more connection may join, by the channel's own limit. */
  hasRoom(name: string): boolean {
    const channel = this.#byName.get(name)
    const limit = channel?.resolved?.definition.rules.limits?.connections ?? 0
    return channel === undefined || limit === 0 || channel.members.length < limit
  }

  /** The end of the way: member from now on, told so first of all. */
  join(subscription: Subscription, ref?: number): void {
    const { name, connection } = subscription
    if (subscription.state !== 'joining' || !connection.open) return
    const channel = this.#byName.get(name) ?? new Channel(name, this.definitions.resolve(name), this.#turn)
    let first: boolean
    try {
      first = channel.add(subscription)
    } catch (error) {
      this.#observer.run(connection, () => {
        throw error
      })
      return
    }
    this.#byName.set(name, channel)
    this.confirm(subscription, ref)
    this.#observer.joined(connection, name, subscription.by)
    const onJoin = channel.resolved?.definition.rules.onJoin
    if (onJoin === undefined) return
    const { by } = subscription
    const event = { channel: name, params: channel.params, connection, by, first }
    subscription.lane.run(() => this.#observer.run(connection, () => onJoin(event)))
  }

  /** Tells a connection that it is a member, with all that goes with it. */
  confirm(subscription: Subscription, ref?: number): void {
    const channel = subscription.channel!
    if (subscription.connection.kind === 'plain') return
    const presence = channel.tellsPresence ? { presence: channel.presence.state() } : {}
    const at = { channel: channel.name, ...(ref === undefined ? {} : { ref }) }
    const frame = systemFrame('$joined', { by: subscription.by, outcome: { kind: 'fresh' }, ...presence }, at)
    this.reply(subscription, frame)
  }

  /** Ends a membership, or the way to one. Nothing of the channel reaches the connection after `$left`. */
  leave(subscription: Subscription, reason: LeaveReason, ref?: number): void {
    const { channel, connection, name } = subscription
    // A hook may have ended it first, and have joined the connection anew.
    if (subscription.state === 'ended') return
    connection.memberships.delete(name)
    if (channel === null) {
      subscription.end()
      return
    }
    const last = channel.remove(subscription)
    if (channel.members.length === 0) this.#byName.delete(name)
    if (connection.open && connection.kind !== 'plain') {
      connection.sendFrame(systemFrame('$left', { reason }, { channel: name, ...(ref === undefined ? {} : { ref }) }))
    }
    this.#observer.left(connection, name, reason)
    const onLeave = channel.resolved?.definition.rules.onLeave
    if (onLeave === undefined) return
    const event = { channel: name, params: channel.params, connection, reason, last }
    void this.#observer.watch(connection, () => onLeave(event))
  }

  leaveAll(connection: Connection): void {
    for (const membership of [...connection.memberships.values()]) this.leave(membership as Subscription, 'closed')
  }

  /** Sends one member a frame that must not overtake what was published on its channel before. */
  reply(subscription: Subscription, frame: Frame): void {
    this.replyEncoded(subscription, encodeText(encodeFrame(frame)))
  }

  replyEncoded(subscription: Subscription, encoded: Uint8Array): void {
    // A member that left and came back while its command ran is owed what the command published there.
    const channel = subscription.channel ?? this.#byName.get(subscription.name)
    if (channel === undefined) subscription.connection.sendEncoded(encoded, 1)
    else channel.reply(subscription, encoded)
  }
}
