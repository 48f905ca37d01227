import { Type } from '@sinclair/typebox'
import type { FastifyReply } from 'fastify'
import type { Awaitable } from '../lib/awaitable.ts'
import type { LogPolicy } from '../lib/broker/broker.ts'
import type { Channel } from '../lib/channel/channel.ts'
import type { Prepared } from '../lib/channel/publisher.ts'
import type { ChannelRules, RulesFor } from '../lib/channel/rules.ts'
import type { Subscription } from '../lib/channel/subscription.ts'
import { sessionAddress, userAddress } from '../lib/connection/address.ts'
import { assertClose } from '../lib/connection/close.ts'
import { Connection } from '../lib/connection/connection.ts'
import { encodeText } from '../lib/connection/frame.ts'
import type { OutgoingMessage } from '../lib/connection/publication.ts'
import { assertChannelName, encodeMessage } from '../lib/connection/publication.ts'
import { channelsError, shown } from '../lib/errors.ts'
import { assertKeys } from '../lib/options.ts'
import { compilePattern, userChannel } from '../lib/protocol/channel-name.ts'
import { closeCode } from '../lib/protocol/close-code.ts'
import type { AnyChannel } from '../lib/protocol/contract.ts'
import type { PresenceMember } from '../lib/protocol/system.ts'
import { systemFrame } from '../lib/protocol/system.ts'
import type { RegisteredProfile } from '../lib/register.ts'
import type { SignedCookie } from '../lib/request/cookie.ts'
import { rendezvousOf } from '../lib/request/page-state.ts'
import type { Service } from '../lib/service.ts'
import type { ServiceStats } from '../lib/stats.ts'
import type { AnyPageState, ChannelHandle, Published, SendOptions, Sockets, Target, UpgradeOptions } from './sockets.ts'

const NO_TARGETS: readonly Target[] = Object.freeze([])
const NOBODY: ReadonlySet<Connection> = new Set()
/** The same for all that is kept nowhere. */
const PUBLISHED: Promise<Published> = Promise.resolve(Object.freeze({ position: null }))

/** What stands behind `app.sockets`: the service, as applications use it. */
export class ServiceSockets implements Sockets<unknown> {
  readonly #service: Service
  readonly #cookie: SignedCookie | null

  constructor(service: Service, cookie: SignedCookie | null) {
    this.#service = service
    this.#cookie = cookie
  }

  upgrade(pageState: AnyPageState, channel: string, options?: UpgradeOptions): Promise<Connection> {
    return this.upgradeWithMetadata(pageState, channel, {}, options)
  }

  upgradeWithMetadata(
    pageState: AnyPageState,
    channel: string,
    metadata: Readonly<Record<string, unknown>>,
    options: UpgradeOptions = {}
  ): Promise<Connection> {
    const opening = this.#open(pageState, channel, metadata, options)
    // An action that forgot to wait for it must not end the process when a stranger comes.
    opening.catch(() => {})
    return opening
  }

