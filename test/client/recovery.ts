import fc from 'fast-check'
import t from 'tap'
import type { Gap, LoadContext, Position } from '../../client/index.ts'
import { MAX_HELD } from '../../client/loader.ts'
import { settle } from '../fixtures/clock.ts'
import { type FakeSocket, outcome, Stage } from '../fixtures/fake-socket.ts'

// The same in every run, so that a failure is of the change at hand.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

const at = (offset: number, epoch = 'a'): Position => ({ epoch, offset, tag: offset ? `t${offset}` : '' })
const fresh = (offset: number): object => ({ position: at(offset) })
const recovered = (from: number, to: number, epoch = 'a'): object => ({
  position: at(from, epoch),
  outcome: { kind: 'recovered', from, to }
})
const gap = (to: number, reason: string, epoch = 'a'): object => ({
  position: at(to, epoch),
  outcome: { kind: 'gap', to, reason }
})

/** A stage whose channel `r` tells what it hears as one list: params, and gaps as `from-to reason`. */
function listening(options: object = {}, join = true): { stage: Stage; heard: unknown[] } {
  const stage = new Stage(options)
  const heard: unknown[] = []
  const room = stage.socket.channel('r')
  room.on('e', param => heard.push(param))
  room.on('$gap', ({ from, to, reason }) => heard.push(`${from ?? ''}-${to} ${reason}`))
  if (join) room.join()
  return { stage, heard }
}

t.test('a publication is told once, with its place in the log; a place seen before is dropped', async t => {
  const { stage, heard } = listening()
  const room = stage.socket.channel('r')
  t.equal(room.position, null)
  const ws = await stage.connected()
  ws.logged('r', 1).logged('elsewhere', 1)
  t.same(stage.told.$message, [], 'nothing precedes a $joined, and only what was joined has a log')
  ws.accept(fresh(4))
  t.same(room.position, at(4))
  ws.logged('r', 4).logged('r', 5).logged('r', 5).logged('r', 2).frame({ channel: 'r', cmd: 'e', param: 'ephemeral' })
  ws.frame({ channel: 'other', via: 'r', cmd: 'e', param: 6, offset: 6, tag: 't6' })
  t.same(heard, [5, 'ephemeral', 6])
  t.same(stage.told.$message, [
    { channel: 'r', cmd: 'e', param: 5, position: at(5) },
    { channel: 'r', cmd: 'e', param: 'ephemeral' },
    { channel: 'other', cmd: 'e', param: 6, position: at(6) }
  ])
  t.same(room.position, at(6))
  stage.finish(t)
})

t.test(
  'a $skip takes a place, a $gap moves on, and a jump that nobody explained is a gap of the client’s own',
  async t => {
    const { stage, heard } = listening()
    const room = stage.socket.channel('r')
    const ws = await stage.connected()
    ws.accept(fresh(0))
    const skip = (offset: number): FakeSocket => ws.frame({ channel: 'r', cmd: '$skip', offset, tag: `t${offset}` })
    skip(1).logged('r', 2)
    skip(2)
    t.same(room.position, at(2))
    ws.logged('r', 5)
    skip(9)
    ws.frame({ channel: 'r', cmd: '$gap', param: { from: 9, to: 3, reason: 'rewound', position: at(3, 'b') } })
    ws.logged('r', 4)
    t.same(heard, [2, '2-4 store-error', 5, '5-8 store-error', '9-3 rewound', 4])
    t.same(room.position, at(4, 'b'))
    ws.frame({ channel: 'x', cmd: '$gap', param: { to: 4, reason: 'trimmed', position: at(4) } })
    skip(7).frame({ channel: 'x', cmd: '$skip', offset: 7, tag: 't' })
    stage.finish(t)
  }
)

t.test('a page can match its own bubble with the publication, whichever comes first', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const seen: unknown[] = []
  room.on('e', (_, { position }) => seen.push(position))
  const ws = await stage.connected()
  ws.accept(fresh(0))
  const sends = [room.send('say', 1), room.send('say', 2)]
  ws.logged('r', 1).ack(1, { position: at(1), stored: 'memory' })
  t.same((await sends[0]!).position, seen[0])
  ws.ack(2, { position: at(2), stored: 'memory' }).logged('r', 2)
  t.same((await sends[1]!).position, seen[1])
  stage.finish(t)
})

