import t from 'tap'
import { ChannelError, DEFAULTS, Socket, type SocketOptions } from '../../client/index.ts'
import { move } from '../../client/states.ts'
import { settle } from '../fixtures/clock.ts'
import { FakeSocket, outcome, Stage } from '../fixtures/fake-socket.ts'

const WebSocket = FakeSocket

t.test('a socket is connected only once the server has welcomed it', async t => {
  const stage = new Stage()
  t.match(stage.socket.state, { name: 'connecting', attempt: 0 })
  await settle()
  const { ws } = stage
  t.same([ws.url, ws.protocols], ['ws://test.example/ws', ['channels.v1']])
  ws.open()
  t.equal(stage.socket.state.name, 'connecting')
  ws.welcome()
  t.same(stage.socket.state, { name: 'connected', session: 's', connection: 'c' })
  t.same(stage.told.$open, [{ session: 's', connection: 'c', resumed: false }])
  stage.socket.connect()
  stage.finish(t)
  t.same(ws.closed, { code: 1000, reason: '' })
  stage.socket.disconnect()
  t.same(stage.told.$close, [{ code: 1000, reason: '', final: true, status: undefined }])
  t.same(stage.states, ['connected', 'closed'])
})

t.test('the form of Project Forge dials at once, tells its three functions, and sends', async t => {
  const told: unknown[] = []
  const found: FakeSocket[] = []
  class Scripted extends FakeSocket {
    constructor(url: string, protocols: string[]) {
      super(url, protocols)
      found.push(this)
    }
  }
  t.throws(
    () =>
      new Socket(
        false,
        () => {},
        () => {},
        () => {}
      ),
    { code: 'invalid-option' },
    'no page to resolve against'
  )
  const platform = DEFAULTS.WebSocket
  Object.assign(DEFAULTS, { WebSocket: Scripted })
  Object.assign(globalThis, { location: { href: 'https://page.example/a/b?c#d', host: 'page.example' } })
  t.teardown(() => {
    Object.assign(DEFAULTS, { WebSocket: platform })
    Reflect.deleteProperty(globalThis, 'location')
  })
  const socket = new Socket(
    false,
    () => told.push('open'),
    message => told.push(message),
    (service, error) => told.push([service, error])
  )
  await settle()
  const ws = found[0]!.welcome()
  t.equal(ws.url, 'wss://page.example/ws/connect')
  ws.joined('room', {}, { by: 'route' })
  const sent = socket.send({ channel: 'room', cmd: 'say', param: { text: 'hi' } })
  t.same(ws.commands, [{ id: 1, channel: 'room', cmd: 'say', param: { text: 'hi' } }])
  ws.nack({ id: 1 }, 'invalid-param')
  t.equal(await outcome(sent), 'invalid-param')
  ws.frame({ channel: 'room', cmd: 'output', param: { msg: 'm', html: '' } })
  ws.text('garbage').frame({ channel: 'room', cmd: 'close-connection' })
  t.same(told, [
    'open',
    ['room', 'no: invalid-param'],
    { channel: 'room', cmd: 'output', param: { msg: 'm', html: '' } },
    ['socket', 'bad-frame'],
    { channel: 'room', cmd: 'close-connection', param: undefined }
  ])
  t.match(socket.state, { name: 'closed', code: 1000, reason: 'close-connection' }, 'and stays away')
})

