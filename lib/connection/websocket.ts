import type { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import type { CloseName } from '../protocol/close-code.ts'
import type { Deflater } from './deflate.ts'
import type { Receiver, Transport } from './transport.ts'

const OPEN = 1
/** Frames that are no longer together go out as one piece: to copy them costs less than to hand over each. */
const COPIED_BYTES = 16_384
const NOTHING = new Uint8Array(0)
/** Where a ws socket bears its transport, so that all of them share their listeners. */
const TRANSPORT: unique symbol = Symbol('fastify-channels.transport')

type Borne = WebSocket & { [TRANSPORT]: WebSocketTransport }

/**
 * A transport over a ws socket. Reading, masking, fragments, pings and closes are ws's; our frames go straight to the TCP
 * socket, because they are encoded once for many receivers. What ws itself sends are control frames, which it compresses
 * never, so it holds no queue of its own that our bytes could overtake.
 */
export class WebSocketTransport implements Transport {
  readonly framing = 'websocket'
  readonly protocol: string
  readonly #ws: WebSocket
  readonly #socket: Socket
  /** Null where nothing is compressed. */
  readonly #deflater: Deflater | null
  #receiver: Receiver | null = null
  /** Stands in for the byte count where the stream has none, as in @fastify/websocket's injectWS. */
  #events = 0
  #ended: { code: number; reason: string } | null = null

  /**
   * Must be called in the turn of the handshake: listeners that came later would miss frames. What is written is kept back
   * until it starts, where the socket was corked.
   */
  constructor(ws: WebSocket, socket: Socket, deflater: Deflater | null = null) {
    this.#ws = ws
    this.#socket = socket
    this.#deflater = deflater !== null && ws.extensions.includes('permessage-deflate') ? deflater : null
    this.protocol = ws.protocol
    // Of @fastify/websocket, whose listener keeps the request and the reply alive as long as the socket.
    const others = ws.listeners('error')
    ;(ws as Borne)[TRANSPORT] = this
    ws.on('error', onError)
    ws.on('message', onMessage)
    ws.on('ping', onControl)
    ws.on('pong', onControl)
    ws.on('close', onClose)
    for (const other of others) ws.off('error', other as (error: Error) => void)
    ws.pause()
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    this.#socket.uncork()
    if (this.#ended === null) this.#ws.resume()
    else receiver.closed(this.#ended.code, this.#ended.reason)
  }

  write(plain: readonly Uint8Array[]): void {
    const socket = this.#socket
    const deflater = this.#deflater
    if (this.#ws.readyState !== OPEN || !socket.writable) return
    const frames = deflater === null ? plain : plain.map(batch => deflater.frames(batch))
    if (frames.length === 1) {
      socket.write(frames[0]!)
      return
    }
    const bytes = frames.reduce((sum, { byteLength }) => sum + byteLength, 0)
    // What is corked leaves in one piece with the 101 as it is.
    if (bytes <= COPIED_BYTES && socket.writableCorked === 0) {
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

  /** @internal */
  message(data: RawData, isBinary: boolean): void {
    this.#events++
    if (isBinary) this.#receiver?.binary()
    else this.#receiver?.text((data as Buffer).toString())
  }

  /** @internal */
  control(): void {
    this.#events++
    this.#receiver?.control()
  }

  /** @internal Errors of the socket need nothing: a close follows them. Those of ws's own say which rule was broken. */
  violated(code: string | undefined): void {
    if (code?.startsWith('WS_ERR_') === true) this.#receiver?.violated(VIOLATIONS[code] ?? 'protocol-error')
  }

  /** @internal */
  closed(code: number, reason: Buffer): void {
    this.#ended = { code, reason: reason.toString() }
    this.#receiver?.closed(code, this.#ended.reason)
  }
}

function onError(this: WebSocket, error: Error & { code?: string }): void {
  ;(this as Borne)[TRANSPORT].violated(error.code)
}

function onMessage(this: WebSocket, data: RawData, isBinary: boolean): void {
  ;(this as Borne)[TRANSPORT].message(data, isBinary)
}

function onControl(this: WebSocket): void {
  ;(this as Borne)[TRANSPORT].control()
}

function onClose(this: WebSocket, code: number, reason: Buffer): void {
  ;(this as Borne)[TRANSPORT].closed(code, reason)
}

/** ws's error codes that do not mean `protocol-error`. */
const VIOLATIONS: Readonly<Record<string, CloseName>> = {
  WS_ERR_UNSUPPORTED_MESSAGE_LENGTH: 'too-big',
  WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH: 'too-big',
  WS_ERR_INVALID_UTF8: 'invalid-payload',
  WS_ERR_TOO_MANY_BUFFERED_PARTS: 'policy-violation'
}
