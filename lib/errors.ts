import createError from '@fastify/error'

/** Every error that the package throws, by code: the HTTP status it answers with where it reaches one, and its text. */
const ERRORS = {
  // Registration and options: a mistake in the program, told at boot.
  FST_CHANNELS_INVALID_OPTION: [500, 'Option "%s": expected %s, got %s'],
  FST_CHANNELS_UNKNOWN_OPTION: [500, 'Unknown option "%s"; known are %s'],
  FST_CHANNELS_ALREADY_REGISTERED: [
    500,
    'fastify-channels is registered on this server already; one registration serves all of it'
  ],
  FST_CHANNELS_WEBSOCKET_REGISTERED: [
    500,
    '@fastify/websocket is registered already; leave it to fastify-channels, which registers it with its own options, or register fastify-channels first'
  ],
  FST_CHANNELS_WEBSOCKET_TOO_OLD: [500, '@fastify/websocket %s can be ended by a stranger; at least %s is needed'],
  FST_CHANNELS_WEBSOCKET_OPTION: [
    500,
    'Route "%s" has { websocket: true } beside act(); leave it out, act() makes it a socket route'
  ],
  FST_CHANNELS_NOT_REGISTERED: [
    500,
    'act("%s") was declared before fastify-channels was ready: `await app.register(channels)` first, in the same or an outer context'
  ],
  FST_CHANNELS_NOT_READY: [500, 'app.sockets.%s was used before the app was ready: `await app.ready()` first'],
  FST_CHANNELS_ALREADY_SERVED: [500, 'Channel pattern "%s" cannot be served: %s'],
  FST_CHANNELS_SERVE_TOO_LATE: [500, 'Channel pattern "%s" must be served before the app is ready'],
  FST_CHANNELS_INVALID_CONTRACT: [500, 'Contract of "%s": %s'],

  // Use: a mistake in the program, thrown where it is made.
  FST_CHANNELS_NOT_A_SOCKET_ROUTE: [500, 'act("%s") called upgrade on a route that is not GET alone'],
  FST_CHANNELS_ALREADY_UPGRADED: [500, 'act("%s") called upgrade twice'],
  FST_CHANNELS_UPGRADE_TOO_LATE: [500, 'act("%s") called upgrade after its request had been answered'],
  FST_CHANNELS_PUBLISH_TOO_LATE: [500, 'Event %s was published after the handler of "%s" had ended'],
  FST_CHANNELS_NO_ANSWER: [500, 'act("%s") neither called upgrade nor returned an answer'],
  FST_CHANNELS_FOREIGN_PAGE_STATE: [500, 'upgrade was called with a PageState that act() did not build'],
  FST_CHANNELS_INVALID_CHANNEL: [500, 'Invalid channel name %s: [A-Za-z0-9._~%%-], 1 to 128 bytes'],
  FST_CHANNELS_INVALID_PARAMS: [500, 'Channel parameters: %s'],
  FST_CHANNELS_RESERVED_COMMAND: [
    500,
    'Invalid cmd %s: a non-empty string of at most 128 characters that does not begin with $'
  ],
  FST_CHANNELS_UNSERIALISABLE: [500, 'The param of "%s" has no JSON form: %s'],
  FST_CHANNELS_MESSAGE_TOO_BIG: [500, 'The message "%s" has %d bytes; at most %d are allowed (limits.messageBytes)'],
  FST_CHANNELS_INVALID_EVENT: [500, 'Event "%s" of "%s" breaks its schema at %s: %s'],
  FST_CHANNELS_UNKNOWN_EVENT: [500, 'Channel "%s" has no event "%s" in its contract'],
  FST_CHANNELS_INVALID_REPLY: [500, 'The reply of command "%s" breaks its schema at %s: %s'],
  FST_CHANNELS_INVALID_CLOSE: [
    500,
    'Invalid close %s: code 1000, 1001, 1003, 1008, 1011–1013 or 4000–4999, reason at most 123 bytes'
  ],
  FST_CHANNELS_INVALID_PROFILE: [
    500,
    'A profile needs an id, a non-empty string of at most 128 characters, and an expiresAt that is a number if anything: %s'
  ],
  FST_CHANNELS_NO_COOKIE: [
    500,
    '%s needs the option cookie.secret; with a profile loader of your own, sign in your own way'
  ],
  FST_CHANNELS_COOKIE_TOO_BIG: [500, 'The profile makes a cookie of %d bytes; at most %d are allowed'],

  // The store of a broker that keeps its logs on disk: those at boot keep the server from starting.
  FST_CHANNELS_NO_SQLITE: [
    500,
    'No SQLite for the broker (%s): use Node.js 22.13 or later, or `npm install libsql`, or name another installed driver'
  ],
  FST_CHANNELS_STORE_LOCKED: [500, 'The store %s is in use: one broker of one process may have it open at a time'],
  FST_CHANNELS_STORE_DAMAGED: [
    500,
    'The store %s is damaged (%s): put a copy in its place, or start once with onDamaged: "new-epoch", which moves it aside and begins anew'
  ],
  FST_CHANNELS_STORE_FOREIGN: [500, 'The file %s is a database of something else; give the broker a file of its own'],
  FST_CHANNELS_STORE_TOO_NEW: [
    500,
    'The store %s has format %d; this version of fastify-channels knows formats up to %d'
  ],
  FST_CHANNELS_STORE_FAILED: [503, 'The store failed, and nothing of this was kept: %s'],
  FST_CHANNELS_STORE_BUSY: [503, 'The store is too slow: %d requests of %d bytes wait for it already'],
  FST_CHANNELS_STORE_CLOSED: [503, 'The store is closed'],

  // Answers to a request.
  FST_CHANNELS_UPGRADE_REQUIRED: [426, 'This is a WebSocket endpoint: connect with the WebSocket protocol'],
  FST_CHANNELS_UNKNOWN_SUBPROTOCOL: [400, 'None of the offered subprotocols is known; offer channels.v1 or none'],
  FST_CHANNELS_BAD_HANDSHAKE: [400, 'The WebSocket handshake is malformed'],
  FST_CHANNELS_ORIGIN_REFUSED: [403, 'This origin may not connect'],
  FST_CHANNELS_TOO_MANY_HANDSHAKES: [429, 'Too many handshakes are pending from this address'],
  FST_CHANNELS_TOO_MANY_CONNECTIONS: [429, 'Too many connections from this %s'],
  FST_CHANNELS_CHANNEL_FULL: [503, 'The channel has as many connections as it may have'],
  FST_CHANNELS_SERVICE_FULL: [503, 'The server holds as many connections as it may'],
  FST_CHANNELS_HANDSHAKE_TIMEOUT: [503, 'The handshake took too long'],
  FST_CHANNELS_CLOSING: [503, 'The server is closing'],
  FST_CHANNELS_SOCKET_GONE: [499, 'The client went away before the upgrade'],
  FST_CHANNELS_CONNECTION_CLOSED: [499, 'The connection closed before it had joined its channel'],
  FST_CHANNELS_MISSING_PARAMETER: [400, 'Parameter "%s" is required'],
  FST_CHANNELS_BAD_REQUEST: [400, '%s'],
  FST_CHANNELS_UNAUTHORIZED: [401, '%s'],
  FST_CHANNELS_FORBIDDEN: [403, '%s'],
  FST_CHANNELS_NOT_FOUND: [404, '%s']
} as const satisfies Record<string, readonly [statusCode: number, message: string]>

