import type { WebSocketLike } from '../../client/transport.ts'
import type { BrokerFactory } from '../../lib/broker/broker.ts'
import type { MemoryOptions } from '../../lib/broker/memory.ts'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { Chance } from './chance.ts'
import type { ChaosOptions } from './chaos.ts'
import { Chaos } from './chaos.ts'
import { expectNoLoss } from './checks.ts'
import type { ClientOptions, DialOptions, KitClient } from './client.ts'
import type { Stored } from './ledger.ts'
import { Ledger } from './ledger.ts'
import type { KitNode, Serving, Start } from './node.ts'
import { Path } from './path.ts'
import type { Turns } from './timeline.ts'
import { Host, Timeline } from './timeline.ts'
import { Trace } from './trace.ts'

/** What nets and worlds have in common. Everything has a default. */
export interface SimulationOptions {
  /** What all chance comes from. Default 1. */
  readonly seed?: number
  /** Nodes of the cluster. Default 1. */
  readonly nodes?: number
  /** What all nodes share as their broker. Default: one store in memory, which outlives the nodes as a disk does. */
  readonly broker?: BrokerFactory
  /** Bounds of that store in memory, as `memory()` takes them. */
  readonly store?: MemoryOptions
  /** Milliseconds from a client to a node and back each, for every piece. Default [0, 0]: `settle` lets everything arrive. */
  readonly latencyMs?: readonly [number, number]
  /** Milliseconds of a broker call, there and back each. Default [0, 0]: in the same turn, where the broker can. */
  readonly brokerMs?: readonly [number, number]
  /** Milliseconds from one node's commit to another node. Default `latencyMs`. */
  readonly busMs?: readonly [number, number]
  /** Bytes that a connection holds in each direction before its sender has to wait. Default 65,536. */
  readonly socketBytes?: number
}

/** How long closing everything may take. */
const CLOSE_LIMIT_MS = 300_000

/** One who dials. */
export interface Caller {
  readonly host: Host
  readonly path: Path
  readonly index: number
  readonly pinned: number | undefined
  readonly options: ClientOptions
}

/** A cluster and its clients in one process, on one clock that only the test moves, with all chance from one seed. */
export abstract class Simulation<S extends Serving, N extends KitNode<S> = KitNode<S>> {
  readonly seed: number
  readonly nodes: readonly N[]
  readonly clients: KitClient<any>[] = []
  /** The test's own chance, from the same seed. */
  readonly chance: Chance
  /** The test's own clock: `net.clock.after(ms, task)`. */
  readonly clock: Host
  protected readonly timeline: Timeline
  protected readonly tracer: Trace
  protected readonly socketBytes: number
  readonly #ledger = new Ledger()
  readonly #latency: Chance
  readonly #latencyRange: readonly [number, number]
  readonly #broker: BrokerFactory | undefined
  readonly #bounds: MemoryOptions | undefined
  #store: MemoryStore
  #callers = 0
  #closed = false

