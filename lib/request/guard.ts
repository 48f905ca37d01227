import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Delayed } from '../connection/delay-line.ts'
import { DelayLine } from '../connection/delay-line.ts'
import type { Clock } from '../protocol/clock.ts'

const BUSY = 'HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n'

/**
 * Where a request bears its socket while that is watched (one that injectWS of @fastify/websocket made up has it nowhere
 * else), and null once a WebSocket has taken it.
 */
const SOCKET: unique symbol = Symbol('fastify-channels.socket')

type Guarded = IncomingMessage & { [SOCKET]?: Socket | null }

/**
 * Sees every upgrade request and lets none of their sockets outlive it. Node hands such a socket over
 * without listeners or timeouts, and @fastify/websocket 11.3 closes it only where a route answered: one that was answered
 * outside a route (a malformed URL, a server that is closing) would stay for ever.
 */
export class Guard {
  readonly #clock: Clock
  readonly #deadlines: DelayLine
  /** Sockets that no WebSocket has taken yet. */
  readonly #waiting = new Map<Socket, Delayed>()
  /** Those of them that came in this turn. */
  #entered: Socket[] = []
  readonly #left: (this: Socket) => void
  /** Who listens for upgrade requests, where nobody does but ourselves and @fastify/websocket. */
  #listeners = 0
  #closing = false
  #onEmpty: (() => void) | null = null

  /** A socket that was not upgraded is destroyed once it was answered, or after `deadlineMs`. */
  constructor(clock: Clock, deadlineMs: number) {
    this.#clock = clock
    this.#deadlines = new DelayLine(clock, deadlineMs)
    const guard = this
    this.#left = function (this: Socket) {
      guard.#forget(this)
    }
  }

  /** Must be called before @fastify/websocket is registered. */
  before(server: Server): void {
    this.#listeners = -server.listenerCount('upgrade')
    server.prependListener('upgrade', (request: IncomingMessage, socket: Socket) => {
      // What a listener of the host's throws would end the request before we see it again.
      if (this.#closing || server.listenerCount('upgrade') !== this.#listeners) this.#watch(request, socket)
      if (this.#closing) socket.end(BUSY, () => socket.destroy())
    })
  }

  /** Must be called after it: most requests have been answered then, in the turn in which they came, and need no watching. */
  after(server: Server): void {
    server.on('upgrade', (request: Guarded, socket: Socket) => {
      if (request[SOCKET] === undefined) this.#watch(request, socket)
    })
    this.#listeners += server.listenerCount('upgrade')
  }

  /** The socket is a WebSocket's from now on. */
  release(request: IncomingMessage): void {
    const { [SOCKET]: socket } = request as Guarded
    ;(request as Guarded)[SOCKET] = null
    if (socket) this.#forget(socket)
  }

  /** From now on upgrade requests are answered 503 by ourselves: nobody else may be listening any more. */
  close(): void {
    this.#closing = true
  }

  /** Resolves once nobody waits for an answer any more; whoever still does after `graceMs` gets none. */
  async drain(graceMs: number): Promise<void> {
    if (this.#waiting.size > 0) {
      await new Promise<void>(resolve => {
        const grace = this.#clock.after(graceMs, resolve)
        this.#onEmpty = () => {
          grace.cancel()
          resolve()
        }
      })
    }
    this.destroyAll()
  }

  /** Ends what is still waiting. */
  destroyAll(): void {
    for (const socket of [...this.#waiting.keys()]) socket.destroy()
    this.#deadlines.clear()
  }

  #watch(request: Guarded, socket: Socket): void {
    // Without a listener a reset would be an uncaught exception.
    socket.on('error', destroyThis)
    request[SOCKET] = socket
    this.#waiting.set(
      socket,
      this.#deadlines.add(() => socket.destroy())
    )
    socket.on('close', this.#left)
    if (this.#entered.length === 0) this.#clock.soon(() => this.#watchAnswers())
    this.#entered.push(socket)
  }

  /** Of those that nobody has taken by the turn's end. */
  #watchAnswers(): void {
    const entered = this.#entered
    this.#entered = []
    for (const socket of entered) this.#watchAnswer(socket)
  }

  /** `_httpMessage` is Node's own; were it renamed, the deadline alone would do. */
  #watchAnswer(socket: Socket): void {
    if (!this.#waiting.has(socket)) return
    const answer = (socket as Socket & { _httpMessage?: ServerResponse | null })._httpMessage
    if (answer === undefined || answer === null) return
    const kill = (): void => {
      if (this.#waiting.has(socket)) socket.end(() => socket.destroy())
    }
    if (answer.writableFinished) kill()
    else answer.once('finish', () => this.#clock.soon(kill))
  }

  #forget(socket: Socket): void {
    socket.off('close', this.#left)
    // Whoever has it from now on listens.
    if (!socket.destroyed) socket.off('error', destroyThis)
    this.#waiting.get(socket)?.cancel()
    this.#waiting.delete(socket)
    if (this.#waiting.size === 0) this.#onEmpty?.()
  }
}

function destroyThis(this: Socket): void {
  this.destroy()
}
