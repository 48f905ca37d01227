import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import type { ChannelRules } from '../../lib/channel/rules.ts'
import { DelayLine } from '../../lib/connection/delay-line.ts'
import { Resume } from '../../lib/connection/resume.ts'
import type { Logger } from '../../lib/log.ts'
import { DEFAULT_LIMITS, DEFAULT_TIMES } from '../../lib/options.ts'
import { defineChannel } from '../../lib/protocol/index.ts'
import { Service } from '../../lib/service.ts'
import { Refusals } from '../../lib/stats.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { FakeTransport } from '../fixtures/transport.ts'

const noop = (): void => {}
const logger: Logger = { error: noop, warn: noop, info: noop, debug: noop, child: () => logger }
const room = defineChannel('room', {})

/** A service with one room that tells who is there, and what its hooks were told. */
function build() {
  const clock = new ManualClock()
  const told: string[] = []
  const service = new Service({
    clock,
    logger,
    broker: new MemoryBroker({ clock, logger, onControl: noop }, new MemoryStore()),
    limits: { ...DEFAULT_LIMITS, connectionsPerAddress: 0 },
    times: { ...DEFAULT_TIMES, heartbeatMs: 1_000_000 },
    hooks: {},
    refusals: new Refusals(),
    contract: null,
    checkEvents: true,
    userChannel: false,
    onMessage: null,
    pendingHandshakes: () => 0
  })
  const rules: ChannelRules = {
    access: () => true,
    presence: true,
    onJoin: ({ connection, first }) => void told.push(`join ${connection.profile?.id} ${first}`),
    onLeave: ({ connection, last }) => void told.push(`leave ${connection.profile?.id} ${last}`)
  }
  service.serve(room, rules)
  service.ready()
  const open = async (user: string, session: string | null = null, dial = 0) => {
    const transport = new FakeTransport()
    const connection = await service.open(
      {
        kind: 'channels.v1',
        ticket: null,
        resume: session === null ? null : new Resume(session, dial, new Map(), false),
        action: 'test',
        logger,
        profile: { id: user },
        ip: '10.0.0.1',
        signal: new AbortController().signal,
        assertPending: noop,
        opened: noop,
        open: () => transport
      },
      { channel: 'room', metadata: {}, onMessage: undefined, userChannel: undefined }
    )
    await clock.advance(0)
    return { transport, connection }
  }
  return { clock, service, told, open }
}

/** What the members have been told of comings and goings, but for their own. */
function diffs({ frames }: FakeTransport): string[] {
  return frames.flatMap(({ cmd, param }) => {
    const { joins = [], leaves = [] } = param as { joins?: { id: string }[]; leaves?: { id: string }[] }
    return cmd === '$presence' ? [...joins.map(({ id }) => `+${id}`), ...leaves.map(({ id }) => `-${id}`)] : []
  })
}

t.test('a user whose connection is lost and back within the grace was never away', async t => {
  const { clock, told, open } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  bob.transport.closed(1006, '')
  await clock.advance(4_900)
  const back = await open('bob', bob.connection.session, 1)
  t.equal(back.connection.resumed, true)
  await clock.advance(60_000)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob'])
  t.strictSame(told, ['join ann true', 'join bob true', 'leave bob false', 'join bob false'])
})

t.test('one whose client found the link dead is as lost as one that broke', async t => {
  const { clock, open } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  bob.transport.closed(4001, 'silent')
  await clock.advance(1_000)
  await open('bob', bob.connection.session, 1)
  await clock.advance(60_000)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob'])
})

t.test('one that does not come back is gone when the grace is over, and no sooner', async t => {
  const { clock, told, open, service } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  bob.transport.closed(1006, '')
  await clock.advance(4_999)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob'])
  t.strictSame(
    service.channels
      .get('room')!
      .presence.members()
      .map(({ id }) => id),
    ['ann', 'bob']
  )
  await clock.advance(1)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob', '-bob'])
  t.equal(told.at(-1), 'leave bob true')
})

t.test('a clean end is told at once, also of a connection that had come back', async t => {
  const { clock, open } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  bob.transport.closed(1006, '')
  const back = await open('bob', bob.connection.session, 1)
  back.transport.closed(1001, '')
  await clock.advance(0)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob', '-bob'])
})

t.test('a connection that takes its session over from one that still seems alive causes no flicker', async t => {
  const { clock, open, told } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  await open('bob', bob.connection.session, 1)
  t.equal(bob.transport.ended?.code, 4501)
  await clock.advance(60_000)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob'])
  t.strictSame(told, ['join ann true', 'join bob true', 'leave bob false', 'join bob false'])
})

