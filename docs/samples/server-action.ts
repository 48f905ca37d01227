import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import { listen } from './support/node.js'
// #region action

import channels, { act, forbidden, unauthorized } from 'fastify-channels'
import { Type } from 'fastify-channels/protocol'

const RoomParams = Type.Object({ room: Type.String({ pattern: '^[a-z0-9]{1,32}$' }) })

const enterRoom = act('room.enter', { params: RoomParams }, async (app, ps) => {
  const { profile, params, logger } = ps
  if (profile === null) throw unauthorized('Sign in to chat')
  if (params.room === 'staff') throw forbidden()
  logger.info({ room: params.room }, 'entering')
  await app.sockets.upgradeWithMetadata(ps, `room-${params.room}`, { plan: 'pro' })
  await app.sockets.broadcast(`room-${params.room}`, { cmd: 'user-joined', param: { id: profile.id } })
})
// #endregion

const app = fastify()
await app.register(channels, { profile: request => (request.headers.user === 'ann' ? { id: 'ann' } : null) })
app.get('/ws/rooms/:room', enterRoom)

import { WebSocket } from './support/node.js'

const url = await listen(app)
const ann = { headers: { user: 'ann' } }
assert.equal((await app.inject('/ws/rooms/42')).statusCode, 401)
assert.equal((await app.inject({ url: '/ws/rooms/staff', ...ann })).statusCode, 403)
assert.equal((await app.inject({ url: '/ws/rooms/NO', ...ann })).statusCode, 400)
assert.equal((await app.inject({ url: '/ws/rooms/42', ...ann })).statusCode, 426)
const ws = new WebSocket(`${url}/ws/rooms/42`, ann)
const message = await new Promise(resolve => ws.once('message', data => resolve(JSON.parse(String(data)))))
assert.deepEqual(message, { channel: 'room-42', cmd: 'user-joined', param: { id: 'ann' } })
assert.deepEqual(app.sockets.connections()[0]?.metadata, { plan: 'pro' })
ws.close()
await app.close()
