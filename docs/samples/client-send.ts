import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { Socket } from 'fastify-channels/client'
import { type Contract, chatRoom } from './channels.js'
import { listen } from './support/node.js'

const app = fastify()
await app.register(channels)
app.sockets.serve(chatRoom, {
  access: () => true,
  commands: {
    say: () => ({ at: 1 }),
    typing: () => {}
  }
})
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
await listen(app)
const socket = new Socket<Contract>('/ws/connect')
const shown: string[] = []
const show = (text: string): unknown => shown.push(text)

// #region send

import { ChannelError } from 'fastify-channels/client'

const room = socket.join('chat-room-:room', { room: '42' })
const { reply, stored } = await room.send('say', { text: 'Hello' })
show(`sent at ${reply.at}, stored: ${stored}`)
// The reply alone; gives up after 10 s where nothing else is said.
const { at } = await room.request('say', { text: 'Hello again' }, { timeoutMs: 2_000 })
// Never sent if it is still here in two seconds, or if somebody says so: the code is `timeout` or `aborted`.
const giveUp = new AbortController()
const other = socket.channel('chat-room-:room', { room: '43' })
const sent = other.send('typing', {}, { ttlMs: 2_000, signal: giveUp.signal })
giveUp.abort()
try {
  await sent
} catch (error) {
  if (error instanceof ChannelError) show(`${error.code}, ${error.retry ? 'may be tried again' : 'final'}`)
}
// #endregion
assert.equal(at, 1)
assert.deepEqual(shown, ['sent at 1, stored: none', 'aborted, final'])
socket.disconnect()
await app.close()
