import type { NackCode } from '../lib/protocol/system.ts'

/** What the client itself may say; everything else is a code from the server's `$nack`. */
export type ClientCode =
  /** It was sent and no answer came: it took effect once or never. */
  | 'unknown'
  /** Its time ran out before it was sent; it never will be. */
  | 'timeout'
  /** Its signal aborted before it was sent; it never will be. */
  | 'aborted'
  /** The socket closed for good before it was sent; it never will be. */
  | 'closed'
  /** The channel was left before it was sent; it never will be. */
  | 'left'
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
  | 'invalid-close'
  /** The server sent something that is no frame of the protocol; it was ignored. */
  | 'bad-frame'
  /** `url` or `options` failed, or the WebSocket could not be made, or no `$welcome` came in time. */
  | 'dial-failed'
  /** A listener threw; what it threw is the `cause`. */
  | 'listener-failed'
  /** A mistake in this client. */
  | 'internal'

/** What an error is about, besides its code. */
export interface ErrorDetails {
  readonly channel?: string | undefined
  readonly cmd?: string | undefined
  readonly retry?: boolean | undefined
  readonly retryAfterMs?: number | undefined
  readonly cause?: unknown
}

/** Every error that the client throws, rejects with or reports; callers match on `code`. */
export class ChannelError extends Error {
  override readonly name = 'ChannelError'
  readonly code: ClientCode | NackCode | (string & {})
  /** Whether the same again may succeed later. */
  readonly retry: boolean
  /** How long the server asks to wait before that, in milliseconds. */
  readonly retryAfterMs: number | undefined
  readonly channel: string | undefined
  readonly cmd: string | undefined

  constructor(code: ClientCode | (string & {}), message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : undefined)
    this.code = code
    this.retry = details.retry === true
    this.retryAfterMs = details.retryAfterMs
    this.channel = details.channel
    this.cmd = details.cmd
  }
}

/** The error that a `$nack` stands for. Nothing in it is trusted to have the right type. */
export function nackError(param: Record<string, unknown>, channel?: string, cmd?: string): ChannelError {
  const { code, message, retry, retryAfterMs } = param
  return new ChannelError(String(code), String(message), {
    channel,
    cmd,
    retry: retry === true,
    retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : undefined
  })
}

export function invalidOption(name: string, expected: string, value: unknown): ChannelError {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return new ChannelError('invalid-option', `option "${name}": expected ${expected}, got ${text.slice(0, 64)}`)
}
