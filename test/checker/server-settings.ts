/** All limiters are on; those for rate, connections and handshakes are raised, as all clients share a machine. */
export const RAISED = {
  messagesPerSecond: 200,
  burst: 400,
  connectionsPerUser: 50,
  connectionsPerAddress: 400,
  pendingHandshakes: 2_000,
  pendingHandshakesPerAddress: 400
} as const

export const HEARTBEAT_MS = 2_000
export const CLOSE_GRACE_MS = 3_000
