import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import type { FetchLike } from '../../client/transport.ts'
import type { BrokerFactory } from '../../lib/broker/broker.ts'
import { MemoryBroker, MemoryStore } from '../../lib/broker/memory.ts'
import { assertOptions } from '../../lib/options.ts'
import { userChannel } from '../../lib/protocol/channel-name.ts'
import type { ProfileLoader } from '../../lib/request/profile.ts'
import type { ChannelsOptions } from '../../plugins/index.ts'
import { act, channels } from '../../plugins/index.ts'
import { Chance } from './chance.ts'
import type { ChaosOptions } from './chaos.ts'
import { Chaos } from './chaos.ts'
import { expectNoLoss } from './checks.ts'
import type { ClientOptions } from './client.ts'
import { KitClient } from './client.ts'
import { Ledger } from './ledger.ts'
import type { AppBuilder, NodeOptions } from './node.ts'
import { NetNode } from './node.ts'
import { Path } from './path.ts'
import type { Ends } from './socket-end.ts'
import { connectEnds } from './socket-end.ts'
import { Host, Timeline } from './timeline.ts'
import { Trace } from './trace.ts'
import { MemoryWebSocket, parseResponse, requestText } from './websocket.ts'

/** What a net is made of. Everything has a default. */
export interface NetOptions {
  /** What all chance comes from. Default 1. */
  readonly seed?: number
  /** Nodes of the cluster. Default 1. */
  readonly nodes?: number
  /** Builds each node's app as in production, but with the clock, broker and profile loader that it is given. */
  readonly app?: AppBuilder
  /** Without `app`: options of the plugin in the app that the net makes itself. It has `/ws/connect`. */
  readonly options?: Omit<ChannelsOptions, 'clock'>
  /** Without `app`: adds routes and rules to that app. */
  readonly setup?: (app: FastifyInstance) => unknown
  /** What all nodes share as their broker. Default: one store in memory, which outlives the nodes as a disk does. */
  readonly broker?: BrokerFactory
  /** Milliseconds from a client to a node and back each, for every piece. Default [0, 0]: `settle` lets everything arrive. */
  readonly latencyMs?: readonly [number, number]
  /** Milliseconds of a broker call, there and back each. Default [0, 0]. */
  readonly brokerMs?: readonly [number, number]
  /** Milliseconds from one node's commit to another node. Default `latencyMs`. */
  readonly busMs?: readonly [number, number]
  /** Bytes that a connection holds in each direction before its sender has to wait. Default 65,536. */
  readonly socketBytes?: number
}

/** The header in which a client of the kit says who it is. */
const PROFILE_HEADER = 'x-kit-profile'

/** How long closing everything may take. */
const CLOSE_LIMIT_MS = 300_000

/** Whether the plugin has brokers. */
const HAS_BROKER = accepts({ broker: () => {} })

/** Real apps, real clients and a network between them, in one process and on one clock that only the test moves. */
export class Net {
  readonly seed: number
  readonly nodes: readonly NetNode[]
  readonly clients: KitClient<any>[] = []
  /** The test's own chance and clock, from the same seed. */
  readonly chance: Chance
  readonly host: Host
  readonly #timeline: Timeline
  readonly #trace: Trace
  readonly #ledger = new Ledger()
  readonly #options: NetOptions
  readonly #latency: Chance
  #store = new MemoryStore()
  #closed = false

