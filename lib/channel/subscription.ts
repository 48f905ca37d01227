import type { Connection } from '../connection/connection.ts'
import { Lane } from '../connection/lane.ts'
import type { Membership } from '../connection/memberships.ts'
import type { JoinedBy } from '../protocol/system.ts'
import type { Channel } from './channel.ts'

const ENDED = 'The membership has ended.'

/**
 * One connection's membership of one channel, from the first asking to the end. What the connection does on this channel
 * happens in its lane, one after another: the join, then its commands.
 */
export class Subscription extends Lane implements Membership {
  readonly name: string
  readonly connection: Connection
  by: JoinedBy
  /** Set while joined. */
  channel: Channel | null = null
  /** Whether it was the first of its user in the channel when it joined. */
  first = false
  /** Place among the channel's members. */
  index = -1
  /** A revocation came while it was on its way: what allowed it does not count any more. */
  overtaken = false
  /** Whether it ever was a member, and was told so. */
  admitted = false
  /** `joining` while access is being decided. */
  state: 'joining' | 'joined' | 'ended' = 'joining'
  /** Made for who asks for it: most memberships end without anybody waiting. */
  #aborter: AbortController | null = null

  constructor(name: string, connection: Connection, by: JoinedBy) {
    super()
    this.name = name
    this.connection = connection
    this.by = by
  }

  /** Aborts when the membership ends. */
  get signal(): AbortSignal {
    if (this.#aborter === null) {
      this.#aborter = new AbortController()
      if (this.state === 'ended') this.#aborter.abort(new Error(ENDED))
    }
    return this.#aborter.signal
  }

  end(): void {
    this.state = 'ended'
    this.channel = null
    this.#aborter?.abort(new Error(ENDED))
  }

  /** Tells those who work for this membership that nobody waits for them any more. */
  abort(reason: Error): void {
    this.#aborter?.abort(reason)
  }
}
