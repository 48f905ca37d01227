import { channel as diagnosticsChannel } from 'node:diagnostics_channel'
import type { CloseEvent, Connection } from './connection/connection.ts'
import { attempt } from './host-code.ts'
import type { Logger } from './log.ts'
import { closeCode } from './protocol/close-code.ts'
import type { JoinedBy, LeaveReason, NackCode } from './protocol/system.ts'

/** What the host hears of every connection. What a hook throws is logged and handed to `onError`, and harms nobody else. */
export interface ConnectionHooks {
  /** A connection has opened; it has not joined yet. */
  readonly onOpen?: (connection: Connection) => void | Promise<void>
  readonly onClose?: (connection: Connection, event: CloseEvent) => void | Promise<void>
  /** A hook, a rule, a command's handler or a message handler failed. `connection` is null where none was concerned. */
  readonly onError?: (error: unknown, connection: Connection | null) => void
}

const diagnostics = {
  open: diagnosticsChannel('fastify-channels:open'),
  close: diagnosticsChannel('fastify-channels:close'),
  join: diagnosticsChannel('fastify-channels:join'),
  leave: diagnosticsChannel('fastify-channels:leave'),
  nack: diagnosticsChannel('fastify-channels:nack'),
  slow: diagnosticsChannel('fastify-channels:slow')
}

/** Tells the host what happens, and keeps the host's own failures from ending anything but the connection they concern. */
export class Observer {
  readonly #hooks: ConnectionHooks
  readonly #logger: Logger

  constructor(hooks: ConnectionHooks, logger: Logger) {
    this.#hooks = hooks
    this.#logger = logger
  }

  opened(connection: Connection): void {
    diagnostics.open.publish({ connection })
    void this.run(connection, () => this.#hooks.onOpen?.(connection))
  }

  closed(connection: Connection, event: CloseEvent): void {
    diagnostics.close.publish({ connection, event })
    void this.watch(connection, () => this.#hooks.onClose?.(connection, event))
  }

  joined(connection: Connection, channel: string, by: JoinedBy): void {
    diagnostics.join.publish({ connection, channel, by })
  }

  left(connection: Connection, channel: string, reason: LeaveReason): void {
    diagnostics.leave.publish({ connection, channel, reason })
  }

  nacked(connection: Connection, code: NackCode, message: string): void {
    diagnostics.nack.publish({ connection, code, message })
  }

  slow(connection: Connection): void {
    diagnostics.slow.publish({ connection })
  }

  /** Runs host code that a connection depends on: where it fails the connection closes 1011. */
  run(connection: Connection, task: () => unknown): Promise<void> | undefined {
    return this.#settle(connection, task, () => {
      const { code, reason } = closeCode('internal-error')
      connection.close(code, reason)
    })
  }

  /** Runs host code that nothing depends on. */
  watch(connection: Connection, task: () => unknown): Promise<void> | undefined {
    return this.#settle(connection, task, () => {})
  }

  failed(error: unknown, connection: Connection | null): void {
    const logger = connection?.logger ?? this.#logger
    logger.error({ err: error }, 'application code failed')
    void attempt(
      () => this.#hooks.onError?.(error, connection),
      inner => logger.error({ err: inner }, 'onError failed')
    )
  }

  #settle(connection: Connection, task: () => unknown, onFailure: () => void): Promise<void> | undefined {
    return attempt(task, error => {
      this.failed(error, connection)
      onFailure()
    })
  }
}
