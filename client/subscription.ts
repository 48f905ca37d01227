import type { Timer } from '../lib/protocol/clock.ts'
import type { Frame, Message } from '../lib/protocol/message.ts'
import type { LeaveReason, PresenceMember, PresenceState } from '../lib/protocol/system.ts'
import type { Channel, ChannelState, Gap, Joined } from './channel.ts'
import { Emitter } from './emitter.ts'
import { ChannelError, nackError } from './errors.ts'
import type { Settings } from './options.ts'
import { checkMs } from './options.ts'
import type { Outbox, SendOptions, Sent } from './outbox.ts'
import { Presence } from './presence.ts'
import { backoffMs, namedMs } from './reconnect.ts'
import type { Answer, Requests } from './requests.ts'
import type { Turn } from './turn.ts'

/** What a channel needs of its socket. */
export interface SubscriptionHost {
  readonly turn: Turn
  readonly outbox: Outbox
  readonly requests: Requests
  settings(): Settings
  /** Whether frames can be sent. */
  connected(): boolean
  /** Whether the socket has closed for good. */
  closed(): boolean
  /** Whether this connection is a member of the channel, as far as the server has told. */
  isMember(name: string): boolean
  /** The server says that it is none. */
  noMember(name: string): void
  fail(error: ChannelError): void
  listenerFailed(cause: unknown): void
}

interface Waiter {
  resolve(joined: Joined): void
  reject(error: ChannelError): void
}

/** A channel and what is wanted of it. Wishes are kept; at most one request is under way, and its answer decides the next. */
export class Subscription implements Channel {
  readonly name: string
  #host: SubscriptionHost
  #emitter = new Emitter()
  #state: ChannelState = { name: 'idle' }
  /** `none` takes what route and server do; `leave` lasts until the channel is left. */
  #wish: 'none' | 'join' | 'leave' = 'none'
  #asking = false
  #attempt = 0
  #retry: Timer | undefined
  #joined: Joined | undefined
  #presence: Presence | null = null
  #waiters: Waiter[] = []

  constructor(name: string, host: SubscriptionHost) {
    this.name = name
    this.#host = host
  }

  get state(): ChannelState {
    return this.#state
  }

  get presence(): PresenceState | null {
    return this.#presence?.state ?? null
  }

  get members(): readonly PresenceMember[] {
    return this.presence?.members ?? []
  }

  on(event: string, listener: (...args: any[]) => void): () => void {
    return this.#emitter.on(event, listener)
  }

