import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act, unauthorized } from 'fastify-channels'
import { listen, until } from './support/node.js'

const app = fastify()
let tokens = 0
await app.register(channels, { profile: () => null })
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => {
    if (ps.requestString('token') === '') throw unauthorized()
    await app.sockets.upgrade(ps, 'lobby')
  })
)
app.get('/token', async () => ({ token: ++tokens }))
const origin = await listen(app)
const address = origin.replace('http', 'ws')
const waits: number[] = []
const showWait = (ms: number): unknown => waits.push(ms)

// #region reconnect

import { Socket } from 'fastify-channels/client'

// Asked before every dial, so that each one bears a fresh token.
const url = async () => {
  const response = await fetch(`${origin}/token`)
  const { token } = (await response.json()) as { token: string }
  return `${address}/ws/connect?token=${token}`
}
const socket = new Socket(url, { backoff: { minMs: 10, maxMs: 5_000 } })
socket.on('$state', state => {
  if (state.name === 'waiting') showWait(state.retryInMs)
})
// #endregion
await until(() => socket.state.name === 'connected')
const [connection] = app.sockets.connections()
await app.sockets.disconnect(connection!, 4100, 'come back')
await until(() => waits.length === 1)
await until(() => socket.state.name === 'connected')
assert.equal(tokens, 2)
socket.disconnect()
const refused = new Socket('/ws/connect')
await until(() => refused.state.name === 'closed')
assert.equal((refused.state as { status?: number }).status, 401)
await app.close()
