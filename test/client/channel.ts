import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import t from 'tap'
import type { Channel } from '../../client/index.ts'
import { MAX_IDLE } from '../../client/roster.ts'
import { settle } from '../fixtures/clock.ts'
import { outcome, Stage } from '../fixtures/fake-socket.ts'

// The same in every run, so that a failure is of the change at hand.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

t.test('a joined channel hears its events, typed by name and with the whole message', async t => {
  const stage = new Stage()
  const room = stage.socket.join('chat-room-:room', { room: '4/2-b' })
  const heard: unknown[] = []
  room.on('chat-message', (param, message) => heard.push([param, message.from, message.channel]))
  t.equal(room.name, 'chat-room-4%2F2-b')
  t.equal(room.state.name, 'joining')
  const ws = await stage.connected()
  t.match(ws.sent, [{ channel: room.name, cmd: '$join', ref: 1 }])
  ws.frame({ channel: room.name, cmd: 'chat-message', param: 'too early' })
  const ready = room.ready()
  ws.accept()
  t.match(await ready, { by: 'client', outcome: { kind: 'fresh' } })
  t.match(await room.ready(), { name: 'joined' })
  ws.frame({ channel: room.name, cmd: 'chat-message', param: { text: 'hi' }, from: 'u1', offset: 4, new: true })
  ws.frame({ channel: 'system', via: room.name, cmd: 'chat-message', param: 2 })
  t.same(heard, [
    [{ text: 'hi' }, 'u1', room.name],
    [2, undefined, 'system']
  ])
  t.same(stage.told.$message, [
    { channel: room.name, cmd: 'chat-message', param: { text: 'hi' }, from: 'u1' },
    { channel: 'system', cmd: 'chat-message', param: 2 }
  ])
  t.equal(stage.socket.join('chat-room-:room', { room: '4/2-b' }), room, 'the same name is the same channel')
  t.equal(ws.sent.length, 1)
  stage.finish(t)
})

t.test('names that are none are refused where they are made', async t => {
  const { socket } = new Stage({ connect: false })
  t.throws(() => socket.join('no spaces'), { code: 'invalid-channel' })
  t.throws(() => socket.join('room-:id', { id: '' }), { code: 'invalid-channel' })
  t.throws(() => socket.join('room-:id', {} as { id: string }), { code: 'invalid-channel' })
  t.throws(() => socket.join('room-:id', { id: '\ud800' }), { code: 'invalid-channel' })
  t.throws(() => socket.join('x'.repeat(129)), { code: 'invalid-channel' })
  t.equal(socket.channel('a-:x.:y', { x: '1.2', y: 'ü' }).name, 'a-1%2E2.%C3%BC')
})

t.test('what the client joined is joined again after a reconnect, and commands wait for it in order', async t => {
  const stage = new Stage()
  const [a, b] = [stage.socket.join('a'), stage.socket.join('b')]
  const states: string[] = []
  a.on('$state', state => states.push(state.name))
  const first = await stage.connected()
  first.joined('a', { ref: 1 }).joined('b', { ref: 2 }).end(1012)
  t.equal(a.state.name, 'joining')
  const sends = [a.send('x', 1), b.send('x', 2), a.send('x', 3)]
  const ws = await stage.again()
  t.same(
    ws.sent.map(({ channel, cmd }) => cmd + channel),
    ['$joina', '$joinb']
  )
  ws.joined('a', { ref: 1 })
  t.equal(a.state.name, 'joining', 'an answer to an earlier link is dropped')
  ws.joined('b', { ref: ws.requests[1].ref })
  t.same(ws.commands, [{ channel: 'b', cmd: 'x', param: 2, id: 1 }], 'b is not held up by a')
  ws.joined('a', { ref: ws.requests[0].ref })
  t.same(
    ws.commands.map(({ id, param }) => [id, param]),
    [
      [1, 2],
      [2, 1],
      [3, 3]
    ]
  )
  ws.ack(1, { stored: 'memory', reply: 'yes' }).ack(2).ack(3).ack(3)
  t.same(await Promise.all(sends), [
    { position: null, stored: 'none', reply: undefined },
    { position: null, stored: 'memory', reply: 'yes' },
    { position: null, stored: 'none', reply: undefined }
  ])
  t.same(states, ['joined', 'joining', 'joined'])
  stage.finish(t)
})

