import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen } from './support/node.js'

const app = fastify()
await app.register(channels)
app.get(
  '/ws/connect',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const address = (await listen(app)).replace('http', 'ws')

// #region node

import { Socket } from 'fastify-channels/client'
import { WebSocket } from 'ws'

const socket = new Socket(`${address}/ws/connect`, { WebSocket })
// #endregion
const states: string[] = []
// #region events
socket.on('$state', state => void states.push(state.name))
socket.on('$open', ({ resumed }) => void states.push(resumed ? 'resumed' : 'new session'))
socket.on('$close', ({ code, final }) => void states.push(`${code}${final ? ', for good' : ', will return'}`))
const stop = socket.on('$error', error => void states.push(error.code))
socket.on('$message', ({ channel, cmd }) => void states.push(`${channel}: ${cmd}`))
// #endregion
const lobby = socket.channel('lobby')
await lobby.ready()
stop()
await app.sockets.broadcast('lobby', { cmd: 'news', param: {} })
await new Promise<void>(resolve => void lobby.on('news', () => resolve()))
socket.disconnect()
assert.deepEqual(states, ['connected', 'new session', 'lobby: news', 'closed', '1000, for good'])
await app.close()
