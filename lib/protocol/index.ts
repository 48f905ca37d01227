export type { Static, TSchema } from '@sinclair/typebox'
export { Type } from '@sinclair/typebox'
export type { NameOf, ParamsOf } from './channel-name.ts'
export { compilePattern, encodeSegment, isChannelName, MAX_CHANNEL_BYTES, userChannel } from './channel-name.ts'
export type { Clock, Timer } from './clock.ts'
export type { CloseCode, CloseName } from './close-code.ts'
export { CLOSE_CODES, closeCode, comesBack, MAX_REASON_BYTES } from './close-code.ts'
export type {
  AnyChannel,
  ChannelDefinition,
  ChannelNames,
  ChannelOfName,
  ChannelOfPattern,
  CommandDefinition,
  CommandNames,
  CommandParam,
  CommandReply,
  ContractDefinition,
  EphemeralDefinition,
  EventNames,
  EventOf,
  EventParam,
  PatternsOf,
  PresenceInfo
} from './contract.ts'
export { command, defineChannel, defineContract, ephemeral } from './contract.ts'
export type { Frame, Message } from './message.ts'
export type { GapReason, Outcome, Position } from './position.ts'
export type {
  HistoryPage,
  JoinedBy,
  LeaveReason,
  NackCode,
  PresenceMember,
  PresenceState,
  Stored,
  WireLimits
} from './system.ts'
export { NACK_CODES, SUBPROTOCOL } from './system.ts'
