import { EventEmitter } from 'node:events'
import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import type { ChannelRules } from '../../lib/channel/rules.ts'
import type { Subscription } from '../../lib/channel/subscription.ts'
import type { Connection, ConnectionKind } from '../../lib/connection/connection.ts'
import { encodeText } from '../../lib/connection/frame.ts'
import { Lane } from '../../lib/connection/lane.ts'
import { WebSocketTransport } from '../../lib/connection/websocket.ts'
import { TokenBucket } from '../../lib/inbound/rate-limit.ts'
import { Sequence } from '../../lib/inbound/sequence.ts'
import type { Logger } from '../../lib/log.ts'
import { loggable } from '../../lib/log.ts'
import type { ConnectionHooks } from '../../lib/observer.ts'
import type { Limits } from '../../lib/options.ts'
import { DEFAULT_LIMITS } from '../../lib/options.ts'
import { command, defineChannel, Type } from '../../lib/protocol/index.ts'
import { Service } from '../../lib/service.ts'
import { Refusals } from '../../lib/stats.ts'
import { Chance } from '../fixtures/chance.ts'
import { ManualClock, settle } from '../fixtures/clock.ts'
import { FakeTransport } from '../fixtures/transport.ts'

const noop = (): void => {}
const logger: Logger = { error: noop, warn: noop, info: noop, debug: noop, child: () => logger }
const times = {
  heartbeatMs: 1000,
  handshakeTimeoutMs: 100,
  closeGraceMs: 500,
  sessionMs: 60_000,
  presenceGraceMs: 0,
  recheckMs: 0
}

const room = defineChannel('room', { commands: { work: command(Type.String()) } })

interface Setting {
  readonly limits?: Partial<Limits>
  readonly hooks?: ConnectionHooks
  readonly rules?: Partial<ChannelRules<typeof room>>
}

/** A service on a clock that stands still, and a way to connect to it without a network. */
function virtual({ limits = {}, hooks = {}, rules = {} }: Setting = {}) {
  const clock = new ManualClock()
  const service = new Service({
    clock,
    times,
    hooks,
    logger,
    limits: { ...DEFAULT_LIMITS, connectionsPerUser: 0, connectionsPerAddress: 0, ...limits },
    refusals: new Refusals(),
    contract: null,
    checkEvents: true,
    userChannel: false,
    onMessage: null,
    pendingHandshakes: () => 0,
    broker: new MemoryBroker({ clock, logger, onControl: noop }, new MemoryStore())
  })
  service.serve(room, { access: () => true, commands: { work: () => undefined }, ...rules } as ChannelRules)
  service.ready()
  const open = async (channel: string, options: { user?: string; kind?: ConnectionKind } = {}) => {
    const transport = new FakeTransport()
    const { user, kind = 'channels.v1' } = options
    const connection = await service.open(
      {
        kind,
        resume: null,
        ticket: null,
        action: 'test',
        logger,
        profile: user === undefined ? null : { id: user },
        ip: '10.0.0.1',
        signal: new AbortController().signal,
        assertPending: noop,
        opened: noop,
        open: () => transport
      },
      { channel, metadata: {}, onMessage: undefined, userChannel: undefined }
    )
    await clock.advance(0)
    return { transport, connection }
  }
  const publish = (channel: string, cmd: string, param?: unknown) =>
    service.publisher.send(service.publisher.prepare(channel, { cmd, param }))
  return { clock, service, open, publish }
}

t.test(
  'a peer from which nothing comes is closed between one and two heartbeats, one that answers lives on',
  async t => {
    const { clock, service, open } = virtual()
    const silent = await open('a')
    const good = await open('a')
    const plain = await open('a', { kind: 'plain' })
    for (let i = 0; i < 100; i++) {
      await clock.advance(100)
      const { frames } = good.transport
      if (frames[frames.length - 1]?.cmd === '$ping') good.transport.send({ cmd: '$pong' })
      if (plain.transport.pings > 0) plain.transport.control()
      if (silent.transport.ended !== null) break
    }
    t.same(silent.transport.ended, { code: 4001, reason: 'silent: no sign of life' })
    t.ok(clock.monotonic() >= 1000 && clock.monotonic() <= 2000, `after ${clock.monotonic()} ms`)
    for (let i = 0; i < 50; i++) {
      await clock.advance(100)
      good.transport.control()
      plain.transport.control()
    }
    t.equal(good.connection.open && plain.connection.open, true)
    t.ok(plain.transport.pings >= 5)
    t.equal(plain.transport.frames.length, 0, 'a plain client gets no $ frame')
    t.equal(service.stats().refusals.silent, 1)
    good.transport.closed(1000, '')
    plain.transport.closed(1000, '')
    await clock.advance(60_000)
    t.equal(clock.pending, 0, 'no timer is left, once their sessions are forgotten')
  }
)

