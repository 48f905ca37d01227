import fc from 'fast-check'
import t from 'tap'
import type { SendOptions, SocketOptions } from '../../client/index.ts'
import { GRACE_MS } from '../../client/outbox.ts'
import { settle } from '../fixtures/clock.ts'
import { type FakeSocket, outcome, Stage } from '../fixtures/fake-socket.ts'
import { ModelServer, type Verdict } from '../fixtures/model-server.ts'

// The same in every run, so that a failure is of the change at hand.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

/** What left as `id:param`, a `$void` as `void id`. */
const left = (ws: FakeSocket): string[] =>
  ws.sent
    .filter(({ id }) => id)
    .map(({ id, cmd, param }) =>
      cmd === '$void' ? `void ${id}${param ? `-${(param as { to: number }).to}` : ''}` : `${id}:${param}`
    )

/** A stage with channels that the client joined, connected. */
async function joined(names: string[], options: SocketOptions = {}) {
  const stage = new Stage(options)
  const channels = names.map(name => stage.socket.join(name))
  const ws = await stage.connected({ heartbeatMs: 0 })
  accept(ws)
  return { stage, channels, ws, room: channels[0]! }
}

/** Says yes to every join, or to those of some channels. */
function accept(ws: FakeSocket, ...names: string[]): void {
  for (const { cmd, channel, ref } of ws.requests) {
    if (cmd === '$join' && (names.length === 0 || names.includes(channel))) ws.joined(channel, { ref })
  }
}

t.test('a command without an answer leaves again on the next link of its session, under its id', async t => {
  const { stage, ws, room } = await joined(['r'])
  const sends = [room.send('x', 'a'), room.send('x', 'b')]
  ws.ack(1)
  await sends[0]
  ws.readyState = 2
  const unsent = room.send('x', 'c')
  ws.end()
  t.equal(await outcome(sends[1]!), 'pending')
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  t.same(left(next), [])
  accept(next)
  t.same(left(next), ['2:b', '3:c'], 'before what is newer')
  next.ack(2).ack(2).ack(3)
  t.match(await Promise.all([sends[1], unsent]), [{ stored: 'none' }, { stored: 'none' }])
  stage.finish(t)
})

t.test('in another session what had left is unknown, and what had not counts from 1', async t => {
  const { stage, ws, room } = await joined(['r'])
  const sent = room.send('x', 'a')
  ws.end()
  const unsent = room.send('x', 'b')
  t.equal(await outcome(sent), 'pending', 'the link’s end says nothing yet')
  const next = await stage.again({ resumed: false, session: 'other' })
  t.equal(await outcome(sent), 'unknown')
  accept(next)
  t.same(left(next), ['1:b'])
  next.ack(1)
  await unsent
  stage.finish(t)
})

t.test('reconnect keeps the session; disconnect ends it', async t => {
  const { stage, room } = await joined(['r'])
  const kept = room.send('x', 'a')
  stage.socket.reconnect()
  const next = await stage.connected({ resumed: true })
  accept(next)
  t.same(left(next), ['1:a'])
  stage.socket.disconnect()
  t.equal(await outcome(kept), 'unknown')
  stage.socket.connect()
  const third = await stage.connected()
  t.notOk(third.resume)
  accept(third)
  const later = room.send('x', 'b')
  t.same(left(third), ['1:b'])
  third.ack(1)
  await later
  stage.finish(t)
})

t.test('each channel’s commands leave again once it is joined again, in the order of their ids', async t => {
  const { stage, channels, ws } = await joined(['a', 'b'])
  const [a, b] = channels
  ws.joined('route', {}, { by: 'route' })
  const early = stage.socket.send({ channel: 'late', cmd: 'x', param: 'l' })
  const sends = [a!.send('x', 'a1'), b!.send('x', 'b1'), stage.socket.send({ channel: 'route', cmd: 'x', param: 'r' })]
  ws.joined('late', {}, { by: 'server' })
  t.same(left(ws), ['1:a1', '2:b1', '3:r', '4:l'])
  ws.end()
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  sends.push(a!.send('x', 'a2'), early)
  accept(next, 'b')
  t.same(left(next), ['2:b1'])
  accept(next, 'a')
  t.same(left(next), ['2:b1', '1:a1', '5:a2'])
  next.joined('late', {}, { by: 'route' }).joined('route', {}, { by: 'route' })
  t.same(left(next).slice(3), ['4:l', '3:r'])
  for (const id of [1, 2, 3, 4, 5]) next.ack(id)
  await Promise.all(sends)
  stage.finish(t)
})

