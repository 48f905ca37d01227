import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import type { Connection } from '../../lib/connection/connection.ts'
import { Resume } from '../../lib/connection/resume.ts'
import { Sessions } from '../../lib/inbound/sessions.ts'
import type { Logger } from '../../lib/log.ts'
import { DEFAULT_LIMITS } from '../../lib/options.ts'
import { ManualClock } from '../fixtures/clock.ts'

const noop = (): void => {}
const logger: Logger = { error: noop, warn: noop, info: noop, debug: noop, child: () => logger }

t.test('what a session was on this node, before it was on another and came back, does not end it', async t => {
  const clock = new ManualClock()
  const ended: number[] = []
  class Store extends MemoryBroker {
    override endSession(key: string, fence: number): void {
      ended.push(fence)
      super.endSession(key, fence)
    }
  }
  const broker = new Store({ clock, logger, onControl: noop }, new MemoryStore())
  const sessions = new Sessions(clock, broker, DEFAULT_LIMITS, 1_000)
  const connection = () => ({ close: noop }) as unknown as Connection
  const first = await sessions.open(null, null, '10.0.0.1')
  const former = connection()
  t.ok(sessions.take(first, former))
  sessions.takenOver(first.session.key, 5)
  sessions.leave(first.session, former)
  broker.openSession(first.session.key, 5)
  await clock.advance(500)
  const again = await sessions.open(new Resume(first.session.id, 7, new Map(), false), null, '10.0.0.1')
  t.ok(sessions.take(again, connection()))
  await clock.advance(10_000)
  t.equal(sessions.size, 1, 'it has a connection')
  t.strictSame(ended, [])
})