t.test('a channel that a route joined waits after a reconnect until it is joined again', async t => {
  const stage = new Stage()
  const mine = stage.socket.channel('mine')
  t.equal(mine.state.name, 'idle')
  const sent = stage.socket.send({ channel: 'mine', cmd: 'x', param: 1 })
  const asked = stage.socket.request({ channel: 'unheld', cmd: 'x', param: 1 })
  const ws = await stage.connected()
  t.same(ws.sent, [])
  ws.joined('mine', {}, { by: 'route' }).joined('unheld', {}, { by: 'server' })
  t.match(ws.commands, [
    { id: 1, channel: 'mine' },
    { id: 2, channel: 'unheld' }
  ])
  ws.ack(1).ack(2, { reply: 7 }).end()
  t.match(await sent, { stored: 'none' })
  t.equal(await asked, 7)
  const later = mine.send('x', 2)
  await stage.again()
  t.same(stage.ws.sent, [])
  stage.ws.joined('mine', {}, { by: 'route' })
  t.match(stage.ws.commands, [{ id: 1, param: 2 }])
  stage.ws.ack(1)
  await later
  stage.finish(t)
})

t.test('wishes to join and leave are merged: only the last one counts once an answer is there', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  room.leave()
  room.join()
  room.leave()
  const ws = await stage.connected()
  t.same(ws.sent, [], 'what was not sent cancels')
  room.join()
  room.leave()
  room.join()
  t.equal(ws.requests.length, 1)
  ws.accept()
  t.equal(room.state.name, 'joined')
  room.join()
  room.leave()
  room.join()
  t.match(ws.requests, [{ cmd: '$join' }, { cmd: '$leave' }])
  const early = room.send('x', 1)
  t.same(ws.commands, [], 'nothing goes to the membership that ends')
  ws.accept()
  t.match(ws.requests[2], { cmd: '$join' })
  ws.accept()
  t.equal(ws.commands.length, 1)
  room.leave()
  t.equal(await outcome(early), 'pending', 'what was sent waits for its answer')
  ws.ack(1)
  await early
  t.equal(await outcome(room.send('x', 2)), 'left')
  t.equal(await outcome(room.ready()), 'left')
  t.equal(await outcome(stage.socket.request({ channel: 'r', cmd: 'x', param: 2 })), 'left')
  ws.accept()
  room.join()
  room.leave()
  ws.accept()
  t.match(ws.requests.slice(4), [{ cmd: '$join' }, { cmd: '$leave' }], 'a join under way is left once it is there')
  t.equal(room.state.name, 'left')
  ws.end()
  t.same((await stage.again()).sent, [])
  stage.finish(t)
})

t.test('nothing is heard of a channel once it was left, not even by a listener told of the same message', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const heard: unknown[] = []
  room.on('e', param => heard.push(param))
  room.on('$left', reason => heard.push(reason))
  const ws = await stage.connected()
  ws.accept()
  stage.socket.on('$message', ({ param }) => {
    if (param === 2) room.leave()
  })
  for (const param of [1, 2, 3]) ws.frame({ channel: 'r', cmd: 'e', param })
  t.same(heard, [1, 'client'])
  t.equal(stage.told.$message.length, 2)
  stage.socket.leave('r')
  stage.socket.leave('unheard-of')
  t.equal(ws.requests.length, 2)
  stage.finish(t)
})

t.test('a leave that is nacked counts as left; one that the link swallows too', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const ws = await stage.connected()
  ws.accept()
  room.leave()
  ws.nack({ channel: 'r', ref: 2 }, 'not-joined')
  room.join()
  t.match(ws.requests[2], { cmd: '$join' })
  ws.accept()
  room.leave()
  ws.end()
  const next = await stage.again()
  t.same(next.sent, [])
  next.joined('r', {}, { by: 'route' })
  t.equal(room.state.name, 'joined', 'a route may join it again')
  stage.finish(t)
})

