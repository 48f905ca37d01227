import fc from 'fast-check'
import t from 'tap'
import { systemClock } from '../../client/clock.ts'
import { backoffMs, MAX_NAMED_MS, namedMs, retryAfterMs } from '../../client/reconnect.ts'
import type { FetchLike } from '../../client/transport.ts'
import { settle } from '../fixtures/clock.ts'
import { outcome, Stage } from '../fixtures/fake-socket.ts'

// The same in every run, so that a failure is of the change at hand.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

t.test('the backoff is full jitter under a bound that doubles and is capped', async t => {
  const bounds = fc.record({ minMs: fc.integer({ min: 1, max: 5000 }), maxMs: fc.integer({ min: 1, max: 60_000 }) })
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  fc.assert(
    fc.property(fc.nat(), random, bounds, (attempt, chance, { minMs, maxMs }) => {
      const delayMs = backoffMs(attempt, chance, { minMs, maxMs })
      const bound = Math.min(maxMs, minMs * 2 ** Math.min(attempt, 60))
      return delayMs >= 0 && (delayMs < bound || chance === 0) && Math.abs(delayMs - chance * bound) < 1e-6
    })
  )
  t.same(
    [0, 1, 2, 9].map(n => backoffMs(n, 0.5, { minMs: 500, maxMs: 30_000 })),
    [250, 500, 1000, 15_000]
  )
})

t.test('a delay that a server names is taken within reason', async t => {
  t.same([5, -1, '5', 'five', {}, Number.NaN, undefined, 1e12].map(namedMs), [5, 0, 0, 0, 0, 0, 0, MAX_NAMED_MS])
  const now = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT')
  t.equal(retryAfterMs('120', now), 120_000)
  t.equal(retryAfterMs('Wed, 21 Oct 2026 07:28:30 GMT', now), 30_000)
  t.same(
    [null, '0', '-3', 'soon', 'Wed, 21 Oct 2020 07:28:00 GMT'].map(text => retryAfterMs(text, now)),
    [0, 0, 0, 0, 0]
  )
})

t.test('close codes decide whether the client comes back', async t => {
  for (const code of [1001, 1005, 1006, 1011, 1012, 1013, 1014, 4000, 4002, 4100, 4499]) {
    const stage = new Stage()
    ;(await stage.connected()).end(code, 'why')
    t.match(stage.socket.state, { name: 'waiting', code, reason: 'why' })
    t.same(stage.told.$close, [{ code, reason: 'why', final: false, status: undefined }])
    stage.finish(t)
  }
  for (const code of [1000, 1002, 1003, 1008, 1009, 4500, 4501, 4502, 4503, 4600]) {
    const stage = new Stage()
    ;(await stage.connected()).end(code, 'why')
    t.match(stage.socket.state, { name: 'closed', code, reason: 'why' })
    t.equal(stage.told.$close[0].final, true)
    stage.finish(t)
  }
})

t.test('the wait grows until a connection stayed useful', async t => {
  const stage = new Stage({ backoff: { minMs: 100, maxMs: 1000, stableMs: 5000 } })
  const attempts: number[] = []
  stage.socket.on('$state', state => {
    if (state.name === 'waiting') attempts.push(state.attempt)
  })
  ;(await stage.connected()).end()
  ;(await stage.again()).end()
  await stage.again()
  await stage.clock.advance(4999)
  stage.ws.end()
  await stage.again()
  await stage.clock.advance(5000)
  stage.ws.end()
  t.same(attempts, [1, 2, 3, 1])
  stage.finish(t)
})

t.test('what the server says in $closing decides over the close that follows', async t => {
  const stage = new Stage()
  const ws = await stage.connected()
  ws.frame({ cmd: '$closing', param: { reason: 'draining', retryAfterMs: 7000 } }).end(1012)
  const { state } = stage.socket
  t.ok(state.name === 'waiting' && state.retryInMs >= 7000 && state.retryInMs <= 7500)
  const next = await stage.again()
  next.frame({ cmd: '$closing', param: { reason: 'closed-by-server' } }).end(1006)
  t.equal(stage.socket.state.name, 'closed')
  stage.finish(t)
})

