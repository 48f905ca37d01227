import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Test } from 'tap'
import t from 'tap'
import { MemoryStore } from '../../lib/broker/memory.ts'
import { ManualClock } from '../fixtures/clock.ts'
import type { Distance } from '../fixtures/rooms.ts'
import { type Rooms, range, roomsAt } from '../fixtures/rooms.ts'
import type { Link } from '../fixtures/virtual-node.ts'

/** Each story is told with a broker that answers at once, and with one that is far away. */
function each(title: string, story: (t: Test, distance: Distance) => Promise<void>): void {
  for (const distance of ['near', 'far'] as const) t.test(`${title} (${distance})`, t => story(t, distance))
}

const say = (id: number, param: object = { n: id }, channel = 'room-1') => ({ channel, cmd: 'say', id, param })
/** What was answered to each id, in short. */
const told = (link: Link, ...ids: number[]) =>
  ids.map(id => link.answers(id).map(({ cmd, param }) => (cmd === '$ack' ? 'ack' : param.code)))

each(
  'a command runs its handler, its publications are stored and the ack follows them, in the order sent',
  async (t, at) => {
    const { rooms } = roomsAt(at)
    const ann = await rooms.dial('room-1', { user: 'ann' })
    for (const id of range(1, 20)) ann.send(say(id, { n: id * 10, times: (id % 3) + 1 }))
    await rooms.pass(2_000)
    t.strictSame(
      rooms.ran,
      range(1, 20).map(id => id * 10)
    )
    t.strictSame(told(ann, ...range(1, 20)), Array(20).fill(['ack']))
    const { epoch } = ann.last('$joined').param.position
    const frames = ann.frames.slice(2)
    for (const id of range(1, 20)) {
      const index = frames.findIndex(frame => frame.id === id)
      const before = frames.slice(0, index).filter(frame => frame.cmd === 'event')
      const { position, reply, stored } = frames[index]!.param as any
      const { offset, tag, from } = before.find(frame => frame.offset === position.offset)!
      t.strictSame({ epoch, offset, tag }, position, 'of its last stored publication')
      t.strictSame([from, reply, stored], ['ann', { run: id }, 'memory'])
    }
  }
)

each('an ack follows every publication up to its position, also where deliveries are late or lost', async (t, at) => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rooms, far } = roomsAt(at, {}, seed)
    const start = await rooms.publish('room-1', 0)
    for (const n of range(1, 20)) void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } })
    // Still catching up while it speaks.
    const link = rooms.call('room-1', { resume: { p: { 'room-1': start } } })
    await rooms.pass(seed)
    for (const id of range(1, 20)) {
      link.send(say(id, { n: 100 + id, times: 2, exceptMe: id % 5 === 0 }))
      if (at === 'far' && id % 4 === 0) far.loseNext()
      void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 200 + id } })
      await rooms.pass(id % 6)
    }
    await rooms.pass(5_000)
    t.strictSame(told(link, ...range(1, 20)), Array(20).fill(['ack']), `seed ${seed}`)
    let offset = start.offset
    for (const frame of link.frames.slice(2)) {
      if (frame.offset !== undefined) t.equal(frame.offset, ++offset)
      if (frame.cmd === '$ack') t.ok((frame.param as any).position.offset <= offset, `id ${frame.id}`)
    }
  }
})

t.test('with a broker that answers at once a command is answered in the turn in which it came', async t => {
  class Turns extends ManualClock {
    readonly #tasks: Array<() => void> = []

    override soon(task: () => void): void {
      this.#tasks.push(task)
    }

    end(): void {
      for (const task of this.#tasks.splice(0)) task()
    }
  }
  const clock = new Turns()
  const { rooms } = roomsAt('near', { clock })
  const ann = await rooms.dial('room-1')
  const bob = await rooms.dial('room-1')
  clock.end()
  ann.send(say(1, { n: 1 }))
  ann.send(say(2, { n: 2 }))
  ann.send({ ...say(1), cmd: 'ask' })
  clock.end()
  t.strictSame(
    ann.frames.slice(2).map(frame => frame.cmd),
    ['event', 'event', '$ack', '$ack']
  )
  t.strictSame(bob.numbers('room-1'), [1, 2])
})

each('ids go up by one over all channels; one too far ahead is told where to begin again', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  void rooms.sockets.join(link.connection!, 'room-2')
  await rooms.pass(100)
  link.send(say(2))
  link.send(say(Number.MAX_SAFE_INTEGER))
  await rooms.pass(100)
  t.strictSame(told(link, 2, Number.MAX_SAFE_INTEGER), [['resend-from'], ['resend-from']])
  t.match(
    link.all('$nack').map(({ param }) => [param.from, param.retry]),
    [
      [1, true],
      [1, true]
    ]
  )
  link.send(say(1))
  link.send(say(2, { n: 2 }, 'room-2'))
  link.send(say(3))
  await rooms.pass(200)
  t.strictSame(told(link, 1, 2, 3), [['ack'], ['resend-from', 'ack'], ['ack']])
  t.strictSame(rooms.ran.sort(), [1, 2, 3])
})

