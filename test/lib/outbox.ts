import t from 'tap'
import type { OutboxOwner } from '../../lib/connection/outbox.ts'
import { Outbox } from '../../lib/connection/outbox.ts'
import { Turn } from '../../lib/connection/turn.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { FakeTransport } from '../fixtures/transport.ts'

/** An outbox over a link that keeps what it is given, as long as it is stopped. */
function overStoppedLink() {
  const link = { stopped: true, buffered: 0, puttingOff: false }
  const transport = new FakeTransport()
  transport.buffered = () => link.buffered
  transport.write = frames => {
    for (const { byteLength } of frames) link.buffered += link.stopped || link.puttingOff ? byteLength : 0
  }
  const owner: OutboxOwner = { transport, outgrown: () => {} }
  return { link, outbox: new Outbox({ turn: new Turn(new ManualClock()), outboxBytes: 1_000 }, owner) }
}

t.test('an outbox knows each channel of which its link may still hold something, one or several', async t => {
  const { link, outbox } = overStoppedLink()
  const held = () => ['a', 'b', 'c'].filter(channel => outbox.holds(channel)).join(' ')
  const write = (...channels: Array<string | null>) => {
    for (const channel of channels) outbox.push(new Uint8Array(10), 1, channel === null ? null : { channel })
    outbox.flush()
    return held()
  }
  t.equal(write(null), '', 'what is of no channel is of none')
  t.equal(write('a'), 'a')
  t.equal(write('a', 'a'), 'a')
  t.equal(write('b'), 'a b')
  t.equal(write('c', 'a', null), 'a b c')
  link.buffered = 0
  t.equal(held(), '', 'what it has handed on it holds no more')
  link.stopped = false
  t.equal(write('a'), '')
  link.stopped = true
  t.equal(write('b', 'c'), 'b c', 'and what it held before is forgotten')
})

t.test('over a link that puts off what it writes it knows the channels of the last turn alone', async t => {
  const { link, outbox } = overStoppedLink()
  link.stopped = false
  link.puttingOff = true
  for (let n = 0; n < 100; n++) {
    outbox.push(new Uint8Array(10), 1, { channel: `room-${n}` })
    outbox.flush()
    t.equal(outbox.holds(`room-${n}`), true, 'as long as it is put off')
    link.buffered = 0
  }
  link.buffered = 1
  t.strictSame(
    Array.from({ length: 100 }, (_, n) => n).filter(n => outbox.holds(`room-${n}`)),
    [99]
  )
})

t.test(
  'what is written at once is bounded as what waits is, and nothing is written to who is over it or closed',
  async t => {
    const { link, outbox } = overStoppedLink()
    const write = () => {
      outbox.write([new Uint8Array(600)], 1, { channel: 'a' })
      return link.buffered
    }
    t.strictSame([write(), write(), write()], [600, 1_200, 1_200])
    t.equal(outbox.messagesOut, 3)
    const other = overStoppedLink()
    other.outbox.close()
    other.outbox.write([new Uint8Array(600)], 1, { channel: 'a' })
    t.equal(other.link.buffered, 0)
  }
)

t.test(
  'what a link held of other channels is forgotten once it has handed it on, before more is written at once',
  async t => {
    const { link, outbox } = overStoppedLink()
    outbox.write([new Uint8Array(10)], 1, { channel: 'a' })
    link.buffered = 0
    outbox.write([new Uint8Array(10)], 1, { channel: 'b' })
    t.strictSame([outbox.holds('a'), outbox.holds('b')], [false, true])
  }
)