t.test('a dial without a welcome in time is given up, and what comes late is nobody’s', async t => {
  const stage = new Stage({ connectTimeoutMs: 3000 })
  await settle()
  const first = stage.ws.open()
  await stage.clock.advance(3000)
  t.match(stage.socket.state, { name: 'waiting', code: 1006, reason: 'timeout' })
  t.same(stage.errors, ['dial-failed'])
  t.ok(first.closed)
  first.welcome().end(4500)
  t.equal(stage.socket.state.name, 'waiting')
  await stage.again()
  t.equal(stage.socket.state.name, 'connected')
  stage.finish(t)
})

t.test('a link that falls silent is dropped without waiting for its close', async t => {
  const stage = new Stage({ silentSlackMs: 5000 })
  const ws = await stage.connected({ heartbeatMs: 20_000 })
  await stage.clock.advance(20_000)
  ws.frame({ cmd: '$ping' })
  await stage.clock.advance(24_999)
  t.equal(stage.socket.state.name, 'connected')
  await stage.clock.advance(1)
  t.match(stage.socket.state, { name: 'waiting', code: 4001, reason: 'silent' })
  t.same(ws.closed, { code: 4001, reason: 'silent' })
  ws.frame({ channel: 'r', cmd: 'e' }).end(4500)
  t.same(stage.told.$message, [])
  stage.finish(t)
})

t.test('a process that stood still gives its link one grace, and no more', async t => {
  const stage = new Stage({ silentSlackMs: 5000 })
  const ws = await stage.connected({ heartbeatMs: 20_000 })
  stage.clock.stall(600_000)
  await stage.clock.advance(0)
  t.equal(stage.socket.state.name, 'connected')
  ws.frame({ cmd: '$ping' })
  await stage.clock.advance(24_000)
  t.equal(stage.socket.state.name, 'connected', 'what had come meanwhile was read')
  stage.clock.stall(600_000)
  await stage.clock.advance(0)
  stage.clock.stall(6000)
  await stage.clock.advance(0)
  t.equal(stage.socket.state.name, 'waiting')
  stage.finish(t)
})

t.test('a server without a heartbeat is trusted', async t => {
  const stage = new Stage()
  await stage.connected({ heartbeatMs: 0 })
  t.equal(stage.clock.pending, 0)
  stage.finish(t)
})

t.test('reconnect drops the link and dials now, from whatever state', async t => {
  const stage = new Stage({ connect: false })
  const { socket } = stage
  socket.reconnect()
  const first = await stage.connected()
  const kept = socket.join('r').send('x', 1)
  first.accept()
  socket.reconnect()
  t.same(first.closed, { code: 1000, reason: 'reconnect' })
  t.equal(await outcome(kept), 'pending', 'the session goes on')
  t.same(stage.told.$close, [{ code: 1000, reason: 'reconnect', final: false, status: undefined }])
  await settle()
  socket.reconnect()
  t.ok(stage.sockets[1]!.closed, 'a dial is given up for another')
  await stage.connected()
  stage.ws.end()
  t.equal(socket.state.name, 'waiting')
  socket.reconnect()
  t.equal((await stage.connected()).readyState, 1)
  socket.disconnect()
  socket.reconnect()
  await stage.connected()
  t.equal(stage.sockets.length, 5)
  t.equal(socket.state.name, 'connected')
  stage.finish(t)
})

/** Puts a page around the client. */
function page(t: Tap, more: object = {}): { fire(event: string): void; size(): number } {
  const listeners: Array<[string, () => void]> = []
  const target = {
    addEventListener: (event: string, listener: () => void) => void listeners.push([event, listener]),
    removeEventListener: (event: string, listener: () => void) => {
      const at = listeners.findIndex(([name, other]) => name === event && other === listener)
      if (at >= 0) listeners.splice(at, 1)
    }
  }
  const added = { ...target, document: target, ...more }
  const before = Object.keys(added).map(key => [key, Reflect.get(globalThis, key)] as const)
  Object.assign(globalThis, added)
  t.teardown(() => {
    for (const [key, value] of before) {
      if (value === undefined) Reflect.deleteProperty(globalThis, key)
      else Reflect.set(globalThis, key, value)
    }
  })
  const fire = (event: string): void => {
    for (const [name, listener] of [...listeners]) if (name === event) listener()
  }
  return { fire, size: () => listeners.length }
}
type Tap = typeof t