t.test('each rejoin has one outcome: recovered tells the rest, a gap is told as such', async t => {
  const { stage, heard } = listening()
  const room = stage.socket.channel('r')
  const outcomes: unknown[] = []
  room.on('$joined', joined => outcomes.push(joined.outcome))
  const ws = await stage.connected()
  ws.accept(fresh(2)).logged('r', 3).end()
  const next = await stage.again({ resumed: true })
  t.match(next.requests, [{ cmd: '$join', channel: 'r', param: { position: at(3) } }])
  next.logged('r', 4).accept(recovered(3, 5)).logged('r', 4).logged('r', 5).end()
  const third = await stage.again()
  third.accept(gap(9, 'trimmed')).logged('r', 10)
  // The answer to a request of ours, where the route was faster: it says nothing new.
  third.joined('r', {}, { by: 'route', position: at(10) }).logged('r', 11)
  t.same(heard, [3, 4, 5, '-9 trimmed', 10, 11])
  t.same(outcomes, [
    { kind: 'fresh' },
    { kind: 'recovered', from: 3, to: 5 },
    { kind: 'gap', to: 9, reason: 'trimmed' }
  ])
  third.joined('r', {}, { by: 'server', ...gap(20, 'slow') }).logged('r', 21)
  t.same(heard.slice(6), ['-20 slow', 21], 'a second gap is heard')
  stage.finish(t)
})

t.test('who listens to the whole socket hears of the gaps of every channel too', async t => {
  const stage = new Stage()
  const told: unknown[] = []
  stage.socket.on('$gap', (channel, { from, to, reason }) => told.push([channel, from, to, reason]))
  const ws = await stage.connected()
  ws.joined('route', {}, { by: 'route', ...fresh(2) }).logged('route', 4)
  t.same(told, [['route', 2, 3, 'store-error']])
  stage.finish(t)
})

t.test('who had a position and is told nothing of it has missed something, and says so', async t => {
  const { stage, heard } = listening()
  ;(await stage.connected()).accept(fresh(2)).end()
  ;(await stage.again()).accept(fresh(8)).end()
  ;(await stage.again()).accept({ position: at(1, 'b') }).end()
  const outcomes: unknown[] = []
  stage.socket.channel('r').on('$joined', joined => outcomes.push(joined.outcome))
  ;(await stage.again()).accept()
  t.same(heard, ['2-8 epoch-lost', '-1 epoch-lost', '-1 epoch-lost'], 'also where there is no log any more')
  t.same(outcomes, [{ kind: 'gap', to: 1, reason: 'epoch-lost' }])
  stage.ws.end()
  ;(await stage.again()).accept()
  t.equal(heard.length, 3, 'without a log nothing is promised')
  stage.finish(t)
})

t.test('a leave, a refusal and a revocation forget the position; nothing of it comes again by itself', async t => {
  const { stage, heard } = listening()
  const room = stage.socket.channel('r')
  const ws = await stage.connected()
  ws.accept(fresh(2))
  room.leave()
  t.equal(room.position, null)
  room.join()
  ws.accept()
  t.match(ws.requests.at(-1), { cmd: '$join', param: undefined })
  ws.accept(fresh(5)).frame({ channel: 'r', cmd: '$left', param: { reason: 'revoked' } })
  t.match(room.state, { name: 'left', reason: 'revoked' })
  ws.logged('r', 6).end()
  const next = await stage.again()
  t.same(next.requests, [])
  room.join()
  next.accept(fresh(7)).end()
  const third = await stage.again()
  third.nack({ channel: 'r', ref: third.requests[0].ref }, 'forbidden')
  t.equal(room.position, null)
  t.same(heard, [])
  stage.finish(t)
})

