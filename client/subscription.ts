import type { Timer } from '../lib/protocol/clock.ts'
import type { Frame } from '../lib/protocol/message.ts'
import type { ClientCommand, LeaveReason, PresenceMember, PresenceState } from '../lib/protocol/system.ts'
import type { Channel, ChannelState, Joined } from './channel.ts'
import { Emitter } from './emitter.ts'
import { ChannelError } from './errors.ts'
import type { Outbox, Port, SendOptions, Sent } from './outbox.ts'
import { pick, quiet } from './outbox.ts'
import { backoffMs, namedMs } from './reconnect.ts'
import type { Turn } from './turn.ts'

/** Takes the answer to a request; null where the link ended before it came. */
export type Answer = (frame: Frame | null) => void

/** What a channel needs of the roster that it is in. */
export interface SubscriptionHost {
  readonly port: Port
  readonly turn: Turn
  readonly outbox: Outbox
  /** What this connection is a member of, as far as the server has told. */
  readonly members: Set<string>
  ask(cmd: ClientCommand, channel: string, answer: Answer): void
}

/** A channel and what is wanted of it. Wishes are kept; at most one request is under way, and its answer decides the next. */
export class Subscription implements Channel {
  readonly name: string
  /** Whether the application has it. Others are forgotten with their membership. */
  held = false
  state: ChannelState = { name: 'idle' }
  presence: PresenceState | null = null
  #host: SubscriptionHost
  #emitter: Emitter
  /** None takes what route and server do; `leave` lasts until the channel is left. */
  #wish: '' | 'join' | 'leave' = ''
  #asking = false
  #attempt = 0
  #retry: Timer | undefined
  #waiters: Array<(error: ChannelError | null) => void> = []

  constructor(name: string, host: SubscriptionHost) {
    this.name = name
    this.#host = host
    this.#emitter = new Emitter(host.turn)
  }

  get members(): readonly PresenceMember[] {
    return this.presence?.members ?? []
  }

  /** Whether nothing is to be heard of it: nothing precedes a `$joined`, and nothing follows a leave. */
  get deaf(): boolean {
    return !['joined', 'idle'].includes(this.state.name)
  }

  on(event: string, listener: (...args: any[]) => void): () => void {
    return this.#emitter.on(event, listener)
  }

  send(cmd: string, param: unknown, options?: SendOptions): Promise<Sent> {
    return this.#send(cmd, param, this.#host.port.settings.sendTimeoutMs, options)
  }

  request(cmd: string, param: unknown, options?: SendOptions): Promise<unknown> {
    const sent = this.#send(cmd, param, this.#host.port.settings.requestTimeoutMs, options)
    return quiet(sent.then(({ reply }) => reply))
  }

