import type { WebSocketConstructor, WebSocketLike } from '../../client/transport.ts'
import type { OutgoingMessage } from '../../lib/connection/publication.ts'
import type { Rendezvous } from '../../lib/connection/rendezvous.ts'
import { parseResume, RESUME_PREFIX } from '../../lib/connection/resume.ts'
import type { Logger } from '../../lib/log.ts'
import type { Limits, Times } from '../../lib/options.ts'
import { DEFAULT_LIMITS, DEFAULT_TIMES } from '../../lib/options.ts'
import { userChannel } from '../../lib/protocol/channel-name.ts'
import { SUBPROTOCOL } from '../../lib/protocol/system.ts'
import type { RegisteredProfile } from '../../lib/register.ts'
import type { ServiceParts } from '../../lib/service.ts'
import { Service } from '../../lib/service.ts'
import { Refusals } from '../../lib/stats.ts'
import { ServiceSockets } from '../../plugins/service-sockets.ts'
import type { Sockets } from '../../plugins/sockets.ts'
import type { ClientOptions, DialOptions } from './client.ts'
import { KitClient } from './client.ts'
import type { WireWebSocket } from './direct.ts'
import { connectDirect, wireWebSocket } from './direct.ts'
import type { NodeParts, Start } from './node.ts'
import { KitNode } from './node.ts'
import type { Caller, SimulationOptions } from './simulation.ts'
import { Simulation } from './simulation.ts'
import { PROMISE_TURNS } from './timeline.ts'
import type { Tap } from './websocket.ts'
import { traced } from './websocket.ts'

/** What a world is made of. Everything has a default. */
export interface WorldOptions extends SimulationOptions, Partial<Times> {
  readonly limits?: Partial<Limits>
  /** Gives each node its rules. */
  readonly setup?: (sockets: Sockets<unknown>) => unknown
  /** Further parts of each node's service. */
  readonly parts?: Partial<Omit<ServiceParts, 'broker' | 'clock'>>
}

const noop = (): void => {}
const logger: Logger = { error: noop, warn: noop, info: noop, debug: noop, child: () => logger }

interface ServingService {
  readonly service: Service
  readonly sockets: ServiceSockets
  close(): Promise<unknown>
}

/** A node that runs a service, without an app round it. */
export class WorldNode extends KitNode<ServingService> {
  /** What an app would have as `app.sockets`. @throws where it is down */
  get sockets(): Sockets<unknown> {
    return this.serving.sockets
  }

  get service(): Service {
    return this.serving.service
  }

  /** Publishes; what a failing broker makes of it is nobody's here. */
  broadcast(channel: string, message: OutgoingMessage): void {
    this.serving.sockets.broadcast(channel, message).catch(noop)
  }
}

/** Services and clients joined directly, without HTTP between them: for thousands of seeds. */
export class World extends Simulation<ServingService, WorldNode> {
  readonly #options: WorldOptions

  constructor(options: WorldOptions) {
    super(options, PROMISE_TURNS)
    this.#options = options
  }

  protected makeNode(parts: NodeParts<ServingService>): WorldNode {
    return new WorldNode(parts)
  }

