import type { Limits, Times } from '../options.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Connection } from './connection.ts'

/** Tells a client what it has come to; a plain one would not understand. */
export function welcome(connection: Connection, limits: Limits, { heartbeatMs }: Times, contract: string): void {
  if (connection.kind === 'plain') return
  const { payloadBytes, depth, channels, messagesPerSecond, burst, history } = limits
  const param = {
    session: connection.session,
    connection: connection.id,
    resumed: connection.resumed,
    heartbeatMs,
    limits: { payloadBytes, depth, channels, messagesPerSecond, burst, history },
    contract
  }
  connection.sendFrame(systemFrame('$welcome', param))
}
