import assert from 'node:assert/strict'
import type { Awaitable } from '../../lib/awaitable.ts'
import type {
  Broker,
  CommandRecord,
  Commit,
  Committed,
  Entry,
  LogPolicy,
  Page,
  Publication,
  ReadFrom,
  ReadLimits
} from '../../lib/broker/broker.ts'
import { RESULT_AGE_MS, RESULT_IDS } from '../../lib/broker/broker.ts'
import type { GapReason, Position } from '../../lib/protocol/position.ts'

/** What runs the tests: `node:test`, tap's `t`, or anything with such a method. */
export interface Runner {
  test(title: string, run: () => Promise<void>): unknown
}

/** A store that was made for one test, and the brokers over it. */
export interface BrokerFixture {
  /** Opens a broker; after the one before was closed, except where `cluster` is true. */
  open(onControl?: (text: string) => void): Awaitable<Broker>
  /** Lets time pass on the clock that its brokers were given, monotonic and wall. */
  advance(ms: number): Awaitable<void>
  /** Removes the store; the brokers were closed before. */
  end(): Awaitable<void>
  /** Whether a store holds what was committed when it is opened again. */
  readonly durable: boolean
  /** Whether several brokers over one store are nodes of one cluster. */
  readonly cluster?: boolean
  /** Makes the next write of the store fail, where that can be done. */
  failNext?(): Awaitable<void>
}

const LOG: LogPolicy = { entries: 100, ageMs: 60_000, bytes: 1_000_000 }
const ALL: ReadLimits = { entries: 1_000, bytes: 10_000_000 }
const TAG = /^[A-Za-z0-9_-]{8}$/
const WAIT_TURNS = 100_000

/**
 * The contract of lib/broker/broker.ts as tests, the same for every broker: whoever writes another one runs it against
 * theirs. Each test makes a store of its own with `create`.
 */
export function brokerConformance(t: Runner, name: string, create: () => Awaitable<BrokerFixture>): void {
  const groups = [commits, results, fences, subscriptions, reads, trims, heads, sessions, endings, nodes]
  for (const [title, run] of groups.flatMap(group => Object.entries(group))) {
    t.test(`${name}: ${title}`, async () => {
      const bench = new Bench(await create())
      try {
        await run(bench)
      } finally {
        await bench.end()
      }
    })
  }
}

type Tests = Readonly<Record<string, (bench: Bench) => Promise<void>>>

/** A store under test, with the first broker over it. */
class Bench {
  readonly fixture: BrokerFixture
  readonly #open: Broker[] = []

  constructor(fixture: BrokerFixture) {
    this.fixture = fixture
  }

  async broker(onControl?: (text: string) => void): Promise<Broker> {
    const broker = await this.fixture.open(onControl)
    this.#open.push(broker)
    return broker
  }

  /** The same store with another broker, as after a restart. */
  async reopen(broker: Broker): Promise<Broker> {
    await broker.close()
    this.#open.splice(this.#open.indexOf(broker), 1)
    return this.broker()
  }

