import { EventEmitter } from 'node:events'
import t from 'tap'
import type { WebSocket } from 'ws'
import type { SocketEvents } from '../../lib/connection/channel-socket.ts'
import { channelSocket, takeEvents } from '../../lib/connection/channel-socket.ts'

const ChannelSocket = channelSocket(EventEmitter)

function taken(socket: EventEmitter = new ChannelSocket()): { socket: EventEmitter; told: unknown[] } {
  const told: unknown[] = []
  const events: SocketEvents = {
    message: (data, isBinary) => void told.push('message', String(data), isBinary),
    control: () => void told.push('control'),
    failed: ({ message }) => void told.push('failed', message),
    closed: (code, reason) => void told.push('closed', code, String(reason))
  }
  takeEvents(socket as WebSocket, events)
  return { socket, told }
}

t.test('one object hears what happens to a socket, and the socket needs no listeners', async t => {
  const { socket, told } = taken()
  t.equal(socket.emit('message', Buffer.from('m'), true), true)
  socket.emit('ping', Buffer.from(''))
  socket.emit('pong', Buffer.from(''))
  t.equal(socket.emit('error', new Error('torn')), true, 'an error without listeners is not thrown')
  socket.emit('close', 1006, Buffer.from('gone'))
  t.strictSame(told, ['message', 'm', true, 'control', 'control', 'failed', 'torn', 'closed', 1006, 'gone'])
  t.strictSame(socket.eventNames(), [])
})

t.test('a socket of a class that the host has put in place of ours is listened to', async t => {
  const { socket, told } = taken(new EventEmitter())
  socket.emit('message', Buffer.from('m'), true)
  socket.emit('ping', Buffer.from(''))
  socket.emit('pong', Buffer.from(''))
  socket.emit('error', new Error('torn'))
  socket.emit('close', 1006, Buffer.from('gone'))
  t.strictSame(told, ['message', 'm', true, 'control', 'control', 'failed', 'torn', 'closed', 1006, 'gone'])
})

t.test('others that listen to the same socket hear all of it as well, once each', async t => {
  const { socket, told } = taken()
  const heard: unknown[] = []
  for (const event of ['message', 'ping', 'pong', 'error', 'close', 'open', 'of-their-own']) {
    socket.on(event, (...args) => void heard.push([event, ...args]))
  }
  const all: unknown[][] = [
    ['message', 'm', false],
    ['ping', 'p'],
    ['pong', 'p'],
    ['error', new Error('torn')],
    ['close', 1000, 'bye'],
    ['open'],
    ['of-their-own', 1, 2, 3]
  ]
  for (const [event, ...args] of all) t.equal(socket.emit(event as string, ...args), true)
  t.strictSame(heard, all)
  t.equal(told.length, 3 + 1 + 1 + 2 + 3)
})

t.test('a socket whose events nobody took is an emitter as any other', async t => {
  const socket = new ChannelSocket()
  t.equal(socket.emit('message', 'm', false), false)
  t.throws(() => socket.emit('error', new Error('torn')), { message: 'torn' })
  const { socket: other } = taken()
  t.equal(other.emit('open'), false, 'nor is it different where an event is none of ours')
})
