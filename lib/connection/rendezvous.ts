import type { Logger } from '../log.ts'
import type { RegisteredProfile } from '../register.ts'
import type { Connection, ConnectionKind } from './connection.ts'
import type { Resume } from './resume.ts'
import type { Ticket } from './revocations.ts'
import type { Transport } from './transport.ts'

/**
 * Where the HTTP side of an upgrade and the service meet: what `upgrade` needs of the request, without the request. The
 * action runs as the route's handler, so that all it throws before `open` is an ordinary answer.
 */
export interface Rendezvous {
  readonly profile: RegisteredProfile | null
  readonly ip: string
  readonly logger: Logger
  readonly kind: ConnectionKind
  /** What the client has come back with; null where it is new. */
  readonly resume: Resume | null
  /** Taken when the request came, before anything was asked of it; null where it can come to no connection. */
  readonly ticket: Ticket | null
  /** Aborts when the peer leaves, the handshake takes too long, or the server closes. */
  readonly signal: AbortSignal
  /** Throws unless the handshake can still be opened. */
  assertPending(): void
  /**
   * Answers 101 in this very turn.
   * @throws FST_CHANNELS_UPGRADE_TOO_LATE, FST_CHANNELS_ALREADY_UPGRADED, FST_CHANNELS_SOCKET_GONE
   */
  open(): Transport
  /** From now on what the action throws closes this connection, and so does the end of what it was admitted for. */
  opened(connection: Connection): void
}

/** Where a PageState bears its rendezvous, which nothing then holds any longer than the PageState. */
const RENDEZVOUS: unique symbol = Symbol('fastify-channels.rendezvous')

/** Ties a PageState to its request's rendezvous, and seals it. */
export function arrange(pageState: object, rendezvous: Rendezvous): void {
  Object.freeze(Object.defineProperty(pageState, RENDEZVOUS, { value: rendezvous }))
}

/** The rendezvous that was arranged for this PageState; undefined where `act` did not build it. */
export function meetingOf(pageState: object): Rendezvous | undefined {
  return (pageState as { readonly [RENDEZVOUS]?: Rendezvous } | null | undefined)?.[RENDEZVOUS]
}