  async end(): Promise<void> {
    for (const broker of this.#open) await broker.close()
    await this.fixture.end()
  }
}

const commits: Tests = {
  'every publication is appended to its own log, with the next offset, a tag, and the tag before': async bench => {
    const broker = await bench.broker()
    const first = await stored(broker, [publication('a', 1), publication('b', 2), publication('a', 3)])
    const second = await stored(broker, [publication('a', 4)])
    assert.deepEqual(
      [...first, ...second].map(at => at.offset),
      [1, 1, 2, 3]
    )
    const a = await page(broker, 'a', { before: null })
    assert.deepEqual(texts(a.entries), ['m1', 'm3', 'm4'])
    checkChain(a.entries, 1, '')
    assert.deepEqual(
      a.entries.map(entry => entry.tag),
      [first[0]!.tag, first[2]!.tag, second[0]!.tag]
    )
    const b = await page(broker, 'b', { before: null })
    checkChain(b.entries, 1, '')
    assert.deepEqual(texts(b.entries), ['m2'])
  },

  'tags differ, also between logs and at the same offset': async bench => {
    const broker = await bench.broker()
    const tags = new Set<string>()
    for (let i = 0; i < 50; i++) {
      for (const at of await stored(broker, [publication('a', i), publication(`b${i}`, i)])) tags.add(at.tag)
    }
    assert.equal(tags.size, 100)
  },

  'text and except come back as they were given': async bench => {
    const broker = await bench.broker()
    const hostile = JSON.stringify({ a: '"\\\u0000\u2028\ud83d\ude00\ufffd', b: "'; DROP TABLE entry --" })
    const except = ['s:\u0000"x', 'u:Zoë\ud83d\ude00', 'u:a,b']
    await stored(broker, [{ channel: 'a~%20.b_c-d', text: hostile, except, log: LOG }])
    const [entry] = (await page(broker, 'a~%20.b_c-d', { before: null })).entries
    assert.equal(entry!.text, hostile)
    assert.deepEqual(entry!.except, except)
  },

  'a commit of nothing stores nothing': async bench => {
    const broker = await bench.broker()
    assert.deepEqual(await broker.commit({ publications: [], command: null }), { kind: 'stored', positions: [] })
  },

  'concurrent commits take one offset each, and whoever waits for one has the later offset with the next':
    async bench => {
      const broker = await bench.broker()
      const commits = Array.from({ length: 60 }, (_, i) =>
        broker.commit({ publications: [publication('a', i)], command: null })
      )
      const positions = (await Promise.all(commits)).flatMap(positionsOf)
      assert.deepEqual(ascending(positions.map(at => at.offset)), range(1, 60))
      const [next] = await stored(broker, [publication('a', 60)])
      assert.equal(next!.offset, 61)
      const { entries } = await page(broker, 'a', { before: null })
      checkChain(entries, 1, '')
      for (const [i, at] of positions.entries()) assert.equal(entries[at.offset - 1]!.text, `m${i}`)
    },

  'a commit that fails leaves nothing behind, and the next one works': async bench => {
    if (bench.fixture.failNext === undefined) return
    const broker = await bench.broker()
    const [before] = await stored(broker, [publication('a', 1)], command('s', 1))
    assert.equal(broker.healthy, true)
    await bench.fixture.failNext()
    const commit = { publications: [publication('a', 2), publication('b', 3)], command: command('s', 2) }
    await assert.rejects(async () => broker.commit(commit))
    assert.equal(broker.healthy, false)
    assert.deepEqual(
      (await broker.heads(['a', 'b'])).map(at => at.offset),
      [1, 0]
    )
    assert.deepEqual(await broker.openSession('s', 0), { fence: 0, highest: 1, holes: [] })
    assert.equal(await broker.result('s', 2), null)
    const positions = await stored(broker, commit.publications, commit.command)
    assert.deepEqual(
      positions.map(at => at.offset),
      [2, 1]
    )
    assert.equal(broker.healthy, true)
    checkChain((await page(broker, 'a', { after: before! })).entries, 2, before!.tag)
  }
}

const results: Tests = {
  'the same session and id again gets the first answer and appends nothing': async bench => {
    const broker = await bench.broker()
    const [, last] = await stored(
      broker,
      [publication('a', 1), publication('b', 2)],
      command('s', 1, { reply: '{"x":1}' })
    )
    const again = await broker.commit({
      publications: [publication('a', 9)],
      command: command('s', 1, { reply: '"no"' })
    })
    assert.deepEqual(again, { kind: 'earlier', result: { reply: '{"x":1}', position: last } })
    assert.deepEqual(await broker.result('s', 1), { reply: '{"x":1}', position: last })
    assert.deepEqual(
      (await broker.heads(['a', 'b'])).map(at => at.offset),
      [1, 1]
    )
  },

  'of copies at the same time one is stored, and the others get its answer': async bench => {
    const broker = await bench.broker()
    const copies = await Promise.all(
      range(1, 8).map(i =>
        broker.commit({ publications: [publication('a', i)], command: command('s', 1, { reply: `${i}` }) })
      )
    )
    const first = copies.filter(copy => copy.kind === 'stored')
    assert.equal(first.length, 1)
    const { entries } = await page(broker, 'a', { before: null })
    assert.equal(entries.length, 1)
    for (const copy of copies) {
      if (copy.kind === 'stored') continue
      assert.equal(copy.kind, 'earlier')
      assert.deepEqual(copy.kind === 'earlier' && copy.result.position, positionsOf(first[0]!)[0])
      assert.equal(`m${copy.kind === 'earlier' && copy.result.reply}`, entries[0]!.text)
    }
  },

  'a command without publications has a result without a position': async bench => {
    const broker = await bench.broker()
    assert.deepEqual(await stored(broker, [], command('s', 1)), [])
    assert.deepEqual(await broker.result('s', 1), { reply: '', position: null })
    const again = await broker.commit({ publications: [], command: command('s', 1) })
    assert.deepEqual(again, { kind: 'earlier', result: { reply: '', position: null } })
  },

  'sessions do not share ids': async bench => {
    const broker = await bench.broker()
    for (const session of ['s', 'S', 's\u0000', 's\u0000"', '\ud83d\ude00', 's ']) {
      await stored(broker, [publication('a', 1)], command(session, 1, { reply: JSON.stringify(session) }))
    }
    for (const session of ['s', 's\u0000', 's\u0000"', 's ']) {
      assert.equal((await broker.result(session, 1))?.reply, JSON.stringify(session))
    }
    assert.equal(await broker.result('t', 1), null)
    assert.equal(await broker.result('s', 2), null)
  },

  'an id that is a hole is stored when it comes, and one that is consumed without a result never is': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 3)], command('s', 3, { highest: 3, holes: [1, 2] }))
    assert.deepEqual(await broker.openSession('s', 0), { fence: 0, highest: 3, holes: [1, 2] })
    await stored(broker, [publication('a', 2)], command('s', 2, { highest: 3, holes: [1] }))
    assert.deepEqual(await broker.openSession('s', 0), { fence: 0, highest: 3, holes: [1] })
    // 4 was refused for good, and so was consumed without a commit.
    await stored(broker, [publication('a', 5)], command('s', 5, { highest: 5, holes: [1] }))
    const late = await broker.commit({ publications: [publication('a', 4)], command: command('s', 4) })
    assert.deepEqual(late, { kind: 'expired' })
    assert.equal((await broker.heads(['a']))[0]!.offset, 3)
    assert.deepEqual(await broker.openSession('s', 0), { fence: 0, highest: 5, holes: [1] })
  },

  'an id that is called a hole though it was committed gets its result, and is not stored again': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 1)], command('s', 1, { reply: '1' }))
    // Whoever asked for it was told of a failure, and goes on as if nothing had been stored.
    await stored(broker, [publication('a', 2)], command('s', 2, { holes: [1] }))
    const again = await broker.commit({ publications: [publication('a', 9)], command: command('s', 1, { highest: 2 }) })
    assert.equal(again.kind, 'earlier')
    assert.equal((await broker.heads(['a']))[0]!.offset, 2)
  },

  'a hole that was committed is none any more, also once its result is gone': async bench => {
    const broker = await bench.broker()
    await broker.commit({ publications: [publication('a', 1)], command: command('s', 1) })
    await broker.commit({ publications: [], command: command('s', 2, { holes: [1] }) })
    assert.deepEqual(await broker.openSession('s', 0), { fence: 0, highest: 2, holes: [] })
    await bench.fixture.advance(RESULT_AGE_MS + 1)
    await broker.commit({ publications: [], command: command('t', 1) })
    const again = await broker.commit({ publications: [publication('a', 2)], command: command('s', 1) })
    assert.equal(again.kind, 'expired')
    assert.equal((await broker.heads(['a']))[0]!.offset, 1)
  },
  'a result is kept until it is five minutes old, and its id is never stored again': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 1)], command('s', 1, { reply: '1' }))
    await bench.fixture.advance(RESULT_AGE_MS - 1)
    await stored(broker, [publication('a', 2)], command('s', 2))
    await stored(broker, [publication('a', 3)], command('other', 1))
    assert.equal((await broker.commit({ publications: [], command: command('s', 1) })).kind, 'earlier')
    await bench.fixture.advance(RESULT_AGE_MS * 2)
    await stored(broker, [], command('s', 3))
    await stored(broker, [], command('other', 2))
    const again = await broker.commit({ publications: [publication('a', 9)], command: command('s', 1) })
    assert.notEqual(again.kind, 'stored')
    assert.equal((await broker.heads(['a']))[0]!.offset, 3)
  },

  'a result is kept until its session has ten thousand newer ids': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 1)], command('s', 1, { reply: '1' }))
    await stored(broker, [], command('s', RESULT_IDS))
    assert.equal((await broker.commit({ publications: [], command: command('s', 1) })).kind, 'earlier')
    await stored(broker, [], command('s', 3 * RESULT_IDS))
    await stored(broker, [], command('s', 3 * RESULT_IDS + 1))
    assert.notEqual(
      (await broker.commit({ publications: [publication('a', 2)], command: command('s', 1) })).kind,
      'stored'
    )
    assert.equal((await broker.commit({ publications: [], command: command('s', 3 * RESULT_IDS) })).kind, 'earlier')
    assert.equal((await broker.heads(['a']))[0]!.offset, 1)
  }
}