each('a command without an id runs in its channel’s turn and is answered only where it is refused', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  const blind = (n: number, more = {}, channel = 'room-1') => ({ channel, cmd: 'say', param: { n, ...more } })
  link.send(say(1, { n: 1, ms: 50 }))
  link.send(blind(2))
  link.send(say(2, { n: 3 }))
  link.send(blind(4, { refuse: true }))
  link.send(blind(5, {}, 'room-9'))
  await rooms.pass(500)
  t.strictSame(rooms.ran, [1, 2, 3, 4])
  t.strictSame(link.numbers('room-1'), [1, 2, 3])
  t.strictSame(told(link, 1, 2), [['ack'], ['ack']])
  t.equal(link.all('$ack').length, 2)
  t.strictSame(
    link.all('$nack').map(({ channel, id, param }) => [channel, id, param.code]),
    [
      ['room-9', undefined, 'not-joined'],
      ['room-1', undefined, 'forbidden']
    ]
  )
})

each('an id that is neither newer nor a hole gets its kept result again, once for each copy', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  link.send(say(1, { n: 1, ms: 30 }))
  link.send(say(1, { n: 1, ms: 30 }))
  link.send({ channel: 'room-1', cmd: 'ask', id: 2, param: { n: 2 } })
  link.send(say(3, { n: 3, refuse: true }))
  link.send(say(4, { n: 'x' }))
  link.send({ channel: 'nowhere', cmd: 'say', id: 5, param: { n: 5 } })
  await rooms.pass(300)
  const first = range(1, 5).map(id => JSON.stringify(link.answers(id).at(-1)))
  for (const id of range(1, 5)) link.send(say(id, { n: 100 + id }, id === 5 ? 'nowhere' : 'room-1'))
  for (const id of range(1, 5)) link.send(say(id, { n: 200 + id }, id === 5 ? 'nowhere' : 'room-1'))
  await rooms.pass(300)
  t.strictSame(told(link, 1, 2, 3, 4, 5), [
    ['ack', 'ack', 'ack', 'ack'],
    ['ack', 'ack', 'ack'],
    ['forbidden', 'forbidden', 'forbidden'],
    ['invalid-param', 'invalid-param', 'invalid-param'],
    ['not-joined', 'not-joined', 'not-joined']
  ])
  for (const [i, text] of first.entries()) {
    for (const answer of link.answers(i + 1)) t.equal(JSON.stringify(answer), text)
  }
  t.strictSame(rooms.ran, [1, 2, 3])
  t.strictSame(link.numbers('room-1'), [1], 'a refused one published nothing')
})

each('a retryable nack does not consume the id, and later ids of its channel wait for it', async (t, at) => {
  const { rooms } = roomsAt(at, { rules: { limits: { messagesPerSecond: 2 } } })
  const link = await rooms.dial('room-1')
  void rooms.sockets.join(link.connection!, 'room-2')
  await rooms.pass(100)
  for (const id of range(1, 4)) link.send(say(id))
  link.send(say(5, { n: 5 }, 'room-2'))
  await rooms.pass(100)
  t.strictSame(told(link, 1, 2, 3, 4, 5), [['ack'], ['ack'], ['rate-limited'], ['resend-from'], ['ack']])
  t.match(link.answers(3)[0]!.param, { retry: true, retryAfterMs: Number })
  t.equal(link.answers(4)[0]!.param.from, 3)
  await rooms.pass(2_000)
  link.send(say(4))
  link.send(say(6))
  link.send(say(3))
  link.send(say(4))
  await rooms.pass(2_000)
  link.send(say(6))
  await rooms.pass(100)
  t.strictSame(told(link, 3, 4, 6), [
    ['rate-limited', 'ack'],
    ['resend-from', 'resend-from', 'ack'],
    ['resend-from', 'ack']
  ])
  t.strictSame(link.numbers('room-1'), [1, 2, 3, 4, 6], 'in the order of their ids')
})

each('what a handler relays keeps the bytes that came, whatever became of it meanwhile', async (t, at) => {
  const relay = (param: { n: number }, { relay }: { relay: (cmd: string, options?: object) => void }) => {
    param.n++
    relay('event')
    return { run: 1 }
  }
  const ask = (_param: unknown, { relay }: { relay: (cmd: string) => void }) => {
    relay('unheard-of')
    return 1
  }
  const { rooms } = roomsAt(at, { rules: { commands: { say: relay, ask } } as never })
  const link = await rooms.dial('room-1', { user: 'ann' })
  const param = '{ "n" : 10e1,"fill":"\\u00fc" }'
  link.send(`{"channel":"room-1","cmd":"say","id":1,"param":${param}}`)
  link.send(`{"channel":"room-1","cmd":"say","id":2,"p\\u0061ram":{"n":7}}`)
  link.send(`{"channel":"room-1","cmd":"ask","id":3,"param":{"n":1}}`)
  await rooms.pass(500)
  t.strictSame(
    told(link, 1, 2, 3),
    [['ack'], ['ack'], ['internal-error']],
    'an event that the contract has not is none'
  )
  const events = link.frames.filter(({ cmd }) => cmd === 'event')
  t.strictSame(
    events.map(({ from, param }) => [from, param]),
    [
      ['ann', { n: 100, fill: 'ü' }],
      ['ann', { n: 7 }]
    ],
    'what the handler made of it is its own'
  )
  const log = rooms.store.read('room-1', { before: null }, { entries: 10, bytes: 10_000 }, rooms.clock)
  const [first] = log.kind === 'page' ? log.entries : []
  t.ok(first!.text.includes(`"param":${param},"from":"ann"`), first!.text)
})