t.test('a refusal for now lets the same id leave again after the time named, before what is behind it', async t => {
  const { stage, channels, ws } = await joined(['a', 'b'])
  const [a, b] = channels
  const sends = [a!.send('x', 1), a!.send('x', 2), b!.send('x', 3)]
  ws.nack({ id: 1 }, 'rate-limited', { retry: true, retryAfterMs: 5000 })
  ws.nack({ id: 2 }, 'resend-from', { retry: true, from: 1 }).ack(3)
  sends.push(a!.send('x', 4), b!.send('x', 5))
  await stage.clock.advance(4999)
  t.same(left(ws), ['1:1', '2:2', '3:3', '4:5'], 'other channels go on')
  await stage.clock.advance(501)
  t.same(left(ws).slice(4), ['1:1', '2:2'], 'what has left in vain leaves alone')
  ws.nack({ id: 1 }, 'unavailable', { retry: true })
  ws.nack({ id: 2 }, 'resend-from', { retry: true, from: 1 })
  ws.end()
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  accept(next)
  t.same(left(next), ['1:1', '2:2', '4:5'], 'another link needs no wait')
  for (const id of [1, 2]) next.ack(id)
  t.same(left(next).slice(3), ['5:4'])
  for (const id of [4, 5]) next.ack(id)
  await Promise.all(sends)
  stage.finish(t)
})

t.test('resend-from goes back to a command that is on its way, once', async t => {
  const { stage, ws, room } = await joined(['r'])
  const sends = [1, 2, 3].map(param => room.send('x', param))
  ws.nack({ id: 2 }, 'resend-from', { retry: true, from: 1 })
  t.same(left(ws).slice(3), ['1:1', '2:2'])
  ws.nack({ id: 3 }, 'resend-from', { retry: true, from: 1 })
  t.same(left(ws).slice(5), [], 'the first has left since, and the second alone')
  ws.ack(1).ack(2)
  t.same(left(ws).slice(5), ['3:3'])
  for (let i = 0; i < 20; i++) ws.nack({ id: 3 }, 'resend-from', { retry: true, from: 3 })
  t.equal(left(ws).length, 7, 'a server that asks for ever is not answered at once')
  await stage.clock.advance(60_000)
  for (const id of [1, 2, 3]) ws.ack(id)
  await Promise.all(sends)
  stage.finish(t)
})

t.test('what the server asks for and nobody waits for any more is voided', async t => {
  const { stage, ws, room } = await joined(['r'], { requestTimeoutMs: 100 })
  const gone = room.request('x', 1)
  ws.end()
  await stage.clock.advance(100 + GRACE_MS)
  t.equal(await outcome(gone), 'unknown')
  const next = stage.ws.welcome({ heartbeatMs: 0, resumed: true })
  accept(next)
  const sent = room.send('x', 2)
  next.nack({ id: 2 }, 'resend-from', { retry: true, from: 1 })
  t.same(left(next), ['2:2', 'void 1', '2:2'])
  t.match(next.sent.at(-2), { channel: 'r', cmd: '$void', id: 1 })
  next.nack({ id: 1 }, 'voided').ack(2)
  await sent
  stage.finish(t)
})

t.test('a server that has forgotten many ids is given them all up at once', async t => {
  const { stage, ws, room } = await joined(['r'])
  const sends = [1, 2, 3, 4, 5, 6, 7, 8, 9].map(n => room.send('x', n))
  for (const id of [1, 2, 3, 4, 5, 6, 8]) ws.ack(id)
  ws.nack({ id: 7 }, 'resend-from', { retry: true, from: 2 }).nack({ id: 9 }, 'resend-from', { retry: true, from: 2 })
  t.same(left(ws).slice(9), ['void 2-6', '7:7', 'void 2-6'], 'up to the first that somebody waits for')
  ws.nack({ id: 2 }, 'voided').ack(7)
  t.same(left(ws).slice(12), ['9:9'])
  ws.nack({ id: 9 }, 'resend-from', { retry: true, from: 8 })
  t.same(left(ws).slice(13), ['void 8'])
  await stage.clock.advance(60_000)
  ws.ack(9)
  await Promise.all(sends)
  const newer = room.send('x', 10)
  ws.nack({ id: 10 }, 'resend-from', { retry: true, from: 3 })
  t.same(left(ws).slice(15), ['10:10', 'void 3-9', '10:10'])
  ws.ack(10)
  await newer
  stage.finish(t)
})

