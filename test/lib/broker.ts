import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { openSqlite, type SqliteParts } from '../../lib/broker/sqlite.ts'
import { FaultyDriver, openFixtureFile, portThread, silent, testClock } from '../fixtures/broker.ts'
import { type BrokerFixture, brokerConformance } from '../kit/conformance.ts'

brokerConformance(t, 'memory', (): BrokerFixture => {
  const store = new MemoryStore()
  const { clock, advance } = testClock()
  return {
    durable: true,
    cluster: true,
    advance,
    open: (onControl = () => {}) => new MemoryBroker({ clock, logger: silent, onControl }, store),
    end: () => {}
  }
})

const parts: Record<string, (faulty: FaultyDriver) => SqliteParts & { worker: boolean }> = {
  'sqlite in this thread': ({ load }) => ({ worker: false, load }),
  'sqlite behind a port': ({ load }) => ({ worker: true, start: data => portThread(data, load) })
}

for (const [name, make] of Object.entries(parts)) {
  brokerConformance(t, name, (): BrokerFixture => {
    const { path, remove } = openFixtureFile()
    const { clock, advance } = testClock()
    const faulty = new FaultyDriver()
    const { worker, ...rest } = make(faulty)
    return {
      durable: true,
      advance,
      open: (onControl = () => {}) => openSqlite({ clock, logger: silent, onControl }, { path, worker }, rest),
      failNext: () => faulty.failNext(/COMMIT/),
      end: remove
    }
  })
}