const fences: Tests = {
  'a commit under a lower fencing number than the session was opened with stores nothing': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 1)], command('s', 1, { fence: 1 }))
    assert.deepEqual(await broker.openSession('s', 3), { fence: 1, highest: 1, holes: [] })
    assert.equal((await broker.openSession('s', 2))?.fence, 3)
    const late = await broker.commit({ publications: [publication('a', 2)], command: command('s', 2, { fence: 2 }) })
    assert.deepEqual(late, { kind: 'fenced' })
    assert.equal((await broker.heads(['a']))[0]!.offset, 1)
    assert.equal(await broker.result('s', 2), null)
    await stored(broker, [publication('a', 2)], command('s', 2, { fence: 3 }))
  },

  'a commit raises the fencing number as well, and an opening under a lower one shows the higher': async bench => {
    const broker = await bench.broker()
    await stored(broker, [], command('s', 1, { fence: 5 }))
    assert.deepEqual(await broker.openSession('s', 4), { fence: 5, highest: 1, holes: [] })
    assert.deepEqual(await broker.commit({ publications: [], command: command('s', 2, { fence: 4 }) }), {
      kind: 'fenced'
    })
    // What was committed is not told to whoever lost the session.
    assert.deepEqual(await broker.commit({ publications: [], command: command('s', 1, { fence: 4 }) }), {
      kind: 'fenced'
    })
  }
}