  constructor(options: NetOptions) {
    const { seed = 1, nodes = 1, latencyMs = [0, 0], brokerMs = [0, 0], busMs = latencyMs } = options
    this.seed = seed
    this.#options = options
    const chance = new Chance(seed)
    this.chance = chance.child('test')
    this.#latency = chance.child('latency')
    this.#timeline = new Timeline(chance)
    this.#trace = new Trace(this.#timeline)
    this.host = new Host(this.#timeline, 'test')
    const build = options.app ?? (node => this.#ownApp(node))
    const timeline = this.#timeline
    const faulty = { trace: this.#trace, ledger: this.#ledger, chance: chance.child('faults'), callMs: brokerMs, busMs }
    const factory = (fresh: boolean): BrokerFactory => this.#factory(fresh)
    this.nodes = Array.from(
      { length: nodes },
      (_, index) => new NetNode({ index, build, profile: headerProfile, factory, timeline, faulty })
    )
  }

  /** What happened so far, one line each; the same seed and the same test give the same text. */
  get trace(): string {
    return this.#trace.toString()
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.#timeline.now
  }

  /** Timers and bytes that are still to come: 0 once the net is closed. */
  get pending(): number {
    return this.#timeline.pending
  }

  /** Publications that the brokers stored in a channel's log, in its order. */
  stored(channel: string): ReturnType<Ledger['of']> {
    return this.#ledger.of(channel)
  }

  node(index = 0): NetNode {
    const node = this.nodes[index]
    if (node === undefined) throw new RangeError(`there is no node ${index}`)
    return node
  }

  /** A real client that dials at once. `path` is where, below the app's root. */
  client<C = unknown>(path?: string, options?: ClientOptions): KitClient<C>
  client<C = unknown>(options?: ClientOptions): KitClient<C>
  client<C = unknown>(first: string | ClientOptions = {}, second: ClientOptions = {}): KitClient<C> {
    const [url, options] = typeof first === 'string' ? [first, second] : ['/ws/connect', first]
    const index = this.clients.length
    const name = options.name ?? `c${index + 1}`
    const host = new Host(this.#timeline, name)
    const path = new Path()
    const headers = headersOf(options)
    const caller: Caller = { host, path, headers, index, pinned: options.node }
    const client = new KitClient<C>(`ws://net${url}`, options, {
      host,
      path,
      trace: this.#trace,
      dial: (url, protocols, tap) =>
        new MemoryWebSocket(host, tap, url, protocols, headers, done => this.#dial(caller, done)),
      fetch: (url, { signal }) => this.#fetch(caller, url, signal)
    })
    this.clients.push(client)
    return client
  }

  /** Lets `ms` pass for everybody. */
  advance(ms: number): Promise<void> {
    return this.#timeline.advance(ms)
  }

  /**
   * Lets everything happen that can without time passing. With a promise it resolves to what that comes to, and rejects
   * where it waits for time to pass.
   */
  settle(): Promise<undefined>
  settle<T>(promise: Promise<T>): Promise<T>
  settle<T>(promise?: Promise<T>): Promise<T | undefined> {
    return this.#timeline.settle(promise)
  }

  /** Plans faults at random times from the seed, from now on; `advance` lets them happen. */
  chaos(options: ChaosOptions): void {
    const parts = {
      timeline: this.#timeline,
      trace: this.#trace,
      chance: this.chance.child(`chaos ${this.#trace.length}`),
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
    this.#trace.add('net', 'heals')
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
      return node === undefined ? [] : node.broker!.inner.heads(names)
    }
    const { seed } = this
    await expectNoLoss(this.clients, { ledger: this.#ledger, trace: this.#trace, seed, heads })
  }

  /** Closes clients and apps, and lets go of everything; nothing of the net is left afterwards. */
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
    await this.#timeline.advanceUntil(disposed, CLOSE_LIMIT_MS, 'close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #factory(fresh: boolean): BrokerFactory {
    if (this.#options.broker !== undefined) {
      if (fresh) throw new Error('a net with a broker of its own cannot empty its store')
      return this.#options.broker
    }
    if (fresh) {
      if (this.nodes.some(({ state }) => state !== 'down')) throw new Error('other nodes run on this store')
      this.#store = new MemoryStore()
    }
    const store = this.#store
    return context => new MemoryBroker(context, store, 'disk')
  }

  async #ownApp({ clock, broker, profile }: NodeOptions): Promise<FastifyInstance> {
    const { options = {}, setup } = this.#options
    const app = fastify()
    await app.register(channels, { profile, ...(HAS_BROKER ? { broker } : {}), ...options, clock } as ChannelsOptions)
    app.get(
      '/ws/connect',
      act('connect', async (app, ps) => {
        await app.sockets.upgrade(ps, ps.profile === null ? 'connect' : userChannel(ps.profile.id))
      })
    )
    await setup?.(app)
    return app
  }

  #latencyMs = (): number => this.#latency.within(this.#options.latencyMs ?? [0, 0])

  /** The node that a balancer would choose. */
  #nodeFor({ index, pinned }: Caller): NetNode | null {
    const { nodes } = this
    if (pinned !== undefined) return this.node(pinned).state === 'down' ? null : this.node(pinned)
    for (let i = 0; i < nodes.length; i++) {
      const node = nodes[(index + i) % nodes.length]!
      if (node.state === 'up') return node
    }
    return nodes.find(({ state }) => state === 'draining') ?? null
  }

  /** Tells the client of the connection, or of the status with which it is refused, or that nobody is there. */
  #dial(caller: Caller, done: (found: Ends | number | null) => void): void {
    const { host, path } = caller
    const refused = (found: number | null): void => void host.input(this.#latencyMs(), () => done(found))
    path.dial(() => {
      this.#timeline.schedule(null, this.#latencyMs(), 'input', () => {
        const node = this.#nodeFor(caller)
        if (node === null) return refused(null)
        if (node.refusal !== null) return refused(node.refusal.status)
        const ends = this.#connect(caller, node)
        host.input(this.#latencyMs(), () => done(ends))
      })
    })
  }

  #connect({ host, path, index }: Caller, node: NetNode): Ends {
    const ends = connectEnds({
      client: host,
      server: node.host!,
      from: { ip: `10.0.${index >> 8}.${index & 255}`, port: 40_000 },
      to: { ip: `10.1.0.${node.index}`, port: 80 },
      capacity: this.#options.socketBytes ?? 65_536,
      latencyMs: this.#latencyMs
    })
    path.add(ends.link)
    ends.client.once('close', () => path.remove(ends.link))
    node.accept(ends.server, ends.link)
    return ends
  }

  #fetch(caller: Caller, url: string, signal: AbortSignal): ReturnType<FetchLike> {
    return new Promise((resolve, reject) => {
      const answer = (status: number, headers: ReadonlyMap<string, string>): void =>
        resolve({ status, headers: { get: name => headers.get(name) ?? null } })
      this.#dial(caller, found => {
        if (found === null) reject(new Error('ECONNREFUSED'))
        else if (typeof found === 'number') {
          const after = this.nodes.find(({ refusal }) => refusal?.status === found)?.refusal?.retryAfterS
          answer(found, new Map(after === undefined ? [] : [['retry-after', String(after)]]))
        } else ask(found, new URL(url), caller.headers, signal, answer, reject)
      })
    })
  }
}