t.test('bad options are refused at construction, naming option, expectation and value', async t => {
  const cases: Array<[unknown, string]> = [
    [{ sendTimeoutMs: '5' }, 'option "sendTimeoutMs": expected number, got 5'],
    [{ sendTimeoutMs: -1 }, 'option "sendTimeoutMs": expected 0 to 2147483647, got -1'],
    [{ connectTimeoutMs: 0 }, 'option "connectTimeoutMs": expected 1 to 2147483647, got 0'],
    [{ backoff: { minMs: 0 } }, 'option "backoff.minMs": expected 1 to 2147483647, got 0'],
    [{ queue: { count: Number.NaN } }, 'option "queue.count": expected 0 to 2147483647, got NaN'],
    [{ queue: null }, 'option "queue": expected object, got null'],
    [{ probe: 'always' }, 'option "probe": expected boolean or same-origin, got always'],
    [{ debug: 1 }, 'option "debug": expected boolean or function, got 1'],
    [{ fetch: {} }, 'option "fetch": expected function, got [object Object]'],
    [{ conect: true }, 'option "conect": expected a known name, got true']
  ]
  for (const [options, message] of cases) {
    t.throws(() => new Socket('ws://h', { WebSocket, ...(options as SocketOptions) }), {
      code: 'invalid-option',
      message
    })
  }
  for (const url of ['not a url', 'ftp://h/']) {
    t.throws(() => new Socket(url, { WebSocket }), {
      code: 'invalid-option',
      message: `option "url": expected a WebSocket URL, got ${url}`
    })
  }
  if (DEFAULTS.WebSocket === undefined)
    t.throws(() => new Socket('ws://h'), { message: /"WebSocket": expected a class/ })
  const fine = { WebSocket, connect: false, debug: () => {}, probe: true, clock: undefined } as unknown as SocketOptions
  t.equal(new Socket(new URL('http://h/x#frag'), fine).state.name, 'idle')
})

t.test('a platform without a WebSocket is told so', async t => {
  const platform = DEFAULTS.WebSocket
  Object.assign(DEFAULTS, { WebSocket: undefined })
  t.throws(() => new Socket('ws://h'), { code: 'invalid-option', message: /"WebSocket": expected a class/ })
  Object.assign(DEFAULTS, { WebSocket: platform })
})

t.test('url and options may be functions, asked before every dial', async t => {
  let n = 0
  const stage = new Stage({}, async () => `ws://test.example/?token=${++n}`)
  await stage.connected()
  stage.ws.end()
  await stage.again()
  t.same(
    stage.sockets.map(({ url }) => url),
    ['ws://test.example/?token=1', 'ws://test.example/?token=2']
  )
  stage.finish(t)

  const { clock } = stage
  const found: FakeSocket[] = []
  const options = async (): Promise<SocketOptions> => ({
    clock,
    probe: false,
    WebSocket: class extends FakeSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols)
        found.push(this)
      }
    }
  })
  const socket = new Socket('ws://h', options)
  await settle()
  found[0]!.welcome()
  t.equal(socket.state.name, 'connected')
  socket.disconnect()
})

t.test('a url that cannot be had is an error, and is asked for again after a while', async t => {
  let url = 'nonsense'
  const stage = new Stage({}, () => url)
  await settle()
  t.match(stage.told.$error, [{ code: 'dial-failed', retry: true, cause: { code: 'invalid-option' } }])
  t.match(stage.socket.state, { name: 'waiting', attempt: 1, code: 1006 })
  t.same(stage.told.$close, [], 'nothing had been open')
  url = 'ws://fine.example'
  await stage.again()
  t.equal(stage.socket.state.name, 'connected')
  stage.finish(t)
})

t.test('an answer that comes after its dial timed out is not heard', async t => {
  let answer = (_: string): void => {}
  const stage = new Stage({ connectTimeoutMs: 1000 }, () => new Promise(resolve => (answer = resolve)))
  await stage.clock.advance(1000)
  t.equal(stage.socket.state.name, 'waiting')
  answer('ws://late.example')
  await settle()
  t.equal(stage.sockets.length, 0)
  stage.finish(t)
})

t.test('an answer to a dial that was given up is not heard', async t => {
  const answers: Array<(url: string) => void> = []
  const stage = new Stage({}, () => new Promise(resolve => void answers.push(resolve)))
  await settle()
  stage.socket.reconnect()
  await settle()
  answers[0]!('ws://old.example')
  answers[1]!('ws://new.example')
  await settle()
  t.same(
    stage.sockets.map(({ url }) => url),
    ['ws://new.example/']
  )
  stage.finish(t)
  stage.socket.connect()
  await settle()
  stage.socket.disconnect()
  answers[2]!('not a url')
  await settle()
  t.same(stage.errors, [])
})