t.test(
  'the next dial tells session, dials and positions, also those of channels that only the route joined',
  async t => {
    const { stage } = listening()
    const ws = await stage.connected({ session: 's' })
    t.equal(ws.protocols.length, 1, 'there is nothing to tell at first')
    ws.accept(fresh(2))
      .joined('route', {}, { by: 'route', ...fresh(7) })
      .joined('plain', {}, { by: 'route' })
    ws.logged('route', 8).end()
    await stage.clock.advance(500)
    const refused = stage.ws
    t.same(refused.resume, { s: 's', n: 1, p: { route: ['a', 8, 't8'], r: ['a', 2, 't2'] } })
    refused.end()
    const next = await stage.again({ resumed: true })
    t.equal(next.resume.n, 2)
    next.frame({ channel: 'route', cmd: 'e', param: 'direct' }).logged('route', 9)
    next.joined('route', {}, { by: 'route', ...recovered(8, 9) }).logged('route', 9)
    t.same(
      stage.told.$message.map(({ param }) => param),
      [8, 'direct', 9],
      'not joined yet: only what was sent to this connection itself'
    )
    next.frame({ channel: 'route', cmd: '$left', param: { reason: 'server' } }).end()
    const third = await stage.again({ session: 'new' })
    t.match(third.resume, { s: 's', n: 3, p: { r: ['a', 2, 't2'] } })
    t.notOk(third.resume.p.route)
    third.end()
    t.match((await stage.again()).resume, { s: 'new', n: 1 })
    stage.socket.disconnect()
    stage.socket.connect()
    t.same((await stage.connected()).resume.p, { r: ['a', 2, 't2'] }, 'positions count without a session')
    t.notOk(stage.ws.resume.s, 'which a goodbye ends')
    stage.finish(t)
  }
)

t.test('positions that are too many are left out, first those that the client joins itself', async t => {
  const stage = new Stage()
  const name = (kind: string, i: number): string => `${kind}-${'x'.repeat(62)}-${i}`
  const mine = [0, 1, 2].map(i => stage.socket.join(name('mine', i)))
  const heard: unknown[] = []
  const routed = Array.from({ length: 20 }, (_, i) => name('route', i))
  for (const channel of [...routed, name('mine', 0)]) {
    stage.socket.channel(channel).on('$gap', gap => heard.push([channel, gap.reason]))
  }
  const ws = await stage.connected()
  for (const { channel, ref } of ws.requests) ws.joined(channel, { ref }, fresh(3))
  for (const channel of routed.slice(0, 15)) ws.joined(channel, {}, { by: 'route', ...fresh(3) })
  ws.end()
  const next = await stage.again({ resumed: true })
  t.ok(next.protocols[1]!.length <= 2048)
  t.match(next.protocols[1], /^resume\.[\w-]+$/)
  const told = Object.keys(next.resume.p)
  t.notOk(next.resume.more, 'what is left out goes with its $join')
  t.ok(told.length > 15 && told.length < 18)
  t.same(told.slice(0, 15), routed.slice(0, 15))
  t.match(next.requests, Array(3).fill({ cmd: '$join', param: { position: at(3) } }))
  for (const { channel, ref } of next.requests) next.joined(channel, { ref }, recovered(3, 3))
  for (const channel of routed) next.joined(channel, {}, { by: 'server', ...recovered(3, 3) })
  next.end()
  const third = await stage.again({ resumed: true })
  t.equal(third.resume.more, true)
  t.ok(third.protocols[1]!.length <= 2048)
  third.joined(routed[19]!, {}, { by: 'route', ...fresh(9) })
  third.joined(mine[0]!.name, { ref: third.requests[0].ref }, fresh(9))
  t.same(heard, [
    [routed[19], 'over-limit'],
    [mine[0]!.name, 'epoch-lost']
  ])
  stage.finish(t)
})

