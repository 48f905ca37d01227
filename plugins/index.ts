// The public server surface, one name a line.
export type { Awaitable } from '../lib/awaitable.ts'
export type {
  Broker,
  BrokerContext,
  BrokerFactory,
  CommandRecord,
  Commit,
  Committed,
  Entry,
  KeptResult,
  LogPolicy,
  Page,
  Progress,
  Publication,
  ReadFrom,
  ReadLimits,
  ReadResult,
  Receiver,
  SessionRecord
} from '../lib/broker/broker.ts'
export { holesOf } from '../lib/broker/broker.ts'
export type { MemoryOptions } from '../lib/broker/memory.ts'
export { MEMORY_DEFAULTS, memory } from '../lib/broker/memory.ts'
export type { SqliteOptions } from '../lib/broker/sqlite.ts'
export { SQLITE_DEFAULTS, sqlite } from '../lib/broker/sqlite.ts'
export type {
  AccessRequest,
  ChannelLimits,
  CommandContext,
  CommandHandler,
  JoinEvent,
  LeaveEvent,
  RulesFor as ChannelRules
} from '../lib/channel/rules.ts'
export { DEFAULT_LOG } from '../lib/channel/rules.ts'
export type { CloseEvent, Connection, ConnectionKind } from '../lib/connection/connection.ts'
export type { NativeSender } from '../lib/connection/native-writes.ts'
export type { OutgoingMessage } from '../lib/connection/publication.ts'
export type { ChannelsError, ErrorCode } from '../lib/errors.ts'
export { badRequest, errorTable, forbidden, notFound, unauthorized } from '../lib/errors.ts'
export type { MessageHandler } from '../lib/inbound/handlers.ts'
export { echo, log } from '../lib/inbound/handlers.ts'
export type { Logger } from '../lib/log.ts'
export type { Limits, Times } from '../lib/options.ts'
export { DEFAULT_LIMITS, DEFAULT_TIMES } from '../lib/options.ts'
export type { Message } from '../lib/protocol/message.ts'
export type { Position } from '../lib/protocol/position.ts'
export type { Profile } from '../lib/protocol/profile.ts'
export type { PresenceMember, Stored } from '../lib/protocol/system.ts'
// A star, because only a name that is exported so can be merged with by `declare module 'fastify-channels'`.
export * from '../lib/register.ts'
export type { Action, ActionContext, ActionSchemas } from '../lib/request/act.ts'
export { act } from '../lib/request/act.ts'
export type { CookieOptions } from '../lib/request/cookie.ts'
export type { OriginPolicy } from '../lib/request/origin.ts'
export type { PageState } from '../lib/request/page-state.ts'
export type { ProfileLoader } from '../lib/request/profile.ts'
export type { ActionEvent } from '../lib/request/routes.ts'
export type { ServiceStats, TrafficStats } from '../lib/stats.ts'
export type { ChannelsOptions } from './channels.ts'
export { channels, channels as default } from './channels.ts'
export type { ChannelHandle, Published, SendOptions, Sockets, Target, UpgradeOptions } from './sockets.ts'
