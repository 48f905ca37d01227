import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import type { BrokerFactory } from '../../lib/broker/broker.ts'
import type { Clock } from '../../lib/protocol/clock.ts'
import type { ProfileLoader } from '../../lib/request/profile.ts'
import type { BrokerCall, Failure, FaultyParts } from './broker.ts'
import { FaultyBroker } from './broker.ts'
import type { Link } from './link.ts'
import type { SocketEnd } from './socket-end.ts'
import type { Timeline } from './timeline.ts'
import { Host } from './timeline.ts'

/** What an app of a net is built with: options that the plugin takes. */
export interface NodeOptions {
  /** The node's number, from 0. */
  readonly index: number
  readonly clock: Clock
  readonly broker: BrokerFactory
  /** Takes the profile that `net.client` was given. An app may take its own loader, and its clients cookies or headers. */
  readonly profile: ProfileLoader
}

/** Builds an app, with the plugin registered; the net makes it ready. */
export type AppBuilder = (options: NodeOptions) => FastifyInstance | PromiseLike<FastifyInstance>

export interface NodeParts {
  readonly index: number
  readonly build: AppBuilder
  readonly profile: ProfileLoader
  /** The store that a restart finds; `fresh` begins with an empty one. */
  readonly factory: (fresh: boolean) => BrokerFactory
  readonly timeline: Timeline
  readonly faulty: Omit<FaultyParts, 'host'>
}

/** How long a drain may take. */
const DRAIN_LIMIT_MS = 120_000

/** What a node is in between. */
export type NodeState = 'up' | 'draining' | 'down'

/** One run of an app, from its start to its end. */
interface Run {
  readonly app: FastifyInstance
  readonly host: Host
  readonly broker: FaultyBroker | null
  readonly links: Map<Link, SocketEnd>
}

/** One node of a net: an app, and what can happen to it. */
export class NetNode {
  readonly index: number
  readonly name: string
  readonly #parts: NodeParts
  #run: Run | null = null
  #state: NodeState = 'down'
  #runs = 0
  #closing: Promise<void> | null = null
  /** Runs that were killed: what they hold is let go in the end. */
  readonly #killed: Run[] = []
  #refusal: { readonly status: number; readonly retryAfterS: number | undefined } | null = null

  constructor(parts: NodeParts) {
    this.#parts = parts
    this.index = parts.index
    this.name = `n${parts.index}`
  }

  get state(): NodeState {
    return this.#state
  }

  /** The app that runs now. */
  get app(): FastifyInstance {
    if (this.#run === null) throw new Error(`${this.name} is down`)
    return this.#run.app
  }

  /** The node as a process: its clock, and what of it stands still. */
  get host(): Host | null {
    return this.#run?.host ?? null
  }

  get broker(): FaultyBroker | null {
    return this.#run?.broker ?? null
  }

  get refusal(): { readonly status: number; readonly retryAfterS: number | undefined } | null {
    return this.#refusal
  }

  /** Starts the app; it stands by the time this resolves. */
  async start(fresh: boolean): Promise<void> {
    const { build, profile, factory, faulty, index, timeline } = this.#parts
    const host = new Host(timeline, this.name, timeline.chance.child(`${this.name} run ${this.#runs++}`))
    let broker: FaultyBroker | null = null
    const made = FaultyBroker.over(factory(fresh), { ...faulty, host }, each => {
      broker = each
    })
    const app = await build({ index, clock: host, broker: made, profile })
    await app.ready()
    tame(app, host)
    this.#run = { app, host, broker, links: new Map() }
    this.#state = 'up'
    this.#trace('is up')
  }

  /** A connection from a client. */
  accept(end: SocketEnd, link: Link): void {
    const { app, host, links } = this.#run!
    links.set(link, end)
    end.once('close', () => links.delete(link))
    host.input(0, () => app.server.emit('connection', end))
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
    run.host.die()
    for (const link of run.links.keys()) {
      // The kernel ends its sockets: by a reset where there was something left to read.
      if (this.#parts.faulty.chance.oneIn(2)) link.reset()
      else {
        link.down.end(true)
        link.up.swallow()
      }
    }
    this.#killed.push(run)
    if (run.broker !== null) void run.host.timeline.track(run.broker.drop())
  }

  /** Closes the app, as a deploy does, and lets the time pass that this takes. */
  async drain(): Promise<void> {
    const { timeline } = this.#live().host
    await timeline.advanceUntil(this.beginDrain(), DRAIN_LIMIT_MS, `${this.name} drains`)
  }

  /** Begins to close the app; resolves once it is down. */
  beginDrain(): Promise<void> {
    if (this.#closing !== null) return this.#closing
    const run = this.#live()
    this.#trace('fault: drains')
    this.#state = 'draining'
    this.#closing = run.app.close().then(() => this.#drained(run))
    return this.#closing
  }

  #drained(run: Run): void {
    this.#closing = null
    if (this.#run !== run) return
    this.#trace('is down')
    this.#run = null
    this.#state = 'down'
    for (const end of run.links.values()) end.destroy()
    run.host.die()
  }

  /**
   * Starts it again; a node that still runs is killed first. `store: false` begins with an empty store, as after the
   * loss of a disk, or as a broker that keeps everything in the process does.
   */
  async restart({ store = true }: { readonly store?: boolean } = {}): Promise<void> {
    if (this.#run !== null) this.kill()
    this.#closing = null
    this.#trace(`restarts ${store ? 'with' : 'without'} its store`)
    await this.#parts.timeline.track(this.start(!store))
  }

  /** Answers handshakes with this status, before the app, as a proxy does; until `accept` is called. */
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
    if (this.#run !== null) this.#wake(this.#run.host)
  }

  /** Lets go of all that it and its killed runs hold. */
  async dispose(): Promise<void> {
    const closing: Promise<unknown>[] = []
    if (this.#closing !== null) closing.push(this.#closing)
    else if (this.#run !== null) closing.push(this.#run.app.close())
    for (const run of this.#killed.splice(0)) {
      run.host.revive()
      for (const end of run.links.values()) end.destroy()
      closing.push(run.app.close())
    }
    await Promise.allSettled(closing)
    if (this.#run !== null) this.#drained(this.#run)
  }

  #live(): Run {
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

/** Keeps real time out of an app: ws would wait by a timer of its own, and Node would tell the date. */
function tame(app: FastifyInstance, host: Host): void {
  const { server, websocketServer } = app as unknown as { server: Server; websocketServer?: { options: WsOptions } }
  server.prependListener('request', (_request, response) => {
    response.sendDate = false
  })
  if (websocketServer === undefined) return
  const { options } = websocketServer
  const closeTimers = new WeakMap<object, { cancel(): void }>()
  options.WebSocket = class extends options.WebSocket {
    get _closeTimer(): null {
      return null
    }

    set _closeTimer(timer: NodeJS.Timeout | null) {
      if (timer === null) return
      clearTimeout(timer)
      const socket = (this as { _socket?: { destroy(): void; once(event: 'close', task: () => void): void } })._socket
      const virtual = host.after(options.closeTimeout ?? 30_000, () => socket?.destroy())
      closeTimers.set(this, virtual)
      socket?.once('close', () => virtual.cancel())
    }
  }
}

interface WsOptions {
  WebSocket: new (...args: any[]) => any
  closeTimeout?: number
}
