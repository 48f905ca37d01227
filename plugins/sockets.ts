import type { FastifyReply } from 'fastify'
import type { RulesFor } from '../lib/channel/rules.ts'
import type { Connection } from '../lib/connection/connection.ts'
import type { OutgoingMessage } from '../lib/connection/publication.ts'
import type { MessageHandler } from '../lib/inbound/handlers.ts'
import type {
  AnyChannel,
  ChannelNames,
  ChannelOfName,
  ContractDefinition,
  EventOf,
  ParamsOfChannel,
  PresenceInfo
} from '../lib/protocol/contract.ts'
import type { Position } from '../lib/protocol/position.ts'
import type { PresenceMember } from '../lib/protocol/system.ts'
import type { RegisteredContract, RegisteredProfile } from '../lib/register.ts'
import type { PageState } from '../lib/request/page-state.ts'
import type { ServiceStats } from '../lib/stats.ts'

/** One connection, or all of a user's. */
export type Target = Connection | { readonly connection: string } | { readonly user: string }

export interface UpgradeOptions {
  /** Takes this connection's messages on channels without commands of their own, in place of the plugin's `onMessage`. */
  readonly onMessage?: MessageHandler
  /** Whether the connection joins its user's own channel. Default: the plugin's `userChannel`. */
  readonly userChannel?: boolean
}

export interface SendOptions {
  /** Who does not get it. */
  readonly except?: Target | readonly Target[]
}

/** What became of a publication. */
export interface Published {
  /** Its place in the channel's log; null in a channel without one. */
  readonly position: Position | null
}

/** Any PageState, whatever its parameters. */
export type AnyPageState = PageState<any, any>

/** Names that a contract allows; every string where there is none. */
export type NameIn<C> = C extends ContractDefinition ? ChannelNames<C> : string

/** A message for a channel, about that channel or another of the contract. */
export type MessageTo<C, N extends string> = C extends ContractDefinition ? TypedMessage<C, N> : OutgoingMessage

type TypedMessage<C extends ContractDefinition, N extends string> =
  | (EventOf<ChannelOfName<C, N>> & { readonly channel?: N; readonly from?: string })
  | {
      [M in ChannelNames<C>]: EventOf<ChannelOfName<C, M>> & { readonly channel: M; readonly from?: string }
    }[ChannelNames<C>]

/** A message that names its channel itself. */
export type AddressedMessage<C> = C extends ContractDefinition
  ? {
      [M in ChannelNames<C>]: EventOf<ChannelOfName<C, M>> & { readonly channel: M; readonly from?: string }
    }[ChannelNames<C>]
  : OutgoingMessage & { readonly channel: string }

/** `app.sockets`: the service, typed by the registered contract. */
export interface Sockets<C = RegisteredContract> {
  /**
   * Answers an upgrade request with 101 and joins the connection to a channel. Where the channel is served its `access`
   * rule is asked first. Resolves once the connection has joined.
   * @throws FST_CHANNELS_FORBIDDEN and what `access` throws; FST_CHANNELS_UPGRADE_REQUIRED (426) on an ordinary request;
   * FST_CHANNELS_TOO_MANY_CONNECTIONS, FST_CHANNELS_SERVICE_FULL, FST_CHANNELS_CHANNEL_FULL, FST_CHANNELS_CLOSING;
   * FST_CHANNELS_INVALID_CHANNEL, FST_CHANNELS_NOT_A_SOCKET_ROUTE, FST_CHANNELS_ALREADY_UPGRADED,
   * FST_CHANNELS_UPGRADE_TOO_LATE, FST_CHANNELS_FOREIGN_PAGE_STATE; FST_CHANNELS_SOCKET_GONE, FST_CHANNELS_CONNECTION_CLOSED
   */
  upgrade(pageState: AnyPageState, channel: string, options?: UpgradeOptions): Promise<Connection>
  /** As `upgrade`; `metadata` is kept, frozen, as `connection.metadata`. */
  upgradeWithMetadata(
    pageState: AnyPageState,
    channel: string,
    metadata: Readonly<Record<string, unknown>>,
    options?: UpgradeOptions
  ): Promise<Connection>

