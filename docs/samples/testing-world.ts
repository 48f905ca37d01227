import { strict as assert } from 'node:assert'
import { command, defineChannel, Type } from 'fastify-channels/protocol'

const numbered = Type.Object({ n: Type.Integer() })
const room = defineChannel('room-:room', { events: { said: numbered }, commands: { say: command(numbered) } })

// #region world
import { createWorld } from 'fastify-channels/testing'

for (let seed = 1; seed <= 20; seed++) {
  await using world = await createWorld({
    seed,
    latencyMs: [0, 20],
    setup: sockets =>
      void sockets.serve(room, {
        log: true,
        access: () => true,
        commands: { say: (param, { publish }) => publish({ cmd: 'said', param }) }
      })
  })
  const rooms = ['ada', 'bob'].map(id => world.client({ profile: { id } }).socket.join('room-:room', { room: '1' }))
  world.chaos({ ms: 10_000 })
  for (let n = 0; n < 20; n++) {
    world.chance
      .pick(rooms)
      .send('say', { n })
      .catch(() => {})
    await world.advance(500)
  }
  await world.advance(60_000)
  await world.expectNoLoss()
}
// #endregion
assert.ok(true)