t.test('a wait ends when the network is back or the page is looked at, but not before the server said', async t => {
  const around = page(t as unknown as Tap)
  const stage = new Stage()
  const ws = await stage.connected()
  t.equal(around.size(), 2)
  around.fire('online')
  t.equal(stage.socket.state.name, 'connected')
  ws.end()
  around.fire('visibilitychange')
  await stage.connected()
  stage.ws.end()
  around.fire('online')
  const next = await stage.connected()
  next.frame({ cmd: '$closing', param: { reason: 'draining', retryAfterMs: 9000 } }).end(1012)
  around.fire('online')
  t.equal(stage.socket.state.name, 'waiting')
  stage.finish(t)
  t.equal(around.size(), 0, 'nothing listens after the end')
})

interface Asked {
  readonly url: string
  readonly init: any
}

function answering(status: number, headers: Record<string, string> = {}): { fetch: FetchLike; asked: Asked[] } {
  const asked: Asked[] = []
  const fetch: FetchLike = async (url, init) => {
    asked.push({ url, init })
    return { status, headers: { get: name => headers[name] ?? null } }
  }
  return { fetch, asked }
}

t.test('after a handshake that failed the same URL is asked once why, and the answer decides', async t => {
  for (const status of [400, 401, 403, 404]) {
    const { fetch, asked } = answering(status)
    const stage = new Stage({ probe: true, fetch }, 'wss://test.example/ws?x=1')
    await settle()
    stage.ws.end()
    await settle()
    t.match(stage.socket.state, { name: 'closed', code: 1006, reason: `HTTP ${status}`, status })
    t.match(stage.told.$close, [{ final: true, status }])
    t.match(asked, [{ url: 'https://test.example/ws?x=1', init: { credentials: 'same-origin', redirect: 'manual' } }])
    t.equal(asked.length, 1)
    stage.finish(t)
  }
  for (const [status, minMs] of [
    [429, 20_000],
    [503, 20_000],
    [426, 0],
    [200, 0],
    [0, 0],
    [500, 0]
  ] as const) {
    const stage = new Stage({ probe: true, fetch: answering(status, { 'retry-after': '20' }).fetch })
    await settle()
    stage.ws.end()
    await settle()
    const { state } = stage.socket
    t.ok(state.name === 'waiting' && state.retryInMs >= minMs && state.retryInMs <= minMs + 500, `status ${status}`)
    stage.finish(t)
  }
})

t.test('a probe that fails, hangs or comes too late means no more than a retry', async t => {
  const stage = new Stage({
    probe: true,
    connectTimeoutMs: 1000,
    fetch: (_, { signal }) => new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  })
  await settle()
  stage.ws.end()
  await stage.clock.advance(999)
  t.equal(stage.socket.state.name, 'connecting')
  await stage.clock.advance(1)
  t.equal(stage.socket.state.name, 'waiting')
  stage.socket.reconnect()
  await settle()
  stage.ws.end()
  stage.socket.reconnect()
  await stage.connected()
  await stage.clock.advance(1000)
  t.equal(stage.socket.state.name, 'connected', 'a verdict on an earlier dial is not heard')
  stage.finish(t)
})

t.test('only the page’s own origin is asked, and never after a connection that had opened', async t => {
  const { fetch, asked } = answering(403)
  page(t as unknown as Tap, { location: { href: 'http://test.example/', host: 'test.example' } })
  const other = new Stage({ probe: 'same-origin', fetch }, 'ws://else.example/ws')
  await settle()
  other.ws.end()
  await settle()
  t.equal(other.socket.state.name, 'waiting')
  other.finish(t)
  const opened = new Stage({ probe: 'same-origin', fetch }, '/ws')
  await settle()
  t.equal(opened.ws.url, 'ws://test.example/ws')
  opened.ws.open().end()
  await settle()
  t.equal(opened.socket.state.name, 'waiting')
  t.same(asked, [])
  opened.socket.reconnect()
  await settle()
  opened.ws.end()
  await settle()
  t.match(opened.socket.state, { name: 'closed', status: 403 })
  opened.finish(t)
})

t.test('the platform’s own clock tells time and chance and runs timers', async t => {
  t.ok(systemClock.monotonic() >= 0)
  t.ok(Math.abs(systemClock.wall() - Date.now()) < 10_000)
  const chance = systemClock.random()
  t.ok(chance >= 0 && chance < 1)
  systemClock.after(0, () => t.fail('it was cancelled')).cancel()
  await new Promise<void>(resolve => void systemClock.after(0, resolve))
})

