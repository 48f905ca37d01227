import { createRequire } from 'node:module'
import cookie from '@fastify/cookie'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyPluginAsync, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Awaitable } from '../lib/awaitable.ts'
import { chain } from '../lib/awaitable.ts'
import type { BrokerFactory } from '../lib/broker/broker.ts'
import { memory } from '../lib/broker/memory.ts'
import { systemClock } from '../lib/clock.ts'
import { channelSocket } from '../lib/connection/channel-socket.ts'
import type { CloseEvent, Connection } from '../lib/connection/connection.ts'
import { Deflater } from '../lib/connection/deflate.ts'
import type { NativeSender } from '../lib/connection/native-writes.ts'
import { NativeWrites } from '../lib/connection/native-writes.ts'
import { channelsError } from '../lib/errors.ts'
import { isThenable } from '../lib/host-code.ts'
import type { MessageHandler } from '../lib/inbound/handlers.ts'
import type { Logger } from '../lib/log.ts'
import type { Limits, OptionName, Times } from '../lib/options.ts'
import { assertOptions, DEFAULT_LIMITS, DEFAULT_TIMES } from '../lib/options.ts'
import type { Clock } from '../lib/protocol/clock.ts'
import type { ContractDefinition } from '../lib/protocol/contract.ts'
import { SUBPROTOCOL } from '../lib/protocol/system.ts'
import type { CookieOptions } from '../lib/request/cookie.ts'
import { SignedCookie } from '../lib/request/cookie.ts'
import { Guard } from '../lib/request/guard.ts'
import { Handshakes } from '../lib/request/handshakes.ts'
import type { OriginPolicy } from '../lib/request/origin.ts'
import { OriginCheck } from '../lib/request/origin.ts'
import type { Identity, Profile, ProfileLoader } from '../lib/request/profile.ts'
import { assertProfile, identityOf } from '../lib/request/profile.ts'
import { Rechecks } from '../lib/request/recheck.ts'
import type { ActionEvent } from '../lib/request/routes.ts'
import { Routes } from '../lib/request/routes.ts'
import { Service } from '../lib/service.ts'
import { Refusals } from '../lib/stats.ts'
import { serveClient } from './client-file.ts'
import { ServiceSockets } from './service-sockets.ts'
import type { Sockets } from './sockets.ts'

declare module 'fastify' {
  interface FastifyInstance {
    sockets: Sockets
  }
}

/** Options of the plugin. Unknown ones are refused. */
export interface ChannelsOptions extends Partial<Times> {
  /** Loads who a request is, before each action. Default: the signed cookie, or nobody where there is no `cookie.secret`. */
  readonly profile?: ProfileLoader
  /** The signed cookie that `signIn` sets. Without it there is none. */
  readonly cookie?: CookieOptions
  /** Which origins may upgrade. Default `same-host`; see docs/security.md. */
  readonly origin?: OriginPolicy
  /** Channels whose events are known though they are not served; see docs/contract.md. */
  readonly contract?: ContractDefinition<any>
  readonly limits?: Partial<Limits>
  /** Where logs, results and sessions are kept: `memory()` unless told otherwise; see docs/guarantees.md. */
  readonly broker?: BrokerFactory
  /** Where the browser client is served, as one ES module: `/channels.js`, say. Default: nowhere. */
  readonly clientPath?: string
  /** Whether what the server publishes is held against the contract. Default: unless NODE_ENV is `production`. */
  readonly checkEvents?: boolean
  /** Whether messages of 1,024 bytes and more are compressed for clients that offer it (RFC 7692). Default false. */
  readonly compression?: boolean
  /** `native` of fastify-channels-native, which makes the writes of many sockets in one call. Default null: Node makes them. */
  readonly native?: NativeSender | null
  /** Whether each connection with a profile joins `user-<id>`. Default true. */
  readonly userChannel?: boolean
  /** Takes messages on channels without commands of their own. Default: they are refused. */
  readonly onMessage?: MessageHandler
  readonly onOpen?: (connection: Connection) => void | Promise<void>
  readonly onClose?: (connection: Connection, event: CloseEvent) => void | Promise<void>
  readonly onError?: (error: unknown, connection: Connection | null) => void
  /** Hears of each action's end: how long it took and what came of it. */
  readonly onAction?: (event: ActionEvent) => void
  /** Where time and chance come from; for tests. */
  readonly clock?: Clock
}