each('what is relayed goes where the handler says, and is held against the contract', async (t, at) => {
  const late: Array<() => void> = []
  type Relay = (cmd: string, options?: { exceptSender: boolean }) => void
  const say = ({ fill }: { fill?: string }, { relay }: { relay: Relay }) => {
    relay(fill === 'blink' ? 'blink' : 'event', { exceptSender: true })
    late.push(() => relay('event'))
    return { run: 1 }
  }
  const ask = (_param: unknown, { relay }: { relay: Relay }) => {
    relay('event')
    return 1
  }
  const { rooms } = roomsAt(at, { rules: { log: false, commands: { say, ask } } as never })
  const ann = await rooms.dial('room-1', { user: 'ann' })
  const bob = await rooms.dial('room-1', { user: 'bob' })
  ann.send({ channel: 'room-1', cmd: 'say', id: 1, param: { n: 1 } })
  ann.send({ channel: 'room-1', cmd: 'say', id: 2, param: { n: 2, fill: 'blink' } })
  bob.send({ channel: 'room-1', cmd: 'ask', param: { n: 3 } })
  bob.send({ channel: 'room-1', cmd: 'ask', id: 1, param: { n: 'four' } })
  bob.send({ channel: 'room-1', cmd: 'ask', id: 2 })
  await rooms.pass(500)
  t.strictSame(
    [told(ann, 1, 2), told(bob, 1, 2)],
    [
      [['ack'], ['ack']],
      [['invalid-param'], ['invalid-param']]
    ]
  )
  const heard = (link: Link) => link.frames.flatMap(({ cmd, from, param }) => (from ? [[cmd, from, param]] : []))
  t.strictSame(heard(ann), [['event', 'bob', { n: 3 }]])
  t.strictSame(heard(bob), [
    ['event', 'ann', { n: 1 }],
    ['blink', 'ann', { n: 2, fill: 'blink' }],
    ['event', 'bob', { n: 3 }]
  ])
  t.throws(late[0]!, { code: 'FST_CHANNELS_PUBLISH_TOO_LATE' })
})

t.test('what is relayed and waits for the store keeps nothing but itself', async t => {
  const { rooms } = roomsAt('far', {
    rules: {
      commands: {
        say: (_param: unknown, { relay }: { relay: (cmd: string) => void }) => {
          relay('blink')
          return { run: 1 }
        },
        ask: () => 1
      }
    } as never
  })
  const link = await rooms.dial('room-1', { user: 'ann' })
  await rooms.pass(500)
  void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 0 } })
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  collect()
  const before = process.memoryUsage().heapUsed
  for (let n = 1; n <= 300; n++) {
    const via = `${n}${'x'.repeat(60_000)}`
    link.send(`{"channel":"room-1","cmd":"say","id":${n},"via":"${via}","param":{"n":${n},"fill":"not copied"}}`)
  }
  collect()
  const kept = process.memoryUsage().heapUsed - before
  t.equal(link.all('blink').length, 0, 'they wait')
  t.ok(kept < 6_000_000, `${kept} bytes for 300 short messages, which came in frames of 60,000`)
  await rooms.pass(500)
  t.equal(link.all('blink').length, 300)
})

each('what a handler publishes after it has ended is thrown back at it, and nothing is sent of it', async (t, at) => {
  const late: Array<() => void> = []
  const say = (_param: unknown, { publish }: { publish: (event: object) => void }) => {
    late.push(() => publish({ cmd: 'event', param: { n: late.length } }))
    if (late.length === 2) throw new Error('as asked')
    return { run: late.length }
  }
  const { rooms } = roomsAt(at, { rules: { commands: { say, ask: () => 0 } } as never })
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  for (const id of [1, 2]) {
    link.send({ channel: 'room-1', cmd: 'say', id, param: { n: id } })
    await rooms.pass(200)
    t.throws(late[id - 1]!, { code: 'FST_CHANNELS_PUBLISH_TOO_LATE' })
  }
  await rooms.pass(1_000)
  t.strictSame(link.all('$ack').length, 1)
  t.strictSame(link.numbers('room-1'), [])
})

t.test('a store that fails: nack unavailable, nothing of it is kept, and the same id succeeds later', async t => {
  const { rooms, far } = roomsAt('far')
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  far.failNext('commit')
  link.send(say(1))
  link.send(say(2))
  await rooms.pass(200)
  t.strictSame(told(link, 1, 2), [['unavailable'], ['resend-from']])
  t.strictSame(link.numbers('room-1'), [])
  t.equal(rooms.failures.length, 1)
  link.send(say(1))
  link.send(say(2))
  await rooms.pass(200)
  t.strictSame(told(link, 1, 2), [
    ['unavailable', 'ack'],
    ['resend-from', 'ack']
  ])
  t.strictSame(link.numbers('room-1'), [1, 2])
})

t.test('copies of a command that was given back do not wait for the one that was sent again after them', async t => {
  const { rooms, far } = roomsAt('far')
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  far.failNext('commit')
  for (let copy = 1; copy <= 3; copy++) link.send(say(1))
  for (let ms = 0; ms < 100 && link.answers(1).length === 0; ms++) await rooms.pass(1)
  t.strictSame(told(link, 1), [['unavailable']])
  // While the store is asked on behalf of the second copy.
  link.send(say(1))
  await rooms.pass(1_000)
  t.strictSame(told(link, 1), [['unavailable', 'resend-from', 'resend-from', 'ack']])
  link.send(say(2))
  await rooms.pass(200)
  t.strictSame(told(link, 2), [['ack']])
  t.strictSame(rooms.ran, [1, 1, 2])
})

