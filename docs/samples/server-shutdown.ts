import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels)
app.get(
  '/ws',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const url = await listen(app)
const ws = new WebSocket(`${url}/ws`)
const code = new Promise(resolve => ws.once('close', resolve))
await until(() => app.sockets.connections().length === 1)
// #region shutdown
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => app.close())
// #endregion
process.kill(process.pid, 'SIGTERM')
assert.equal(await code, 1012)
