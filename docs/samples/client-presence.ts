import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { Socket } from 'fastify-channels/client'
import { type Contract, chatRoom } from './channels.js'
import { listen, until } from './support/node.js'

const app = fastify()
await app.register(channels, {
  profile: request => ({ id: String((request.query as { as: string }).as), name: 'Somebody' })
})
app.sockets.serve(chatRoom, {
  access: () => true,
  presence: profile => ({ name: profile.name ?? '' }),
  commands: { say: () => ({ at: 1 }), typing: () => {} }
})
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
await listen(app)
const socket = new Socket<Contract>('/ws/connect?as=ann')
let shown = ''
const show = (text: string): unknown => (shown = text)
// #region presence
const room = socket.join('chat-room-:room', { room: '42' })
room.on('$presence', ({ count, members }, diff) => {
  for (const { info } of diff?.joins ?? []) show(`${info?.name} came`)
  for (const { info } of diff?.leaves ?? []) show(`${info?.name} left`)
  show(`${count} here: ${members?.map(({ id }) => id).join(', ')}`)
})
// #endregion
await until(() => shown === '1 here: ann')
const other = new Socket<Contract>('/ws/connect?as=bob')
other.join('chat-room-:room', { room: '42' })
await until(() => shown === '2 here: ann, bob')
other.disconnect()
await until(() => shown === '1 here: ann')
assert.deepEqual(room.members, [{ id: 'ann', info: { name: 'Somebody' } }])
socket.disconnect()
await app.close()
