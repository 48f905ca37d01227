import type { Frame } from './message.ts'
import type { GapReason, Outcome, Position } from './position.ts'

/** The WebSocket subprotocol (RFC 6455 §1.9) of clients that speak all of docs/protocol.md. */
export const SUBPROTOCOL = 'channels.v1'

export type JoinedBy = 'route' | 'server' | 'client'

/** Why a subscription ended. */
export type LeaveReason = 'client' | 'server' | 'closed' | 'revoked'

/** How far an ack's word goes: `none` is that the handler ran and its publications went to fan-out. */
export type Stored = 'none' | 'memory' | 'disk' | `redis:${string}`

/** A user present in a channel, over all of that user's connections. */
export interface PresenceMember<Info = unknown> {
  readonly id: string
  readonly info?: Info
}

/** Up to 100 members are named; above that only their number is told. */
export interface PresenceState<Info = unknown> {
  readonly count: number
  readonly members?: ReadonlyArray<PresenceMember<Info>>
}

/** What a client may do, told in `$welcome` so that it can keep within it. */
export interface WireLimits {
  readonly payloadBytes: number
  readonly depth: number
  readonly channels: number
  readonly messagesPerSecond: number
  readonly burst: number
  /** Publications that one `$history` may ask for. */
  readonly history: number
}

/** What `$history` gives, as `reply` of its `$ack`. */
export interface HistoryPage {
  /** Publications as they were sent, with `offset` and `tag`; ascending. */
  readonly messages: readonly Frame[]
  /** Whether nothing kept lies beyond: no newer one (`after`), no older one (`before`). */
  readonly complete: boolean
  /** The log's head. */
  readonly position: Position
}

/** The `param` of each frame from the server; `channel`, `id`, `ref` stand beside it. */
export interface ServerFrames {
  $welcome: {
    readonly session: string
    readonly connection: string
    readonly resumed: boolean
    readonly heartbeatMs: number
    readonly limits: WireLimits
    readonly contract: string
  }
  $joined: {
    readonly by: JoinedBy
    readonly position?: Position
    readonly outcome: Outcome
    readonly presence?: PresenceState
  }
  $left: { readonly reason: LeaveReason }
  $ack: { readonly position?: Position; readonly reply?: unknown; readonly stored: Stored }
  $nack: {
    readonly code: NackCode
    readonly message: string
    readonly retry: boolean
    readonly retryAfterMs?: number
    /** Of `resend-from`: the id to begin again with. */
    readonly from?: number
  }
  $gap: { readonly from?: number; readonly to: number; readonly reason: GapReason; readonly position: Position }
  /** `offset` and `tag` stand beside it: a publication that this connection is excepted from. */
  $skip: undefined
  $presence: {
    readonly joins: readonly PresenceMember[]
    readonly leaves: readonly PresenceMember[]
    readonly count: number
  }
  $ping: undefined
  $closing: { readonly reason: 'draining' | 'closed-by-server'; readonly retryAfterMs?: number }
}

/** What a client may ask for. */
export const CLIENT_COMMANDS = ['$join', '$leave', '$presence', '$history', '$void', '$pong'] as const
export type ClientCommand = (typeof CLIENT_COMMANDS)[number]

/** A server's `$` frame; its type ties `cmd` to `param`. Built field by field: spreading gives each a hidden class of its own. */
export function systemFrame<K extends keyof ServerFrames>(
  cmd: K,
  param: ServerFrames[K],
  at: Pick<Frame, 'channel' | 'id' | 'ref'> = {}
): Frame {
  const frame: { -readonly [Key in keyof Frame]: Frame[Key] } = { cmd }
  if (at.channel !== undefined) frame.channel = at.channel
  if (at.id !== undefined) frame.id = at.id
  if (at.ref !== undefined) frame.ref = at.ref
  if (param !== undefined) frame.param = param
  return frame
}

/** Why a command or a request was refused. One table for server, docs and tests. */
export const NACK_CODES = {
  'bad-frame': {
    retry: false,
    meaning: 'The frame could not be read: not a JSON object, too deep, or a field of the wrong type.'
  },
  'unknown-command': { retry: false, meaning: 'The channel has no command of that name.' },
  'unknown-channel': { retry: false, meaning: 'No served channel has that name, or it is malformed.' },
  'invalid-param': { retry: false, meaning: 'The param breaks the schema; the message names the path and the rule.' },
  'not-joined': { retry: false, meaning: 'The connection is not a member of that channel.' },
  unauthorized: { retry: false, meaning: 'The request needs a profile and the connection has none.' },
  forbidden: { retry: false, meaning: 'The profile may not do that.' },
  'not-found': { retry: false, meaning: 'What the request names does not exist.' },
  'bad-request': { retry: false, meaning: 'The handler refused the request as malformed.' },
  'too-many-channels': { retry: false, meaning: 'The connection is a member of as many channels as it may be.' },
  'channel-full': { retry: true, meaning: 'The channel has as many connections as it may have.' },
  'rate-limited': {
    retry: true,
    meaning: 'Too many commands on this channel; retryAfterMs tells when there is room again.'
  },
  timeout: { retry: true, meaning: 'The access rule took too long.' },
  'too-many-commands': { retry: true, meaning: 'Too many commands of this connection wait to be run.' },
  'resend-from': { retry: true, meaning: 'The id is not the next one; the message names the next.' },
  'result-expired': { retry: false, meaning: 'The id was used before and its result is gone; it is not run again.' },
  voided: { retry: false, meaning: 'The client gave the command up; it has not run and will not.' },
  unavailable: { retry: true, meaning: 'The store could not take it; nothing of it was kept.' },
  'unknown-position': {
    retry: false,
    meaning: 'The log does not hold that position; the message says why: trimmed, epoch-lost, rewound.'
  },
  draining: { retry: true, meaning: 'The server is closing and takes no new commands.' },
  'internal-error': { retry: false, meaning: 'The handler failed; the server has logged why.' }
} as const satisfies Record<string, { readonly retry: boolean; readonly meaning: string }>

export type NackCode = keyof typeof NACK_CODES
