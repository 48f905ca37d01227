import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import type { CloseName } from '../protocol/close-code.ts'
import type { Receiver, Transport } from './transport.ts'

const OPEN = 1
/** Frames that are no longer together go out as one piece: to copy them costs less than to hand over each. */
const COPIED_BYTES = 16_384
const NOTHING = new Uint8Array(0)

/**
 * A transport over a ws socket. Reading, masking, fragments, pings and closes are ws's; our frames go straight to the TCP
 * socket, because they are encoded once for many receivers. ws compresses nothing (perMessageDeflate is off), so it holds
 * no queue of its own that our bytes could overtake.
 */
export class WebSocketTransport implements Transport {
  readonly framing = 'websocket'
  readonly protocol: string
  readonly #ws: WebSocket
  readonly #socket: Socket
  #receiver: Receiver | null = null
  /** Stands in for the byte count where the stream has none, as in @fastify/websocket's injectWS. */
  #events = 0
  #closed: { code: number; reason: string } | null = null

  /** Must be called in the turn of the handshake: listeners that came later would miss frames. */
  constructor(ws: WebSocket, socket: Socket) {
    this.#ws = ws
    this.#socket = socket
    this.protocol = ws.protocol
    // @fastify/websocket's own listener keeps the request and the reply alive as long as the socket.
    ws.removeAllListeners('error')
    ws.on('error', (error: Error & { code?: string }) => this.#violated(error.code))
    ws.on('message', (data, isBinary) => this.#message(data, isBinary))
    ws.on('ping', () => this.#control())
    ws.on('pong', () => this.#control())
    ws.on('close', (code, reason) => this.#close(code, reason))
    ws.pause()
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    if (this.#closed === null) this.#ws.resume()
    else receiver.closed(this.#closed.code, this.#closed.reason)
  }

  write(frames: readonly Uint8Array[]): void {
    const socket = this.#socket
    if (this.#ws.readyState !== OPEN || !socket.writable) return
    if (frames.length === 1) {
      socket.write(frames[0]!)
      return
    }
    const bytes = frames.reduce((sum, { byteLength }) => sum + byteLength, 0)
    if (bytes <= COPIED_BYTES) {
      socket.write(Buffer.concat(frames, bytes))
      return
    }
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
  }

  buffered(): number {
    return this.#socket.writableLength
  }

  whenDrained(task: () => void): void {
    const socket = this.#socket
    if (socket.writableLength === 0 || socket.destroyed) task()
    else if (socket.writable) socket.write(NOTHING, () => task())
    // It was ended, and still hands over what it had been given before.
    else socket.once('close', () => task())
  }

  received(): number {
    return this.#socket.bytesRead ?? this.#events
  }

  pause(): void {
    this.#ws.pause()
  }

  resume(): void {
    this.#ws.resume()
  }

  end(code: number, reason: string): void {
    // A paused socket would see neither the peer's close frame nor its FIN.
    this.#ws.resume()
    this.#ws.close(code, reason)
  }

  destroy(): void {
    this.#ws.terminate()
  }

  #message(data: RawData, isBinary: boolean): void {
    this.#events++
    if (isBinary) this.#receiver?.binary()
    else this.#receiver?.text((data as Buffer).toString())
  }

  #control(): void {
    this.#events++
    this.#receiver?.control()
  }

  /** Errors of the socket need nothing: a close follows them. Those of ws's own say which rule was broken. */
  #violated(code: string | undefined): void {
    if (code?.startsWith('WS_ERR_') === true) this.#receiver?.violated(VIOLATIONS[code] ?? 'protocol-error')
  }

  #close(code: number, reason: Buffer): void {
    this.#closed = { code, reason: reason.toString() }
    this.#receiver?.closed(code, this.#closed.reason)
  }
}

/** ws's error codes that do not mean `protocol-error`. */
const VIOLATIONS: Readonly<Record<string, CloseName>> = {
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 'too-big',
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 'too-big',
  WS_ERR_INVALID_UTF8: 'invalid-payload',
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 'policy-violation'
}
