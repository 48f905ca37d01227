import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels from 'fastify-channels'
import { listen, WebSocket } from './support/node.js'

const app = fastify()
await app.register(channels)

// #region basic

import { act } from 'fastify-channels'

const mySocketHandler = act('my.socket', async (app, ps) => {
  // The channel of this connection
  const channel = 'user-notifications'

  // Upgrade the connection to WebSocket; what fails is thrown, answered and logged
  await app.sockets.upgrade(ps, channel)
})

app.get('/ws/notifications', mySocketHandler)
// #endregion
const ws = new WebSocket(`${await listen(app)}/ws/notifications`)
await new Promise(resolve => ws.once('open', resolve))
assert.deepEqual(app.sockets.channels(), ['user-notifications'])
ws.close()
await app.close()