t.test('a stall of our own closes nobody', async t => {
  const { clock, open } = virtual()
  const peers = await Promise.all(Array.from({ length: 20 }, () => open('a')))
  for (let i = 0; i < 12; i++) {
    await clock.advance(100)
    for (const { transport } of peers) transport.control()
  }
  clock.stall(10_000)
  // Timers run before the bytes that came meanwhile are read.
  await clock.advance(100)
  t.ok(peers.every(({ connection }) => connection.open))
  for (let i = 0; i < 30; i++) {
    for (const { transport } of peers) transport.control()
    await clock.advance(100)
  }
  t.ok(peers.every(({ connection }) => connection.open))
})

t.test('a reader that stops is closed 4000 when its outbox is full, and nobody else notices', async t => {
  const left: string[] = []
  const { clock, open, service } = virtual({
    limits: { outboxBytes: 100_000 },
    rules: { onLeave: ({ connection }) => void left.push(connection.profile!.id) }
  })
  const peers = await Promise.all(['ann', 'bob', 'cy', 'dan'].map(user => open('room', { user })))
  peers[1]!.transport.stopped = true
  peers[1]!.transport.answersClose = false
  for (let i = 0; i < 30; i++) {
    service.channels.publish('room', encodeText(JSON.stringify({ cmd: 'm', param: i, fill: 'x'.repeat(10_000) })))
    if (i % 5 === 0) await clock.advance(0)
  }
  await clock.advance(0)
  t.same(peers[1]!.transport.ended?.code, 4000)
  t.strictSame(left, ['bob'], 'the slow one is out at once, though its link still closes')
  for (const { transport } of [peers[0]!, peers[2]!, peers[3]!]) {
    const numbers = transport.frames.filter(frame => frame.cmd === 'm').map(frame => frame.param)
    t.strictSame(
      numbers,
      Array.from({ length: 30 }, (_, i) => i),
      'each message once and in order'
    )
  }
  t.notOk(peers[1]!.transport.destroyed)
  const sent = peers.reduce((sum, { connection }) => sum + connection.traffic.messagesOut, 0)
  t.equal(service.stats().messagesOut, sent, 'what a closing connection was sent counts on')
  await clock.advance(500)
  t.ok(peers[1]!.transport.destroyed, 'it does not answer the close and is dropped after the grace')
  t.equal(service.stats().refusals.slow, 1)
})

t.test('what one turn sends to one connection is bounded too', async t => {
  const { clock, open, service } = virtual({ limits: { outboxBytes: 10_000 } })
  const one = await open('a')
  const other = await open('a')
  for (let i = 0; i < 20; i++) one.connection.send({ cmd: 'm', param: 'x'.repeat(1000) })
  await clock.advance(0)
  t.equal(one.transport.ended?.code, 4000)
  t.ok(other.connection.open)
  t.equal(service.stats().connections, 1)
})

t.test('memberships that change while slow readers are closed lose and repeat nothing for the others', async t => {
  const big = 'x'.repeat(30_000)
  const { clock, open, service } = virtual({
    limits: { outboxBytes: 50_000, messageBytes: 100_000 },
    rules: {
      onLeave: ({ connection }) => {
        // A host that shuffles others about in the middle of it.
        const last = service.channels.get('room')?.members[0]
        if (last !== undefined && connection.profile?.id.startsWith('slow')) {
          service.channels.publish('room', encodeText('{"cmd":"shuffled"}'))
        }
      }
    }
  })
  const slow = await Promise.all([1, 2, 3].map(i => open('room', { user: `slow${i}` })))
  const good = await Promise.all([1, 2, 3, 4].map(i => open('room', { user: `good${i}` })))
  for (const { transport } of slow) transport.stopped = true
  for (let i = 0; i < 8; i++) {
    service.channels.publish('room', encodeText(JSON.stringify({ cmd: 'm', param: i, big })))
    await clock.advance(0)
  }
  t.ok(slow.every(({ transport }) => transport.ended?.code === 4000))
  for (const { transport } of good) {
    const numbers = transport.frames.filter(frame => frame.cmd === 'm').map(frame => frame.param)
    t.strictSame(numbers, [0, 1, 2, 3, 4, 5, 6, 7])
    t.equal(transport.commands.filter(cmd => cmd === 'shuffled').length, 3)
  }
})