  send(cmd: string, param: unknown, options: SendOptions = {}): Promise<Sent> {
    return this.post(cmd, param, options, this.#host.settings().sendTimeoutMs)
  }

  request(cmd: string, param: unknown, options: SendOptions = {}): Promise<unknown> {
    const answer = this.post(cmd, param, options, this.#host.settings().requestTimeoutMs)
    return quiet(answer.then(({ reply }) => reply))
  }

  /** `send` with the usual time limit given. */
  post(cmd: string, param: unknown, options: SendOptions, usualMs: number): Promise<Sent> {
    const why =
      this.#state.name === 'refused' ? this.#state.error : this.#state.name === 'left' ? this.#leftError() : null
    if (why === null) return this.#host.outbox.send({ channel: this.name, cmd, param }, options, usualMs)
    this.#host.fail(why)
    return quiet(Promise.reject(why))
  }

  refreshPresence({ timeoutMs }: Pick<SendOptions, 'timeoutMs'> = {}): Promise<PresenceState> {
    const { clock, requestTimeoutMs } = this.#host.settings()
    const promise = new Promise<PresenceState>((resolve, reject) => {
      const limitMs = checkMs('timeoutMs', timeoutMs ?? requestTimeoutMs)
      if (this.#state.name !== 'joined') throw this.#error('not-joined', 'the channel is not joined')
      const late = (): void => reject(this.#error('timeout', 'no answer came in time'))
      const timer = limitMs > 0 ? clock.after(limitMs, late) : undefined
      this.#host.requests.ask('$presence', this.name, frame => {
        timer?.cancel()
        const param = paramOf(frame)
        if (frame === null) reject(this.#error('unknown', 'the link ended before the answer'))
        else if (frame.cmd === '$nack') reject(nackError(param, this.name))
        else {
          this.#setPresence(param.reply as PresenceState | undefined)
          resolve(this.presence!)
        }
      })
    })
    return quiet(promise)
  }

  join(): void {
    this.#host.turn.run(() => {
      if (this.#wish === 'join') return
      this.#wish = 'join'
      if (this.#state.name !== 'joined') this.#move({ name: 'joining' })
      this.#act()
    })
  }

  leave(): void {
    this.#host.turn.run(() => {
      const { name } = this.#state
      if (name === 'joining' || name === 'joined') this.#left('client')
    })
  }

  ready(): Promise<Joined> {
    const promise = new Promise<Joined>((resolve, reject) => {
      const { name } = this.#state
      if (name === 'joined') resolve(this.#joined!)
      else if (this.#state.name === 'refused') reject(this.#state.error)
      else if (name === 'left') reject(this.#leftError())
      else if (this.#host.closed()) reject(this.#error('closed', 'the socket is closed'))
      else this.#waiters.push({ resolve, reject })
    })
    return quiet(promise)
  }

  /** What follows from wish and membership. */
  #act(): void {
    if (this.#asking || !this.#host.connected()) return
    const member = this.#host.isMember(this.name)
    if (this.#wish === 'join' && !member) this.#ask('$join', answer => this.#joinAnswered(answer))
    else if (this.#wish === 'leave' && member) this.#ask('$leave', answer => this.#leaveAnswered(answer))
    else if (this.#wish === 'leave') this.#wish = 'none'
  }

  #ask(cmd: '$join' | '$leave', answered: Answer): void {
    this.#retry?.cancel()
    this.#asking = true
    this.#host.requests.ask(cmd, this.name, frame => {
      this.#asking = false
      if (frame !== null) answered(frame)
    })
  }

  #joinAnswered(frame: Frame | null): void {
    // A `$joined` is heard of by `entered`. A refusal where a route has joined meanwhile is no loss.
    if (frame!.cmd !== '$nack' || this.#host.isMember(this.name)) return
    if (this.#wish !== 'join') return this.#act()
    const error = nackError(paramOf(frame), this.name)
    if (!error.retry) return this.#refused(error)
    const { clock, backoff } = this.#host.settings()
    const delayMs = namedMs(error.retryAfterMs) + backoffMs(this.#attempt++, clock.random(), backoff)
    this.#retry = clock.after(delayMs, () => this.#act())
  }

  /** A `$left` is heard of by `exited`. Who may not leave is no member. */
  #leaveAnswered(frame: Frame | null): void {
    if (frame!.cmd !== '$nack') return
    this.#host.noMember(this.name)
    this.#act()
  }

  #refused(error: ChannelError): void {
    this.#wish = 'none'
    this.#move({ name: 'refused', error })
    this.#tell('$error', error)
    this.#host.fail(error)
    this.#giveUp(error)
  }

  /** The server has joined this connection to the channel. */
  entered(joined: Joined, presence: PresenceState | undefined): void {
    this.#attempt = 0
    this.#retry?.cancel()
    if (this.#wish === 'leave') return this.#act()
    this.#joined = joined
    this.#move({ name: 'joined', by: joined.by, outcome: joined.outcome })
    for (const waiter of this.#waiters.splice(0)) waiter.resolve(joined)
    this.#tell('$joined', joined)
    this.#setPresence(presence)
  }

  /** The server has ended the membership; `asked` where that answers our own `$leave`. */
  exited(reason: LeaveReason, asked: boolean): void {
    if (this.#wish === 'leave' || asked) this.#act()
    else if (reason === 'closed') this.linkLost()
    else this.#left(reason)
  }

  #left(reason: LeaveReason): void {
    this.#wish = 'leave'
    this.#retry?.cancel()
    this.#presence = null
    this.#move({ name: 'left', reason })
    this.#tell('$left', reason)
    this.#giveUp(this.#leftError())
    if (!this.#host.connected()) this.#wish = 'none'
    this.#act()
  }

  /** Neither membership nor requests outlive their link; a wish to be in does. */
  linkLost(): void {
    this.#retry?.cancel()
    if (this.#wish === 'leave') this.#wish = 'none'
    if (this.#state.name === 'joined') this.#move({ name: 'joining' })
  }

  linkUp(): void {
    this.#act()
  }

  /** Nobody will be joined to anything any more, unless the socket is connected again. */
  socketClosed(error: ChannelError): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
  }

  /** Whether nothing is to be heard of it: nothing precedes a `$joined`, and nothing follows a leave. */
  get deaf(): boolean {
    return this.#state.name !== 'joined' && this.#state.name !== 'idle'
  }

  publish(message: Message): void {
    this.#tell(message.cmd, message.param, message)
  }

  gap(gap: Gap): void {
    this.#tell('$gap', gap)
  }

  presenceChanged(joins: readonly PresenceMember[], leaves: readonly PresenceMember[]): void {
    if (this.#presence === null) return
    this.#presence.apply(joins, leaves)
    this.#tell('$presence', this.presence, { joins, leaves })
  }

  #setPresence(state: PresenceState | undefined): void {
    this.#presence = state === undefined ? null : new Presence(state)
    if (state !== undefined) this.#tell('$presence', this.presence)
  }

  #giveUp(error: ChannelError): void {
    for (const waiter of this.#waiters.splice(0)) waiter.reject(error)
    this.#host.outbox.drop(error, this.name)
  }

  #move(to: ChannelState): void {
    this.#state = to
    this.#tell('$state', to)
  }

  #tell(event: string, ...args: unknown[]): void {
    this.#host.turn.tell(() => {
      // A listener that was told first may have left the channel.
      if (this.deaf && !event.startsWith('$')) return
      this.#emitter.emit(event, args, error => this.#host.listenerFailed(error))
    })
  }

  #leftError(): ChannelError {
    return this.#error('left', 'the channel was left')
  }

  #error(code: string, message: string): ChannelError {
    return new ChannelError(code, message, { channel: this.name })
  }
}

/** The param of a `$` frame, whatever came in its place. */
export function paramOf(frame: Frame | null): Record<string, unknown> {
  const param = frame?.param
  return typeof param === 'object' && param !== null ? (param as Record<string, unknown>) : {}
}

/** A promise that may be left alone. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}