t.test(
  'a command whose channel is not joined again holds the others only if the server asks for it, and for a while',
  async t => {
    const { stage, ws, room } = await joined(['r'])
    ws.joined('route', {}, { by: 'route' }).joined('second', {}, { by: 'route' })
    const send = (channel: string, param: number): Promise<unknown> => stage.socket.send({ channel, cmd: 'x', param })
    const [stuck, other, mine] = [send('route', 1), send('second', 2), room.send('x', 3)]
    ws.end()
    const next = await stage.again({ heartbeatMs: 0, resumed: true })
    accept(next)
    const newer = room.send('x', 4)
    t.same(left(next), ['3:3', '4:4'])
    next
      .nack({ id: 3 }, 'resend-from', { retry: true, from: 2 })
      .nack({ id: 4 }, 'resend-from', { retry: true, from: 1 })
    next.joined('second', {}, { by: 'route' })
    t.same(left(next).slice(2), [], 'the lowest id comes first')
    await stage.clock.advance(GRACE_MS)
    t.same(left(next).slice(2), ['void 1', '2:2', '3:3'])
    next.nack({ id: 1 }, 'voided').ack(2).ack(3)
    t.same(left(next).slice(5), ['4:4'])
    next.ack(4)
    t.same(await Promise.all([stuck, other, mine, newer].map(outcome)).then(all => all[0]), 'not-joined')
    await Promise.all([other, mine, newer])

    next.joined('route', {}, { by: 'route' })
    const again = [send('route', 5), room.send('x', 6)]
    next.end()
    const third = await stage.again({ heartbeatMs: 0, resumed: true })
    accept(third)
    third.nack({ id: 6 }, 'resend-from', { retry: true, from: 5 })
    third.joined('route', {}, { by: 'route' })
    t.same(left(third), ['6:6', '5:5', '6:6'], 'once it is joined all goes on')
    third.ack(5).ack(6)
    await Promise.all(again)
    stage.finish(t)
  }
)

t.test('what was given up before it left never leaves', async t => {
  const stage = new Stage({ requestTimeoutMs: 100, sendTimeoutMs: 200 })
  const room = stage.socket.join('r')
  const early = new AbortController()
  const gone = [room.request('x', 1), room.send('x', 2), room.send('x', 3, { signal: early.signal, timeoutMs: 0 })]
  gone.push(room.send('x', 4, { ttlMs: 50 }))
  t.equal(await outcome(room.send('x', 5, { signal: AbortSignal.abort() })), 'aborted')
  early.abort()
  await stage.clock.advance(200)
  t.same(await Promise.all(gone.map(outcome)), ['timeout', 'timeout', 'aborted', 'timeout'])
  const ws = await stage.connected()
  ws.accept()
  t.same(left(ws), [])
  stage.finish(t)
})

t.test('what was given up after it left is voided in its turn, and settles by what the server says', async t => {
  const { stage, ws, room } = await joined(['r'], { requestTimeoutMs: 100 })
  const [first, second] = [new AbortController(), new AbortController()]
  const sends = [
    room.send('x', 1, { signal: first.signal }),
    room.request('x', 2),
    room.send('x', 3, { signal: second.signal }),
    room.request('x', 4),
    room.request('x', 5, { timeoutMs: 1000 })
  ]
  first.abort()
  t.same(left(ws).slice(5), ['void 1'])
  ws.ack(1).nack({ id: 1 }, 'voided')
  t.match(await sends[0], { stored: 'none' }, 'it had been run')
  await stage.clock.advance(100)
  second.abort()
  t.same(left(ws).slice(6), ['void 2', 'void 4', 'void 3'])
  ws.nack({ id: 2 }, 'rate-limited', { retry: true, retryAfterMs: 1000 }).nack({ id: 2 }, 'voided')
  ws.nack({ id: 3 }, 'voided').nack({ id: 4 }, 'forbidden')
  t.same(await Promise.all(sends.slice(1, 4).map(outcome)), ['timeout', 'aborted', 'forbidden'])
  t.same(left(ws).slice(9), [], 'nothing else is said of it')
  await stage.clock.advance(1000 + GRACE_MS)
  t.equal(await outcome(sends[4]!), 'unknown', 'no answer is an answer after a while')
  stage.finish(t)
})

t.test('what was given up during an outage is voided on the next link, where a session goes on', async t => {
  const { stage, ws, room } = await joined(['r'], { backoff: { maxMs: 1 } })
  const giveUp = new AbortController()
  const sends = [room.send('x', 1, { signal: giveUp.signal }), room.send('x', 2), room.send('x', 3, { ttlMs: 50 })]
  await stage.clock.advance(60)
  ws.end()
  giveUp.abort()
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  t.same(left(next), ['void 1'], 'which needs no membership')
  accept(next)
  t.same(left(next), ['void 1', '2:2', 'void 3'], 'time to leave is over for the second time too')
  next.nack({ id: 1 }, 'voided').ack(2).nack({ id: 3 }, 'voided')
  t.same(await outcome(sends[0]!), 'aborted')
  t.same(await outcome(sends[2]!), 'timeout')
  const late = room.send('x', 4, { timeoutMs: 10 })
  next.end()
  await stage.clock.advance(10)
  await stage.again({ resumed: false })
  t.equal(await outcome(late), 'unknown')
  stage.finish(t)
})

