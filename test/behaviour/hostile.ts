import diagnostics from 'node:diagnostics_channel'
import { once } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import type { Test } from 'tap'
import t from 'tap'
import { defineChannel, Type } from '../../lib/protocol/index.ts'
import type { Limits, Sockets } from '../../plugins/index.ts'
import { act, echo } from '../../plugins/index.ts'
import { Canary } from '../fixtures/canary.ts'
import { Chance } from '../fixtures/chance.ts'
import { mutantFrame, mutantRequest, mutantText } from '../fixtures/mutants.ts'
import { connect } from '../fixtures/raw-client.ts'
import { clientFrame, exchange, RawSocket, upgraded, upgradeRequest } from '../fixtures/raw-socket.ts'
import type { ServerOptions } from '../fixtures/server.ts'
import { as, serve } from '../fixtures/server.ts'
import { SteppedClock } from '../fixtures/stepped-clock.ts'
import { inParallel, steps } from '../fixtures/storm.ts'
import { nothingLeft, until } from '../fixtures/until.ts'

const TEXTS = Number(process.env.TEXTS ?? 70_000)
const FRAMES = Number(process.env.FRAMES ?? 24_000)
const REQUESTS = Number(process.env.REQUESTS ?? 6_000)
const AT_ONCE = 16

const lab = defineChannel('lab-:id', {
  events: { noted: Type.Object({ text: Type.String() }) },
  commands: {
    note: {
      kind: 'command',
      param: Type.Object({ text: Type.String({ maxLength: 50 }), n: Type.Integer() }),
      reply: Type.Object({ n: Type.Integer() })
    }
  }
})

/** Channels with and without a contract; what is sent to the latter comes back to the sender and goes to all. */
function laboratory(app: FastifyInstance): void {
  app.sockets.serve(lab, {
    access: ({ params }) => params.id !== 'secret',
    presence: true,
    commands: {
      note({ text, n }, { publish }) {
        publish({ cmd: 'noted', param: { text } })
        return { n }
      }
    }
  })
  const enter = (channel: string) =>
    act(channel, async (app, ps) => {
      await app.sockets.upgrade(ps, channel, {
        onMessage(message, connection) {
          connection.send({ cmd: 'echo', param: message.param })
          void app.sockets.broadcast(channel, { cmd: 'tick', param: message.param })
        }
      })
    })
  app.get('/canary', enter('canary'))
  app.get('/ws/:id', enter('arena'))
  app.get('/lab', enter('lab-1'))
  app.get('/ordinary', () => 'ordinary')
}

t.test(
  'a hundred thousand mutated frames and handshakes end nobody, and the client beside them notices nothing',
  async t => {
    const chance = new Chance()
    t.comment(`SEED=${chance.seed}`)
    const natures = [Object.prototype, Array.prototype, String.prototype, Number.prototype]
    const before = natures.map(nature => Reflect.ownKeys(nature).map(String))
    const limits = { connectionsPerAddress: 0, messagesPerSecond: 0, violationsPerMinute: 0 }
    const { app, url } = await serve(t, { limits, closeGraceMs: 500, handshakeTimeoutMs: 2000 }, laboratory)
    const canary = await Canary.start(`${url}/canary`)
    const delay = monitorEventLoopDelay({ resolution: 10 })
    const attack = async (name: string, part: number): Promise<void> => {
      const started = performance.now()
      await inParallel((TEXTS * part) / 100, AT_ONCE, n => attackByTexts(url, chance.child(n)))
      await inParallel((FRAMES * part) / 6, AT_ONCE, n => attackByFrames(url, chance.child(1e6 + n)))
      await inParallel(REQUESTS * part, AT_ONCE, n => attackByRequest(url, chance.child(2e6 + n)))
      t.comment(`${name}: ${Math.round(performance.now() - started)} ms`)
    }
    await attack('warm-up', 0.1)
    const start = memory()
    delay.enable()
    await attack('attack', 0.9)
    delay.disable()
    const grown = { rss: memory().rss - start.rss, heap: memory().heapUsed - start.heapUsed }
    await canary.stop()
    await nothingLeft(app)

    const worst = (of: number): number => Math.round([...canary.latencies].sort((a, b) => a - b).at(of)!)
    const stall = Math.round(delay.max / 1e6)
    const p99 = Math.round(delay.percentile(99) / 1e6)
    t.comment(`longest stall ${stall} ms, 99 % below ${p99} ms`)
    t.comment(`canary: ${canary.messages} messages, ${worst(-1)} ms at worst`)
    t.comment(`grown by ${mega(grown.rss)} MB, of it heap ${mega(grown.heap)} MB`)
    t.strictSame(canary.complaints, [])
    t.ok(canary.latencies.length > 100)
    t.ok(stall < 3000 && p99 < 500, 'the loop was never blocked for long')
    t.ok(grown.heap < 30e6 && grown.rss < 200e6, 'memory does not grow')
    t.strictSame(
      natures.map(nature => Reflect.ownKeys(nature).map(String)),
      before,
      'nothing was written to a prototype'
    )
    t.comment(JSON.stringify(app.sockets.stats().refusals))
    for (const name of COUNTED) t.ok(app.sockets.stats().refusals[name]! > 0, `${name} is counted`)
  }
)

