import type { EventEmitter } from 'node:events'
import type { RawData, WebSocket } from 'ws'

/** Who hears what happens to a ws socket, in place of listeners. */
export interface SocketEvents {
  message(data: RawData, isBinary: boolean): void
  /** A ping or a pong. */
  control(): void
  /** A close follows. */
  failed(error: Error & { readonly code?: string }): void
  closed(code: number, reason: Buffer): void
}

const EVENTS: unique symbol = Symbol('fastify-channels.events')

const TAKEN = ['message', 'ping', 'pong', 'close', 'error'] as const

/**
 * The class of a ws server's sockets, made such that one object may take a socket's events: five listeners are a table of
 * 250 bytes for each connection. A socket whose events nobody took is as it was, and others may listen to any.
 */
export function channelSocket<T extends new (...args: any[]) => EventEmitter>(Base: T): T {
  return class extends Base {
    [EVENTS]: SocketEvents | null = null

    override emit(event: string | symbol, ...args: any[]): boolean {
      const events = this[EVENTS]
      if (events === null || !told(events, event, args)) return super.emit(event, ...args)
      if (this.listenerCount(event) > 0) super.emit(event, ...args)
      return true
    }
  }
}

/** Must be called in the turn of the handshake: what came before is not told. */
export function takeEvents(ws: WebSocket, events: SocketEvents): void {
  if (EVENTS in ws) {
    ws[EVENTS] = events
    return
  }
  // A host may have given its server a class of its own.
  for (const event of TAKEN) ws.on(event, (...args: any[]) => told(events, event, args))
}

function told(events: SocketEvents, event: string | symbol, [first, second]: any[]): boolean {
  if (event === 'message') events.message(first, second)
  else if (event === 'ping' || event === 'pong') events.control()
  else if (event === 'close') events.closed(first, second)
  else if (event === 'error') events.failed(first)
  else return false
  return true
}
