import { EventEmitter } from 'node:events'
import t from 'tap'
import { channelSocket, TRANSPORT } from '../../lib/connection/channel-socket.ts'

const ChannelSocket = channelSocket(EventEmitter)

t.test('a transport hears of pings and pongs without listeners, and those who listen hear as ever', async t => {
  const socket = new ChannelSocket() as EventEmitter & { [TRANSPORT]: unknown }
  t.equal(socket.emit('ping', Buffer.from('')), false, 'nobody has it yet')
  let told = 0
  socket[TRANSPORT] = { control: () => void told++ }
  const events: unknown[][] = [['ping', 'p'], ['pong', 'p'], ['message', 'm', false], ['close', 1000, 'bye'], ['open']]
  for (const [event, ...args] of events) t.equal(socket.emit(event as string, ...args), false)
  t.equal(told, 2)
  t.strictSame(socket.eventNames(), [])
  const heard: unknown[][] = []
  for (const [event] of events) socket.on(event as string, (...args) => void heard.push([event, ...args]))
  for (const [event, ...args] of events) t.equal(socket.emit(event as string, ...args), true)
  t.strictSame(heard, events)
  t.equal(told, 4)
  t.throws(() => socket.emit('error', new Error('torn')), { message: 'torn' }, 'an error is as it was')
})
