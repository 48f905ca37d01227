import type { Awaitable } from '../../lib/awaitable.ts'
import type {
  Broker,
  BrokerContext,
  BrokerFactory,
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
import type { Position } from '../../lib/protocol/position.ts'
import type { Stored } from '../../lib/protocol/system.ts'
import type { Chance } from './chance.ts'
import type { Ledger } from './ledger.ts'
import type { Host } from './timeline.ts'
import type { Trace } from './trace.ts'

/** What can be asked of a broker, and so can fail. */
export type BrokerCall = 'commit' | 'read' | 'subscribe' | 'heads' | 'openSession' | 'result'

export interface Failure {
  /** Calls that fail, one after another. Default 1. */
  readonly times?: number
  /** Whether it was done all the same, as where the answer was lost. Default false. */
  readonly done?: boolean
  readonly error?: Error
}

export interface FaultyParts {
  readonly host: Host
  readonly ledger: Ledger
  readonly trace: Trace
  readonly chance: Chance
  /** Milliseconds that a call takes there and back; [0, 0] answers in the same turn where the broker does. */
  readonly callMs: readonly [number, number]
  /** Milliseconds from another node's commit to this node's receiver. */
  readonly busMs: readonly [number, number]
}

/** One receiver of a channel, and what is on its way to it. */
interface Subscription {
  readonly receiver: Receiver
  ended: boolean
}

/** A broker as one node has it: it tells the net what is stored, and fails when it is told to. */
export class FaultyBroker implements Broker {
  readonly #inner: Broker
  readonly #parts: FaultyParts
  readonly #failures = new Map<BrokerCall, Array<{ readonly done: boolean; readonly error: Error }>>()
  readonly #subscriptions = new Map<string, Subscription>()
  /** Entries in log order that have not reached the node. */
  readonly #coming: Array<() => void> = []
  #losing = 0
  #commits = 0
  #healthy = true
  #dead = false
  #lastCallAt = 0

  constructor(inner: Broker, parts: FaultyParts) {
    this.#inner = inner
    this.#parts = parts
  }

  /** A factory of brokers that fail when they are told to; `made` gets each. */
  static over(
    factory: BrokerFactory,
    parts: FaultyParts,
    made: (broker: FaultyBroker) => void
  ): (context: BrokerContext) => Promise<Broker> {
    return async context => {
      let broker: FaultyBroker | null = null
      const onControl = (text: string): void => {
        if (broker === null || !broker.#dead)
          parts.host.input(parts.chance.within(parts.busMs), () => context.onControl(text))
      }
      broker = new FaultyBroker(await factory({ ...context, onControl }), parts)
      made(broker)
      return broker
    }
  }

  get stored(): Stored {
    return this.#inner.stored
  }

  get healthy(): boolean {
    return this.#healthy && this.#inner.healthy
  }

  /** The store itself, past all faults. */
  get inner(): Broker {
    return this.#inner
  }

  failNext(call: BrokerCall, { times = 1, done = false, error = new Error('the broker failed') }: Failure = {}): void {
    const failures = this.#failures.get(call) ?? []
    for (let i = 0; i < times; i++) failures.push({ done, error })
    this.#failures.set(call, failures)
  }

  /** The next entries for this node do not reach it. */
  loseNext(count: number): void {
    this.#losing += count
  }

  /** What was to fail or to be lost, and has not been, will not. */
  heal(): void {
    this.#failures.clear()
    this.#losing = 0
  }

  /** Its node is gone: nothing that the node still asks reaches the store, and nothing comes from it. */
  async drop(): Promise<void> {
    this.#dead = true
    this.#subscriptions.clear()
    await this.#inner.close()
  }

  commit(commit: Commit): Awaitable<Committed> {
    return this.#call('commit', () => {
      this.#commits++
      try {
        const committed = this.#inner.commit(commit)
        if (committed instanceof Promise) return committed.then(result => this.#noted(commit, result))
        return this.#noted(commit, committed)
      } finally {
        this.#commits--
      }
    })
  }

  #noted({ publications }: Commit, committed: Committed): Committed {
    if (committed.kind !== 'stored') return committed
    committed.positions.forEach(({ epoch, offset, tag }, i) => {
      const { channel, text, except } = publications[i]!
      this.#parts.ledger.note(channel, epoch, { offset, tag, text, except })
      this.#parts.trace.add(this.#parts.host.name, `stored ${channel} ${offset} ${tag}`)
    })
    return committed
  }

  subscribe(channel: string, receiver: Receiver): Awaitable<Position> {
    const subscription: Subscription = { receiver, ended: false }
    return this.#call('subscribe', () => {
      this.unsubscribe(channel)
      this.#subscriptions.set(channel, subscription)
      return this.#inner.subscribe(channel, (entry, epoch) => this.#entry(channel, subscription, entry, epoch))
    })
  }

  #entry(channel: string, subscription: Subscription, entry: Entry, epoch: string): void {
    const { host, trace, ledger, chance, busMs } = this.#parts
    ledger.note(channel, epoch, entry)
    if (this.#dead) return
    if (this.#losing > 0) {
      this.#losing--
      trace.add(host.name, `fault: ${channel} ${entry.offset} is lost on its way here`)
      return
    }
    const deliver = (): void => {
      if (!subscription.ended) subscription.receiver(entry, epoch)
    }
    // A node hears its own commits at once, unless others' are still on their way.
    if (this.#coming.length === 0 && this.#commits > 0) deliver()
    else {
      this.#coming.push(deliver)
      host.input(chance.within(busMs), () => this.#coming.shift()?.())
    }
  }

  unsubscribe(channel: string): void {
    const subscription = this.#subscriptions.get(channel)
    if (subscription === undefined) return
    subscription.ended = true
    this.#subscriptions.delete(channel)
    if (!this.#dead) this.#inner.unsubscribe(channel)
  }

  read(channel: string, from: ReadFrom, limits: ReadLimits): Awaitable<ReadResult> {
    return this.#call('read', () => this.#inner.read(channel, from, limits))
  }

  heads(channels: readonly string[]): Awaitable<readonly Position[]> {
    return this.#call('heads', () => this.#inner.heads(channels))
  }

  openSession(session: string, fence: number): Awaitable<SessionRecord | null> {
    return this.#call('openSession', () => this.#inner.openSession(session, fence))
  }

  result(session: string, id: number): Awaitable<KeptResult | null> {
    return this.#call('result', () => this.#inner.result(session, id))
  }

  endSession(session: string, fence: number): void {
    if (!this.#dead) this.#inner.endSession(session, fence)
  }

  broadcast(text: string): void {
    if (!this.#dead) this.#inner.broadcast(text)
  }

  async close(): Promise<void> {
    if (!this.#dead) await this.drop()
  }

  #call<T>(name: BrokerCall, task: () => Awaitable<T>): Awaitable<T> {
    // What a dead node asks is never answered.
    if (this.#dead) return new Promise<T>(() => {})
    const { chance, callMs, host } = this.#parts
    const wait = chance.within(callMs)
    if (callMs[1] === 0) return this.#answer(name, task)
    return this.#later(wait).then(async () => {
      const answer = await this.#answer(name, task)
      await new Promise<void>(resolve => host.input(chance.within(callMs), resolve))
      return answer
    })
  }

  /** Calls reach the store in the order in which they were made. */
  #later(ms: number): Promise<void> {
    const { host } = this.#parts
    const now = host.monotonic()
    this.#lastCallAt = Math.max(this.#lastCallAt, now + ms)
    return new Promise(resolve => host.input(this.#lastCallAt - now, resolve))
  }

  #answer<T>(name: BrokerCall, task: () => Awaitable<T>): Awaitable<T> {
    const failure = this.#failures.get(name)?.shift()
    this.#healthy = failure === undefined
    if (failure === undefined) return task()
    this.#parts.trace.add(this.#parts.host.name, `fault: ${name} fails${failure.done ? ', though it was done' : ''}`)
    if (!failure.done) return Promise.reject(failure.error)
    return Promise.resolve(task()).then(() => {
      throw failure.error
    })
  }
}