t.test('a commit that rejected though stored is answered with what stands, whatever the client does', async t => {
  const cases: ReadonlyArray<[what: string, again: object]> = [
    ['a resend', say(1, { n: 1 })],
    ['a resend that would be refused now', say(1, { n: 1, refuse: true })],
    ['$void', { channel: 'room-1', cmd: '$void', id: 1 }]
  ]
  for (const [what, again] of cases) {
    const { rooms, far } = roomsAt('far')
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    far.failNext('commit', 'after')
    link.send(say(1))
    await rooms.pass(200)
    far.failNext('result')
    link.send(again)
    await rooms.pass(200)
    link.send(again)
    await rooms.pass(200)
    t.strictSame(told(link, 1), [['unavailable', 'unavailable', 'ack']], what)
    t.equal(link.answers(1)[2]!.param.position.offset, 1)
    t.strictSame(link.numbers('room-1'), [1], 'its effect came once')
    t.strictSame(rooms.ran, [1], 'and it did not run again')
    link.send(say(2))
    await rooms.pass(200)
    t.strictSame(told(link, 2), [['ack']])
  }
})

each(
  '$void in its turn: with nothing committed it is consumed and nacked voided, else told what stands',
  async (t, at) => {
    const { rooms } = roomsAt(at, { rules: { limits: { messagesPerSecond: 2 } } })
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    const abandon = (id: number, channel = 'room-1') => link.send({ channel, cmd: '$void', id })
    link.send(say(1, { n: 1, ms: 50 }))
    link.send(say(2))
    link.send(say(3))
    link.send(say(4))
    abandon(1)
    abandon(3)
    await rooms.pass(5_000)
    t.strictSame(told(link, 1, 2, 3, 4), [['ack', 'ack'], ['ack'], ['rate-limited', 'voided'], ['resend-from']])
    link.send(say(3))
    link.send(say(4))
    abandon(5)
    abandon(7)
    abandon(6, 'room-9')
    link.send(say(7))
    await rooms.pass(300)
    t.strictSame(told(link, 3, 4, 5, 6, 7), [
      ['rate-limited', 'voided', 'voided'],
      ['resend-from', 'ack'],
      ['voided'],
      ['voided'],
      ['resend-from', 'ack']
    ])
    t.match(link.answers(3)[1]!.param, { retry: false })
    t.strictSame(rooms.ran, [1, 2, 4, 7], 'what was given up does not run')
    link.send({ channel: 'room-1', cmd: '$void' })
    link.send({ channel: 'room-1', cmd: '$void', ref: 1 })
    await rooms.pass()
    t.strictSame(
      link
        .all('$nack')
        .slice(-2)
        .map(({ param }) => param.code),
      ['bad-frame', 'bad-frame']
    )
  }
)

each('$void up to an id gives up all that nobody has sent, and nothing that was taken', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  const abandon = (id: number, to: unknown) => link.send({ channel: 'room-1', cmd: '$void', id, param: { to } })
  link.send(say(100))
  abandon(1, 99)
  link.send(say(100))
  link.send(say(101))
  abandon(100, 200)
  link.send(say(102))
  link.send(say(50))
  await rooms.pass(300)
  t.strictSame(told(link, 1, 50, 100, 101, 102), [
    ['voided'],
    ['result-expired'],
    ['resend-from', 'ack', 'ack'],
    ['ack'],
    ['ack']
  ])
  t.strictSame(rooms.ran, [100, 101, 102])
  for (const to of [102, 1.5, '200', 2 ** 53]) abandon(103, to)
  await rooms.pass(100)
  t.strictSame(told(link, 103), [Array(4).fill('bad-frame')])
  link.send(say(103))
  await rooms.pass(100)
  t.strictSame(rooms.ran, [100, 101, 102, 103], 'what was not understood has no effect')
})

each('$void keeps later ids from overtaking one that is blocked', async (t, at) => {
  const { rooms } = roomsAt(at, { limits: { pendingCommands: 2 } })
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  link.send(say(1, { n: 1, ms: 50 }))
  link.send(say(2))
  link.send(say(3))
  await rooms.pass(300)
  t.strictSame(told(link, 1, 2, 3), [['ack'], ['ack'], ['too-many-commands']])
  link.send({ channel: 'room-1', cmd: '$void', id: 4 })
  link.send({ channel: 'room-1', cmd: '$void', id: 3 })
  link.send({ channel: 'room-1', cmd: '$void', id: 4 })
  await rooms.pass(100)
  t.strictSame(told(link, 3, 4), [
    ['too-many-commands', 'voided'],
    ['resend-from', 'voided']
  ])
})

