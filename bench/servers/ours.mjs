// This package, as built: one route, one channel, what comes in goes out to all.

import fastify from 'fastify'
import { act, channels } from 'fastify-channels'

const unlimited = {
  messagesPerSecond: 0,
  connectionsPerAddress: 0,
  pendingHandshakes: 0,
  pendingHandshakesPerAddress: 0
}
const app = fastify()
await app.register(channels, {
  checkEvents: false,
  limits: unlimited,
  onMessage: ({ cmd, param }) => app.sockets.broadcast('bench', { cmd, param })
})
app.get(
  '/',
  act('bench', async (app, ps) => void (await app.sockets.upgrade(ps, 'bench')))
)
process.send(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
