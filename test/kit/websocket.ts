import { createHash } from 'node:crypto'
import type { WebSocketConstructor, WebSocketLike } from '../../client/transport.ts'
import type { Timer } from '../../lib/protocol/clock.ts'
import { FrameReader, maskedFrame } from './frames.ts'
import type { Ends } from './socket-end.ts'
import type { Host } from './timeline.ts'
import type { Trace } from './trace.ts'

/** How long a close waits for the other side's, as browsers do. */
const CLOSE_TIMEOUT_MS = 30_000

/** RFC 6455 §1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

/** Hears of all that a WebSocket does, before its owner does. */
export interface Tap {
  dialled(url: string): void
  opened(): void
  sent(text: string): void
  received(text: string): void
  closed(code: number, reason: string, status: number): void
}

/** Leaves what a WebSocket does in the trace. */
export function traced(trace: Trace, name: string): Tap {
  return {
    dialled: url => trace.add(name, `dials ${url}`),
    opened: () => trace.add(name, 'open'),
    sent: text => trace.frame(name, '>', text),
    received: text => trace.frame(name, '<', text),
    closed: (code, reason, status) =>
      trace.add(name, `closed ${code} ${reason}${status === 0 ? '' : ` HTTP ${status}`}`)
  }
}

/** What both forms of the kit make of a WebSocket: its states, its handlers, its end. */
export abstract class KitWebSocket implements WebSocketLike {
  readyState = 0
  protocol = ''
  onopen: ((event: any) => void) | null = null
  onmessage: ((event: any) => void) | null = null
  onclose: ((event: any) => void) | null = null
  onerror: ((event: any) => void) | null = null
  protected readonly host: Host
  protected readonly tap: Tap
  #closing: Timer | null = null

  constructor(host: Host, tap: Tap, url: string) {
    this.host = host
    this.tap = tap
    tap.dialled(url)
  }

  send(text: string): void {
    if (this.readyState === 0) throw new Error('WebSocket is not open: readyState 0 (CONNECTING)')
    if (this.readyState !== 1) return
    this.tap.sent(text)
    this.write(text)
  }

  close(code?: number, reason = ''): void {
    if (this.readyState >= 2) return
    const connecting = this.readyState === 0
    this.readyState = 2
    if (connecting) {
      this.drop()
      this.host.soon(() => this.over(1006, ''))
      return
    }
    this.closeWith(code, reason)
    this.#closing = this.host.after(CLOSE_TIMEOUT_MS, () => {
      this.drop()
      this.over(1006, '')
    })
  }

  protected abstract write(text: string): void
  /** Begins the closing handshake. */
  protected abstract closeWith(code: number | undefined, reason: string): void
  /** Drops the link. */
  protected abstract drop(): void

  protected opened(protocol: string): void {
    if (this.readyState !== 0) return
    this.readyState = 1
    this.protocol = protocol
    this.tap.opened()
    this.onopen?.({ type: 'open' })
  }

  protected text(text: string): void {
    if (this.readyState !== 1) return
    this.tap.received(text)
    this.onmessage?.({ type: 'message', data: text })
  }

  /** `status` is the HTTP status of a refused handshake, which a page does not see. */
  protected over(code: number, reason: string, status = 0): void {
    if (this.readyState === 3) return
    this.readyState = 3
    this.#closing?.cancel()
    this.tap.closed(code, reason, status)
    if (code === 1006) this.onerror?.({ type: 'error' })
    this.onclose?.({ type: 'close', code, reason, wasClean: code !== 1006 })
  }
}

type Headers = Readonly<Record<string, string>>

/** What answers in a node's place. */
export interface Refusing {
  readonly refusal: { readonly status: number } | null
}

/** Makes the connection that a WebSocket dials: its ends, or who refuses it, or nothing where nobody listens. */
export type Connect = (done: (found: Ends | Refusing | null) => void) => void

/** A client's WebSocket over an in-memory socket: its handshake, its frames, its masks. */
class MemoryWebSocket extends KitWebSocket {
  readonly #url: URL
  readonly #protocols: readonly string[]
  readonly #headers: Headers
  readonly #key: string
  readonly #reader = new FrameReader((opcode, payload) => this.#frame(opcode, payload))
  #ends: Ends | null = null
  #head: Buffer | null = Buffer.alloc(0)
  #end: { code: number; reason: string } = { code: 1006, reason: '' }
  #sentClose = false