/** A stage whose channel `r` loads its state by the test's hand. */
function loading(options: object = {}) {
  const { stage, heard } = listening(options, false)
  const loads: Array<{ context: LoadContext; done(): void; fail(): void }> = []
  const room = stage.socket.join(
    'r',
    {},
    {
      loadState: context => {
        heard.push('load')
        return new Promise<void>((done, reject) => {
          loads.push({ context, done, fail: () => reject(new Error('no')) })
        })
      }
    }
  )
  const finish = async (end: 'done' | 'fail' = 'done'): Promise<void> => {
    loads.at(-1)![end]()
    await settle()
  }
  return { stage, heard, loads, room, finish }
}

t.test(
  'the state is loaded at the first join and at each gap: first the position, then the state, then live',
  async t => {
    const { stage, heard, loads, finish } = loading()
    const ws = await stage.connected()
    ws.accept(fresh(4)).logged('r', 5)
    t.same(loads[0]!.context, { position: at(4), outcome: { kind: 'fresh' }, gap: null })
    t.same(heard, ['load'])
    t.same(stage.told.$message, [])
    await finish()
    ws.logged('r', 6)
    t.same(heard, ['load', 5, 6])
    ws.frame({ channel: 'r', cmd: '$gap', param: { from: 6, to: 8, reason: 'slow', position: at(8) } }).logged('r', 9)
    t.same(loads[1]!.context, {
      position: at(8),
      outcome: { kind: 'fresh' },
      gap: { from: 6, to: 8, reason: 'slow' }
    })
    ws.end()
    const next = await stage.again({ resumed: true })
    t.match(next.requests, [{ param: { position: at(9) } }], 'what is held back has come')
    next.accept(recovered(9, 9)).logged('r', 10)
    await finish()
    t.same(heard.slice(3), ['6-8 slow', 'load', 9, 10], 'a reconnect loses nothing of it')
    next.end()
    ;(await stage.again()).accept(recovered(10, 10)).end()
    t.equal(loads.length, 2, 'nothing is missing, nothing is loaded')
    ;(await stage.again()).accept(gap(20, 'trimmed'))
    t.same(loads[2]!.context, {
      position: at(20),
      outcome: { kind: 'gap', to: 20, reason: 'trimmed' },
      gap: { to: 20, reason: 'trimmed' }
    })
    stage.finish(t)
  }
)

t.test('a gap while the state is loaded waits its turn, and loads it again', async t => {
  const { stage, heard, loads, finish } = loading()
  const ws = await stage.connected()
  ws.accept(fresh(0)).logged('r', 1)
  ws.frame({ channel: 'r', cmd: '$gap', param: { from: 1, to: 3, reason: 'slow', position: at(3) } })
  ws.logged('r', 4).logged('r', 9)
  await finish()
  t.same(heard, ['load', 1, '1-3 slow', 'load'])
  t.same(loads[1]!.context.position, at(3))
  await finish()
  t.same(heard.slice(4), [4, '4-8 store-error', 'load'])
  await finish()
  t.same(heard.slice(7), [9])
  stage.finish(t)
})

t.test(
  'a load that takes too long to keep all that comes: what was kept is told on its state, and then the gap',
  async t => {
    const { stage, heard, loads, finish } = loading()
    const ws = await stage.connected()
    ws.accept(fresh(0))
    for (let offset = 1; offset <= MAX_HELD + 5; offset++) ws.logged('r', offset)
    ws.frame({ channel: 'r', cmd: '$gap', param: { from: 0, to: 7, reason: 'epoch-lost', position: at(7, 'f') } })
    t.same(heard, ['load'], 'one load at a time, however long it takes')
    await finish()
    t.equal(heard.length, 1 + MAX_HELD + 2)
    t.same(heard.slice(-3), [MAX_HELD, '-7 slow', 'load'], 'between logs there is no distance')
    t.same(loads[1]!.context.position, at(7, 'f'))
    for (let offset = 8; offset <= MAX_HELD + 10; offset++) ws.logged('r', offset)
    ws.end()
    const next = await stage.again({ resumed: true })
    t.match(next.requests, [{ param: { position: at(MAX_HELD + 10, 'f') } }])
    next.accept(recovered(MAX_HELD + 10, MAX_HELD + 11, 'f')).logged('r', MAX_HELD + 11)
    await finish()
    t.same(heard.slice(-3), [MAX_HELD + 7, `${MAX_HELD + 7}-${MAX_HELD + 11} slow`, 'load'])
    next.logged('r', MAX_HELD + 12)
    await finish()
    t.same(heard.slice(-2), ['load', MAX_HELD + 12], 'which is fast enough')
    stage.finish(t)

    const plain = loading()
    const other = await plain.stage.connected()
    other.accept()
    for (let i = 0; i <= MAX_HELD; i++) other.frame({ channel: 'r', cmd: 'e', param: i })
    await plain.finish()
    t.same(plain.heard.slice(-2), ['-0 slow', 'load'], 'without a log too')
    other.end()
    ;(await plain.stage.again()).accept()
    plain.loads[1]!.fail()
    await settle()
    t.same(plain.heard.slice(-2), ['load', 'load'], 'where each join begins anew')
    t.same(plain.stage.errors, [])
    plain.stage.finish(t)
  }
)

