import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels from 'fastify-channels'
import { listen, WebSocket } from './support/node.js'

const models = { userHasRoomAccess: async (user: string, room: string) => user === 'ann' && room === '42' }
const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann', name: 'Ann' }) })

// #region chat

import { act, forbidden, unauthorized } from 'fastify-channels'
import { encodeSegment } from 'fastify-channels/protocol'

const chatRoomSocket = act('chat.room', async (app, ps) => {
  // Room ID from the URL; a missing one is answered 400
  const roomId = ps.requestString('room', true)

  // Verify that the user has access to this room
  if (ps.profile === null) throw unauthorized()
  const { id, name } = ps.profile
  if (!(await models.userHasRoomAccess(id, roomId))) throw forbidden('access denied to chat room')

  // Channel name for this room
  const channel = `chat-room-${encodeSegment(roomId)}`

  // Upgrade with metadata: it is kept as connection.metadata
  await app.sockets.upgradeWithMetadata(ps, channel, { room_id: roomId, user_id: id, username: name })

  // Tell the room that the user joined
  await app.sockets.broadcast(channel, {
    cmd: 'user-joined',
    param: { user_id: id, username: name, timestamp: new Date() }
  })
})

app.get('/ws/chat/:room', chatRoomSocket)
// #endregion
const url = await listen(app)
assert.equal((await app.inject('/ws/chat/7')).statusCode, 403)
const ws = new WebSocket(`${url}/ws/chat/42`)
const message = await new Promise<any>(resolve => ws.once('message', data => resolve(JSON.parse(String(data)))))
assert.equal(message.cmd, 'user-joined')
assert.equal(message.param.username, 'Ann')
ws.close()
await app.close()
