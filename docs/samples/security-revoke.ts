import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann' }) })
app.get(
  '/ws',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const ws = new WebSocket(`${await listen(app)}/ws`)
const closed = new Promise(resolve => ws.once('close', resolve))
await until(() => app.sockets.connections().length === 1)
await app.sockets.join({ user: 'ann' }, 'room-42')
// #region revoke
// Out of one channel: nothing of it reaches the user's connections from the next line on.
await app.sockets.revoke('ann', 'room-42')
// Out of everything.
await app.sockets.revoke('ann')
// #endregion
assert.equal(await closed, 4502)
await app.close()
