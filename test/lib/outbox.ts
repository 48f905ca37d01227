import t from 'tap'
import type { OutboxOwner } from '../../lib/connection/outbox.ts'
import { Outbox } from '../../lib/connection/outbox.ts'
import { Turn } from '../../lib/connection/turn.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { FakeTransport } from '../fixtures/transport.ts'

/** An outbox over a link that keeps what it is given, as long as it is stopped. */
function overStoppedLink() {
  const link = { stopped: true, buffered: 0 }
  const transport = new FakeTransport()
  transport.buffered = () => link.buffered
  transport.write = frames => {
    for (const { byteLength } of frames) link.buffered += link.stopped ? byteLength : 0
  }
  const owner: OutboxOwner = { transport, outgrown: () => {} }
  return { link, outbox: new Outbox({ turn: new Turn(new ManualClock()), outboxBytes: 1_000 }, owner) }
}

t.test('an outbox knows each channel of which its link may still hold something, one or several', async t => {
  const { link, outbox } = overStoppedLink()
  const held = () => ['a', 'b', 'c'].filter(channel => outbox.holds(channel)).join(' ')
  const write = (...channels: Array<string | null>) => {
    for (const channel of channels) outbox.push(new Uint8Array(10), channel === null ? null : { channel })
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