  #open(
    pageState: AnyPageState,
    channel: string,
    metadata: Readonly<Record<string, unknown>>,
    options: UpgradeOptions
  ): Promise<Connection> {
    try {
      this.#service.assertReady('upgrade')
      assertKeys('options.', options, UPGRADE_OPTIONS)
      const { onMessage, userChannel } = options
      const rendezvous = rendezvousOf(pageState)
      if (rendezvous === undefined) throw channelsError('FST_CHANNELS_FOREIGN_PAGE_STATE')
      return this.#service.open(rendezvous, { channel, metadata, onMessage, userChannel })
    } catch (error) {
      return Promise.reject(error)
    }
  }

  // Not async: a mistake in the program is thrown where it is made.
  broadcast(channel: string, message: OutgoingMessage, options?: SendOptions): Promise<Published> {
    this.#service.assertReady('broadcast')
    const { publisher } = this.#service
    const prepared = publisher.prepare(channel, message)
    const targets = this.#targets(options)
    if (prepared.log !== null) return this.#store(prepared, prepared.log, targets)
    const except = targets.length === 0 ? NOBODY : new Set(targets.flatMap(target => this.#resolve(target)))
    publisher.send(prepared, except.size === 0 ? undefined : { except })
    return PUBLISHED
  }

  #store({ channel, text }: Prepared, log: LogPolicy, targets: readonly Target[]): Promise<Published> {
    const except = [...new Set(targets.flatMap(target => this.#addresses(target)))]
    const storing = this.#service.publisher.store({ channel, text, log, except })
    // Nobody need wait for it: the service has told of a failure.
    storing.catch(() => {})
    return storing
  }

  /** Whom a target means in a log, where it outlives connections. */
  #addresses(target: Target): string[] {
    const { user } = target as { user?: unknown }
    if (target instanceof Connection) return [sessionAddress(target.session)]
    return typeof user === 'string'
      ? [userAddress(user)]
      : this.#resolve(target).map(({ session }) => sessionAddress(session))
  }

  sendToChannel(channel: string, message: OutgoingMessage, options?: SendOptions): Promise<Published> {
    return this.broadcast(channel, message, options)
  }

  sendToUser(userId: string, message: OutgoingMessage, options?: SendOptions): Promise<Published> {
    return this.broadcast(userChannel(userId), message, options)
  }

  broadcastAll(message: OutgoingMessage & { readonly channel: string }, options?: SendOptions): Promise<void> {
    this.#service.assertReady('broadcastAll')
    const frame = encodeText(this.#service.publisher.prepare(message.channel, message).text)
    const except = new Set(this.#targets(options).flatMap(target => this.#resolve(target)))
    const origin = { channel: message.channel }
    this.#service.turn.distribute()
    for (const connection of this.#service.connections.all()) {
      if (!except.has(connection)) connection.sendEncoded(frame, 1, origin)
    }
    return Promise.resolve()
  }

  sendTo(connectionId: string, message: OutgoingMessage & { readonly channel: string }): Promise<boolean> {
    this.#service.assertReady('sendTo')
    const frame = encodeText(this.#service.publisher.prepare(message.channel, message).text)
    const connection = this.#service.connections.get(connectionId)
    this.#service.turn.distribute()
    connection?.sendEncoded(frame, 1, { channel: message.channel })
    return Promise.resolve(connection !== undefined)
  }

  closeRequest(target: Target, reason = ''): Promise<number> {
    this.#service.assertReady('closeRequest')
    const { messageBytes } = this.#service.parts.limits
    const { code, reason: closing } = closeCode('closed-by-server')
    assertClose(code, reason)
    const connections = this.#resolve(target)
    // A plain client that reads it listens to nothing more.
    this.#service.turn.distribute()
    for (const connection of connections) {
      if (connection.kind === 'plain') {
        const message = { cmd: 'close-connection', param: { reason } }
        connection.sendEncoded(encodeMessage(connection.route, message, messageBytes), 1)
        connection.closeAfterGrace(code, closing)
      } else {
        connection.sendFrame(systemFrame('$closing', { reason: 'closed-by-server' }))
        connection.close(code, reason === '' ? closing : reason)
      }
    }
    return Promise.resolve(connections.length)
  }

  disconnect(target: Target, code: number = closeCode('closed-by-server').code, reason = ''): Promise<number> {
    this.#service.assertReady('disconnect')
    assertClose(code, reason)
    const connections = this.#resolve(target)
    for (const connection of connections) connection.close(code, reason)
    return Promise.resolve(connections.length)
  }

  join(target: Target, channel: string): Promise<number> {
    this.#service.assertReady('join')
    assertChannelName(channel)
    const { channels } = this.#service
    const joining: Array<Awaitable<void>> = []
    for (const connection of this.#resolve(target)) {
      // Asked for each in its turn: a hook of the one before may have joined or closed this one.
      const membership = this.#membership(connection, channel)
      if (!connection.open || membership?.state === 'joined') continue
      if (membership !== undefined) channels.leave(membership, 'server')
      const since = connection.cameWith?.positionOrLimit(channel) ?? null
      joining.push(channels.join(channels.expect(connection, channel, 'server'), since))
    }
    return Promise.all(joining).then(({ length }) => length)
  }

  leave(target: Target, channel: string): Promise<number> {
    this.#service.assertReady('leave')
    const leaving = this.#resolve(target).flatMap(connection => this.#membership(connection, channel) ?? [])
    for (const subscription of leaving) this.#service.channels.leave(subscription, 'server')
    return Promise.resolve(leaving.length)
  }

  revoke(userId: string, channel?: string): Promise<number> {
    this.#service.assertReady('revoke')
    if (typeof userId !== 'string' || userId === '')
      throw channelsError('FST_CHANNELS_INVALID_OPTION', 'userId', 'a non-empty string', shown(userId))
    if (channel !== undefined) assertChannelName(channel)
    return this.#service.revoker.revoke(userId, channel ?? null)
  }

  members(channel: string): Promise<PresenceMember[]> {
    this.#service.assertReady('members')
    return Promise.resolve(this.#channel(channel)?.presence.members() ?? [])
  }

  online(userId: string): Promise<boolean> {
    this.#service.assertReady('online')
    return Promise.resolve(this.#service.connections.countOfUser(userId) > 0)
  }

  connection(id: string): Connection | undefined {
    return this.#service.connections.get(id)
  }

  connections(): readonly Connection[] {
    return this.#service.connections.all()
  }

  channels(): string[] {
    return [...this.#service.channels.all()].map(channel => channel.name)
  }

  stats(): ServiceStats {
    return this.#service.stats()
  }

  now(): number {
    return this.#service.parts.clock.wall()
  }

  serve<D extends AnyChannel>(channel: D, rules: RulesFor<D>): ChannelHandle<D> {
    this.#service.serve(channel, rules as unknown as ChannelRules)
    return handleOf(this, channel) as ChannelHandle<D>
  }

  signIn(reply: FastifyReply, profile: RegisteredProfile): void {
    if (this.#cookie === null) throw channelsError('FST_CHANNELS_NO_COOKIE', 'signIn')
    this.#cookie.signIn(reply, profile)
  }

  signOut(reply: FastifyReply): void {
    if (this.#cookie === null) throw channelsError('FST_CHANNELS_NO_COOKIE', 'signOut')
    this.#cookie.signOut(reply)
  }

  #channel(name: string): Channel | undefined {
    return this.#service.channels.get(name)
  }

  #membership(connection: Connection, channel: string): Subscription | undefined {
    return connection.memberships.get(channel) as Subscription | undefined
  }

  #resolve(target: Target): readonly Connection[] {
    const { connections } = this.#service
    if (target instanceof Connection) return target.open ? [target] : []
    const { connection, user } = (target ?? {}) as { connection?: unknown; user?: unknown }
    const found = typeof connection === 'string' ? [connections.get(connection)] : []
    if (typeof connection === 'string') return found.filter(one => one?.open === true) as Connection[]
    if (typeof user === 'string') return connections.ofUser(user).filter(one => one.open)
    throw channelsError(
      'FST_CHANNELS_INVALID_OPTION',
      'target',
      'a Connection, { connection: id } or { user: id }',
      shown(target)
    )
  }

  #targets(options?: SendOptions): readonly Target[] {
    if (options === undefined) return NO_TARGETS
    assertKeys('options.', options, SEND_OPTIONS)
    const { except } = options
    if (except === undefined) return NO_TARGETS
    return Array.isArray(except) ? (except as readonly Target[]) : [except as Target]
  }
}

// A misspelt `except` would send to everybody.
const SEND_OPTIONS = { except: Type.Unknown() }
const UPGRADE_OPTIONS = { onMessage: Type.Function([], Type.Unknown()), userChannel: Type.Boolean() }

function handleOf(sockets: ServiceSockets, { pattern }: AnyChannel): ChannelHandle {
  const compiled = compilePattern(pattern as string)
  const name = (params: Readonly<Record<string, string>>): string => {
    try {
      return compiled.name(params)
    } catch (error) {
      throw channelsError('FST_CHANNELS_INVALID_PARAMS', (error as Error).message)
    }
  }
  return Object.freeze<ChannelHandle>({
    name,
    broadcast: (params, event, options) => sockets.broadcast(name(params), event as OutgoingMessage, options),
    join: (target, params) => sockets.join(target, name(params)),
    leave: (target, params) => sockets.leave(target, name(params)),
    revoke: (userId, params) => sockets.revoke(userId, name(params)),
    members: params => sockets.members(name(params))
  })
}
