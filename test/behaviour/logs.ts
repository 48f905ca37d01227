import { copyFileSync, renameSync } from 'node:fs'
import type { Test } from 'tap'
import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { openSqlite } from '../../lib/broker/sqlite.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { openFixtureFile } from '../fixtures/broker.ts'
import { ManualClock } from '../fixtures/clock.ts'
import type { Distance } from '../fixtures/rooms.ts'
import { Rooms, range, roomsAt } from '../fixtures/rooms.ts'
import type { Link } from '../fixtures/virtual-node.ts'
import { silent } from '../fixtures/virtual-node.ts'

const MANY = 5_000

/** Each story is told with a broker that answers at once, and with one that is far away. */
function each(title: string, story: (t: Test, distance: Distance) => Promise<void>): void {
  for (const distance of ['near', 'far'] as const) t.test(`${title} (${distance})`, t => story(t, distance))
}

const joined = (link: Link, channel: string) => link.all('$joined', channel).map(frame => frame.param.outcome)
const head = (link: Link, channel: string): Position => link.last('$joined', channel).param.position

each('$joined is a subscription’s first frame; then the replay as ordinary publications, then live', async (t, at) => {
  const { rooms } = roomsAt(at)
  const ann = await rooms.dial('room-1')
  await rooms.pass(100)
  t.strictSame(joined(ann, 'room-1'), [{ kind: 'fresh' }])
  await rooms.publish('room-1', 1, 2, 3)
  const last = ann.last('event')
  const bob = await rooms.dial('room-1', { resume: { p: { 'room-1': head(ann, 'room-1') } } })
  await rooms.pass(200)
  await rooms.publish('room-1', 4)
  t.strictSame(
    bob.frames.map(frame => frame.cmd),
    ['$welcome', '$joined', 'event', 'event', 'event', 'event']
  )
  t.strictSame(bob.numbers('room-1'), [1, 2, 3, 4])
  t.strictSame(joined(bob, 'room-1'), [{ kind: 'recovered', from: 0, to: 3 }], 'from is exclusive, to inclusive')
  t.strictSame(
    bob.all('event').map(frame => frame.offset),
    [1, 2, 3, 4]
  )
  t.equal(JSON.stringify(bob.all('event')[2]), JSON.stringify(last), 'replayed bytes equal the live ones')
})

each('position is where delivery goes on from: the given one (recovered) or the head (fresh, gap)', async (t, at) => {
  const { rooms } = roomsAt(at, { log: { entries: 2 } })
  const first = await rooms.publish('room-1', 1)
  const second = await rooms.publish('room-1', 2)
  const third = await rooms.publish('room-1', 3, 4)
  const join = async (position?: Position): Promise<unknown> => {
    const link = await rooms.dial('room-1', position === undefined ? {} : { resume: { p: { 'room-1': position } } })
    await rooms.pass(200)
    const { position: from, outcome } = link.last('$joined').param
    return { from, outcome, numbers: link.numbers('room-1') }
  }
  t.strictSame(await join(), { from: third, outcome: { kind: 'fresh' }, numbers: [] })
  t.strictSame(await join(second), { from: second, outcome: { kind: 'recovered', from: 2, to: 4 }, numbers: [3, 4] })
  t.strictSame(await join(third), { from: third, outcome: { kind: 'recovered', from: 4, to: 4 }, numbers: [] })
  const trimmed = { kind: 'gap', from: 1, to: 4, reason: 'trimmed' }
  t.strictSame(await join(first), { from: third, outcome: trimmed, numbers: [] })
})

each('what is kept is told apart by count, age and bytes, and what was trimmed is a gap', async (t, at) => {
  for (const log of [{ entries: 3 }, { ageMs: 5_000 }, { bytes: 200 }]) {
    const { rooms } = roomsAt(at, { log })
    const start = await rooms.publish('room-1', 1)
    await rooms.publish('room-1', 2, 3)
    await rooms.pass('ageMs' in log ? 4_850 : 0)
    const last = await rooms.publish('room-1', 4, 5, 6)
    const link = await rooms.dial('room-1', { resume: { p: { 'room-1': start } } })
    await rooms.pass(200)
    t.strictSame(
      joined(link, 'room-1'),
      [{ kind: 'gap', from: 1, to: last.offset, reason: 'trimmed' }],
      JSON.stringify(log)
    )
  }
})

each('the head of an empty log is offset 0 without a tag, and good to return with', async (t, at) => {
  const { rooms } = roomsAt(at)
  const ann = await rooms.dial('room-1')
  await rooms.pass(100)
  const { epoch, offset, tag } = head(ann, 'room-1')
  t.match({ epoch, offset, tag }, { epoch: /^.{12}$/, offset: 0, tag: '' })
  const again = async () => {
    const link = await rooms.dial('room-1', { resume: { p: { 'room-1': { epoch, offset, tag } } } })
    await rooms.pass(200)
    return [...joined(link, 'room-1'), ...link.numbers('room-1')]
  }
  t.strictSame(await again(), [{ kind: 'recovered', from: 0, to: 0 }], 'nothing was missed')
  ann.transport.closed(1006, '')
  await rooms.pass(100)
  t.strictSame(await again(), [{ kind: 'recovered', from: 0, to: 0 }], 'nor where nobody was there meanwhile')
  await rooms.publish('room-1', 1)
  t.strictSame(await again(), [{ kind: 'recovered', from: 0, to: 1 }, 1], 'who has seen nothing recovers too')
})

each('a quiet channel, and one whose server was just restarted with its store, gives no false gap', async (t, at) => {
  const store = new MemoryStore()
  const before = roomsAt(at, { store }).rooms
  const ann = await before.dial('room-1')
  await before.pass(100)
  const position = await before.publish('room-1', 1, 2)
  await before.pass(3_600_000)
  await before.close()
  t.equal(ann.code, 1012)
  const { rooms } = roomsAt(at, { store }, 2)
  const back = await rooms.dial('room-1', { resume: { s: ann.session, p: { 'room-1': position } } })
  await rooms.pass(200)
  t.strictSame(joined(back, 'room-1'), [{ kind: 'recovered', from: 2, to: 2 }])
  await rooms.publish('room-1', 3)
  t.strictSame(back.numbers('room-1'), [3])
  t.equal(back.last('event').offset, 3)
})