  constructor(host: Host, tap: Tap, url: string, protocols: readonly string[], headers: Headers, connect: Connect) {
    super(host, tap, url)
    this.#url = new URL(url)
    this.#protocols = protocols
    this.#headers = headers
    this.#key = Buffer.from(host.randomBytes(16)).toString('base64')
    connect(found => this.#connected(found))
  }

  #connected(found: Ends | Refusing | null): void {
    if (found === null || 'refusal' in found) {
      this.over(1006, '', found?.refusal?.status ?? 0)
      return
    }
    this.#ends = found
    const { client } = found
    if (client.destroyed) {
      this.over(1006, '')
      return
    }
    client.on('data', chunk => this.#data(chunk))
    client.on('close', () => this.over(this.#end.code, this.#end.reason))
    if (this.readyState !== 0) {
      client.destroy()
      return
    }
    client.write(requestText('GET', this.#url, { ...this.#headers, ...this.#upgradeHeaders() }))
  }

  #upgradeHeaders(): Record<string, string> {
    return {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': this.#key,
      ...(this.#protocols.length === 0 ? {} : { 'sec-websocket-protocol': this.#protocols.join(', ') })
    }
  }

  #data(chunk: Buffer): void {
    if (this.#head === null) {
      this.#reader.read(chunk)
      return
    }
    this.#head = Buffer.concat([this.#head, chunk])
    const response = parseResponse(this.#head)
    if (response === null) return
    this.#head = null
    const { status, headers, rest } = response
    const accept = createHash('sha1')
      .update(this.#key + GUID)
      .digest('base64')
    if (status !== 101 || headers.get('sec-websocket-accept') !== accept) {
      this.drop()
      this.over(1006, '', status)
      return
    }
    this.opened(headers.get('sec-websocket-protocol') ?? '')
    if (rest.length > 0) this.#reader.read(rest)
  }

  #frame(opcode: number, payload: Buffer): void {
    if (opcode === 1) this.text(payload.toString())
    else if (opcode === 9) this.#send(10, payload)
    else if (opcode === 8) this.#closedBy(payload)
  }

  #closedBy(payload: Buffer): void {
    this.#end = {
      code: payload.length < 2 ? 1005 : payload.readUInt16BE(0),
      reason: payload.subarray(2).toString()
    }
    if (this.readyState === 1) this.readyState = 2
    this.#sendClose(payload)
  }

  protected override write(text: string): void {
    this.#send(1, Buffer.from(text))
  }

  protected override closeWith(code: number | undefined, reason: string): void {
    const payload = Buffer.alloc(code === undefined ? 0 : 2)
    if (code !== undefined) payload.writeUInt16BE(code)
    this.#sendClose(Buffer.concat([payload, Buffer.from(reason)]))
  }

  #sendClose(payload: Buffer): void {
    if (this.#sentClose) return
    this.#sentClose = true
    this.#send(8, payload)
  }

  #send(opcode: number, payload: Buffer): void {
    if (this.#ends?.client.writable) this.#ends.client.write(maskedFrame(opcode, payload, this.host.randomBytes(4)))
  }

  protected override drop(): void {
    this.#ends?.client.destroy()
  }
}

/** The class with which one client dials. */
export function memoryWebSocket(host: Host, tap: Tap, headers: Headers, connect: Connect): WebSocketConstructor {
  return class extends MemoryWebSocket {
    constructor(url: string, protocols: string[]) {
      super(host, tap, url, protocols, headers, connect)
    }
  }
}

/** The head of an HTTP/1.1 request without a body. */
export function requestText(method: string, url: URL, headers: Headers): string {
  const lines = Object.entries({ host: url.host, ...headers }).map(([name, value]) => `${name}: ${value}`)
  return `${method} ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`
}

/** An HTTP response as far as it has come; null where its head is not complete. */
export function parseResponse(bytes: Buffer): { status: number; headers: Map<string, string>; rest: Buffer } | null {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return null
  const [first = '', ...lines] = bytes.toString('latin1', 0, end).split('\r\n')
  const headers = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
  }
  return { status: Number(first.split(' ')[1]), headers, rest: bytes.subarray(end + 4) }
}