t.test(
  'a server that wants other credentials is dialled at once, after they were renewed, with all positions',
  async t => {
    const asked: string[] = []
    let renew = (): void => {}
    const stage = new Stage({
      renewCredentials: () => {
        asked.push('renew')
        return new Promise<void>(resolve => (renew = resolve))
      }
    })
    const room = stage.socket.join('r')
    const ws = await stage.connected()
    ws.accept({ position: { epoch: 'a', offset: 2, tag: 't' } })
    const sent = room.send('x', 1)
    ws.end(4003)
    t.match(stage.socket.state, { name: 'connecting' })
    await settle()
    t.equal(stage.sockets.length, 1)
    renew()
    const next = await stage.connected({ resumed: true })
    t.match(next.resume, { s: 's', n: 1, p: { r: ['a', 2, 't'] } })
    next
      .accept({ position: { epoch: 'a', offset: 2, tag: 't' }, outcome: { kind: 'recovered', from: 2, to: 2 } })
      .ack(1)
    await sent
    next.end(4003)
    t.match(stage.socket.state, { name: 'waiting', code: 4003, attempt: 2 }, 'but not again and again')
    await stage.clock.advance(1000)
    t.same(asked, ['renew', 'renew'])
    renew()
    await stage.connected()
    await stage.clock.advance(10_000)
    stage.ws.end(1012)
    t.equal((await stage.again()).readyState, 1)
    t.equal(asked.length, 2, 'it is asked for that close alone')
    stage.finish(t)
  }
)

t.test(
  'credentials that cannot be renewed are asked for again after a while; without a way to renew them the dial is made',
  async t => {
    let failures = 1
    const stage = new Stage({
      renewCredentials: () => {
        if (failures--) throw new Error('offline')
      }
    })
    ;(await stage.connected()).end(4003)
    await settle()
    t.match(stage.told.$error, [{ code: 'dial-failed', cause: { message: 'offline' } }])
    t.match(stage.socket.state, { name: 'waiting' })
    await stage.again()
    t.equal(stage.socket.state.name, 'connected')
    t.equal(failures, -1)
    stage.finish(t)

    let token = 0
    const plain = new Stage({}, () => `ws://test.example/?token=${++token}`)
    ;(await plain.connected()).end(4003)
    await plain.connected()
    t.equal(plain.ws.url, 'ws://test.example/?token=2')
    plain.finish(t)
  }
)

t.test('who was replaced or whose access was revoked stays away, and its session is over', async t => {
  for (const code of [4501, 4502]) {
    const stage = new Stage()
    const room = stage.socket.join('r')
    const ws = await stage.connected()
    ws.accept()
    const sent = room.send('x', 1)
    ws.end(code)
    t.match(stage.socket.state, { name: 'closed', code })
    t.equal(await outcome(sent), 'unknown')
    stage.finish(t)
  }
})

t.test('a client that slept comes back when it wakes, and recovers', async t => {
  const stage = new Stage({ silentSlackMs: 5000, connectTimeoutMs: 3000 })
  const room = stage.socket.join('r')
  const heard: unknown[] = []
  room.on('e', param => heard.push(param))
  const position = { epoch: 'a', offset: 2, tag: 't' }
  ;(await stage.connected()).accept({ position })
  const sent = room.send('x', 1)
  // Asleep with a link that dies meanwhile, then in a wait, then in a dial.
  stage.clock.stall(8 * 3_600_000)
  await stage.clock.advance(5000)
  t.match(stage.socket.state, { name: 'waiting', code: 4001 })
  stage.clock.stall(3_600_000)
  await stage.clock.advance(0)
  t.equal(stage.socket.state.name, 'connecting')
  stage.clock.stall(3_600_000)
  await stage.clock.advance(1000)
  const next = await stage.connected({ resumed: true })
  t.match(next.resume, { s: 's', p: { r: ['a', 2, 't'] } })
  next
    .accept({ position, outcome: { kind: 'recovered', from: 2, to: 3 } })
    .logged('r', 3)
    .ack(1)
  await sent
  t.same(heard, [3])
  stage.finish(t)
})
