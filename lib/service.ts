import { createHash } from 'node:crypto'
import { Definitions } from './channel/definition.ts'
import { Channels } from './channel/registry.ts'
import type { ChannelRules } from './channel/rules.ts'
import type { CloseEvent } from './connection/connection.ts'
import { Connection } from './connection/connection.ts'
import { Heartbeat } from './connection/heartbeat.ts'
import { assertChannelName } from './connection/publication.ts'
import { Connections } from './connection/registry.ts'
import type { Rendezvous } from './connection/rendezvous.ts'
import type { Transport } from './connection/transport.ts'
import { Turn } from './connection/turn.ts'
import type { ChannelsError, ErrorCode } from './errors.ts'
import { channelsError, forbidden } from './errors.ts'
import { Commands } from './inbound/commands.ts'
import { Dispatcher } from './inbound/dispatcher.ts'
import type { MessageHandler } from './inbound/handlers.ts'
import type { Logger } from './log.ts'
import type { ConnectionHooks } from './observer.ts'
import { Observer } from './observer.ts'
import type { Limits, Times } from './options.ts'
import { isChannelName, userChannel } from './protocol/channel-name.ts'
import type { Clock } from './protocol/clock.ts'
import { closeCode } from './protocol/close-code.ts'
import type { AnyChannel, ContractDefinition } from './protocol/contract.ts'
import type { JoinedBy } from './protocol/system.ts'
import { systemFrame } from './protocol/system.ts'
import type { Refusals, ServiceStats } from './stats.ts'
import { Traffic } from './stats.ts'

/** What a service is made of. */
export interface ServiceParts {
  readonly clock: Clock
  readonly limits: Limits
  readonly times: Times
  readonly hooks: ConnectionHooks
  readonly logger: Logger
  readonly refusals: Refusals
  /** Channels that are known though not all of them are served. */
  readonly contract: ContractDefinition | null
  readonly checkEvents: boolean
  readonly userChannel: boolean
  readonly onMessage: MessageHandler | null
  /** Handshakes under way, which the HTTP side knows. */
  readonly pendingHandshakes: () => number
}

/** What one upgrade asks for. */
export interface OpenRequest {
  readonly channel: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly onMessage: MessageHandler | undefined
  readonly userChannel: boolean | undefined
}

/** A reconnecting crowd is spread over this much time for each connection that was closed, within a bound. */
const SPREAD_PER_CONNECTION_MS = 5
const MAX_SPREAD_MS = 10_000

/** One node's service: its connections and channels, and how they begin and end. */
export class Service {
  readonly parts: ServiceParts
  readonly turn: Turn
  readonly connections = new Connections()
  readonly channels: Channels
  readonly #observer: Observer
  readonly #commands = new Commands()
  readonly #dispatcher: Dispatcher
  readonly #heartbeat: Heartbeat
  readonly #startedAt: number
  /** Of connections that take no more part, whether or not their links are gone. */
  readonly #past = new Traffic()
  #contractHash: string | null = null
  #onEmpty: (() => void) | null = null
  #closing = false

