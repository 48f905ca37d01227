import { readFile } from 'node:fs/promises'
import type { FastifyInstance } from 'fastify'

const FILES: Readonly<Record<string, string>> = {
  'demo.css': 'text/css; charset=utf-8',
  'main.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml'
}

/** Serves the few files of the page. A list and no folder: nothing else can be asked for. */
export async function serveFiles(app: FastifyInstance, folder: URL): Promise<void> {
  for (const [name, type] of Object.entries(FILES)) {
    const content = await readFile(new URL(name, folder))
    app.get(`/${name}`, (_request, reply) => reply.type(type).header('cache-control', 'no-cache').send(content))
  }
}
