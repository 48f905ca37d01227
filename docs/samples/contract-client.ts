import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act, badRequest } from 'fastify-channels'
import { chatRoom } from './channels.js'
import { listen } from './support/node.js'

const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann', name: 'Ann' }) })
app.sockets.serve(chatRoom, {
  access: () => true,
  commands: {
    say({ text }, context) {
      if (text === 'bad') throw badRequest('No bad words')
      context.publish({ cmd: 'said', param: { text, at: 1 } })
      return { at: 1 }
    },
    typing: () => {}
  }
})
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'system')))
)
await listen(app)
const shown: string[] = []
const show = (text: string): unknown => shown.push(text)

// #region client

import { type ChannelError, Socket } from 'fastify-channels/client'
import type { Contract } from './channels.js'

const socket = new Socket<Contract>('/ws/connect')
const room = socket.join('chat-room-:room', { room: '42' })
room.on('said', ({ text, at }, message) => show(`${at} ${message.from}: ${text}`))
const { reply } = await room.send('say', { text: 'Hello' }) // reply.at is a number
await room.send('say', { text: 'bad' }).catch((error: ChannelError) => show(`${error.code}: ${error.message}`))
// @ts-expect-error: the contract has no such command
await room.send('shout', { text: 'Hello' }).catch((error: ChannelError) => show(error.code))
// #endregion
assert.equal(reply.at, 1)
assert.deepEqual(shown, ['1 ann: Hello', 'bad-request: No bad words', 'unknown-command'])
socket.disconnect()
await app.close()
