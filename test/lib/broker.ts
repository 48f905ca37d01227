import t from 'tap'
import type { CommandRecord, Committed } from '../../lib/broker/broker.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../../lib/broker/broker.ts'
import { MemoryBroker, type MemoryOptions, memory } from '../../lib/broker/memory.ts'
import { openSqlite, type SqliteParts } from '../../lib/broker/sqlite.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { FaultyDriver, memoryFixture, openFixtureFile, portThread, silent, testClock } from '../fixtures/broker.ts'
import { type BrokerFixture, brokerConformance } from '../kit/conformance.ts'

brokerConformance(t, 'memory', () => memoryFixture((context, store) => new MemoryBroker(context, store)))

const parts: Record<string, (faulty: FaultyDriver) => SqliteParts & { worker: boolean }> = {
  'sqlite in this thread': ({ load }) => ({ worker: false, load }),
  'sqlite behind a port': ({ load }) => ({ worker: true, start: data => portThread(data, load) })
}

for (const [name, make] of Object.entries(parts)) {
  brokerConformance(t, name, (): BrokerFixture => {
    const { path, remove } = openFixtureFile()
    const { clock, advance } = testClock()
    const faulty = new FaultyDriver()
    const { worker, ...rest } = make(faulty)
    return {
      durable: true,
      advance,
      open: (onControl = () => {}) => openSqlite({ clock, logger: silent, onControl }, { path, worker }, rest),
      failNext: () => faulty.failNext(/COMMIT/),
      end: remove
    }
  })
}

const LOG = { entries: 100, ageMs: 60_000, bytes: 1_000 }
const ALL = { entries: 1_000, bytes: 1_000_000 }

function memoryRig(options: MemoryOptions) {
  const time = testClock()
  const broker = memory(options)({ clock: time.clock, logger: silent, onControl: () => {} }) as MemoryBroker
  const store = (channel: string, text = 'm', command: CommandRecord | null = null): Position => {
    const committed = broker.commit({ publications: [{ channel, text, except: [], log: LOG }], command })
    return (committed as { positions: readonly Position[] } & Committed).positions[0]!
  }
  const run = (session: string, id: number, reply = '') => {
    const command = { session, fence: 0, id, progress: { highest: id, holes: [] }, reply }
    return broker.commit({ publications: [], command }).kind
  }
  const texts = (channel: string) => {
    const page = broker.read(channel, { before: null }, ALL)
    return page.kind === 'page' ? page.entries.map(entry => entry.text) : []
  }
  return { ...time, broker, store, run, texts }
}

t.test('the options of the memory broker are held against what they may be', async t => {
  t.throws(() => memory({ channels: 0 }), { code: 'FST_CHANNELS_INVALID_OPTION' })
  t.throws(() => memory({ path: 'x' } as MemoryOptions), { code: 'FST_CHANNELS_UNKNOWN_OPTION' })
  const { store, texts } = memoryRig({ channels: undefined, bytes: undefined } as unknown as MemoryOptions)
  store('a')
  t.same(texts('a'), ['m'], 'what is given as undefined is not given')
})

t.test(
  'over its channels the memory broker forgets what was used least recently, and what is new has another epoch',
  async t => {
    const { broker, store, texts } = memoryRig({ channels: 2 })
    const a = store('a')
    store('b')
    broker.heads(['a'])
    const c = store('c')
    t.equal(c.epoch, a.epoch)
    t.same(texts('a'), ['m'], 'which was looked at')
    t.match(broker.heads(['b']), [{ offset: 0 }])
    t.not(broker.heads(['b'])[0]!.epoch, a.epoch)
    t.match(broker.read('b', { after: a }, ALL), { kind: 'lost', reason: 'epoch-lost' })
  }
)

t.test('a log that was never written to may be forgotten without a new epoch', async t => {
  const { broker, store } = memoryRig({ channels: 2 })
  const [never] = broker.heads(['never'])
  const a = store('a')
  broker.heads(['x', 'a', 'y', 'a', 'z', 'a'])
  t.same(broker.heads(['never']), [never])
  const first = store('never')
  t.equal(first.epoch, a.epoch)
  t.match(broker.read('never', { after: never! }, ALL), { kind: 'page', entries: { length: 1 } })
})

t.test('names that are only asked about push out no log that was written to', async t => {
  const { broker, store, texts } = memoryRig({ channels: 2 })
  store('a')
  const b = store('b')
  for (let n = 0; n < 10; n++) broker.subscribe(`n${n}`, () => {})
  t.same([texts('a'), texts('b')], [['m'], ['m']])
  t.match(store('b'), { epoch: b.epoch, offset: 2 })
  t.match(broker.heads(['n8', 'n9']), [{ offset: 0 }, { offset: 0 }])
})