each(
  'takeover: the lower one is closed 4501 before the new one joins, and what it had not run is dropped',
  async (t, at) => {
    const events: string[] = []
    const { rooms } = roomsAt(at, {
      rules: {
        onJoin: ({ connection }) => void events.push(`join ${connection.resumed}`),
        onLeave: ({ reason }) => void events.push(`leave ${reason}`)
      }
    })
    const old = await rooms.dial('room-1', { user: 'ann' })
    await rooms.pass(100)
    const start = old.last('$joined').param.position
    old.send(say(1, { n: 1, ms: 300 }))
    old.send(say(2))
    old.send(say(3))
    old.transport.answersClose = false
    const resume = { s: old.session, n: 1, p: { 'room-1': start } }
    const link = await rooms.dial('room-1', { user: 'ann', resume })
    await rooms.pass(100)
    t.equal(old.code, 4501)
    t.strictSame(events, ['join false', 'leave closed', 'join true'])
    t.match(link.last('$welcome').param, { session: old.session, resumed: true })
    t.equal(link.connection!.resumed, true)
    link.send(say(1, { n: 1, ms: 300 }))
    link.send(say(2))
    await rooms.pass(1_000)
    t.strictSame(rooms.ran, [1], 'a running handler runs on, and nothing that waited behind it')
    t.strictSame(told(link, 1, 2), [['ack'], ['resend-from']], 'and its result is answered on the new connection')
    t.equal(link.answers(2)[0]!.param.from, 2)
    link.send(say(2))
    link.send(say(3))
    await rooms.pass(1_000)
    t.strictSame(rooms.ran, [1, 2, 3])
    t.strictSame(link.numbers('room-1'), [1, 2, 3])
    t.strictSame(told(old, 1, 2, 3), [[], [], []])
  }
)

each('the highest dial wins: one that comes late is closed 4501 itself, and leaves nothing behind', async (t, at) => {
  const hooks = { onOpen: 0, onClose: 0 }
  const { rooms } = roomsAt(at, {
    hooks: { onOpen: () => void hooks.onOpen++, onClose: () => void hooks.onClose++ }
  })
  const first = await rooms.dial('room-1')
  await rooms.pass(100)
  const s = first.session
  const high = await rooms.dial('room-1', { resume: { s, n: 5 } })
  await rooms.pass(100)
  for (const n of [0, 1, 4, 5]) {
    const late = await rooms.dial('room-1', { resume: { s, n } })
    await rooms.pass(100)
    t.equal(late.code, 4501, `dial ${n}`)
    t.strictSame(late.frames, [], 'it was told nothing')
    await t.rejects(late.opening, { code: 'FST_CHANNELS_CONNECTION_CLOSED' })
  }
  t.equal(high.code, undefined)
  high.send(say(1))
  await rooms.pass(100)
  t.strictSame(told(high, 1), [['ack']])
  await rooms.close()
  const { opened, closed } = rooms.service.stats()
  t.strictSame([opened - closed, hooks.onOpen], [0, hooks.onClose])
})

each(
  'a session is bound to the profile: another user’s session and id are a new session, and run as its own',
  async (t, at) => {
    const { rooms } = roomsAt(at)
    const ann = await rooms.dial('room-1', { user: 'ann' })
    ann.send(say(1, { n: 1 }))
    await rooms.pass(100)
    for (const user of ['bob', undefined, 'an', 'ann.x', '']) {
      const other = await rooms.dial('room-1', { ...(user === undefined ? {} : { user }), resume: { s: ann.session } })
      await rooms.pass(100)
      t.equal(other.last('$welcome').param.resumed, false)
      t.not(other.session, ann.session)
      other.send(say(1, { n: 2 }))
      await rooms.pass(100)
      t.strictSame(told(other, 1), [['ack']])
      t.not(other.answers(1)[0]!.param.position.offset, 1, 'and not with the other’s result')
    }
    t.equal(ann.code, undefined, 'nobody took the session over')
    t.strictSame(rooms.ran, [1, 2, 2, 2, 2, 2])
  }
)

each('on resumed:false ids begin with 1 again', async (t, at) => {
  const { rooms } = roomsAt(at, { times: { sessionMs: 1_000 } })
  const first = await rooms.dial('room-1')
  first.send(say(1))
  first.send(say(2))
  await rooms.pass(200)
  first.transport.closed(1006, '')
  await rooms.pass(2_000)
  const back = await rooms.dial('room-1', { resume: { s: first.session } })
  await rooms.pass(100)
  t.equal(back.last('$welcome').param.resumed, false)
  back.send(say(3))
  back.send(say(1, { n: 9 }))
  await rooms.pass(200)
  t.strictSame(told(back, 3, 1), [['resend-from'], ['ack']])
  t.equal(back.answers(3)[0]!.param.from, 1)
})

each('over a reconnect each command takes effect once, and is answered for each copy', async (t, at) => {
  for (let seed = 1; seed <= 20; seed++) {
    const { rooms } = roomsAt(at, {}, seed)
    let link = await rooms.dial('room-1')
    const { session: s } = link
    for (let n = 1; n <= 10; n++) {
      for (const id of range(1, 12)) link.send(say(id, { n: id, ms: (id * seed) % 7 }))
      await rooms.pass((n * seed) % 9)
      link.transport.closed(1006, '')
      await rooms.pass(n % 3)
      link = await rooms.dial('room-1', { resume: { s, n } })
    }
    // What a connection had received and not run is asked for once more.
    for (let i = 0; i < 15; i++) {
      for (const id of range(1, 12)) if (!told(link, id)[0]!.includes('ack')) link.send(say(id))
      await rooms.pass(200)
    }
    t.strictSame(
      told(link, ...range(1, 12)).map(answers => answers.at(-1)),
      Array(12).fill('ack'),
      `seed ${seed}`
    )
    link.send({ channel: 'room-1', cmd: '$history', ref: 1, param: { limit: 100 } })
    await rooms.pass(100)
    const kept = link.answer(1).param.reply.messages.map((frame: any) => frame.param.n)
    t.strictSame(kept, range(1, 12), 'once and in order')
    t.strictSame(rooms.ran, range(1, 12))
  }
})

