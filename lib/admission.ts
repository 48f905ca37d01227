import type { Awaitable } from './awaitable.ts'
import type { Channels } from './channel/registry.ts'
import type { AccessRequest } from './channel/rules.ts'
import type { Connections } from './connection/registry.ts'
import type { Rendezvous } from './connection/rendezvous.ts'
import type { Revocations } from './connection/revocations.ts'
import type { ChannelsError, ErrorCode } from './errors.ts'
import { channelsError, forbidden } from './errors.ts'
import type { MessageHandler } from './inbound/handlers.ts'
import type { OpenedSession, Sessions } from './inbound/sessions.ts'
import type { Observer } from './observer.ts'
import type { Limits } from './options.ts'
import { isChannelName, userChannel } from './protocol/channel-name.ts'
import type { Refusals } from './stats.ts'

/** What one upgrade asks for. */
export interface OpenRequest {
  readonly channel: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly onMessage: MessageHandler | undefined
  readonly userChannel: boolean | undefined
}

export interface AdmissionParts {
  readonly limits: Limits
  readonly refusals: Refusals
  readonly channels: Channels
  readonly connections: Connections
  readonly sessions: Sessions
  readonly observer: Observer
  readonly revocations: Revocations
}

/** How often an access rule is asked for one handshake that revocations keep overtaking. */
const MAX_ASKED = 3

/** What an access rule is told of an upgrade. */
class RouteAccess implements AccessRequest {
  readonly channel: string
  readonly params: AccessRequest['params']
  readonly profile: AccessRequest['profile']
  readonly via = 'route'
  readonly connection = null
  readonly ip: string
  readonly #rendezvous: Rendezvous

  constructor(rendezvous: Rendezvous, channel: string, params: AccessRequest['params']) {
    this.channel = channel
    this.params = params
    this.profile = rendezvous.profile
    this.ip = rendezvous.ip
    this.#rendezvous = rendezvous
  }

  /** Most rules never ask for it. */
  get signal(): AbortSignal {
    return this.#rendezvous.signal
  }
}

/** Whether a request may become a connection: all that may still be an ordinary HTTP answer. */
export class Admission {
  readonly #parts: AdmissionParts
  #closing = false

  constructor(parts: AdmissionParts) {
    this.#parts = parts
  }

  /** From now on nobody is admitted. */
  close(): void {
    this.#closing = true
  }

  /**
   * Asks the channel's rule. Where there is none the action has decided, and it cannot be asked again. `asked` is how
   * often it was asked before.
   * @throws or rejects with FST_CHANNELS_FORBIDDEN, and what the rule throws
   */
  assertAccess(rendezvous: Rendezvous, channel: string, asked = 0): Awaitable<void> {
    const { channels, revocations } = this.#parts
    const { ticket } = rendezvous
    const resolved = channels.resolve(channel)
    const access = resolved?.definition.rules.access
    if (this.#isRevoked(rendezvous, null) || asked === MAX_ASKED) throw forbidden()
    if (resolved === null || access === undefined) {
      if (this.#isRevoked(rendezvous, channel)) throw forbidden()
      return
    }
    if (ticket !== null) revocations.renew(ticket)
    const allowed = access(new RouteAccess(rendezvous, channel, resolved.params))
    return allowed === true ? undefined : assertAllowed(allowed)
  }

  /** Whether a revocation came since access was asked for. */
  isOvertaken(rendezvous: Rendezvous, channel: string): boolean {
    return this.#isRevoked(rendezvous, null) || this.#isRevoked(rendezvous, channel)
  }

  #isRevoked({ ticket, profile }: Rendezvous, channel: string | null): boolean {
    return ticket !== null && profile !== null && this.#parts.revocations.has(ticket, profile.id, channel)
  }

  /** @throws or rejects with FST_CHANNELS_STORE_FAILED */
  openSession({ resume, profile, ip }: Rendezvous): Awaitable<OpenedSession> {
    const fail = (error: unknown): never => {
      this.#parts.observer.failed(error, null)
      throw this.#refusal('FST_CHANNELS_STORE_FAILED', 'the session could not be read')
    }
    try {
      const opening = this.#parts.sessions.open(resume, profile, ip)
      return opening instanceof Promise ? opening.catch(fail) : opening
    } catch (error) {
      return fail(error)
    }
  }

  /** Asked in the turn of the handshake, so that no two of them take the last place. */
  assertCapacity({ profile, ip }: Rendezvous, channel: string): void {
    const { channels, connections, limits } = this.#parts
    const { connectionsPerAddress, connectionsPerUser } = limits
    if (this.#closing) throw this.#refusal('FST_CHANNELS_CLOSING')
    if (limits.connections !== 0 && connections.size >= limits.connections) {
      throw this.#refusal('FST_CHANNELS_SERVICE_FULL')
    }
    if (connectionsPerAddress !== 0 && connections.countOfAddress(ip) >= connectionsPerAddress) {
      throw this.#refusal('FST_CHANNELS_TOO_MANY_CONNECTIONS', 'address')
    }
    if (!channels.hasRoom(channel)) throw this.#refusal('FST_CHANNELS_CHANNEL_FULL')
    if (profile === null) return
    if (connectionsPerUser !== 0 && connections.countOfUser(profile.id) >= connectionsPerUser) {
      throw this.#refusal('FST_CHANNELS_TOO_MANY_CONNECTIONS', 'user')
    }
    if (!isChannelName(userChannel(profile.id))) {
      throw channelsError('FST_CHANNELS_INVALID_PROFILE', 'percent-encoded it is too long for the name of a channel')
    }
  }

  #refusal(code: ErrorCode, ...args: string[]): ChannelsError {
    this.#parts.refusals.count(code)
    return Object.assign(channelsError(code, ...args), { retryAfter: 5 })
  }
}

async function assertAllowed(allowed: unknown): Promise<void> {
  if ((await allowed) !== true) throw forbidden()
}
