import type { OpenRequest } from './admission.ts'
import { Admission } from './admission.ts'
import type { Awaitable } from './awaitable.ts'
import type { Broker } from './broker/broker.ts'
import { Definitions } from './channel/definition.ts'
import { Publisher } from './channel/publisher.ts'
import { Channels } from './channel/registry.ts'
import { Revoker } from './channel/revoker.ts'
import type { ChannelRules } from './channel/rules.ts'
import { closeAs } from './connection/close.ts'
import type { CloseEvent, ConnectionHost } from './connection/connection.ts'
import { Connection } from './connection/connection.ts'
import { dismissAll } from './connection/farewell.ts'
import { Heartbeat } from './connection/heartbeat.ts'
import { assertChannelName } from './connection/publication.ts'
import { Connections } from './connection/registry.ts'
import type { Rendezvous } from './connection/rendezvous.ts'
import type { Ticket } from './connection/revocations.ts'
import { Revocations } from './connection/revocations.ts'
import type { Transport } from './connection/transport.ts'
import { Turn } from './connection/turn.ts'
import { Welcome } from './connection/welcome.ts'
import { channelsError } from './errors.ts'
import { Commands } from './inbound/commands.ts'
import { Dispatcher } from './inbound/dispatcher.ts'
import type { MessageHandler } from './inbound/handlers.ts'
import type { OpenedSession } from './inbound/sessions.ts'
import { Sessions } from './inbound/sessions.ts'
import type { Logger } from './log.ts'
import type { ConnectionHooks } from './observer.ts'
import { Observer } from './observer.ts'
import type { Limits, Times } from './options.ts'
import { userChannel } from './protocol/channel-name.ts'
import type { Clock } from './protocol/clock.ts'
import { closeCode } from './protocol/close-code.ts'
import type { AnyChannel, ContractDefinition } from './protocol/contract.ts'
import type { JoinedBy } from './protocol/system.ts'
import type { Refusals, ServiceStats } from './stats.ts'
import { Traffic } from './stats.ts'

/** What a service is made of. */
export interface ServiceParts {
  readonly clock: Clock
  readonly broker: Broker
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

const NO_METADATA = Object.freeze({})

/** One node's service: its connections and channels, and how they begin and end. */
export class Service {
  readonly parts: ServiceParts
  readonly turn: Turn
  readonly connections = new Connections()
  readonly channels: Channels
  readonly publisher: Publisher
  readonly sessions: Sessions
  readonly revocations = new Revocations()
  readonly revoker: Revoker
  readonly observer: Observer
  readonly #commands = new Commands()
  readonly #admission: Admission
  readonly #dispatcher: Dispatcher
  readonly #heartbeat: Heartbeat
  readonly #host: ConnectionHost
  readonly #startedAt: number
  /** Of connections that take no more part, whether or not their links are gone. */
  readonly #past = new Traffic()
  #welcome: Welcome | null = null
  #onEmpty: (() => void) | null = null
  #closing = false