each('with a store that outlives the process one session and id have one effect over a restart', async (t, at) => {
  const store = new MemoryStore()
  const before = roomsAt(at, { store }).rooms
  const first = await before.dial('room-1', { user: 'ann' })
  await before.pass(100)
  const start = first.last('$joined').param.position
  first.send(say(1))
  first.send(say(2))
  await before.pass(200)
  const position = first.answers(2)[0]!.param.position
  const { rooms } = roomsAt(at, { store }, 2)
  const back = await rooms.dial('room-1', {
    user: 'ann',
    resume: { s: first.session, n: 3, p: { 'room-1': start } }
  })
  await rooms.pass(100)
  t.equal(back.last('$welcome').param.resumed, true)
  back.send(say(2))
  back.send(say(4))
  back.send(say(3))
  await rooms.pass(200)
  t.strictSame(told(back, 2, 3, 4), [['ack'], ['ack'], ['resend-from']])
  t.strictSame(back.answers(2)[0]!.param, { position, reply: { run: 2 }, stored: 'memory' })
  t.strictSame(rooms.ran, [3])
  t.strictSame(back.numbers('room-1'), [1, 2, 3])
})

each('a hole survives a restart: its id may still come', async (t, at) => {
  const store = new MemoryStore()
  const before = roomsAt(at, { store, rules: { limits: { messagesPerSecond: 1 } } }).rooms
  const first = await before.dial('room-1')
  void before.sockets.join(first.connection!, 'room-2')
  await before.pass(100)
  first.send(say(1))
  first.send(say(2))
  first.send(say(3, { n: 3 }, 'room-2'))
  await before.pass(200)
  t.strictSame(told(first, 1, 2, 3), [['ack'], ['rate-limited'], ['ack']])
  const { rooms } = roomsAt(at, { store }, 2)
  const back = await rooms.dial('room-1', { resume: { s: first.session } })
  await rooms.pass(100)
  for (const id of range(1, 4)) back.send(say(id))
  await rooms.pass(200)
  t.strictSame(told(back, 1, 2, 3, 4), [['ack'], ['ack'], ['ack'], ['ack']])
  t.strictSame(rooms.ran, [2, 4])
})

each('a result is kept until it is 5 minutes old; then result-expired, and it is never run again', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  link.send(say(1))
  link.send({ ...say(2), cmd: 'ask' })
  await rooms.pass(299_000)
  link.send(say(1))
  link.send(say(2))
  await rooms.pass(100)
  t.strictSame(told(link, 1, 2), [
    ['ack', 'ack'],
    ['ack', 'ack']
  ])
  await rooms.pass(2_000)
  link.send(say(3))
  link.send({ ...say(4), cmd: 'ask' })
  await rooms.pass(100)
  link.send(say(1))
  link.send(say(2))
  await rooms.pass(100)
  t.strictSame(told(link, 1, 2), [
    ['ack', 'ack', 'result-expired'],
    ['ack', 'ack', 'result-expired']
  ])
  t.equal(link.all('$nack')[0]!.param.retry, false)
  t.strictSame(rooms.ran, [1, 2, 3, 4])
})

t.test('or until 10,000 newer ids exist in that session', async t => {
  const { rooms } = roomsAt('near', { log: { entries: 10 } })
  const link = await rooms.dial('room-1')
  link.send(say(1))
  link.send({ ...say(2), cmd: 'ask' })
  for (const id of range(3, 10_002)) link.send({ ...say(id), cmd: id % 2 === 0 ? 'ask' : 'say' })
  await rooms.pass()
  link.send(say(10_003))
  link.send({ ...say(10_004), cmd: 'ask' })
  await rooms.pass()
  const again = [1, 2, 5, 6]
  for (const id of again) link.send(say(id))
  await rooms.pass()
  t.strictSame(told(link, ...again), [
    ['ack', 'result-expired'],
    ['ack', 'result-expired'],
    ['ack', 'ack'],
    ['ack', 'ack']
  ])
  t.equal(rooms.ran.length, 10_004)
})

each(
  'commands of one client on one channel run one after another, also after the server moved it out and in',
  async (t, at) => {
    const { rooms } = roomsAt(at)
    const link = await rooms.dial('room-1')
    await rooms.pass(100)
    link.send(say(1, { n: 1, ms: 300 }))
    await rooms.pass(10)
    await rooms.sockets.leave(link.connection!, 'room-1')
    void rooms.sockets.join(link.connection!, 'room-1')
    await rooms.pass(100)
    link.send(say(2))
    await rooms.pass(1_000)
    t.strictSame(rooms.finished, [1, 2])
    t.strictSame(told(link, 1, 2), [['ack'], ['ack']])
    t.ok(link.answers(1)[0]!.param.position.offset < link.answers(2)[0]!.param.position.offset)
  }
)

