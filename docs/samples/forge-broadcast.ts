import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'
import { listen, until, WebSocket } from './support/node.js'

// #region broadcast

import type { FastifyInstance } from 'fastify'

interface Notification {
  readonly id: string
  readonly type: string
  readonly title: string
  readonly message: string
  readonly createdAt: Date
}

// Broadcast to all clients in a channel
function broadcastNotification(app: FastifyInstance, channel: string, notification: Notification) {
  const { id, type, title, message, createdAt } = notification
  return app.sockets.broadcast(channel, {
    cmd: 'notification',
    param: { id, type, title, message, timestamp: createdAt }
  })
}

// Send a message to one user, on all of that user's connections
function sendUserMessage(app: FastifyInstance, userId: string, messageType: string, data: unknown) {
  return app.sockets.sendToUser(userId, { cmd: messageType, param: data })
}

// Send a message to several channels; receivers see the channel "system"
async function broadcastSystemUpdate(app: FastifyInstance, names: readonly string[], updateData: unknown) {
  const message = { channel: 'system', cmd: 'system-update', param: updateData }
  await Promise.all(names.map(name => app.sockets.sendToChannel(name, message)))
}
// #endregion
const app = fastify()
await app.register(channels, { profile: () => ({ id: '7' }) })
app.get(
  '/ws',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const ws = new WebSocket(`${await listen(app)}/ws`)
const heard: string[] = []
ws.on('message', data => void heard.push(JSON.parse(String(data)).cmd))
await until(() => app.sockets.connections().length === 1)
const one = { id: '1', type: 'info', title: 'Hello', message: 'World', createdAt: new Date(0) }
await broadcastNotification(app, 'lobby', one)
await sendUserMessage(app, '7', 'private', { a: 1 })
await broadcastSystemUpdate(app, ['lobby', 'nobody-here'], { version: 2 })
await until(() => heard.length === 3)
assert.deepEqual(heard.sort(), ['notification', 'private', 'system-update'])
ws.close()
await app.close()
