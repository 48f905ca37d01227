import type {} from '@fastify/websocket'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod, RouteOptions } from 'fastify'
import type { Awaitable } from '../awaitable.ts'
import type { Rendezvous } from '../connection/rendezvous.ts'
import { parseResume, RESUME_PREFIX } from '../connection/resume.ts'
import type { ChannelsError } from '../errors.ts'
import { channelsError } from '../errors.ts'
import { attempt } from '../host-code.ts'
import type { Logger } from '../log.ts'
import { SUBPROTOCOL } from '../protocol/system.ts'
import type { RegisteredProfile } from '../register.ts'
import type { Refusals } from '../stats.ts'
import type { ActionContext, MarkedAction } from './act.ts'
import { actionOf } from './act.ts'
import type { HandshakeHost } from './handshake.ts'
import { adopt, Handshake, offeredIn } from './handshake.ts'
import { buildPageState } from './page-state.ts'
import type { Identity } from './profile.ts'

/** How an action ended. */
export interface ActionEvent {
  readonly key: string
  readonly durationMs: number
  /** `upgraded` where it opened a connection, `answered` where it returned without, `failed` where it threw. */
  readonly result: 'answered' | 'upgraded' | 'failed'
  readonly error?: unknown
}

export interface RouteParts extends HandshakeHost {
  readonly refusals: Refusals
  readonly identify: (request: FastifyRequest) => Awaitable<Identity>
  readonly allowsOrigin: (request: FastifyRequest) => Awaitable<boolean>
  readonly onAction: ((event: ActionEvent) => void) | null
}

/** Where an upgrade request says whose it is. */
const OURS: unique symbol = Symbol('fastify-channels.routes')

type Marked = object & { [OURS]?: Routes }

/** RFC 6455 §4.1: sixteen bytes in base64. */
const KEY = /^[+/0-9A-Za-z]{22}==$/
/** RFC 9110 §5.6.2: what a subprotocol's name is made of; the same name must not be offered twice. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/

/**
 * Turns routes whose handler `act` made into routes of ours, by an onRoute hook on either side of @fastify/websocket's:
 * the first declares the WebSocket handler, the second stands in front of what @fastify/websocket made of it.
 */
export class Routes {
  readonly #parts: RouteParts
  readonly #socketRoutes = new WeakMap<RouteOptions, MarkedAction>()

  constructor(parts: RouteParts) {
    this.#parts = parts
  }

  /** Whether this upgrade request belongs to an action: `handleProtocols` is one function for the whole server. */
  isOurs(raw: object): boolean {
    return (raw as Marked)[OURS] === this
  }

  /** @throws FST_CHANNELS_WEBSOCKET_OPTION */
  before(route: RouteOptions): void {
    const action = actionOf(route.handler)
    if (action === undefined) return
    if (route.websocket === true || route.wsHandler !== undefined) {
      throw channelsError('FST_CHANNELS_WEBSOCKET_OPTION', route.url)
    }
    const { params, query } = action.schemas
    if (params !== undefined || query !== undefined) {
      route.schema = {
        ...route.schema,
        ...(params === undefined ? {} : { params }),
        ...(query === undefined ? {} : { querystring: query })
      }
    }
    const methods = Array.isArray(route.method) ? route.method : [route.method]
    const mayUpgrade = methods.length === 1 && (methods[0] === 'GET' || methods[0] === 'HEAD')
    route.handler = this.#ordinary(action, mayUpgrade)
    if (!mayUpgrade || methods[0] === 'HEAD') return
    route.wsHandler = adopt as unknown as NonNullable<RouteOptions['wsHandler']>
    this.#socketRoutes.set(route, action)
  }

  after(route: RouteOptions): void {
    const action = this.#socketRoutes.get(route)
    if (action === undefined) return
    const routes = this
    const wrapped = route.handler
    route.handler = function (request, reply) {
      if (request.ws !== true) return wrapped.call(this, request, reply)
      const shake = (): void => void wrapped.call(this, request, reply)
      return routes.#perform(this, action, request, reply, shake)
    }
  }

  #ordinary(action: MarkedAction, mayUpgrade: boolean): RouteHandlerMethod {
    const routes = this
    return async function (request, reply) {
      const started = routes.#parts.clock.monotonic()
      try {
        const { profile } = await routes.#parts.identify(request)
        const rendezvous = ordinaryRendezvous(action.key, profile, request, mayUpgrade)
        const pageState = buildPageState(request, rendezvous, routes.#parts.clock.wall())
        const result = await action.run(this, pageState, new Context(request, reply, rendezvous))
        routes.#report(action.key, started, 'answered', request)
        if (result !== undefined || reply.sent) return result
        // Fastify would wait for an answer for ever.
        return reply.code(204).send()
      } catch (error) {
        routes.#report(action.key, started, 'failed', request, error)
        throw withHeaders(error, reply)
      }
    }
  }