interface Caller {
  readonly host: Host
  readonly path: Path
  readonly headers: Readonly<Record<string, string>>
  readonly index: number
  readonly pinned: number | undefined
}

function ask(
  { client }: Ends,
  url: URL,
  headers: Readonly<Record<string, string>>,
  signal: AbortSignal,
  answer: (status: number, headers: ReadonlyMap<string, string>) => void,
  fail: (error: Error) => void
): void {
  let bytes: Buffer = Buffer.alloc(0)
  client.on('data', chunk => {
    bytes = Buffer.concat([bytes, chunk])
    const response = parseResponse(bytes)
    if (response === null) return
    answer(response.status, response.headers)
    client.destroy()
  })
  client.on('error', fail)
  client.on('close', () => fail(new Error('the connection ended')))
  signal.addEventListener('abort', () => client.destroy())
  client.write(requestText('GET', url, { ...headers, connection: 'close' }))
}

function headersOf({ profile, headers = {} }: ClientOptions): Record<string, string> {
  return {
    origin: 'http://net',
    ...(profile === undefined || profile === null
      ? {}
      : { [PROFILE_HEADER]: encodeURIComponent(JSON.stringify(profile)) }),
    ...headers
  }
}

const headerProfile: ProfileLoader = request => {
  const header = request.headers[PROFILE_HEADER]
  return typeof header === 'string' ? JSON.parse(decodeURIComponent(header)) : null
}

function accepts(options: object): boolean {
  try {
    assertOptions(options)
    return true
  } catch {
    return false
  }
}

/** Starts every node. */
export async function createNet(options: NetOptions = {}): Promise<Net> {
  const net = new Net(options)
  for (const node of net.nodes) await node.start(false)
  return net
}