/** Refusals that mutants must have met. */
const COUNTED = [
  'bad-frame',
  'unknown-command',
  'unknown-channel',
  'invalid-param',
  'not-joined',
  'resend-from',
  'too-big',
  'protocol-error',
  'invalid-payload',
  'unsupported-data',
  'FST_CHANNELS_BAD_HANDSHAKE',
  'FST_CHANNELS_UNKNOWN_SUBPROTOCOL',
  'FST_CHANNELS_ORIGIN_REFUSED'
]

const mega = (bytes: number): string => (bytes / 1e6).toFixed(1)

function memory(): NodeJS.MemoryUsage {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage()
}

/** A hundred right frames with wrong texts; the connection must still be good afterwards. */
async function attackByTexts(url: string, chance: Chance): Promise<void> {
  const v1 = { 'Sec-WebSocket-Protocol': chance.oneIn(4) ? null : 'channels.v1' }
  const raw = await upgraded(url, chance.pick(['/ws/1', '/lab']), v1)
  for (let i = 0; i < 10; i++) {
    raw.write(Buffer.concat(Array.from({ length: 10 }, () => clientFrame(mutantText(chance)))))
    await steps(2, chance)
  }
  raw.write(clientFrame('still there', { opcode: 9 }))
  await raw.until(() => raw.socket.destroyed || raw.bytes.includes('still there'))
  if (raw.closeCode !== null || raw.socket.destroyed) throw new Error(`closed ${raw.closeCode} by texts`)
  for (const message of raw.messages) checkAnswer(message, v1['Sec-WebSocket-Protocol'] === null)
  raw.destroy()
  await raw.closed
}

function checkAnswer(message: any, plain: boolean): void {
  const known = plain ? PLAIN : V1
  if (!known.has(message.cmd)) throw new Error(`unexpected ${JSON.stringify(message).slice(0, 200)}`)
  if (message.cmd !== 'noted' && message.from !== undefined) throw new Error('a sender was forged')
}

const PLAIN = new Set(['echo', 'tick', 'noted', 'error', 'online-update'])
const V1 = new Set(['echo', 'tick', 'noted', '$welcome', '$joined', '$left', '$ack', '$nack', '$presence', '$ping'])

/** Six frames with something wrong among them, in pieces of any size. */
async function attackByFrames(url: string, chance: Chance): Promise<void> {
  const raw = await upgraded(url, chance.pick(['/ws/1', '/lab']))
  const bytes = Buffer.concat(Array.from({ length: 6 }, () => mutantFrame(chance)))
  const pieces = chance.pick([1, 1, 3, 20])
  for (let i = 0, at = 0; i < pieces; i++) {
    const end = i === pieces - 1 ? bytes.length : at + chance.below(bytes.length - at)
    raw.write(bytes.subarray(at, end))
    at = end
    if (pieces > 1) await steps(2, chance)
  }
  await leave(raw, chance)
}