  constructor(options: SimulationOptions, turns: Turns) {
    const { seed = 1, nodes = 1, latencyMs = [0, 0], brokerMs = [0, 0], busMs = latencyMs } = options
    this.seed = seed
    this.socketBytes = options.socketBytes ?? 65_536
    this.#broker = options.broker
    this.#bounds = options.store
    this.#store = new MemoryStore(this.#bounds)
    this.#latencyRange = latencyMs
    const chance = new Chance(seed)
    this.chance = chance.child('test')
    this.#latency = chance.child('latency')
    this.timeline = new Timeline(chance, turns)
    this.tracer = new Trace(this.timeline)
    this.clock = new Host(this.timeline, 'test')
    const faults = chance.child('faults')
    const faulty = { trace: this.tracer, ledger: this.#ledger, chance: faults, callMs: brokerMs, busMs }
    this.nodes = Array.from({ length: nodes }, (_, index) =>
      this.makeNode({
        index,
        faulty,
        timeline: this.timeline,
        serve: start => this.serve(start),
        factory: fresh => this.#factory(fresh)
      })
    )
  }

  /**
   * A WebSocket of the test's own, for frames that no client would send: `where` as with `client`. No fault strikes its link,
   * and no check looks at what it hears.
   */
  abstract dial(where?: string, options?: DialOptions): WebSocketLike

  protected abstract makeNode(parts: ConstructorParameters<typeof KitNode<S>>[0]): N
  protected abstract serve(start: Start): Promise<S>

  /** What happened so far, one line each; the same seed and the same test give the same text. */
  get trace(): string {
    return this.tracer.toString()
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.timeline.now
  }

  /** Timers and bytes that are still to come: 0 once all is closed. */
  get pending(): number {
    return this.timeline.pending
  }

  /** Publications that the brokers stored in a channel's log, in its order. */
  stored(channel: string): readonly Stored[] {
    return this.#ledger.of(channel)
  }

  node(index = 0): N {
    const node = this.nodes[index]
    if (node === undefined) throw new RangeError(`there is no node ${index}`)
    return node
  }

  /** Lets `ms` pass for everybody. */
  advance(ms: number): Promise<void> {
    return this.timeline.advance(ms)
  }

  /**
   * Lets everything happen that can without time passing. With a promise it resolves to what that comes to, and rejects
   * where it waits for time to pass.
   */
  settle(): Promise<undefined>
  settle<T>(promise: Promise<T>): Promise<T>
  settle<T>(promise?: Promise<T>): Promise<T | undefined> {
    return this.timeline.settle(promise)
  }

  /** Plans faults at random times from the seed, from now on; `advance` lets them happen. */
  chaos(options: ChaosOptions): void {
    const parts = {
      timeline: this.timeline,
      trace: this.tracer,
      chance: this.chance.child(`chaos ${this.tracer.length}`),
      clients: () => this.clients,
      nodes: this.nodes,
      heal: () => void this.#heal()
    }
    void new Chaos(parts, options)
  }

  /** Ends every fault: the network is whole, clients are awake, and nodes that are down start with their store. */
  async heal(): Promise<void> {
    await this.#heal()
    await this.settle()
  }

  async #heal(): Promise<void> {
    this.tracer.add('net', 'heals')
    for (const client of this.clients) client.heal()
    for (const node of this.nodes) node.heal()
    await Promise.all(this.nodes.filter(({ state }) => state === 'down').map(node => node.restart()))
  }

  /**
   * That no client lost anything in silence: in each channel with a log everything came in order and once, or a gap said
   * what would not; and whoever is joined stands at the head.
   * @throws {LossError}
   */
  async expectNoLoss(): Promise<void> {
    const heads = async (names: readonly string[]) => {
      const node = this.nodes.find(({ broker }) => broker !== null)
      return node === undefined ? null : node.broker!.inner.heads(names)
    }
    const { seed } = this
    await expectNoLoss(this.clients, {
      ledger: this.#ledger,
      trace: this.tracer,
      seed,
      heads,
      forgets: this.#bounds !== undefined
    })
  }

  /** Closes clients and nodes, and lets go of everything; nothing is left afterwards. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    for (const client of this.clients) {
      client.heal()
      client.socket.disconnect()
    }
    for (const node of this.nodes) node.heal()
    await this.settle()
    const disposed = Promise.all(this.nodes.map(node => node.dispose()))
    await this.timeline.advanceUntil(disposed, CLOSE_LIMIT_MS, 'close')
    this.timeline.forget()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #factory(fresh: boolean): BrokerFactory {
    if (this.#broker !== undefined) {
      if (fresh) throw new Error('a broker of your own cannot be emptied here')
      return this.#broker
    }
    if (fresh) {
      if (this.nodes.some(({ state }) => state !== 'down')) throw new Error('other nodes run on this store')
      this.#store = new MemoryStore(this.#bounds)
    }
    const store = this.#store
    return context => new MemoryBroker(context, store, 'disk')
  }

  protected latencyMs = (): number => this.#latency.within(this.#latencyRange)

  protected caller(options: Omit<ClientOptions, 'socket'>): Caller {
    const index = this.#callers++
    const host = new Host(this.timeline, options.name ?? `c${this.clients.length + 1}`)
    return { host, path: new Path(), index, pinned: options.node, options }
  }

  /** Finds the node that a client's dial reaches: it, or the refusal that stands before it, or null where nobody listens. */
  protected reach({ path, index, pinned }: Caller, found: (node: N | null) => void): void {
    path.dial(() => {
      this.timeline.schedule(null, this.latencyMs(), 'input', () => found(this.#nodeFor(index, pinned)))
    })
  }

  /** The node that a balancer would choose. */
  #nodeFor(index: number, pinned: number | undefined): N | null {
    const { nodes } = this
    if (pinned !== undefined) return this.node(pinned).state === 'down' ? null : this.node(pinned)
    const inTurn = nodes.map((_, i) => nodes[(index + i) % nodes.length]!)
    return inTurn.find(({ state }) => state === 'up') ?? inTurn.find(({ state }) => state === 'draining') ?? null
  }
}