  constructor(parts: ServiceParts) {
    const { clock, limits, times, hooks, logger, refusals, checkEvents } = parts
    this.parts = parts
    this.turn = new Turn(clock)
    this.#observer = new Observer(hooks, logger)
    const publishing = { messageBytes: limits.messageBytes, checkEvents }
    this.channels = new Channels(new Definitions(), this.turn, this.#observer, publishing)
    this.#dispatcher = new Dispatcher({
      clock,
      limits,
      refusals,
      accessTimeoutMs: times.handshakeTimeoutMs,
      channels: this.channels,
      commands: this.#commands,
      observer: this.#observer
    })
    this.#heartbeat = new Heartbeat(clock, times.heartbeatMs, connection => this.#abandon(connection, 'silent'))
    this.#startedAt = clock.monotonic()
  }

  /** @throws FST_CHANNELS_NOT_READY */
  assertReady(method: string): void {
    if (this.#contractHash === null) throw channelsError('FST_CHANNELS_NOT_READY', method)
  }

  /** @throws FST_CHANNELS_SERVE_TOO_LATE, FST_CHANNELS_ALREADY_SERVED, FST_CHANNELS_INVALID_CONTRACT */
  serve(channel: AnyChannel, rules: ChannelRules): void {
    if (this.#contractHash !== null) throw channelsError('FST_CHANNELS_SERVE_TOO_LATE', channel.pattern)
    this.#commands.add(this.channels.definitions.add(channel, rules))
  }

  /** The contract is complete: what it holds beside the served channels is added, and it gets its hash. */
  ready(): void {
    const { definitions } = this.channels
    const served = new Set(definitions.all().map(definition => definition.channel.pattern))
    for (const channel of this.parts.contract?.channels ?? []) {
      if (!served.has(channel.pattern)) definitions.add(channel, {})
    }
    this.#contractHash = createHash('sha256').update(definitions.canonical()).digest('hex').slice(0, 16)
  }

  /** From a request to a connection that has joined. @throws as `Sockets.upgrade` */
  async open(rendezvous: Rendezvous, request: OpenRequest): Promise<Connection> {
    rendezvous.assertPending()
    assertChannelName(request.channel, 'request')
    await this.#assertAccess(rendezvous, request.channel)
    this.#assertCapacity(rendezvous, request.channel)
    const connection = this.#connect(rendezvous, rendezvous.open(), request)
    rendezvous.opened(connection)
    this.#dispatcher.open(connection, request.onMessage ?? this.parts.onMessage)
    this.#welcome(connection)
    this.#observer.opened(connection)
    this.#enter(connection, connection.route, 'route')
    const own = request.userChannel ?? this.parts.userChannel
    if (own && connection.profile !== null) this.#enter(connection, userChannel(connection.profile.id), 'server')
    connection.start()
    if (!connection.open) throw channelsError('FST_CHANNELS_CONNECTION_CLOSED')
    return connection
  }

  async #assertAccess({ profile, ip, signal }: Rendezvous, channel: string): Promise<void> {
    const resolved = this.channels.definitions.resolve(channel)
    const access = resolved?.definition.rules.access
    if (resolved === null || access === undefined) return
    const { params } = resolved
    const allowed = await access({ channel, params, profile, via: 'route', connection: null, ip, signal })
    if (allowed !== true) throw forbidden()
  }

  /** Asked in the turn of the handshake, so that no two of them take the last place. */
  #assertCapacity({ profile, ip }: Rendezvous, channel: string): void {
    const { connections, connectionsPerAddress, connectionsPerUser } = this.parts.limits
    if (this.#closing) throw this.#refusal('FST_CHANNELS_CLOSING')
    if (connections !== 0 && this.connections.size >= connections) throw this.#refusal('FST_CHANNELS_SERVICE_FULL')
    if (connectionsPerAddress !== 0 && this.connections.countOfAddress(ip) >= connectionsPerAddress) {
      throw this.#refusal('FST_CHANNELS_TOO_MANY_CONNECTIONS', 'address')
    }
    if (!this.channels.hasRoom(channel)) throw this.#refusal('FST_CHANNELS_CHANNEL_FULL')
    if (profile === null) return
    if (connectionsPerUser !== 0 && this.connections.countOfUser(profile.id) >= connectionsPerUser) {
      throw this.#refusal('FST_CHANNELS_TOO_MANY_CONNECTIONS', 'user')
    }
    if (!isChannelName(userChannel(profile.id))) {
      throw channelsError('FST_CHANNELS_INVALID_PROFILE', 'percent-encoded it is too long for the name of a channel')
    }
  }

  #refusal(code: ErrorCode, ...args: string[]): ChannelsError {
    this.parts.refusals.count(code)
    return Object.assign(channelsError(code, ...args), { retryAfter: 5 })
  }

  #connect(rendezvous: Rendezvous, transport: Transport, { channel, metadata }: OpenRequest): Connection {
    const { clock, limits, times, refusals } = this.parts
    const id = base64url(clock.randomBytes(16))
    const connection = new Connection({
      id,
      transport,
      clock,
      session: base64url(clock.randomBytes(16)),
      kind: rendezvous.kind,
      profile: rendezvous.profile,
      metadata: Object.freeze({ ...metadata }),
      ip: rendezvous.ip,
      route: channel,
      logger: rendezvous.logger.child({ connectionId: id }),
      turn: this.turn,
      outboxBytes: limits.outboxBytes,
      messageBytes: limits.messageBytes,
      closeGraceMs: times.closeGraceMs,
      events: {
        text: (from, text) => this.#dispatcher.text(from, text),
        control: from => this.#dispatcher.control(from),
        slow: from => this.#abandon(from, 'slow'),
        violated: (_from, name) => refusals.count(name),
        detached: from => this.#detached(from),
        closed: (from, event) => this.#closed(from, event)
      }
    })
    this.connections.add(connection)
    this.#heartbeat.add(connection)
    return connection
  }

  /** Unless a hook has joined it already: a second membership would hide the first, which nobody would ever end. */
  #enter(connection: Connection, name: string, by: JoinedBy): void {
    if (!connection.memberships.has(name)) this.channels.join(this.channels.expect(connection, name, by))
  }

  #welcome(connection: Connection): void {
    if (connection.kind === 'plain') return
    const { payloadBytes, depth, channels, messagesPerSecond, burst, history } = this.parts.limits
    const param = {
      session: connection.session,
      connection: connection.id,
      resumed: connection.resumed,
      heartbeatMs: this.parts.times.heartbeatMs,
      limits: { payloadBytes, depth, channels, messagesPerSecond, burst, history },
      contract: this.#contractHash!
    }
    connection.sendFrame(systemFrame('$welcome', param))
  }

  /** Closes a peer that would not take what is still to be sent. */
  #abandon(connection: Connection, name: 'slow' | 'silent'): void {
    this.parts.refusals.count(name)
    if (name === 'slow') this.#observer.slow(connection)
    connection.logger.info({ reason: name }, 'closing connection')
    const { code, reason } = closeCode(name)
    connection.abandon(code, reason)
  }

  #detached(connection: Connection): void {
    this.connections.remove(connection)
    this.#heartbeat.remove(connection)
    this.#dispatcher.close(connection)
    this.channels.leaveAll(connection)
    this.#past.add(connection.traffic)
  }

  #closed(connection: Connection, event: CloseEvent): void {
    this.connections.release(connection)
    connection.logger.debug({ code: event.code, reason: event.reason, clean: event.clean }, 'connection closed')
    this.#observer.closed(connection, event)
    if (this.connections.links === 0) this.#onEmpty?.()
  }

  /**
   * Ends the service: commands under way may finish, within the grace; then every client is told when to come back and is
   * closed 1012, and dropped where it does not answer within another.
   */
  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    const { clock, times } = this.parts
    await new Promise<void>(resolve => {
      const grace = clock.after(times.closeGraceMs, resolve)
      void this.#dispatcher.drain().then(() => {
        grace.cancel()
        resolve()
      })
    })
    this.#heartbeat.stop()
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    const spreadMs = Math.min(MAX_SPREAD_MS, this.connections.size * SPREAD_PER_CONNECTION_MS)
    const { code, reason } = closeCode('service-restart')
    for (const connection of this.connections.all()) {
      if (connection.kind !== 'plain') {
        const retryAfterMs = Math.round(clock.random() * spreadMs)
        connection.sendFrame(systemFrame('$closing', { reason: 'draining', retryAfterMs }))
      }
      connection.close(code, reason)
    }
    if (this.connections.links > 0) await empty
  }

  stats(): ServiceStats {
    const total = new Traffic()
    total.add(this.#past)
    for (const connection of this.connections.all()) total.add(connection.traffic)
    const { opened, closed, size, users } = this.connections
    return {
      ...total.toJSON(),
      opened,
      closed,
      users,
      uptimeMs: this.parts.clock.monotonic() - this.#startedAt,
      connections: size,
      channels: this.channels.size,
      pendingHandshakes: this.parts.pendingHandshakes(),
      refusals: this.parts.refusals.toJSON(),
      perChannel: this.channels.stats()
    }
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
