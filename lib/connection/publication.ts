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

/**
 * The bytes that every receiver of a message gets. `through` is the channel that it is delivered through.
 * @throws FST_CHANNELS_INVALID_CHANNEL, FST_CHANNELS_RESERVED_COMMAND, FST_CHANNELS_UNSERIALISABLE,
 * FST_CHANNELS_MESSAGE_TOO_BIG
 */
export function encodeMessage(through: string, message: OutgoingMessage, maxBytes: number): Buffer {
  assertChannelName(through)
  const { channel = through, cmd, param, from } = message
  if (channel !== through) assertChannelName(channel)
  if (typeof cmd !== 'string' || cmd === '' || cmd.length > 128 || cmd.startsWith('$')) {
    throw channelsError('FST_CHANNELS_RESERVED_COMMAND', shown(cmd))
  }
  const frame = encodeText(serialise(through, channel, cmd, param, from))
  if (frame.byteLength > maxBytes) throw channelsError('FST_CHANNELS_MESSAGE_TOO_BIG', cmd, frame.byteLength, maxBytes)
  return frame
}

function serialise(through: string, channel: string, cmd: string, param: unknown, from: string | undefined): string {
  try {
    return encodeFrame({
      channel,
      cmd,
      param,
      ...(channel === through ? {} : { via: through }),
      ...(from === undefined ? {} : { from })
    })
  } catch (error) {
    throw channelsError('FST_CHANNELS_UNSERIALISABLE', cmd, (error as Error).message)
  }
}
