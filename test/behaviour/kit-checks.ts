import t from 'tap'
import type { Commit, Entry } from '../../lib/broker/broker.ts'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { FaultyBroker } from '../kit/broker.ts'
import { Chance } from '../kit/chance.ts'
import type { Witness } from '../kit/checks.ts'
import { expectNoLoss, LossError } from '../kit/checks.ts'
import { Ledger } from '../kit/ledger.ts'
import type { Heard, What } from '../kit/record.ts'
import { Host, PROMISE_TURNS, Timeline } from '../kit/timeline.ts'
import { Trace } from '../kit/trace.ts'

const CHANNEL = 'room-1'
const HEAD = 6

function tagOf(offset: number, epoch = 'e1'): string {
  return `${epoch}t${offset}`
}

function position(offset: number, epoch = 'e1') {
  return { epoch, offset, tag: offset === 0 ? '' : tagOf(offset, epoch) }
}

/** A log of six, of which the fourth is not for ada; and another epoch of two. */
function ledger(): Ledger {
  const ledger = new Ledger()
  for (const [epoch, count] of [
    ['e1', HEAD],
    ['e2', 2]
  ] as const) {
    for (let offset = 1; offset <= count; offset++) {
      const text = JSON.stringify({ channel: CHANNEL, cmd: 'said', param: { n: offset } })
      const except = offset === 4 ? ['u:ada'] : []
      ledger.note(CHANNEL, epoch, { offset, tag: tagOf(offset, epoch), text, except })
    }
  }
  return ledger
}

function said(offset: number, changes: { n?: number; epoch?: string; tag?: string } = {}): What {
  const { n = offset, epoch = 'e1', tag = tagOf(offset, epoch) } = changes
  const message = { channel: CHANNEL, cmd: 'said', param: { n } }
  return { kind: 'message', via: CHANNEL, message, place: { offset, tag } }
}

function joined(outcome: object, at: object | undefined): What {
  const joined = { name: 'joined', by: 'client', outcome, position: at } as any
  return { kind: 'joined', channel: CHANNEL, joined }
}

const fresh = (offset = 0): What => joined({ kind: 'fresh' }, position(offset))
const recovered = (from: number, to: number): What => joined({ kind: 'recovered', from, to }, position(from))
const gap = (from: number, to: number, epoch = 'e1'): What =>
  joined({ kind: 'gap', from, to, reason: 'trimmed' }, position(to, epoch))
const liveGap = (from: number, to: number): What & { readonly kind: 'gap' } => ({
  kind: 'gap',
  channel: CHANNEL,
  gap: { from, to, reason: 'slow' },
  position: position(to)
})

async function anomalies(
  heard: readonly What[],
  changes: Partial<Witness> = {},
  head = position(HEAD),
  forgets = false
) {
  const trace = new Trace(new Timeline(new Chance(1), PROMISE_TURNS))
  trace.add('bob', 'something that came before')
  const witness: Witness = {
    name: 'bob',
    user: 'bob',
    heard: heard.map((what): Heard => ({ at: 0, line: 1, ...what })),
    sessions: new Set(['s1']),
    joined: [CHANNEL],
    ...changes
  }
  const parts = { ledger: ledger(), trace, seed: 42, heads: async () => [head], forgets }
  try {
    await expectNoLoss([witness], parts)
    return []
  } catch (error) {
    t.ok(error instanceof LossError)
    t.match((error as Error).message, /^seed 42: \d+ anomalies/)
    t.match((error as Error).message, 'something that came before')
    return (error as LossError).anomalies
  }
}

const all = [1, 2, 3, 4, 5, 6].map(n => said(n))

t.test('what is as it should be is let pass', async t => {
  for (const [what, heard, changes] of [
    ['all of it', [fresh(), ...all]],
    ['from the middle', [fresh(3), said(4), said(5), said(6)]],
    ['in two parts', [fresh(), said(1), said(2), recovered(2, 6), said(3), said(4), said(5), said(6)]],
    ['nothing was missed', [fresh(), ...all, recovered(6, 6)]],
    ['a gap that is told', [fresh(), said(1), gap(1, 5), said(6)]],
    ['a live gap', [fresh(), said(1), liveGap(1, 3), said(4), said(5), said(6)]],
    ['one that was not for it', [fresh(), said(1), said(2), said(3), said(5), said(6)], { user: 'ada' }],
    ['one that is not joined any more', [fresh(), said(1)], { joined: [] }],
    ['a channel without a log', [joined({ kind: 'fresh' }, undefined)]]
  ] as const) {
    t.strictSame(await anomalies(heard, changes), [], what)
  }
  t.strictSame(await anomalies([fresh(), said(1), gap(1, 2, 'e2')], {}, position(2, 'e2')), [], 'another epoch')
  const liveEpoch = { ...liveGap(0, 0), gap: { to: 0, reason: 'epoch-lost' as const }, position: position(0, 'e2') }
  const newLog = [fresh(), said(1), liveEpoch, said(1, { epoch: 'e2' }), said(2, { epoch: 'e2' })]
  t.strictSame(await anomalies(newLog, {}, position(2, 'e2')), [], 'a log that began anew under its members')
  t.strictSame(await anomalies(newLog, {}, position(0, 'e3'), true), [], 'a store that has forgotten it since')
})