each('nor does one overtake those that wait for the replay of a membership that has ended', async (t, at) => {
  const { rooms } = roomsAt(at, { log: { entries: 1_000, bytes: 16_777_216 } })
  const start = await rooms.past(100)
  const old = await rooms.dial('room-1', { stopped: true, resume: { p: { 'room-1': start } } })
  await rooms.pass(200)
  old.send(say(1, { n: 201 }))
  old.send(say(2, { n: 202 }))
  await rooms.sockets.leave(old.connection!, 'room-1')
  void rooms.sockets.join(old.connection!, 'room-1')
  await rooms.pass(100)
  old.send(say(3, { n: 203 }))
  await rooms.pass(100)
  old.transport.drain()
  const link = await rooms.dial('room-1', { resume: { s: old.session } })
  for (let i = 0; i < 5; i++) {
    for (const id of range(1, 3)) if (!told(link, id)[0]!.includes('ack')) link.send(say(id, { n: 200 + id }))
    await rooms.pass(200)
  }
  t.strictSame(rooms.finished, [...rooms.finished].sort(), 'in the order of their ids')
})

each('nor does one begin on the next connection while the one before it still runs', async (t, at) => {
  const { rooms } = roomsAt(at)
  const old = await rooms.dial('room-1')
  await rooms.pass(100)
  old.send(say(1, { n: 1, ms: 500 }))
  await rooms.pass(10)
  old.transport.closed(1006, '')
  const link = await rooms.dial('room-1', { resume: { s: old.session } })
  await rooms.pass(100)
  link.send(say(2))
  await rooms.pass(1_000)
  t.strictSame(rooms.finished, [1, 2])
  link.send(say(1))
  await rooms.pass(100)
  t.strictSame(told(link, 1, 2), [['ack'], ['ack']])
})

each('a drain lets running commands end, nacks new ones retryably, and closes then', async (t, at) => {
  const { rooms } = roomsAt(at)
  const link = await rooms.dial('room-1')
  await rooms.pass(100)
  link.send(say(1, { n: 1, ms: 300 }))
  link.send(say(2))
  const closing = rooms.service.close()
  await rooms.pass(10)
  link.send(say(3))
  link.send(say(1))
  link.send({ channel: 'room-1', cmd: '$history', ref: 1, param: { limit: 1 } })
  await rooms.pass(1_000)
  await closing
  t.strictSame(told(link, 1, 2, 3), [['draining', 'ack'], ['ack'], ['draining']])
  t.match(link.answers(3)[0]!.param, { retry: true })
  t.equal(link.answer(1).param.code, 'draining')
  t.strictSame(link.numbers('room-1'), [1, 2])
  t.strictSame(link.frames.at(-1)!.cmd, '$closing')
  t.equal(link.code, 1012)
  t.equal(rooms.clock.pending, 0, 'no timer is left')
})

t.test('a handshake whose session was still being read when the server closed leaves nothing behind', async t => {
  const store = new MemoryStore()
  const before = roomsAt('near', { store }).rooms
  const first = await before.dial('room-1')
  first.send(say(1))
  await before.pass()
  const { rooms } = roomsAt('far', { store })
  const link = rooms.call('room-1', { resume: { s: first.session } })
  const closing = rooms.service.close()
  await rooms.pass(1_000)
  await closing
  await t.rejects(link.opening, { code: 'FST_CHANNELS_CLOSING' })
  t.equal(rooms.clock.pending, 0, 'no timer is left')
})

t.test('a session that cannot be read refuses the handshake, and is there for the next', async t => {
  for (const failure of ['before', 'after'] as const) {
    const { rooms, far } = roomsAt('far')
    const first = await rooms.dial('room-1')
    first.send(say(1, { n: 1 }))
    await rooms.pass(100)
    first.send({ ...say(2), cmd: 'ask' })
    await rooms.pass(100)
    far.failNext('openSession', failure)
    const refused = await rooms.dial('room-1', { resume: { s: first.session, n: 1 } })
    await rooms.pass(100)
    await t.rejects(refused.opening, { code: 'FST_CHANNELS_STORE_FAILED', statusCode: 503, retryAfter: 5 })
    const link = await rooms.dial('room-1', { resume: { s: first.session, n: 2 } })
    await rooms.pass(100)
    t.equal(link.last('$welcome').param.resumed, true)
    link.send({ ...say(2), cmd: 'ask' })
    link.send(say(1))
    await rooms.pass(100)
    t.strictSame(told(link, 1, 2), [['ack'], ['ack']], `${failure} the store took it`)
    t.strictSame(rooms.ran, [1, 2])
    t.equal(first.code, 4501)
  }
})

/** Two nodes of one cluster. */
function cluster(at: Distance, silent = false): [Rooms, Rooms] {
  const store = new MemoryStore()
  const clock = new ManualClock()
  const times = { sessionMs: 10_000 }
  const one = roomsAt(at, { clock, store, times }).rooms
  const two = roomsAt(at, { clock, store, times }, 2).rooms
  if (silent) for (const { broker } of [one, two]) broker.broadcast = () => {}
  return [one, two]
}

