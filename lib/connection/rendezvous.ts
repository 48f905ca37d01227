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
  /** The key of the action. */
  readonly action: string
  /** The request's. */
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
