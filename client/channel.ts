import type { ParamsOf } from '../lib/protocol/channel-name.ts'
import type {
  AnyChannel,
  ChannelOfPattern,
  ChannelsOf,
  CommandNames,
  CommandParam,
  CommandReply,
  EventNames,
  EventParam,
  PatternsOf,
  PresenceInfo
} from '../lib/protocol/contract.ts'
import type { Message } from '../lib/protocol/message.ts'
import type { Outcome, Position } from '../lib/protocol/position.ts'
import type { JoinedBy, LeaveReason, PresenceMember, PresenceState } from '../lib/protocol/system.ts'
import type { SendOptions, Sent } from './command.ts'
import type { ChannelError } from './errors.ts'
import type { Gap, LoadState } from './loader.ts'

// Without a contract C and the definition D of a channel in it are `unknown`, and every name is a string.

/** The channel patterns that a socket may join. */
export type PatternFor<C> = unknown extends C ? string : PatternsOf<C>
/** The definition of the channel with that pattern. */
export type DefinitionFor<C, P extends string> = unknown extends C ? unknown : ChannelOfPattern<C, P>
/** The parameters of a pattern, and what may follow them, as arguments; a pattern may have no parameters. */
export type ParamsFor<P extends string, Options extends unknown[] = []> = string extends P
  ? [params?: Readonly<Record<string, string>>, ...Options]
  : keyof ParamsOf<P> extends never
    ? [params?: Readonly<Record<string, never>>, ...Options]
    : [params: ParamsOf<P>, ...Options]

/** How a channel is joined. */
export interface JoinOptions {
  /**
   * Called where nothing is known of what came before (the first join, and each join of a channel without a log) and at
   * each gap. What is published meanwhile is told once its promise has resolved; one that rejects is called again, after
   * a while. More than 1,000 publications meanwhile are a gap.
   */
  readonly loadState?: LoadState
}

export type EventNameFor<D> = unknown extends D ? string : EventNames<D>
export type EventParamFor<D, K extends string> = unknown extends D ? unknown : EventParam<D, K>
export type CommandNameFor<D> = unknown extends D ? string : CommandNames<D>
export type CommandParamFor<D, K extends string> = unknown extends D ? unknown : CommandParam<D, K>
export type ReplyFor<D, K extends string> = unknown extends D ? unknown : CommandReply<D, K>
export type InfoFor<D> = unknown extends D ? unknown : PresenceInfo<D>

/** A publication of a channel, by its event. */
export type ReceivedFor<D> = unknown extends D
  ? Received
  : { [K in EventNames<D>]: Received<EventParam<D, K>> & { readonly cmd: K } }[EventNames<D>]

/** A message as it arrives. */
export interface Received<Param = unknown> extends Message<Param> {
  /** Where it stands in the log of the channel that it came through; absent where that has none, and for ephemeral events. */
  readonly position?: Position
}

/** What `history` is to give: what was before a position or after one; with neither the newest. */
export interface HistoryOptions {
  readonly before?: Position
  readonly after?: Position
  /** At least 1; at most, and by default, what the server allows. */
  readonly limit?: number
}

/** A stretch of a channel's log. */
export interface History<D = unknown> {
  /** Ascending. */
  readonly messages: ReadonlyArray<ReceivedFor<D>>
  /** Whether nothing kept lies beyond: no newer one (`after`), no older one (otherwise). */
  readonly complete: boolean
  /** Where the log ends. */
  readonly position: Position
}

/** A command as `socket.send` takes it: one of the contract's, to a channel of the right name. */
export type Outgoing<C> = unknown extends C ? Message : OutgoingOf<ChannelsOf<C>>
type OutgoingOf<D> = D extends AnyChannel
  ? { [K in CommandNames<D>]: Message<CommandParam<D, K>> & { channel: NameFor<D>; cmd: K } }[CommandNames<D>]
  : never
type NameFor<D> = D extends { readonly pattern: infer P extends string }
  ? import('../lib/protocol/channel-name.ts').NameOf<P>
  : never