  constructor(parts: ServiceParts) {
    const { clock, broker, limits, times, hooks, logger, refusals, checkEvents } = parts
    this.parts = parts
    this.turn = new Turn(clock)
    this.observer = new Observer(hooks, logger)
    const { presenceGraceMs, sessionMs } = times
    this.channels = new Channels(clock, new Definitions(), this.turn, this.observer, broker, presenceGraceMs)
    this.publisher = new Publisher(
      this.channels,
      broker,
      { messageBytes: limits.messageBytes, checkEvents, dropped: () => refusals.count('ephemeral-dropped') },
      error => {
        refusals.count('FST_CHANNELS_STORE_FAILED')
        this.observer.failed(error, null)
      }
    )
    this.sessions = new Sessions(clock, broker, limits, sessionMs)
    const { channels, connections, publisher, sessions, observer, revocations } = this
    this.#admission = new Admission({ limits, refusals, channels, connections, sessions, observer, revocations })
    this.#dispatcher = new Dispatcher({
      ...{ clock, limits, refusals, channels, publisher, sessions, broker, observer },
      ...{ commands: this.#commands, accessTimeoutMs: times.handshakeTimeoutMs }
    })
    this.revoker = new Revoker(this)
    this.#heartbeat = new Heartbeat(clock, times.heartbeatMs, connection => this.#abandon(connection, 'silent'))
    this.#startedAt = clock.monotonic()
    this.#host = {
      ...{ clock, turn: this.turn, closeGraceMs: times.closeGraceMs },
      ...{ outboxBytes: limits.outboxBytes, messageBytes: limits.messageBytes },
      events: {
        text: (from, text, bytes) => this.#dispatcher.text(from, text, bytes),
        control: from => this.#dispatcher.control(from),
        slow: from => this.#abandon(from, 'slow'),
        violated: (_from, name) => refusals.count(name),
        detached: from => this.#detached(from),
        closed: (from, event) => this.#closed(from, event)
      }
    }
  }

  /** @throws FST_CHANNELS_NOT_READY */
  assertReady(method: string): void {
    if (this.#welcome === null) throw channelsError('FST_CHANNELS_NOT_READY', method)
  }

  /** @throws FST_CHANNELS_SERVE_TOO_LATE, FST_CHANNELS_ALREADY_SERVED, FST_CHANNELS_INVALID_CONTRACT */
  serve(channel: AnyChannel, rules: ChannelRules): void {
    if (this.#welcome !== null) throw channelsError('FST_CHANNELS_SERVE_TOO_LATE', channel.pattern)
    this.#commands.add(this.channels.definitions.add(channel, rules))
  }

  /** The contract is complete: what it holds beside the served channels is added, and it gets its hash. */
  ready(): void {
    this.#welcome = new Welcome(this.parts, this.channels.definitions.complete(this.parts.contract))
  }

  /** From a request to a connection that has joined. @throws as `Sockets.upgrade` */
  async open(rendezvous: Rendezvous, request: OpenRequest): Promise<Connection> {
    rendezvous.assertPending()
    assertChannelName(request.channel, 'request')
    const admission = this.#admission
    // What is there at once is not waited for.
    const asking = admission.assertAccess(rendezvous, request.channel)
    if (asking !== undefined) await asking
    const opening = admission.openSession(rendezvous)
    const opened = opening instanceof Promise ? await opening : opening
    for (let asked = 1; admission.isOvertaken(rendezvous, request.channel); asked++) {
      await admission.assertAccess(rendezvous, request.channel, asked)
    }
    admission.assertCapacity(rendezvous, request.channel)
    const entering = this.#open(rendezvous, request, opened)
    const connection = entering instanceof Promise ? await entering : entering
    if (!connection.open) throw channelsError('FST_CHANNELS_CONNECTION_CLOSED')
    return connection
  }

  #open(rendezvous: Rendezvous, request: OpenRequest, opened: OpenedSession): Awaitable<Connection> {
    // Hooks may run in this turn, and revoke what was just allowed.
    const ticket = this.revocations.take()
    try {
      const connection = this.#connect(rendezvous, rendezvous.open(), request, opened)
      rendezvous.opened(connection)
      this.#dispatcher.open(connection, opened.session, request.onMessage ?? this.parts.onMessage)
      if (connection.kind === 'plain' || this.sessions.take(opened, connection)) {
        return this.#begin(connection, request, ticket)
      }
      this.observer.opened(connection)
      closeAs(connection, 'replaced')
      // Only who listens hears that the link is gone.
      connection.start()
      return connection
    } finally {
      this.revocations.giveBack(ticket)
    }
  }

  /** Reading begins at once: what a client sends before it has joined waits for that. */
  #begin(connection: Connection, request: OpenRequest, ticket: Ticket): Awaitable<Connection> {
    this.#welcome!.tell(connection)
    this.observer.opened(connection)
    const entering = [this.#enter(connection, connection.route, 'route', ticket)]
    if ((request.userChannel ?? this.parts.userChannel) && connection.profile !== null) {
      entering.push(this.#enter(connection, userChannel(connection.profile.id), 'server', ticket))
    }
    connection.start()
    const waiting = entering.filter(one => one instanceof Promise)
    return waiting.length === 0 ? connection : Promise.all(waiting).then(() => connection)
  }

  #connect(
    rendezvous: Rendezvous,
    transport: Transport,
    { channel, metadata }: OpenRequest,
    { session, resumed }: OpenedSession
  ): Connection {
    const connection = new Connection(this.#host, {
      transport,
      session: session.id,
      resumed,
      cameWith: rendezvous.resume,
      kind: rendezvous.kind,
      profile: rendezvous.profile,
      metadata: Object.keys(metadata).length === 0 ? NO_METADATA : Object.freeze({ ...metadata }),
      ip: rendezvous.ip,
      route: channel,
      action: rendezvous.action,
      logger: rendezvous.logger
    })
    this.connections.add(connection)
    this.#heartbeat.add(connection)
    return connection
  }

  /** Unless a hook has joined it already: a second membership would hide the first, which nobody would ever end. */
  #enter(connection: Connection, name: string, by: JoinedBy, ticket: Ticket): Awaitable<void> {
    const { memberships, cameWith, profile } = connection
    if (memberships.get(name) !== undefined) return
    const since = cameWith?.positionOrLimit(name) ?? null
    const subscription = this.channels.expect(connection, name, by)
    subscription.overtaken = profile !== null && this.revocations.has(ticket, profile.id, name)
    return this.channels.join(subscription, since)
  }

  /** Closes a peer that would not take what is still to be sent. */
  #abandon(connection: Connection, name: 'slow' | 'silent'): void {
    this.parts.refusals.count(name)
    if (name === 'slow') this.observer.slow(connection)
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
    connection.debug({ code: event.code, reason: event.reason, clean: event.clean }, 'connection closed')
    this.observer.closed(connection, event)
    if (this.connections.links === 0) this.#onEmpty?.()
  }

  /**
   * Ends the service: commands under way may finish, within the grace; then every client is told when to come back and is
   * closed 1012, and dropped where it does not answer within another.
   */
  async close(): Promise<void> {
    if (this.#closing) return
    this.#closing = true
    this.#admission.close()
    const { clock, times } = this.parts
    await this.#dispatcher.drain(times.closeGraceMs)
    this.#heartbeat.stop()
    this.channels.close()
    const empty = new Promise<void>(resolve => {
      this.#onEmpty = resolve
    })
    // Their answers come before the farewell.
    this.turn.distribute()
    dismissAll(this.connections, clock)
    if (this.connections.links > 0) await empty
    this.sessions.close()
    await this.parts.broker.close()
  }

  /** What another node has told all others. */
  control(text: string): void {
    const { cmd, ...rest } = JSON.parse(text)
    if (cmd === 'takeover') this.sessions.takenOver(rest.key, rest.dial)
    if (cmd === 'revoke') void this.revoker.revokeHere(rest.user, rest.channel)
  }

  stats(): ServiceStats {
    const total = new Traffic()
    total.add(this.#past)
    for (const connection of this.connections.all()) total.add(connection.traffic)
    const { opened, closed, size, users } = this.connections
    return {
      ...total,
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