each('a store that lost its data says so by a new epoch', async (t, at) => {
  const lost = await roomsAt(at).rooms.publish('room-1', 1, 2)
  const { rooms } = roomsAt(at, { store: new MemoryStore() }, 2)
  const link = await rooms.dial('room-1', { resume: { p: { 'room-1': lost } } })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-1'), [{ kind: 'gap', to: 0, reason: 'epoch-lost' }], 'and no offset of the old one')
  t.not(head(link, 'room-1').epoch, lost.epoch)
  await rooms.publish('room-1', 3)
  t.strictSame(link.numbers('room-1'), [3])
})

each('a forged position is a gap, and never another’s data', async (t, at) => {
  const { rooms } = roomsAt(at)
  const mine = await rooms.publish('room-1', 1, 2, 3)
  const other = await rooms.publish('room-2', 11, 12, 13)
  const cases: ReadonlyArray<[what: string, position: Position, reason: string, from?: number]> = [
    ['random', { epoch: 'zzzz', offset: 2, tag: 'abcdefgh' }, 'epoch-lost'],
    ['from the future', { ...mine, offset: 99 }, 'rewound', 99],
    ['at the largest offset', { ...mine, offset: Number.MAX_SAFE_INTEGER }, 'rewound', Number.MAX_SAFE_INTEGER],
    ['of another channel', other, 'rewound', 3],
    ['with another tag', { ...mine, offset: 1 }, 'rewound', 1],
    ['at 0 with a tag left out', { ...mine, epoch: 'other', offset: 0, tag: '' }, 'epoch-lost']
  ]
  for (const [what, position, reason, from] of cases) {
    const gap = { kind: 'gap', ...(from === undefined ? {} : { from }), to: 3, reason }
    const link = await rooms.dial('room-1', { resume: { p: { 'room-1': position } } })
    await rooms.pass(200)
    t.strictSame(joined(link, 'room-1'), [gap], `in a resume: ${what}`)
    t.strictSame(link.numbers('room-1'), [], what)
    const client = await rooms.dial('hall-1')
    client.send({ cmd: '$join', channel: 'room-1', ref: 1, param: { position } })
    await rooms.pass(200)
    t.strictSame(joined(client, 'room-1'), [gap], `in $join: ${what}`)
    client.send({ cmd: '$history', channel: 'room-1', ref: 2, param: { after: position, limit: 10 } })
    client.send({ cmd: '$history', channel: 'room-1', ref: 3, param: { before: position, limit: 10 } })
    await rooms.pass(200)
    const refused = { cmd: '$nack', param: { code: 'unknown-position', message: reason, retry: false } }
    t.match([client.answer(2), client.answer(3)], [refused, refused], `in $history: ${what}`)
    t.strictSame(client.numbers('room-1'), [])
  }
})

t.test('what is no position at all is refused, and joins nobody', async t => {
  const { rooms } = roomsAt('near')
  const link = await rooms.dial('hall-1')
  const bad = [null, 1, [], {}, { epoch: 'e', offset: -1, tag: 't' }, { epoch: 'e', offset: 1, tag: '' }]
  bad.push(
    { epoch: 'e', offset: 1.5, tag: 't' },
    { epoch: '', offset: 1, tag: 't' },
    { epoch: 'é', offset: 1, tag: 't' }
  )
  for (const [ref, position] of bad.entries()) {
    link.send({ cmd: '$join', channel: 'room-1', ref: ref + 1, param: { position } })
  }
  await rooms.pass()
  const codes = bad.map((_, i) => link.answer(i + 1).param.code)
  t.strictSame(codes, Array(bad.length).fill('invalid-param'))
  t.strictSame(link.connection!.channels, ['hall-1'])
})

each('with `more` a route or server join of a channel not listed is gap over-limit', async (t, at) => {
  const { rooms } = roomsAt(at, { userChannel: true })
  const one = await rooms.publish('room-1', 1)
  const two = await rooms.publish('room-2', 1)
  await rooms.publish('room-2', 2)
  const link = await rooms.dial('room-1', { resume: { more: true, p: { 'room-2': two } } })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-1'), [{ kind: 'gap', to: 1, reason: 'over-limit' }])
  t.strictSame(head(link, 'room-1'), one)
  void rooms.sockets.join(link.connection!, 'room-2')
  void rooms.sockets.join(link.connection!, 'room-3')
  link.send({ cmd: '$join', channel: 'room-4', ref: 1 })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-2'), [{ kind: 'recovered', from: 1, to: 2 }], 'a listed one has its position')
  t.strictSame(joined(link, 'room-3'), [{ kind: 'gap', to: 0, reason: 'over-limit' }])
  t.strictSame(joined(link, 'room-4'), [{ kind: 'fresh' }], 'a client joins with the position that it has itself')
  for (const channel of ['room-1', 'room-3']) {
    await rooms.sockets.leave(link.connection!, channel)
    void rooms.sockets.join(link.connection!, channel)
    await rooms.pass(200)
    t.strictSame(joined(link, channel).at(-1), { kind: 'fresh' }, 'and that once')
  }
})

each('whichever side later joins this connection to a listed channel uses its position once', async (t, at) => {
  const { rooms } = roomsAt(at)
  const p = Object.fromEntries(
    await Promise.all(range(1, 4).map(async n => [`room-${n}`, await rooms.publish(`room-${n}`, n)]))
  )
  for (const n of range(1, 4)) await rooms.publish(`room-${n}`, n + 10)
  const link = await rooms.dial('room-1', { resume: { p } })
  void rooms.sockets.join(link.connection!, 'room-2')
  link.send({ cmd: '$join', channel: 'room-3', ref: 1 })
  link.send({ cmd: '$join', channel: 'room-4', ref: 2, param: { position: p['room-4'] } })
  await rooms.pass(200)
  const recovered = { kind: 'recovered', from: 1, to: 2 }
  for (const n of range(1, 4)) {
    t.strictSame([joined(link, `room-${n}`), link.numbers(`room-${n}`)], [[recovered], [n + 10]], `room-${n}`)
    await rooms.sockets.leave(link.connection!, `room-${n}`)
    link.send({ cmd: '$join', channel: `room-${n}`, ref: n + 10 })
    await rooms.pass(200)
    t.strictSame(joined(link, `room-${n}`), [recovered, { kind: 'fresh' }], 'the second time it is no news')
    t.strictSame(link.numbers(`room-${n}`), [n + 10], 'no position reaches the client twice')
  }
})