/** Where a channel is, as this client sees it. */
export type ChannelState =
  /** Neither asked for nor joined by anybody. */
  | { readonly name: 'idle' }
  /** Asked for, or expected again after a reconnect. */
  | { readonly name: 'joining' }
  | Joined
  /** The server will not have it; only `join()` asks again. */
  | { readonly name: 'refused'; readonly error: ChannelError }
  /** Left by us, or put out by the server; only `join()` asks again. */
  | { readonly name: 'left'; readonly reason: LeaveReason }

/** What a (re)joined channel is told; its state from then on. */
export interface Joined {
  readonly name: 'joined'
  readonly by: JoinedBy
  /** A gap in it is told by `$gap` too. */
  readonly outcome: Outcome
  /** Where delivery goes on from; absent where the channel has no log. */
  readonly position?: Position | undefined
}

/** What a channel tells of itself, by event. */
export interface ChannelEvents<Info = unknown> {
  $state: (state: ChannelState) => void
  /** At each join, also after a reconnect. */
  $joined: (joined: Joined) => void
  $left: (reason: LeaveReason) => void
  /** Who is there has changed; without a diff the whole was told anew. */
  $presence: (presence: PresenceState<Info>, diff?: PresenceDiff<Info>) => void
  /** Publications are missing, between what was told before and what is told next. */
  $gap: (gap: Gap) => void
  /** A refused join; the socket's `$error` hears of it too. */
  $error: (error: ChannelError) => void
}

export interface PresenceDiff<Info = unknown> {
  readonly joins: ReadonlyArray<PresenceMember<Info>>
  readonly leaves: ReadonlyArray<PresenceMember<Info>>
}

/** One channel of a socket. Every `join` or `channel` of the same name gives the same one. */
export interface Channel<D = unknown> {
  /** The channel's name, with its parameters in it. */
  readonly name: string
  readonly state: ChannelState
  /** Of the last publication that came, told or not; null where none is known. Kept over a reconnect, forgotten by a leave. */
  readonly position: Position | null
  /** Who is there, as last told; null where the channel has no presence. Kept over a reconnect until it is told anew. */
  readonly presence: PresenceState<InfoFor<D>> | null
  /** The members of `presence`; empty where only their number is known. */
  readonly members: ReadonlyArray<PresenceMember<InfoFor<D>>>

  /** Adds a listener for a lifecycle event or for one of the channel's events; what comes back removes it. */
  on<K extends keyof ChannelEvents>(event: K, listener: ChannelEvents<InfoFor<D>>[K]): () => void
  on<K extends EventNameFor<D>>(
    event: K,
    listener: (param: EventParamFor<D, NoInfer<K>>, message: Received<EventParamFor<D, NoInfer<K>>>) => void
  ): () => void

  /**
   * Sends a command; waits until the channel is joined, over reconnects. Settles once: with the ack, or with a
   * ChannelError: a nack's code, `unknown` (sent, no answer: it took effect once or never), or a code that says why it
   * was never sent. Whoever does not wait for the promise finds the error in the socket's `$error`.
   */
  send<K extends CommandNameFor<D>>(
    cmd: K,
    param: CommandParamFor<D, K>,
    options?: SendOptions
  ): Promise<Sent<ReplyFor<D, K>>>

  /** Sends a command and gives its reply; waits `requestTimeoutMs` unless told otherwise. Fails as `send` does. */
  request<K extends CommandNameFor<D>>(
    cmd: K,
    param: CommandParamFor<D, K>,
    options?: SendOptions
  ): Promise<ReplyFor<D, K>>

  /** Asks the server who is there now, and brings `presence` up to date. Rejects with a nack's code, or `unknown` where the link ends. */
  refreshPresence(): Promise<PresenceState<InfoFor<D>>>

  /** Asks the server for publications that it has kept. Rejects as `refreshPresence` does. */
  history(options?: HistoryOptions): Promise<History<D>>

  /** Asks to be joined, now and after every reconnect. Not counted: one `leave()` ends any number of joins. */
  join(options?: JoinOptions): void
  /** Leaves. Nothing is heard of the channel any more, and what was not sent rejects with `left`. */
  leave(): void
  /** Resolves once joined; rejects where the join is refused, given up by `leave()`, or the socket closes for good. */
  ready(): Promise<Joined>
}