t.test('what a refused or left channel had on its way is voided on the next link', async t => {
  const { stage, channels, ws } = await joined(['a', 'b'])
  const [a, b] = channels
  const sends = [a!.send('x', 1), b!.send('x', 2), b!.send('x', 3)]
  a!.leave()
  t.equal(await outcome(sends[0]!), 'pending', 'it may be answered yet')
  ws.end()
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  t.same(left(next), ['void 1'])
  next.nack({ channel: 'b', ref: next.requests[0].ref }, 'forbidden')
  t.same(left(next), ['void 1', 'void 2', 'void 3'])
  next.nack({ id: 1 }, 'voided').nack({ id: 2 }, 'voided').ack(3)
  t.same(await Promise.all(sends.slice(0, 2).map(outcome)), ['left', 'forbidden'])
  await sends[2]
  stage.finish(t)
})

t.test('who does not want to wait offline is refused at once, and when the link is lost', async t => {
  const stage = new Stage({ onOffline: 'reject' })
  const room = stage.socket.join('r')
  t.match(await room.send('x', 1).catch(e => e), { code: 'offline', retry: true })
  const kept = room.send('x', 2, { onOffline: 'queue' })
  const ws = await stage.connected()
  const [waiting, other] = [room.send('x', 3), stage.socket.send({ channel: 'late', cmd: 'x', param: 4 })]
  ws.accept()
  t.same(left(ws), ['1:2', '2:3'])
  ws.end()
  t.equal(await outcome(other), 'offline', 'it had not left')
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  next.accept()
  t.same(left(next), ['1:2', '2:3'])
  next.ack(1).ack(2)
  await Promise.all([kept, waiting])
  stage.finish(t)
})

t.test('a full queue refuses the next command at once, or lets the oldest go that may go', async t => {
  const { stage, ws, room } = await joined(['r'], { queue: { count: 3, bytes: 200 } })
  const drop: SendOptions = { onOffline: 'drop-oldest' }
  const left1 = room.send('x', 'has left', drop)
  ws.readyState = 2
  const sends = [room.send('x', 2, drop), room.send('x', 'a'), room.send('x', 'b')]
  t.same(await outcome(sends[2]!), 'queue-full')
  const newer = room.send('x', 5, drop)
  t.equal(await outcome(sends[0]!), 'dropped')
  t.equal(await outcome(room.send('x', 'ä'.repeat(100), drop)), 'queue-full', 'nothing goes for what never fits')
  t.equal(await outcome(newer), 'pending')
  const long = room.send('x', 'l'.repeat(80), drop)
  t.same(await Promise.all([newer, long].map(outcome)), ['dropped', 'pending'])
  t.same(
    stage.socket.outbox.map(({ param }) => String(param).slice(0, 8)),
    ['has left', 'a', 'llllllll']
  )
  t.equal(await outcome(room.send('x', 'm'.repeat(150), drop)), 'queue-full')
  t.equal(await outcome(long), 'pending', 'nor for what would not fit beside those that have to stay')
  ws.end()
  const next = await stage.again({ heartbeatMs: 0, resumed: true })
  accept(next)
  for (const id of [1, 2, 3]) next.ack(id)
  await Promise.all([left1, sends[1], long])
  stage.finish(t)
})

t.test('the outbox shows what waits and what has left, and tells when it is another', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const lists: string[] = []
  stage.socket.on('$outbox', () => lists.push(stage.socket.outbox.map(({ id, state }) => `${id} ${state}`).join()))
  const since = stage.clock.wall()
  const sends = [room.send('x', { text: 'a' })]
  t.same(stage.socket.outbox, [{ channel: 'r', cmd: 'x', param: { text: 'a' }, id: 0, state: 'waiting', since }])
  const ws = await stage.connected()
  ws.accept()
  sends.push(room.send('x', 'b'))
  ws.ack(1).end()
  ;(await stage.again({ heartbeatMs: 0, resumed: true })).accept().ack(2)
  await Promise.all(sends)
  t.same(lists, ['0 waiting', '1 sent', '1 sent,2 sent', '1 sent,2 sent', '2 sent', ''])
  stage.finish(t)
})