t.test('a join that is refused for good ends the wish, what waits, and is told', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const errors: unknown[] = []
  room.on('$error', error => errors.push(error.code))
  const [waiting, ready] = [room.send('x', 1), room.ready()]
  const ws = await stage.connected()
  ws.nack({ channel: 'r', ref: 1 }, 'forbidden')
  t.match(room.state, { name: 'refused', error: { code: 'forbidden', message: 'no: forbidden', channel: 'r' } })
  t.same([await outcome(waiting), await outcome(ready), await outcome(room.send('x', 1))], Array(3).fill('forbidden'))
  t.equal(await outcome(room.ready()), 'forbidden')
  t.same(errors, ['forbidden'])
  t.same(stage.errors, ['forbidden', 'forbidden', 'forbidden'], 'the join and two sends')
  room.join()
  ws.accept()
  t.equal(room.state.name, 'joined')
  stage.finish(t)
})

t.test('a join that is refused for now is asked again after the time named and a jitter', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const other = stage.socket.join('o')
  const ws = await stage.connected({ heartbeatMs: 0 })
  ws.nack({ channel: 'r', ref: 1 }, 'draining', { retry: true, retryAfterMs: 5000 })
  ws.nack({ channel: 'o', ref: 2 }, 'draining', { retry: true })
  other.leave()
  await stage.clock.advance(4999)
  t.equal(ws.requests.length, 2)
  await stage.clock.advance(501)
  t.match(ws.requests.slice(2), [{ channel: 'r', cmd: '$join' }])
  t.equal(room.state.name, 'joining')
  ws.nack({ channel: 'r', ref: 3 }, 'draining', { retry: true })
  ws.joined('r', {}, { by: 'route' })
  await stage.clock.advance(60_000)
  t.equal(ws.requests.length, 3, 'nothing is asked where a route has joined meanwhile')
  stage.finish(t)
})

t.test('a refusal is no loss where a route joined meanwhile, nor where nobody wants to join any more', async t => {
  const stage = new Stage()
  const [r, o] = [stage.socket.join('r'), stage.socket.join('o')]
  const ws = await stage.connected()
  ws.joined('r', {}, { by: 'route' }).nack({ channel: 'r', ref: 1 }, 'forbidden')
  o.leave()
  ws.nack({ channel: 'o', ref: 2 }, 'forbidden')
  t.equal(r.state.name, 'joined')
  t.equal(o.state.name, 'left')
  t.same(stage.errors, [])
  stage.finish(t)
})

t.test('a server that puts a client out ends the wish; one that closes does not', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const ws = await stage.connected()
  ws.accept().frame({ channel: 'r', cmd: '$left', param: { reason: 'closed' } })
  t.equal(room.state.name, 'joining')
  ws.end(1012)
  const next = await stage.again()
  next.accept().frame({ channel: 'r', cmd: '$left', param: { reason: 'server' } })
  t.match(room.state, { name: 'left', reason: 'server' })
  next.frame({ channel: 'nobody', cmd: '$left', param: { reason: 'server' } })
  next.end()
  t.same((await stage.again()).sent, [])
  stage.finish(t)
})

t.test('presence is kept up to date from the join and the diffs, and told at each change', async t => {
  const stage = new Stage()
  const room = stage.socket.join('r')
  const told: unknown[] = []
  room.on('$presence', (presence, diff) => told.push([presence.count, diff === undefined]))
  const ws = await stage.connected()
  t.equal(await outcome(room.refreshPresence()), 'not-joined')
  t.equal(room.presence, null)
  t.same(room.members, [])
  const diff = (count: number, joins: string[], leaves: string[] = []): void => {
    const of = (ids: string[]): object[] => ids.map(id => ({ id }))
    ws.frame({ channel: 'r', cmd: '$presence', param: { joins: of(joins), leaves: of(leaves), count } })
  }
  diff(1, ['early'])
  ws.accept({ presence: { count: 1, members: [{ id: 'a', info: 1 }] } })
  diff(2, ['b'])
  diff(1, ['a'], ['a', 'b'])
  t.same(room.members, [{ id: 'a' }], 'who left and came back is there')
  const asked = room.refreshPresence()
  ws.frame({ channel: 'r', cmd: '$ack', ref: ws.requests.at(-1).ref, param: { stored: 'none', reply: { count: 200 } } })
  t.same(await asked, { count: 200 })
  // A diff may repeat what was known: the count is the server's.
  diff(199, ['z'], ['a'])
  ws.frame({ channel: 'r', cmd: '$presence' })
  ws.frame({ channel: 'nobody', cmd: '$presence', param: {} })
  t.same(room.presence, { count: 199 })
  t.same(told, [
    [1, true],
    [2, false],
    [1, false],
    [200, true],
    [199, false],
    [199, false]
  ])
  const refused = room.refreshPresence()
  ws.nack({ channel: 'r', ref: ws.requests.at(-1).ref }, 'forbidden')
  t.equal(await outcome(refused), 'forbidden')
  const lost = room.refreshPresence()
  ws.end()
  t.equal(await outcome(lost), 'unknown')
  t.same(room.presence, { count: 199 }, 'kept until it is told anew')
  ;(await stage.again()).accept()
  t.equal(room.presence, null)
  stage.finish(t)
})