t.test('a batch that grows large leaves before its turn ends, in order', async t => {
  const { clock, open, publish } = virtual({ limits: { outboxBytes: 10_000_000 } })
  const { transport } = await open('a')
  const before = transport.writes
  for (let i = 0; i < 40; i++) publish('a', 'm', { i, fill: 'x'.repeat(5000) })
  t.ok(transport.writes > before, 'before the end of the turn')
  await clock.advance(0)
  t.ok(transport.writes - before < 10)
  t.strictSame(
    transport.frames.filter(frame => frame.cmd === 'm').map(frame => (frame.param as { i: number }).i),
    Array.from({ length: 40 }, (_, i) => i)
  )
})

t.test('over the rate a connection is not read until it has paid, and 4002 is for who owes too much', async t => {
  const { clock, service, open } = virtual({ limits: { messagesPerSecond: 10, burst: 5 } })
  const { transport, connection } = await open('room')
  for (let i = 1; i <= 8; i++) transport.send({ channel: 'room', cmd: 'work', param: 'x', id: i })
  t.notOk(transport.reading)
  t.ok(connection.paused)
  await clock.advance(250)
  t.notOk(transport.reading)
  t.equal(transport.commands.filter(cmd => cmd === '$ack').length, 8, 'what was received is dealt with')
  await clock.advance(100)
  t.ok(transport.reading)
  for (let i = 9; i <= 12; i++) transport.send({ channel: 'room', cmd: 'work', param: 'x', id: i })
  await clock.advance(50)
  for (let i = 13; i <= 16; i++) transport.send({ channel: 'room', cmd: 'work', param: 'x', id: i })
  await clock.advance(450)
  t.notOk(transport.reading, 'what came while it was not read is owed as well')
  await clock.advance(400)
  t.ok(transport.reading)
  for (let i = 0; i < 60; i++) transport.control()
  t.equal(transport.ended?.code, 4002)
  t.equal(service.stats().refusals['rate-limited'], 1)
  await clock.advance(60_000)
  t.equal(clock.pending, 0, 'no timer is left, once the session is forgotten')
})

t.test('too many unreadable frames in a minute close 4503; a few do not', async t => {
  const { clock, open, service } = virtual({ limits: { violationsPerMinute: 3 } })
  const { transport } = await open('a')
  for (let i = 0; i < 3; i++) transport.send('nonsense')
  for (let i = 0; i < 42; i++) {
    await clock.advance(500)
    transport.control()
  }
  t.equal(transport.ended, null)
  transport.send('nonsense')
  t.equal(transport.ended, null, 'a third of a minute pays for one')
  transport.send('nonsense')
  t.equal(transport.ended?.code, 4503)
  t.match(service.stats().refusals, { 'bad-frame': 5, 'too-many-violations': 1 })
})

t.test('each breach of the framing has its counter', async t => {
  const { clock, open, service } = virtual()
  for (const name of ['protocol-error', 'too-big', 'invalid-payload'] as const) {
    const { transport, connection } = await open('a')
    transport.violate(name)
    t.notOk(connection.open)
    transport.violate(name)
    transport.send({ cmd: '$pong' })
    await clock.advance(500)
    t.ok(transport.destroyed)
  }
  t.strictSame(service.stats().refusals, { 'invalid-payload': 1, 'protocol-error': 1, 'too-big': 1 })
  t.equal(service.stats().connections, 0)
})

t.test('commands that wait are bounded; a retryable refusal does not use up the id', async t => {
  const release: Array<() => void> = []
  const { clock, open } = virtual({
    limits: { pendingCommands: 2 },
    rules: { commands: { work: () => new Promise<void>(resolve => release.push(resolve)) } }
  })
  const { transport } = await open('room')
  for (let id = 1; id <= 4; id++) transport.send({ channel: 'room', cmd: 'work', param: 'x', id })
  await clock.advance(0)
  const last = () => transport.frames[transport.frames.length - 1]
  t.match(transport.frames.slice(-2), [
    { id: 3, cmd: '$nack', param: { code: 'too-many-commands', retry: true } },
    { id: 4, cmd: '$nack', param: { code: 'resend-from', retry: true, from: 3 } }
  ])
  release[0]!()
  await clock.advance(0)
  release[1]!()
  await clock.advance(0)
  transport.send({ channel: 'room', cmd: 'work', param: 'x', id: 3 })
  release[2]!()
  await clock.advance(0)
  t.match(last(), { id: 3, cmd: '$ack' })
})