/** One request, whether or not it can be one; whatever came of it, the link ends. */
async function attackByRequest(url: string, chance: Chance): Promise<void> {
  const raw = await RawSocket.open(url)
  raw.write(mutantRequest(chance))
  await steps(chance.below(20), chance)
  await leave(raw, chance)
}

async function leave(raw: RawSocket, chance: Chance): Promise<void> {
  const way = chance.below(4)
  if (way === 0) raw.socket.resetAndDestroy()
  else if (way === 1) raw.destroy()
  else raw.socket.end()
  await raw.closed
}

const arena = defineChannel('room-:id', {
  commands: {
    add: { kind: 'command', param: Type.Object({ n: Type.Integer() }), reply: Type.Integer() },
    wait: { kind: 'command', param: Type.Object({}), reply: undefined }
  }
})

interface Arena {
  readonly app: FastifyInstance
  readonly sockets: Sockets<unknown>
  readonly url: string
  readonly clock: SteppedClock
  /** Ends all commands `wait` that are under way. */
  readonly release: () => void
  readonly refusals: () => Readonly<Record<string, number>>
}

/** A server whose time is moved by the test, with rooms to join and commands that take as long as they are let. */
async function limited(t: Test, options: ServerOptions = {}): Promise<Arena> {
  const clock = new SteppedClock()
  let waiting: Array<() => void> = []
  const { app, url } = await serve(t, { clock, closeGraceMs: 100, ...options }, app => {
    app.sockets.serve(arena, {
      access: () => true,
      presence: true,
      commands: {
        add: ({ n }) => n + 1,
        wait: () => new Promise<void>(resolve => waiting.push(resolve))
      }
    })
    app.get(
      '/ws/:channel',
      act(
        'ws',
        async (app, ps) => void (await app.sockets.upgrade(ps, ps.requestString('channel'), { onMessage: echo }))
      )
    )
    app.get(
      '/stall',
      act('stall', () => new Promise(() => {}))
    )
  })
  t.setTimeout(20_000)
  // Closing waits for the clock.
  t.teardown(() => {
    const ticking = setInterval(() => void clock.advance(1000), 1)
    app.server.once('close', () => clearInterval(ticking))
  })
  const release = (): void => {
    for (const end of waiting) end()
    waiting = []
  }
  return {
    app,
    sockets: app.sockets as Sockets<unknown>,
    url,
    clock,
    release,
    refusals: () => app.sockets.stats().refusals
  }
}

const text = (bytes: number): string => `{"cmd":"x","id":1,"param":"${'a'.repeat(bytes - 29)}"}`

t.test('a frame or message over the limit closes 1009; one at the limit is taken', async t => {
  const { url, refusals } = await limited(t)
  const whole = await upgraded(url, '/ws/a')
  whole.write(clientFrame(text(65_536)))
  await whole.until(() => whole.messages.some(message => message.cmd === '$ack'))
  whole.write(clientFrame(text(65_537)))
  await whole.closed
  t.equal(whole.closeCode, 1009)
  const sum = await upgraded(url, '/ws/a')
  for (let i = 0; i < 3; i++) sum.write(clientFrame('a'.repeat(30_000), { opcode: i === 0 ? 1 : 0, fin: false }))
  await sum.closed
  t.equal(sum.closeCode, 1009, 'fragments count together')
  t.equal(refusals()['too-big'], 2)
})

