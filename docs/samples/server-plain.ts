import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import { listen, WebSocket } from './support/node.js'

const app = fastify()

// #region plain

import channels, { act, echo } from 'fastify-channels'

await app.register(channels)
app.get(
  '/ws/echo',
  act('echo', async (app, ps) => {
    await app.sockets.upgrade(ps, 'echo', { onMessage: echo })
  })
)
app.get(
  '/ws/device',
  act('device', async (app, ps) => {
    await app.sockets.upgrade(ps, 'devices', {
      onMessage: ({ cmd, param }, connection) => {
        connection.logger.info({ cmd }, 'reading')
        connection.send({ cmd: 'noted', param })
      }
    })
  })
)
// #endregion
const url = await listen(app)
for (const [path, cmd] of [
  ['echo', 'reading'],
  ['device', 'noted']
]) {
  const ws = new WebSocket(`${url}/ws/${path}`)
  ws.once('open', () => ws.send('{"cmd":"reading","param":{"celsius":21}}'))
  const answer = await new Promise(resolve => ws.once('message', data => resolve(JSON.parse(String(data)))))
  const channel = path === 'echo' ? 'echo' : 'devices'
  assert.deepEqual(answer, { channel, cmd, param: { celsius: 21 } })
  ws.close()
}
await app.close()
