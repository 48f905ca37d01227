import type { Socket } from 'node:net'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { Connection, ConnectionKind } from '../connection/connection.ts'
import type { Delayed } from '../connection/delay-line.ts'
import { Expiry } from '../connection/expiry.ts'
import type { Rendezvous } from '../connection/rendezvous.ts'
import type { Resume } from '../connection/resume.ts'
import { parseResume, RESUME_PREFIX } from '../connection/resume.ts'
import type { Revocations, Ticket } from '../connection/revocations.ts'
import type { WebSocketHost } from '../connection/websocket.ts'
import { WebSocketTransport } from '../connection/websocket.ts'
import type { ChannelsError } from '../errors.ts'
import { channelsError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { Clock } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import { SUBPROTOCOL } from '../protocol/system.ts'
import type { RegisteredProfile } from '../register.ts'
import type { Handshakes, Pending } from './handshakes.ts'
import type { Identity } from './profile.ts'
import type { Rechecks } from './recheck.ts'

/** What all handshakes share. */
export interface HandshakeHost extends WebSocketHost {
  readonly clock: Clock
  readonly handshakes: Handshakes
  readonly revocations: Revocations
  /** Null where nobody asks again. */
  readonly rechecks: Rechecks | null
}

/** Everything that one handshake works with. */
export interface HandshakeParts {
  readonly key: string
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** @fastify/websocket's handler of this route: answers 101 and hands the socket to `adopt`, in one turn. */
  readonly shake: () => void
}

/** Where a request bears its handshake, as long as that can be opened. */
const HANDSHAKE: unique symbol = Symbol('fastify-channels.handshake')

type Shaking = FastifyRequest & { [HANDSHAKE]?: Handshake | null }

/** The route's WebSocket handler: the socket is taken by the handshake that asked for it. */
export function adopt(ws: WebSocket, request: FastifyRequest): void {
  const handshake = (request as Shaking)[HANDSHAKE]
  if (handshake === undefined || handshake === null) ws.terminate()
  else handshake.adopt(ws)
}

/** The names in a Sec-WebSocket-Protocol header. */
export function offeredIn(header: string): string[] {
  return header.split(',').map(name => name.trim())
}

function resumeIn(header: string = SUBPROTOCOL): Resume | null {
  if (header === SUBPROTOCOL) return null
  const offered = offeredIn(header).find(name => name.startsWith(RESUME_PREFIX))
  return offered === undefined ? null : parseResume(offered)
}

/**
 * One upgrade request, from its arrival to its 101 or another answer. The action runs as the route's handler: as long as
 * it has not called `open`, whatever it throws is an ordinary answer of Fastify's.
 */
export class Handshake implements Rendezvous, Pending {
  readonly ip: string
  readonly kind: ConnectionKind
  readonly resume: Resume | null
  readonly ticket: Ticket
  deadline: Delayed | null = null
  identity: Identity = { profile: null, expiresAt: null }
  readonly #host: HandshakeHost
  readonly #parts: HandshakeParts
  /** Made for who asks for it: each gives V8 hidden classes of its own. */
  #abort: AbortController | null = null
  #aborted: ChannelsError | null = null
  readonly #socket: Socket
  #state: 'pending' | 'open' | 'over' = 'pending'
  /** What ends it before its action does; null in the turn in which it came. */
  #end: { readonly resolve: (answer: unknown) => void; readonly reject: (error: unknown) => void } | null = null
  #ws: WebSocket | null = null
  #connection: Connection | null = null
  /** While it is watched whether the client is gone. */
  #onGone: (() => void) | null = null
  #isGone = false
  #hasLeft = false

  /** @throws FST_CHANNELS_CLOSING, FST_CHANNELS_TOO_MANY_HANDSHAKES */
  constructor(host: HandshakeHost, parts: HandshakeParts) {
    const { request } = parts
    this.#host = host
    this.#parts = parts
    // @fastify/websocket's injectWS has none.
    this.ip = request.ip ?? ''
    const offered = request.headers['sec-websocket-protocol']
    this.kind = offered === undefined ? 'plain' : SUBPROTOCOL
    this.resume = resumeIn(offered)
    host.handshakes.assertRoom(this.ip)
    this.ticket = host.revocations.take()
    this.#socket = parts.reply.raw.socket as Socket
    ;(request as Shaking)[HANDSHAKE] = this
    if (this.#socket.destroyed) this.#gone()
  }

  get action(): string {
    return this.#parts.key
  }

  /** The request's as it is now: a hook or a profile loader may have given it another. */
  get logger(): Logger {
    return this.#parts.request.log as Logger
  }

  get profile(): RegisteredProfile | null {
    return this.identity.profile
  }

  get signal(): AbortSignal {
    if (this.#abort === null) {
      this.#abort = new AbortController()
      if (this.#aborted !== null) this.#abort.abort(this.#aborted)
    }
    return this.#abort.signal
  }

  #stop(reason: ChannelsError): void {
    this.#aborted = reason
    this.#abort?.abort(reason)
  }

  /** Whether the answer was 101. */
  get isOpen(): boolean {
    return this.#state === 'open'
  }

  assertPending(): void {
    const { key, reply } = this.#parts
    if (this.#state === 'open') throw channelsError('FST_CHANNELS_ALREADY_UPGRADED', key)
    if (this.#isGone) throw channelsError('FST_CHANNELS_SOCKET_GONE')
    // However soon after its answer the socket was closed.
    if (this.#state === 'over' || reply.sent) throw channelsError('FST_CHANNELS_UPGRADE_TOO_LATE', key)
    if (this.#socket.destroyed) throw channelsError('FST_CHANNELS_SOCKET_GONE')
  }

  open(): WebSocketTransport {
    this.assertPending()
    this.#detach()
    this.#limitExtensions()
    // Until the transport starts: the 101 leaves with what the client is greeted with, in one write.
    this.#socket.cork()
    this.#parts.shake()
    this.#leave()
    // ws refused it and has answered: a server of its own that is closing, or a rule of its own.
    if (this.#ws === null) {
      this.#socket.uncork()
      this.#state = 'over'
      throw channelsError('FST_CHANNELS_SOCKET_GONE')
    }
    this.#state = 'open'
    return new WebSocketTransport(this.#ws, this.#socket, this.#host)
  }

  /**
   * The socket would keep the response, and with it the request, as long as the connection lasts; one whose end somebody
   * else waits for stays with it. Before ws adds listeners of its own: a list that has once been long keeps the room.
   */
  #detach(): void {
    this.#unwatch()
    const { raw } = this.#parts.reply
    if (raw.listenerCount('close') === 0) raw.detachSocket(this.#socket)
  }

  #unwatch(): void {
    if (this.#onGone === null) return
    this.#socket.off('close', this.#onGone)
    this.#socket.off('end', this.#onGone)
  }

  /** What is compressed once has the full window: who allows only a smaller one is sent everything as it is. */
  #limitExtensions(): void {
    const { headers } = this.#parts.request.raw
    if (headers['sec-websocket-extensions']?.includes('server_max_window_bits') !== true) return
    if (this.#host.deflater !== null) delete headers['sec-websocket-extensions']
  }

  opened(connection: Connection): void {
    this.#connection = connection
    if (connection.profile === null) return
    const { clock, rechecks } = this.#host
    const expiry = new Expiry(clock, connection)
    expiry.set(this.identity.expiresAt)
    rechecks?.watch(connection, this.#parts.request, expiry)
  }

  /**
   * Settles as the action does, or before it: rejects with the answer where the handshake must end, resolves where the
   * client is gone. Must be called in the turn in which the handshake was made: one that is over in it was never waited for.
   */
  until(action: Promise<unknown>): Promise<unknown> {
    if (this.#state !== 'pending' && !this.#isGone) return action
    const ended = new Promise((resolve, reject) => {
      this.#end = { resolve, reject }
    })
    if (this.#isGone) this.#end!.resolve(undefined)
    else this.#wait()
    action.then(this.#end!.resolve, this.#end!.reject)
    return ended
  }

  #wait(): void {
    this.#host.handshakes.add(this)
    this.#onGone = () => this.#gone()
    this.#socket.on('close', this.#onGone)
    // The client's FIN alone: the socket stays writable and no 'close' comes.
    this.#socket.on('end', this.#onGone)
  }

  adopt(ws: WebSocket): void {
    this.#ws = ws
  }

  refuse(error: ChannelsError): void {
    if (this.#state !== 'pending') return
    this.finish()
    this.#stop(error)
    this.#end!.reject(error)
  }

  /** The action is done, or its answer is on the way. */
  finish(): void {
    if (this.#state === 'pending') this.#state = 'over'
    this.#leave()
  }

  /** The action threw after the 101: there is no answer to give but a close. */
  fail(): void {
    const { code, reason } = closeCode('internal-error')
    if (this.#connection === null) this.#ws?.close(code, reason)
    else this.#connection.close(code, reason)
    this.#socket.uncork()
  }

  #gone(): void {
    if (this.#state !== 'pending') return
    this.#isGone = true
    this.finish()
    this.#stop(channelsError('FST_CHANNELS_SOCKET_GONE'))
    this.#parts.reply.hijack()
    this.#socket.destroy()
    this.#end?.resolve(undefined)
  }

  #leave(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#unwatch()
    this.#host.handshakes.remove(this)
    this.#host.revocations.giveBack(this.ticket)
    ;(this.#parts.request as Shaking)[HANDSHAKE] = null
  }
}
