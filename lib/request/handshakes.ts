import type { Delayed } from '../connection/delay-line.ts'
import { DelayLine } from '../connection/delay-line.ts'
import type { ChannelsError } from '../errors.ts'
import { channelsError } from '../errors.ts'
import type { Limits } from '../options.ts'
import type { Clock } from '../protocol/clock.ts'
import type { Refusals } from '../stats.ts'

/** A handshake that can still be refused. */
export interface Pending {
  readonly ip: string
  refuse(error: ChannelsError): void
}

/** The handshakes under way on this node, bounded as a whole, for each address, and in time. */
export class Handshakes {
  readonly #limits: Limits
  readonly #refusals: Refusals
  readonly #pending = new Map<Pending, Delayed>()
  readonly #byAddress = new Map<string, number>()
  readonly #timeouts: DelayLine
  #closing = false

  constructor(clock: Clock, timeoutMs: number, limits: Limits, refusals: Refusals) {
    this.#timeouts = new DelayLine(clock, timeoutMs)
    this.#limits = limits
    this.#refusals = refusals
  }

  get size(): number {
    return this.#pending.size
  }

  /** @throws FST_CHANNELS_CLOSING, FST_CHANNELS_TOO_MANY_HANDSHAKES */
  add(handshake: Pending): void {
    if (this.#closing) throw this.refusal('FST_CHANNELS_CLOSING', 1)
    const { pendingHandshakes, pendingHandshakesPerAddress } = this.#limits
    const ofAddress = this.#byAddress.get(handshake.ip) ?? 0
    const full = pendingHandshakes !== 0 && this.#pending.size >= pendingHandshakes
    if (full || (pendingHandshakesPerAddress !== 0 && ofAddress >= pendingHandshakesPerAddress)) {
      throw this.refusal('FST_CHANNELS_TOO_MANY_HANDSHAKES', 1)
    }
    const giveUp = (): void => handshake.refuse(this.refusal('FST_CHANNELS_HANDSHAKE_TIMEOUT', 1))
    this.#pending.set(handshake, this.#timeouts.add(giveUp))
    this.#byAddress.set(handshake.ip, ofAddress + 1)
  }

  remove(handshake: Pending): void {
    const timeout = this.#pending.get(handshake)
    if (timeout === undefined) return
    timeout.cancel()
    this.#pending.delete(handshake)
    const left = this.#byAddress.get(handshake.ip)! - 1
    if (left === 0) this.#byAddress.delete(handshake.ip)
    else this.#byAddress.set(handshake.ip, left)
  }

  /** Refuses all that are pending, and all that come. */
  close(): void {
    this.#closing = true
    for (const handshake of [...this.#pending.keys()]) handshake.refuse(this.refusal('FST_CHANNELS_CLOSING', 1))
    this.#timeouts.clear()
  }

  /** A counted refusal, with the seconds after which a new try makes sense. */
  refusal(
    code: 'FST_CHANNELS_CLOSING' | 'FST_CHANNELS_TOO_MANY_HANDSHAKES' | 'FST_CHANNELS_HANDSHAKE_TIMEOUT',
    retryAfter: number
  ): ChannelsError {
    this.#refusals.count(code)
    return Object.assign(channelsError(code), { retryAfter })
  }
}