  protected async serve({ host, broker }: Start): Promise<ServingService> {
    const { limits, setup, parts } = this.#options
    const opened = await broker({ clock: host, logger, onControl: noop })
    const service = new Service({
      clock: host,
      broker: opened,
      times: timesOf(this.#options),
      logger,
      hooks: {},
      limits: { ...DEFAULT_LIMITS, ...limits },
      refusals: new Refusals(),
      contract: null,
      checkEvents: true,
      userChannel: true,
      onMessage: null,
      pendingHandshakes: () => 0,
      ...parts
    })
    const sockets = new ServiceSockets(service, null)
    await setup?.(sockets)
    service.ready()
    return { service, sockets, close: () => service.close().then(() => opened.close()) }
  }

  /** A real client that dials at once, for a channel: its own, where nothing is said. */
  client<C = unknown>(channel?: string, options?: ClientOptions): KitClient<C>
  client<C = unknown>(options?: ClientOptions): KitClient<C>
  client<C = unknown>(first: string | ClientOptions = {}, second: ClientOptions = {}): KitClient<C> {
    const options = typeof first === 'string' ? second : first
    const channel = typeof first === 'string' ? first : ownChannel(options)
    const caller = this.caller(options)
    const { host, path } = caller
    const client = new KitClient<C>('ws://world/', options, {
      host,
      path,
      trace: this.tracer,
      webSocket: tap => this.#webSocket(caller, channel, tap)
    })
    this.clients.push(client)
    return client
  }

  dial(channel?: string, options: DialOptions = {}): WebSocketLike {
    const caller = this.caller({ name: 'ws', ...options })
    const WebSocket = this.#webSocket(caller, channel ?? ownChannel(options), traced(this.tracer, caller.host.name))
    return new WebSocket('ws://world/', [...(options.protocols ?? [SUBPROTOCOL])])
  }

  #webSocket(caller: Caller, channel: string, tap: Tap): WebSocketConstructor {
    return wireWebSocket(caller.host, tap, (protocols, ws) => this.#dial(caller, channel, protocols, ws))
  }

  #dial(caller: Caller, channel: string, protocols: readonly string[], ws: WireWebSocket): void {
    const { host } = caller
    const refuse = (status: number): void => void host.input(this.latencyMs(), () => ws.refused(status))
    this.reach(caller, node => {
      if (node === null) return refuse(0)
      if (node.refusal !== null) return refuse(node.refusal.status)
      const { service } = node
      const opening = async (): Promise<void> => {
        const abort = new AbortController()
        ws.onGivenUp = () => abort.abort()
        const rendezvous = this.#rendezvous(caller, node, protocols, ws, abort.signal)
        try {
          await service.open(rendezvous, { channel, metadata: {}, onMessage: undefined, userChannel: undefined })
        } catch (error) {
          const { statusCode = 500 } = error as { statusCode?: number }
          refuse(statusCode)
        }
      }
      node.host.input(0, () => void opening())
    })
  }

  #rendezvous(
    { host, path, index, options }: Caller,
    node: WorldNode,
    protocols: readonly string[],
    ws: WireWebSocket,
    signal: AbortSignal
  ): Rendezvous {
    const resume = protocols.find(name => name.startsWith(RESUME_PREFIX))
    return {
      signal,
      action: 'test',
      logger,
      profile: (options.profile ?? null) as RegisteredProfile | null,
      ip: `10.0.${index >> 8}.${index & 255}`,
      kind: protocols.includes(SUBPROTOCOL) ? SUBPROTOCOL : 'plain',
      ticket: null,
      resume: resume === undefined ? null : parseResume(resume),
      assertPending: () => {
        if (signal.aborted) throw signal.reason
      },
      opened: noop,
      open: () => {
        const capacity = this.socketBytes
        const { transport, link } = connectDirect({
          client: host,
          server: node.host,
          ws,
          capacity,
          latencyMs: this.latencyMs
        })
        path.add(link)
        ws.onGone = () => path.remove(link)
        transport.onGone = node.hold(link, () => transport.destroy())
        return transport
      }
    }
  }
}

function ownChannel({ profile = null }: ClientOptions): string {
  return profile === null ? 'connect' : userChannel(profile.id)
}

function timesOf(options: Partial<Times>): Times {
  const names = Object.keys(DEFAULT_TIMES) as Array<keyof Times>
  return Object.fromEntries(names.map(name => [name, options[name] ?? DEFAULT_TIMES[name]])) as unknown as Times
}

/** Starts every node. */
export async function createWorld(options: WorldOptions = {}): Promise<World> {
  const world = new World(options)
  for (const node of world.nodes) await node.start()
  return world
}
