import type { Clock } from '../protocol/clock.ts'
import { systemFrame } from '../protocol/system.ts'
import { closeAs } from './close.ts'
import type { Connections } from './registry.ts'

/** A reconnecting crowd is spread over this much time for each connection that was closed, within a bound. */
const SPREAD_PER_CONNECTION_MS = 5
const MAX_SPREAD_MS = 10_000

/** Tells every client when to come back, and closes it 1012. */
export function dismissAll(connections: Connections, clock: Clock): void {
  const spreadMs = Math.min(MAX_SPREAD_MS, connections.size * SPREAD_PER_CONNECTION_MS)
  for (const connection of connections.all()) {
    if (connection.kind !== 'plain') {
      const retryAfterMs = Math.round(clock.random() * spreadMs)
      connection.sendFrame(systemFrame('$closing', { reason: 'draining', retryAfterMs }))
    }
    closeAs(connection, 'service-restart')
  }
}
