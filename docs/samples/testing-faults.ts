import { strict as assert } from 'node:assert'
import { command, defineChannel, Type } from 'fastify-channels/protocol'
import { createNet } from 'fastify-channels/testing'

const numbered = Type.Object({ n: Type.Integer() })
const room = defineChannel('room-:room', { events: { said: numbered }, commands: { say: command(numbered) } })

// #region cluster
await using net = await createNet({
  seed: 7,
  nodes: 2,
  latencyMs: [1, 30],
  setup: app =>
    void app.sockets.serve(room, {
      log: true,
      access: () => true,
      commands: { say: (param, { publish }) => publish({ cmd: 'said', param }) }
    })
})
const [ada, bob] = ['ada', 'bob'].map((id, node) => net.client({ profile: { id }, node }))
const rooms = [ada!, bob!].map(({ socket }) => socket.join('room-:room', { room: '1' }))
await net.advance(1_000)

net.node(0).kill() // Without a goodbye.
await net.advance(100) // Ada's link is gone.
const sent = rooms[0]!.send('say', { n: 1 }) // Waits in her outbox.
await net.node(0).restart() // With what the store kept.
await net.advance(60_000)
assert.equal((await net.settle(sent)).stored, 'disk')
assert.deepEqual(bob!.params('room-1'), [{ n: 1 }])
// #endregion

// #region chaos
net.chaos({ ms: 60_000, everyMs: 2_000, faults: ['reset', 'offline', 'delay', 'suspend', 'stall', 'kill', 'drain'] })
for (let n = 2; n <= 100; n++) {
  rooms[net.chance.below(2)]!.send('say', { n }).catch(() => {})
  await net.advance(500)
}
await net.advance(60_000) // Everything is whole again, and everybody has come back.
await net.expectNoLoss()
// #endregion
assert.match(net.trace, /fault: killed/)
