// What lets a sample be a program of its own under Node: a WebSocket where Node has none, a page's location, a free port.
import type { FastifyInstance } from 'fastify'
import { WebSocket } from 'ws'

// Node before 22 has none, and the client looks for it when it is loaded: run a sample with `--import` of this file.
Object.assign(globalThis, { WebSocket })

export { WebSocket }

/** Listens on a free port and lets the rest of the program believe that it is a page of that server. */
export async function listen(app: FastifyInstance): Promise<string> {
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  Object.assign(globalThis, { location: { href: `${url}/`, host: new URL(url).host } })
  return url
}

/** Resolves once the condition holds. */
export async function until(condition: () => unknown): Promise<void> {
  while (!condition()) await new Promise(resolve => setTimeout(resolve, 5))
}