each('positions count without a known session too', async (t, at) => {
  const { rooms } = roomsAt(at)
  const position = await rooms.publish('room-1', 1)
  await rooms.publish('room-1', 2)
  for (const s of [undefined, 'AAAAAAAAAAAAAAAAAAAAAA']) {
    const link = await rooms.dial('room-1', {
      resume: { ...(s === undefined ? {} : { s }), p: { 'room-1': position } }
    })
    await rooms.pass(200)
    t.equal(link.last('$welcome').param.resumed, false)
    t.not(link.session, s)
    t.strictSame(link.numbers('room-1'), [2])
  }
})

each('a $join that is refused leaves the position for the next', async (t, at) => {
  let allowed = false
  const { rooms } = roomsAt(at, { rules: { access: () => allowed } })
  const position = await rooms.publish('room-1', 1)
  await rooms.publish('room-1', 2)
  const link = await rooms.dial('hall-1', { resume: { p: { 'room-1': position } } })
  link.send({ cmd: '$join', channel: 'room-1', ref: 1 })
  await rooms.pass(200)
  t.equal(link.answer(1).param.code, 'forbidden')
  allowed = true
  link.send({ cmd: '$join', channel: 'room-1', ref: 2 })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-1'), [{ kind: 'recovered', from: 1, to: 2 }])
})

each('a log larger than the outbox is replayed at the reader’s pace, never closing it as slow', async (t, at) => {
  const limits = { outboxBytes: 65_536, messageBytes: 16_384 }
  const { rooms } = roomsAt(at, { limits, log: { entries: MANY, bytes: 16_777_216 } })
  const start = await rooms.past(500)
  const link = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
  let most = 0
  for (let i = 0; i < 2_000 && link.numbers('room-1').length < 500; i++) {
    await rooms.pass(20)
    most = Math.max(most, link.transport.buffered())
    link.transport.drain()
    link.transport.stopped = true
  }
  t.strictSame(link.numbers('room-1'), range(1, 500))
  t.equal(link.code, undefined, 'it was not closed')
  t.ok(most <= limits.outboxBytes, `at most ${most} bytes waited for it`)
})

each('many logs that are replayed to one reader at once do not close it as slow either', async (t, at) => {
  const limits = { outboxBytes: 262_144, messageBytes: 16_384 }
  const { rooms } = roomsAt(at, { limits, log: { entries: MANY, bytes: 16_777_216 } })
  const p: Record<string, Position> = {}
  const fill = 'x'.repeat(5_000)
  for (const room of range(1, 20)) {
    p[`room-${room}`] = await rooms.publish(`room-${room}`, 0)
    for (const n of range(1, 15)) void rooms.sockets.broadcast(`room-${room}`, { cmd: 'event', param: { n, fill } })
  }
  await rooms.pass(100)
  const link = await rooms.dial('room-1', { stopped: true, resume: { p } })
  for (const room of range(2, 20)) void rooms.sockets.join(link.connection!, `room-${room}`)
  for (let i = 0; i < 2_000 && link.all('event').length < 300; i++) {
    await rooms.pass(20)
    link.transport.drain()
    link.transport.stopped = true
  }
  t.equal(link.code, undefined, 'it was not closed')
  for (const room of range(1, 20)) t.strictSame(link.numbers(`room-${room}`), range(1, 15))
})

each('what is published in a burst while a page is read does not close the reader as slow', async (t, at) => {
  const limits = { outboxBytes: 65_536, messageBytes: 16_384 }
  const { rooms } = roomsAt(at, { limits, log: { entries: MANY, bytes: 16_777_216 } })
  const start = await rooms.publish('room-1', 0)
  await rooms.publish('room-1', 1)
  const link = rooms.call('room-1', { resume: { p: { 'room-1': start } } })
  const fill = 'x'.repeat(10_000)
  for (const n of range(2, 40)) void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n, fill } })
  for (let i = 0; i < 100 && link.numbers('room-1').length < 40; i++) await rooms.pass(50)
  t.equal(link.code, undefined, 'it was not closed')
  t.strictSame(link.numbers('room-1'), range(1, 40))
})

each('a slow consumer is closed 4000, comes back and recovers', async (t, at) => {
  const { rooms } = roomsAt(at, { limits: { outboxBytes: 20_000, messageBytes: 4_096 } })
  const slow = await rooms.dial('room-1')
  const good = await rooms.dial('room-1')
  await rooms.pass(100)
  await rooms.publish('room-1', 1, 2)
  slow.transport.stopped = true
  slow.transport.answersClose = false
  const fill = 'x'.repeat(3_000)
  for (const n of range(3, 20)) {
    void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n, fill } })
    await rooms.pass(50)
  }
  t.equal(slow.code, 4000)
  t.strictSame(slow.numbers('room-1'), [1, 2])
  const { epoch } = head(slow, 'room-1')
  const { offset, tag } = slow.last('event') as { offset: number; tag: string }
  const resume = { s: slow.session, p: { 'room-1': { epoch, offset, tag } } }
  const back = await rooms.dial('room-1', { resume })
  await rooms.pass(500)
  t.strictSame(joined(back, 'room-1'), [{ kind: 'recovered', from: 2, to: 20 }], 'with no gap')
  t.strictSame(back.numbers('room-1'), range(3, 20))
  t.strictSame(good.numbers('room-1'), range(1, 20), 'and nobody else noticed')
})

each('what is published during a replay is neither missing nor twice nor out of order', async (t, at) => {
  for (let seed = 1; seed <= 20; seed++) {
    const limits = { outboxBytes: 65_536, messageBytes: 16_384 }
    const { rooms } = roomsAt(at, { limits, log: { entries: MANY, bytes: 16_777_216 } }, seed)
    const start = await rooms.publish('room-1', 0)
    const fill = 'x'.repeat(900)
    let n = 0
    const more = (count: number): void => {
      for (let i = 0; i < count; i++) {
        void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: ++n, fill } })
      }
    }
    more(200)
    await rooms.pass(50)
    const link = rooms.call('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
    for (let i = 0; i < 60; i++) {
      if (i < 40) more(i % 7)
      await rooms.pass((i * seed) % 13)
      link.transport.drain()
      link.transport.stopped = i % 3 === 0
    }
    link.transport.drain()
    await rooms.pass(5_000)
    t.strictSame(link.numbers('room-1'), range(1, n), `seed ${seed}`)
    t.equal(joined(link, 'room-1').length, 1)
  }
})

