import type { Joined, Received } from '../../client/channel.ts'
import type { SocketOptions } from '../../client/options.ts'
import { Socket } from '../../client/socket.ts'
import type { FetchLike, WebSocketConstructor } from '../../client/transport.ts'
import type { Witness } from './checks.ts'
import type { Direction } from './link.ts'
import type { Path } from './path.ts'
import type { Heard, What } from './record.ts'
import type { Host } from './timeline.ts'
import type { Trace } from './trace.ts'
import type { Tap } from './websocket.ts'
import { traced } from './websocket.ts'

/** How a client of a net or a world is made. */
export interface ClientOptions {
  /** Its name in the trace. Default `c1`, `c2`, … */
  readonly name?: string
  /** Who it is, for apps that take the kit's `profile` loader. Default nobody. */
  readonly profile?: { readonly id: string; readonly [field: string]: unknown } | null
  /** Headers of its handshakes: a cookie, say. */
  readonly headers?: Readonly<Record<string, string>>
  /** The node that it dials, and no other. Default: one after another, past those that are down, as behind a balancer. */
  readonly node?: number
  /** Options of its `Socket`. */
  readonly socket?: Omit<SocketOptions, 'WebSocket' | 'fetch' | 'clock'>
}

/** How a WebSocket of the test's own is made. */
export interface DialOptions extends Omit<ClientOptions, 'socket'> {
  /** Subprotocols that it offers. Default ours alone. */
  readonly protocols?: readonly string[]
}

/** What a client needs of the simulation that it is in. */
export interface Surroundings {
  readonly host: Host
  readonly trace: Trace
  readonly path: Path
  /** The class that its socket dials with. */
  readonly webSocket: (tap: Tap) => WebSocketConstructor
  /** What it asks with why it was refused; without it does not ask. */
  readonly fetch?: FetchLike
}

/** The real client, all that its application hears recorded, and what can happen to it. */
export class KitClient<C = unknown> implements Witness {
  readonly name: string
  readonly user: string | null
  readonly socket: Socket<C>
  /** All that the application heard, in order. */
  readonly heard: Heard[] = []
  readonly sessions = new Set<string>()
  /** Connections that it has had: one, and one more for each time that it came back. */
  connections = 0
  readonly host: Host
  readonly #trace: Trace
  readonly #path: Path
  readonly #channels = new Set<string>()
  /** The frame at hand. */
  #text = ''
  #reading = true