const subscriptions: Tests = {
  'a subscription begins at the head it is told, and gets every entry after it once and in order': async bench => {
    const broker = await bench.broker()
    await stored(broker, [publication('a', 0), publication('b', 0)])
    const tape = new Tape()
    const during: Awaitable<Committed>[] = []
    const add = (from: number) => {
      for (const i of range(from, from + 9)) {
        during.push(broker.commit({ publications: [publication('a', i), publication('b', i)], command: null }))
      }
    }
    add(1)
    const subscribed = broker.subscribe('a', tape.receiver)
    add(11)
    const head = await subscribed
    add(21)
    await Promise.all(during)
    const [last] = await stored(broker, [publication('a', 31)])
    await tape.reaches(last!)
    assert.deepEqual(
      tape.entries.map(entry => entry.offset),
      range(head.offset + 1, last!.offset)
    )
    checkChain(tape.entries, head.offset + 1, head.tag)
    assert.deepEqual([...new Set(tape.epochs)], [head.epoch])
    const kept = await page(broker, 'a', { after: head })
    assert.deepEqual(tape.entries.map(plain), kept.entries.map(plain))
  },

  'subscriptions in the midst of many commits miss nothing': async bench => {
    const broker = await bench.broker()
    const rounds = range(1, 20)
    const tapes = rounds.map(() => new Tape())
    const heads: Position[] = []
    const during: Awaitable<Committed>[] = []
    for (const round of rounds) {
      const channel = `c${round}`
      for (const i of range(1, 5))
        during.push(broker.commit({ publications: [publication(channel, i)], command: null }))
      const subscribed = broker.subscribe(channel, tapes[round - 1]!.receiver)
      if (round % 3 === 0) await turn()
      for (const i of range(6, 10))
        during.push(broker.commit({ publications: [publication(channel, i)], command: null }))
      heads.push(await subscribed)
    }
    await Promise.all(during)
    for (const [i, tape] of tapes.entries()) {
      const head = heads[i]!
      const [now] = await broker.heads([`c${i + 1}`])
      if (now!.offset > head.offset) await tape.reaches(now!)
      checkChain(tape.entries, head.offset + 1, head.tag)
      assert.equal(head.offset + tape.entries.length, 10)
    }
  },

  'entries of one commit and of what a receiver commits at once come in log order': async bench => {
    const broker = await bench.broker()
    const tape = new Tape()
    const inner: Awaitable<Committed>[] = []
    await broker.subscribe('a', (entry, epoch) => {
      tape.receiver(entry, epoch)
      if (entry.offset === 1) inner.push(broker.commit({ publications: [publication('a', 9)], command: null }))
    })
    await stored(broker, [publication('a', 1), publication('a', 2)])
    const [at] = positionsOf((await Promise.all(inner))[0]!)
    assert.equal(at!.offset, 3)
    await tape.reaches(at!)
    checkChain(tape.entries, 1, '')
    assert.deepEqual(texts(tape.entries), ['m1', 'm2', 'm9'])
  },

  'after unsubscribe nothing comes, and a new subscription begins at the new head': async bench => {
    const broker = await bench.broker()
    broker.unsubscribe('never')
    const before = new Tape()
    await broker.subscribe('a', before.receiver)
    await before.reaches((await stored(broker, [publication('a', 1)]))[0]!)
    broker.unsubscribe('a')
    broker.unsubscribe('a')
    const [second] = await stored(broker, [publication('a', 2)])
    const after = new Tape()
    assert.deepEqual(await broker.subscribe('a', after.receiver), second)
    await after.reaches((await stored(broker, [publication('a', 3)]))[0]!)
    assert.deepEqual(texts(before.entries), ['m1'])
    assert.deepEqual(texts(after.entries), ['m3'])
  },

  'an unsubscribe right after the subscribe holds': async bench => {
    const broker = await bench.broker()
    const tape = new Tape()
    const subscribed = broker.subscribe('a', tape.receiver)
    broker.unsubscribe('a')
    assert.equal((await subscribed).offset, 0)
    await stored(broker, [publication('a', 1)])
    const control = new Tape()
    await broker.subscribe('b', control.receiver)
    await control.reaches((await stored(broker, [publication('b', 1)]))[0]!)
    assert.deepEqual(tape.entries, [])
  }
}

