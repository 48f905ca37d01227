import type { Clock, Timer } from '../protocol/clock.ts'
import type { MessageHandler } from './handlers.ts'
import { TokenBucket } from './rate-limit.ts'
import type { Session } from './session.ts'

/** What is kept of one connection's input. */
export class Inbox {
  readonly session: Session
  /** Null where the rate is not limited. */
  readonly bucket: TokenBucket | null
  /** Null where strikes are not counted. */
  readonly strikes: TokenBucket | null
  readonly onMessage: MessageHandler | null
  /** Runs while reading is stopped. */
  pause: Timer | null = null
  /** Commands and requests taken and not yet answered. */
  waiting = 0
  /** Of channels with a rate of their own. */
  readonly channelBuckets = new Map<string, TokenBucket>()

  constructor(clock: Clock, limits: InboxLimits, session: Session, onMessage: MessageHandler | null) {
    this.session = session
    const { messagesPerSecond, burst, violationsPerMinute } = limits
    this.bucket = messagesPerSecond === 0 ? null : new TokenBucket(clock, messagesPerSecond, burst)
    this.strikes =
      violationsPerMinute === 0 ? null : new TokenBucket(clock, violationsPerMinute / 60, violationsPerMinute)
    this.onMessage = onMessage
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
