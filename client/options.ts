import type { ClientClock } from './clock.ts'
import { MAX_TIMER_MS, systemClock } from './clock.ts'
import type { OnOffline } from './command.ts'
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
  readonly clock?: ClientClock
  /** Tells what the socket does: `true` by console.debug, or a function of your own. Default false. */
  readonly debug?: boolean | DebugLogger
  /** The wait before dial n (from 0) is random between 0 and min(maxMs, minMs · 2ⁿ). */
  readonly backoff?: {
    /** Milliseconds, at least 1. Default 500. */
    readonly minMs?: number
    /** Milliseconds, at least 1; below `minMs` it is the bound from the first. Default 30,000. */
    readonly maxMs?: number
    /** A connection that was open this many milliseconds was useful: n begins at 0 again. Default 10,000; 0 is any. */
    readonly stableMs?: number
  }
  /** Milliseconds from a dial to the server's `$welcome`. Default 15,000, at least 1. */
  readonly connectTimeoutMs?: number
  /** A link with no frame for the server's heartbeat and this many milliseconds is dropped. Default 10,000; 0 is no grace. */
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
  /** What becomes of commands while the socket is not connected. Default `'queue'`. */
  readonly onOffline?: OnOffline
  /**
   * Asked before the next dial where the server wants other credentials (close code 4003): it refreshes a cookie, or what
   * `url` makes use of. Within `connectTimeoutMs`, and again if it rejects. Default: none, and the dial is made at once.
   */
  readonly renewCredentials?: () => unknown
  /** Whether a handshake that failed is asked about by GET: always, never, or where the page has the same host. Default `'same-origin'`. */
  readonly probe?: boolean | 'same-origin'
}

/** Options with every default filled in. */
export interface Settings
  extends Required<Omit<SocketOptions, 'WebSocket' | 'fetch' | 'backoff' | 'queue' | 'renewCredentials'>> {
  readonly WebSocket: WebSocketConstructor | undefined
  readonly fetch: FetchLike | undefined
  readonly renewCredentials: SocketOptions['renewCredentials'] | undefined
  readonly backoff: Required<NonNullable<SocketOptions['backoff']>>
  readonly queue: Required<NonNullable<SocketOptions['queue']>>
}

/** The defaults of every option, in one place. */
export const DEFAULTS: Settings = {
  connect: true,
  // Looked up when the module is loaded: what a platform has does not come later.
  WebSocket: environment.WebSocket,
  fetch: environment.fetch,
  clock: systemClock,
  debug: false,
  backoff: { minMs: 500, maxMs: 30_000, stableMs: 10_000 },
  connectTimeoutMs: 15_000,
  silentSlackMs: 10_000,
  requestTimeoutMs: 10_000,
  sendTimeoutMs: 0,
  queue: { count: 500, bytes: 1_048_576 },
  onOffline: 'queue',
  renewCredentials: undefined,
  probe: 'same-origin'
}

/** What an option may be, where that is not only the type of its default: types, or values as they stand. */
const KINDS: Readonly<Record<string, string>> = {
  debug: 'boolean or function',
  probe: 'boolean or same-origin',
  onOffline: 'queue or reject or drop-oldest',
  renewCredentials: 'function',
  WebSocket: 'function',
  fetch: 'function'
}
/** Zero would be a loop without rest, or a dial without time. */
const POSITIVE = ['minMs', 'maxMs', 'connectTimeoutMs']

/**
 * Options with their defaults.
 * @throws {ChannelError} `invalid-option`, naming the option, what was expected and what came instead
 */
export function checkOptions(options: SocketOptions): Settings {
  const settings = merge(DEFAULTS, options, '')
  if (!settings.WebSocket) invalidOption('WebSocket', 'a class', settings.WebSocket)
  return settings
}

function merge<T extends object>(defaults: T, given: object, path: string): T {
  const result: Record<string, any> = { ...defaults }
  for (const [key, value] of Object.entries(given)) {
    const name = path + key
    const usual = result[key]
    const kind = KINDS[key] ?? typeof usual
    const min = POSITIVE.includes(key) ? 1 : 0
    if (!(key in result)) invalidOption(name, 'a known name', value)
    if (value === undefined) continue
    if (value === null || ![typeof value, value].some(found => kind.split(' ').includes(found))) {
      invalidOption(name, kind, value)
    }
    if (kind === 'number' && !(value >= min && value <= MAX_TIMER_MS)) {
      invalidOption(name, `${min} to ${MAX_TIMER_MS}`, value)
    }
    result[key] = key === 'backoff' || key === 'queue' ? merge(usual, value, `${key}.`) : value
  }
  return result as T
}