each('a member that is taken out and in again during its replay hears all that comes from then on', async (t, at) => {
  const { rooms } = roomsAt(at)
  const start = await rooms.past(100)
  for (const wait of [0, 5, 200]) {
    const link = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
    await rooms.pass(wait)
    await rooms.sockets.leave(link.connection!, 'room-1')
    void rooms.sockets.join(link.connection!, 'room-1')
    await rooms.pass(50)
    const { offset } = await rooms.publish('room-1', 1, 2)
    link.transport.drain()
    await rooms.pass(200)
    await rooms.publish('room-1', 3)
    const after = link.frames.slice(link.frames.findLastIndex(({ cmd }) => cmd === '$joined'))
    const heard = after.flatMap(frame => frame.offset ?? [])
    t.ok(heard[0]! < offset)
    t.strictSame(heard, range(heard[0]!, offset + 1), `after ${wait} ms`)
  }
})

each('in a channel with a log `except` names sessions or users, and the excluded get a $skip', async (t, at) => {
  const { rooms } = roomsAt(at)
  const ann = await rooms.dial('room-1', { user: 'ann' })
  const bob = await rooms.dial('room-1', { user: 'bob' })
  const plain = await rooms.dial('room-1', { user: 'ann', kind: 'plain' })
  await rooms.pass(100)
  const start = head(ann, 'room-1')
  const send = async (n: number, except?: object): Promise<void> => {
    void rooms.sockets.broadcast(
      'room-1',
      { cmd: 'event', param: { n } },
      except === undefined ? {} : ({ except } as any)
    )
    await rooms.pass(100)
  }
  await send(1, { user: 'ann' })
  await send(2)
  await send(3, ann.connection!)
  ann.send({ cmd: 'say', channel: 'room-1', id: 1, param: { n: 4, exceptMe: true } })
  await rooms.pass(100)
  const skip = (offset: number) => ({ channel: 'room-1', cmd: '$skip', offset })
  t.match(ann.frames.slice(2), [skip(1), { cmd: 'event', offset: 2 }, skip(3), skip(4), { cmd: '$ack' }])
  t.strictSame(Object.keys(ann.all('$skip')[0]!).sort(), ['channel', 'cmd', 'offset', 'tag'])
  t.strictSame(bob.numbers('room-1'), [1, 2, 3, 4])
  t.strictSame(
    plain.numbers('room-1'),
    [2, 3, 4],
    'a plain client gets no $ frame, and misses what it is excepted from'
  )
  t.strictSame(
    ann.frames.slice(2, 6).map(frame => frame.tag),
    bob.frames.slice(2, 6).map(frame => frame.tag)
  )
  const again = await rooms.dial('room-1', { user: 'ann', resume: { s: ann.session, p: { 'room-1': start } } })
  await rooms.pass(200)
  t.strictSame(again.frames.slice(2), ann.frames.slice(2, 6), 'live and in recovery')
  const other = await rooms.dial('room-1', { user: 'ann', resume: { p: { 'room-1': start } } })
  await rooms.pass(200)
  t.strictSame(other.numbers('room-1'), [2, 3, 4], 'a session is one of its user’s, a user is all of them')
  again.send({ cmd: '$history', channel: 'room-1', ref: 1, param: { limit: 10 } })
  await rooms.pass(100)
  t.strictSame(
    again.answer(1).param.reply.messages.map((frame: any) => frame.param.n),
    [2],
    'and in the history'
  )
})

t.test('an exception outlives the connection that it named', async t => {
  const { rooms } = roomsAt('near')
  const ann = await rooms.dial('room-1')
  const start = head(ann, 'room-1')
  ann.transport.closed(1006, '')
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 1 } }, { except: ann.connection! })
  const back = await rooms.dial('room-1', { resume: { s: ann.session, p: { 'room-1': start } } })
  await rooms.pass()
  t.match(back.frames.slice(2), [{ cmd: '$skip', offset: 1 }])
})

each('ephemeral: no offset, in publish order among the live frames, never replayed or counted', async (t, at) => {
  for (let seed = 1; seed <= 10; seed++) {
    const { rooms } = roomsAt(at, {}, seed)
    const ann = await rooms.dial('room-1')
    const plain = await rooms.dial('room-1', { kind: 'plain' })
    await rooms.pass(100)
    const start = head(ann, 'room-1')
    for (const n of range(1, 30)) {
      void rooms.sockets.broadcast('room-1', { cmd: n % 3 === 0 ? 'blink' : 'event', param: { n } })
      if (n % 7 === 0) await rooms.pass(n % 5)
    }
    ann.send({ cmd: 'say', channel: 'room-1', id: 1, param: { n: 31, blink: 32 } })
    void rooms.sockets.broadcast('room-1', { cmd: 'blink', param: { n: 33 } })
    await rooms.pass(300)
    const heard = (link: Link) => link.frames.filter(({ cmd }) => cmd === 'event' || cmd === 'blink')
    const numbers = (link: Link) => heard(link).map(frame => (frame.param as { n: number }).n)
    const order = numbers(ann)
    for (const [i, n] of order.entries()) {
      // Where the store is far away, what was published later may come first.
      const before = range(1, 31).filter(m => m < n && (n % 3 === 0 || m % 3 !== 0))
      t.ok(
        before.every(m => order.indexOf(m) < i),
        `seed ${seed}: ${n} comes after what was published before it`
      )
    }
    if (at === 'near') t.strictSame(order.slice(0, 31), range(1, 31))
    t.strictSame(
      numbers(ann).sort((a, b) => a - b),
      range(1, 33)
    )
    t.strictSame(numbers(plain), numbers(ann), 'a plain client hears the same')
    t.ok(ann.all('blink').every(({ offset, tag }) => offset === undefined && tag === undefined))
    t.strictSame(
      ann.all('event').map(({ offset }) => offset),
      range(1, 21)
    )
    const back = await rooms.dial('room-1', { resume: { p: { 'room-1': start } } })
    await rooms.pass(300)
    t.strictSame([back.all('blink').length, back.all('event').length], [0, 21])
  }
})