const reads: Tests = {
  'reading on gives what follows a position, by count and by bytes, and says whether that reaches the head':
    async bench => {
      const broker = await bench.broker()
      const at = await fill(broker, 'a', 10)
      const few = await page(broker, 'a', { after: at[2]! }, { entries: 4, bytes: ALL.bytes })
      assert.deepEqual(
        few.entries.map(entry => entry.offset),
        [4, 5, 6, 7]
      )
      assert.equal(few.complete, false)
      assert.deepEqual(few.head, at[9])
      checkChain(few.entries, 4, at[2]!.tag)
      const exact = await page(broker, 'a', { after: at[5]! }, { entries: 4, bytes: ALL.bytes })
      assert.deepEqual([exact.entries.length, exact.complete], [4, true])
      const small = await page(broker, 'a', { after: at[0]! }, { entries: 10, bytes: 5 })
      assert.deepEqual(texts(small.entries), ['m2', 'm3'])
      assert.equal(small.complete, false)
      const one = await page(broker, 'a', { after: at[0]! }, { entries: 10, bytes: 1 })
      assert.deepEqual(texts(one.entries), ['m2'])
      const none = await page(broker, 'a', { after: at[9]! })
      assert.deepEqual([none.entries, none.complete], [[], true])
    },

  'reading back gives what precedes a position, ascending, and says whether that reaches the oldest': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 10)
    const newest = await page(broker, 'a', { before: null }, { entries: 3, bytes: ALL.bytes })
    assert.deepEqual(
      newest.entries.map(entry => entry.offset),
      [8, 9, 10]
    )
    assert.equal(newest.complete, false)
    checkChain(newest.entries, 8, at[6]!.tag)
    const next = await page(broker, 'a', { before: at[7]! }, { entries: 7, bytes: ALL.bytes })
    assert.deepEqual(
      next.entries.map(entry => entry.offset),
      range(1, 7)
    )
    assert.equal(next.complete, true)
    checkChain(next.entries, 1, '')
    const small = await page(broker, 'a', { before: at[8]! }, { entries: 10, bytes: 5 })
    assert.deepEqual(texts(small.entries), ['m7', 'm8'])
    const one = await page(broker, 'a', { before: at[8]! }, { entries: 10, bytes: 1 })
    assert.deepEqual(texts(one.entries), ['m8'])
    const none = await page(broker, 'a', { before: at[0]! })
    assert.deepEqual([none.entries, none.complete], [[], true])
    assert.deepEqual(none.head, at[9])
  },

  'bytes are those of UTF-8': async bench => {
    const broker = await bench.broker()
    for (const i of [1, 2, 3]) await stored(broker, [{ ...publication('a', i), text: `"${'é'.repeat(4)}"` }])
    const [first] = (await page(broker, 'a', { before: null })).entries
    const after = { epoch: (await broker.heads(['a']))[0]!.epoch, offset: first!.offset, tag: first!.tag }
    assert.equal((await page(broker, 'a', { after }, { entries: 9, bytes: 19 })).entries.length, 1)
    assert.equal((await page(broker, 'a', { after }, { entries: 9, bytes: 20 })).entries.length, 2)
  },

  'a log of which there is nothing reads as empty, both ways': async bench => {
    const broker = await bench.broker()
    const [head] = await broker.heads(['a'])
    for (const from of [{ after: head! }, { before: null }, { before: head! }]) {
      assert.deepEqual(await page(broker, 'a', from), { kind: 'page', entries: [], head, complete: true })
    }
  },

  'a position that the log cannot vouch for is lost, with the reason and the head': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 3)
    const [other] = await stored(broker, [publication('b', 1)])
    const head = at[2]!
    const wrong: readonly (readonly [Position, GapReason])[] = [
      [{ ...at[1]!, epoch: `${head.epoch}x` }, 'epoch-lost'],
      [{ ...at[1]!, tag: 'AAAAAAAA' }, 'rewound'],
      [{ ...head, tag: 'AAAAAAAA' }, 'rewound'],
      [{ ...head, offset: 4 }, 'rewound'],
      [{ ...head, offset: Number.MAX_SAFE_INTEGER }, 'rewound'],
      [{ ...other! }, 'rewound'],
      [{ ...head, offset: 0, tag: 'AAAAAAAA' }, 'rewound']
    ]
    for (const [position, reason] of wrong) {
      await lost(broker, 'a', { after: position }, reason, head)
      await lost(broker, 'a', { before: position }, reason, head)
    }
    await lost(broker, 'never', { after: at[0]! }, 'rewound')
  }
}

