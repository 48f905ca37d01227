import t from 'tap'
import type { LoadContext, Position } from '../../client/index.ts'
import { MAX_HELD } from '../../client/loader.ts'
import { settle } from '../fixtures/clock.ts'
import { type FakeSocket, outcome, Stage } from '../fixtures/fake-socket.ts'

const at = (offset: number, epoch = 'a'): Position => ({ epoch, offset, tag: offset ? `t${offset}` : '' })
const fresh = (offset: number): object => ({ position: at(offset) })
const recovered = (from: number, to: number): object => ({
  position: at(from),
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