t.test('a store that forgets whole logs is no excuse: what it stored last must have come', async t => {
  const empty = position(0, 'e3')
  t.match(await anomalies([fresh(), ...all], {}, empty, true), [/stands in epoch e1, the head is e2 2/])
  t.match(await anomalies([fresh(), ...all], {}, empty), [/stands in epoch e1, the head is e3 0/])
})

t.test('whatever is wrong is found', async t => {
  for (const [what, heard, expected, changes] of [
    ['a hole', [fresh(), said(1), said(3), said(4), said(5), said(6)], /3 after 1, without 2/],
    ['a hole after recovery', [fresh(), said(1), recovered(1, 6), said(3), ...all.slice(3)], /3 after 1, without 2/],
    ['a repeat', [fresh(), said(1), ...all], /1 e1t1 came twice/],
    ['a swap', [fresh(), said(2), said(1), ...all.slice(2)], /1 after 2/],
    ['an invention', [fresh(), ...all, said(7)], /7 e1t7 was never stored/],
    ['an alteration', [fresh(), said(1, { n: 9 }), ...all.slice(1)], /1 is not what was stored/],
    ['a place that is another', [fresh(), said(1, { tag: tagOf(2) }), ...all.slice(2)], /1 is not what was stored/],
    ['somebody else’s', [fresh(), ...all], /4 was not for it/, { user: 'ada' }],
    ['the end', [fresh(), ...all.slice(0, 5)], /stands at 5, the head is 6/],
    ['more than there is', [fresh(9)], /stands at e1 9, past the head e1 6/],
    ['before it was joined', [...all], /1 came before it was joined/],
    ['a gap that says too little', [fresh(), said(1), gap(2, 6)], /a gap from 2, but stood at e1 1/],
    ['a gap that goes on elsewhere', [fresh(), said(1), joined({ kind: 'gap', to: 4 }, position(6))], /a gap to 4/],
    ['a gap over nothing', [fresh(), ...all, gap(6, 6)], /a gap where nothing is missing/],
    ['fresh where it had been', [fresh(), said(1), fresh(6)], /fresh, but stood at e1 1/],
    ['recovered from elsewhere', [fresh(), said(1), recovered(3, 6), ...all.slice(3)], /recovered from 3, but stood/],
    ['another epoch without a word', [fresh(), said(1), said(2, { epoch: 'e2' })], /of epoch e2 without a gap/],
    ['an epoch that is over', [fresh(), ...all], /stands in epoch e1, the head is e2 2/]
  ] as const) {
    const head = what === 'an epoch that is over' ? position(2, 'e2') : position(HEAD)
    const found = await anomalies(heard, changes, head)
    t.ok(
      found.some(anomaly => expected.test(anomaly)),
      `${what}: ${found.join('; ')}`
    )
  }
})

t.test('a store’s own mistakes are found', async t => {
  const book = ledger()
  book.note('room-2', 'e1', { offset: 1, tag: tagOf(1), text: '{}', except: [] })
  book.note(CHANNEL, 'e1', { offset: 2, tag: tagOf(2), text: '{"other":true}', except: [] })
  t.match(book.faults, [/also at room-1 1/, /two texts under one tag/])
})

async function brokers(busMs: readonly [number, number], callMs: readonly [number, number]) {
  const timeline = new Timeline(new Chance(5), PROMISE_TURNS)
  const trace = new Trace(timeline)
  const store = new MemoryStore()
  const make = async (name: string) => {
    const host = new Host(timeline, name)
    const parts = { host, trace, busMs, callMs, ledger: new Ledger(), chance: timeline.chance }
    const controls: string[] = []
    let made: FaultyBroker | null = null
    const factory = FaultyBroker.over(
      context => new MemoryBroker(context, store, 'disk'),
      parts,
      broker => {
        made = broker
      }
    )
    const onControl = (text: string): void => void controls.push(text)
    await factory({ clock: host, logger: {} as any, onControl })
    return { broker: made! as FaultyBroker, host, controls, ledger: parts.ledger }
  }
  return { timeline, trace, one: await make('n0'), other: await make('n1') }
}