t.test('each breach of the framing closes with its code and is counted', async t => {
  const { app, url, refusals } = await limited(t)
  const breaches: ReadonlyArray<[bytes: Uint8Array, code: number, name: string]> = [
    [clientFrame('binary', { opcode: 2 }), 1003, 'unsupported-data'],
    [clientFrame('{}', { masked: false }), 1002, 'protocol-error'],
    [clientFrame('{}', { rsv: 4 }), 1002, 'protocol-error'],
    [clientFrame('{}', { opcode: 3 }), 1002, 'protocol-error'],
    [clientFrame('{}', { opcode: 0 }), 1002, 'protocol-error'],
    [clientFrame('', { opcode: 9, fin: false }), 1002, 'protocol-error'],
    [clientFrame('a'.repeat(126), { opcode: 9 }), 1002, 'protocol-error'],
    [clientFrame(Buffer.from([0xc0, 0x80])), 1007, 'invalid-payload'],
    [clientFrame(Buffer.from([3, 237]), { opcode: 8 }), 1002, 'protocol-error']
  ]
  for (const [bytes, code, name] of breaches) {
    const before = refusals()[name] ?? 0
    const raw = await upgraded(url, '/ws/a')
    raw.write(bytes)
    await raw.closed
    t.equal(raw.closeCode, code)
    t.equal(refusals()[name], before + 1, `${code} is counted as ${name}`)
  }
  const flood = await upgraded(url, '/ws/a')
  const fragments = Array.from({ length: 16_385 }, (_, i) => clientFrame('', { opcode: i === 0 ? 1 : 0, fin: false }))
  flood.write(Buffer.concat(fragments))
  await flood.closed
  t.equal(flood.closeCode, 1008, 'fragments without end')
  t.equal(refusals()['policy-violation'], 1)
  await nothingLeft(app)
})

