import type { Clock } from '../lib/protocol/clock.ts'
import { MAX_TIMER_MS, systemClock } from './clock.ts'
import type { DebugLogger } from './debug.ts'
import { invalidOption } from './errors.ts'
import type { FetchLike, WebSocketConstructor } from './transport.ts'
import { environment } from './transport.ts'

/** How a `Socket` behaves; each option has its default in `DEFAULTS`. */
export interface SocketOptions {
  /** Whether to dial at once. Default true; false waits for `connect()`. */
  readonly connect?: boolean
  /** The WebSocket to dial with; a subclass may add headers. Default: the platform's; Node before 22 has none (take `ws`). */
  readonly WebSocket?: WebSocketConstructor
  /** What the probe of a refused handshake is made with. Default: the platform's. */
  readonly fetch?: FetchLike
  /** Where time and chance come from, for tests. Default: the platform's. */
  readonly clock?: Clock
  /** Tells what the socket does: `true` by console.debug, or a function of your own. Default false. */
  readonly debug?: boolean | DebugLogger
  /** Added to the URL's query at each dial. Default none. */
  readonly query?: Readonly<Record<string, string>>
  /** The wait before dial n (from 0) is random between 0 and min(maxMs, minMs · 2ⁿ). */
  readonly backoff?: {
    /** Milliseconds, at least 1. Default 500. */
    readonly minMs?: number
    /** Milliseconds, at least `minMs`. Default 30,000. */
    readonly maxMs?: number
    /** A connection that was open this many milliseconds was useful: n begins at 0 again. Default 10,000. */
    readonly stableMs?: number
  }
  /** Milliseconds from a dial to the server's `$welcome`. Default 15,000; 0 waits for ever. */
  readonly connectTimeoutMs?: number
  /** A link with no frame for the server's heartbeat and this many milliseconds is dropped. Default 10,000. */
  readonly silentSlackMs?: number
  /** Milliseconds that `request` waits for its reply. Default 10,000; 0 waits for ever. */
  readonly requestTimeoutMs?: number
  /** Milliseconds that `send` waits to be sent and answered. Default 0: as long as it takes, outages included. */
  readonly sendTimeoutMs?: number
  /** How much may wait to be sent or answered. What is over is refused with `queue-full`, at once. */
  readonly queue?: {
    /** Commands. Default 500; 0 refuses all. */
    readonly count?: number
    /** Bytes of their frames. Default 1 MiB; 0 refuses all. */
    readonly bytes?: number
  }
  /** Whether a handshake that failed is asked about by GET: always, never, or where the page has the same host. Default `'same-origin'`. */
  readonly probe?: boolean | 'same-origin'
}

/** The defaults of every option, in one place. `WebSocket` and `fetch` are looked up when they are needed. */
export const DEFAULTS = {
  connect: true,
  WebSocket: undefined as WebSocketConstructor | undefined,
  fetch: undefined as FetchLike | undefined,
  clock: systemClock as Clock,
  debug: false as boolean | DebugLogger,
  query: {} as Readonly<Record<string, string>>,
  backoff: { minMs: 500, maxMs: 30_000, stableMs: 10_000 },
  connectTimeoutMs: 15_000,
  silentSlackMs: 10_000,
  requestTimeoutMs: 10_000,
  sendTimeoutMs: 0,
  queue: { count: 500, bytes: 1_048_576 },
  probe: 'same-origin' as boolean | 'same-origin'
}

/** Options with every default filled in. */
export type Settings = Readonly<typeof DEFAULTS>

type Rule = readonly [expected: string, holds: (value: any) => boolean]
const BOOLEAN: Rule = ['a boolean', value => typeof value === 'boolean']
const FUNCTION: Rule = ['a function', value => typeof value === 'function']
const OBJECT: Rule = ['an object', value => typeof value === 'object' && value !== null]
const NUMBER: Rule = [
  `a number from 0 to ${MAX_TIMER_MS}`,
  value => typeof value === 'number' && value >= 0 && value <= MAX_TIMER_MS
]

/** Options whose default does not tell what they may be. */
const RULES: Readonly<Record<string, Rule>> = {
  WebSocket: FUNCTION,
  fetch: FUNCTION,
  debug: ['a boolean or a function', value => BOOLEAN[1](value) || FUNCTION[1](value)],
  probe: ['a boolean or "same-origin"', value => BOOLEAN[1](value) || value === 'same-origin']
}

/**
 * Options with their defaults.
 * @throws {ChannelError} `invalid-option`, naming the option, what was expected and what came instead
 */
export function checkOptions(options: SocketOptions): Settings {
  const settings = merge('', DEFAULTS, options) as unknown as Settings
  const { minMs, maxMs } = settings.backoff
  if (minMs < 1) throw invalidOption('backoff.minMs', 'at least 1', minMs)
  if (maxMs < minMs) throw invalidOption('backoff.maxMs', 'at least backoff.minMs', maxMs)
  if (!(settings.WebSocket ?? environment.WebSocket)) {
    throw invalidOption('WebSocket', 'a WebSocket class, as this platform has none', undefined)
  }
  return settings
}

/** @throws {ChannelError} `invalid-option` */
export function checkMs(name: string, value: number): number {
  check(name, NUMBER, value)
  return value
}

function merge(path: string, defaults: object, given: object): Record<string, unknown> {
  check(path || 'options', OBJECT, given)
  const result: Record<string, unknown> = { ...defaults }
  for (const [key, value] of Object.entries(given)) {
    if (!(key in defaults)) throw invalidOption(path + key, `one of ${Object.keys(defaults).join(', ')}`, value)
    if (value === undefined) continue
    const usual = result[key]
    const nested = key === 'backoff' || key === 'queue'
    if (!nested) check(path + key, RULES[key] ?? ruleLike(usual), value)
    result[key] = nested ? merge(`${key}.`, usual as object, value) : value
  }
  return result
}

function ruleLike(usual: unknown): Rule {
  return typeof usual === 'number' ? NUMBER : typeof usual === 'boolean' ? BOOLEAN : OBJECT
}

function check(name: string, [expected, holds]: Rule, value: unknown): void {
  if (!holds(value)) throw invalidOption(name, expected, value)
}
