import { once } from 'node:events'
import { connect as connectHttp2 } from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import type { ChannelError, WebSocketConstructor } from '../../client/index.ts'
import { Socket as ChannelSocket } from '../../client/index.ts'
import { Presence } from '../../lib/channel/presence.ts'
import { systemClock } from '../../lib/clock.ts'
import { defineChannel } from '../../lib/protocol/index.ts'
import { act, channels } from '../../plugins/index.ts'
import { connect } from '../fixtures/raw-client.ts'
import { as, serve } from '../fixtures/server.ts'

t.test('an HTTP/2 request of a socket route is answered 426 and ends nobody', async t => {
  const app = fastify({ http2: true }) as unknown as FastifyInstance
  await app.register(channels, { profile: () => null })
  app.get(
    '/ws',
    act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
  )
  await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const client = connectHttp2(`http://127.0.0.1:${(app.server.address() as AddressInfo).port}`)
  t.teardown(() => client.destroy())
  for (const method of ['GET', 'HEAD']) {
    const stream = client.request({ ':path': '/ws', ':method': method })
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>]
    t.equal(headers[':status'], 426, method)
    stream.resume()
    await once(stream, 'close')
  }
})

t.test('a command that cannot be read is refused by its id, and those after it are in their turn', async t => {
  const heard: unknown[] = []
  const { url } = await serve(t, { onMessage: message => void heard.push(message.param) }, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const socket = new ChannelSocket(`${url}/ws`, { WebSocket: WebSocket as unknown as WebSocketConstructor })
  t.teardown(() => socket.disconnect())
  const send = (cmd: string, param?: unknown) =>
    socket.send({ channel: 'room', cmd, param }, { timeoutMs: 5000 }).then(
      () => 'ack',
      error => (error as ChannelError).code
    )
  let deep: unknown = 0
  for (let depth = 0; depth < 40; depth++) deep = [deep]
  t.equal(await send('say', 1), 'ack')
  t.equal(await send('say', deep), 'bad-frame')
  t.equal(await send('say', JSON.parse('{"__proto__":1}')), 'bad-frame')
  t.equal(await send('s'.repeat(129)), 'bad-frame')
  t.equal(await send('say', 2), 'ack')
  t.strictSame(heard, [1, 2])
})

t.test('who was closed for the rate is not listened to any more', async t => {
  const late: string[] = []
  const limits = { burst: 1, messagesPerSecond: 1 }
  const { app, url } = await serve(t, { limits }, app => {
    app.sockets.serve(defineChannel('open-:n', {}), {
      access: ({ channel, connection }) => connection!.open || late.push(channel) > 0
    })
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const client = await connect(`${url}/ws`)
  // In one packet: what comes in another is not read before the debt is paid.
  const { _socket: socket } = client.ws as unknown as { _socket: Socket }
  socket.cork()
  for (let ref = 1; ref < 50; ref++) client.send({ cmd: '$join', channel: `open-${ref}`, ref })
  socket.uncork()
  t.equal((await client.closed).code, 4002)
  t.strictSame(late, [])
  t.strictSame(app.sockets.stats().refusals, { 'rate-limited': 1 })
})

t.test('a promise that nobody waits for never ends the process', async t => {
  const rejections: unknown[] = []
  const note = (error: unknown) => void rejections.push(error)
  process.on('unhandledRejection', note)
  t.teardown(() => process.off('unhandledRejection', note))
  const asynchronous = async () => {
    throw new Error('of the host')
  }
  const options = { onOpen: asynchronous, onClose: asynchronous, onError: asynchronous, onAction: asynchronous }
  const { url } = await serve(t, options, app => {
    app.get(
      '/ws',
      act('room', (app, ps) => void app.sockets.upgrade(ps, 'room'))
    )
    app.get(
      '/late',
      act('late', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  t.equal((await fetch(`${url}/ws`)).status, 204, 'an action that did not wait has answered')
  t.equal((await (await connect(`${url}/ws`)).closed).code, 1011, 'an action that did not wait has opened')
  const client = await connect(`${url}/late`)
  t.equal((await client.closed).code, 1011)
  await new Promise(resolve => setTimeout(resolve, 20))
  t.strictSame(rejections, [])
})

t.test('what fails between the 101 and the connection is answered 101, and closes 1011', async t => {
  // A connection asks when it is opened: after the 101, and before anything knows of it.
  let isBroken = false
  const wall = (): number => {
    if (isBroken) throw new Error('of the clock')
    return systemClock.wall()
  }
  const { app, url } = await serve(t, { clock: { ...systemClock, wall } }, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => {
        isBroken = true
        await app.sockets.upgrade(ps, 'room')
      })
    )
  })
  const client = await connect(`${url}/ws`)
  t.equal((await client.closed).code, 1011)
  t.equal(app.sockets.stats().opened, 0)
})

t.test('the 101 and what a client is greeted with leave in one write', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const pieces: string[] = []
  app.server.prependListener('upgrade', (_request, socket: Socket) => {
    const handle = (socket as unknown as { _handle: Record<string, (...args: unknown[]) => number> })._handle
    for (const way of ['writev', 'writeUtf8String', 'writeLatin1String', 'writeBuffer']) {
      const write = handle[way]!
      handle[way] = (...args) => {
        pieces.push(
          JSON.stringify(args[1], (_key, value) => (value?.type === 'Buffer' ? String(Buffer.from(value)) : value))
        )
        return write.apply(handle, args)
      }
    }
  })
  const client = await connect(`${url}/ws`)
  await client.next('$joined')
  t.equal(pieces.length, 1)
  t.match(pieces[0], /^.*HTTP\/1.1 101.*\$welcome.*\$joined/)
})

t.test('a route that has other methods than GET is no socket route, even where the other is HEAD', async t => {
  const { url } = await serve(t, {}, app => {
    const handler = act('both', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    app.route({ url: '/both', method: ['GET', 'HEAD'], handler })
  })
  const answer = await fetch(`${url}/both`)
  t.match(await answer.json(), { statusCode: 500, code: 'FST_CHANNELS_NOT_A_SOCKET_ROUTE' })
})

t.test(
  'closeRequest comes after what was sent before it, and is told of its mistakes before it does anything',
  async t => {
    const { app, url } = await serve(t, {}, app => {
      app.get(
        '/ws',
        act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
      )
    })
    const plain = await connect(`${url}/ws`, { v1: false, ...as('ann') })
    const client = await connect(`${url}/ws`, as('ann'))
    t.throws(() => app.sockets.closeRequest({ user: 'ann' }, 'x'.repeat(124)), { code: 'FST_CHANNELS_INVALID_CLOSE' })
    t.throws(() => app.sockets.disconnect({ user: 'nobody' }, 1005), { code: 'FST_CHANNELS_INVALID_CLOSE' })
    void app.sockets.broadcast('room', { cmd: 'last' })
    void app.sockets.closeRequest({ user: 'ann' })
    t.equal((await plain.next()).cmd, 'last')
    t.equal((await plain.next()).cmd, 'close-connection')
    t.equal((await client.closed).code, 4500)
    t.notOk(client.received.slice(0, -2).some(frame => frame.cmd === '$closing'))
    await plain.close()
  }
)

t.test('hooks that join and leave what is being joined and left change nothing twice', async t => {
  const told: string[] = []
  let again = true
  const { app, url } = await serve(t, {}, app => {
    app.sockets.serve(defineChannel('room', {}), {
      onJoin: ({ connection }) => {
        told.push('join')
        void app.sockets.join({ user: connection.profile!.id }, 'room')
      },
      onLeave: ({ connection, reason }) => {
        told.push(`leave ${reason}`)
        if (!again || reason === 'closed') return
        again = false
        void app.sockets.leave({ user: connection.profile!.id }, 'room')
        void app.sockets.join({ user: connection.profile!.id }, 'room')
      }
    })
    app.get(
      '/ws',
      act('start', async (app, ps) => void (await app.sockets.upgrade(ps, 'start')))
    )
  })
  const clients = [await connect(`${url}/ws`, as('ann')), await connect(`${url}/ws`, as('ann'))]
  const [first, second] = app.sockets.connections()
  t.equal(await app.sockets.join({ user: 'ann' }, 'room'), 1, 'the hook has joined the other')
  t.strictSame(told.splice(0), ['join', 'join'])
  await app.sockets.leave({ user: 'ann' }, 'room')
  t.strictSame(told.splice(0), ['leave server', 'leave server', 'join', 'join'])
  t.strictSame([first!.channels.includes('room'), second!.channels.includes('room')], [true, true])
  t.equal(app.sockets.stats().perChannel.room?.connections, 2)
  for (const client of clients) await client.close()
  t.strictSame(app.sockets.channels(), [])
})

t.test('a hook that joins a connection at its opening does not make it a member twice', async t => {
  const { app, url } = await serve(t, { onOpen: connection => void app.sockets.join(connection, 'room') }, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const client = await connect(`${url}/ws`)
  t.match(await client.next('$joined'), { channel: 'room', param: { by: 'server' } })
  t.equal(app.sockets.stats().perChannel.room?.connections, 1)
  await client.close()
  t.strictSame(app.sockets.channels(), [])
})

t.test('who came and left within one turn is gone for those who joined between', t => {
  const presence = new Presence(true)
  presence.add('ann', { id: 'ann', info: 1 })
  presence.add('bob', { id: 'bob' })
  t.equal(presence.state().count, 2)
  presence.remove('ann')
  presence.add('carol', { id: 'carol' })
  presence.remove('carol')
  t.match(presence.takeDiff(), { joins: [{ id: 'bob' }], leaves: [{ id: 'ann', info: 1 }] })
  t.equal(presence.takeDiff(), null)
  t.end()
})