t.test('what grew too big for the server meanwhile is voided', async t => {
  const { stage, ws, room } = await joined(['r'])
  const sent = room.send('x', 'long'.repeat(50))
  ws.end()
  const limits = { payloadBytes: 100, history: 1 }
  const next = await stage.again({ heartbeatMs: 0, resumed: true, limits })
  accept(next)
  t.same(left(next), ['void 1'])
  next.nack({ id: 1 }, 'voided')
  t.equal(await outcome(sent), 'too-big')
  stage.finish(t)
})

const Decision = fc.constantFrom<Verdict>('ack', 'ack', 'ack', 'refuse', 'later')
const Step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('send' as const),
      channel: fc.constantFrom('a', 'b', 'c'),
      options: fc.constantFrom<SendOptions>({}, {}, { timeoutMs: 300 }, { ttlMs: 200 }, { onOffline: 'drop-oldest' }),
      abort: fc.boolean()
    })
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('serve' as const),
      count: fc.integer({ min: 1, max: 6 }),
      verdict: Decision
    })
  },
  fc.record({ kind: fc.constant('cut' as const), count: fc.nat(4), verdict: Decision }),
  fc.record({ kind: fc.constant('welcome' as const), forget: fc.constantFrom(false, false, false, true) }),
  fc.record({ kind: fc.constantFrom('route' as const, 'abort' as const, 'reconnect' as const, 'mute' as const) }),
  fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 12_000 }) })
)

t.test(
  'whatever happens each command settles once and truly, takes effect at most once, and in its channel’s order',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(Step, { maxLength: 60 }), async steps => {
        const stage = new Stage({ queue: { count: 12 }, backoff: { minMs: 50, maxMs: 1000 } })
        const { socket, clock } = stage
        const server = new ModelServer()
        for (const name of ['a', 'b']) socket.join(name)
        const fates: string[][] = []
        const never: Array<() => boolean> = []
        const controllers: AbortController[] = []
        const welcome = async (forget: boolean): Promise<void> => {
          await settle()
          if (stage.ws.readyState === 0 && !stage.ws.closed) server.welcome(stage.ws, forget)
        }
        for (const step of steps) {
          await settle()
          if (step.kind === 'send') {
            const [controller, fate, param] = [new AbortController(), [] as string[], fates.length]
            const { signal } = controller
            if (step.abort) controllers.push(controller)
            fates.push(fate)
            const sent = socket.send({ channel: step.channel, cmd: 'x', param }, { ...step.options, signal })
            sent.then(
              () => fate.push('ack'),
              ({ code }) => fate.push(code)
            )
          } else if (step.kind === 'wait') await clock.advance(step.ms)
          else if (step.kind === 'abort') controllers.shift()?.abort()
          else if (step.kind === 'reconnect') socket.reconnect()
          else if (step.kind === 'welcome') await welcome(step.forget)
          else if (socket.state.name !== 'connected') continue
          else if (step.kind === 'serve') for (let i = 0; i < step.count; i++) server.serve(step.verdict)
          else if (step.kind === 'cut') server.cut(step.count, step.verdict)
          else if (step.kind === 'route') server.join('c')
          // Closing, and the client has not been told yet.
          else stage.ws.readyState = 2
        }
        if (socket.state.name === 'connected') server.cut(0, 'ack')
        for (let i = 0; i < 40 && (i < 3 || socket.outbox.length > 0); i++) {
          await clock.advance(1500)
          if (socket.state.name === 'connecting') await welcome(false)
          if (i === 2) server.join('c')
          while (server.serve('ack')) await settle()
        }
        await settle()
        if (socket.outbox.length > 0) throw new Error(`still waiting: ${JSON.stringify(socket.outbox)}`)
        server.check()
        if (never.some(onWire => onWire())) throw new Error('what was given up before it left has left')
        const effects = [...server.effects.values()]
        fates.forEach((fate, param) => {
          const times = effects.flat().filter(other => other === param).length
          if (fate.length !== 1) throw new Error(`${param} settled ${fate.length} times`)
          const [code] = fate
          const right = code === 'ack' ? times === 1 : times <= (code === 'unknown' ? 1 : 0)
          if (!right) throw new Error(`${param} is ${code} and took effect ${times} times`)
        })
        for (const order of effects) {
          if (order.some((param, i) => i > 0 && param < order[i - 1]!)) throw new Error(`out of order: ${order}`)
        }
        socket.disconnect()
        if (clock.pending !== 0) throw new Error('a timer is left')
      }),
      { numRuns: Number(process.env.RUNS ?? 300) }
    )
  }
)