t.test('a load that fails is reported and tried again after a while; until then nothing is told', async t => {
  const { stage, heard, loads, finish } = loading({ backoff: { minMs: 100, maxMs: 100 } })
  const ws = await stage.connected()
  ws.accept(fresh(0)).logged('r', 1)
  await finish('fail')
  t.match(stage.told.$error, [{ code: 'listener-failed', cmd: 'loadState', cause: { message: 'no' }, retry: true }])
  t.same(heard, ['load'])
  await stage.clock.advance(100)
  t.same(loads[1]!.context, loads[0]!.context)
  await finish()
  t.same(heard, ['load', 'load', 1])
  stage.finish(t)
})

t.test('after a leave nothing is told of what was held; after a goodbye the state is loaded anew', async t => {
  const { stage, heard, loads, room, finish } = loading()
  const ws = await stage.connected()
  ws.accept(fresh(0)).logged('r', 1)
  room.leave()
  await finish()
  ws.accept()
  room.join()
  ws.accept(fresh(3)).logged('r', 4)
  await finish('fail')
  stage.socket.disconnect()
  t.equal(stage.clock.pending, 0, 'it is not tried again for nobody')
  stage.socket.connect()
  ;(await stage.connected()).accept(fresh(5)).logged('r', 6)
  t.same(loads[2]!.context, { position: at(5), outcome: { kind: 'fresh' }, gap: null })
  await finish()
  t.same(heard, ['load', 'load', 'load', 6])
  stage.finish(t)
})

t.test('who leaves and comes back while a $join is under way loads anew, though nothing was missed', async t => {
  const { stage, heard, loads, room, finish } = loading()
  const first = await stage.connected()
  first.accept(fresh(1))
  await finish()
  first.end(1006)
  const ws = await stage.again({ heartbeatMs: 0, resumed: true })
  room.leave()
  room.join()
  ws.accept(recovered(1, 2)).logged('r', 2)
  t.same(loads[1]?.context, { position: at(1), outcome: { kind: 'recovered', from: 1, to: 2 }, gap: null })
  await finish()
  t.same(heard, ['load', 'load', 2])
  stage.finish(t)
})

t.test('a channel that is joined already loads its state when told how', async t => {
  const stage = new Stage()
  const room = stage.socket.channel('r')
  const ws = await stage.connected()
  ws.joined('r', {}, { by: 'route', ...fresh(2) })
  const loads: unknown[] = []
  room.join({ loadState: ({ position }) => loads.push(position) })
  room.join({ loadState: () => loads.push('another') })
  t.same(loads, [at(2)])
  await settle()
  ws.frame({ channel: 'r', cmd: '$gap', param: { from: 2, to: 8, reason: 'slow', position: at(8) } })
  t.same(loads, [at(2), 'another'], 'the last one holds')
  await settle()
  stage.finish(t)
})

