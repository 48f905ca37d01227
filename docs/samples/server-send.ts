import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels, { profile: request => ({ id: String(request.headers.user) }) })
app.get(
  '/ws/:room',
  act('room', async (app, ps) => void (await app.sockets.upgrade(ps, `room-${ps.params.room}`)))
)
const url = await listen(app)
const heard: Record<string, string[]> = { ann: [], bob: [] }
const sockets = Object.keys(heard).map(user => {
  const ws = new WebSocket(`${url}/ws/42`, { headers: { user } })
  ws.on('message', data => {
    const { channel, via, cmd } = JSON.parse(String(data))
    heard[user]!.push(`${channel}${via === undefined ? '' : ` via ${via}`}: ${cmd}`)
  })
  return ws
})
await until(() => app.sockets.connections().length === 2)
const connection = app.sockets.connections().find(({ profile }) => profile?.id === 'ann')!
// #region send
const { sockets: service } = app
// To all members of a channel.
await service.broadcast('room-42', { cmd: 'said', param: { text: 'Hello' } })
// To all but some: a connection, all of a user's, or a list of those.
await service.broadcast('room-42', { cmd: 'typing', param: {} }, { except: { user: 'bob' } })
// To all of a user's connections, through the channel `user-<id>`.
await service.sendToUser('bob', { cmd: 'invited', param: { room: '42' } })
// About one channel, through another: receivers see `system`, and `room-42` as `via`.
await service.sendToChannel('room-42', { channel: 'system', cmd: 'update', param: { version: '2' } })
// To every connection of the service, and to one.
await service.broadcastAll({ channel: 'system', cmd: 'maintenance', param: { minutes: 5 } })
await service.sendTo(connection.id, { channel: 'room-42', cmd: 'welcome', param: {} })
// #endregion
await until(() => heard.ann!.length === 5 && heard.bob!.length === 4)
assert.deepEqual(heard.ann, [
  'room-42: said',
  'room-42: typing',
  'system via room-42: update',
  'system: maintenance',
  'room-42: welcome'
])
assert.deepEqual(heard.bob!.sort(), [
  'room-42: said',
  'system via room-42: update',
  'system: maintenance',
  'user-bob: invited'
])
for (const ws of sockets) ws.close()
await app.close()
