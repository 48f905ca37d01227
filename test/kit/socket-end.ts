import { Duplex } from 'node:stream'
import type { Timer } from '../../lib/protocol/clock.ts'
import { Link } from './link.ts'
import type { Mouth } from './pipe.ts'
import { Pipe } from './pipe.ts'
import type { Host } from './timeline.ts'

/** What Node's own sockets have. */
const HIGH_WATER_MARK = 16_384

export interface Address {
  readonly ip: string
  readonly port: number
}

/** One end of an in-memory connection: a Duplex that has as much of net.Socket as http, Fastify and ws ask of it. */
export class SocketEnd extends Duplex implements Mouth<Buffer> {
  readonly remoteAddress: string
  readonly remotePort: number
  readonly remoteFamily = 'IPv4'
  readonly localAddress: string
  readonly localPort: number
  readonly connecting = false
  readonly pending = false
  bytesRead = 0
  bytesWritten = 0
  timeout = 0
  readonly #host: Host
  #out: Pipe<Buffer> | null = null
  #in: Pipe<Buffer> | null = null
  #idle: Timer | null = null

  constructor(host: Host, local: Address, remote: Address, allowHalfOpen: boolean) {
    super({
      allowHalfOpen,
      emitClose: true,
      readableHighWaterMark: HIGH_WATER_MARK,
      writableHighWaterMark: HIGH_WATER_MARK
    })
    this.#host = host
    this.remoteAddress = remote.ip
    this.remotePort = remote.port
    this.localAddress = local.ip
    this.localPort = local.port
  }

  plug(out: Pipe<Buffer>, into: Pipe<Buffer>): void {
    this.#out = out
    this.#in = into
  }

  // What arrives.

  arrive(chunk: Buffer): boolean {
    if (this.destroyed) return false
    this.bytesRead += chunk.length
    this.#active()
    return this.push(chunk)
  }

  ended(): void {
    if (!this.destroyed) this.push(null)
  }

  wasReset(): void {
    this.destroy(Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', errno: -104, syscall: 'read' }))
  }

  // What a Duplex asks for.

  override _read(): void {
    this.#in?.pull()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#write(chunk, done)
  }

  override _writev(chunks: ReadonlyArray<{ readonly chunk: Buffer }>, done: () => void): void {
    this.#write(Buffer.concat(chunks.map(({ chunk }) => chunk)), done)
  }

  #write(chunk: Buffer, done: () => void): void {
    this.bytesWritten += chunk.length
    this.#active()
    this.#out!.write(chunk, done)
  }

  override _final(done: () => void): void {
    this.#out!.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#idle?.cancel()
    this.#in?.close()
    // A second end is none; and who was reset has nothing to say any more.
    this.#out?.breakOff()
    this.#host.timeline.moved()
    done(error)
  }

  // What net.Socket has beside.

  /** Bytes that the peer's side has not taken yet. */
  get bufferSize(): number {
    return this.writableLength
  }

  get readyState(): string {
    return this.destroyed ? 'closed' : 'open'
  }

  setTimeout(ms: number, listener?: () => void): this {
    this.timeout = ms
    if (listener !== undefined) {
      if (ms === 0) this.off('timeout', listener)
      else this.once('timeout', listener)
    }
    this.#active()
    return this
  }

  #active(): void {
    this.#idle?.cancel()
    this.#idle = this.timeout > 0 ? this.#host.after(this.timeout, () => this.emit('timeout')) : null
  }

  setNoDelay(): this {
    return this
  }

  setKeepAlive(): this {
    return this
  }

  ref(): this {
    return this
  }

  unref(): this {
    return this
  }

  address(): object {
    return { address: this.localAddress, family: 'IPv4', port: this.localPort }
  }

  destroySoon(): void {
    if (this.writable) this.end()
    if (this.writableFinished) this.destroy()
    else this.once('finish', () => this.destroy())
  }

  resetAndDestroy(): this {
    this.#out?.reset()
    return this.destroy()
  }
}

export interface Ends {
  readonly client: SocketEnd
  readonly server: SocketEnd
  readonly link: Link
}

export interface EndsOptions {
  readonly client: Host
  readonly server: Host
  readonly from: Address
  readonly to: Address
  readonly capacity: number
  readonly latencyMs: () => number
}

const cut = (chunk: Buffer, length: number): [Buffer, Buffer] => [chunk.subarray(0, length), chunk.subarray(length)]

/** A connection of two ends. */
export function connectEnds({ client, server, from, to, capacity, latencyMs }: EndsOptions): Ends {
  const clientEnd = new SocketEnd(client, from, to, false)
  // It may be reset before whoever dials has it in hand.
  clientEnd.on('error', () => {})
  const serverEnd = new SocketEnd(server, to, from, true)
  const up = new Pipe<Buffer>({ host: server, mouth: serverEnd, capacity, latencyMs, cut })
  const down = new Pipe<Buffer>({ host: client, mouth: clientEnd, capacity, latencyMs, cut })
  clientEnd.plug(up, down)
  serverEnd.plug(down, up)
  const link = new Link(up, down, reading => (reading ? clientEnd.resume() : clientEnd.pause()))
  return { client: clientEnd, server: serverEnd, link }
}
