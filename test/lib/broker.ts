import t from 'tap'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { type SqliteOptions, sqlite } from '../../lib/broker/sqlite.ts'
import { openFixtureFile, silent, testClock } from '../fixtures/broker.ts'
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

for (const worker of [false, true]) {
  brokerConformance(t, worker ? 'sqlite' : 'sqlite in this thread', () => sqliteFixture({ worker }))
}

async function sqliteFixture(options: Omit<SqliteOptions, 'path'>): Promise<BrokerFixture> {
  const { path, remove } = openFixtureFile()
  const { clock, advance } = testClock()
  return {
    durable: true,
    advance,
    open: (onControl = () => {}) => sqlite({ path, ...options })({ clock, logger: silent, onControl }),
    end: remove
  }
}
