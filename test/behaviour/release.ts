import { errorMonitor, once } from 'node:events'
import type { Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { WebSocket } from 'ws'
import { Channel } from '../../lib/channel/channel.ts'
import { Subscription } from '../../lib/channel/subscription.ts'
import { Turn } from '../../lib/connection/turn.ts'
import { act } from '../../plugins/index.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { connect } from '../fixtures/raw-client.ts'
import { serve } from '../fixtures/server.ts'
import { until } from '../fixtures/until.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
const clock = new ManualClock()

t.test('an open connection keeps neither its request nor its response', async t => {
  const kept: Array<[string, WeakRef<object>]> = []
  const { url } = await serve(t, {}, app => {
    app.addHook('onRequest', async (request, reply) => {
      const parts = { request, reply, raw: request.raw, response: reply.raw }
      for (const [name, part] of Object.entries(parts)) kept.push([name, new WeakRef<object>(part)])
    })
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const clients = [await connect(`${url}/ws`), await connect(`${url}/ws`)]
  t.equal(kept.length, 8)
  // The parser that read the latest request may keep it until the next one comes.
  const alive = (): string[] => {
    gc()
    return kept.slice(0, 4).flatMap(([name, part]) => (part.deref() === undefined ? [] : [name]))
  }
  await until('they are collected', () => alive().length === 0)
  t.pass('both were collected while the connections were open')
  for (const client of clients) await client.close()
})

t.test('who waits for the end of the response hears of it when the link is gone, as without this package', async t => {
  const ends: string[] = []
  const { url } = await serve(t, {}, app => {
    app.addHook('onRequest', async (_request, reply) => void reply.raw.on('close', () => ends.push('closed')))
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const client = await connect(`${url}/ws`)
  t.strictSame(ends, [])
  await client.close()
  await until('it hears', () => ends.length === 1)
  t.strictSame(ends, ['closed'])
})

t.test('ws’s own list holds the host’s sockets and none of ours, and closing the app ends both', async t => {
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
    app.get('/other', { websocket: true }, () => {})
  })
  const ours = await connect(`${url}/ws`)
  const other = new WebSocket(`${url.replace('http', 'ws')}/other`)
  await once(other, 'open')
  t.equal(app.websocketServer.clients.size, 1)
  const [code] = await Promise.all([once(other, 'close').then(([code]) => code as number), app.close()])
  t.equal(code, 1005, 'the host’s, by @fastify/websocket')
  t.match(await ours.closed, { code: 1012 }, 'ours, by the service')
})

t.test('a host may listen to our sockets as well, and give its server a class of its own', async t => {
  for (const own of [false, true]) {
    const heard: string[] = []
    const onMessage = ({ cmd }: { cmd: string }): void => void heard.push(`our ${cmd}`)
    const { app, url } = await serve(t, { onMessage, limits: { messagesPerSecond: 10, burst: 20 } }, app => {
      if (own) app.websocketServer.options.WebSocket = class extends WebSocket {} as never
      app.websocketServer.on('connection', ws => {
        for (const event of ['message', 'ping', 'pong', 'close']) ws.on(event, () => void heard.push(event))
        ws.on(errorMonitor, () => void heard.push('error'))
      })
      app.get(
        '/ws',
        act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
      )
    })
    const client = await connect(`${url}/ws`)
    client.send('{"channel":"room","cmd":"hello"}')
    await until('it has come', () => heard.length === 2)
    client.ws.ping()
    client.ws.pong()
    await until('they have come', () => heard.length === 4)
    // A frame that is none.
    ;(client.ws as unknown as { _socket: Socket })._socket.write(Buffer.from([0xff, 0x80, 1, 2, 3, 4]))
    t.match(await client.closed, { code: 1002 })
    await until('both hear the end', () => heard.length === 6 && app.sockets.stats().closed === 1)
    t.strictSame(heard, ['message', 'our hello', 'ping', 'pong', 'error', 'close'], own ? 'its own' : 'ours')
    t.match(app.sockets.stats().refusals, { 'protocol-error': 1 })
    const flood = await connect(`${url}/ws`)
    for (let i = 0; i < 2_000; i++) flood.ws.pong()
    await until('what is no message counts against the rate', () => app.sockets.stats().refusals['rate-limited'] === 1)
    t.match(await flood.closed, { code: 4002 })
  }
})

t.test('a channel that tells nobody who is there forgets whoever has left', async t => {
  const channel = new Channel('lobby', null, { clock, turn: new Turn(clock), broker: {} as never, failed: () => {} })
  const stays = visit(channel, 'stays')
  t.equal(stays.state, 'joined')
  const before = usedHeap()
  for (let i = 0; i < 20_000; i++) {
    const visitor = visit(channel, `${i}`.padEnd(100, 'x'))
    channel.remove(visitor)
    channel.depart(visitor.connection)
  }
  // What it knew of each was 200 bytes at least.
  t.ok(usedHeap() - before < 1_000_000)
  t.strictSame(channel.presence.members(), [{ id: 'stays' }])
})

function visit(channel: Channel, id: string): Subscription {
  const subscription = new Subscription('lobby', { profile: { id }, outbox: {} } as never, 'server')
  channel.add(subscription)
  return subscription
}

function usedHeap(): number {
  gc()
  return process.memoryUsage().heapUsed
}