function commitOf(n: number): Commit {
  const log = { entries: 100, ageMs: 1e6, bytes: 1e6 }
  return { publications: [{ channel: CHANNEL, text: `${n}`, except: [], log }], command: null }
}

t.test('a broker is the node’s own at once, and the others’ after a while, in order', async t => {
  const { timeline, one, other } = await brokers([1, 30], [0, 0])
  const heard: Record<string, string[]> = { one: [], other: [] }
  one.broker.subscribe(CHANNEL, ({ text }: Entry) => heard.one!.push(text))
  other.broker.subscribe(CHANNEL, ({ text }: Entry) => heard.other!.push(text))
  t.match(one.broker.commit(commitOf(1)), { kind: 'stored' }, 'in the same turn')
  t.strictSame(heard, { one: ['1'], other: [] })
  other.broker.commit(commitOf(2))
  t.strictSame(heard.other, [], 'its own comes after the one that is on its way')
  one.broker.commit(commitOf(3))
  await timeline.advance(100)
  t.strictSame(heard, { one: ['1', '2', '3'], other: ['1', '2', '3'] })
  one.broker.broadcast('word')
  await timeline.advance(100)
  t.strictSame([one.controls, other.controls], [[], ['word']])
  other.broker.unsubscribe(CHANNEL)
  one.broker.commit(commitOf(4))
  await timeline.advance(100)
  t.equal(heard.other!.length, 3)
  t.equal(one.ledger.of(CHANNEL).length, 4)
})

t.test('a broker fails when it is told to, before or after it has done it', async t => {
  const { one, other } = await brokers([0, 0], [0, 0])
  one.broker.failNext('commit')
  t.ok(one.broker.healthy)
  await t.rejects(Promise.resolve(one.broker.commit(commitOf(1))), { message: 'the broker failed' })
  t.notOk(one.broker.healthy)
  t.match(await one.broker.heads([CHANNEL]), [{ offset: 0 }])
  t.ok(one.broker.healthy)
  one.broker.failNext('commit', { done: true, error: new Error('the answer was lost') })
  await t.rejects(Promise.resolve(one.broker.commit(commitOf(1))), { message: 'the answer was lost' })
  t.match(await other.broker.heads([CHANNEL]), [{ offset: 1 }])
  one.broker.failNext('read', { times: 2 })
  for (let i = 0; i < 2; i++) {
    await t.rejects(Promise.resolve(one.broker.read(CHANNEL, { before: null }, { entries: 1, bytes: 1 })))
  }
  t.match(await one.broker.read(CHANNEL, { before: null }, { entries: 1, bytes: 1 }), { kind: 'page' })
})

t.test('an entry is lost on its way, and a dead node’s broker does nothing any more', async t => {
  const { timeline, one, other } = await brokers([0, 0], [0, 0])
  const heard: string[] = []
  other.broker.subscribe(CHANNEL, ({ text }: Entry) => heard.push(text))
  other.broker.loseNext(1)
  for (let n = 1; n <= 3; n++) one.broker.commit(commitOf(n))
  await timeline.advance(0)
  t.strictSame(heard, ['2', '3'])
  await other.broker.drop()
  let answered = false
  void Promise.resolve(other.broker.commit(commitOf(4))).then(() => {
    answered = true
  })
  one.broker.commit(commitOf(5))
  await timeline.advance(1_000)
  t.strictSame([answered, heard.length], [false, 2])
  t.match(await one.broker.heads([CHANNEL]), [{ offset: 4 }])
})

t.test('calls take their time, in the order in which they were made', async t => {
  const { timeline, one } = await brokers([0, 0], [1, 20])
  const order: number[] = []
  const committed = [1, 2, 3].map(n => Promise.resolve(one.broker.commit(commitOf(n))).then(() => order.push(n)))
  await timeline.settle()
  t.strictSame(one.ledger.of(CHANNEL), [])
  await timeline.advance(200)
  await Promise.all(committed)
  t.strictSame(
    one.ledger.of(CHANNEL).map(({ text }) => text),
    ['1', '2', '3']
  )
})
