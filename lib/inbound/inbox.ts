import { AgedMap } from '../aged-map.ts'
import type { Clock, Timer } from '../protocol/clock.ts'
import type { MessageHandler } from './handlers.ts'
import type { Rate } from './rate-limit.ts'
import { TokenBucket } from './rate-limit.ts'
import type { Session } from './session.ts'

/** Channels with a rate of their own that are remembered for one connection. */
const MAX_CHANNEL_BUCKETS = 1_024

/** The rates of every inbox; null where there is no limit. */
export interface InboxRates {
  readonly messages: Rate | null
  readonly strikes: Rate | null
}

export function inboxRates(clock: Clock, { messagesPerSecond, burst, violationsPerMinute }: InboxLimits): InboxRates {
  return {
    messages: messagesPerSecond === 0 ? null : { clock, perSecond: messagesPerSecond, burst },
    strikes:
      violationsPerMinute === 0 ? null : { clock, perSecond: violationsPerMinute / 60, burst: violationsPerMinute }
  }
}

/** What is kept of one connection's input. */
export class Inbox {
  readonly session: Session
  readonly onMessage: MessageHandler | null
  /** Runs while reading is stopped. */
  pause: Timer | null = null
  /** Commands and requests taken and not yet answered. */
  waiting = 0
  readonly #rates: InboxRates
  #bucket: TokenBucket | null = null
  #strikes: TokenBucket | null = null
  /** Of channels with a rate of their own. */
  #channels: AgedMap<string, TokenBucket> | null = null

  constructor(rates: InboxRates, session: Session, onMessage: MessageHandler | null) {
    this.#rates = rates
    this.session = session
    this.onMessage = onMessage
  }

  /** Of messages; null where their rate is not limited. */
  get bucket(): TokenBucket | null {
    const { messages } = this.#rates
    if (messages !== null) this.#bucket ??= new TokenBucket(messages)
    return this.#bucket
  }

  /** Null where strikes are not counted. */
  get strikes(): TokenBucket | null {
    const { strikes } = this.#rates
    if (strikes !== null) this.#strikes ??= new TokenBucket(strikes)
    return this.#strikes
  }

  /** Of a channel with a rate of its own. */
  channelBucket(channel: string, rate: () => Rate): TokenBucket {
    this.#channels ??= new AgedMap()
    const channels = this.#channels
    const known = channels.get(channel)
    if (known !== undefined) return known
    // Kept over a leave, which must not be a way round the limit, and bounded, so that going from room to room is no leak.
    if (channels.size >= MAX_CHANNEL_BUCKETS) channels.delete(channels.oldest!.key)
    const bucket = new TokenBucket(rate())
    channels.set(channel, bucket)
    return bucket
  }
}

/** The part of `limits` that concerns input. */
export interface InboxLimits {
  readonly depth: number
  readonly channels: number
  readonly messagesPerSecond: number
  readonly burst: number
  readonly pendingCommands: number
  readonly violationsPerMinute: number
  readonly history: number
}