each('offset, tag and membership of a message with `via` belong to the channel that carries it', async (t, at) => {
  const { rooms } = roomsAt(at)
  const ann = await rooms.dial('room-1')
  await rooms.pass(100)
  const start = head(ann, 'room-1')
  void rooms.sockets.sendToChannel('room-1', { channel: 'hall-9', cmd: 'event', param: { n: 1 } })
  void rooms.sockets.sendToChannel('room-1', { channel: 'room-2', cmd: 'event', param: { n: 2 } })
  void rooms.sockets.sendToChannel('room-1', { channel: 'room-2', cmd: 'blink', param: { n: 3 } })
  void rooms.sockets.sendToChannel('hall-1', { channel: 'room-2', cmd: 'event', param: { n: 4 } })
  await rooms.pass(200)
  const live = ann.frames.slice(2)
  t.match(live, [
    { channel: 'hall-9', via: 'room-1', cmd: 'event', offset: 1 },
    { channel: 'room-2', via: 'room-1', cmd: 'event', offset: 2 },
    { channel: 'room-2', via: 'room-1', cmd: 'blink', offset: undefined }
  ])
  const back = await rooms.dial('room-1', { resume: { p: { 'room-1': start } } })
  await rooms.pass(200)
  t.strictSame(back.frames.slice(2), live.slice(0, 2))
  const empty = await rooms.dial('room-2')
  await rooms.pass(200)
  t.equal(head(empty, 'room-2').offset, 0, 'nothing of it is in the log of the channel that it is about')
})

each('a plain client gets the same bytes of a publication, in order, and never a $ frame', async (t, at) => {
  const { rooms } = roomsAt(at, { log: { entries: 3 } })
  const v1 = await rooms.dial('room-1')
  const plain = await rooms.dial('room-1', { kind: 'plain' })
  await rooms.pass(100)
  await rooms.publish('room-1', ...range(1, 10))
  plain.send({ cmd: 'say', channel: 'room-1', id: 7, param: { n: 11 } })
  plain.send({ cmd: '$void', channel: 'room-1', id: 8 })
  plain.send({ cmd: '$history', channel: 'room-1', ref: 8, param: { limit: 1 } })
  await rooms.pass(100)
  t.strictSame(JSON.stringify(plain.all('event')), JSON.stringify(v1.all('event')))
  t.strictSame(plain.numbers('room-1'), range(1, 11))
  t.match(
    plain.all('error').map(({ param }) => param.code),
    ['unknown-command', 'unknown-command']
  )
  t.strictSame(
    plain.frames.filter(({ cmd }) => cmd.startsWith('$')),
    []
  )
})

each('a channel without a log has no positions, and what it says is what it always said', async (t, at) => {
  const { rooms } = roomsAt(at)
  const position = await rooms.publish('room-1', 1)
  const link = await rooms.dial('hall-1', { resume: { more: true, p: { 'hall-1': position } } })
  void rooms.sockets.broadcast('hall-1', { cmd: 'event', param: { n: 1 } })
  await rooms.pass(100)
  t.strictSame(link.last('$joined').param, { by: 'route', outcome: { kind: 'fresh' } })
  t.strictSame(link.last('event'), { channel: 'hall-1', cmd: 'event', param: { n: 1 } })
  link.send({ cmd: '$history', channel: 'hall-1', ref: 1, param: { limit: 1 } })
  link.send({ cmd: '$join', channel: 'hall-1', ref: 2 })
  await rooms.pass(100)
  t.match(link.answer(1), { cmd: '$nack', param: { code: 'forbidden' } })
  t.strictSame(link.answer(2).param, { by: 'route', outcome: { kind: 'fresh' } })
})

each('broadcast resolves to the position, or to null where nothing is kept', async (t, at) => {
  const { rooms } = roomsAt(at)
  const position = await rooms.publish('room-1', 1, 2)
  t.match(position, { offset: 2, tag: /^.{8}$/, epoch: /^.{12}$/ })
  t.strictSame(await rooms.sockets.broadcast('hall-1', { cmd: 'event', param: { n: 1 } }), { position: null })
  t.strictSame(await rooms.sockets.broadcast('room-1', { cmd: 'blink', param: { n: 1 } }), { position: null })
})

each('a member that joins again is told that it has missed nothing', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  await rooms.publish('room-1', 1, 2)
  link.send({ cmd: '$join', channel: 'room-1', ref: 1 })
  await rooms.pass(100)
  t.match(link.frames.slice(-1), [
    { cmd: '$joined', ref: 1, param: { outcome: { kind: 'recovered', from: 2, to: 2 } } }
  ])
})

each('$history pages through what is kept, forwards and back, with the bytes of the live frames', async (t, at) => {
  const { rooms } = roomsAt(at, { log: { entries: 8 } })
  const link = await rooms.dial('room-1')
  await rooms.publish('room-1', ...range(1, 10))
  let ref = 0
  const ask = async (param: object) => {
    link.send({ cmd: '$history', channel: 'room-1', ref: ++ref, param })
    await rooms.pass(100)
    const { reply, stored, code, message } = link.answer(ref).param
    if (code !== undefined) return `${code}: ${message}`
    t.equal(stored, 'none')
    return reply
  }
  const numbers = (reply: any) => reply.messages.map((frame: any) => frame.param.n)
  const place = (n: number): Position => {
    const { offset, tag } = link.all('event').find(frame => frame.param.n === n) as { offset: number; tag: string }
    return { epoch: head(link, 'room-1').epoch, offset, tag }
  }
  const last = await ask({ limit: 3 })
  t.strictSame(numbers(last), [8, 9, 10], 'from the head back, ascending')
  t.strictSame(last.messages, link.all('event').slice(-3))
  t.strictSame([last.complete, last.position], [false, place(10)])
  t.match(await ask({ before: place(8), limit: 100 }), { complete: true, messages: { length: 5 } })
  t.strictSame(numbers(await ask({ before: place(8), limit: 2 })), [6, 7])
  t.match(await ask({ after: place(8), limit: 1 }), { complete: false, messages: { length: 1 } })
  t.match(await ask({ after: place(8), limit: 100 }), { complete: true, messages: { length: 2 } })
  t.match(await ask({ after: place(10), limit: 100 }), { complete: true, messages: { length: 0 } })
  t.equal(await ask({ after: place(1), limit: 100 }), 'unknown-position: trimmed')
  for (const limit of [0, -1, 1.5, 101, 1e300, '5', null, undefined]) {
    t.match(await ask({ limit }), /^invalid-param: \/limit/, `limit ${limit}`)
  }
  t.match(await ask({ limit: 1, after: place(8), before: place(9) }), /^invalid-param: \/before/)
  t.match(await ask({ limit: 1, after: 'now' }), /^invalid-param: \/after/)
  link.send({ cmd: '$history', channel: 'room-2', ref: 900, param: { limit: 1 } })
  link.send({ cmd: '$history', channel: 'room-1', param: { limit: 1 } })
  await rooms.pass(100)
  t.equal(link.answer(900).param.code, 'not-joined')
  t.equal(link.last('$nack').param.code, 'bad-frame')
})