t.test('close lets running commands end, refuses new ones for now, and waits no longer than its grace', async t => {
  const release: Array<() => void> = []
  const { clock, open, service } = virtual({
    rules: { commands: { work: () => new Promise<void>(resolve => release.push(resolve)) } }
  })
  const good = await open('room')
  const stuck = await open('room')
  const silent = await open('room')
  const plain = await open('room', { kind: 'plain' })
  silent.transport.answersClose = false
  good.transport.send({ channel: 'room', cmd: 'work', param: 'x', id: 1 })
  stuck.transport.send({ channel: 'room', cmd: 'work', param: 'x', id: 1 })
  let closed = false
  const closing = service.close().then(() => {
    closed = true
  })
  void service.close()
  await settle()
  good.transport.send({ channel: 'room', cmd: 'work', param: 'x', id: 2 })
  release[0]!()
  await clock.advance(100)
  t.strictSame(good.transport.commands.slice(-2), ['$nack', '$ack'])
  t.match(good.transport.frames, { 2: { id: 2, param: { code: 'draining', retry: true } } })
  t.equal(good.transport.ended, null, 'while a command runs nobody is closed')
  await clock.advance(400)
  t.match(good.transport.frames[good.transport.frames.length - 1], { cmd: '$closing', param: { reason: 'draining' } })
  for (const { transport } of [good, stuck, silent, plain]) t.equal(transport.ended?.code, 1012)
  t.equal(plain.transport.frames.length, 0)
  t.notOk(closed)
  await clock.advance(500)
  await closing
  t.ok(silent.transport.destroyed)
  await t.rejects(open('a'), { code: 'FST_CHANNELS_CLOSING' })
})

t.test('a command whose connection is gone by the time its handler ends still takes effect', async t => {
  let release = noop
  const { clock, open, service } = virtual({
    rules: {
      commands: {
        work: async (param, { connection }) => {
          await new Promise<void>(resolve => {
            release = resolve
          })
          service.channels.publish('room', encodeText(JSON.stringify({ cmd: `${param} ${connection.open}` })))
        }
      }
    }
  })
  const one = await open('room')
  const two = await open('room')
  one.transport.send({ channel: 'room', cmd: 'work', param: 'done', id: 1 })
  one.transport.closed(1006, '')
  release()
  await clock.advance(0)
  t.ok(two.transport.commands.includes('done false'))
  t.equal(service.stats().connections, 1)
})

t.test('an access rule that takes too long is not waited for, and what it answers late changes nothing', async t => {
  const answers: Array<(allowed: boolean) => void> = []
  const signals: AbortSignal[] = []
  const { clock, open, service } = virtual({
    rules: {
      access: ({ signal }) => {
        signals.push(signal)
        if (signals.length === 3) throw new Error('at once')
        return new Promise(resolve => answers.push(resolve))
      }
    }
  })
  const { transport, connection } = await open('a')
  transport.send({ channel: 'room', cmd: '$join', ref: 1 })
  await clock.advance(99)
  t.strictSame(transport.commands, ['$welcome', '$joined'])
  await clock.advance(1)
  t.match(transport.frames[2], { cmd: '$nack', ref: 1, param: { code: 'timeout', retry: true } })
  t.ok(signals[0]!.aborted)
  transport.send({ channel: 'room', cmd: '$join', ref: 2 })
  answers[0]!(true)
  await clock.advance(10)
  t.equal(service.channels.get('room'), undefined, 'the late yes is not for the new join')
  answers[1]!(true)
  await clock.advance(10)
  t.match(transport.frames[3], { cmd: '$joined', ref: 2 })
  service.channels.leave(connection.memberships.get('room') as Subscription, 'server')
  transport.send({ channel: 'room', cmd: '$join', ref: 3 })
  await clock.advance(10)
  t.match(transport.frames[5], { cmd: '$nack', ref: 3, param: { code: 'internal-error' } })
  transport.closed(1000, '')
  await clock.advance(60_000)
  t.equal(clock.pending, 0, 'no timer is left, once the session is forgotten')
})

t.test('hooks may close the connection that they are told of', async t => {
  const closes: number[] = []
  const { open, service } = virtual({
    hooks: {
      onOpen: (connection: Connection) => {
        if (connection.profile?.id === 'early') connection.close(4600)
      },
      onClose: (connection, { code }) => {
        closes.push(code)
        connection.close(4601)
      }
    },
    rules: { onJoin: ({ connection }) => connection.close(4602) }
  })
  await t.rejects(open('a', { user: 'early' }), { code: 'FST_CHANNELS_CONNECTION_CLOSED' })
  await t.rejects(open('room', { user: 'late' }), { code: 'FST_CHANNELS_CONNECTION_CLOSED' })
  t.strictSame(closes, [4600, 4602])
  t.match(service.stats(), { connections: 0, channels: 0, opened: 2, closed: 2 })
})

