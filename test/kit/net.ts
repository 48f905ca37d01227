import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { fastify } from 'fastify'
import type { FetchLike, WebSocketConstructor, WebSocketLike } from '../../client/transport.ts'
import type { BrokerFactory } from '../../lib/broker/broker.ts'
import { userChannel } from '../../lib/protocol/channel-name.ts'
import type { Clock } from '../../lib/protocol/clock.ts'
import { SUBPROTOCOL } from '../../lib/protocol/system.ts'
import type { ProfileLoader } from '../../lib/request/profile.ts'
import type { ChannelsOptions } from '../../plugins/index.ts'
import { act, channels } from '../../plugins/index.ts'
import type { ClientOptions, DialOptions } from './client.ts'
import { KitClient } from './client.ts'
import type { NodeParts, Start } from './node.ts'
import { KitNode } from './node.ts'
import type { Caller, SimulationOptions } from './simulation.ts'
import { Simulation } from './simulation.ts'
import type { Ends } from './socket-end.ts'
import { connectEnds } from './socket-end.ts'
import type { Host } from './timeline.ts'
import { LOOP_TURNS } from './timeline.ts'
import type { Tap } from './websocket.ts'
import { memoryWebSocket, parseResponse, requestText, traced } from './websocket.ts'

/** What a net is made of. Everything has a default. */
export interface NetOptions extends SimulationOptions {
  /** Builds each node's app as in production, but with the clock, broker and profile loader that it is given. */
  readonly app?: AppBuilder
  /** Without `app`: options of the plugin in the app that the net makes itself. It has `/ws/connect`. */
  readonly options?: Omit<ChannelsOptions, 'clock'>
  /** Without `app`: adds routes and rules to that app. */
  readonly setup?: (app: FastifyInstance) => unknown
}

/** What an app of a net is built with: options of the plugin, and nothing else. */
export interface NodeOptions {
  readonly clock: Clock
  readonly broker: BrokerFactory
  /** Takes the profile that `net.client` was given. An app may take its own loader, and its clients cookies or headers. */
  readonly profile: ProfileLoader
}

/** Builds the app of one node, of which `index` is the number, with the plugin registered; the net makes it ready. */
export type AppBuilder = (options: NodeOptions, index: number) => FastifyInstance | PromiseLike<FastifyInstance>

/** The header in which a client of the kit says who it is. */
const PROFILE_HEADER = 'x-kit-profile'

interface ServingApp {
  readonly app: FastifyInstance
  close(): Promise<unknown>
}

/** A node that runs an app. */
export class NetNode extends KitNode<ServingApp> {
  /** The app that runs now. @throws where it is down */
  get app(): FastifyInstance {
    return this.serving.app
  }
}

/** Real apps, real clients and a network between them, in one process and on one clock that only the test moves. */
export class Net extends Simulation<ServingApp, NetNode> {
  readonly #options: NetOptions

  constructor(options: NetOptions) {
    super(options, LOOP_TURNS)
    this.#options = options
  }

  protected makeNode(parts: NodeParts<ServingApp>): NetNode {
    return new NetNode(parts)
  }

  protected async serve({ index, host, broker }: Start): Promise<ServingApp> {
    const build = this.#options.app ?? (options => this.#ownApp(options))
    const app = await build({ clock: host, broker, profile: headerProfile }, index)
    await app.ready()
    tame(app, host)
    return { app, close: () => app.close() }
  }

