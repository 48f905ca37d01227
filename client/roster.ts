import type { Frame } from '../lib/protocol/message.ts'
import type { LeaveReason, PresenceMember, PresenceState } from '../lib/protocol/system.ts'
import type { Gap, Joined } from './channel.ts'
import type { ChannelError } from './errors.ts'
import type { SubscriptionHost } from './subscription.ts'
import { paramOf, Subscription } from './subscription.ts'

/** The channels of a socket: those that the application asked for, and those that route or server joined. */
export class Roster {
  #host: SubscriptionHost
  #channels = new Map<string, Subscription>()
  /** What this connection is a member of, whoever joined it. */
  #members = new Set<string>()
  /** Names that the application holds a channel of. The others are forgotten with their membership. */
  #held = new Set<string>()

  constructor(host: Omit<SubscriptionHost, 'isMember' | 'noMember'>) {
    const isMember = (name: string): boolean => this.#members.has(name)
    const noMember = (name: string): void => void this.#members.delete(name)
    this.#host = { ...host, isMember, noMember }
  }

  find(name: string): Subscription | undefined {
    return this.#channels.get(name)
  }

  /** The channel of that name, for the application to keep. */
  hold(name: string): Subscription {
    this.#held.add(name)
    return this.#at(name)
  }

  joined(name: string, frame: Frame): void {
    const { by, outcome, position, presence } = paramOf(frame) as unknown as Joined & { presence?: PresenceState }
    if (typeof outcome?.kind !== 'string') throw new TypeError('$joined without an outcome')
    this.#members.add(name)
    this.#at(name).entered({ by, outcome, ...(position === undefined ? {} : { position }) }, presence)
  }

  left(name: string, frame: Frame): void {
    this.#members.delete(name)
    this.#channels.get(name)?.exited(paramOf(frame).reason as LeaveReason, frame.ref !== undefined)
    this.#forget(name)
  }

  presence(name: string, frame: Frame): void {
    const { joins, leaves } = paramOf(frame) as Record<string, PresenceMember[]>
    this.#channels.get(name)?.presenceChanged(joins ?? [], leaves ?? [])
  }

  gap(name: string, frame: Frame): void {
    this.#channels.get(name)?.gap(paramOf(frame) as unknown as Gap)
  }

  linkUp(): void {
    for (const channel of this.#channels.values()) channel.linkUp()
  }

  linkLost(): void {
    this.#members.clear()
    for (const [name, channel] of [...this.#channels]) {
      channel.linkLost()
      this.#forget(name)
    }
  }

  socketClosed(error: ChannelError): void {
    for (const channel of this.#channels.values()) channel.socketClosed(error)
  }

  #at(name: string): Subscription {
    let channel = this.#channels.get(name)
    if (channel === undefined) {
      channel = new Subscription(name, this.#host)
      this.#channels.set(name, channel)
    }
    return channel
  }

  #forget(name: string): void {
    if (!this.#held.has(name)) this.#channels.delete(name)
  }
}
