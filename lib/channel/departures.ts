import type { Connection } from '../connection/connection.ts'
import { DelayLine } from '../connection/delay-line.ts'
import type { Observer } from '../observer.ts'
import type { Clock } from '../protocol/clock.ts'
import type { LeaveReason } from '../protocol/system.ts'
import type { Channel } from './channel.ts'

/** How users go when their memberships have ended: at once, or after a grace where their connection was only lost. */
export class Departures {
  readonly #observer: Observer
  readonly #graces: DelayLine
  readonly #departed: (channel: Channel) => void
  #closing = false

  /** `departed` is called when a channel may have nobody left. */
  constructor(clock: Clock, graceMs: number, observer: Observer, departed: (channel: Channel) => void) {
    this.#observer = observer
    this.#graces = new DelayLine(clock, graceMs)
    this.#departed = departed
  }

  /** A membership has ended. */
  leave(channel: Channel, connection: Connection, reason: LeaveReason): void {
    const { lost, profile } = connection
    const mayReturn = lost && this.#graces.delayMs > 0 && !this.#closing
    if (mayReturn && profile !== null) this.#linger(channel, connection, profile.id)
    else this.#depart(channel, connection, reason)
  }

  /** From now on nobody is waited for. */
  close(): void {
    this.#closing = true
    this.#graces.runAll()
  }

  /** Its user is here until the grace is over, or the session is back. */
  #linger(channel: Channel, connection: Connection, userId: string): void {
    const { session } = connection
    // It has been lost before within the same grace.
    channel.lost?.get(session)?.departure.run()
    const departure = this.#graces.add(() => {
      channel.lost?.delete(session)
      if (channel.lost?.size === 0) channel.lost = null
      this.#depart(channel, connection, 'closed')
    })
    channel.lost ??= new Map()
    channel.lost.set(session, { userId, departure })
  }

  #depart(channel: Channel, connection: Connection, reason: LeaveReason): void {
    const last = channel.depart(connection)
    this.#departed(channel)
    const onLeave = channel.resolved?.definition.rules.onLeave
    if (onLeave === undefined) return
    const event = { channel: channel.name, params: channel.params, connection, reason, last }
    void this.#observer.watch(connection, () => onLeave(event))
  }
}