export type ErrorCode = keyof typeof ERRORS

/** What every error of the package is. */
export interface ChannelsError extends Error {
  readonly code: ErrorCode
  readonly statusCode: number
  /** Seconds after which a new try makes sense; answered as the Retry-After header (RFC 9110 §10.2.3). */
  retryAfter?: number
}

type Constructor = ReturnType<typeof createError>
const constructors = new Map<ErrorCode, Constructor>()
for (const [code, [statusCode, message]] of Object.entries(ERRORS)) {
  constructors.set(code as ErrorCode, createError(code, message, statusCode))
}

/** The codes with their HTTP status and text, for the documentation and its test. */
export const errorTable: Readonly<Record<ErrorCode, readonly [statusCode: number, message: string]>> = ERRORS

/** Makes the error of that code; `args` fill its text. */
export function channelsError(code: ErrorCode, ...args: unknown[]): ChannelsError {
  const Constructor = constructors.get(code)!
  return new Constructor(...(args as [])) as unknown as ChannelsError
}

/** A failure of the store, whatever it threw. */
export function storeFailed(cause: unknown): ChannelsError {
  const { message = cause } = Object(cause) as { message?: unknown }
  return Object.assign(channelsError('FST_CHANNELS_STORE_FAILED', shown(message)), { cause })
}

/** The text after `instead got` in a message: short, and never the whole of what a stranger sent. */
export function shown(value: unknown): string {
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value)
  return text.length > 64 ? `${text.slice(0, 64)}…` : text
}

/** 401: throw it in an action or an access rule. */
export function unauthorized(message = 'Sign in first'): ChannelsError {
  return channelsError('FST_CHANNELS_UNAUTHORIZED', message)
}

/** 403: throw it in an action, an access rule or a command. */
export function forbidden(message = 'You may not do that'): ChannelsError {
  return channelsError('FST_CHANNELS_FORBIDDEN', message)
}

/** 404: throw it in an action, an access rule or a command. */
export function notFound(message = 'Not found'): ChannelsError {
  return channelsError('FST_CHANNELS_NOT_FOUND', message)
}

/** 400: throw it in an action, an access rule or a command. */
export function badRequest(message = 'Bad request'): ChannelsError {
  return channelsError('FST_CHANNELS_BAD_REQUEST', message)
}
