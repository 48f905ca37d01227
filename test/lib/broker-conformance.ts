import t from 'tap'
import type {
  Broker,
  BrokerContext,
  Commit,
  Committed,
  Entry,
  KeptResult,
  ReadFrom,
  ReadLimits,
  ReadResult,
  Receiver,
  SessionRecord
} from '../../lib/broker/broker.ts'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { memoryFixture } from '../fixtures/broker.ts'
import { brokerConformance } from '../kit/conformance.ts'

type Make = (context: BrokerContext, store: MemoryStore) => Broker

const page = (result: ReadResult, change: (entries: readonly Entry[]) => readonly Entry[]): ReadResult =>
  result.kind === 'page' ? { ...result, entries: change(result.entries) } : result

/** Brokers of which each breaks one clause of the contract. */
const BAD: Readonly<Record<string, Make>> = {
  'it runs a command again': over(
    class extends MemoryBroker {
      override commit(commit: Commit): Committed {
        const { command } = commit
        const committed = super.commit(commit)
        return committed.kind === 'earlier' && command !== null ? super.commit({ ...commit, command: null }) : committed
      }
    }
  ),
  'it forgets what it answered': over(
    class extends MemoryBroker {
      override result(): KeptResult | null {
        return null
      }
    }
  ),
  'sessions share their ids': over(
    class extends MemoryBroker {
      override commit({ command, ...commit }: Commit): Committed {
        return super.commit({ ...commit, command: command && { ...command, session: 'all' } })
      }
    }
  ),
  'it does not look at fencing numbers': over(
    class extends MemoryBroker {
      override commit({ command, ...commit }: Commit): Committed {
        return super.commit({ ...commit, command: command && { ...command, fence: 1_000_000 } })
      }
    }
  ),
  'it tells the new fencing number as the one before': over(
    class extends MemoryBroker {
      override openSession(session: string, fence: number): SessionRecord | null {
        const record = super.openSession(session, fence)
        return record && { ...record, fence: Math.max(record.fence, fence) }
      }
    }
  ),
  'it ends sessions of others': over(
    class extends MemoryBroker {
      override endSession(session: string): void {
        super.endSession(session, Number.MAX_SAFE_INTEGER)
      }
    }
  ),
  'it loses an entry on its way': over(
    class extends MemoryBroker {
      override subscribe(channel: string, receiver: Receiver): Position {
        return super.subscribe(channel, (entry, epoch) => {
          if (entry.offset % 7 !== 3) receiver(entry, epoch)
        })
      }
    }
  ),
  'it gives an entry twice': over(
    class extends MemoryBroker {
      override subscribe(channel: string, receiver: Receiver): Position {
        return super.subscribe(channel, (entry, epoch) => {
          receiver(entry, epoch)
          if (entry.offset === 2) receiver(entry, epoch)
        })
      }
    }
  ),
  'it gives entries after the unsubscribe': over(
    class extends MemoryBroker {
      override unsubscribe(): void {}
    }
  ),
  'a subscription is told an older head': over(
    class extends MemoryBroker {
      override subscribe(channel: string, receiver: Receiver): Position {
        const head = super.subscribe(channel, receiver)
        return { ...head, offset: Math.max(0, head.offset - 1) }
      }
    }
  ),
  'it counts on, and skips an offset': over(
    class extends MemoryBroker {
      override commit(commit: Commit): Committed {
        const committed = super.commit(commit)
        if (committed.kind !== 'stored') return committed
        return { ...committed, positions: committed.positions.map(at => ({ ...at, offset: at.offset * 2 })) }
      }
    }
  ),
  'all tags are the same': over(
    class extends MemoryBroker {
      override read(channel: string, from: ReadFrom, limits: ReadLimits): ReadResult {
        return page(super.read(channel, from, limits), entries => entries.map(each => ({ ...each, tag: 'AAAAAAAA' })))
      }
    }
  ),
  'it drops who is excepted': over(
    class extends MemoryBroker {
      override read(channel: string, from: ReadFrom, limits: ReadLimits): ReadResult {
        return page(super.read(channel, from, limits), entries => entries.map(each => ({ ...each, except: [] })))
      }
    }
  ),
  'it reads more than it is asked for': over(
    class extends MemoryBroker {
      override read(channel: string, from: ReadFrom, { entries, bytes }: ReadLimits): ReadResult {
        return super.read(channel, from, { entries: entries + 1, bytes })
      }
    }
  ),
  'it does not look at tags': over(
    class extends MemoryBroker {
      override read(channel: string, from: ReadFrom, limits: ReadLimits): ReadResult {
        const result = super.read(channel, from, limits)
        if (result.kind === 'page' || result.reason !== 'rewound') return result
        return { kind: 'page', entries: [], head: result.head, complete: true }
      }
    }
  ),
  'a page says that it is all': over(
    class extends MemoryBroker {
      override read(channel: string, from: ReadFrom, limits: ReadLimits): ReadResult {
        const result = super.read(channel, from, limits)
        return result.kind === 'page' ? { ...result, complete: true } : result
      }
    }
  ),
  'it keeps what it was to trim': over(
    class extends MemoryBroker {
      override commit({ publications, command }: Commit): Committed {
        const log = { entries: 1_000, ageMs: 1e9, bytes: 1e9 }
        return super.commit({ publications: publications.map(each => ({ ...each, log })), command })
      }
    }
  ),
  'heads come in another order': over(
    class extends MemoryBroker {
      override heads(channels: readonly string[]): Position[] {
        return super.heads(channels).reverse()
      }
    }
  ),
  'nothing outlives it': (context, _store) => new MemoryBroker(context, new MemoryStore()),
  'it tells itself what it broadcasts': over(
    class extends MemoryBroker {
      readonly #onControl: (text: string) => void

      constructor(context: BrokerContext, store: MemoryStore) {
        super(context, store)
        this.#onControl = context.onControl
      }

      override broadcast(text: string): void {
        super.broadcast(text)
        this.#onControl(text)
      }
    }
  ),
  'it broadcasts to nobody': over(
    class extends MemoryBroker {
      override broadcast(): void {}
    }
  )
}

function over(Class: new (context: BrokerContext, store: MemoryStore) => Broker): Make {
  return (context, store) => new Class(context, store)
}

/** The first test that a broker does not pass; null where it passes all. */
async function failure(make: Make): Promise<string | null> {
  const tests: { readonly title: string; readonly run: () => Promise<void> }[] = []
  brokerConformance({ test: (title, run) => tests.push({ title, run }) }, 'broker', () => memoryFixture(make))
  for (const { title, run } of tests) {
    try {
      await run()
    } catch {
      return title
    }
  }
  return null
}

t.test('a broker that keeps the contract passes', async t => {
  t.equal(await failure(over(MemoryBroker)), null)
})

t.test('one that breaks it does not', async t => {
  for (const [what, make] of Object.entries(BAD)) {
    const failed = await failure(make)
    t.ok(failed !== null, `${what}: ${failed}`)
  }
})