t.test('nesting is bounded, by a nack and not by a close', async t => {
  const { url, refusals } = await limited(t)
  const client = await connect(`${url}/ws/a`)
  const nest = (depth: number, id: number): string =>
    `{"cmd":"x","id":${id},"param":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
  for (const [i, depth] of [33, 5_000, 30_000].entries()) {
    client.send(nest(depth, i + 1))
    t.match(await client.next('$nack'), { id: i + 1, param: { code: 'bad-frame', message: /nests deeper than 32/ } })
  }
  client.send(nest(32, 4))
  t.match(await client.next('$ack'), { id: 4 }, 'and the commands after it are still in turn')
  t.equal(refusals()['bad-frame'], 3)
})

t.test('over the rate reading stops until the debt is paid, and whoever goes on is closed 4002', async t => {
  const { app, sockets, url, clock, refusals } = await limited(t, { limits: { messagesPerSecond: 10, burst: 10 } })
  const raw = await upgraded(url, '/ws/a')
  const connection = sockets.connections()[0]!
  const acks = (): number => raw.messages.filter(message => message.cmd === '$ack').length
  const command = (id: number): Buffer => clientFrame(`{"cmd":"x","id":${id}}`)
  raw.write(Buffer.concat(Array.from({ length: 15 }, (_, i) => command(i + 1))))
  await raw.until(() => acks() === 15)
  t.equal(connection.traffic.messagesIn, 15, 'what had come is dealt with')
  raw.write(command(16))
  await turns(20)
  t.equal(connection.traffic.messagesIn, 15, 'nothing more is read')
  await clock.advance(499)
  await turns(20)
  t.equal(connection.traffic.messagesIn, 15)
  await clock.advance(1)
  await raw.until(() => acks() === 16)
  t.equal(connection.open, true)
  t.equal(refusals()['rate-limited'], undefined)

  for (const opcode of [1, 10]) {
    const flood = await upgraded(url, '/ws/a')
    flood.write(Buffer.concat(Array.from({ length: 112 }, () => clientFrame('{"cmd":"$pong"}', { opcode }))))
    await flood.closed
    t.equal(flood.closeCode, 4002, `opcode ${opcode} counts`)
  }
  t.equal(refusals()['rate-limited'], 2)
  const pings = await upgraded(url, '/ws/a')
  pings.write(Buffer.concat(Array.from({ length: 40 }, () => clientFrame('', { opcode: 9 }))))
  await pings.until(() => pings.frames.filter(frame => frame.opcode === 10).length === 40)
  t.equal(sockets.connections().at(-1)!.paused, true, 'pings count')
  pings.destroy()
  raw.destroy()
  await nothingLeft(app)
})

t.test('unreadable frames are nacked, and those who send too many in a minute are closed 4503', async t => {
  const { url, clock, refusals } = await limited(t, { limits: { violationsPerMinute: 3 } })
  const client = await connect(`${url}/ws/a`)
  for (const bad of ['', '[]', '{"cmd":1}']) {
    client.send(bad)
    t.match(await client.next('$nack'), { param: { code: 'bad-frame', retry: false } })
  }
  await clock.advance(20_000)
  client.send('one more a third of a minute later')
  t.match(await client.next('$nack'), { param: { code: 'bad-frame' } })
  client.send('and one too many')
  t.match(await client.closed, { code: 4503, reason: 'too many violations' })
  t.equal(refusals()['too-many-violations'], 1)
  t.equal(refusals()['bad-frame'], 5)
})

t.test('a connection may be in so many channels, and wait for so many answers', async t => {
  const { url, release, refusals } = await limited(t, { limits: { channels: 3, pendingCommands: 3 } })
  const client = await connect(`${url}/ws/a`)
  for (const room of ['room-1', 'room-2']) t.match(await client.request('$join', room), { cmd: '$joined' })
  t.match(await client.request('$join', 'room-3'), { cmd: '$nack', param: { code: 'too-many-channels', retry: false } })
  t.match(await client.request('$leave', 'room-2'), { cmd: '$left' })
  t.match(await client.request('$join', 'room-3'), { cmd: '$joined' })
  for (let id = 1; id <= 3; id++) client.send({ channel: 'room-1', cmd: 'wait', param: {}, id })
  client.send({ channel: 'room-1', cmd: 'wait', param: {}, id: 4 })
  t.match(await client.next('$nack'), { id: 4, param: { code: 'too-many-commands', retry: true } })
  for (const cmd of ['$join', '$presence', '$leave']) {
    client.send({ channel: 'room-1', cmd, ref: 9 })
    t.match(await client.next('$nack'), { ref: 9, param: { code: 'too-many-commands' } }, `${cmd} waits with the rest`)
  }
  client.send({ channel: 'room-3', cmd: 'add', param: { n: 1 }, id: 4 })
  t.match(await client.next('$nack'), { id: 4, param: { code: 'too-many-commands' } })
  for (let id = 1; id <= 3; id++) {
    release()
    t.match(await client.next('$ack'), { id })
  }
  client.send({ channel: 'room-3', cmd: 'add', param: { n: 1 }, id: 4 })
  t.match(await client.next('$ack'), { id: 4, param: { reply: 2 } }, 'an id that was refused for a while is still good')
  t.equal(refusals()['too-many-channels'], 1)
  t.equal(refusals()['too-many-commands'], 5)
})

t.test('an id that was refused as too far ahead stays out of turn, however often it is sent', async t => {
  const { url } = await limited(t)
  const client = await connect(`${url}/ws/a`)
  const ask = async (id: number): Promise<any> => {
    client.send({ cmd: 'x', id, ref: id })
    for (;;) {
      const frame = await client.next()
      if (frame.id === id) return frame.param.code ?? frame.cmd
    }
  }
  t.strictSame([await ask(3), await ask(3), await ask(3)], ['resend-from', 'resend-from', 'resend-from'])
  t.strictSame([await ask(1), await ask(2), await ask(3), await ask(3)], ['$ack', '$ack', '$ack', '$ack'])
  t.equal(await ask(4), '$ack')
})

t.test('connections are bounded for each user, each address and as a whole', async t => {
  const cases: ReadonlyArray<[limits: Partial<Limits>, users: string[], status: number, code: string]> = [
    [{ connectionsPerUser: 2 }, ['ann', 'bob', 'ann'], 429, 'FST_CHANNELS_TOO_MANY_CONNECTIONS'],
    [{ connectionsPerAddress: 2 }, ['ann', 'bob'], 429, 'FST_CHANNELS_TOO_MANY_CONNECTIONS'],
    [{ connections: 2 }, ['ann', 'bob'], 503, 'FST_CHANNELS_SERVICE_FULL']
  ]
  for (const [limits, users, statusCode, code] of cases) {
    const { app, url, refusals } = await limited(t, { limits })
    const clients = await Promise.all(users.map(user => connect(`${url}/ws/a`, as(user))))
    const refused = await connect(`${url}/ws/a`, as('ann')).catch(error => error)
    t.match(refused, { statusCode, headers: { 'retry-after': '5', connection: 'close' }, body: { code } })
    t.equal(refusals()[code], 1)
    await clients[0]!.close()
    await until('it is gone', () => app.sockets.connections().length === users.length - 1)
    const again = await connect(`${url}/ws/a`, as('ann'))
    t.equal(again.ws.readyState, 1, 'the place is free again')
    for (const client of [...clients, again]) client.ws.terminate()
    await nothingLeft(app)
  }
})

t.test('no two handshakes take the last place', async t => {
  const { app, url, refusals } = await limited(t, { limits: { connectionsPerUser: 5 } })
  const clients = await Promise.allSettled(Array.from({ length: 30 }, () => connect(`${url}/ws/a`, as('ann'))))
  t.equal(clients.filter(client => client.status === 'fulfilled').length, 5)
  t.equal(refusals().FST_CHANNELS_TOO_MANY_CONNECTIONS, 25)
  for (const client of clients) if (client.status === 'fulfilled') client.value.ws.terminate()
  await nothingLeft(app)
})

t.test('pending handshakes are bounded, and those who leave or time out make room', async t => {
  for (const limits of [{ pendingHandshakes: 2 }, { pendingHandshakesPerAddress: 2 }]) {
    const { app, url, clock, refusals } = await limited(t, { limits })
    const pending = await Promise.all([RawSocket.open(url), RawSocket.open(url)])
    for (const raw of pending) raw.write(upgradeRequest('/stall'))
    await until('both are pending', () => app.sockets.stats().pendingHandshakes === 2)
    const third = await exchange(url, upgradeRequest('/ws/a'))
    t.match(third, { status: 429, headers: { 'retry-after': '1', connection: 'close' } })
    t.equal(refusals().FST_CHANNELS_TOO_MANY_HANDSHAKES, 1)
    pending[0]!.socket.end()
    await until('one has left', () => app.sockets.stats().pendingHandshakes === 1)
    const client = await connect(`${url}/ws/a`)
    client.ws.terminate()
    await clock.advance(10_000)
    t.match(await pending[1]!.answered(), { status: 503, headers: { 'retry-after': '1' } })
    t.equal(refusals().FST_CHANNELS_HANDSHAKE_TIMEOUT, 1)
    await nothingLeft(app)
  }
})

t.test('a reader that stops reading is closed 4000 and told of, and the others notice nothing', async t => {
  const slow: unknown[] = []
  const hear = (message: unknown): unknown => slow.push(message)
  diagnostics.subscribe('fastify-channels:slow', hear)
  t.teardown(() => diagnostics.unsubscribe('fastify-channels:slow', hear))
  const { app, sockets, url, refusals } = await limited(t, { limits: { outboxBytes: 100_000 } })
  const reader = await connect(`${url}/ws/a`)
  const stopped = await upgraded(url, '/ws/a')
  const connection = sockets.connections()[1]!
  stopped.socket.pause()
  const body = 'x'.repeat(50_000)
  let sent = 0
  while (connection.open && sent < 1000) {
    await sockets.broadcast('a', { cmd: 'news', param: { n: ++sent, body } })
    t.equal((await reader.next('news')).param.n, sent)
  }
  t.ok(sent < 1000, `after ${sent} messages of 50 kB`)
  t.equal(slow.length, 1)
  t.equal((slow[0] as { connection: unknown }).connection, connection)
  t.strictSame(connection.channels, [])
  t.equal(refusals().slow, 1)
  await sockets.broadcast('a', { cmd: 'news', param: { n: ++sent } })
  t.equal((await reader.next('news')).param.n, sent)
  stopped.socket.resume()
  await stopped.closed
  t.equal(stopped.closeCode, 4000)
  const got = stopped.messages.filter(message => message.cmd === 'news').map(message => message.param.n)
  t.strictSame(
    got,
    Array.from({ length: got.length }, (_, i) => i + 1),
    'what it did get is without a hole'
  )
  await reader.close()
  await nothingLeft(app)
})

t.test('a peer without a sign of life is closed 4001, and any byte is one', async t => {
  const { app, sockets, url, clock, refusals } = await limited(t, { heartbeatMs: 1000 })
  const silent = await upgraded(url, '/ws/a')
  const plain = await upgraded(url, '/ws/a', { 'Sec-WebSocket-Protocol': null })
  const alive = await connect(`${url}/ws/a`)
  const old = await connect(`${url}/ws/a`, { v1: false })
  for (let round = 0; round < 4; round++) {
    const heard = sockets.connections().map(({ transport }) => transport.received())
    await clock.advance(1000)
    if (round === 0) t.equal(sockets.connections().length, 4)
    await until('the living have answered', () =>
      sockets.connections().every((connection, i) => i < 2 || connection.transport.received() > heard[i]!)
    ).catch(() => {})
    if (sockets.connections().length === 2) break
  }
  await Promise.all([silent.closed, plain.closed])
  t.equal(silent.closeCode, 4001)
  t.equal(plain.closeCode, 4001)
  t.ok(plain.frames.some(frame => frame.opcode === 9) && silent.messages.some(message => message.cmd === '$ping'))
  t.equal(refusals().silent, 2)
  t.strictSame([alive.ws.readyState, old.ws.readyState], [1, 1])
  for (const client of [alive, old]) await client.close()
  await nothingLeft(app)
})

t.test('after a stall of the server nobody is judged by what it could not read', async t => {
  const { app, sockets, url, clock, refusals } = await limited(t, { heartbeatMs: 1000 })
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(`${url}/ws/a`)))
  for (let round = 0; round < 30; round++) {
    clock.stall(250)
    // What is due runs, and no socket is read in between.
    await clock.advance(0)
  }
  t.equal(sockets.connections().length, 20)
  t.equal(refusals().silent, undefined)
  for (const client of clients) client.ws.terminate()
  await nothingLeft(app)
})

t.test('a real stall of the loop closes nobody', async t => {
  const { app, url } = await serve(t, { heartbeatMs: 100, closeGraceMs: 100 }, laboratory)
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(`${url}/ws/1`)))
  for (let round = 0; round < 3; round++) {
    const end = performance.now() + 350
    while (performance.now() < end);
    for (const client of clients) client.send({ cmd: '$pong' })
    await new Promise(resolve => setTimeout(resolve, 60))
  }
  t.equal(app.sockets.connections().length, 20)
  t.equal(app.sockets.stats().refusals.silent, undefined)
  for (const client of clients) client.ws.terminate()
  await nothingLeft(app)
})

t.test('a connection that was not read for its rate is given time to show signs of life', async t => {
  const limits = { messagesPerSecond: 10, burst: 10 }
  const { sockets, url, clock } = await limited(t, { heartbeatMs: 1000, limits })
  const raw = await upgraded(url, '/ws/a')
  const connection = sockets.connections()[0]!
  raw.write(Buffer.concat(Array.from({ length: 45 }, (_, i) => clientFrame(`{"cmd":"x","id":${i + 1}}`))))
  await until('all have been read', () => connection.traffic.messagesIn === 45)
  t.equal(connection.paused, true)
  // The debt is paid after 3.5 s; the visits of the heartbeat in that time and right after it must not judge.
  for (let ms = 0; ms < 4000; ms += 100) await clock.advance(100)
  t.equal(connection.paused, false)
  t.equal(connection.open, true)
  raw.destroy()
})

t.test('a plain client never sees a frame of the protocol, and is refused in its own words', async t => {
  const { app, sockets, url } = await limited(t, { limits: { violationsPerMinute: 0 } })
  const plain = await connect(`${url}/ws/room-1`, { v1: false })
  const error = async (frame: object | string): Promise<any> => {
    plain.send(frame)
    return plain.next('error')
  }
  t.match(await error('{'), { cmd: 'error', param: { code: 'bad-frame', message: /JSON/ } })
  t.match(await error('null'), { param: { code: 'bad-frame' } })
  t.match(await error({ cmd: 'nothing', id: 7 }), { channel: 'room-1', id: 7, param: { code: 'unknown-command' } })
  t.match(await error({ cmd: 'add', id: 7, param: { n: 'x' } }), { id: 7, param: { code: 'invalid-param' } })
  t.match(await error({ cmd: 'add', param: null }), { param: { code: 'invalid-param' } })
  t.match(await error({ cmd: '$join', channel: 'room-2', ref: 1 }), { ref: 1, param: { code: 'unknown-command' } })
  t.match(await error({ cmd: 'x', channel: 'room-2' }), { channel: 'room-2', param: { code: 'not-joined' } })
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  t.strictSame((await plain.next('online-update')).param, { userID: 'ann', connected: true })
  await ann.close()
  t.strictSame((await plain.next('online-update')).param, { userID: 'ann', connected: false })
  t.strictSame(
    plain.received.filter(frame => frame.cmd.startsWith('$')),
    []
  )
  const [, , ...rest] = sockets.connections()
  t.strictSame(rest, [])

  const echoing = await connect(`${url}/ws/a`, { v1: false })
  echoing.send('\n{\n\t"cmd" : "pretty",\r\n  "param" : null , "unknown": {"x": [ ] } }\n')
  t.match(await echoing.next(), { channel: 'a', cmd: 'pretty', param: null })
  const pong = once(echoing.ws, 'pong')
  echoing.ws.ping('hello')
  t.equal(String((await pong)[0]), 'hello')
  const [connection] = sockets.connections().filter(({ route }) => route === 'a')
  t.equal(await sockets.closeRequest(connection!, 'enough'), 1)
  t.match(await echoing.next(), { cmd: 'close-connection', param: { reason: 'enough' } })
  for (const client of [plain, echoing]) client.ws.terminate()
  await nothingLeft(app)
})

/** Turns of the event loop: what has arrived has been read after a few. */
async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(resolve => setImmediate(resolve))
}

t.test('whatever the host throws or returns, only the client it concerns is concerned', async t => {
  const cycle: Record<string, unknown> = {}
  cycle.self = cycle
  const oddities: Record<string, () => unknown> = {
    undefined: () => {
      throw undefined
    },
    null: () => Promise.reject(null),
    string: () => {
      throw 'text'
    },
    status: () => {
      throw { statusCode: 403, message: 10n }
    },
    number: () => Promise.reject(Object.assign(new Error('x'), { statusCode: 'no', message: undefined })),
    cycle: () => cycle,
    bigint: () => 10n,
    thenable: () => ({
      // biome-ignore lint/suspicious/noThenProperty: it is what is tested
      then() {
        throw new Error('thrown by then')
      }
    }),
    getter: () => {
      throw Object.defineProperty({}, 'statusCode', {
        get() {
          throw new Error('thrown by a getter')
        }
      })
    }
  }
  const told: Record<string, unknown> = { colour: 'red' }
  const hall = defineChannel('hall-:id', { presence: Type.Object({ colour: Type.String() }) })
  const { app, url } = await serve(t, { closeGraceMs: 100 }, app => {
    app.sockets.serve(hall, { access: () => true, presence: () => told as never })
    const onMessage = ({ cmd }: { cmd: string }): unknown => oddities[cmd]?.() ?? cmd
    app.get(
      '/ws/:channel',
      act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, ps.requestString('channel'), { onMessage })))
    )
  })
  const other = await connect(`${url}/ws/a`)
  for (const name of Object.keys(oddities)) {
    const client = await connect(`${url}/ws/a`)
    const answer = await client.command('a', name)
    t.match(answer, { cmd: '$nack', param: { code: name === 'status' ? 'forbidden' : 'internal-error' } }, name)
    t.match(await client.command('a', 'fine'), { cmd: '$ack', param: { reply: 'fine' } }, 'and is served on')
    client.ws.terminate()
  }
  const ann = await connect(`${url}/ws/hall-1`, as('ann'))
  told.self = told
  const bob = await connect(`${url}/ws/hall-1`)
  t.match(await bob.next('$joined'), { param: { presence: { members: [{ id: 'ann', info: { colour: 'red' } }] } } })
  t.match(await bob.request('$presence', 'hall-1'), { param: { reply: { members: [{ info: { colour: 'red' } }] } } })
  t.match(await other.command('a', 'fine'), { cmd: '$ack' })
  for (const client of [ann, bob, other]) client.ws.terminate()
  await nothingLeft(app)
})
