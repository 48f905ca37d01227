import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until } from './support/node.js'

const app = fastify()
await app.register(channels)
app.get(
  '/ws/notifications',
  act('n', async (app, ps) => void (await app.sockets.upgrade(ps, 'user-notifications')))
)
await listen(app)
const done: string[] = []
const showNotification = (param: unknown): unknown => done.push(`notification ${JSON.stringify(param)}`)
const handleUserJoined = (param: unknown): unknown => done.push(`joined ${JSON.stringify(param)}`)
const updateConnectionStatus = (connected: boolean, error = ''): unknown => done.push(`${connected} ${error}`)
const window = { location: { hostname: 'app.example.com' } }

// #region client

import { type Message, Socket } from 'fastify-channels/client'

// Define callback functions
function onSocketOpen() {
  updateConnectionStatus(true)
}

function onMessageReceived(message: Message) {
  // Handle different message types
  switch (message.cmd) {
    case 'notification':
      showNotification(message.param)
      break
    case 'user-joined':
      handleUserJoined(message.param)
      break
  }
}

function onSocketError(service: string, error: string) {
  updateConnectionStatus(false, `${service}: ${error}`)
}

// Enable debug mode in development
const debug = window.location.hostname === 'localhost'

// Create socket connection
const socket = new Socket(debug, onSocketOpen, onMessageReceived, onSocketError, '/ws/notifications')
// #endregion
await until(() => done.length === 1)
await app.sockets.broadcast('user-notifications', { cmd: 'notification', param: { title: 'Hello' } })
await app.sockets.broadcast('user-notifications', { cmd: 'user-joined', param: { id: '1' } })
await until(() => done.length === 3)
assert.deepEqual(done, ['true ', 'notification {"title":"Hello"}', 'joined {"id":"1"}'])
socket.disconnect()
await app.close()
