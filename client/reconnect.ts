import type { Timer } from '../lib/protocol/clock.ts'
import type { Settings } from './options.ts'
import { environment } from './transport.ts'

/** The longest wait that a server may name: past it a mistake is likelier than a plan. */
export const MAX_NAMED_MS = 3_600_000

/** Full jitter: anything from nothing to a bound that doubles with each attempt (from 0) up to `maxMs`. */
export function backoffMs(attempt: number, random: number, bounds: { minMs: number; maxMs: number }): number {
  return random * Math.min(bounds.maxMs, bounds.minMs * 2 ** Math.min(attempt, 30))
}

/** A delay that a server named, in milliseconds; 0 where it named none that makes sense. */
export function namedMs(value: any): number {
  return value === +value && value > 0 ? Math.min(value, MAX_NAMED_MS) : 0
}

/** A Retry-After header (RFC 9110 §10.2.3) in milliseconds: seconds, or a date against the wall clock. */
export function retryAfterMs(header: string | null, wallMs: number): number {
  return namedMs(Number(header) * 1000 || Date.parse(header ?? '') - wallMs)
}

/** The wait between two dials, and what ends it early: the network is back, or somebody looks at the page again. */
export class Reconnect {
  /** Dials since the last useful connection. */
  attempt = 0
  #host: { readonly settings: Settings }
  #dial: () => void
  #timer: Timer | undefined
  #notBefore = 0

  constructor(host: { readonly settings: Settings }, dial: () => void) {
    this.#host = host
    this.#dial = dial
  }

  /** Starts the wait and returns its milliseconds; the delay that the server named comes before our own. */
  start(serverMs: number): number {
    const { clock, backoff } = this.#host.settings
    const delayMs = serverMs + backoffMs(this.attempt++, clock.random(), backoff)
    this.#notBefore = clock.monotonic() + serverMs
    this.#timer = clock.after(delayMs, () => this.#fire())
    return delayMs
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
  }

  /** Begins or ends to listen for what wakes; to begin twice is to begin. */
  listen(verb: 'add' | 'remove'): void {
    environment[`${verb}EventListener`]?.('online', this.#wake)
    environment.document?.[`${verb}EventListener`]?.('visibilitychange', this.#wake)
  }

  /** A delay that the server named is kept even then. */
  #wake = (): void => {
    if (this.#timer && this.#host.settings.clock.monotonic() >= this.#notBefore) this.#fire()
  }

  #fire(): void {
    this.stop()
    this.#dial()
  }
}
