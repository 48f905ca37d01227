import type { BrokerCall } from './broker.ts'
import type { Chance } from './chance.ts'
import type { KitClient } from './client.ts'
import type { KitNode } from './node.ts'
import type { Timeline } from './timeline.ts'
import type { Trace } from './trace.ts'

/** Faults of clients and their links, and of nodes. */
export const FAULTS = [
  'cut',
  'reset',
  'half-open',
  'drop',
  'delay',
  'stop-reading',
  'offline',
  'suspend',
  'stall',
  'kill',
  'kill-and-wipe',
  'drain',
  'refuse',
  'fail-broker',
  'lose-entry'
] as const

export type Fault = (typeof FAULTS)[number]

export interface ChaosOptions {
  /** For how long faults begin; all of them have ended by then. */
  readonly ms: number
  /** Which. Default those of clients and links, stalls, kills and drains. */
  readonly faults?: readonly Fault[]
  /** Milliseconds between two faults, on average. Default 1,000. */
  readonly everyMs?: number
  /** How long a fault that lasts may last. Default 10 to 20,000. */
  readonly lastsMs?: readonly [number, number]
}

export const DEFAULT_FAULTS: readonly Fault[] = [
  'cut',
  'reset',
  'half-open',
  'drop',
  'delay',
  'stop-reading',
  'offline',
  'suspend',
  'stall',
  'kill',
  'drain'
]

export interface ChaosParts {
  readonly timeline: Timeline
  readonly trace: Trace
  readonly chance: Chance
  readonly clients: () => readonly KitClient<any>[]
  readonly nodes: readonly KitNode<any>[]
  readonly heal: () => void
}

const CALLS: readonly BrokerCall[] = ['commit', 'read', 'subscribe', 'heads', 'openSession', 'result']

/** Faults at random times from the seed, on random clients and nodes. */
export class Chaos {
  readonly #parts: ChaosParts
  readonly #lastsMs: readonly [number, number]
  readonly #endsAt: number

  constructor(
    parts: ChaosParts,
    { ms, faults = DEFAULT_FAULTS, everyMs = 1_000, lastsMs = [10, 20_000] }: ChaosOptions
  ) {
    const { timeline, chance } = parts
    this.#parts = parts
    this.#lastsMs = lastsMs
    this.#endsAt = timeline.now + ms
    for (let at = chance.next() * 2 * everyMs; at < ms; at += chance.next() * 2 * everyMs) {
      timeline.schedule(null, at, 'timer', () => this.#strike(chance.pick(faults)))
    }
    timeline.schedule(null, ms, 'timer', parts.heal)
  }

  #strike(fault: Fault): void {
    const { chance, clients, nodes } = this.#parts
    const up = nodes.filter(({ state }) => state === 'up')
    const all = clients()
    if (fault in ON_CLIENTS && all.length > 0) this.#onClient(fault, chance.pick(all))
    else if (up.length > 0) this.#onNode(fault, chance.pick(up))
  }

  #onClient(fault: Fault, client: KitClient<any>): void {
    const { chance } = this.#parts
    const { task, undo } = ON_CLIENTS[fault]!
    task(client, chance)
    if (undo !== undefined) this.#later(() => undo(client))
  }

  #onNode(fault: Fault, node: KitNode<any>): void {
    const { chance, trace } = this.#parts
    const restart = (store: boolean): void => {
      this.#later(() => {
        if (node.state === 'down') void node.restart({ store })
      })
    }
    if (fault === 'stall') node.stall(this.#duration())
    else if (fault === 'kill' || fault === 'kill-and-wipe') {
      node.kill()
      restart(fault === 'kill')
    } else if (fault === 'drain') void node.beginDrain().then(() => restart(true))
    else if (fault === 'refuse') {
      node.refuse(chance.pick([429, 500, 502, 503]))
      this.#later(() => node.admit())
    } else if (fault === 'fail-broker') {
      node.failNext(chance.pick(CALLS), { done: chance.oneIn(2), times: 1 + chance.below(3) })
    } else if (fault === 'lose-entry') node.loseNext(1 + chance.below(3))
    else trace.add(node.name, `nothing suffers ${fault}`)
  }

  #duration(): number {
    const left = Math.max(0, this.#endsAt - this.#parts.timeline.now)
    return Math.min(left, this.#parts.chance.within(this.#lastsMs))
  }

  #later(task: () => void): void {
    this.#parts.timeline.schedule(null, this.#duration(), 'timer', task)
  }
}

interface ClientFault {
  readonly task: (client: KitClient<any>, chance: Chance) => void
  readonly undo?: (client: KitClient<any>) => void
}

const ON_CLIENTS: Readonly<Partial<Record<Fault, ClientFault>>> = {
  cut: { task: client => client.cut() },
  reset: { task: client => client.reset() },
  'half-open': { task: client => client.halfOpen() },
  drop: { task: (client, chance) => client.drop(chance.pick(['up', 'down'])) },
  delay: {
    task: (client, chance) => client.delay(chance.below(3_000), chance.pick(['up', 'down'])),
    undo: client => client.delay(0)
  },
  'stop-reading': { task: client => client.stopReading(), undo: client => client.resumeReading() },
  offline: { task: client => client.offline(), undo: client => client.online() },
  suspend: { task: client => client.suspend(), undo: client => client.wake() }
}