t.test('a token bucket fills at its rate, up to its burst, and knows its debt', async t => {
  const clock = new ManualClock()
  const bucket = new TokenBucket({ clock, perSecond: 10, burst: 2 })
  t.strictSame([bucket.take(), bucket.take(), bucket.take()], [0, 0, 100])
  t.equal(bucket.debt, 1)
  t.equal(bucket.tryTake(), 200)
  clock.stall(100)
  t.equal(bucket.waitMs(), 0)
  clock.stall(60_000)
  t.strictSame([bucket.tryTake(), bucket.tryTake(), bucket.tryTake()], [0, 0, 100])
  t.equal(bucket.debt, 0)
})

t.test('what a token bucket says to wait for is enough, at whatever fraction of a millisecond it is asked', async t => {
  const chance = new Chance(1)
  for (let i = 0; i < 1_000; i++) {
    const clock = new ManualClock()
    clock.stall(1_000_000 * chance.next())
    const bucket = new TokenBucket({ clock, perSecond: 1 + chance.below(1_000), burst: 1 })
    for (let taken = 0; taken < 3; taken++) {
      clock.stall(chance.next())
      bucket.take()
    }
    let waits = 0
    for (let waitMs = bucket.waitMs(); waitMs > 0; waitMs = bucket.waitMs()) {
      waits++
      clock.stall(waitMs)
    }
    if (waits > 2) t.fail(`${waits} waits`)
  }
})

t.test('a sequence takes each id once, gives back what was refused, and keeps a bounded number of those', async t => {
  const sequence = new Sequence()
  const take = (id: number, channel = 'a') => sequence.take(id, channel)
  t.strictSame([take(1), take(1), take(3)], ['run', 'repeat', { from: 2 }])
  sequence.giveBack(1)
  t.strictSame([take(2, 'b'), take(3)], ['run', { from: 1 }], 'only what follows on the same channel waits')
  t.strictSame(sequence.after(2), { highest: 3, holes: [1, 3] })
  t.strictSame([take(1), take(1), take(3), take(3)], ['run', 'repeat', 'run', 'repeat'])
  sequence.storing(1)
  t.strictSame(sequence.after(1), { highest: 3, holes: [2, 3] })
  sequence.consume(2)
  t.strictSame(sequence.after(3), { highest: 3, holes: [1] }, 'whether 1 is stored nobody knows yet')
  sequence.giveBack(3)
  for (let id = 4; id <= 1025; id++) take(id)
  t.strictSame([take(1026), take(1027)], [{ from: 1026 }, { from: 1026 }], 'there are bounds to what may be open')
  const restored = new Sequence({ highest: 9, holes: [4, 7] })
  t.strictSame(
    [restored.take(9, 'a'), restored.take(7, 'a'), restored.take(10, 'a'), restored.take(4, 'a')],
    ['repeat', 'run', 'run', 'run']
  )
})

t.test('a lane runs one task after another, and at once where it is idle', async t => {
  const lane = new Lane()
  const seen: number[] = []
  let release = noop
  lane.run(() => void seen.push(1))
  t.strictSame(seen, [1])
  lane.run(() => {
    lane.run(() => void seen.push(3))
    seen.push(2)
  })
  t.strictSame(seen, [1, 2, 3], 'what a task adds comes after it')
  lane.run(
    () =>
      new Promise<void>(resolve => {
        release = resolve
      })
  )
  lane.run(() => void seen.push(4))
  t.equal(seen.length, 3)
  release()
  await settle()
  t.strictSame(seen, [1, 2, 3, 4])
})

t.test('text of strangers is made safe for logs', async t => {
  t.equal(loggable('plain'), 'plain')
  t.equal(loggable('a\r\nb\u0085c\u2028d\u202ee\u2066f\u007f'), 'a\ufffd\ufffdb\ufffdc\ufffdd\ufffde\ufffdf\ufffd')
  t.equal(loggable('x'.repeat(300)).length, 256)
})

t.test('a link that died before anybody listened is reported at once', async t => {
  const ws = Object.assign(new EventEmitter(), { protocol: '', pause: noop, resume: noop })
  const transport = new WebSocketTransport(ws as never, { uncork: noop } as never)
  ws.emit('close', 1006, Buffer.from(''))
  const codes: number[] = []
  transport.start({ text: noop, binary: noop, control: noop, violated: noop, closed: code => void codes.push(code) })
  t.strictSame(codes, [1006])
})
