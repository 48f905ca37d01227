import type { TSchema } from '@sinclair/typebox'
import { Kind, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { channelsError, shown } from './errors.ts'
import type { Clock } from './protocol/clock.ts'

/** What bounds the service. For each of them 0 means no limit, except where another meaning stands. */
export interface Limits {
  /** Largest frame from a client, in bytes; a larger one closes 1009. Default 65,536; at least 128. */
  readonly payloadBytes: number
  /** Largest message to clients, in bytes of its frame. Default 262,144; 128 to `outboxBytes`, which lowers the default. */
  readonly messageBytes: number
  /** Deepest nesting in a client's frame, the frame itself being 1. Default 32; 2 to 1,000. */
  readonly depth: number
  /** Channels that one connection may be in. Default 128. */
  readonly channels: number
  /** Frames a second that one connection may send for long; above it it is not read for a while. Default 50. */
  readonly messagesPerSecond: number
  /** Frames that it may send at once; whoever owes more than ten times this is closed 4002. Default 100; at least 1. */
  readonly burst: number
  /** Unreadable frames a minute; above it the connection closes 4503. Default 10. */
  readonly violationsPerMinute: number
  /** Commands and joins of one connection that may wait for their answers. Default 256; at least 1. */
  readonly pendingCommands: number
  /** Publications that a client may ask for in one `$history`. Default 100; at least 1. */
  readonly history: number
  /** Bytes that may wait to be sent to one connection; above it it closes 4000. Default 1,048,576; at least 1,024. */
  readonly outboxBytes: number
  /** Connections to this node; above it handshakes get 503. Default 0. */
  readonly connections: number
  /** Connections of one profile; above it handshakes get 429. Default 20. */
  readonly connectionsPerUser: number
  /** Connections from one address; above it handshakes get 429. Default 100. */
  readonly connectionsPerAddress: number
  /** Sessions that this node keeps, with a connection or for who may come back; the oldest of the latter go first. Default 100,000. */
  readonly sessions: number
  /** The same for one profile. Default 100. */
  readonly sessionsPerUser: number
  /** The same for one address, of clients without a profile. Default 1,000. */
  readonly sessionsPerAddress: number
  /**
   * Characters of the answers that this node keeps of all sessions together, for clients that send a command again: of commands that stored
   * nothing. Each counts 200 more than it has. The oldest go first. Default 67,108,864.
   */
  readonly answerCharacters: number
  /** Handshakes under way on this node; above it new ones get 429. Default 1,000. */
  readonly pendingHandshakes: number
  /** Handshakes under way from one address; above it new ones get 429. Default 200. */
  readonly pendingHandshakesPerAddress: number
}

export const DEFAULT_LIMITS: Limits = Object.freeze({
  payloadBytes: 65_536,
  messageBytes: 262_144,
  depth: 32,
  channels: 128,
  messagesPerSecond: 50,
  burst: 100,
  violationsPerMinute: 10,
  pendingCommands: 256,
  history: 100,
  outboxBytes: 1_048_576,
  connections: 0,
  connectionsPerUser: 20,
  connectionsPerAddress: 100,
  sessions: 100_000,
  sessionsPerUser: 100,
  sessionsPerAddress: 1_000,
  answerCharacters: 67_108_864,
  pendingHandshakes: 1_000,
  pendingHandshakesPerAddress: 200
})

/** Times, each in milliseconds. */
export interface Times {
  /** How often each connection is pinged; one from which nothing came between two pings closes 4001. Default 25,000; at least 100. */
  readonly heartbeatMs: number
  /** How long an action may take to upgrade or answer; then 503. Default 10,000; at least 10. */
  readonly handshakeTimeoutMs: number
  /** How long a closing peer may take to answer, and `app.close()` waits for commands under way. Default 5,000; at least 10. */
  readonly closeGraceMs: number
  /** How long a session without a connection is kept, for its client to come back. Default 300,000; at least 1,000. */
  readonly sessionMs: number
  /** How long a user whose connection was lost without a goodbye is still present. Default 5,000; 0 is no time. */
  readonly presenceGraceMs: number
  /** How often the profile loader is asked again about each connection. Default 60,000; 0 is never. */
  readonly recheckMs: number
}

export const DEFAULT_TIMES: Times = Object.freeze({
  heartbeatMs: 25_000,
  handshakeTimeoutMs: 10_000,
  closeGraceMs: 5_000,
  sessionMs: 300_000,
  presenceGraceMs: 5_000,
  recheckMs: 60_000
})

const count = (minimum: number, maximum = Number.MAX_SAFE_INTEGER): TSchema => Type.Integer({ minimum, maximum })
const fn = Type.Function([], Type.Unknown())

/** A bound that would exceed Node's timers would fire at once. */
const MAX_TIMER_MS = 2_147_483_647

/** A day: with its jitter it fits Node's timers too. */
const MAX_RECHECK_MS = 86_400_000

const LIMITS_SCHEMA = {
  payloadBytes: count(128, 16 * 1024 * 1024),
  messageBytes: count(128, 64 * 1024 * 1024),
  depth: count(2, 1000),
  channels: count(0),
  messagesPerSecond: count(0),
  burst: count(1),
  violationsPerMinute: count(0),
  pendingCommands: count(1),
  history: count(1, 10_000),
  outboxBytes: count(1024),
  connections: count(0),
  connectionsPerUser: count(0),
  connectionsPerAddress: count(0),
  sessions: count(0),
  sessionsPerUser: count(0),
  sessionsPerAddress: count(0),
  answerCharacters: count(0),
  pendingHandshakes: count(0),
  pendingHandshakesPerAddress: count(0)
} satisfies Record<keyof Limits, TSchema>

const OPTIONS_SCHEMA = {
  profile: fn,
  cookie: Type.Object({}),
  origin: Type.Unknown(),
  clientPath: Type.String({ pattern: '^/' }),
  contract: Type.Object({ channels: Type.Array(Type.Object({ pattern: Type.String() })) }),
  limits: Type.Partial(Type.Object(LIMITS_SCHEMA)),
  heartbeatMs: count(100, MAX_TIMER_MS),
  handshakeTimeoutMs: count(10, MAX_TIMER_MS),
  closeGraceMs: count(10, MAX_TIMER_MS),
  sessionMs: count(1_000, MAX_TIMER_MS),
  presenceGraceMs: count(0, MAX_TIMER_MS),
  recheckMs: count(0, MAX_RECHECK_MS),
  broker: fn,
  checkEvents: Type.Boolean(),
  compression: Type.Boolean(),
  native: Type.Union([Type.Null(), Type.Object({ backend: Type.String(), send: fn })]),
  userChannel: Type.Boolean(),
  onMessage: fn,
  onOpen: fn,
  onClose: fn,
  onError: fn,
  onAction: fn,
  clock: Type.Unknown()
}

/** Names of the plugin's options, for the type that lists them to be held against. */
export type OptionName = keyof typeof OPTIONS_SCHEMA

const CLOCK_METHODS: ReadonlyArray<keyof Clock> = ['monotonic', 'wall', 'after', 'soon', 'random', 'randomBytes']

/** @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION */
export function assertOptions(options: object): void {
  assertKeys('', options, OPTIONS_SCHEMA)
  const { clock } = options as { clock?: Clock }
  // A clock may be an instance of a class, whose methods are not its own: no schema of TypeBox's would see them.
  for (const name of clock === undefined ? [] : CLOCK_METHODS) {
    if (typeof clock?.[name] === 'function') continue
    throw channelsError('FST_CHANNELS_INVALID_OPTION', `clock/${name}`, 'function', shown(clock?.[name]))
  }
  const { limits } = options as { limits?: object }
  if (typeof limits === 'object' && limits !== null) assertKeys('limits.', limits, LIMITS_SCHEMA)
}

/**
 * Holds options against one schema each; those that Fastify itself hands to every plugin are left out.
 * @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION
 */
export function assertKeys(prefix: string, options: object, schemas: Readonly<Record<string, TSchema>>): void {
  for (const [key, value] of Object.entries(options)) {
    // Fastify hands these on to every plugin.
    if (prefix === '' && (key === 'prefix' || key === 'logLevel' || key === 'logSerializers')) continue
    const schema = Object.hasOwn(schemas, key) ? schemas[key] : undefined
    if (schema === undefined) {
      throw channelsError('FST_CHANNELS_UNKNOWN_OPTION', `${prefix}${key}`, Object.keys(schemas).join(', '))
    }
    if (value === undefined || (prefix === '' && key === 'limits' && isObject(value))) continue
    const error = Value.Errors(schema, value).First()
    if (error !== undefined) {
      throw channelsError(
        'FST_CHANNELS_INVALID_OPTION',
        `${prefix}${key}${error.path}`,
        expectation(error.schema),
        shown(error.value)
      )
    }
  }
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function expectation(schema: TSchema): string {
  const { minimum, maximum } = schema as { minimum?: number; maximum?: number }
  if (typeof schema.pattern === 'string') return 'a path that begins with /'
  if (minimum !== undefined) return `an integer from ${minimum} to ${maximum}`
  if (schema.const !== undefined) return JSON.stringify(schema.const)
  if (schema.anyOf !== undefined) return (schema.anyOf as TSchema[]).map(expectation).join(' or ')
  return `${schema[Kind]}`.toLowerCase()
}