t.test('history gives messages with their positions, and fails with a code', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  t.equal(await outcome(room.history()), 'not-joined')
  const ws = await stage.connected()
  ws.accept(fresh(8))
  const asked = [room.history(), room.history({ before: at(4), limit: 2 }), room.history({ after: at(4) })]
  t.match(ws.requests.slice(1), [
    { channel: 'r', cmd: '$history', param: { limit: 50 } },
    { cmd: '$history', param: { before: at(4), limit: 2 } },
    { cmd: '$history', param: { after: at(4), limit: 50 } }
  ])
  const messages = [
    { channel: 'r', cmd: 'e', param: 2, from: 'u', offset: 2, tag: 't2' },
    { channel: 'other', via: 'r', cmd: 'e', param: 3, offset: 3, tag: 't3' }
  ]
  const reply = { messages, complete: false, position: at(8) }
  const [first, second, third] = ws.requests.slice(1)
  ws.frame({ channel: 'r', cmd: '$ack', ref: second.ref, param: { reply, stored: 'none' } })
  ws.nack({ channel: 'r', ref: third.ref }, 'unknown-position')
  t.same(await asked[1], {
    messages: [
      { channel: 'r', cmd: 'e', param: 2, from: 'u', position: at(2) },
      { channel: 'other', cmd: 'e', param: 3, position: at(3) }
    ],
    complete: false,
    position: at(8)
  })
  t.equal(await outcome(asked[2]!), 'unknown-position')
  t.same(room.position, at(8), 'what is read again changes nothing')
  ws.end()
  t.equal(await outcome(asked[0]!), 'unknown')
  t.ok(first)
  stage.finish(t)
})

const Log = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom('publish', 'publish', 'excepted', 'ephemeral') }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('deliver'), count: fc.integer({ min: 1, max: 5 }) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constantFrom('cut', 'back', 'load', 'fail') }) },
  fc.record({ kind: fc.constantFrom('trim', 'wipe', 'slow', 'repeat', 'lose', 'forget', 'leave') })
)