each('a $history that would not fit the outbox comes in pages, at the reader’s pace', async (t, at) => {
  const { rooms } = roomsAt(at, { limits: { outboxBytes: 65_536, messageBytes: 16_384 } })
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  const start = head(link, 'room-1')
  const fill = 'x'.repeat(1_000)
  for (const n of range(1, 50)) {
    void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n, fill } })
    await rooms.pass(50)
  }
  link.transport.stopped = true
  for (const ref of range(1, 20)) {
    link.send({ cmd: '$history', channel: 'room-1', ref, param: { limit: 100, after: start } })
  }
  for (let i = 0; i < 50; i++) {
    await rooms.pass(50)
    link.transport.drain()
    link.transport.stopped = true
  }
  t.equal(link.code, undefined, 'it was not closed')
  for (const ref of range(1, 20)) {
    const { messages, complete } = link.answer(ref).param.reply
    t.equal(complete, false)
    t.strictSame(messages, link.all('event').slice(0, messages.length))
  }
})

t.test('who left, or was made to, while its history was read is told nothing of it', async t => {
  const { rooms } = roomsAt('far')
  const link = await rooms.dial('room-1')
  await rooms.publish('room-1', 1, 2)
  link.send({ cmd: '$history', channel: 'room-1', ref: 1, param: { limit: 10 } })
  link.send({ cmd: '$history', channel: 'room-1', ref: 2, param: { limit: 10 } })
  await rooms.pass()
  await rooms.sockets.leave(link.connection!, 'room-1')
  await rooms.pass(200)
  t.equal(link.answer(1).param.code, 'not-joined')
  t.equal(link.answer(2).param.code, 'not-joined')
})

t.test('a reading that failed is asked for once more before anybody is told of a gap', async t => {
  const { rooms, far } = roomsAt('far')
  const start = await rooms.publish('room-1', 1)
  await rooms.publish('room-1', 2)
  far.failNext('read')
  const link = await rooms.dial('room-1', { resume: { p: { 'room-1': start } } })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-1'), [{ kind: 'recovered', from: 1, to: 2 }])
  t.strictSame([link.numbers('room-1'), rooms.failures], [[2], []])
})

t.test('a store that fails is told as store-error in a replay, and as unavailable to who asks', async t => {
  const { rooms, far } = roomsAt('far')
  const start = await rooms.publish('room-1', 1)
  await rooms.publish('room-1', 2)
  const member = await rooms.dial('room-1')
  await rooms.pass(100)
  for (let i = 0; i < 2; i++) far.failNext('read')
  const link = await rooms.dial('room-1', { resume: { p: { 'room-1': start } } })
  await rooms.pass(200)
  t.strictSame(joined(link, 'room-1'), [{ kind: 'gap', from: 1, to: 2, reason: 'store-error' }])
  far.failNext('read')
  link.send({ cmd: '$history', channel: 'room-1', ref: 1, param: { limit: 10 } })
  await rooms.pass(100)
  t.match(link.answer(1).param, { code: 'unavailable', retry: true })
  await rooms.publish('room-1', 3)
  t.strictSame([link.numbers('room-1'), member.numbers('room-1')], [[3], [3]], 'and goes on live')
  t.equal(rooms.failures.length, 2, 'the host hears of each')
})

t.test('a store that fails in the middle of a replay is a live $gap, from what was sent last', async t => {
  const { rooms, far } = roomsAt('far', { log: { entries: MANY, bytes: 16_777_216 } })
  const start = await rooms.past(100)
  const link = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
  await rooms.pass(100)
  for (let i = 0; i < 2; i++) far.failNext('read')
  link.transport.drain()
  await rooms.pass(200)
  const seen = link.numbers('room-1').length
  t.ok(seen > 0 && seen < 100)
  const { from, to, reason, position } = link.last('$gap', 'room-1').param
  t.strictSame({ from, to, reason }, { from: seen + 1, to: 101, reason: 'store-error' })
  t.equal(position.offset, 101)
  await rooms.publish('room-1', 101)
  t.strictSame(link.numbers('room-1'), [...range(1, seen), 101])
})

t.test('trimmed away while the reader was slow: a live $gap', async t => {
  const { rooms } = roomsAt('near', { log: { entries: 100, bytes: 16_777_216 } })
  const start = await rooms.publish('room-1', 0)
  const fill = 'x'.repeat(2_000)
  const more = (from: number, to: number): void => {
    for (const n of range(from, to)) void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n, fill } })
  }
  more(1, 99)
  const link = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
  more(100, 299)
  await rooms.pass()
  link.transport.drain()
  await rooms.pass()
  const gap = link.last('$gap', 'room-1').param
  const seen = link.numbers('room-1')
  t.strictSame(gap.reason, 'trimmed')
  t.strictSame([gap.from, gap.to], [seen.length + 1, 300])
  more(300, 301)
  await rooms.pass()
  t.strictSame(link.numbers('room-1'), [...range(1, seen.length), 300, 301])
})

t.test(
  'a store that does not let itself be listened to: a $join is refused for the moment, a route’s closes 1013',
  async t => {
    for (const failure of ['before', 'after'] as const) {
      const { rooms, far } = roomsAt('far')
      const position = await rooms.publish('room-1', 1)
      far.failNext('subscribe', failure)
      const route = await rooms.dial('room-1')
      await rooms.pass(100)
      t.equal(route.code, 1013)
      const link = await rooms.dial('hall-1', { resume: { p: { 'room-1': position } } })
      await rooms.publish('room-1', 2)
      far.failNext('subscribe', failure)
      link.send({ cmd: '$join', channel: 'room-1', ref: 1 })
      await rooms.pass(100)
      t.match(link.answer(1).param, { code: 'unavailable', retry: true })
      link.send({ cmd: '$join', channel: 'room-1', ref: 2 })
      await rooms.pass(200)
      t.strictSame(
        joined(link, 'room-1'),
        [{ kind: 'recovered', from: 1, to: 2 }],
        'with the position that it came with'
      )
      await rooms.publish('room-1', 3)
      t.strictSame(link.numbers('room-1'), [2, 3])
      t.equal(rooms.sockets.channels().filter(name => name === 'room-1').length, 1)
    }
  }
)