/** Every option of the type is one that is checked, and the other way round. */
type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : never) : never
const optionsAreListed: Same<keyof ChannelsOptions, OptionName> = true
void optionsAreListed

/** Below it a handshake that is reset while a hook runs ends the process, by an uncaught ECONNRESET. */
const WEBSOCKET_FLOOR = [11, 3, 6] as const

/** What is compressed once must do for all: there is no context from the message before. */
const DEFLATE_OPTIONS = { serverNoContextTakeover: true, clientNoContextTakeover: true }

/** How much longer than a handshake an upgrade request may live that no action answers. */
const GUARD_SLACK_MS = 1_000

type ServerOptions = NonNullable<WebsocketPluginOptions['options']>

const require = createRequire(import.meta.url)
const registered = new WeakSet<object>()

const plugin: FastifyPluginAsync<ChannelsOptions> = async (app, options) => {
  assertOptions(options)
  assertHost(app)
  const clock = options.clock ?? systemClock
  const limits = limitsOf(defined(options.limits ?? {}))
  const times: Times = { ...DEFAULT_TIMES, ...defined(pickTimes(options)) }
  const refusals = new Refusals()
  const handshakes = new Handshakes(clock, times.handshakeTimeoutMs, limits, refusals)
  const signedCookie = options.cookie === undefined ? null : new SignedCookie(options.cookie, clock)
  const broker = await (options.broker ?? memory())({
    clock,
    logger: app.log as Logger,
    onControl: text => service.control(text)
  })
  const service: Service = new Service({
    clock,
    broker,
    limits,
    times,
    refusals,
    hooks: options,
    logger: app.log as Logger,
    contract: options.contract ?? null,
    checkEvents: options.checkEvents ?? process.env.NODE_ENV !== 'production',
    userChannel: options.userChannel ?? true,
    onMessage: options.onMessage ?? null,
    pendingHandshakes: () => handshakes.size
  })
  const nativeWrites = options.native
    ? new NativeWrites(options.native, error => service.observer.failed(error, null))
    : null
  service.turn.scope = nativeWrites
  const routes = new Routes({
    clock,
    handshakes,
    refusals,
    identify: identifier(options.profile, signedCookie, clock),
    revocations: service.revocations,
    rechecks: options.profile === undefined ? null : rechecksOf(service, options.profile),
    allowsOrigin: originCheck(options, signedCookie),
    deflater: options.compression === true ? new Deflater(clock) : null,
    nativeWrites,
    onAction: options.onAction ?? null
  })
  const guard = new Guard(clock, times.handshakeTimeoutMs + GUARD_SLACK_MS)

  app.decorate('sockets', new ServiceSockets(service, signedCookie) as Sockets<any>)
  if (!app.hasPlugin('@fastify/cookie')) await app.register(cookie)

  // The order matters from here on: the guard sees a request before @fastify/websocket does and after it, our preClose hook
  // says goodbye before its own closes without a code, and our two onRoute hooks stand on either side of its one.
  guard.before(app.server)
  app.addHook('preClose', async () => {
    handshakes.close()
    guard.close()
    // A refusal may still be on its way through the host's hooks.
    await Promise.all([service.close(), guard.drain(times.closeGraceMs)])
    guard.destroyAll()
  })
  app.addHook('onRoute', route => routes.before(route))
  await app.register(websocket, {
    options: websocketOptions(limits.payloadBytes, times.closeGraceMs, routes, options.compression === true),
    errorHandler: terminate
  })
  app.addHook('onRoute', route => routes.after(route))
  guard.after(app.server)
  app.websocketServer.on('connection', (ws, request) => {
    guard.release(request)
    if (!routes.isOurs(request)) return
    // The service knows its own and says goodbye to them: ws's list of all would be a second one.
    app.websocketServer.clients.delete(ws)
    ws.removeAllListeners('close')
  })
  app.addHook('onReady', async () => service.ready())
  if (options.clientPath !== undefined) await serveClient(app, options.clientPath)
}

/** Fastify 5 plugin: brings @fastify/websocket, decorates `app.sockets` and makes routes of actions. */
export const channels = fp(plugin, { name: 'fastify-channels', fastify: '5.x' })

