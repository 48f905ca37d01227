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
  /** What refuses it when its time is over; null before and after. */
  deadline: Delayed | null
  refuse(error: ChannelsError): void
}

/** The handshakes under way on this node, bounded as a whole, for each address, and in time. */
export class Handshakes {
  readonly #limits: Limits
  readonly #refusals: Refusals
  readonly #byAddress = new Map<string, number>()
  readonly #deadlines: DelayLine
  #pending = 0
  #closing = false

  constructor(clock: Clock, timeoutMs: number, limits: Limits, refusals: Refusals) {
    this.#deadlines = new DelayLine(clock, timeoutMs)
    this.#limits = limits
    this.#refusals = refusals
  }

  get size(): number {
    return this.#pending
  }

  /** Whether one more from that address may begin. @throws FST_CHANNELS_CLOSING, FST_CHANNELS_TOO_MANY_HANDSHAKES */
  assertRoom(ip: string): void {
    if (this.#closing) throw this.refusal('FST_CHANNELS_CLOSING', 1)
    const { pendingHandshakes, pendingHandshakesPerAddress } = this.#limits
    const full = pendingHandshakes !== 0 && this.#pending >= pendingHandshakes
    if (full || (pendingHandshakesPerAddress !== 0 && this.#ofAddress(ip) >= pendingHandshakesPerAddress)) {
      throw this.refusal('FST_CHANNELS_TOO_MANY_HANDSHAKES', 1)
    }
  }

  /** One that there was room for, in this turn, goes on after it. */
  add(handshake: Pending): void {
    handshake.deadline = this.#deadlines.add(() => handshake.refuse(this.#lateRefusal()))
    this.#byAddress.set(handshake.ip, this.#ofAddress(handshake.ip) + 1)
    this.#pending++
  }

  remove(handshake: Pending): void {
    if (handshake.deadline === null) return
    handshake.deadline.cancel()
    handshake.deadline = null
    this.#pending--
    const left = this.#ofAddress(handshake.ip) - 1
    if (left === 0) this.#byAddress.delete(handshake.ip)
    else this.#byAddress.set(handshake.ip, left)
  }

  /** Refuses all that are pending, and all that come. */
  close(): void {
    this.#closing = true
    this.#deadlines.runAll()
  }

  #ofAddress(ip: string): number {
    return this.#byAddress.get(ip) ?? 0
  }

  #lateRefusal(): ChannelsError {
    return this.refusal(this.#closing ? 'FST_CHANNELS_CLOSING' : 'FST_CHANNELS_HANDSHAKE_TIMEOUT', 1)
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
