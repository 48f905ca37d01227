import { encodeSegment, isChannelName } from '../lib/protocol/channel-name.ts'
import { ChannelError } from './errors.ts'

/**
 * The name that a pattern stands for with these parameters. The protocol's own compiler of patterns also takes names
 * apart and tells malformed patterns from one another, which a page need not load.
 * @throws {ChannelError} `invalid-channel` where a parameter is missing, empty or malformed, or the name is none
 */
export function channelName(pattern: string, params: Readonly<Record<string, string>> = {}): string {
  let name = ''
  try {
    // The literal character after a parameter ends it, and is encoded inside.
    name = pattern.replace(/:([A-Za-z]\w*)(.?)/g, (_, key, stop) => {
      // A space is in no name: without the parameter there is none.
      return (params[key] ? encodeSegment(params[key], stop) : ' ') + stop
    })
  } catch {
    // A lone surrogate has no encoding.
  }
  if (!isChannelName(name)) throw new ChannelError('invalid-channel', { channel: pattern })
  return name
}
