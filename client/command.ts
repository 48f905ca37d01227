import type { Timer } from '../lib/protocol/clock.ts'
import type { Message } from '../lib/protocol/message.ts'
import type { Position } from '../lib/protocol/position.ts'
import type { Stored } from '../lib/protocol/system.ts'
import type { ChannelError, ErrorDetails } from './errors.ts'

/** What an acknowledged command gives. */
export interface Sent<Reply = unknown> {
  /** Where its last publication stands in the channel's log; null where it has none. */
  readonly position: Position | null
  /** How far the acknowledgement's word goes; `none` is that the handler has run. */
  readonly stored: Stored
  /** What the handler returned; undefined where the command has no reply. */
  readonly reply: Reply
}

/** What becomes of a command while the socket is not connected. */
export type OnOffline =
  /** It waits; where as many wait as may it is refused. */
  | 'queue'
  /** It is refused, and one that was waiting when the link is lost is too. */
  | 'reject'
  /** It waits; where as many wait as may the oldest that was sent with this and has not left makes room. */
  | 'drop-oldest'

/** How long one command may take, and what gives it up. */
export interface SendOptions {
  /** Milliseconds to be sent and answered; 0 is as long as it takes. Default: the socket's option for `send` or `request`. */
  readonly timeoutMs?: number
  /** Milliseconds that it may wait to leave, or to leave again; an answer may take longer. Default 0: as long as it takes. */
  readonly ttlMs?: number
  /** Default: the socket's option. */
  readonly onOffline?: OnOffline
  readonly signal?: AbortSignal
}

/** A command that is not settled yet, for a page to show. */
export interface Waiting {
  readonly channel: string
  readonly cmd: string
  readonly param: unknown
  /** 0 until it has left. */
  readonly id: number
  /** `sent` is that it has left at least once, and waits for its answer. */
  readonly state: 'waiting' | 'sent'
  /** When `send` was called, in milliseconds since 1970. */
  readonly since: number
}

/** A command on its way. */
export interface Command extends Omit<Waiting, 'state'> {
  /** The frame without its id. */
  readonly text: string
  readonly bytes: number
  readonly onOffline: OnOffline
  /** 0 until it has left: ids are given in the order of leaving. */
  id: number
  /** Counts what left on this link: the number of this one's last copy; 0 where it has to leave (again). */
  sent: number
  /** Refusals for now. */
  attempt: number
  /** Whether it may not leave again as itself. */
  late: boolean
  /**
   * Whether what is behind it in its channel waits for its answer: it has left in vain, behind one that was refused for now. Else
   * all of them would with each that is, again and again.
   */
  alone?: boolean
  /** Why it was given up after it had left; from then on a `$void` leaves in its place. */
  error: ChannelError | undefined
  /** Runs while the server wants it later; whatever is behind it in its channel waits with it. */
  retry: Timer | undefined
  /** What runs until it is settled. */
  readonly timers: Timer[]
  /** Settles the promise; called once. */
  settle(error: ChannelError | null, sent?: Sent): void
}

/** The length of a text in UTF-8. */
export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length
}

/** A promise that may be left alone: nobody waiting for it never ends a process. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** What a `$nack`, or an error, has to say besides its code. */
export function pick({ message, retry, retryAfterMs }: ErrorDetails = {}): ErrorDetails {
  return { message, retry: retry === true, retryAfterMs }
}

/** The frame without its id; empty where it has no JSON form. JSON alone would leave functions out in silence. */
export function encode({ channel, cmd, param }: Message): string {
  try {
    return ['function', 'symbol'].includes(typeof param) ? '' : JSON.stringify({ channel, cmd, param })
  } catch {
    return ''
  }
}
