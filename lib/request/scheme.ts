import type { FastifyRequest } from 'fastify'

/** Some proxies name the scheme of a WebSocket handshake by its own URLs in X-Forwarded-Proto (Traefik does). */
const HTTP_NAME: Readonly<Record<string, string>> = { ws: 'http', wss: 'https' }

/**
 * The scheme by which the client reached the outermost server, in lower case, or undefined where nothing tells: a plain
 * socket may stand behind a proxy that ended TLS and that the application does not trust (Fastify's `trustProxy`).
 */
export function clientScheme(request: FastifyRequest): string | undefined {
  const protocol = String(request.protocol).toLowerCase()
  const scheme = HTTP_NAME[protocol] ?? protocol
  // On a plain socket `http` is what Fastify says without knowing; only a trusted proxy's word makes it knowledge.
  return scheme !== 'http' || isEncrypted(request) || forwarded(request) === protocol ? scheme : undefined
}

function isEncrypted(request: FastifyRequest): boolean {
  return 'encrypted' in request.raw.socket && request.raw.socket.encrypted === true
}

/** The last entry of X-Forwarded-Proto, as Fastify reads it; undefined without `trustProxy`, when `ips` is missing. */
function forwarded(request: FastifyRequest): string | undefined {
  if (request.ips === undefined) return undefined
  return String(request.headers['x-forwarded-proto']).split(',').at(-1)!.trim().toLowerCase()
}
