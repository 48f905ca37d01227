import { once } from 'node:events'
import { createServer, connect as dial, type Socket as TcpSocket } from 'node:net'
import fastify from 'fastify'
import t from 'tap'
import { WebSocket } from 'ws'
import {
  type ChannelError,
  DEFAULTS,
  Socket,
  type SocketOptions,
  type WebSocketConstructor
} from '../../client/index.ts'
import { chatRooms, connect, notifications } from '../../controllers/index.ts'
import { command, defineChannel, Type } from '../../lib/protocol/index.ts'
import { act, type ChannelsOptions, channels, echo, type Sockets } from '../../plugins/index.ts'
import { headerProfile, type Teardown } from '../fixtures/server.ts'

const room = defineChannel('room-:room', {
  events: { line: Type.Object({ text: Type.String() }) },
  commands: {
    say: command(Type.Object({ text: Type.String() })),
    hold: command(Type.Null()),
    add: command(Type.Tuple([Type.Number(), Type.Number()]), { reply: Type.Number() })
  },
  presence: Type.Object({ name: Type.String() })
})

/** What the handlers of one server were asked to do; `release` lets those that hold go. */
interface Work {
  readonly said: string[]
  readonly holding: Array<() => void>
}

/** A server with rooms; on a given port it is the same one restarted. */
async function start(t: Teardown, work: Work, port = 0, options: ChannelsOptions = {}) {
  const app = fastify()
  await app.register(channels, { profile: headerProfile, closeGraceMs: 100, ...options })
  app.sockets.serve(room, {
    presence: true,
    access: ({ params }) => params.room !== 'staff',
    commands: {
      say: ({ text }, context) => {
        work.said.push(text)
        context.publish({ cmd: 'line', param: { text } })
      },
      hold: () => new Promise<void>(resolve => work.holding.push(resolve)),
      add: ([a, b]) => a + b
    }
  })
  await app.register(connect, { prefix: '/ws', requireProfile: false })
  await app.register(notifications, { prefix: '/ws', requireProfile: false })
  await app.register(chatRooms, { prefix: '/ws', hasRoomAccess: (_profile, id) => id !== 'staff' })
  app.get(
    '/ws/echo',
    act('echo', async (app, ps) => void (await app.sockets.upgrade(ps, 'echo', { onMessage: echo })))
  )
  const url = await app.listen({ port, host: '127.0.0.1' })
  t.teardown(() => app.close())
  return { app, url, port: Number(new URL(url).port), sockets: app.sockets as Sockets<unknown> }
}

/** ws with the header that says who we are. */
function webSocketOf(user: string): WebSocketConstructor {
  return class extends WebSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols, { headers: { 'x-user': user } })
    }
  } as unknown as WebSocketConstructor
}

function open(t: Teardown, url: string, user = 'ann', options: SocketOptions = {}) {
  const backoff = { minMs: 1, maxMs: 20, stableMs: 0 }
  const socket = new Socket(url.replace('http', 'ws'), { WebSocket: webSocketOf(user), backoff, ...options })
  t.teardown(() => socket.disconnect())
  return socket
}

type Anything = { on(event: any, listener: (...args: any[]) => void): () => void }

/** Resolves with what the listener is told, the first time that it fits. */
function heard(source: Anything, event: string, fits: (...args: any[]) => boolean = () => true): Promise<any[]> {
  return new Promise(resolve => {
    const undo = source.on(event, (...args) => {
      if (!fits(...args)) return
      undo()
      resolve(args)
    })
  })
}

function deferred(): { promise: Promise<unknown[]>; resolve: (value: unknown[]) => void } {
  let resolve: (value: unknown[]) => void = () => {}
  const promise = new Promise<unknown[]>(settle => {
    resolve = settle
  })
  return { promise, resolve }
}

const isState = (name: string) => (state: { name: string }) => state.name === name
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    error => error as ChannelError
  )