t.test('over its bytes the memory broker empties the logs that were used least recently', async t => {
  const { broker, store, texts } = memoryRig({ bytes: 10 })
  const a = store('a', 'aaaa')
  store('b', 'bbbb')
  texts('a')
  store('c', 'cccc')
  t.same([texts('a'), texts('b'), texts('c')], [['aaaa'], [], ['cccc']])
  t.match(broker.read('b', { before: null }, ALL), { head: { offset: 1 }, complete: true })
  const [head] = broker.heads(['b'])
  t.match(broker.read('b', { after: head! }, ALL), { kind: 'page', entries: [] }, 'whose heads stay')
  store('c', 'dddddddd')
  t.same([texts('a'), texts('c')], [[], ['dddddddd']], 'and its own log is cut last')
  t.match(broker.read('a', { after: a }, ALL), { kind: 'page' })
  store('c', 'e'.repeat(20))
  t.same(texts('c'), ['e'.repeat(20)], 'but for the newest')
  store('d', 'dddd')
  t.same([texts('c'), texts('d')], [[], ['dddd']])
})

t.test('over its sessions the memory broker forgets the one that committed least recently', async t => {
  const { broker, run } = memoryRig({ sessions: 2 })
  for (const [session, id] of [
    ['r', 1],
    ['s', 1],
    ['r', 2],
    ['t', 1]
  ] as const)
    run(session, id)
  const known = ['r', 's', 't'].filter(session => broker.openSession(session, 0) !== null)
  t.same(known, ['r', 't'])
})

t.test('results of the memory broker are bounded in number and in characters, over all sessions', async t => {
  for (const options of [{ results: 4 }, { replyCharacters: 8 }]) {
    const { broker, run } = memoryRig(options)
    for (const id of [1, 2]) run('idle', id, 'ab')
    for (const id of [1, 2, 3]) run('busy', id, 'ab')
    t.equal(broker.result('idle', 2), null)
    t.equal(run('idle', 2), 'expired', 'never stored again')
    t.same(
      [1, 2, 3].map(id => broker.result('busy', id)?.reply),
      ['ab', 'ab', 'ab']
    )
    t.match(broker.openSession('idle', 0), { highest: 2 }, 'a session outlives its results')
  }
})

t.test('one session alone keeps no more results than the memory broker may, the latest', async t => {
  for (const options of [{ results: 2 }, { replyCharacters: 5 }]) {
    const { broker, run } = memoryRig(options)
    for (const id of [1, 2, 3, 4]) run('only', id, 'ab')
    t.same(
      [1, 2, 3, 4].map(id => broker.result('only', id)?.reply),
      [undefined, undefined, 'ab', 'ab']
    )
    run('only', 5, 'longer than all')
    t.equal(broker.result('only', 5)?.reply, 'longer than all', 'the newest in any case')
  }
})

t.test('a session that commits nothing any more gives its results back', async t => {
  const { broker, run, advance } = memoryRig({})
  run('idle', 1, 'x')
  run('ended', 1, 'x')
  broker.endSession('ended', 0)
  advance(RESULT_AGE_MS)
  run('busy', 1)
  t.not(broker.result('idle', 1), null)
  advance(1)
  run('busy', 2)
  t.equal(broker.result('idle', 1), null)
  t.not(broker.result('busy', 1), null)
})

t.test('a hole that is far behind is stored when it comes, and its result may go at once', async t => {
  const { broker, advance } = memoryRig({})
  const commit = (id: number, holes: readonly number[]) =>
    broker.commit({
      publications: [],
      command: { session: 's', fence: 0, id, progress: { highest: 2 * RESULT_IDS, holes }, reply: '' }
    }).kind
  t.equal(commit(2 * RESULT_IDS, [1]), 'stored')
  advance(RESULT_AGE_MS + 1)
  t.equal(commit(1, []), 'stored')
  t.same([commit(1, []), commit(2 * RESULT_IDS, [])], ['expired', 'expired'])
})

t.test('large replies push out older ones of their session, and never themselves', async t => {
  const { broker, run } = memoryRig({})
  const large = 'x'.repeat(RESULT_CHARACTERS + 1)
  run('s', 1, 'small')
  run('s', 2, large)
  t.same([broker.result('s', 1), broker.result('s', 2)?.reply.length], [null, large.length])
  run('s', 3, '')
  t.same([broker.result('s', 2), broker.result('s', 3)?.reply], [null, ''])
})
