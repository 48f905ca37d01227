import { channelsError, shown } from '../errors.ts'
import { isChannelName } from '../protocol/channel-name.ts'
import { encodeFrame } from '../protocol/message.ts'
import { encodeText } from './frame.ts'

/** A message as an application hands it in. */
export interface OutgoingMessage {
  /** The channel it is about; left out, the one it is sent to. */
  readonly channel?: string
  readonly cmd: string
  readonly param?: unknown
  /** The id of the profile that it comes from. */
  readonly from?: string
}

/** @throws FST_CHANNELS_INVALID_CHANNEL, with status 400 where the name is most likely made of what a stranger sent */
export function assertChannelName(name: unknown, from: 'program' | 'request' = 'program'): asserts name is string {
  if (typeof name === 'string' && isChannelName(name)) return
  const error = channelsError('FST_CHANNELS_INVALID_CHANNEL', shown(name))
  throw from === 'request' ? Object.assign(error, { statusCode: 400 }) : error
}

/** What the place in a log, `,"offset":…,"tag":"…"`, takes at most. */
const PLACE_BYTES = 48
/** A UTF-16 code unit in UTF-8. */
const MAX_UNIT_BYTES = 3
/** What the header of a WebSocket frame takes at most. */
const HEADER_BYTES = 10

/**
 * The text of a message as a frame. `through` is the channel that it is delivered through, whose name is known to be one.
 * @throws FST_CHANNELS_INVALID_CHANNEL, FST_CHANNELS_RESERVED_COMMAND, FST_CHANNELS_UNSERIALISABLE,
 * FST_CHANNELS_MESSAGE_TOO_BIG
 */
export function messageText(through: string, message: OutgoingMessage, maxBytes: number): string {
  const { channel = through, cmd, param, from } = message
  if (channel !== through) assertChannelName(channel)
  if (typeof cmd !== 'string' || cmd === '' || cmd.length > 128 || cmd.startsWith('$')) {
    throw channelsError('FST_CHANNELS_RESERVED_COMMAND', shown(cmd))
  }
  const text = serialise(through, channel, cmd, param, from)
  // A message that no outbox can hold would close every member of its channel.
  const besides = HEADER_BYTES + PLACE_BYTES
  if (MAX_UNIT_BYTES * text.length + besides <= maxBytes) return text
  const bytes = Buffer.byteLength(text) + besides
  if (bytes > maxBytes) throw channelsError('FST_CHANNELS_MESSAGE_TOO_BIG', cmd, bytes, maxBytes)
  return text
}

/**
 * The bytes that every receiver of a message gets.
 * @throws as messageText
 */
export function encodeMessage(through: string, message: OutgoingMessage, maxBytes: number): Buffer {
  assertChannelName(through)
  return encodeText(messageText(through, message, maxBytes))
}

function serialise(through: string, channel: string, cmd: string, param: unknown, from: string | undefined): string {
  try {
    return encodeFrame({ channel, via: channel === through ? undefined : through, cmd, param, from })
  } catch (error) {
    throw channelsError('FST_CHANNELS_UNSERIALISABLE', cmd, (error as Error).message)
  }
}
