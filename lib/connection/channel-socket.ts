import type { EventEmitter } from 'node:events'

/** Where a ws socket bears its transport, so that all of them share their listeners. */
export const TRANSPORT: unique symbol = Symbol('fastify-channels.transport')

/** As much of a transport as hears of pings and pongs. */
interface ControlListener {
  control(): void
}

/**
 * The class of a ws server's sockets, made such that pings and pongs need no listeners: with five of them a socket's table
 * of listeners takes 96 bytes more than with three, and every connection has one.
 */
export function channelSocket<T extends new (...args: any[]) => EventEmitter>(Base: T): T {
  return class ChannelSocket extends Base {
    [TRANSPORT]: ControlListener | null = null

    override emit(event: string | symbol, ...args: any[]): boolean {
      if (event === 'ping' || event === 'pong') this[TRANSPORT]?.control()
      return super.emit(event, ...args)
    }
  }
}