t.test('a send that the server acks resolves, one that it nacks for good rejects with all the server said', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const ws = await stage.connected()
  ws.accept()
  const position = { epoch: 'e', offset: 3, tag: 't' }
  const sends = [room.send('x', 1), room.request('x', 2), room.send('x', 3), room.send('x', 4)]
  ws.ack(1, { position, stored: 'disk' })
    .ack(2, { reply: [1] })
    .ack(99)
  ws.nack({ id: 3 }, 'forbidden').nack({ id: 4 }, 'result-expired')
  t.same(await sends[0], { position, stored: 'disk', reply: undefined })
  t.same(await sends[1], [1])
  const error = await sends[2]!.catch(e => e)
  t.ok(error instanceof ChannelError && error instanceof Error)
  t.match(error, {
    name: 'ChannelError',
    code: 'forbidden',
    message: 'no: forbidden',
    retry: false,
    channel: 'r',
    cmd: 'x'
  })
  t.equal(await outcome(sends[3]!), 'unknown', 'it ran, and how it ended is forgotten')
  t.same(stage.errors, ['forbidden', 'unknown'])
  stage.finish(t)
})

t.test('a full queue refuses the next command at once and drops nothing', async t => {
  const stage = new Stage({ queue: { count: 2 } })
  const room = stage.socket.join('r')
  const kept = [room.send('x', 1), room.send('x', 2)]
  const refused = await room.send('x', 3).catch(e => e)
  t.match(refused, { code: 'queue-full', retry: true, channel: 'r' })
  const ws = await stage.connected()
  ws.accept().ack(1).ack(2)
  await Promise.all(kept)
  t.equal(await outcome(Promise.all([room.send('x', 4), room.send('x', 5)])), 'pending', 'room again')
  stage.finish(t)

  const small = new Stage({ queue: { bytes: 60 } })
  t.equal(await outcome(small.socket.join('r').send('x', 'ä'.repeat(9))), 'pending')
  t.equal(await outcome(small.socket.join('r').send('x', 1)), 'queue-full')
  small.finish(t)
})

t.test('what cannot be sent by anybody is refused with a code', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const cycle: { self?: unknown } = {}
  cycle.self = cycle
  const codes = [
    room.send('$join', 1),
    room.send('', 1),
    room.send('x', cycle),
    room.send('x', () => {}),
    room.send('x', Symbol())
  ]
  t.same(await Promise.all(codes.map(outcome)), [
    'reserved-command',
    'reserved-command',
    ...Array(3).fill('unserialisable')
  ])
  t.equal(await outcome(stage.socket.send({ cmd: 'x', param: 1 } as any)), 'invalid-channel')
  const ws = await stage.connected()
  ws.accept()
  t.equal(await outcome(room.send('x', 'long'.repeat(300))), 'too-big', 'the server would close the connection')
  const next = room.send('x', 1)
  t.same(ws.commands, [{ id: 1, channel: 'r', cmd: 'x', param: 1 }])
  ws.ack(1)
  await next
  stage.finish(t)
})

t.test('disconnect settles everything and is final until connect', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const ws = await stage.connected()
  ws.accept()
  const sends = [room.send('x', 1), stage.socket.send({ channel: 'other', cmd: 'x', param: 2 })]
  t.throws(() => stage.socket.disconnect(1005), { code: 'invalid-close' })
  t.throws(() => stage.socket.disconnect(4000, 'ü'.repeat(62)), { code: 'invalid-close' })
  stage.socket.disconnect(4100, 'bye')
  t.same(await Promise.all(sends.map(outcome)), ['unknown', 'closed'])
  t.same(ws.closed, { code: 4100, reason: 'bye' })
  await stage.clock.advance(100_000)
  t.equal(stage.sockets.length, 1)
  t.equal(await outcome(stage.socket.send({ channel: 'r', cmd: 'x', param: 3 })), 'closed')
  t.equal(await outcome(stage.socket.send({ channel: 'other', cmd: 'x', param: 3 })), 'closed')
  const idle = new Stage({ connect: false })
  idle.finish(t)
  t.equal(idle.socket.state.name, 'closed')
})