const trims: Tests = {
  'what is over the number of entries goes, and whoever stands at the last one that went has missed nothing':
    async bench => {
      const broker = await bench.broker()
      const at = await fill(broker, 'a', 8, { ...LOG, entries: 3 })
      await checkKept(broker, 'a', at, 5)
    },

  'what is over the bytes goes': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 8, { ...LOG, bytes: 6 })
    await checkKept(broker, 'a', at, 5)
  },

  'the newest is kept whatever its size': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 3, { ...LOG, bytes: 1 })
    await checkKept(broker, 'a', at, 2)
  },

  'what is too old goes with the next publication, or is not read even without one': async bench => {
    const broker = await bench.broker()
    const log = { ...LOG, ageMs: 1_000 }
    const at = await fill(broker, 'a', 3, log)
    await bench.fixture.advance(600)
    at.push(...(await stored(broker, [{ ...publication('a', 4), log }])))
    await bench.fixture.advance(401)
    await checkKept(broker, 'a', at, 3)
    at.push(...(await stored(broker, [{ ...publication('a', 5), log }])))
    await checkKept(broker, 'a', at, 3)
    await bench.fixture.advance(1_001)
    await checkKept(broker, 'a', at, 5)
    at.push(...(await stored(broker, [{ ...publication('a', 6), log }])))
    await checkKept(broker, 'a', at, 5)
  },

  'of many entries in age order exactly the old ones are gone': async bench => {
    const broker = await bench.broker()
    const log = { ...LOG, ageMs: 1_000 }
    const at: Position[] = []
    for (const i of range(1, 20)) {
      at.push(...(await stored(broker, [{ ...publication('a', i), log }])))
      await bench.fixture.advance(100)
    }
    await checkKept(broker, 'a', at, 10)
    for (const kept of range(11, 20)) {
      await bench.fixture.advance(100)
      await checkKept(broker, 'a', at, kept)
    }
  },

  'a policy holds from the publication on that brings it': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 10)
    at.push(...(await stored(broker, [{ ...publication('a', 11), log: { ...LOG, entries: 2 } }])))
    await checkKept(broker, 'a', at, 9)
  },

  'one log is trimmed without the others': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 5)
    await fill(broker, 'b', 50, { ...LOG, entries: 1 })
    await checkKept(broker, 'a', at, 0)
  }
}

const heads: Tests = {
  'a log that was never written to has a head that stays, and from which its first entries are read': async bench => {
    const broker = await bench.broker()
    const [head] = await broker.heads(['a'])
    assert.deepEqual([head!.offset, head!.tag], [0, ''])
    assert.match(head!.epoch, /^[A-Za-z0-9_-]{1,32}$/)
    await stored(broker, [publication('b', 1)])
    await bench.fixture.advance(LOG.ageMs * 10)
    assert.deepEqual(await broker.heads(['a']), [head])
    assert.deepEqual(await broker.subscribe('a', () => {}), head)
    const [first] = await stored(broker, [publication('a', 1)])
    assert.equal(first!.epoch, head!.epoch)
    const { entries } = await page(broker, 'a', { after: head! })
    assert.deepEqual(texts(entries), ['m1'])
  },

  'a head outlives its entries': async bench => {
    const broker = await bench.broker()
    const at = await fill(broker, 'a', 3)
    await bench.fixture.advance(LOG.ageMs * 10)
    assert.deepEqual(await broker.heads(['a']), [at[2]])
    await checkKept(broker, 'a', at, 3)
    at.push(...(await stored(broker, [publication('a', 4)])))
    assert.equal(at[3]!.offset, 4)
    await checkKept(broker, 'a', at, 3)
  },

  'heads come in the order asked for': async bench => {
    const broker = await bench.broker()
    const [a] = await stored(broker, [publication('a', 1)])
    const [b] = await stored(broker, [publication('b', 1)])
    const [none] = await broker.heads(['never'])
    assert.deepEqual(await broker.heads(['b', 'never', 'a', 'b']), [b, none, a, b])
    assert.deepEqual(await broker.heads([]), [])
  }
}

