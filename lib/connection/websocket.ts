import { Socket } from 'node:net'
import type { RawData, WebSocket } from 'ws'
import type { CloseName } from '../protocol/close-code.ts'
import { TRANSPORT } from './channel-socket.ts'
import type { Deflater } from './deflate.ts'
import type { NativeTarget, NativeWrites } from './native-writes.ts'
import type { Receiver, Transport } from './transport.ts'

const OPEN = 1
/** Frames that are no longer together go out as one piece: to copy them costs less than to hand over each. */
const COPIED_BYTES = 16_384
const NOTHING = new Uint8Array(0)

/** What all transports of a service share. */
export interface WebSocketHost {
  /** Null where nothing is compressed. */
  readonly deflater: Deflater | null
  /** Null where all writes are Node's. */
  readonly nativeWrites: NativeWrites | null
}

const PLAIN: WebSocketHost = { deflater: null, nativeWrites: null }

/** Node's own; where one of them is not there any more, no write is native. */
interface Handle {
  readonly fd?: number
  readonly writeQueueSize?: number
}

type Internals = Socket & { readonly _handle?: Handle | null; readonly encrypted?: boolean }

type Borne = WebSocket & { [TRANSPORT]: WebSocketTransport }

/**
 * A transport over a ws socket. Reading, masking, fragments, pings and closes are ws's; our frames go straight to the TCP
 * socket, because they are encoded once for many receivers. What ws itself sends are control frames, which it compresses
 * never, so it holds no queue of its own that our bytes could overtake.
 */
export class WebSocketTransport implements Transport, NativeTarget {
  readonly framing = 'websocket'
  readonly #ws: WebSocket
  readonly #socket: Socket
  /** Null where nothing is compressed. */
  readonly #deflater: Deflater | null
  #receiver: Receiver | null = null
  /** Stands in for the byte count where the stream has none, as in @fastify/websocket's injectWS. */
  #events = 0
  #ended: { code: number; reason: string } | null = null
  readonly #nativeWrites: NativeWrites | null
  /** @internal Of a native write, which is made in this very turn. */
  deferred = 0

  /**
   * Must be called in the turn of the handshake: listeners that came later would miss frames. What is written is kept back
   * until it starts, where the socket was corked.
   */
  constructor(ws: WebSocket, socket: Socket, { deflater, nativeWrites }: WebSocketHost = PLAIN) {
    this.#ws = ws
    this.#socket = socket
    this.#nativeWrites = nativeWrites
    this.#deflater = deflater !== null && ws.extensions.includes('permessage-deflate') ? deflater : null
    // Of @fastify/websocket, whose listener keeps the request and the reply alive as long as the socket.
    const others = ws.listeners('error')
    const tells = TRANSPORT in ws
    ;(ws as Borne)[TRANSPORT] = this
    ws.on('error', onError)
    ws.on('message', onMessage)
    ws.on('close', onClose)
    // A host may have given its server a class of its own.
    if (!tells) for (const event of ['ping', 'pong']) ws.on(event, onControl)
    for (const other of others) ws.off('error', other as (error: Error) => void)
    ws.pause()
  }

  /** Other streams, and what TLS is over, may bring their bytes to somebody within the call, as may a `write` of its own. */
  get quiet(): boolean {
    return this.#socket.constructor === Socket && this.#socket.write === Socket.prototype.write
  }

  start(receiver: Receiver): void {
    this.#receiver = receiver
    this.#socket.uncork()
    if (this.#ended === null) this.#ws.resume()
    else receiver.closed(this.#ended.code, this.#ended.reason)
  }

  write(plain: readonly Uint8Array[]): void {
    this.#settle()
    const socket = this.#socket
    const deflater = this.#deflater
    if (this.#ws.readyState !== OPEN || !socket.writable) return
    const frames = deflater === null ? plain : plain.map(batch => deflater.frames(batch))
    if (frames.length === 1) {
      this.#writeOne(frames[0]!)
      return
    }
    const bytes = frames.reduce((sum, { byteLength }) => sum + byteLength, 0)
    // What is corked leaves in one piece with the 101 as it is.
    if (bytes <= COPIED_BYTES && socket.writableCorked === 0) {
      this.#writeOne(Buffer.concat(frames, bytes))
      return
    }
    socket.cork()
    for (const frame of frames) socket.write(frame)
    socket.uncork()
  }

  #writeOne(frame: Uint8Array): void {
    if (this.#nativeWrites?.add(this, frame) !== true) this.#socket.write(frame)
  }

  /** Whatever else is done with the socket comes after what was written before. */
  #settle(): void {
    if (this.deferred > 0) this.#nativeWrites!.flush()
  }

  /** Only where nothing of Node's or ws's is on its way, which would be overtaken, and what goes out goes out as it is. */
  descriptor(): number {
    const ws = this.#ws
    const { _handle: handle, encrypted, destroyed, writable, writableCorked } = this.#socket as Internals
    const idle = ws.bufferedAmount === 0 && writableCorked === 0 && handle?.writeQueueSize === 0
    if (!idle || ws.readyState !== OPEN || destroyed || !writable || encrypted === true) return -1
    return handle.fd ?? -1
  }

  writeRest(rest: Uint8Array): void {
    this.deferred = 0
    if (this.#ws.readyState === OPEN && this.#socket.writable) this.#socket.write(rest)
  }

  buffered(): number {
    return this.#socket.writableLength + this.deferred
  }

  whenDrained(task: () => void): void {
    this.#settle()
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
    this.#settle()
    // A paused socket would see neither the peer's close frame nor its FIN.
    this.#ws.resume()
    this.#ws.close(code, reason)
  }

  destroy(): void {
    this.#settle()
    this.#ws.terminate()
  }

  /** @internal */
  message(data: RawData, isBinary: boolean): void {
    this.#events++
    if (isBinary) this.#receiver?.binary()
    else this.#receiver?.text((data as Buffer).toString(), (data as Buffer).byteLength)
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
