import { strict as assert } from 'node:assert'
import { listen, until } from './support/node.js'

const db = { isMember: async (user: string, room: string) => user === 'ann' && room === '42' }
const stored: string[] = []
const store = async (room: string, text: string): Promise<unknown> => stored.push(`${room}: ${text}`)

// #region controllers

import fastify from 'fastify'
import channels, { badRequest } from 'fastify-channels'
import { chatRooms, connect, notifications, secureUser } from 'fastify-channels/controllers'

const app = fastify()
await app.register(channels, { profile: () => ({ id: 'ann', name: 'Ann' }) })
await app.register(notifications, { prefix: '/ws' })
await app.register(secureUser, { prefix: '/ws' })
await app.register(connect, { prefix: '/ws' })
await app.register(chatRooms, {
  prefix: '/ws',
  hasRoomAccess: (profile, room) => db.isMember(profile.id, room),
  async onChatMessage(_profile, room, text) {
    if (text.includes('spam')) throw badRequest('No spam')
    await store(room, text)
    return text.trim()
  }
})
// #endregion
await listen(app)
const heard: string[] = []
const show = (text: string): unknown => heard.push(text)

// #region client

import { Socket } from 'fastify-channels/client'
import { chatRoomChannel, notificationsChannel } from 'fastify-channels/controllers'
import { defineChannel, defineContract } from 'fastify-channels/protocol'

const userChannel = defineChannel('user-:id', { events: notificationsChannel.events })
const contract = defineContract([chatRoomChannel, notificationsChannel, userChannel])

const socket = new Socket<typeof contract>('/ws/connect')
const room = socket.join('chat-room-:room', { room: '42' })
room.on('user-joined', ({ username }) => show(`${username} came`))
room.on('chat-message', ({ username, text }) => show(`${username}: ${text}`))
const news = socket.join('notifications')
news.on('notification', ({ title }) => show(title))
const mine = socket.channel('user-:id', { id: 'ann' })
mine.on('notification', ({ title }) => show(`For you: ${title}`))
await room.send('chat-message', { text: ' Hello ' })
// #endregion
await news.ready()
const notification = {
  id: '1',
  type: 'info',
  title: 'News',
  message: 'Tea is ready',
  timestamp: '2026-01-01T12:00:00Z'
}
// #region notify
await app.sockets.broadcast('notifications', { cmd: 'notification', param: notification })
await app.sockets.sendToUser('ann', { channel: 'notifications', cmd: 'notification', param: notification })
// #endregion
await until(() => heard.length === 4)
assert.deepEqual(stored, ['42:  Hello '])
assert.deepEqual(heard.sort(), ['Ann came', 'Ann: Hello', 'For you: News', 'News'])
await assert.rejects(room.send('chat-message', { text: 'spam' }), { code: 'bad-request' })
await assert.rejects(socket.join('chat-room-:room', { room: '7' }).ready(), { code: 'forbidden' })
socket.disconnect()
await app.close()
