import { strict as assert } from 'node:assert'
import { listen } from './support/node.js'
// #region server

import fastify from 'fastify'
import channels, { act, unauthorized } from 'fastify-channels'
import { type Contract, chatRoom, contract } from './channels.js'

interface MyProfile {
  readonly id: string
  readonly name: string
}

declare module 'fastify-channels' {
  interface Register {
    contract: Contract
    profile: MyProfile
  }
}

const app = fastify()
await app.register(channels, { contract, profile: () => ({ id: 'ann', name: 'Ann' }) })
const rooms = app.sockets.serve(chatRoom, {
  access: ({ profile, params }) => profile !== null && params.room !== 'staff',
  presence: profile => ({ name: profile.name }),
  commands: {
    say({ text }, context) {
      if (context.profile === null) throw unauthorized()
      const at = Date.now()
      context.publish({ cmd: 'said', param: { text, at } })
      return { at }
    },
    typing(_param, context) {
      const name = context.profile?.name ?? 'somebody'
      context.publish({ cmd: 'typing', param: { name } }, { exceptSender: true })
    }
  }
})
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => {
    await app.sockets.upgrade(ps, 'system')
  })
)
// #endregion
await app.ready()
// #region typed
await rooms.broadcast({ room: '42' }, { cmd: 'said', param: { text: 'Hello', at: 0 } })
await app.sockets.broadcast('system', { cmd: 'system-update', param: { version: '2' } })
await app.sockets.broadcast('chat-room-42', { cmd: 'typing', param: { name: 'Ann' } })
// @ts-expect-error: no channel of the contract has that name
await app.sockets.broadcast('chatroom-42', { cmd: 'said', param: { text: 'Hello', at: 0 } })
// @ts-expect-error: the event has another shape; checkEvents finds it at run time as well
const wrong = () => rooms.broadcast({ room: '42' }, { cmd: 'said', param: { text: 42 } })
// #endregion
assert.throws(wrong, { code: 'FST_CHANNELS_INVALID_EVENT' })
assert.equal(rooms.name({ room: 'a b' }), 'chat-room-a%20b')
await listen(app)
await app.close()