const sessions: Tests = {
  'nothing is known of a session that never committed, however it was opened': async bench => {
    const broker = await bench.broker()
    assert.equal(await broker.openSession('s', 3), null)
    assert.equal(await broker.openSession('s', 3), null)
    await stored(broker, [], command('s', 1, { fence: 3 }))
    assert.deepEqual(await broker.openSession('s', 3), { fence: 3, highest: 1, holes: [] })
  },

  'a session that has ended is forgotten, unless it was opened under a higher number since': async bench => {
    const broker = await bench.broker()
    await stored(broker, [], command('s', 1, { fence: 2, reply: '1' }))
    broker.endSession('s', 1)
    assert.deepEqual(await broker.openSession('s', 3), { fence: 2, highest: 1, holes: [] })
    broker.endSession('s', 2)
    assert.deepEqual(await broker.result('s', 1), { reply: '1', position: null })
    broker.endSession('s', 3)
    broker.endSession('unknown', 1)
    assert.equal(await broker.openSession('s', 3), null)
    assert.equal(await broker.result('s', 1), null)
    await stored(broker, [], command('s', 1, { fence: 1, reply: '2' }))
    assert.deepEqual(await broker.result('s', 1), { reply: '2', position: null })
  }
}

const endings: Tests = {
  'what was asked before the close is answered first': async bench => {
    const broker = await bench.broker()
    const asked = range(1, 20).map(i =>
      broker.commit({ publications: [publication('a', i)], command: command('s', i) })
    )
    const heads = broker.heads(['a'])
    await broker.close()
    const positions = (await Promise.all(asked)).flatMap(positionsOf)
    assert.deepEqual(ascending(positions.map(at => at.offset)), range(1, 20))
    assert.equal((await heads).length, 1)
  },

  'a durable store holds everything when it is opened again': async bench => {
    if (!bench.fixture.durable) return
    const before = await bench.broker()
    const [never] = await before.heads(['never'])
    const at = await fill(before, 'a', 8, { ...LOG, entries: 3 })
    const quiet = await fill(before, 'quiet', 2, { ...LOG, ageMs: 1_000 })
    const [last] = await stored(
      before,
      [{ ...publication('b', 1), except: ['u:1'] }],
      command('s', 3, { highest: 3, holes: [1], fence: 2, reply: '"r"' })
    )
    await before.openSession('s', 4)
    await stored(before, [], command('ended', 1))
    before.endSession('ended', 9)
    await bench.fixture.advance(5_000)

    const after = await bench.reopen(before)
    assert.deepEqual(await after.heads(['never', 'a', 'quiet', 'b']), [never, at[7], quiet[1], last])
    await checkKept(after, 'a', at, 5)
    await checkKept(after, 'quiet', quiet, 2)
    const [entry] = (await page(after, 'b', { before: null })).entries
    assert.deepEqual(entry, { offset: 1, tag: last!.tag, prev: '', text: 'm1', except: ['u:1'] })
    assert.deepEqual(await after.openSession('s', 0), { fence: 4, highest: 3, holes: [1] })
    assert.deepEqual(await after.result('s', 3), { reply: '"r"', position: last })
    assert.equal(await after.openSession('ended', 0), null)
    const commit = (id: number, fence: number) =>
      after.commit({ publications: [], command: command('s', id, { fence, highest: 3, holes: [] }) })
    assert.deepEqual(await commit(3, 4), { kind: 'earlier', result: { reply: '"r"', position: last } })
    assert.deepEqual(await commit(2, 4), { kind: 'expired' })
    assert.deepEqual(await commit(1, 3), { kind: 'fenced' })
    assert.equal((await commit(1, 4)).kind, 'stored')

    const tape = new Tape()
    assert.deepEqual(await after.subscribe('a', tape.receiver), at[7])
    at.push(...(await stored(after, [{ ...publication('a', 9), log: { ...LOG, entries: 3 } }])))
    await tape.reaches(at[8]!)
    checkChain(tape.entries, 9, at[7]!.tag)
    await checkKept(after, 'a', at, 6)
    const [first] = await stored(after, [publication('never', 1)])
    assert.deepEqual([first!.epoch, first!.offset], [never!.epoch, 1])
  }
}

const nodes: Tests = {
  'a broadcast reaches every other node, and not the one that gave it': async bench => {
    const heard: string[][] = [[], []]
    const first = await bench.broker(text => heard[0]!.push(text))
    if (bench.fixture.cluster !== true) {
      first.broadcast('alone')
      await turn()
      assert.deepEqual(heard[0], [])
      return
    }
    await bench.broker(text => heard[1]!.push(text))
    first.broadcast('{"a":1}')
    await until(() => heard[1]!.length > 0)
    assert.deepEqual(heard, [[], ['{"a":1}']])
  },

  'what one node commits reaches the subscribers of another': async bench => {
    if (bench.fixture.cluster !== true) return
    const first = await bench.broker()
    const second = await bench.broker()
    const tape = new Tape()
    const head = await second.subscribe('a', tape.receiver)
    await stored(second, [publication('a', 1)])
    const [last] = await stored(first, [publication('a', 2)])
    await tape.reaches(last!)
    checkChain(tape.entries, head.offset + 1, head.tag)
    assert.deepEqual(texts(tape.entries), ['m1', 'm2'])
  }
}