/** @throws where this server cannot have the plugin, or not now */
function assertHost(app: FastifyInstance): void {
  if (registered.has(app.server)) throw channelsError('FST_CHANNELS_ALREADY_REGISTERED')
  if (app.hasPlugin('@fastify/websocket') || app.hasDecorator('websocketServer')) {
    throw channelsError('FST_CHANNELS_WEBSOCKET_REGISTERED')
  }
  const { version } = require('@fastify/websocket/package.json') as { version: string }
  if (isOlder(version, WEBSOCKET_FLOOR)) {
    throw channelsError('FST_CHANNELS_WEBSOCKET_TOO_OLD', version, WEBSOCKET_FLOOR.join('.'))
  }
  registered.add(app.server)
}

function isOlder(version: string, floor: readonly number[]): boolean {
  const parts = version.split('.').map(Number)
  for (let i = 0; i < floor.length; i++) if (parts[i] !== floor[i]) return parts[i]! < floor[i]!
  return false
}

function websocketOptions(
  maxPayload: number,
  closeGraceMs: number,
  routes: Routes,
  compression: boolean
): ServerOptions & { closeTimeout: number } {
  // The ws that it has, which need not be anybody else's.
  const WebSocket: NonNullable<ServerOptions['WebSocket']> = createRequire(require.resolve('@fastify/websocket'))('ws')
  return {
    WebSocket: channelSocket(WebSocket),
    maxPayload,
    perMessageDeflate: compression && DEFLATE_OPTIONS,
    closeTimeout: closeGraceMs,
    // One function for the whole server: on routes that are not ours it does what ws does without one.
    handleProtocols: (offered: Set<string>, request: object) =>
      routes.isOurs(request) ? offered.has(SUBPROTOCOL) && SUBPROTOCOL : (offered.values().next().value ?? false)
  }
}

/** An error after the handshake is a lost link; what matters of it is the close, which we see as well. */
function terminate(_error: Error, socket: { terminate(): void }): void {
  socket.terminate()
}

function identifier(
  loader: ProfileLoader | undefined,
  cookie: SignedCookie | null,
  clock: Clock
): (request: FastifyRequest) => Awaitable<Identity> {
  if (loader !== undefined) {
    return request => chain(loaded(loader, request), profile => identityOf(profile, clock))
  }
  return request => {
    const signedIn = cookie?.inspect(request) ?? null
    return identityOf(signedIn?.profile ?? null, clock, signedIn?.expiresAt)
  }
}

function loaded(loader: ProfileLoader, request: FastifyRequest): Awaitable<Profile | null> {
  const profile = loader(request)
  return isThenable(profile) ? loadedLater(profile) : assertProfile(profile ?? null)
}

async function loadedLater(profile: PromiseLike<unknown>): Promise<Profile | null> {
  return assertProfile((await profile) ?? null)
}

/** A signed cookie needs none: what it says does not change, and its secrets are those that the process began with. */
function rechecksOf(service: Service, loader: ProfileLoader): Rechecks | null {
  const { clock, times, refusals } = service.parts
  if (times.recheckMs === 0) return null
  return new Rechecks({
    clock,
    refusals,
    everyMs: times.recheckMs,
    timeoutMs: times.handshakeTimeoutMs,
    load: request => loaded(loader, request),
    failed: (error, connection) => service.observer.failed(error, connection)
  })
}

function originCheck(
  options: ChannelsOptions,
  cookie: SignedCookie | null
): (request: FastifyRequest) => boolean | Promise<boolean> {
  const check = new OriginCheck(options.origin)
  // A loader of the host's may read any cookie: then each of them is credentials that a page of another site could use.
  const bears = (request: FastifyRequest): boolean =>
    options.profile === undefined ? (cookie?.bears(request) ?? false) : request.raw.headers.cookie !== undefined
  return request => check.allows(request, bears(request))
}

/**
 * A message that no outbox can hold would close every member of its channel.
 * @throws FST_CHANNELS_INVALID_OPTION
 */
function limitsOf(given: Partial<Limits>): Limits {
  const limits = { ...DEFAULT_LIMITS, ...given }
  if (limits.messageBytes <= limits.outboxBytes) return limits
  if (given.messageBytes === undefined) return { ...limits, messageBytes: limits.outboxBytes }
  const expected = `at most limits.outboxBytes, ${limits.outboxBytes}`
  throw channelsError('FST_CHANNELS_INVALID_OPTION', 'limits.messageBytes', expected, String(given.messageBytes))
}

function pickTimes(options: ChannelsOptions): object {
  return Object.fromEntries(Object.keys(DEFAULT_TIMES).map(key => [key, options[key as keyof Times]]))
}

function defined<T extends object>(values: T): T {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as T
}
