import { sqlite } from 'fastify-channels'
import { buildApp } from './app.ts'
import { demoSecret } from './secret.ts'

const port = Number(process.env.PORT ?? 3000)
// For others on the network, a phone for instance: HOST=0.0.0.0
const host = process.env.HOST ?? '127.0.0.1'
// What was said stands in this file, and so outlives the process.
const path = process.env.DEMO_DB ?? 'demo.db'

const HINTS: Readonly<Record<string, string>> = {
  EADDRINUSE: `Port ${port} is taken. Choose another: PORT=${port + 1} npm start`,
  FST_CHANNELS_STORE_LOCKED: `Another process has ${path} open. Choose another file: DEMO_DB=other.db npm start`
}

async function start(): Promise<string> {
  const app = await buildApp({
    secret: demoSecret(),
    files: new URL('./public/', import.meta.url),
    broker: sqlite({ path }),
    logLevel: process.env.LOG_LEVEL ?? 'warn'
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void app.close())
  }
  try {
    return await app.listen({ port, host })
  } catch (error) {
    await app.close()
    throw error
  }
}

try {
  console.log(`fastify-channels demo: ${await start()}`)
} catch (error) {
  const hint = HINTS[(error as NodeJS.ErrnoException).code ?? '']
  if (hint === undefined) throw error
  console.error(hint)
  process.exitCode = 1
}