t.test('a connection that the server closed and that will be back has the grace too', async t => {
  const { clock, open, told } = build()
  const watcher = await open('ann')
  const bob = await open('bob')
  const eve = await open('eve')
  bob.connection.close(4000)
  eve.connection.close(4500)
  await clock.advance(0)
  t.strictSame(diffs(watcher.transport), ['+ann', '+bob', '+eve', '-eve'])
  await clock.advance(5_000)
  t.equal(told.at(-1), 'leave bob true')
})

t.test('a user whose access is taken back is not waited for', async t => {
  for (const channel of ['room', null]) {
    const { clock, open, service, told } = build()
    const watcher = await open('ann')
    const bob = await open('bob')
    const eve = await open('eve')
    for (const { transport } of [bob, eve]) transport.closed(1006, '')
    await clock.advance(1_000)
    await service.revoker.revoke('bob', channel)
    t.equal(told.at(-1), 'leave bob true')
    await clock.advance(0)
    t.strictSame(diffs(watcher.transport), ['+ann', '+bob', '+eve', '-bob'])
    await service.revoker.revoke('eve', 'another-room')
    await clock.advance(1_000)
    t.equal(told.at(-1), 'leave bob true')
  }
})

t.test('a room in which only lost users are is kept for them, and gone with them', async t => {
  const { clock, open, service, told } = build()
  const bob = await open('bob')
  bob.transport.closed(1006, '')
  await clock.advance(1_000)
  t.equal(service.channels.size, 1)
  const back = await open('bob', bob.connection.session, 1)
  back.transport.closed(1006, '')
  await clock.advance(4_999)
  t.strictSame(told, ['join bob true', 'leave bob false', 'join bob false'])
  await clock.advance(1)
  t.equal(service.channels.size, 0)
  t.equal(told.at(-1), 'leave bob true')
})

t.test('a service that closes waits for nobody: who was lost is gone at once', async t => {
  const { clock, open, service, told } = build()
  const ann = await open('ann')
  const bob = await open('bob')
  bob.transport.closed(1006, '')
  const closing = service.close()
  await clock.advance(0)
  await closing
  t.equal(ann.transport.ended?.code, 1012)
  t.strictSame(told.slice(2), ['leave bob true', 'leave ann true'])
  t.equal(clock.pending, 0)
})

t.test('a delay line does everything after the same delay, with one timer, unless it is taken back', async t => {
  const clock = new ManualClock()
  const line = new DelayLine(clock, 10)
  const done: string[] = []
  line.add(() => {
    done.push('a')
    line.add(() => void done.push('e'))
  })
  await clock.advance(5)
  const b = line.add(() => void done.push('b'))
  const c = line.add(() => void done.push('c'))
  line.add(() => void done.push('d'))
  t.equal(clock.pending, 1)
  b.cancel()
  c.run()
  c.run()
  t.strictSame(done, ['c'])
  await clock.advance(5)
  t.strictSame(done, ['c', 'a'])
  await clock.advance(5)
  t.strictSame(done, ['c', 'a', 'd'])
  await clock.advance(5)
  t.strictSame(done, ['c', 'a', 'd', 'e'])
  t.equal(clock.pending, 0)
  line.add(() => void done.push('f'))
  line.runAll()
  line.add(() => void done.push('g'))
  line.clear()
  await clock.advance(100)
  t.strictSame(done, ['c', 'a', 'd', 'e', 'f'])
  t.equal(clock.pending, 0)
})

t.test(
  'in a large room members are told again only after a rest, and then of all who came and went meanwhile',
  async t => {
    const { clock, open, service } = build()
    const watcher = await open('ann')
    const told = (): number => watcher.transport.frames.filter(({ cmd }) => cmd === '$presence').length
    for (let n = 1; n < 199; n++) await open(`user${n}`)
    t.equal(told(), 199, 'each of the first 199 in the turn in which they came')
    await open('bob')
    t.equal(told(), 200)
    const eve = await open('eve')
    eve.transport.closed(1000, '')
    const { transport } = await open('zoe')
    await clock.advance(9)
    t.equal(told(), 200, 'the two hundredth began a rest of ten milliseconds')
    await clock.advance(1)
    t.equal(told(), 201)
    t.strictSame(diffs(watcher.transport).slice(-2), ['+zoe', '-eve'], 'in one diff')
    t.equal(watcher.transport.frames.at(-1)?.cmd, '$presence')
    t.strictSame(diffs(transport), ['+zoe', '-eve'])
    transport.closed(1000, '')
    await clock.advance(1_000)
    t.strictSame(diffs(watcher.transport).slice(-1), ['-zoe'])
    for (const connection of service.connections.all()) connection.close(1000)
    await clock.advance(400_000)
    t.equal(clock.pending, 0, 'nothing rests where nobody is left')
  }
)
