// The public surface of `fastify-channels/client`, one name a line.
export type { Message } from '../lib/protocol/message.ts'
export type { GapReason, Outcome, Position } from '../lib/protocol/position.ts'
export type { JoinedBy, LeaveReason, NackCode, PresenceMember, PresenceState, Stored } from '../lib/protocol/system.ts'
export type {
  Channel,
  ChannelEvents,
  ChannelState,
  History,
  HistoryOptions,
  Joined,
  JoinOptions,
  Outgoing,
  PresenceDiff,
  Received
} from './channel.ts'
export type { ClientClock } from './clock.ts'
export type { OnOffline, SendOptions, Sent, Waiting } from './command.ts'
export type { DebugLogger } from './debug.ts'
export type { OptionsSource, UrlSource } from './dialer.ts'
export type { ClientCode, ErrorDetails } from './errors.ts'
export { ChannelError } from './errors.ts'
export type { Gap, LoadContext, LoadState } from './loader.ts'
export type { Settings, SocketOptions } from './options.ts'
export { DEFAULTS } from './options.ts'
export type { CloseInfo, SocketEvents } from './socket.ts'
export { Socket } from './socket.ts'
export type { SocketState, StateName } from './states.ts'
export type { FetchLike, WebSocketConstructor, WebSocketLike } from './transport.ts'