t.test('a live gap is handed on', async t => {
  const stage = new Stage()
  const gaps: unknown[] = []
  stage.socket.join('r').on('$gap', gap => gaps.push(gap))
  const ws = await stage.connected()
  ws.accept().frame({ channel: 'r', cmd: '$gap', param: { from: 1, to: 4, reason: 'trimmed' } })
  ws.frame({ channel: 'x', cmd: '$gap', param: { to: 4, reason: 'trimmed' } })
  t.same(gaps, [{ from: 1, to: 4, reason: 'trimmed' }])
  stage.finish(t)
})

t.test(
  'a socket that closes for good refuses who waits to be joined, and joins again when connected again',
  async t => {
    const stage = new Stage()
    const room = stage.socket.join('r')
    const ready = room.ready()
    await stage.connected()
    stage.socket.disconnect()
    t.equal(await outcome(ready), 'closed')
    t.equal(await outcome(room.ready()), 'closed')
    t.equal(await outcome(room.send('x', 1)), 'closed')
    stage.socket.connect()
    ;(await stage.connected()).accept()
    t.equal(room.state.name, 'joined')
    t.equal(stage.sockets.length, 2)
    stage.finish(t)
  }
)

const Step = fc.oneof(
  fc.record({
    kind: fc.constant('send'),
    channel: fc.constantFrom('a', 'b', 'c'),
    timeoutMs: fc.constantFrom(0, 30),
    abort: fc.boolean()
  }),
  fc.record({ kind: fc.constantFrom('ack', 'nack', 'stray'), pick: fc.nat(20) }),
  fc.record({ kind: fc.constantFrom('joined', 'kick', 'drop', 'welcome', 'abort', 'reconnect') }),
  fc.record({ kind: fc.constant('wait'), ms: fc.integer({ min: 1, max: 2000 }) })
)

t.test('whatever happens each command settles once, none is sent twice, and each channel keeps its order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(Step, { maxLength: 60 }), async steps => {
      const stage = new Stage({ queue: { count: 8, bytes: 600 } })
      const { socket, clock } = stage
      for (const name of ['a', 'b']) socket.join(name)
      const settled: number[] = []
      const controllers: AbortController[] = []
      const all: Array<Promise<unknown>> = []
      let n = 0
      for (const step of steps as any[]) {
        await settle()
        const { ws } = stage
        const live = socket.state.name === 'connected'
        if (step.kind === 'send') {
          const [controller, number] = [new AbortController(), n++]
          const options = { timeoutMs: step.timeoutMs, ...(step.abort ? { signal: controller.signal } : {}) }
          if (step.abort) controllers.push(controller)
          const promise = socket.send({ channel: step.channel, cmd: 'x', param: number }, options)
          all.push(
            promise.then(
              () => settled.push(number),
              () => settled.push(number)
            )
          )
        } else if (step.kind === 'wait') await clock.advance(step.ms)
        else if (step.kind === 'abort') controllers.shift()?.abort()
        else if (step.kind === 'reconnect') socket.reconnect()
        else if (step.kind === 'welcome' && ws?.readyState === 0 && !ws.closed) ws.welcome()
        else if (!live) continue
        else if (step.kind === 'ack') ws.ack(step.pick)
        else if (step.kind === 'nack') ws.nack({ id: step.pick }, 'too-many-commands', { retry: true })
        else if (step.kind === 'stray') ws.frame({ cmd: '$ack', ref: step.pick, param: {} })
        else if (step.kind === 'joined') {
          for (const { cmd, channel, ref } of ws.requests) if (cmd === '$join') ws.joined(channel, { ref })
          ws.joined('c', {}, { by: 'route' })
        } else if (step.kind === 'kick') ws.frame({ channel: 'c', cmd: '$left', param: { reason: 'server' } })
        else if (step.kind === 'drop') ws.end()
      }
      socket.disconnect()
      await Promise.all(all)
      if (settled.length !== n || new Set(settled).size !== n) throw new Error('a command did not settle once')
      const sent = stage.sockets.flatMap(ws => ws.commands)
      if (new Set(sent.map(({ param }) => param)).size !== sent.length) throw new Error('a command was sent twice')
      for (const ws of stage.sockets) {
        if (ws.commands.some(({ id }, i) => id !== i + 1)) throw new Error('ids are not 1, 2, 3 …')
      }
      for (const name of ['a', 'b', 'c']) {
        const order = sent.filter(({ channel }) => channel === name).map(({ param }) => param)
        if (order.some((param, i) => i > 0 && param < order[i - 1])) throw new Error('out of order')
      }
      if (clock.pending !== 0) throw new Error('a timer is left')
    }),
    { numRuns: 150 }
  )
})

