import t from 'tap'
import type { Broker, Entry, ReadResult } from '../../lib/broker/broker.ts'
import { Channel } from '../../lib/channel/channel.ts'
import { Replay } from '../../lib/channel/replay.ts'
import type { Subscription } from '../../lib/channel/subscription.ts'
import { Turn } from '../../lib/connection/turn.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { range, roomsAt } from '../fixtures/rooms.ts'

const BYTES = 65_536
const place = (offset: number): Position => ({ epoch: 'e', offset, tag: `t${offset}` })
const entry = (offset: number, except: string[] = []): Entry => ({
  ...{ offset, tag: `t${offset}`, prev: `t${offset - 1}`, text: `{"cmd":"${offset}"}`, except }
})

/** A log that ends at its head, and counts how often it is read. */
class Log {
  head = 3
  reads = 0
  failure: Error | null = null

  readonly broker = {
    read: async (_channel: string, { after }: { after: Position }): Promise<ReadResult> => {
      this.reads++
      if (this.failure !== null) throw this.failure
      const entries = range(after.offset + 1, this.head).map(offset => entry(offset, offset === 2 ? ['s:x'] : []))
      return { kind: 'page', entries, head: place(this.head), complete: true }
    }
  } as unknown as Broker
}

function replayOf(): { log: Log; clock: ManualClock; replay: Replay } {
  const log = new Log()
  const clock = new ManualClock()
  return { log, clock, replay: new Replay('room', log.broker, clock) }
}

t.test('a page is read and encoded once for all who ask within a second, from the same position', async t => {
  const { log, clock, replay } = replayOf()
  const pages = await Promise.all([1, 2, 3].map(() => replay.read(place(1), BYTES, place(3))))
  t.equal(log.reads, 1)
  t.ok(pages.every(({ frames }) => frames === pages[0]!.frames))
  t.strictSame(pages[0]!.except, ['s:x'], 'it says whom some of it is not for')
  t.match(Buffer.from(pages[0]!.frames).toString('latin1'), /"offset":2,.*"offset":3,/)
  log.head = 4
  t.equal((await replay.read(place(1), BYTES, place(4))).frames, pages[0]!.frames, 'what has come since follows on it')
  clock.stall(999)
  await replay.read(place(1), BYTES, place(4))
  t.equal(log.reads, 1)
  clock.stall(1)
  await replay.read(place(1), BYTES, place(4))
  t.equal(log.reads, 2, 'after a second it is read again: a log may have been trimmed by age')
})

t.test('for another position, or another size of a page, the log is read again', async t => {
  const { log, replay } = replayOf()
  await replay.read(place(1), BYTES, place(3))
  await replay.read(place(2), BYTES, place(3))
  await replay.read({ ...place(1), tag: 'forged' }, BYTES, place(3))
  await replay.read(place(1), BYTES / 2, place(3))
  t.equal(log.reads, 4)
})

t.test('nothing is kept of a channel’s log once nobody reads it any more', async t => {
  const { log, clock } = replayOf()
  const parts = { clock, turn: new Turn(clock), broker: log.broker, failed: () => {} }
  const channel = new Channel('room', null, parts)
  const [ann, bob] = ['ann', 'bob'].map(name => ({ name }) as never as Subscription)
  channel.recover(ann!, {} as never)
  channel.recover(bob!, {} as never)
  await channel.read(place(1), BYTES)
  channel.recovered(ann!)
  await channel.read(place(1), BYTES)
  t.equal(log.reads, 1)
  channel.recovered(bob!)
  channel.recovered(bob!)
  channel.recover(ann!, {} as never)
  await channel.read(place(1), BYTES)
  t.equal(log.reads, 2)
})

t.test('what brought nothing, or has not come yet, is no answer to who knows of more', async t => {
  const { log, replay } = replayOf()
  await replay.read(place(3), BYTES, place(3))
  await replay.read(place(3), BYTES, place(3))
  t.equal(log.reads, 1)
  const early = replay.read(place(1), BYTES, place(3))
  log.head = 4
  const late = replay.read(place(1), BYTES, place(4))
  const ends = (await Promise.all([early, late])).map(({ result }) => result.kind === 'page' && result.entries.length)
  t.strictSame([log.reads, ends], [3, [2, 3]])
  const { result } = await replay.read(place(3), BYTES, place(4))
  t.equal(result.kind === 'page' && result.entries.length, 1)
})

t.test('a reading that failed is not kept', async t => {
  const { log, replay } = replayOf()
  log.failure = new Error('lost')
  await t.rejects(replay.read(place(1), BYTES, place(3)), log.failure)
  log.failure = null
  t.equal((await replay.read(place(1), BYTES, place(3))).result.kind, 'page')
})

t.test('no more than eight pages are kept', async t => {
  const { log, replay } = replayOf()
  for (const offset of range(1, 9)) await replay.read(place(offset % 3), BYTES + offset, place(3))
  await replay.read(place(0), BYTES + 9, place(3))
  t.equal(log.reads, 9)
  await replay.read(place(1), BYTES + 1, place(3))
  t.equal(log.reads, 10, 'the oldest has gone')
})

for (const distance of ['near', 'far'] as const) {
  t.test(
    `whoever comes back together gets all of it and nothing else, while more is published (${distance})`,
    async t => {
      const { rooms } = roomsAt(distance, { log: { entries: 5_000 } })
      const start = await rooms.publish('room-1', 0)
      const ann = await rooms.dial('room-1')
      for (const n of range(1, 700)) {
        const except = n % 100 === 50 ? { except: { connection: ann.last('$welcome').param.connection } } : {}
        void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n } }, except)
      }
      await rooms.pass(100)
      const session = ann.last('$welcome').param.session
      ann.transport.closed(1006, '')
      const back = range(1, 20).map(() => rooms.dial('room-1', { resume: { p: { 'room-1': start } } }))
      const again = rooms.dial('room-1', { resume: { s: session, n: 1, p: { 'room-1': start } } })
      void rooms.sockets.broadcast('room-1', { cmd: 'event', param: { n: 701 } })
      const links = await Promise.all(back)
      await rooms.publish('room-1', 702)
      await rooms.pass(500)
      for (const link of links) t.strictSame(link.numbers('room-1'), range(1, 702))
      const missed = range(1, 702).filter(n => n % 100 !== 50 || n > 700)
      t.strictSame((await again).numbers('room-1'), missed, 'and who was left out of some is not sent those')
    }
  )
}
