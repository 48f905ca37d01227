import type { NackCode } from '../lib/protocol/system.ts'

/** What the client itself may say; everything else is a code from the server's `$nack`. */
export type ClientCode =
  /** It was sent and no answer came: it took effect once or never. */
  | 'unknown'
  /** Its time ran out; it did not take effect and never will. */
  | 'timeout'
  /** Its signal aborted; it did not take effect and never will. */
  | 'aborted'
  /** The socket closed for good before it was sent; it never will be. */
  | 'closed'
  /** The channel was left before it was sent; it did not take effect and never will. */
  | 'left'
  /** The socket is not connected (`onOffline` is `reject`); it was not taken, or not sent. */
  | 'offline'
  /** It made room for a newer one (`onOffline` is `drop-oldest`); it never will be sent. */
  | 'dropped'
  /** As many commands or bytes wait as may (`queue`); it was not taken. */
  | 'queue-full'
  /** Over the server's `payloadBytes`; it was not sent. */
  | 'too-big'
  /** The param has no JSON form; it was not taken. */
  | 'unserialisable'
  /** A name that begins with `$`, or no name at all. */
  | 'reserved-command'
  | 'invalid-option'
  | 'invalid-channel'
  /** A close has code 1000 or 3000 to 4999 and a reason of at most 123 bytes. */
  | 'invalid-close'
  /** The server sent something that is no frame of the protocol; it was ignored. */
  | 'bad-frame'
  /** `url` or `options` failed, or the WebSocket could not be made, or no `$welcome` came in time. */
  | 'dial-failed'
  /** A listener threw, or `loadState` did; what it threw is the `cause`. */
  | 'listener-failed'
  /** A mistake in this client. */
  | 'internal'

/** What an error is about, besides its code. */
export interface ErrorDetails {
  readonly message?: string | undefined
  readonly channel?: string | undefined
  readonly cmd?: string | undefined
  readonly retry?: boolean
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

/** Every error that the client throws, rejects with or reports; callers match on `code`. */
export class ChannelError extends Error {
  declare readonly code: ClientCode | NackCode | (string & {})
  /** Whether the same again may succeed later. */
  declare readonly retry: boolean
  /** How long the server asks to wait before that, in milliseconds. */
  declare readonly retryAfterMs: number | undefined
  declare readonly channel: string | undefined
  declare readonly cmd: string | undefined

  /** Without a message the code stands with what it is about. */
  constructor(code: ClientCode | (string & {}), details: ErrorDetails = {}) {
    const { channel, cmd, message = [code, channel, cmd].filter(Boolean).join(' ') } = details
    super(message)
    Object.assign(this, { name: 'ChannelError', retry: false, ...details, message, code })
  }
}

/** @throws {ChannelError} `invalid-option`, naming the option, what was expected and what came instead */
export function invalidOption(name: string, expected: string, value: unknown): never {
  throw new ChannelError('invalid-option', { message: `option "${name}": expected ${expected}, got ${value}` })
}