  /**
   * Publishes a message to all members of a channel.
   * @throws at once FST_CHANNELS_INVALID_CHANNEL, FST_CHANNELS_RESERVED_COMMAND, FST_CHANNELS_UNSERIALISABLE,
   * FST_CHANNELS_MESSAGE_TOO_BIG; where events are checked FST_CHANNELS_UNKNOWN_EVENT, FST_CHANNELS_INVALID_EVENT
   */
  broadcast<N extends NameIn<C>>(channel: N, message: MessageTo<C, N>, options?: SendOptions): Promise<Published>
  /** As `broadcast`. Where the message names another channel, receivers see that one, and this one as `via`. */
  sendToChannel<N extends NameIn<C>>(channel: N, message: MessageTo<C, N>, options?: SendOptions): Promise<Published>
  /** Sends to all connections of a user, through the channel `user-<id>`. */
  sendToUser(userId: string, message: MessageTo<C, `user-${string}`>, options?: SendOptions): Promise<Published>
  /** Sends to every connection of the service, whatever channels it is in. */
  broadcastAll(message: AddressedMessage<C>, options?: SendOptions): Promise<void>
  /** Sends to one connection. Resolves to whether there is one of that id. */
  sendTo(connectionId: string, message: AddressedMessage<C>): Promise<boolean>

  /**
   * Asks clients to close and to stay away; closes those 4500 that have not after the grace. Resolves to their number.
   * @throws FST_CHANNELS_INVALID_CLOSE where the reason has over 123 bytes
   */
  closeRequest(target: Target, reason?: string): Promise<number>
  /**
   * Closes connections. Resolves to their number. Default code 4500, `closed-by-server`, after which clients stay away.
   * @throws FST_CHANNELS_INVALID_CLOSE
   */
  disconnect(target: Target, code?: number, reason?: string): Promise<number>

  /** Makes connections members of a channel, without asking its `access` rule. Resolves to the number that had not been. */
  join(target: Target, channel: string): Promise<number>
  /** Ends memberships. Nothing of the channel reaches the connections afterwards. Resolves to their number. */
  leave(target: Target, channel: string): Promise<number>
  /**
   * Takes a user's access back: to one channel, or to everything. Once it has resolved nothing of the channel reaches the
   * user's connections to this process: not what was queued, nor by a recovery, a history or a reply under way. Without a
   * channel they close 4502, handshakes under way are refused and the user's sessions end. Whoever has no access any more
   * must be refused by `access` and the profile loader from before the call on: a later join asks them as usual. Other
   * processes hear of it at once and are not waited for. Resolves to the number of memberships, or connections, ended here.
   */
  revoke(userId: string, channel?: NameIn<C>): Promise<number>
  /** The users in a channel. */
  members(channel: string): Promise<PresenceMember[]>
  /** Whether a user has a connection. */
  online(userId: string): Promise<boolean>
  /** This node's connection of that id. */
  connection(id: string): Connection | undefined
  /** This node's connections. */
  connections(): readonly Connection[]
  /** Names of this node's channels: those that have members. */
  channels(): string[]
  /** This node's counts. */
  stats(): ServiceStats
  /** The service's wall clock, in milliseconds since 1970: what timestamps are taken from. */
  now(): number

  /**
   * Gives a channel pattern its rules; before the app is ready.
   * @throws FST_CHANNELS_ALREADY_SERVED, FST_CHANNELS_SERVE_TOO_LATE, FST_CHANNELS_INVALID_CONTRACT
   */
  serve<D extends AnyChannel>(channel: D, rules: RulesFor<D>): ChannelHandle<D>

  /**
   * Sets the cookie that says who a browser is.
   * @throws FST_CHANNELS_NO_COOKIE, FST_CHANNELS_INVALID_PROFILE, FST_CHANNELS_COOKIE_TOO_BIG
   */
  signIn(reply: FastifyReply, profile: RegisteredProfile): void
  /** Takes that cookie back. @throws FST_CHANNELS_NO_COOKIE */
  signOut(reply: FastifyReply): void
}

/** A served channel pattern: what `app.sockets` can do with its channels, by parameters and typed. */
export interface ChannelHandle<D extends AnyChannel = AnyChannel> {
  /** The channel's name. @throws FST_CHANNELS_INVALID_PARAMS */
  name(params: ParamsOfChannel<D>): string
  broadcast(
    params: ParamsOfChannel<D>,
    event: EventOf<D> & { readonly from?: string },
    options?: SendOptions
  ): Promise<Published>
  join(target: Target, params: ParamsOfChannel<D>): Promise<number>
  leave(target: Target, params: ParamsOfChannel<D>): Promise<number>
  revoke(userId: string, params: ParamsOfChannel<D>): Promise<number>
  members(params: ParamsOfChannel<D>): Promise<Array<PresenceMember<PresenceInfo<D>>>>
}
