import type { TSchema } from '@sinclair/typebox'
import { Type } from '@sinclair/typebox'
import type { LogPolicy } from '../broker/broker.ts'
import type { Connection } from '../connection/connection.ts'
import type { OutgoingMessage } from '../connection/publication.ts'
import type { Logger } from '../log.ts'
import { assertKeys } from '../options.ts'
import type {
  AnyChannel,
  CommandNames,
  CommandParam,
  CommandReply,
  EventOf,
  ParamsOfChannel,
  PresenceInfo,
  RelayedBy
} from '../protocol/contract.ts'
import type { JoinedBy, LeaveReason } from '../protocol/system.ts'
import type { RegisteredProfile } from '../register.ts'

/** Who wants into which channel. */
export interface AccessRequest<D extends AnyChannel = AnyChannel> {
  readonly channel: string
  /** The parameters in the channel's name, decoded. */
  readonly params: ParamsOfChannel<D>
  readonly profile: RegisteredProfile | null
  /** `route` before the handshake of a route that upgrades for this channel, `client` for a `$join`. */
  readonly via: Exclude<JoinedBy, 'server'>
  /** The connection that joins; null where `via` is `route`, because there is none yet. */
  readonly connection: Connection | null
  readonly ip: string
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal
}

export interface JoinEvent<D extends AnyChannel = AnyChannel> {
  readonly channel: string
  readonly params: ParamsOfChannel<D>
  readonly connection: Connection
  readonly by: JoinedBy
  /** Whether it is the first connection of its user in the channel; false where it has no profile. */
  readonly first: boolean
}

export interface LeaveEvent<D extends AnyChannel = AnyChannel> {
  readonly channel: string
  readonly params: ParamsOfChannel<D>
  readonly connection: Connection
  /** `closed` where the connection ended. */
  readonly reason: LeaveReason
  /** Whether it was the last connection of its user in the channel; false where it has no profile. */
  readonly last: boolean
}

/** What a command's handler works with. */
export interface CommandContext<D extends AnyChannel = AnyChannel, K extends string = CommandNames<D>> {
  readonly channel: string
  readonly params: ParamsOfChannel<D>
  readonly connection: Connection
  readonly profile: RegisteredProfile | null
  /** The same for every run of one command, for effects outside; null for a command without an id. */
  readonly idempotencyKey: string | null
  /** Aborts when the connection ends. */
  readonly signal: AbortSignal
  readonly logger: Logger
  /**
   * Collects an event for this channel. All that a handler collected goes out together once it has returned, or what it
   * returned has resolved, and nothing where it throws. `from` is the sender's id.
   * @throws FST_CHANNELS_PUBLISH_TOO_LATE after that: nobody would hear of it. `broadcast` may be called at any time.
   */
  publish(event: EventOf<D>, options?: { readonly exceptSender?: boolean }): void
  /**
   * Collects the command's own param as an event of that name, as it was received: it keeps its bytes, so that numbers keep the digits that their sender
   * wrote, and nothing is encoded anew. All of it goes out, also what the event does not declare, and not what the handler
   * changed in it meanwhile.
   * @throws FST_CHANNELS_PUBLISH_TOO_LATE as `publish`
   */
  relay(cmd: RelayedBy<D, K>, options?: { readonly exceptSender?: boolean }): void
}

export type CommandHandler<D extends AnyChannel, K extends string> = (
  param: CommandParam<D, K>,
  context: CommandContext<D, K>
) => Returned<CommandReply<D, K>>

/** A command without a reply may end in any way that returns nothing. */
type Returned<R> = [R] extends [undefined] ? void | Promise<void> : R | Promise<R>

/** How one pattern's channels behave. */
export interface ChannelRules<D extends AnyChannel = AnyChannel> {
  /**
   * Whether the request may join: false and `forbidden()` answer 403 or nack `forbidden`, and `unauthorized()`,
   * `notFound()`, `badRequest()` likewise; anything else thrown is a failure of the server. Without it no client may
   * `$join`, and routes and the server decide alone.
   */
  readonly access?: (request: AccessRequest<D>) => boolean | Promise<boolean>
  /** Runs after `$joined` was sent; commands of that connection on that channel wait for it. A throw closes 1011. */
  readonly onJoin?: (event: JoinEvent<D>) => void | Promise<void>
  /** Runs after the membership ended. A throw is logged. */
  readonly onLeave?: (event: LeaveEvent<D>) => void | Promise<void>
  /** One handler for each command of the contract. */
  readonly commands?: { readonly [K in CommandNames<D>]: CommandHandler<D, K> }
  /** Who is in the channel is told to its members. A function says what is told besides the id. Default false. */
  readonly presence?: boolean | ((profile: RegisteredProfile, connection: Connection) => PresenceInfo<D>)
  readonly limits?: ChannelLimits
  /**
   * Whether publications are kept, so that who was away gets what it missed; `true` is `DEFAULT_LOG`, and an object says
   * otherwise in part. Default false. Ephemeral events are never kept.
   */
  readonly log?: boolean | Partial<LogPolicy>
}

/** How a log is kept unless told otherwise. */
export const DEFAULT_LOG: LogPolicy = Object.freeze({ entries: 1_000, ageMs: 86_400_000, bytes: 1_048_576 })

/** The rules that a channel must be given: handlers are not optional where it has commands. */
export type RulesFor<D extends AnyChannel> = ChannelRules<D> &
  ([CommandNames<D>] extends [never] ? unknown : { readonly commands: NonNullable<ChannelRules<D>['commands']> })

const fn = Type.Function([], Type.Unknown())
const count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })
const positive = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const RULES = {
  access: fn,
  onJoin: fn,
  onLeave: fn,
  commands: Type.Object({}),
  presence: Type.Union([Type.Boolean(), fn]),
  limits: Type.Object({}),
  log: Type.Union([Type.Boolean(), Type.Object({})])
} satisfies Record<keyof ChannelRules, TSchema>
const LOG = { entries: positive, ageMs: positive, bytes: positive } satisfies Record<keyof LogPolicy, TSchema>
const LIMITS = { connections: count, messagesPerSecond: count } satisfies Record<keyof ChannelLimits, TSchema>

/**
 * A rule whose name is misspelt would be no rule at all, and `access` the first to be missed.
 * @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION
 */
export function assertRules(rules: ChannelRules): void {
  assertKeys('rules.', rules, RULES)
  assertKeys('rules.limits.', rules.limits ?? {}, LIMITS)
  if (typeof rules.log === 'object') assertKeys('rules.log.', rules.log, LOG)
}

/** The policy that the rules ask for; null where nothing is kept. */
export function logPolicyOf({ log = false }: ChannelRules): LogPolicy | null {
  if (log === false) return null
  const given = log === true ? {} : Object.entries(log).filter(([, value]) => value !== undefined)
  return { ...DEFAULT_LOG, ...(log === true ? {} : Object.fromEntries(given as Array<[string, number]>)) }
}

export interface ChannelLimits {
  /** Connections in one channel. Default and 0: no limit of its own. */
  readonly connections?: number
  /** Commands a second that one connection may send to one channel, with as many at once. Default and 0: no limit of its own. */
  readonly messagesPerSecond?: number
}

/** What a handler collected. */
export interface Collected {
  readonly message: OutgoingMessage
  readonly exceptSender: boolean
}