  async #ownApp({ clock, broker, profile }: NodeOptions): Promise<FastifyInstance> {
    const { options = {}, setup } = this.#options
    // The time that a plugin or a hook may take is real time's.
    const app = fastify({ pluginTimeout: 0 })
    await app.register(channels, { profile, broker, ...options, clock })
    app.get(
      '/ws/connect',
      act('connect', async (app, ps) => {
        await app.sockets.upgrade(ps, ps.profile === null ? 'connect' : userChannel(ps.profile.id))
      })
    )
    await setup?.(app)
    return app
  }

  /** A real client that dials at once. `path` is where, below the app's root: `/ws/connect`, where nothing is said. */
  client<C = unknown>(path?: string, options?: ClientOptions): KitClient<C>
  client<C = unknown>(options?: ClientOptions): KitClient<C>
  client<C = unknown>(first: string | ClientOptions = {}, second: ClientOptions = {}): KitClient<C> {
    const [path, options] = typeof first === 'string' ? [first, second] : ['/ws/connect', first]
    const caller = this.caller(options)
    const client = new KitClient<C>(`ws://net${path}`, options, {
      host: caller.host,
      path: caller.path,
      trace: this.tracer,
      webSocket: tap => this.#webSocket(caller, tap),
      fetch: (url, { signal }) => this.#fetch(caller, url, headersOf(options), signal)
    })
    this.clients.push(client)
    return client
  }

  dial(path = '/ws/connect', options: DialOptions = {}): WebSocketLike {
    const caller = this.caller({ name: 'ws', ...options })
    const WebSocket = this.#webSocket(caller, traced(this.tracer, caller.host.name))
    return new WebSocket(`ws://net${path}`, [...(options.protocols ?? [SUBPROTOCOL])])
  }

  #webSocket(caller: Caller, tap: Tap): WebSocketConstructor {
    return memoryWebSocket(caller.host, tap, headersOf(caller.options), done => this.#dial(caller, done))
  }

  /** Tells the client of the connection, or of the node that refuses it, or that nobody is there. */
  #dial(caller: Caller, done: (found: Ends | NetNode | null) => void): void {
    this.reach(caller, node => {
      const found = node === null || node.refusal !== null ? node : this.#connect(caller, node)
      caller.host.input(this.latencyMs(), () => done(found))
    })
  }

  #connect({ host, path, index }: Caller, node: NetNode): Ends {
    const ends = connectEnds({
      client: host,
      server: node.host,
      from: { ip: `10.0.${index >> 8}.${index & 255}`, port: 40_000 },
      to: { ip: `10.1.0.${node.index}`, port: 80 },
      capacity: this.socketBytes,
      latencyMs: this.latencyMs
    })
    const { client, server, link } = ends
    path.add(link)
    client.once('close', () => path.remove(link))
    server.once(
      'close',
      node.hold(link, () => server.destroy())
    )
    const { app } = node
    node.host.input(0, () => app.server.emit('connection', server))
    return ends
  }

  #fetch(caller: Caller, url: string, headers: Headers, signal: AbortSignal): ReturnType<FetchLike> {
    return new Promise((resolve, reject) => {
      const answer = (status: number, headers: ReadonlyMap<string, string>): void =>
        resolve({ status, headers: { get: name => headers.get(name) ?? null } })
      this.#dial(caller, found => {
        if (found === null) reject(new Error('ECONNREFUSED'))
        else if (found instanceof NetNode) {
          const { status, retryAfterS } = found.refusal ?? { status: 503 }
          answer(status, new Map(retryAfterS === undefined ? [] : [['retry-after', String(retryAfterS)]]))
        } else ask(found, new URL(url), headers, signal, answer, reject)
      })
    })
  }
}

type Headers = Readonly<Record<string, string>>

function ask(
  { client }: Ends,
  url: URL,
  headers: Headers,
  signal: AbortSignal,
  answer: (status: number, headers: ReadonlyMap<string, string>) => void,
  fail: (error: Error) => void
): void {
  if (client.destroyed) {
    fail(new Error('the connection ended'))
    return
  }
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
  const who = profile === undefined || profile === null ? {} : { [PROFILE_HEADER]: encode(profile) }
  return { origin: 'http://net', ...who, ...headers }
}

function encode(profile: object): string {
  return encodeURIComponent(JSON.stringify(profile))
}

const headerProfile: ProfileLoader = request => {
  const header = request.headers[PROFILE_HEADER]
  return typeof header === 'string' ? JSON.parse(decodeURIComponent(header)) : null
}

/** Keeps real time out of an app: ws would wait by a timer of its own, and Node would tell the date. */
function tame(app: FastifyInstance, host: Host): void {
  const { server, websocketServer } = app as unknown as { server: Server; websocketServer?: { options: WsOptions } }
  server.prependListener('request', (_request, response) => {
    response.sendDate = false
  })
  if (websocketServer === undefined) return
  const { options } = websocketServer
  options.WebSocket = class extends options.WebSocket {
    get _closeTimer(): null {
      return null
    }

    set _closeTimer(timer: NodeJS.Timeout | null) {
      if (timer === null) return
      clearTimeout(timer)
      const socket = (this as { _socket?: { destroy(): void; once(event: 'close', task: () => void): void } })._socket
      const virtual = host.after(options.closeTimeout ?? 30_000, () => socket?.destroy())
      socket?.once('close', () => virtual.cancel())
    }
  }
}

interface WsOptions {
  WebSocket: new (...args: any[]) => any
  closeTimeout?: number
}

/** Starts every node. */
export async function createNet(options: NetOptions = {}): Promise<Net> {
  const net = new Net(options)
  for (const node of net.nodes) await node.start()
  return net
}
