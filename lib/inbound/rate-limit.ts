import type { Clock } from '../protocol/clock.ts'

/** How fast the tokens of a bucket come back, and how many it holds. */
export interface Rate {
  readonly clock: Clock
  readonly perSecond: number
  readonly burst: number
}

/**
 * A token bucket that may go into debt: what has been received is dealt with, and the debt says for how long nothing more
 * should be read.
 */
export class TokenBucket {
  readonly #rate: Rate
  #tokens: number
  #filledAt: number

  /** Full at first, so that it may as well be made when the first token is asked for. */
  constructor(rate: Rate) {
    this.#rate = rate
    this.#tokens = rate.burst
    this.#filledAt = rate.clock.monotonic()
  }

  /** Tokens owed; 0 where there is no debt. */
  get debt(): number {
    return Math.max(0, -this.#tokens)
  }

  /** Takes one token. Whole milliseconds until the debt is paid; 0 where there is none. */
  take(): number {
    this.#fill()
    this.#tokens--
    return this.#owedMs()
  }

  /** Whole milliseconds until the debt is paid; 0 where there is none. */
  waitMs(): number {
    this.#fill()
    return this.#owedMs()
  }

  /** Takes one token if there is one; else says in how many milliseconds there will be. */
  tryTake(): number {
    this.#fill()
    if (this.#tokens < 1) return Math.ceil(((1 - this.#tokens) / this.#rate.perSecond) * 1000)
    this.#tokens--
    return 0
  }

  #owedMs(): number {
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#rate.perSecond) * 1000)
  }

  #fill(): void {
    const { clock, perSecond, burst } = this.#rate
    const now = clock.monotonic()
    this.#tokens = Math.min(burst, this.#tokens + ((now - this.#filledAt) / 1000) * perSecond)
    this.#filledAt = now
  }
}
