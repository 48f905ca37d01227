import type { WebSocketConstructor } from '../../client/transport.ts'
import type { Receiver, Transport } from '../../lib/connection/transport.ts'
import { SUBPROTOCOL } from '../../lib/protocol/system.ts'
import { FrameReader } from './frames.ts'
import { Link } from './link.ts'
import type { Mouth } from './pipe.ts'
import { Pipe } from './pipe.ts'
import type { Host } from './timeline.ts'
import type { Tap } from './websocket.ts'
import { KitWebSocket } from './websocket.ts'

/** What a client sends, whole: a text, or its close. */
interface Sent {
  readonly length: number
  readonly text?: string
  readonly close?: { readonly code: number; readonly reason: string }
}

/** The server's first piece: it says that the handshake is done. */
const HELLO = Buffer.from('101')

const NOTHING = Buffer.alloc(0)

const noop = (): void => {}
const cut = (chunk: Buffer, length: number): [Buffer, Buffer] => [chunk.subarray(0, length), chunk.subarray(length)]

/** A client's WebSocket that ends at a transport of the server's, without HTTP and without masks. */
export class WireWebSocket extends KitWebSocket implements Mouth<Buffer> {
  onGivenUp: () => void = noop
  onGone: () => void = noop
  readonly #reader = new FrameReader((opcode, payload) => this.#frame(opcode, payload))
  #up: Pipe<Sent> | null = null
  #down: Pipe<Buffer> | null = null
  #greeted = false
  #end: { code: number; reason: string } = { code: 1006, reason: '' }

  plug(up: Pipe<Sent>, down: Pipe<Buffer>): void {
    this.#up = up
    this.#down = down
    if (this.readyState >= 2) this.drop()
  }

  refused(status: number): void {
    this.over(1006, '', status)
  }

  arrive(chunk: Buffer): boolean {
    if (this.readyState === 3) return false
    if (this.#greeted) this.#reader.read(chunk)
    else {
      this.#greeted = true
      this.opened(SUBPROTOCOL)
    }
    return true
  }

  ended(): void {
    this.drop()
    this.over(this.#end.code, this.#end.reason)
  }

  wasReset(): void {
    this.ended()
  }

  #frame(opcode: number, payload: Buffer): void {
    if (opcode === 1) this.text(payload.toString())
    if (opcode !== 8) return
    const code = payload.length < 2 ? 1005 : payload.readUInt16BE(0)
    const reason = payload.subarray(2).toString()
    this.#end = { code, reason }
    if (this.readyState === 1) {
      this.readyState = 2
      this.#send({ length: 2 + reason.length, close: { code, reason } })
    }
  }

  protected override write(text: string): void {
    this.#send({ length: text.length, text })
  }

  protected override closeWith(code: number | undefined, reason: string): void {
    this.#send({ length: 2 + reason.length, close: { code: code ?? 1005, reason } })
  }

  #send(what: Sent): void {
    this.#up?.write(what, noop)
  }

  protected override drop(): void {
    this.#up?.end()
    this.#down?.close()
    this.onGivenUp()
    this.onGone()
  }
}

/** The class with which one client dials. */
export function wireWebSocket(
  host: Host,
  tap: Tap,
  dial: (protocols: readonly string[], ws: WireWebSocket) => void
): WebSocketConstructor {
  return class extends WireWebSocket {
    constructor(url: string, protocols: string[]) {
      super(host, tap, url)
      dial(protocols, this)
    }
  }
}

/** The server's side of it. */
export class WireTransport implements Transport, Mouth<Sent> {
  readonly framing = 'websocket'
  readonly quiet = true
  onGone: () => void = noop
  readonly #host: Host
  #up: Pipe<Sent> | null = null
  #down: Pipe<Buffer> | null = null
  #reading = false
  #receiver: Receiver | null = null
  #received = 0
  #closing = false
  #end: { readonly code: number; readonly reason: string } | null = null

  constructor(host: Host) {
    this.#host = host
  }

  plug(up: Pipe<Sent>, down: Pipe<Buffer>): void {
    this.#up = up
    this.#down = down
    up.stop()
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    if (this.#end === null) this.resume()
    else receiver.closed(this.#end.code, this.#end.reason)
  }

  write(frames: readonly Uint8Array[]): void {
    if (this.#closing) return
    const bytes = frames.length === 1 ? frames[0]! : Buffer.concat(frames)
    this.#down?.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength), noop)
  }

  buffered(): number {
    return this.#down?.waiting ?? 0
  }

  whenDrained(task: () => void): void {
    this.#down?.write(NOTHING, task)
  }

  received(): number {
    return this.#received
  }

  pause(): void {
    this.#reading = false
    this.#up?.stop()
  }

  resume(): void {
    this.#reading = true
    // Nothing is delivered within a call of the connection's.
    this.#host.input(0, () => {
      if (this.#reading) this.#up?.pull()
    })
  }

  end(code: number, reason: string): void {
    this.resume()
    this.#sendClose(code, reason)
  }

  destroy(): void {
    this.#closing = true
    this.#down?.breakOff()
    this.#up?.close()
    this.#host.soon(() => this.#over(1006, ''))
  }

  // What arrives.

  arrive({ length, text, close }: Sent): boolean {
    this.#received += length
    if (close !== undefined) {
      this.#sendClose(close.code, close.reason)
      this.#down?.end()
      this.#over(close.code, close.reason)
    } else this.#receiver?.text(text!, Buffer.byteLength(text!))
    return this.#end === null
  }

  ended(): void {
    this.#down?.end()
    this.#over(1006, '')
  }

  wasReset(): void {
    this.#over(1006, '')
  }

  #sendClose(code: number, reason: string): void {
    if (this.#closing) return
    const payload = Buffer.from(`  ${reason}`)
    payload.writeUInt16BE(code)
    this.#down?.write(Buffer.concat([Buffer.from([0x88, payload.length]), payload]), noop)
    this.#closing = true
  }

  #over(code: number, reason: string): void {
    if (this.#end !== null) return
    this.#end = { code, reason }
    this.#closing = true
    this.#up?.close()
    this.onGone()
    this.#receiver?.closed(code, reason)
  }
}

export interface DirectOptions {
  readonly client: Host
  readonly server: Host
  readonly ws: WireWebSocket
  readonly capacity: number
  readonly latencyMs: () => number
}

/** A client and a server's transport, joined. */
export function connectDirect({ client, server, ws, capacity, latencyMs }: DirectOptions): {
  transport: WireTransport
  link: Link
} {
  const transport = new WireTransport(server)
  const up = new Pipe<Sent>({ host: server, mouth: transport, capacity, latencyMs, cut: null })
  const down = new Pipe<Buffer>({ host: client, mouth: ws, capacity, latencyMs, cut })
  transport.plug(up, down)
  const link = new Link(up, down, reading => (reading ? down.pull() : down.stop()))
  down.write(HELLO, noop)
  ws.plug(up, down)
  return { transport, link }
}
