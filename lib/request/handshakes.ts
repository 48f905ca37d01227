import type { ChannelsError } from '../errors.ts'
import { channelsError } from '../errors.ts'
import type { Limits } from '../options.ts'
import type { Refusals } from '../stats.ts'

/** A handshake that can still be refused. */
export interface Pending {
  readonly ip: string
  refuse(error: ChannelsError): void
}

/** The handshakes under way on this node, bounded as a whole and for each address. */
export class Handshakes {
  readonly #limits: Limits
  readonly #refusals: Refusals
  readonly #pending = new Set<Pending>()
  readonly #byAddress = new Map<string, number>()
  #closing = false

  constructor(limits: Limits, refusals: Refusals) {
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
    this.#pending.add(handshake)
    this.#byAddress.set(handshake.ip, ofAddress + 1)
  }

  remove(handshake: Pending): void {
    if (!this.#pending.delete(handshake)) return
    const left = this.#byAddress.get(handshake.ip)! - 1
    if (left === 0) this.#byAddress.delete(handshake.ip)
    else this.#byAddress.set(handshake.ip, left)
  }

  /** Refuses all that are pending, and all that come. */
  close(): void {
    this.#closing = true
    for (const handshake of [...this.#pending]) handshake.refuse(this.refusal('FST_CHANNELS_CLOSING', 1))
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
