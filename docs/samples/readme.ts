// #region server

import fastify from 'fastify'
import channels, { act, unauthorized } from 'fastify-channels'
import { command, defineChannel, Type } from 'fastify-channels/protocol'

const Said = Type.Object({ text: Type.String({ minLength: 1, maxLength: 4000 }) })
const chatRoom = defineChannel('chat-room-:room', { events: { said: Said }, commands: { say: command(Said) } })

const app = fastify()
await app.register(channels)
const rooms = app.sockets.serve(chatRoom, {
  commands: { say: (param, context) => context.publish({ cmd: 'said', param }) }
})
const chat = act('chat.room', async (app, ps) => {
  const room = ps.requestString('room', true)
  if (room === 'staff' && ps.profile === null) throw unauthorized() // a 401 in JSON, and no socket
  await app.sockets.upgrade(ps, rooms.name({ room }))
})
app.get('/ws/chat/:room', chat)
await app.listen({ port: Number(process.env.PORT ?? 3000) })
await rooms.broadcast({ room: '42' }, { cmd: 'said', param: { text: 'The server is up' } })

// #endregion

import { strict as assert } from 'node:assert'

const { port } = app.server.address() as { port: number }
Object.assign(globalThis, { location: { href: `http://127.0.0.1:${port}/`, host: `127.0.0.1:${port}` } })
const heard: unknown[] = []
const show = (param: unknown): unknown => heard.push(param)

// #region client

import { Socket } from 'fastify-channels/client'

const socket = new Socket('/ws/chat/42')
const room = socket.channel('chat-room-:room', { room: '42' })
room.on('said', param => show(param))
await room.send('say', { text: 'Hello' }) // waits for the server's ack; rejects with a code where it is refused
// #endregion
assert.deepEqual(heard, [{ text: 'Hello' }])
assert.equal((await app.inject('/ws/chat/staff')).statusCode, 401)
socket.disconnect()
await app.close()