t.test('a hole inside a node is found and filled', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rooms, far } = roomsAt('far', {}, seed)
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    for (const n of range(1, 60)) {
      if (n % 10 === 3) far.loseNext()
      if (n % 10 === 6) far.repeatNext()
      if (n % 20 === 7) far.failNext('read')
      void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } })
      if (n % 4 === 0) await rooms.pass(n % 30)
    }
    await rooms.pass(500)
    far.heal()
    await rooms.publish('room-1', 61)
    await rooms.pass(500)
    t.strictSame(link.numbers('room-1'), range(1, 61), `seed ${seed}`)
    t.strictSame(link.all('$gap'), [])
  }
})

t.test('a hole that cannot be filled is declared with $gap, to v1 members alone', async t => {
  const { rooms, far } = roomsAt('far')
  const link = await rooms.dial('room-1')
  const plain = await rooms.dial('room-1', { kind: 'plain' })
  await rooms.pass(100)
  await rooms.publish('room-1', 1)
  far.loseNext()
  for (let i = 0; i < 3; i++) far.failNext('read')
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 2 } })
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 3 } })
  await rooms.pass(500)
  await rooms.publish('room-1', 4)
  t.match(link.frames.slice(2), [
    { cmd: 'event', offset: 1 },
    { cmd: '$gap', channel: 'room-1', param: { from: 1, to: 2, reason: 'store-error', position: { offset: 2 } } },
    { cmd: 'event', offset: 3 },
    { cmd: 'event', offset: 4 }
  ])
  t.strictSame(plain.numbers('room-1'), [1, 3, 4])
  t.equal(plain.frames.length, 3)
})

t.test('a hole that the log has lost too is declared, with its reason', async t => {
  const { rooms, far } = roomsAt('far', { log: { entries: 2 } })
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  await rooms.publish('room-1', 1)
  for (let i = 0; i < 4; i++) far.loseNext()
  for (const n of range(2, 6)) void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } })
  await rooms.pass(500)
  const gap = { cmd: '$gap', param: { from: 1, to: 5, reason: 'trimmed' } }
  t.match(link.frames.slice(3), [gap, { cmd: 'event', offset: 6 }], 'without what has come')
  await rooms.publish('room-1', 7)
  t.strictSame(link.numbers('room-1'), [1, 6, 7])
})

t.test(
  'an entry that was lost before a silence is found by who commits it, and does not keep a replay busy',
  async t => {
    const { rooms, far } = roomsAt('far')
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    const position = await rooms.publish('room-1', 1)
    far.loseNext()
    void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 2 } })
    const back = await rooms.dial('room-1', { resume: { p: { 'room-1': position } } })
    await rooms.pass(1_000)
    t.strictSame([link.numbers('room-1'), back.numbers('room-1')], [[1, 2], [2]])
    const asked = far.asked.length
    await rooms.pass(60_000)
    t.equal(far.asked.length, asked, 'and then nothing more is asked')
  }
)

t.test('what is published by a hook of a member that is closed for being slow keeps its place', async t => {
  let n = 100
  const { rooms } = roomsAt('near', {
    limits: { outboxBytes: 100_000, messageBytes: 70_000 },
    times: { presenceGraceMs: 0 },
    rules: { onLeave: () => void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: ++n } }) }
  })
  const slow = await rooms.dial('room-1', { user: 'ann' })
  const ann = await rooms.dial('room-1', { user: 'ann' })
  const bob = await rooms.dial('room-1', { user: 'bob' })
  slow.transport.stopped = true
  for (let i = 1; i <= 4; i++) {
    const param = { n: i, fill: 'x'.repeat(40_000) }
    void rooms.sockets.broadcast('room-1', { cmd: 'event', param }, { except: { user: 'bob' } })
  }
  await rooms.pass()
  t.equal(slow.code, 4000)
  const offsets = (link: Link) => link.frames.flatMap(frame => frame.offset ?? [])
  t.strictSame(offsets(ann), range(1, 5))
  t.strictSame(offsets(bob), range(1, 5))
})

each(
  'a log that begins anew under a live member is a gap, and what is published there comes after it',
  async (t, at) => {
    const { rooms } = roomsAt(at, { store: new MemoryStore({ channels: 1 }) })
    const link = await rooms.dial('room-1')
    const plain = await rooms.dial('room-1', { kind: 'plain' })
    await rooms.pass(100)
    const before = await rooms.publish('room-1', 1)
    await rooms.publish('room-2', 0)
    const after = await rooms.publish('room-1', 2, 3)
    t.not(after.epoch, before.epoch)
    const gap = { to: 0, reason: 'epoch-lost', position: { epoch: after.epoch, offset: 0, tag: '' } }
    t.strictSame(
      link.all('$gap').map(({ param }) => param),
      [gap],
      'without `from`: the two numbers cannot be compared'
    )
    t.strictSame(link.frames.map(({ cmd }) => cmd).slice(2), ['event', '$gap', 'event', 'event'])
    t.strictSame(
      [link.numbers('room-1'), plain.numbers('room-1')],
      [
        [1, 2, 3],
        [1, 2, 3]
      ]
    )
  }
)

t.test('what waits behind a hole of a log that is lost meanwhile is lost with it, in one gap', async t => {
  const { rooms, far } = roomsAt('far', { store: new MemoryStore({ channels: 1 }) })
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  const before = await rooms.publish('room-1', 1)
  far.loseNext()
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 2 } })
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 3 } })
  void rooms.sockets.broadcast('room-2', { cmd: 'event', param: { n: 0 } })
  await rooms.pass(1_000)
  t.match(link.all('$gap'), [{ param: { to: 0, reason: 'epoch-lost' } }])
  t.not(link.last('$gap').param.position.epoch, before.epoch)
  await rooms.publish('room-1', 4)
  t.strictSame(link.numbers('room-1'), [1, 4])
})

