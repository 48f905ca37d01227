import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { FastifyInstance } from 'fastify'

/**
 * Serves the browser client as one minified ES module, so that a page needs no bundler. It may be kept by caches but is
 * asked for anew each time (RFC 9111 §5.2.2.4): after an update server and client must fit.
 */
export async function serveClient(app: FastifyInstance, path: string): Promise<void> {
  const file = createRequire(import.meta.url).resolve('fastify-channels/client.min.js')
  const text = await readFile(file, 'utf8')
  const etag = `"${createHash('sha256').update(text).digest('base64url').slice(0, 22)}"`
  app.get(path, (request, reply) => {
    reply.header('etag', etag).header('cache-control', 'no-cache').header('x-content-type-options', 'nosniff')
    if (request.headers['if-none-match'] === etag) return reply.code(304).send()
    return reply.type('text/javascript; charset=utf-8').send(text)
  })
}
