import { buildApp } from './app.ts'
import { demoSecret } from './secret.ts'

const port = Number(process.env.PORT ?? 3000)
// For others on the network, a phone for instance: HOST=0.0.0.0
const host = process.env.HOST ?? '127.0.0.1'

const app = await buildApp({
  secret: demoSecret(),
  files: new URL('./public/', import.meta.url),
  logLevel: process.env.LOG_LEVEL ?? 'warn'
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void app.close())
}

try {
  const address = await app.listen({ port, host })
  console.log(`fastify-channels demo: ${address}`)
} catch (error) {
  if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error
  console.error(`Port ${port} is taken. Choose another: PORT=${port + 1} npm start`)
  process.exitCode = 1
  await app.close()
}