  /** An upgrade request: the origin, then the action, and whichever comes first of its end and the handshake's. */
  async #perform(
    app: FastifyInstance,
    action: MarkedAction,
    request: FastifyRequest,
    reply: FastifyReply,
    shake: () => void
  ): Promise<unknown> {
    const started = this.#parts.clock.monotonic()
    reply.header('connection', 'close')
    let handshake: Handshake | null = null
    try {
      ;(request.raw as Marked)[OURS] = this
      const fault = faultOf(request)
      if (fault !== null) throw this.#counted(fault)
      handshake = new Handshake(this.#parts, { key: action.key, request, reply, shake })
      return await handshake.until(this.#act(app, action, request, reply, handshake, started))
    } catch (error) {
      if (reply.sent) return
      if (handshake === null) this.#report(action.key, started, 'failed', request, error)
      throw withHeaders(error, reply)
    } finally {
      handshake?.finish()
    }
  }

  async #act(
    app: FastifyInstance,
    action: MarkedAction,
    request: FastifyRequest,
    reply: FastifyReply,
    handshake: Handshake,
    started: number
  ): Promise<unknown> {
    try {
      // What is there at once is not waited for: most handshakes are over in the turn in which they came.
      const allowing = this.#parts.allowsOrigin(request)
      const allowed = allowing instanceof Promise ? await allowing : allowing
      if (allowed !== true) throw this.#counted('FST_CHANNELS_ORIGIN_REFUSED')
      const identifying = this.#parts.identify(request)
      handshake.identity = identifying instanceof Promise ? await identifying : identifying
      handshake.assertPending()
      const pageState = buildPageState(request, handshake, this.#parts.clock.wall())
      const result = await action.run(app, pageState, new Context(request, reply, handshake))
      if (result === undefined && !handshake.isOpen && !reply.sent)
        throw channelsError('FST_CHANNELS_NO_ANSWER', action.key)
      this.#report(action.key, started, handshake.isOpen ? 'upgraded' : 'answered', request)
      if (handshake.isOpen) return undefined
      // An upgrade that the action did not wait for comes too late from here on.
      handshake.finish()
      return result
    } catch (error) {
      this.#report(action.key, started, 'failed', request, error)
      if (!handshake.isOpen) {
        handshake.finish()
        throw error
      }
      handshake.logger.error({ action: action.key, err: error }, 'action failed after the upgrade')
      handshake.fail()
      return undefined
    }
  }

  #counted(code: Refused): ChannelsError {
    this.#parts.refusals.count(code)
    return channelsError(code)
  }

  #report(key: string, started: number, result: ActionEvent['result'], request: FastifyRequest, error?: unknown): void {
    const durationMs = this.#parts.clock.monotonic() - started
    request.log.debug({ action: key, durationMs, result }, 'action done')
    void attempt(
      () => this.#parts.onAction?.({ key, durationMs, result, ...(error === undefined ? {} : { error }) }),
      inner => request.log.error({ err: inner }, 'onAction failed')
    )
  }
}

type Refused = 'FST_CHANNELS_ORIGIN_REFUSED' | 'FST_CHANNELS_BAD_HANDSHAKE' | 'FST_CHANNELS_UNKNOWN_SUBPROTOCOL'

/** What ws would refuse after the action had run is refused before; null where it is well. */
function faultOf({ headers }: FastifyRequest): Refused | null {
  const { upgrade, 'sec-websocket-key': key } = headers
  // A number in what injectWS of @fastify/websocket makes up.
  const version = String(headers['sec-websocket-version'])
  if (upgrade?.toLowerCase() !== 'websocket' || typeof key !== 'string' || !KEY.test(key) || version !== '13') {
    return 'FST_CHANNELS_BAD_HANDSHAKE'
  }
  const header = headers['sec-websocket-protocol']
  if (header === undefined || header === SUBPROTOCOL) return null
  const offered = offeredIn(header)
  if (!offered.every(name => TOKEN.test(name)) || new Set(offered).size !== offered.length) {
    return 'FST_CHANNELS_BAD_HANDSHAKE'
  }
  if (!offered.includes(SUBPROTOCOL)) return 'FST_CHANNELS_UNKNOWN_SUBPROTOCOL'
  const resumes = offered.filter(name => name.startsWith(RESUME_PREFIX))
  const fit = resumes.length < 2 && resumes.every(name => parseResume(name) !== null)
  return fit ? null : 'FST_CHANNELS_BAD_HANDSHAKE'
}

/** Headers that go with some of our errors (RFC 9110 §7.8, §10.2.3; RFC 6455 §4.4). */
function withHeaders(error: unknown, reply: FastifyReply): unknown {
  const { code, retryAfter } = (error ?? {}) as Partial<ChannelsError>
  if (reply.sent) return error
  if (code === 'FST_CHANNELS_BAD_HANDSHAKE') reply.header('sec-websocket-version', '13')
  // HTTP/2 has no such headers (RFC 9113 §8.2.2): Node would throw where nobody could catch it.
  if (code === 'FST_CHANNELS_UPGRADE_REQUIRED' && reply.request.raw.httpVersionMajor === 1) {
    // Node would take a Connection header without "close" for a wish to keep the link, whatever the client asked for.
    const connection = reply.raw.shouldKeepAlive ? 'upgrade' : 'upgrade, close'
    reply.header('upgrade', 'websocket').header('connection', connection)
  }
  if (typeof retryAfter === 'number') reply.header('retry-after', String(Math.ceil(retryAfter)))
  return error
}

class Context implements ActionContext {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly #rendezvous: Rendezvous

  constructor(request: FastifyRequest, reply: FastifyReply, rendezvous: Rendezvous) {
    this.request = request
    this.reply = reply
    this.#rendezvous = rendezvous
  }

  /** Made for who asks for it. */
  get signal(): AbortSignal {
    return this.#rendezvous.signal
  }
}

/** An ordinary request of a socket route passes the same checks and is then told to come by WebSocket. */
function ordinaryRendezvous(
  action: string,
  profile: RegisteredProfile | null,
  { log, ip }: FastifyRequest,
  mayUpgrade: boolean
): Rendezvous {
  let never: AbortController | null = null
  return {
    action,
    profile,
    logger: log as Logger,
    ip,
    get signal() {
      never ??= new AbortController()
      return never.signal
    },
    kind: 'plain',
    resume: null,
    ticket: null,
    assertPending() {
      if (!mayUpgrade) throw channelsError('FST_CHANNELS_NOT_A_SOCKET_ROUTE', action)
    },
    open() {
      throw channelsError('FST_CHANNELS_UPGRADE_REQUIRED')
    },
    opened() {}
  }
}
