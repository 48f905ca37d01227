import type { Broker } from '../broker/broker.ts'
import type { Connection } from '../connection/connection.ts'
import type { Connections } from '../connection/registry.ts'
import type { Revocations } from '../connection/revocations.ts'
import type { Turn } from '../connection/turn.ts'
import type { Clock } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import type { Channels } from './registry.ts'
import type { Subscription } from './subscription.ts'

/** The service, as far as access to it can be taken back. */
export interface Revocable {
  readonly parts: {
    readonly clock: Clock
    readonly broker: Broker
    /** How long a link may take to hand over what it holds. */
    readonly times: { readonly closeGraceMs: number }
  }
  readonly turn: Turn
  readonly connections: Connections
  readonly channels: Channels
  readonly sessions: { endOf(userId: string): void }
  readonly revocations: Revocations
}

/** Takes access back. */
export class Revoker {
  readonly #service: Revocable

  constructor(service: Revocable) {
    this.#service = service
  }

  /** Here, and on every other node as soon as it hears of it. */
  revoke(userId: string, channel: string | null): Promise<number> {
    this.#service.parts.broker.broadcast(JSON.stringify({ cmd: 'revoke', user: userId, channel }))
    return this.revokeHere(userId, channel)
  }

  /**
   * Once it has resolved nothing of the channel, or of anything where it is null, reaches the user any more, unless
   * access was given anew. Resolves to how many memberships, or connections, that has ended.
   */
  async revokeHere(userId: string, channel: string | null): Promise<number> {
    const { connections, revocations } = this.#service
    revocations.add(userId, channel)
    this.#forgetLost(userId, channel)
    const links = connections.linksOfUser(userId)
    const ended = channel === null ? this.#closeAll(userId, links) : this.#leaveAll(links, channel)
    const holding = links.filter(link =>
      channel === null ? link.transport.buffered() > 0 : link.outbox.holds(channel)
    )
    await Promise.all(holding.map(link => this.#drained(link)))
    return ended
  }

  /** Nobody waits any more for a user who may not be back. */
  #forgetLost(userId: string, name: string | null): void {
    const { channels } = this.#service
    for (const channel of name === null ? channels.all() : [channels.get(name)]) {
      for (const lost of channel?.lost?.values() ?? []) if (lost.userId === userId) lost.departure.run()
    }
  }

  #closeAll(userId: string, links: readonly Connection[]): number {
    const { code, reason } = closeCode('revoked')
    const open = links.filter(link => link.open)
    for (const connection of open) connection.abandon(code, reason)
    this.#service.sessions.endOf(userId)
    return open.length
  }

  #leaveAll(links: readonly Connection[], channel: string): number {
    const { channels, turn } = this.#service
    let ended = 0
    // Into the outboxes, from where it is taken back.
    turn.distribute()
    for (const connection of links) {
      const membership = connection.memberships.get(channel) as Subscription | undefined
      if (membership?.state === 'joined') {
        channels.leave(membership, 'revoked')
        ended++
      } else {
        if (membership !== undefined) membership.overtaken = true
        // It may have been a member until a moment ago.
        connection.outbox.purge(channel)
      }
      connection.outbox.flush()
    }
    return ended
  }

  /** What a transport has been given cannot be taken back, but with the link. */
  #drained({ transport }: Connection): Promise<void> {
    const { clock, times } = this.#service.parts
    return new Promise(resolve => {
      const timer = clock.after(times.closeGraceMs, () => transport.destroy())
      transport.whenDrained(() => {
        timer.cancel()
        resolve()
      })
    })
  }
}
