import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import { defineChannel, Type } from 'fastify-channels/protocol'

const app = fastify()

// #region memory
import channels, { memory } from 'fastify-channels'

await app.register(channels, {
  broker: memory({ channels: 10_000, bytes: 64 * 1024 * 1024 })
})
// #endregion
const news = defineChannel('news', { events: { told: Type.Object({ text: Type.String() }) } })
const handle = app.sockets.serve(news, { log: { entries: 10 } })
await app.ready()
for (let offset = 1; offset <= 20; offset++) {
  const { position } = await handle.broadcast({}, { cmd: 'told', param: { text: `${offset}` } })
  assert.equal(position?.offset, offset)
}
await app.close()