  constructor(url: string, options: ClientOptions, surroundings: Surroundings) {
    const { host, trace, path, webSocket, fetch } = surroundings
    this.name = host.name
    this.user = options.profile?.id ?? null
    this.host = host
    this.#trace = trace
    this.#path = path
    const WebSocket = webSocket(this.#tap())
    this.socket = new Socket<C>(url, {
      probe: fetch !== undefined,
      ...options.socket,
      connect: false,
      WebSocket,
      clock: host,
      ...(fetch && { fetch })
    })
    this.socket.on('$open', ({ session }) => {
      this.connections++
      this.sessions.add(session)
    })
    this.socket.on('$message', message => this.#message(message))
    this.socket.on('$state', ({ name }) => trace.add(this.name, `is ${name}`))
    this.socket.on('$close', () => this.#record({ kind: 'lost' }))
    this.socket.on('$error', ({ code, message, cause }) => {
      trace.add(
        this.name,
        `error ${message === code ? code : `${code}: ${message}`}${cause instanceof Error ? ` (${cause.message})` : ''}`
      )
    })
    if (options.socket?.connect !== false) this.socket.connect()
  }

  /** Messages that the application heard, of one channel or of all. */
  messages(channel?: string): Received[] {
    return this.heard.flatMap(each =>
      each.kind === 'message' && (channel === undefined || each.via === channel) ? [each.message] : []
    )
  }

  /** The `param` of each message of a channel: short to compare with. */
  params(channel: string): unknown[] {
    return this.messages(channel).map(({ param }) => param)
  }

  /** What it was told at each join of a channel. */
  outcomes(channel: string): Joined['outcome'][] {
    return this.heard.flatMap(each => (each.kind === 'joined' && each.channel === channel ? [each.joined.outcome] : []))
  }

  /** Channels that it is joined to now, over a link that is open. */
  get joined(): readonly string[] {
    if (this.socket.state.name !== 'connected') return []
    return [...this.#channels].filter(name => this.socket.channel(name as any).state.name === 'joined')
  }

  // What can happen to its link: to the one that is there, not to the next.

  /** The link ends in order (FIN), with what was under way still coming. */
  cut(): void {
    this.#fault('cut')
    this.#path.link?.cut()
  }

  /** The link is reset (RST); what was under way is lost. */
  reset(): void {
    this.#fault('reset')
    this.#path.link?.reset()
  }

  /** Nothing gets through the link any more, either way, and nobody is told; a new one would work. */
  halfOpen(): void {
    this.#fault('half-open')
    this.#path.link?.block(true)
  }

  /** What is sent in one direction of the link vanishes from now on, without a word, until the link ends. */
  drop(direction: Direction): void {
    this.#fault(`drops ${direction}`)
    this.#path.link?.drop(direction)
  }

  /** It reads nothing more from the link, so that the server feels the pressure. */
  stopReading(): void {
    this.#fault('stops reading')
    this.#read(false)
  }

  resumeReading(): void {
    this.#fault('reads again')
    this.#read(true)
  }

  #read(reading: boolean): void {
    this.#reading = reading
    this.#path.link?.read(reading)
  }

  // What can happen to its way to the servers: to this link, and to the next.

  /** Milliseconds more for everything, in one direction or both, until told otherwise. */
  delay(ms: number, direction?: Direction): void {
    this.#fault(`delay ${ms} ${direction ?? ''}`)
    this.#path.delay(ms, direction)
  }

  /** The network is gone: nothing gets through, dials hang, nobody is told. What was sent meanwhile comes afterwards. */
  offline(): void {
    this.#fault('offline')
    this.#path.setOffline(true)
  }

  online(): void {
    this.#fault('online')
    this.#path.setOffline(false)
  }

  /** Its process stands still, as a laptop's that was closed: no timers and no input. */
  suspend(): void {
    this.#fault('suspended')
    this.host.hold()
  }

  /** What it was kept from comes in one burst. */
  wake(): void {
    this.#fault('wakes')
    this.host.release()
  }

  /** Ends all that is wrong with it. */
  heal(): void {
    this.#path.heal()
    if (!this.#reading) this.#read(true)
    this.host.release()
  }

  #fault(what: string): void {
    this.#trace.add(this.name, `fault: ${what}`)
  }

  #tap(): Tap {
    const tap = traced(this.#trace, this.name)
    return {
      ...tap,
      received: text => {
        tap.received(text)
        this.#received(text)
      },
      closed: (code, reason, status) => {
        this.#reading = true
        tap.closed(code, reason, status)
      }
    }
  }

  #received(text: string): void {
    this.#text = text
    if (!text.includes('"$joined"')) return
    const { cmd, channel } = JSON.parse(text)
    if (cmd === '$joined') this.#watch(channel)
  }

  /** Listens to what a channel tells of itself, before anybody else does. */
  #watch(name: string): void {
    if (this.#channels.has(name)) return
    this.#channels.add(name)
    const channel = (this.socket as Socket).channel(name)
    channel.on('$joined', joined => this.#record({ kind: 'joined', channel: name, joined }))
    channel.on('$gap', gap => this.#record({ kind: 'gap', channel: name, gap, position: channel.position }))
    channel.on('$left', reason => this.#record({ kind: 'left', channel: name, reason }))
    // As who has left: nothing is kept of a channel that one may not be in.
    channel.on('$error', () => this.#record({ kind: 'left', channel: name, reason: 'server' }))
  }

  #message(message: Received): void {
    const { position = null } = message
    // Where it came through another channel than it is about, only the frame says so.
    const { via = message.channel } = this.#text.includes('"via":') ? JSON.parse(this.#text) : {}
    this.#record({ kind: 'message', via, message, place: position })
  }

  #record(what: What): void {
    this.heard.push({ at: this.host.timeline.now, line: this.#trace.length, ...what })
  }
}
