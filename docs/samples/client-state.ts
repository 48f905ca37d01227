import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { Socket } from 'fastify-channels/client'
import { type Contract, chatRoom } from './channels.js'
import { listen, until } from './support/node.js'

const app = fastify()
await app.register(channels)
const messages: string[] = []
const room42 = app.sockets.serve(chatRoom, {
  access: () => true,
  commands: {
    async say({ text }) {
      messages.push(text)
      await room42.broadcast({ room: '42' }, { cmd: 'said', param: { text, at: 1 } })
      return { at: 1 }
    },
    typing: () => {}
  }
})
app.get('/rooms/42', async () => messages)
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const origin = await listen(app)
const socket = new Socket<Contract>('/ws/connect')
let shown: string[] = []
let status = ''

// #region state
const room = socket.join(
  'chat-room-:room',
  { room: '42' },
  {
    async loadState() {
      const response = await fetch(`${origin}/rooms/42`)
      shown = (await response.json()) as string[]
    }
  }
)
room.on('said', ({ text }) => void shown.push(text))
// #endregion
// #region outbox
socket.on('$outbox', () => {
  const waiting = socket.outbox.filter(({ state }) => state === 'waiting')
  status = waiting.length > 0 ? `${waiting.length} not sent yet` : 'all sent'
})
const sent = room.send('say', { text: 'Hello' })
// Of no use later: it is refused while there is no connection, and given up where it cannot leave within two seconds.
await room.ready()
const typing = room.send('typing', {}, { onOffline: 'reject', ttlMs: 2_000 })
// #endregion
await Promise.all([sent, typing])
await until(() => shown.includes('Hello'))
assert.equal(status, 'all sent')
socket.disconnect()
await app.close()
