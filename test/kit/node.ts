import type { BrokerFactory } from '../../lib/broker/broker.ts'
import type { BrokerCall, Failure, FaultyParts } from './broker.ts'
import { FaultyBroker } from './broker.ts'
import type { Link } from './link.ts'
import type { Timeline } from './timeline.ts'
import { Host } from './timeline.ts'

/** What runs on a node: an app, or a service alone. */
export interface Serving {
  /** Ends it as a deploy does. */
  close(): Promise<unknown>
}

/** What every run of a node begins with. */
export interface Start {
  /** The node's number, from 0. */
  readonly index: number
  readonly host: Host
  readonly broker: BrokerFactory
}

export interface NodeParts<S extends Serving> {
  readonly index: number
  readonly serve: (start: Start) => Promise<S>
  readonly timeline: Timeline
  /** The store that a start finds; `fresh` begins with an empty one. */
  readonly factory: (fresh: boolean) => BrokerFactory
  readonly faulty: Omit<FaultyParts, 'host'>
}

/** How long a drain may take. */
const DRAIN_LIMIT_MS = 120_000

export type NodeState = 'up' | 'draining' | 'down'

/** One run of a node, from its start to its end. */
interface Run<S> {
  readonly serving: S
  readonly host: Host
  readonly broker: FaultyBroker | null
  /** Its connections, each with what lets go of this side of it. */
  readonly links: Map<Link, () => void>
}

/** One node of a cluster, and what can happen to it. */
export class KitNode<S extends Serving> {
  readonly index: number
  readonly name: string
  readonly #parts: NodeParts<S>
  #run: Run<S> | null = null
  #state: NodeState = 'down'
  #runs = 0
  #closing: Promise<void> | null = null
  /** Runs that were killed: what they hold is let go in the end. */
  readonly #killed: Run<S>[] = []
  #refusal: Refusal | null = null
  #leftTimers = 0

  constructor(parts: NodeParts<S>) {
    this.#parts = parts
    this.index = parts.index
    this.name = `n${parts.index}`
  }

  get state(): NodeState {
    return this.#state
  }

  /** What runs on it. @throws where it is down */
  get serving(): S {
    return this.#live().serving
  }

  /** Its process, as a clock. @throws where it is down */
  get host(): Host {
    return this.#live().host
  }

  /** Its broker, past all faults; null where it is down or took none. */
  get broker(): FaultyBroker | null {
    return this.#run?.broker ?? null
  }

  /** How it refuses handshakes; null where it does not. */
  get refusal(): Refusal | null {
    return this.#refusal
  }

  /** Timers that were left when it last closed in order. */
  get leftTimers(): number {
    return this.#leftTimers
  }

  /** Starts it; it is up by the time this resolves. */
  async start(fresh = false): Promise<void> {
    const { serve, factory, faulty, index, timeline } = this.#parts
    const host = new Host(timeline, this.name, timeline.chance.child(`${this.name} run ${this.#runs++}`))
    let made: FaultyBroker | null = null
    const broker = FaultyBroker.over(factory(fresh), { ...faulty, host }, each => {
      made = each
    })
    const serving = await serve({ index, host, broker })
    this.#run = { serving, host, broker: made, links: new Map() }
    this.#state = 'up'
    this.#trace('is up')
  }

  /** A connection begins here. What comes back ends it. */
  hold(link: Link, letGo: () => void): () => void {
    const { links } = this.#live()
    links.set(link, letGo)
    return () => links.delete(link)
  }

  /** Nothing runs on it for so long; then all that waited runs in one burst. */
  stall(ms: number): void {
    const { host } = this.#live()
    this.#trace(`fault: stalls for ${ms}`)
    host.hold()
    host.timeline.schedule(null, ms, 'timer', () => this.#wake(host))
  }

  #wake(host: Host): void {
    if (host.state !== 'held') return
    this.#trace('runs on')
    host.release()
  }