/** What a subscription brought. */
class Tape {
  readonly entries: Entry[] = []
  readonly epochs: string[] = []
  readonly receiver = (entry: Entry, epoch: string): void => {
    this.entries.push(entry)
    this.epochs.push(epoch)
  }

  async reaches({ offset }: Position): Promise<void> {
    await until(() => (this.entries.at(-1)?.offset ?? 0) >= offset)
  }
}

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

async function until(holds: () => boolean): Promise<void> {
  for (let i = 0; i < WAIT_TURNS && !holds(); i++) await turn()
  assert.ok(holds(), 'what was waited for did not come')
}

function publication(channel: string, n: number): Publication {
  return { channel, text: `m${n}`, except: [], log: LOG }
}

function command(
  session: string,
  id: number,
  more: Partial<CommandRecord> & { highest?: number; holes?: number[] } = {}
): CommandRecord {
  const { fence = 0, reply = '', highest = id, holes = [] } = more
  return { session, fence, id, progress: { highest, holes }, reply }
}

async function stored(
  broker: Broker,
  publications: readonly Publication[],
  command: CommandRecord | null = null
): Promise<readonly Position[]> {
  const commit: Commit = { publications, command }
  const positions = positionsOf(await broker.commit(commit))
  assert.equal(positions.length, publications.length)
  for (const at of positions) assert.match(at.tag, TAG)
  return positions
}

function positionsOf(committed: Committed): readonly Position[] {
  assert.equal(committed.kind, 'stored')
  return committed.kind === 'stored' ? committed.positions : []
}

/** So many publications, one commit each; their positions. */
async function fill(broker: Broker, channel: string, count: number, log = LOG): Promise<Position[]> {
  const positions: Position[] = []
  for (const i of range(1, count)) positions.push(...(await stored(broker, [{ ...publication(channel, i), log }])))
  return positions
}

async function page(broker: Broker, channel: string, from: ReadFrom, limits = ALL): Promise<Page> {
  const result = await broker.read(channel, from, limits)
  assert.equal(result.kind, 'page', JSON.stringify(result))
  const { entries, ...rest } = result as { kind: 'page' } & Page
  return { ...rest, entries: entries.map(plain) }
}

async function lost(
  broker: Broker,
  channel: string,
  from: ReadFrom,
  reason: GapReason,
  head?: Position
): Promise<void> {
  const result = await broker.read(channel, from, ALL)
  assert.equal(result.kind, 'lost', JSON.stringify(from))
  assert.equal(result.kind === 'lost' && result.reason, reason, JSON.stringify(from))
  if (head !== undefined) assert.deepEqual(result.head, head)
}

/** That of these positions, from offset 1 on, the first `gone` are trimmed and the others are there. */
async function checkKept(broker: Broker, channel: string, at: readonly Position[], gone: number): Promise<void> {
  const head = at.at(-1)!
  const start = at[gone - 1] ?? { epoch: head.epoch, offset: 0, tag: '' }
  const on = await page(broker, channel, { after: start })
  assert.deepEqual(
    on.entries.map(({ offset, tag }) => [offset, tag]),
    at.slice(gone).map(({ offset, tag }) => [offset, tag])
  )
  assert.deepEqual([on.head, on.complete], [head, true])
  checkChain(on.entries, gone + 1, start.tag)
  const back = await page(broker, channel, { before: null })
  assert.deepEqual([back.entries, back.head, back.complete], [on.entries, head, true])
  assert.deepEqual((await page(broker, channel, { before: start })).entries, [])
  for (const position of at.slice(gone)) await page(broker, channel, { after: position })
  for (const position of at.slice(0, Math.max(0, gone - 1))) {
    await lost(broker, channel, { after: position }, 'trimmed', head)
    await lost(broker, channel, { before: position }, 'trimmed', head)
  }
}

/** That entries follow each other without a hole. */
function checkChain(entries: readonly Entry[], first: number, prev: string): void {
  let before = prev
  for (const [i, entry] of entries.entries()) {
    assert.equal(entry.offset, first + i)
    assert.equal(entry.prev, before, `prev of ${entry.offset}`)
    assert.match(entry.tag, TAG)
    before = entry.tag
  }
}

/** An entry without what a broker may keep beside. */
function plain({ offset, tag, prev, text, except }: Entry): Entry {
  return { offset, tag, prev, text, except }
}

function texts(entries: readonly Entry[]): string[] {
  return entries.map(entry => entry.text)
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i)
}

function ascending(numbers: readonly number[]): number[] {
  return [...numbers].sort((a, b) => a - b)
}