t.test('garbage from a server is an error that is told, and nothing more', async t => {
  const stage = new Stage()
  await settle()
  stage.ws.open()
  const garbage = ['', 'null', '[]', '7', '{', '{"cmd":5}', '{"cmd":"$welcome"}', '{"channel":"c","cmd":"$joined"}']
  for (const text of garbage) stage.ws.text(text)
  stage.ws.text(new Uint8Array(2))
  t.equal(stage.socket.state.name, 'connecting')
  const ws = stage.ws.welcome()
  for (const text of garbage) ws.text(text)
  ws.frame({ channel: 'c', cmd: '$left', param: null }).frame({ channel: 'c', cmd: '$news', param: 1 }).welcome()
  t.same(new Set(stage.errors), new Set(['bad-frame']))
  t.equal(stage.errors.length, 2 * garbage.length + 2)
  t.equal(stage.socket.state.name, 'connected')
  ws.nack({ channel: 'c' }, 'bad-frame').frame({ cmd: '$nack' })
  t.match(stage.told.$error.at(-2), { code: 'bad-frame', channel: 'c', message: 'no: bad-frame' })
  stage.finish(t)
})

t.test('a ping is answered', async t => {
  const stage = new Stage()
  const ws = await stage.connected()
  ws.frame({ cmd: '$ping' })
  t.same(ws.sent, [{ cmd: '$pong' }])
  stage.finish(t)
})

t.test('another contract than at the welcome before is told', async t => {
  const stage = new Stage()
  const ws = await stage.connected()
  ws.end()
  ;(await stage.again()).end()
  t.same(stage.told.$outdated, [])
  await stage.again({ contract: 'bbbb', resumed: true })
  t.same(stage.told.$outdated, [['bbbb', 'aaaa']])
  stage.finish(t)
})

t.test('a listener that throws harms neither the others nor the socket', async t => {
  const lines: unknown[] = []
  const stage = new Stage({ debug: (line, details) => lines.push([line, details]) })
  const room = stage.socket.join('r')
  const heard: unknown[] = []
  room.on('e', () => {
    throw new Error('oh')
  })
  const undo = room.on('e', param => heard.push(param))
  room.on('e', param => heard.push(param))
  stage.socket.on('$error', () => {
    throw new Error('no')
  })
  const ws = await stage.connected()
  ws.accept().frame({ channel: 'r', cmd: 'e', param: 1 })
  t.match(stage.told.$error, [{ code: 'listener-failed', cause: { message: 'oh' } }])
  t.match(lines.at(-1), ['$error', { code: 'listener-failed', cause: { message: 'no' } }])
  undo()
  undo()
  ws.frame({ channel: 'r', cmd: 'e', param: 2 })
  t.same(heard, [1, 1, 2])
  stage.finish(t)
})

t.test('a listener may join, leave, send, close and dial again, and finds a whole socket', async t => {
  const stage = new Stage()
  const { socket } = stage
  const seen: string[] = []
  socket.on('$open', () => {
    seen.push(socket.state.name)
    socket.join('late')
    socket.disconnect()
    socket.connect()
  })
  socket.on('$close', () => seen.push(`close while ${socket.state.name}`))
  await stage.connected()
  t.same(seen, ['connected', 'close while connecting'])
  t.same(stage.states, ['connected', 'closed', 'connecting'], 'in the order in which it happened')
  await settle()
  t.equal(stage.sockets.length, 2)
  t.match(stage.sockets[0]!.sent, [{ cmd: '$join', channel: 'late' }])
  stage.finish(t)
})

t.test('debug tells what happens on the console', async t => {
  const debug = console.debug
  const lines: unknown[] = []
  console.debug = (line: unknown) => void lines.push(line)
  t.teardown(() => {
    console.debug = debug
  })
  const stage = new Stage({ debug: true })
  await stage.connected()
  t.ok(lines.includes('$open'))
  stage.finish(t)
})

t.test('no state follows another but by the table', async t => {
  t.throws(() => move({ name: 'idle' }, { name: 'connected', session: '', connection: '' }), { code: 'internal' })
})