t.test(
  'whatever happens a publication is told once and in order, and what is missing is told as a gap before',
  async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(Log, { maxLength: 80 }), fc.boolean(), async (steps, loads) => {
        const stage = new Stage({ backoff: { minMs: 10, maxMs: 100 } })
        const open: Array<{ done(): void; fail(): void }> = []
        const told: Array<{ position: Position } | { gap: Gap } | { from: Position | null }> = []
        const loadState = ({ position }: LoadContext): Promise<void> =>
          new Promise((done, reject) => {
            open.push({ done, fail: () => reject(new Error('no')) })
            told.push({ from: position })
          })
        const room = stage.socket.join('r', {}, loads ? { loadState } : {})
        room.on('$joined', ({ position, outcome }) => {
          if (outcome.kind === 'fresh') told.push({ from: position! })
        })
        room.on('$gap', gap => told.push({ gap }))
        room.on('e', (_, { position }) => position && told.push({ position }))
        // The server: a log, and what is on its way to the client.
        let [epoch, head, trimmed, line] = [1, 0, 0, [] as object[]]
        const hidden = new Set<string>()
        const place = (offset: number) => ({ epoch: `e${epoch}`, offset, tag: offset ? `t${epoch}.${offset}` : '' })
        const entry = (offset: number): object => {
          const cmd = hidden.has(place(offset).tag) ? '$skip' : 'e'
          return { channel: 'r', cmd, offset, tag: place(offset).tag }
        }
        const live = (): boolean => room.state.name === 'joined'
        const joined = (): void => {
          const { ref, param, cmd } = stage.ws.requests.at(-1)
          if (cmd !== '$join' || live()) return
          const from = param?.position
          const known = from && from.tag === place(from.offset).tag && from.epoch === `e${epoch}`
          const outcome = !from
            ? { kind: 'fresh' }
            : known && from.offset >= trimmed
              ? { kind: 'recovered', from: from.offset, to: head }
              : { kind: 'gap', to: head, reason: known ? 'trimmed' : 'epoch-lost', ...(known && { from: from.offset }) }
          const start = outcome.kind === 'recovered' ? from.offset : head
          line = []
          stage.ws.joined('r', { ref }, { outcome, position: place(start) })
          for (let offset = start + 1; offset <= head; offset++) line.push(entry(offset))
        }
        const deliver = (count: number): void => {
          for (const frame of line.splice(0, count)) if (live()) stage.ws.frame(frame)
        }
        const back = async (): Promise<void> => {
          if (stage.socket.state.name === 'waiting') await stage.clock.advance(stage.socket.state.retryInMs)
          await settle()
          if (stage.ws.readyState === 0) stage.ws.welcome({ resumed: true, heartbeatMs: 0 })
          joined()
        }
        for (const step of steps as any[]) {
          await settle()
          if (step.kind === 'ephemeral') line.push({ channel: 'r', cmd: 'e' })
          else if (step.kind === 'publish' || step.kind === 'excepted') {
            head++
            if (step.kind === 'excepted') hidden.add(place(head).tag)
            line.push(entry(head))
          } else if (step.kind === 'deliver') deliver(step.count)
          else if (step.kind === 'back') await back()
          else if (step.kind === 'load') open.shift()?.done()
          else if (step.kind === 'fail') open.shift()?.fail()
          else if (step.kind === 'trim') trimmed = head
          else if (!live()) continue
          else if (step.kind === 'cut') stage.ws.end()
          else if (step.kind === 'wipe') {
            stage.ws.end()
            epoch++
            head = trimmed = 0
          } else if (step.kind === 'slow') {
            const from = room.position!.offset
            line = [{ channel: 'r', cmd: '$gap', param: { from, to: head, reason: 'slow', position: place(head) } }]
          } else if (step.kind === 'repeat' && room.position!.offset) line.unshift(entry(room.position!.offset))
          else if (step.kind === 'lose') line.shift()
          else if (step.kind === 'forget') {
            stage.ws.end()
            await back()
          } else if (step.kind === 'leave') {
            room.leave()
            told.push({ from: null })
            stage.ws.accept()
            room.join()
            joined()
          }
        }
        for (let i = 0; i < 5; i++) await back()
        // One more, by which a loss of the last one shows.
        line.push(entry(++head))
        deliver(line.length)
        for (let i = 0; i < 100 && (open.length > 0 || i < 3); i++) {
          open.shift()?.done()
          await stage.clock.advance(100)
        }
        // What was told, against the log.
        let last: Position | null = null
        let gaps: Gap[] = []
        let overlap = 0
        for (const notice of told) {
          if ('gap' in notice) gaps.push(notice.gap)
          else if ('from' in notice) {
            // A leave, a first join, or a state that has all up to there.
            const anew = notice.from?.offset !== last?.offset
            if (anew && notice.from && last && gaps.length === 0) throw new Error('loaded for nothing')
            last = notice.from
            // The publication that shows a jump is told, though the state has it.
            overlap = gaps.at(-1)?.reason === 'store-error' ? 1 : 0
            gaps = []
          } else {
            const { position } = notice
            const number = (offset: number): string => `t${position.epoch.slice(1)}.${offset}`
            if (position.tag !== number(position.offset)) throw new Error('altered')
            if (hidden.has(position.tag)) throw new Error('told to who was excepted')
            const same = last?.epoch === position.epoch
            if (!same && last && gaps.length === 0) throw new Error('another epoch without a gap')
            if (same && position.offset <= last!.offset - overlap)
              throw new Error(`told ${position.offset} after ${last!.offset}`)
            const start = same ? last!.offset : (gaps.at(-1)?.to ?? position.offset)
            for (let offset = start + 1; offset < position.offset; offset++) {
              const covered = gaps.some(({ from, to }) => (from ?? -1) < offset && offset <= to)
              if (!covered && !hidden.has(number(offset))) throw new Error(`${offset} is missing`)
            }
            last = position
            gaps = []
            overlap = 0
          }
        }
        const end = room.state.name === 'joined' && room.position
        if (!end || end.offset !== head) throw new Error('the end was not reached')
        stage.socket.disconnect()
        if (stage.clock.pending !== 0) throw new Error('a timer is left')
      }),
      { numRuns: Number(process.env.RUNS ?? 300) }
    )
  }
)