  #send(cmd: string, param: unknown, timeoutMs: number, options?: SendOptions): Promise<Sent> {
    const { outbox } = this.#host
    const sent = outbox.send({ channel: this.name, cmd, param }, { timeoutMs, ...options })
    const why = this.#barred()
    // Nothing was sent of a channel that is barred: it is not joined.
    if (why) outbox.drop(why, this.name)
    return sent
  }

  refreshPresence(): Promise<PresenceState> {
    return quiet(
      new Promise((resolve, reject) => {
        if (this.state.name !== 'joined') throw this.#error('not-joined')
        this.#host.ask('$presence', this.name, frame => {
          const param = paramOf(frame)
          if (frame?.cmd !== '$ack') return reject(this.#error(param.code ?? 'unknown', param))
          this.#setPresence(param.reply)
          resolve(param.reply)
        })
      })
    )
  }

  join(): void {
    if (this.#wish === 'join') return
    this.#host.turn.run(() => {
      this.#wish = 'join'
      if (this.state.name !== 'joined') this.#move({ name: 'joining' })
      this.act()
    })
  }

  leave(): void {
    if (['joining', 'joined'].includes(this.state.name)) this.#host.turn.run(() => this.#left('client'))
  }

  ready(): Promise<Joined> {
    return quiet(
      new Promise((resolve, reject) => {
        const settle = (error: ChannelError | null): void => (error ? reject(error) : resolve(this.state as Joined))
        const why = this.#host.port.state.name === 'closed' ? this.#error('closed') : this.#barred()
        if (why || this.state.name === 'joined') settle(why)
        else this.#waiters.push(settle)
      })
    )
  }

  /** Asks for what follows from wish and membership. */
  act(): void {
    const { port, members } = this.#host
    if (this.#asking || port.state.name !== 'connected') return
    const member = members.has(this.name)
    if (this.#wish === 'join' && !member) this.#ask('$join')
    if (this.#wish === 'leave' && member) this.#ask('$leave')
    if (this.#wish === 'leave' && !member) this.#wish = ''
  }

  #ask(cmd: '$join' | '$leave'): void {
    this.#asking = true
    this.#host.ask(cmd, this.name, frame => {
      this.#asking = false
      // A `$joined` or `$left` is heard of by `entered` or `exited`.
      if (frame?.cmd === '$nack') this.#nacked(cmd, this.#error(paramOf(frame).code, paramOf(frame)))
    })
  }

  #nacked(cmd: '$join' | '$leave', error: ChannelError): void {
    const { members, port, turn } = this.#host
    // Who may not leave is no member; and a refusal where a route has joined meanwhile is no loss.
    if (cmd === '$leave') members.delete(this.name)
    if (cmd === '$leave' || this.#wish !== 'join' || members.has(this.name)) this.act()
    else if (error.retry) {
      const { clock, backoff } = port.settings
      const delayMs = namedMs(error.retryAfterMs) + backoffMs(this.#attempt++, clock.random(), backoff)
      this.#retry = clock.after(delayMs, () => this.act())
    } else {
      this.#wish = ''
      this.#move({ name: 'refused', error })
      this.tell('$error', error)
      turn.report(error)
      this.giveUp(error)
    }
  }

  /** The server has joined this connection to the channel. */
  entered(joined: Joined, presence: PresenceState | undefined): void {
    this.#attempt = 0
    this.#retry?.cancel()
    if (this.#wish === 'leave') this.act()
    else {
      this.#move(joined)
      this.#settleWaiters(null)
      this.tell('$joined', joined)
      this.#setPresence(presence)
    }
  }

  /** The server has ended the membership; `asked` where that answers our own `$leave`. */
  exited(reason: LeaveReason, asked: boolean): void {
    if (this.#wish === 'leave' || asked) this.act()
    else if (reason === 'closed') this.linkLost()
    else this.#left(reason)
  }

  #left(reason: LeaveReason): void {
    this.#wish = this.#host.port.state.name === 'connected' ? 'leave' : ''
    this.#retry?.cancel()
    this.presence = null
    this.#move({ name: 'left', reason })
    this.tell('$left', reason)
    this.giveUp(this.#error('left'))
    this.act()
  }

  /** Neither membership nor requests outlive their link; a wish to be in does. */
  linkLost(): void {
    this.#retry?.cancel()
    if (this.#wish === 'leave') this.#wish = ''
    if (this.state.name === 'joined') this.#move({ name: 'joining' })
  }

  /** Leaves come first: who left and came back within one tick is there. */
  moved(joins: readonly PresenceMember[], leaves: readonly PresenceMember[], now?: number): void {
    if (!this.presence) return
    const { members, count: before } = this.presence
    const count = now ?? before
    const ids = [...leaves, ...joins].map(({ id }) => id)
    const there = members && [...members.filter(({ id }) => !ids.includes(id)), ...joins]
    this.presence = there ? { count, members: there } : { count }
    this.tell('$presence', this.presence, { joins, leaves })
  }

  #setPresence(state: PresenceState | undefined): void {
    this.presence = state ?? null
    if (state) this.tell('$presence', state)
  }

  /** Nothing comes of it: neither for those who wait to be joined nor for what waits to be sent. */
  giveUp(error: ChannelError): void {
    this.#settleWaiters(error)
    this.#host.outbox.drop(error, this.name)
  }

  #settleWaiters(error: ChannelError | null): void {
    for (const settle of this.#waiters.splice(0)) settle(error)
  }

  #move(to: ChannelState): void {
    this.state = to
    this.tell('$state', to)
  }

  /** A listener that was told of a publication first may have left the channel. */
  tell(event: string, ...args: unknown[]): void {
    this.#emitter.emit(event, args, () => event.startsWith('$') || !this.deaf)
  }

  /** Why nothing can be hoped for until somebody joins again. */
  #barred(): ChannelError | null {
    const { state } = this
    return state.name === 'refused' ? state.error : state.name === 'left' ? this.#error('left') : null
  }

  #error(code: string, details?: Record<string, unknown>): ChannelError {
    return new ChannelError(code, { ...pick(details), channel: this.name })
  }
}

/** The param of a `$` frame, whatever came in its place. */
export function paramOf(frame: Frame | null): Record<string, any> {
  return Object(frame?.param)
}