  /** Its process is gone at once, without a word: what it had not stored or sent is lost. */
  kill(): void {
    const run = this.#live()
    this.#trace('fault: killed')
    this.#run = null
    this.#state = 'down'
    this.#closing = null
    run.host.die()
    for (const link of run.links.keys()) {
      // The kernel ends its connections, with what it holds of them: by a reset where there was something left to read.
      if (this.#parts.faulty.chance.oneIn(2)) link.reset()
      else {
        link.down.breakOff(true)
        link.up.swallow()
      }
    }
    this.#killed.push(run)
    if (run.broker !== null) void this.#parts.timeline.track(run.broker.drop())
  }

  /** Closes it as a deploy does, and lets the time pass that this takes. */
  async drain(): Promise<void> {
    await this.#parts.timeline.advanceUntil(this.beginDrain(), DRAIN_LIMIT_MS, `${this.name} drains`)
  }

  /** Begins to close it; resolves once it is down. */
  beginDrain(): Promise<void> {
    if (this.#closing !== null) return this.#closing
    const run = this.#live()
    this.#trace('fault: drains')
    this.#state = 'draining'
    this.#closing = run.serving.close().then(() => this.#drained(run))
    return this.#closing
  }

  #drained(run: Run<S>): void {
    if (this.#run !== run) return
    this.#trace('is down')
    this.#closing = null
    this.#run = null
    this.#state = 'down'
    this.#leftTimers = this.#parts.timeline.timersOf(run.host)
    for (const letGo of [...run.links.values()]) letGo()
    run.host.die()
  }

  /**
   * Starts it again; one that still runs is killed first. `store: false` begins with an empty store, as after the loss of
   * a disk, or where the broker keeps everything in the process.
   */
  async restart({ store = true }: { readonly store?: boolean } = {}): Promise<void> {
    if (this.#run !== null) this.kill()
    this.#trace(`restarts ${store ? 'with' : 'without'} its store`)
    await this.#parts.timeline.track(this.start(!store))
  }

  /** Answers handshakes with this status, before the app does, as a proxy may; until `admit` is called. */
  refuse(status: number, { retryAfterS }: { readonly retryAfterS?: number } = {}): void {
    this.#trace(`fault: refuses with ${status}`)
    this.#refusal = { status, retryAfterS }
  }

  /** Lets handshakes through again. */
  admit(): void {
    if (this.#refusal === null) return
    this.#trace('admits again')
    this.#refusal = null
  }

  /** Its broker's next calls of that kind fail. */
  failNext(call: BrokerCall, failure?: Failure): void {
    this.#liveBroker().failNext(call, failure)
  }

  /** The next publications on their way from the broker to this node are lost. */
  loseNext(count = 1): void {
    this.#liveBroker().loseNext(count)
  }

  /** Its wall clock jumps; its timers do not. */
  jumpWall(ms: number): void {
    this.#trace(`fault: wall clock jumps by ${ms}`)
    this.#live().host.jumpWall(ms)
  }

  /** Ends all that is wrong with it, but for being down. */
  heal(): void {
    this.admit()
    this.broker?.heal()
    if (this.#run !== null) this.#wake(this.#run.host)
  }

  /** Lets go of all that it and its killed runs hold. */
  async dispose(): Promise<void> {
    const closing: Promise<unknown>[] = []
    if (this.#closing !== null) closing.push(this.#closing)
    else if (this.#run !== null) closing.push(this.beginDrain())
    for (const { host, links, serving } of this.#killed.splice(0)) {
      host.revive()
      for (const letGo of [...links.values()]) letGo()
      closing.push(serving.close())
    }
    await Promise.allSettled(closing)
  }

  #live(): Run<S> {
    if (this.#run === null) throw new Error(`${this.name} is down`)
    return this.#run
  }

  #liveBroker(): FaultyBroker {
    const { broker } = this.#live()
    if (broker === null) throw new Error(`${this.name} does not use the broker that it was given`)
    return broker
  }

  #trace(what: string): void {
    this.#parts.faulty.trace.add(this.name, what)
  }
}

export interface Refusal {
  readonly status: number
  readonly retryAfterS: number | undefined
}