t.test('what bears a number and is no answer is passed over, as it is of a later protocol', async t => {
  const stage = new Stage()
  const room = stage.socket.join('room')
  const ws = await stage.connected()
  ws.frame({ channel: 'room', cmd: '$progress', ref: 1, param: {} })
  t.equal(room.state.name, 'joining')
  ws.accept()
  const sent = room.send('say', {})
  const refused = room.send('say', {})
  ws.frame({ channel: 'room', cmd: '$progress', id: 1, param: { percent: 10 } })
  ws.frame({ cmd: '$progress', param: {} })
  ws.frame({ channel: 'room', cmd: '$ack', id: 1, param: { stored: 'none', reply: 1 } })
  ws.frame({ channel: 'room', cmd: '$nack', id: 2, param: {} })
  t.match(await sent, { stored: 'none', reply: 1 })
  t.equal(await outcome(refused), 'bad-frame', 'a refusal without a code has one all the same')
  stage.finish(t)
})

t.test('a page may visit any number of channels: what it left and listens to no more is not kept for ever', async t => {
  const stage = new Stage()
  const ws = await stage.connected()
  const visit = (name: string): Channel => {
    const room = stage.socket.join(name)
    ws.accept()
    const off = room.on('e', () => {})
    room.leave()
    ws.accept()
    off()
    off()
    return room
  }
  const first = visit('first')
  const refused = stage.socket.join('refused')
  ws.nack({ channel: 'refused', ref: ws.requests.at(-1).ref }, 'forbidden')
  const heard: unknown[] = []
  const listened = visit('listened')
  listened.on('e', param => heard.push(param))
  const awaited = stage.socket.channel('awaited').ready()
  const refs: WeakRef<object>[] = []
  for (let i = 0; i < 2 * MAX_IDLE; i++)
    refs.push(new WeakRef(visit(`r${i}`)), new WeakRef(stage.socket.channel(`c${i}`)))
  // References that are made are strong till the end of their turn.
  await new Promise(resolve => setImmediate(resolve))
  gc()
  await new Promise(resolve => setImmediate(resolve))
  const left = refs.filter(ref => ref.deref() !== undefined)
  t.equal(left.length, MAX_IDLE)
  t.strictSame(left, refs.slice(-MAX_IDLE), 'the last of them')

  t.equal(stage.socket.channel('first'), first, 'whoever has it still has the one of that name')
  t.equal(stage.socket.channel('refused'), refused)
  t.match(refused.state, { name: 'refused' })
  first.on('e', param => heard.push(param))
  first.join()
  ws.accept().frame({ channel: 'first', cmd: 'e', param: 1 })
  stage.socket.join('listened')
  ws.accept().frame({ channel: 'listened', cmd: 'e', param: 2 })
  t.strictSame(heard, [1, 2])
  ws.joined('awaited', {}, { by: 'server' })
  t.match(await awaited, { name: 'joined', by: 'server' })
  stage.finish(t)
})
