import type { Server, Socket } from 'node:net'
import { connect, createServer } from 'node:net'

/** How a link is disturbed; links that are made meanwhile are not. */
export type Disturbance =
  /** Both sides are reset. */
  | 'reset'
  /** Nothing passes, in either direction; afterwards all of it does. */
  | 'freeze'
  /** Nothing passes to the client, or to the server; afterwards all of it does. */
  | 'mute-down'
  | 'mute-up'
  /** The server's side is reset, and the client is not told. */
  | 'half-open'
  /** Everything passes later, by a time that wanders. */
  | 'delay'

const DELAY_MS = 60
const JITTER_MS = 120
/** What one direction may hold back. */
const HELD = 4 * 1024 * 1024

/** One direction of a link: passes bytes on in order, at once, later or not now. */
class Pipe {
  readonly #from: Socket
  readonly #to: Socket
  #stopped = false
  #delayed = false
  /** Bytes that wait, each with the time when it may pass. */
  #held: Array<{ at: number; data: Buffer }> = []
  #bytes = 0
  #timer: NodeJS.Timeout | null = null

  constructor(from: Socket, to: Socket) {
    this.#from = from
    this.#to = to
    from.on('data', data => this.#take(data))
    to.on('drain', () => this.#flow())
  }

  stop(on: boolean): void {
    this.#stopped = on
    this.#flow()
  }

  delay(on: boolean): void {
    this.#delayed = on
  }

  #take(data: Buffer): void {
    if (!this.#delayed && this.#held.length === 0) {
      if (!this.#to.write(data)) this.#from.pause()
      return
    }
    const last = this.#held.at(-1)?.at ?? 0
    const at = Math.max(last, performance.now() + (this.#delayed ? DELAY_MS + Math.random() * JITTER_MS : 0))
    this.#held.push({ at, data })
    this.#bytes += data.length
    this.#flow()
    this.#pass()
  }

  #pass(): void {
    if (this.#timer !== null || this.#held.length === 0) return
    const waitMs = Math.max(0, this.#held[0]!.at - performance.now())
    this.#timer = setTimeout(() => {
      this.#timer = null
      const now = performance.now()
      while (this.#held.length > 0 && this.#held[0]!.at <= now) {
        const { data } = this.#held.shift()!
        this.#bytes -= data.length
        this.#to.write(data)
      }
      this.#flow()
      this.#pass()
    }, waitMs)
  }

  #flow(): void {
    if (this.#stopped || this.#bytes > HELD || this.#to.writableNeedDrain) this.#from.pause()
    else this.#from.resume()
  }

  end(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
  }
}

interface Link {
  readonly address: string
  readonly client: Socket
  readonly server: Socket
  readonly down: Pipe
  readonly up: Pipe
}

/** Stands between clients and the server. A client is known by the loopback address that it dials from. */
export class FaultProxy {
  readonly #links = new Set<Link>()
  readonly #listener: Server
  #target = 0
  bytes = 0

  constructor() {
    this.#listener = createServer({ noDelay: true }, client => this.#accept(client))
  }

  /** Listens, and resolves to the port. */
  listen(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#listener.once('error', reject)
      this.#listener.listen(0, '127.0.0.1', () => resolve((this.#listener.address() as { port: number }).port))
    })
  }

  /** Where new links lead to. */
  aim(port: number): void {
    this.#target = port
  }

  /** Disturbs links of these addresses, and resolves once it is over. Resolves to the number of links. */
  async disturb(addresses: readonly string[], how: Disturbance, ms: number): Promise<number> {
    const links = [...this.#links].filter(({ address }) => addresses.includes(address))
    for (const link of links) disturb(link, how, true)
    if (how === 'reset') return links.length
    await new Promise(resolve => setTimeout(resolve, ms))
    for (const link of links) disturb(link, how, false)
    return links.length
  }

  async close(): Promise<void> {
    for (const { client, server } of this.#links) {
      client.destroy()
      server.destroy()
    }
    await new Promise(resolve => this.#listener.close(resolve))
  }

  #accept(client: Socket): void {
    // The same address towards the server: its limits are by address.
    const address = client.remoteAddress ?? ''
    const server = connect({ port: this.#target, host: '127.0.0.1', localAddress: address, noDelay: true })
    const link: Link = { address, client, server, down: new Pipe(server, client), up: new Pipe(client, server) }
    this.#links.add(link)
    for (const [socket, other] of [
      [client, server],
      [server, client]
    ] as const) {
      socket.on('error', () => {})
      socket.on('end', () => other.end())
      socket.on('close', hadError => {
        if (socket === server && muffled.has(link)) return
        this.#links.delete(link)
        link.up.end()
        link.down.end()
        if (hadError) other.resetAndDestroy()
        else other.destroySoon()
      })
    }
  }
}

/** Links whose client is not told that the server's side is gone. */
const muffled = new WeakSet<Link>()

function disturb(link: Link, how: Disturbance, on: boolean): void {
  if (how === 'reset') {
    link.server.resetAndDestroy()
    link.client.resetAndDestroy()
  } else if (how === 'half-open') {
    if (on) {
      muffled.add(link)
      link.server.resetAndDestroy()
    } else link.client.resetAndDestroy()
  } else if (how === 'delay') {
    link.down.delay(on)
    link.up.delay(on)
  } else {
    if (how !== 'mute-up') link.down.stop(on)
    if (how !== 'mute-down') link.up.stop(on)
  }
}