each('one session has one connection over all nodes, and its commands one effect', async (t, at) => {
  const [one, two] = cluster(at)
  const old = await one.dial('room-1', { user: 'ann' })
  old.send(say(1))
  await one.pass(100)
  const link = await two.dial('room-1', { user: 'ann', resume: { s: old.session, n: 1 } })
  await one.pass(100)
  t.equal(old.code, 4501)
  t.equal(link.last('$welcome').param.resumed, true)
  link.send(say(1))
  link.send(say(2))
  await one.pass(100)
  t.strictSame(told(link, 1, 2), [['ack'], ['ack']])
  const back = await one.dial('room-1', { user: 'ann', resume: { s: old.session, n: 2 } })
  await one.pass(100)
  t.equal(link.code, 4501)
  back.send(say(1))
  back.send(say(2))
  back.send(say(3))
  await one.pass(100)
  t.strictSame(told(back, 1, 2, 3), [['ack'], ['ack'], ['ack']])
  t.strictSame([one.ran, two.ran], [[1, 3], [2]])
  const late = await two.dial('room-1', { user: 'ann', resume: { s: old.session, n: 1 } })
  await one.pass(100)
  t.equal(late.code, 4501)
  t.equal(back.code, undefined)
})

each('fenced: a node that was not told of the takeover stores nothing more, and closes 4501', async (t, at) => {
  const [one, two] = cluster(at, true)
  const old = await one.dial('room-1')
  old.send(say(1))
  await one.pass(100)
  const link = await two.dial('room-1', { resume: { s: old.session, n: 1 } })
  await one.pass(100)
  t.equal(old.code, undefined)
  old.send(say(2, { n: 20 }))
  link.send(say(2, { n: 21 }))
  await one.pass(100)
  t.equal(old.code, 4501)
  t.strictSame([told(old, 2), told(link, 2)], [[[]], [['ack']]])
  t.strictSame(link.numbers('room-1'), [21])
  const back = await one.dial('room-1', { resume: { s: old.session, n: 2 } })
  await one.pass(100)
  back.send(say(2))
  await one.pass(100)
  t.strictSame(back.answers(2)[0]!.param.position.offset, 2, 'and does not take what it knew for the truth later')
})

t.test('a late dial on another node does not end the session of the one that has it', async t => {
  const [one, two] = cluster('near', true)
  const old = await one.dial('room-1')
  old.send(say(1))
  const link = await one.dial('room-1', { resume: { s: old.session, n: 5 } })
  const late = await two.dial('room-1', { resume: { s: old.session, n: 3 } })
  t.equal(late.code, 4501)
  await one.pass(20_000)
  link.send(say(2))
  await one.pass()
  const back = await two.dial('room-1', { resume: { s: old.session, n: 6 } })
  t.equal(back.last('$welcome').param.resumed, true)
  back.send(say(1))
  back.send(say(2))
  await one.pass()
  t.strictSame(told(back, 1, 2), [['ack'], ['ack']])
})

t.test(
  'sessions are bounded per user, per address and in all, and only those without a connection are forgotten',
  async t => {
    const cases = [
      { limits: { sessionsPerUser: 3 }, options: { user: 'ann' } },
      { limits: { sessionsPerAddress: 3 }, options: {} },
      { limits: { sessions: 3 }, options: {} }
    ]
    for (const { limits, options } of cases) {
      const { rooms } = roomsAt('near', { limits })
      const links = await Promise.all(range(1, 5).map(() => rooms.dial('room-1', options)))
      t.equal(rooms.service.sessions.size, 5, 'connections have bounds of their own')
      links[3]!.transport.closed(1006, '')
      links[1]!.transport.closed(1006, '')
      const another = await rooms.dial('room-1', options)
      const resumed = async (link: Link) => {
        const back = await rooms.dial('room-1', { ...options, resume: { s: link.session } })
        return back.last('$welcome').param.resumed
      }
      t.strictSame(await Promise.all([links[0]!, links[2]!, another].map(resumed)), [true, true, true])
      t.equal(await resumed(links[3]!), false, 'the one that has been without a connection for longest is')
      if ('sessions' in limits) continue
      const stranger = await rooms.dial('room-1', { user: 'bob', ip: '10.0.0.2' })
      t.equal(
        await rooms.dial('room-1', { user: 'bob', resume: { s: stranger.session } }).then(({ last }) => !!last),
        true
      )
    }
  }
)

each('sessions end sessionMs after their connection, in the store too, and leave no timer', async (t, at) => {
  const { rooms, far } = roomsAt(at, { times: { sessionMs: 10_000 } })
  const links = []
  for (const id of range(1, 5)) {
    const link = await rooms.dial('room-1')
    link.send(say(1, { n: id }))
    await rooms.pass(1_000)
    links.push(link)
  }
  for (const link of links.slice(0, 4)) {
    link.transport.closed(1006, '')
    await rooms.pass(1_000)
  }
  const kept = await rooms.dial('room-1', { resume: { s: links[0]!.session } })
  await rooms.pass(100)
  t.equal(kept.last('$welcome').param.resumed, true)
  await rooms.pass(20_000)
  t.equal(rooms.service.sessions.size, 2, 'those with a connection')
  t.equal(rooms.store.sessions.size, 2)
  const late = await rooms.dial('room-1', { resume: { s: links[1]!.session } })
  await rooms.pass(100)
  t.equal(late.last('$welcome').param.resumed, false)
  for (const link of [kept, links[4]!, late]) link.transport.closed(1006, '')
  await rooms.pass(20_000)
  t.strictSame([rooms.service.sessions.size, rooms.store.sessions.size], [0, 0])
  t.equal(rooms.clock.pending, rooms.clock.pending > 0 ? 1 : 0, 'only the heartbeat’s timer may be there')
  t.ok(far === null || far !== undefined)
})
