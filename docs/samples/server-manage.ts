import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann', name: 'Ann' }) })
app.get(
  '/ws',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const url = await listen(app)
const ws = new WebSocket(`${url}/ws`)
const closed = new Promise(resolve => ws.once('close', (code, reason) => resolve(`${code} ${reason}`)))
await until(() => app.sockets.connections().length === 1)
// #region manage
await app.sockets.join({ user: 'ann' }, 'room-42') // the server decides: no access rule is asked
const members = await app.sockets.members('room-42') // [{ id: 'ann', info: { name: 'Ann' } }]
const online = await app.sockets.online('ann')
await app.sockets.leave({ user: 'ann' }, 'room-42')
await app.sockets.disconnect({ user: 'ann' }, 4502, 'revoked') // a client of ours stays away after it
// #endregion
assert.deepEqual(members, [{ id: 'ann', info: { name: 'Ann' } }])
assert.equal(online, true)
assert.equal(await closed, '4502 revoked')
await app.close()