t.test('a socket joins many channels, sends, is answered, and hears of the others', async t => {
  const { url, sockets } = await start(t, { said: [], holding: [] })
  const ann = open(t, `${url}/ws/connect`)
  const bob = open(t, `${url}/ws/connect`, 'bob')
  const [one, two] = [ann.join('room-:room', { room: '1' }), bob.join('room-:room', { room: '1' })]
  await one.ready()
  await two.ready()
  const line = heard(two, 'line')
  t.strictSame(await one.send('say', { text: 'hello' }), { position: null, stored: 'none', reply: undefined })
  t.match(await line, [{ text: 'hello' }, { channel: 'room-1', from: 'ann' }])
  t.equal(await one.request('add', [3, 4]), 7)
  t.strictSame((await one.refreshPresence()).members?.map(member => member.id).sort(), ['ann', 'bob'])
  t.match(await failure(one.send('say', { text: 4 })), { code: 'invalid-param', message: /\/text/, retry: false })
  const staff = ann.join('room-:room', { room: 'staff' })
  t.match(await failure(staff.ready()), { code: 'forbidden' })
  t.match(staff.state, { name: 'refused' })
  const note = heard(ann, '$message', message => message.cmd === 'system-update')
  await sockets.sendToUser('ann', { channel: 'notifications', cmd: 'system-update', param: { title: 'hi' } })
  t.match(await note, [{ channel: 'notifications', param: { title: 'hi' } }])
  one.leave()
  await heard(two, '$presence', presence => presence.count === 1)
})

t.test('the seed’s own form works: debug, onOpen, onMessage, onError, url', async t => {
  const { url } = await start(t, { said: [], holding: [] })
  const seen: unknown[] = []
  // What the platform gives on Node 22 and in browsers: this form has no option to hand one in.
  const defaults = DEFAULTS as { WebSocket?: unknown }
  const before = defaults.WebSocket
  defaults.WebSocket = WebSocket
  t.teardown(() => {
    defaults.WebSocket = before
  })
  const opened = deferred()
  const failed = deferred()
  const socket = new Socket(
    false,
    () => opened.resolve([]),
    message => seen.push(message),
    (...args) => failed.resolve(args),
    `${url.replace('http', 'ws')}/ws/echo`
  )
  t.teardown(() => socket.disconnect())
  await opened.promise
  await socket.send({ channel: 'echo', cmd: 'hello', param: { a: 1 } })
  t.match(seen, [{ channel: 'echo', cmd: 'hello', param: { a: 1 } }])
  socket.send({ channel: 'elsewhere', cmd: '$reserved', param: null }).catch(() => {})
  t.match(await failed.promise, ['elsewhere', /./])
})

t.test('after a restart of the server it is back, joins again and sends what waited, once', async t => {
  const work: Work = { said: [], holding: [] }
  const first = await start(t, work)
  const socket = open(t, `${first.url}/ws/connect`)
  const chat = socket.join('room-:room', { room: '1' })
  await chat.send('say', { text: 'before' })
  const lost = heard(socket, '$close')
  await first.app.close()
  t.match(await lost, [{ code: 1012, final: false }])
  const queued = [chat.send('say', { text: 'queued 1' }), chat.send('say', { text: 'queued 2' })]
  const back = heard(socket, '$open')
  await start(t, work, first.port)
  await back
  t.match(await Promise.all(queued), [{ stored: 'none' }, { stored: 'none' }])
  t.strictSame(work.said, ['before', 'queued 1', 'queued 2'])
})

t.test('what was sent and not answered when the link died is answered on the next one, and has run once', async t => {
  const work: Work = { said: [], holding: [] }
  const { url } = await start(t, work)
  const proxy = await startProxy(t, Number(new URL(url).port))
  const socket = open(t, `http://127.0.0.1:${proxy.port}/ws/connect`)
  const chat = socket.join('room-:room', { room: '1' })
  await chat.ready()
  proxy.hold = true
  const sent = chat.send('say', { text: 'on its way' })
  while (!work.said.includes('on its way')) await new Promise(resolve => setImmediate(resolve))
  const back = heard(socket, '$open')
  proxy.cut()
  proxy.hold = false
  const later = chat.send('say', { text: 'later' })
  t.match(await back, [{ resumed: true }])
  t.match(await sent, { stored: 'none' })
  await later
  t.strictSame(work.said, ['on its way', 'later'])
})

