import type { Logger } from '../log.ts'
import type { Clock } from '../protocol/clock.ts'
import type { CloseName } from '../protocol/close-code.ts'
import type { RegisteredProfile } from '../register.ts'
import type { CloseEvent } from './close.ts'
import type { Connection } from './connection.ts'
import type { OutboxParts } from './outbox.ts'
import type { Resume } from './resume.ts'
import type { Transport } from './transport.ts'
import type { Turn } from './turn.ts'

/** What all connections of a service share. */
export interface ConnectionHost extends OutboxParts {
  readonly clock: Clock
  readonly turn: Turn
  readonly messageBytes: number
  readonly closeGraceMs: number
  /** What the layers above do with input, and at the end. */
  readonly events: ConnectionEvents
}

/** What one connection is made of. */
export interface ConnectionParts {
  readonly session: string
  readonly resumed: boolean
  /** What its client came back with; null where it is new. */
  readonly cameWith: Resume | null
  readonly transport: Transport
  /** Whether the client speaks the whole protocol, or is a plain one that knows no subprotocol. */
  readonly kind: ConnectionKind
  readonly profile: RegisteredProfile | null
  readonly metadata: Readonly<Record<string, unknown>>
  readonly ip: string
  readonly route: string
  /** Of the action that opened it. */
  readonly action: string
  /** The request's. */
  readonly logger: Logger
}

export type ConnectionKind = 'channels.v1' | 'plain'

export interface ConnectionEvents {
  text(connection: Connection, text: string, bytes: number): void
  control(connection: Connection): void
  slow(connection: Connection): void
  /** The connection is closing with the code of that name, because the peer broke a rule of the transport. */
  violated(connection: Connection, name: CloseName): void
  /** The connection takes no more part in anything; its link may still be closing. Comes once, before `closed`. */
  detached(connection: Connection): void
  /** The link is gone. */
  closed(connection: Connection, event: CloseEvent): void
}
