import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import type { Receiver, Transport } from './transport.ts'

const OPEN = 1

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
  #closed: { code: number; reason: string } | null = null

  /** Must be called in the turn of the handshake: listeners that came later would miss frames. */
  constructor(ws: WebSocket, socket: Socket) {
    this.#ws = ws
    this.#socket = socket
    this.protocol = ws.protocol
    // @fastify/websocket's own listener keeps the request and the reply alive as long as the socket.
    ws.removeAllListeners('error')
    ws.on('error', ignore)
    ws.on('message', (data, isBinary) => this.#message(data, isBinary))
    ws.on('ping', () => this.#receiver?.control())
    ws.on('pong', () => this.#receiver?.control())
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
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
  }

  buffered(): number {
    return this.#socket.writableLength
  }

  received(): number {
    return this.#socket.bytesRead
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
    if (isBinary) this.#receiver?.binary()
    else this.#receiver?.text((data as Buffer).toString())
  }

  #close(code: number, reason: Buffer): void {
    this.#closed = { code, reason: reason.toString() }
    this.#receiver?.closed(code, this.#closed.reason)
  }
}

/** ws closes the socket after each error, and the close is what we act on. */
function ignore(): void {}