t.test('an action’s refusal ends the dialling: the probe tells the status that a WebSocket hides', async t => {
  const { url } = await start(t, { said: [], holding: [] })
  const socket = open(t, `${url}/ws/chat/staff`, 'ann', {
    probe: true,
    fetch: (target, init) => fetch(target, { ...(init as RequestInit), headers: { 'x-user': 'ann' } })
  })
  const [info] = await heard(socket, '$close')
  t.match(info, { final: true, status: 403 })
  t.match(socket.state, { name: 'closed', status: 403 })
})

t.test('a server that is full names a delay, and the client comes once it is over', async t => {
  const { url } = await start(t, { said: [], holding: [] }, 0, { limits: { connectionsPerUser: 1 } })
  const first = open(t, `${url}/ws/connect`)
  await heard(first, '$open')
  const second = open(t, `${url}/ws/connect`, 'ann', {
    probe: true,
    fetch: (target, init) => fetch(target, { ...(init as RequestInit), headers: { 'x-user': 'ann' } })
  })
  const [state] = await heard(second, '$state', isState('waiting'))
  t.ok(state.retryInMs >= 5000, `it waits ${state.retryInMs} ms`)
})

t.test('who is closed by the server stays away; who is closed for now comes back', async t => {
  const { url, sockets } = await start(t, { said: [], holding: [] })
  const ann = open(t, `${url}/ws/connect`)
  const bob = open(t, `${url}/ws/connect`, 'bob')
  await Promise.all([heard(ann, '$open'), heard(bob, '$open')])
  const gone = heard(ann, '$close')
  await sockets.closeRequest({ user: 'ann' }, 'enough')
  t.match(await gone, [{ code: 4500, reason: 'enough', final: true }])
  const back = heard(bob, '$open')
  await sockets.disconnect({ user: 'bob' }, 4100, 'later')
  await back
  t.equal(ann.state.name, 'closed')
  t.equal(await sockets.online('ann'), false)
  t.equal(await sockets.online('bob'), true)
})

t.test('both ends notice a link that goes silent', async t => {
  const closes: number[] = []
  const { url } = await start(t, { said: [], holding: [] }, 0, {
    heartbeatMs: 200,
    // The client, which is not told of the server's close either, shall find out by itself.
    closeGraceMs: 1000,
    onClose: (_connection, { code }) => void closes.push(code)
  })
  const proxy = await startProxy(t, Number(new URL(url).port))
  const socket = open(t, `http://127.0.0.1:${proxy.port}/ws/connect`, 'ann', {
    silentSlackMs: 100,
    connectTimeoutMs: 1000
  })
  await heard(socket, '$open')
  const lost = heard(socket, '$close')
  proxy.hold = true
  proxy.deaf = true
  t.match(await lost, [{ code: 4001, reason: 'silent' }])
  while (closes.length === 0) await new Promise(resolve => setImmediate(resolve))
  proxy.hold = false
  proxy.deaf = false
  await heard(socket, '$open')
  t.ok(closes.length > 0)
})

interface Proxy {
  readonly port: number
  /** Whether what the server sends is kept back. */
  hold: boolean
  /** Whether what the client sends is kept back. */
  deaf: boolean
  cut(): void
}

/** A TCP proxy that can be deaf, dumb, or cut. */
async function startProxy(t: Teardown, target: number): Promise<Proxy> {
  const links = new Set<TcpSocket>()
  const server = createServer(client => {
    const upstream = dial(target, '127.0.0.1')
    const pass = (from: TcpSocket, to: TcpSocket, blocked: () => boolean): void => {
      links.add(from)
      from.on('data', data => void (blocked() || to.write(data)))
      from.on('error', () => {})
      from.on('close', () => {
        links.delete(from)
        to.destroy()
      })
    }
    pass(client, upstream, () => proxy.deaf)
    pass(upstream, client, () => proxy.hold)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const proxy: Proxy = {
    port: (server.address() as { port: number }).port,
    hold: false,
    deaf: false,
    cut() {
      proxy.hold = false
      for (const link of [...links]) link.resetAndDestroy()
    }
  }
  t.teardown(() => {
    for (const link of links) link.destroy()
    server.close()
  })
  return proxy
}
