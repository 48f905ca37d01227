import type { Clock } from '../protocol/clock.ts'

/**
 * A token bucket that may go into debt: what has been received is dealt with, and the debt says for how long nothing more
 * should be read.
 */
export class TokenBucket {
  readonly #clock: Clock
  readonly #perSecond: number
  readonly #burst: number
  #tokens: number
  #filledAt: number

  /** `perSecond` tokens come back each second, up to `burst`. */
  constructor(clock: Clock, perSecond: number, burst: number) {
    this.#clock = clock
    this.#perSecond = perSecond
    this.#burst = burst
    this.#tokens = burst
    this.#filledAt = clock.monotonic()
  }

  /** Tokens owed; 0 where there is no debt. */
  get debt(): number {
    return Math.max(0, -this.#tokens)
  }

  /** Takes one token. Milliseconds until the debt is paid; 0 where there is none. */
  take(): number {
    this.#fill()
    this.#tokens--
    return this.#owedMs()
  }

  /** Milliseconds until the debt is paid; 0 where there is none. */
  waitMs(): number {
    this.#fill()
    return this.#owedMs()
  }

  /** Takes one token if there is one; else says in how many milliseconds there will be. */
  tryTake(): number {
    this.#fill()
    if (this.#tokens < 1) return ((1 - this.#tokens) / this.#perSecond) * 1000
    this.#tokens--
    return 0
  }

  #owedMs(): number {
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#perSecond) * 1000
  }

  #fill(): void {
    const now = this.#clock.monotonic()
    this.#tokens = Math.min(this.#burst, this.#tokens + ((now - this.#filledAt) / 1000) * this.#perSecond)
    this.#filledAt = now
  }
}