t.test('a log that begins anew while a member reads its past: a live $gap without `from`', async t => {
  const { rooms } = roomsAt('near', {
    store: new MemoryStore({ channels: 1 }),
    log: { entries: MANY, bytes: 16_777_216 }
  })
  const start = await rooms.past(100)
  const link = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
  await rooms.pass(100)
  await rooms.publish('room-2', 0)
  const { epoch } = await rooms.publish('room-1', 101)
  link.transport.drain()
  await rooms.pass(200)
  const { position, ...gap } = link.last('$gap', 'room-1').param
  t.strictSame(gap, { to: position.offset, reason: 'epoch-lost' })
  t.equal(position.epoch, epoch)
  await rooms.publish('room-1', 102)
  t.equal(link.numbers('room-1').at(-1), 102)
})

t.test('a commit that failed, and was stored all the same, reaches a quiet channel once the store works', async t => {
  const { rooms, far } = roomsAt('far')
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  await rooms.publish('room-1', 1)
  const dies = (n: number): void => {
    far.loseNext()
    far.failNext('commit', 'after')
    t.rejects(rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } }), { code: 'FST_CHANNELS_STORE_FAILED' })
  }
  for (let i = 0; i < 1_000; i++) far.failNext('heads')
  dies(2)
  dies(3)
  await rooms.pass(60_000)
  t.strictSame(link.numbers('room-1'), [1])
  t.ok(far.asked.length < 60, `without hurry: ${far.asked.length} questions in a minute`)
  far.heal()
  await rooms.pass(5_000)
  t.strictSame(link.numbers('room-1'), [1, 2, 3])
  dies(4)
  await rooms.pass(5_000)
  const asked = far.asked.length
  await rooms.pass(60_000)
  t.equal(far.asked.length, asked, 'and then nothing more is asked')
  await rooms.publish('room-1', 5)
  t.strictSame(link.numbers('room-1'), [1, 2, 3, 4, 5])
  t.strictSame(link.all('$gap'), [])
})

t.test('commits that fail while the log is being asked for those before are looked for too', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rooms, far } = roomsAt('far', {}, seed)
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    for (const n of range(1, 20)) {
      far.loseNext()
      far.failNext('commit', 'after')
      rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } }).catch(() => {})
      await rooms.pass(n % 7)
    }
    await rooms.pass(5_000)
    t.strictSame(link.numbers('room-1'), range(1, 20), `seed ${seed}`)
    t.strictSame(link.all('$gap'), [])
  }
})

t.test('a commit that failed, and was stored and delivered, comes once; one that was not stored does not', async t => {
  const { rooms, far } = roomsAt('far')
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  for (const failure of ['after', 'before'] as const) {
    far.failNext('commit', failure)
    rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: failure === 'after' ? 1 : 2 } }).catch(() => {})
    await rooms.pass(10_000)
  }
  t.strictSame(link.numbers('room-1'), [1])
  t.notOk(far.asked.includes('read'), 'for which nothing had to be read')
})

t.test('a commit that fails while its channel is entered is looked for once that is done, or not at all', async t => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rooms, far } = roomsAt('far', {}, seed)
    const link = await rooms.dial('room-1')
    far.loseNext()
    far.failNext('commit', 'after')
    rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 1 } }).catch(() => {})
    await rooms.pass(5_000)
    const { offset } = head(link, 'room-1')
    t.strictSame(link.numbers('room-1'), range(offset + 1, 1), `seed ${seed}`)
    for (let i = 0; i < 100; i++) far.failNext('heads')
    far.failNext('commit')
    rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 2 } }).catch(() => {})
    await rooms.pass(seed * 10)
    link.transport.closed(1006, '')
    await rooms.pass(60_000)
    const asked = far.asked.length
    await rooms.pass(60_000)
    t.equal(far.asked.length, asked, 'whoever has left asks no more')
  }
})

t.test('a broker whose commit throws at once, after it has stored, is asked as well', async t => {
  let dead = false
  const { rooms } = roomsAt('near', {
    broker: (context, store) => {
      const broker = new MemoryBroker(context, store)
      const { commit, heads, deliver } = broker
      const died = () => new Error('the store has died')
      broker.deliver = (...delivery) => void (dead || deliver.apply(broker, delivery))
      broker.commit = publications => {
        const committed = commit.call(broker, publications)
        if (dead) throw died()
        return committed
      }
      broker.heads = channels => {
        if (dead) throw died()
        return heads.call(broker, channels)
      }
      return broker
    }
  })
  const link = await rooms.dial('room-1')
  await rooms.publish('room-1', 1)
  dead = true
  await t.rejects(rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 2 } }))
  await rooms.pass(10_000)
  t.strictSame(link.numbers('room-1'), [1])
  dead = false
  await rooms.pass(5_000)
  t.strictSame(link.numbers('room-1'), [1, 2])
})

t.test(
  'a file that is replaced, or taken away, under the server is a gap to live members, who are told of what comes',
  async t => {
    const clock = new ManualClock()
    const { path, remove } = openFixtureFile()
    const broker = await openSqlite({ clock, logger: silent, onControl: () => {} }, { path, worker: false })
    t.teardown(async () => {
      await broker.close()
      remove()
    })
    const rooms = new Rooms({ clock, broker: () => broker })
    const link = await rooms.dial('room-1')
    await rooms.publish('room-1', 1)
    for (const part of ['', '-wal']) copyFileSync(path + part, `${path}.copy${part}`)
    await rooms.publish('room-1', 2, 3)
    const gap = () => link.last('$gap').param

    for (const part of ['', '-wal']) renameSync(`${path}.copy${part}`, path + part)
    await t.rejects(rooms.publish('room-1', 4), { code: 'FST_CHANNELS_STORE_FAILED' })
    const again = await rooms.publish('room-1', 5)
    await rooms.pass(5_000)
    t.match(gap(), { reason: 'rewound', from: 3, to: 2, position: again })

    renameSync(path, `${path}.away`)
    await t.rejects(rooms.publish('room-1', 6), { code: 'FST_CHANNELS_STORE_FAILED' })
    await rooms.publish('room-1', 7)
    await rooms.pass(5_000)
    t.match(gap(), { reason: 'epoch-lost', to: 0, position: { offset: 0 } })
    t.equal(link.all('$gap').length, 2)
    t.strictSame(link.numbers('room-1'), [1, 2, 3, 7], 'the 5 lies in the gap, which ends with it')
  }
)
