/** A way for a connection to end. */
export interface CloseCode {
  readonly code: number
  readonly name: string
  /** What stands in the close frame, at most 123 bytes of UTF-8 (RFC 6455 §5.5.1). */
  readonly reason: string
  /** Whether a client dials again. */
  readonly retry: boolean
}

/** RFC 6455 §5.5: a control frame has 125 bytes, of which the code takes two. */
export const MAX_REASON_BYTES = 123

/** One table for server, client, docs and tests. 4000–4099 come back, 4500–4599 stay away. */
export const CLOSE_CODES = [
  { code: 1000, name: 'normal', reason: 'normal closure', retry: false },
  { code: 1001, name: 'going-away', reason: 'going away', retry: true },
  { code: 1002, name: 'protocol-error', reason: 'protocol error', retry: false },
  { code: 1003, name: 'unsupported-data', reason: 'binary frames are not supported', retry: false },
  { code: 1005, name: 'no-status', reason: '', retry: true },
  { code: 1006, name: 'abnormal', reason: '', retry: true },
  { code: 1007, name: 'invalid-payload', reason: 'invalid UTF-8', retry: false },
  { code: 1008, name: 'policy-violation', reason: 'policy violation', retry: false },
  { code: 1009, name: 'too-big', reason: 'message too big', retry: false },
  { code: 1010, name: 'extension-required', reason: 'extension required', retry: false },
  { code: 1011, name: 'internal-error', reason: 'internal error', retry: true },
  { code: 1012, name: 'service-restart', reason: 'service restart', retry: true },
  { code: 1013, name: 'try-again-later', reason: 'try again later', retry: true },
  { code: 1014, name: 'bad-gateway', reason: 'bad gateway', retry: true },
  { code: 4000, name: 'slow', reason: 'slow consumer: the outbox is full', retry: true },
  { code: 4001, name: 'silent', reason: 'silent: no sign of life', retry: true },
  { code: 4002, name: 'rate-limited', reason: 'rate limited', retry: true },
  { code: 4003, name: 'renew-credentials', reason: 'renew credentials', retry: true },
  { code: 4500, name: 'closed-by-server', reason: 'closed by server', retry: false },
  { code: 4501, name: 'replaced', reason: 'replaced by a newer connection', retry: false },
  { code: 4502, name: 'revoked', reason: 'revoked', retry: false },
  { code: 4503, name: 'too-many-violations', reason: 'too many violations', retry: false }
] as const satisfies readonly CloseCode[]

export type CloseName = (typeof CLOSE_CODES)[number]['name']

/** The table's row of that name. */
export function closeCode(name: CloseName): CloseCode {
  return CLOSE_CODES.find(row => row.name === name)!
}

/**
 * Whether a client dials again after a close with this code. By range, so that a client needs no table and an
 * application's own codes count too: 4100–4499 come back, 4600–4999 stay away.
 */
export function comesBack(code: number): boolean {
  return (
    code === 1001 || code === 1005 || code === 1006 || (code >= 1011 && code <= 1014) || (code >= 4000 && code < 4500)
  )
}
