// #region app
import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act, type ChannelsOptions } from 'fastify-channels'
import { defineChannel, Type } from 'fastify-channels/protocol'

const room = defineChannel('room-:room', { events: { said: Type.Integer() } })

/** The app as in production; a test hands in what the plugin takes of the world outside. */
async function buildApp(options: Pick<ChannelsOptions, 'clock' | 'broker' | 'profile'>) {
  const app = fastify()
  await app.register(channels, options)
  app.sockets.serve(room, { log: { ageMs: 3_600_000 } })
  app.get(
    '/ws',
    act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'room-1')))
  )
  return app
}

// #endregion
// #region import
import { createNet } from 'fastify-channels/testing'

// #endregion
// #region test
await using net = await createNet({ seed: 1, app: buildApp })
const ada = net.client('/ws', { profile: { id: 'ada' } })
await net.settle()
const awayFor = async (ms: number, n: number) => {
  ada.offline()
  await net.node().app.sockets.broadcast('room-1', { cmd: 'said', param: n })
  await net.advance(ms)
  ada.online()
  await net.advance(60_000)
}
await awayFor(60_000, 1)
assert.deepEqual(ada.params('room-1'), [1])
await awayFor(7_200_000, 2)
assert.equal(ada.outcomes('room-1').at(-1)?.kind, 'gap')
await net.expectNoLoss()
// #endregion
assert.equal(ada.socket.state.name, 'connected')
