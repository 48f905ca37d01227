import { once } from 'node:events'
import type { Socket } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import type { NativeSender } from '../../lib/connection/native-writes.ts'
import { act } from '../../plugins/index.ts'
import { buildNative } from '../fixtures/native.ts'
import type { ServerOptions, Teardown } from '../fixtures/server.ts'
import { serve } from '../fixtures/server.ts'
import { CERTIFICATE, KEY } from '../fixtures/tls.ts'
import { until } from '../fixtures/until.ts'

/** Counts what a sender is given, and takes no more than so many bytes of each write. */
class Counted implements NativeSender {
  readonly backend = 'counted'
  writes = 0
  readonly #sender: NativeSender
  readonly #most: number

  constructor(sender: NativeSender, most = Number.POSITIVE_INFINITY) {
    this.#sender = sender
    this.#most = most
  }

  send(fds: Int32Array, count: number, data: Uint8Array, taken: Int32Array): boolean {
    this.writes += count
    const part = data.subarray(0, Math.min(data.byteLength, this.#most))
    return this.#sender.send(fds, count, part, taken) && part.byteLength === data.byteLength
  }
}

async function room(t: Teardown, options: ServerOptions) {
  const onMessage: NonNullable<ServerOptions['onMessage']> = ({ param }, from) => from.send({ cmd: 'echo', param })
  const { app, url } = await serve(t, { onMessage, limits: { outboxBytes: 64 * 1024 * 1024 }, ...options }, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const dial = async () => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, 'channels.v1', { ca: CERTIFICATE })
    const heard: unknown[] = []
    let socket: Socket | null = null
    ws.on('upgrade', response => {
      socket = response.socket
    })
    ws.on('message', data => {
      const { cmd, param } = JSON.parse(String(data))
      if (cmd === 'said') heard.push(param.n)
      if (cmd === 'echo') heard.push(param)
    })
    await once(ws, 'open')
    await until('it is a member', () => app.sockets.stats().perChannel.room !== undefined)
    return { ws, heard, socket: socket! }
  }
  const say = (n: number, pad: string) => void app.sockets.broadcast('room', { cmd: 'said', param: { n, pad } })
  return { app, dial, say }
}

/**
 * Much for all, some of whom do not read for a while, and then something for one alone. What everybody heard that was not
 * what was said: nothing, if all is well.
 */
async function story(t: Teardown, options: ServerOptions): Promise<unknown[][]> {
  const { app, dial, say } = await room(t, options)
  const clients = await Promise.all(Array.from({ length: 12 }, dial))
  await until('all are members', () => app.sockets.stats().perChannel.room!.connections === 12)
  const slow = clients.slice(0, 4)
  const said: unknown[] = []
  for (let n = 0; n < 300; n++) {
    if (n === 20) for (const { socket } of slow) socket.pause()
    if (n === 200) for (const { socket } of slow) socket.resume()
    say(n, 'x'.repeat(n % 3 === 0 ? 100_000 : 300))
    said.push(n)
    if (n % 7 === 0) await new Promise(resolve => setImmediate(resolve))
  }
  await until('everybody has all', () => clients.every(({ heard }) => heard.length >= 300))
  const [one] = clients
  one!.ws.send(JSON.stringify({ cmd: 'say', param: 'after it' }))
  await until('it is answered', () => one!.heard.at(-1) === 'after it')
  const wrong = clients.map(({ heard }) => heard.filter((n, i) => n !== said[i])).filter(rest => rest.length > 0)
  // Some are closed in the turn in which they are written to.
  say(300, '')
  for (const { ws } of clients) ws.close()
  await Promise.all(clients.map(({ ws }) => once(ws, 'close')))
  return wrong
}

const native = buildNative(t)

t.test('written natively everything comes once and in order, whoever stops reading, whatever fits at once', async t => {
  if (native === null) return t.pass('said above: it could not be built')
  for (const uring of [false, true]) {
    const sender = native.open(uring)
    if (sender === null) {
      t.ok(uring, 'a kernel may forbid io_uring; send works everywhere')
      continue
    }
    for (const most of [Number.POSITIVE_INFINITY, 1_000, 1]) {
      const counted = new Counted(sender, most)
      t.strictSame(await story(t, { native: counted }), [['after it']])
      t.ok(counted.writes > 300, `${counted.writes} native writes by ${sender.backend}, of at most ${most} bytes`)
    }
  }
})

t.test('what is compressed is written natively as well', async t => {
  if (native === null) return t.pass('said above: it could not be built')
  const counted = new Counted(native.open(true) ?? native.open(false)!)
  t.strictSame(await story(t, { native: counted, compression: true }), [['after it']])
  t.ok(counted.writes > 300)
})

t.test('over TLS it is all the same to clients, and nothing is written natively', async t => {
  const never: NativeSender = { backend: 'never', send: () => t.fail('bytes would go out as they are') as never }
  const fastify = { https: { key: KEY, cert: CERTIFICATE } } as never
  t.strictSame(await story(t, { fastify }), [['after it']])
  t.strictSame(await story(t, { fastify, native: never }), [['after it']])
  t.strictSame(await story(t, { fastify, native: never, compression: true }), [['after it']])
})

t.test('which sockets are written to in the walk over all: plain ones, whose `write` nobody has replaced', async t => {
  const quiet = async (options: ServerOptions, prepare: (socket: Socket) => void = () => {}): Promise<boolean[]> => {
    const { app, dial } = await room(t, options)
    app.server.on('connection', prepare)
    const client = await dial()
    const all = app.sockets.connections().map(({ transport }) => transport.quiet)
    client.ws.close()
    await once(client.ws, 'close')
    return all
  }
  t.strictSame(await quiet({}), [true])
  t.strictSame(await quiet({ fastify: { https: { key: KEY, cert: CERTIFICATE } } as never }), [false])
  const own = (socket: Socket): void => void Object.assign(socket, { write: socket.write.bind(socket) })
  t.strictSame(await quiet({}, own), [false])
})

/** A reader stops, and another goes on; the code that the former is closed with. */
async function stopping(t: Teardown, options: ServerOptions): Promise<number> {
  const { app, dial, say } = await room(t, { ...options, limits: { outboxBytes: 262_144 } })
  const [reader, stopped] = [await dial(), await dial()]
  await until('both are members', () => app.sockets.stats().perChannel.room!.connections === 2)
  stopped.socket.pause()
  for (let n = 0; app.sockets.stats().refusals.slow === undefined; n++) {
    say(n, 'x'.repeat(50_000))
    await until('the other has it', () => reader.heard.length === n + 1)
  }
  stopped.socket.resume()
  const [code] = await once(stopped.ws, 'close')
  reader.ws.close()
  await once(reader.ws, 'close')
  return code
}

t.test('a reader that stops is closed as slow, over TLS and where writes are native, and others get all', async t => {
  t.equal(await stopping(t, { fastify: { https: { key: KEY, cert: CERTIFICATE } } as never }), 4000)
  for (const sender of native === null ? [] : [native.open(false), native.open(true)]) {
    if (sender !== null) t.equal(await stopping(t, { native: sender }), 4000, sender.backend)
  }
})

t.test(
  'where writes are native, access that is taken back waits for what the link holds of that channel alone',
  async t => {
    for (const sender of native === null ? [] : [native.open(false), native.open(true)]) {
      if (sender === null) continue
      const { app, dial, say } = await room(t, { native: sender, closeGraceMs: 200, profile: () => ({ id: 'ann' }) })
      const { ws, socket } = await dial()
      await until('it is a member', () => app.sockets.stats().perChannel.room!.connections === 1)
      const [connection] = app.sockets.connections()
      for (let n = 0; n < 20; n++) {
        await app.sockets.join(connection!, `left-${n}`)
        await app.sockets.broadcast(`left-${n}`, { cmd: 'heard' })
        await new Promise(resolve => setImmediate(resolve))
        await app.sockets.leave(connection!, `left-${n}`)
      }
      socket.pause()
      while (connection!.transport.buffered() === 0) {
        say(0, 'x'.repeat(200_000))
        await new Promise(resolve => setImmediate(resolve))
      }
      t.equal(await app.sockets.revoke('ann', 'left-3'), 0)
      t.ok(connection!.open, `${sender.backend}: nothing of that channel was on its way`)
      t.equal(await app.sockets.revoke('ann', 'room'), 1)
      socket.resume()
      const [code] = await once(ws, 'close')
      t.equal(code, 1006, 'what was on its way there was thrown away with the link')
    }
  }
)

t.test('the option takes what the package exports, null for one included, and nothing else', async t => {
  await serve(t, { native: null }, () => {})
  for (const native of [{}, { backend: 'x' }, true]) {
    await t.rejects(
      serve(t, { native } as never, () => {}),
      { code: 'FST_CHANNELS_INVALID_OPTION' }
    )
  }
})
