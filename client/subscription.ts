import type { Timer } from '../lib/protocol/clock.ts'
import type { Frame } from '../lib/protocol/message.ts'
import type { Position } from '../lib/protocol/position.ts'
import type { ClientCommand, LeaveReason, PresenceMember, PresenceState } from '../lib/protocol/system.ts'
import type { Channel, ChannelState, History, HistoryOptions, Joined, JoinOptions } from './channel.ts'
import type { SendOptions, Sent } from './command.ts'
import { pick, quiet } from './command.ts'
import { Emitter } from './emitter.ts'
import { ChannelError } from './errors.ts'
import type { FeedHost } from './feed.ts'
import { Feed, messageOf } from './feed.ts'
import type { Outbox } from './outbox.ts'
import { Presence } from './presence.ts'
import { backoffMs, namedMs } from './reconnect.ts'

/** Takes the answer to a request; null where the link ended before it came. */
export type Answer = (frame: Frame | null) => void

/** What a channel needs of the roster that it is in. */
export interface SubscriptionHost extends FeedHost {
  readonly outbox: Outbox
  /** What this connection is a member of, as far as the server has told. */
  readonly members: Set<string>
  /** The most that `$history` may ask for. */
  readonly historyLimit: number
  /** Whether this connection began with more positions than it could tell. */
  readonly more: boolean
  /** The application wants something of it. */
  keep(channel: Subscription): void
  /** It may want nothing more of it. */
  forget(channel: Subscription): void
  ask(cmd: ClientCommand, channel: string, answer: Answer, param?: object): void
}

/** A channel and what is wanted of it. Wishes are kept; at most one request is under way, and its answer decides the next. */
export class Subscription implements Channel {
  readonly name: string
  /** Whether the application has it. Others are forgotten with their membership. */
  held = false
  /** Whether nobody but us has joined it: then its position goes with our `$join`. */
  own = true
  state: ChannelState = { name: 'idle' }
  readonly there = new Presence((event, ...told) => this.#tell(event, ...told))
  #host: SubscriptionHost
  #emitter: Emitter
  #feed: Feed
  /** None takes what route and server do; `leave` lasts until the channel is left. */
  #wish: '' | 'join' | 'leave' = ''
  #asking = false
  #attempt = 0
  #retry: Timer | undefined
  /** Counts ends: what came before one is not told after it. */
  #ends = 0
  #waiters: Array<(error: ChannelError | null) => void> = []

  constructor(name: string, host: SubscriptionHost) {
    this.name = name
    this.#host = host
    this.#emitter = new Emitter(host.turn)
    this.#feed = new Feed(name, host, (event, ...args) => this.#tell(event, ...args))
  }

  get position(): Position | null {
    return this.#feed.position
  }

  get presence(): PresenceState | null {
    return this.there.state
  }

  get members(): readonly PresenceMember[] {
    return this.presence?.members ?? []
  }

  /** Whether commands may be sent, or why nothing can be hoped for until somebody joins again. */
  get sendable(): boolean | ChannelError {
    const { state } = this
    if (state.name === 'refused') return state.error
    return state.name === 'left' ? this.#error('left') : state.name === 'joined'
  }

  /** Whether the application that has it neither wants it nor listens to it. */
  get isIdle(): boolean {
    const isIn = this.state.name.startsWith('join')
    return this.held && !isIn && !this.#wish && !this.#waiters[0] && !this.#emitter.isHeard
  }

  on(event: string, listener: (...args: any[]) => void): () => void {
    const off = this.#emitter.on(event, listener)
    this.#host.keep(this)
    return () => {
      off()
      this.#host.forget(this)
    }
  }

  send(cmd: string, param: unknown, options?: SendOptions): Promise<Sent> {
    const timeoutMs = this.#host.port.settings.sendTimeoutMs
    return this.#host.outbox.send({ channel: this.name, cmd, param }, { timeoutMs, ...options })
  }

  request(cmd: string, param: unknown, options?: SendOptions): Promise<unknown> {
    const timeoutMs = this.#host.port.settings.requestTimeoutMs
    return quiet(this.send(cmd, param, { timeoutMs, ...options }).then(({ reply }) => reply))
  }

  refreshPresence(): Promise<PresenceState> {
    return this.#query('$presence', reply => {
      this.there.set(reply)
      return reply
    })
  }

  history({ before, after, limit = this.#host.historyLimit }: HistoryOptions = {}): Promise<History> {
    const read = ({ messages, complete, position }: any): History => {
      return { messages: messages.map((frame: Frame) => messageOf(frame, position)), complete, position }
    }
    return this.#query('$history', read, { before, after, limit })
  }

  #query<T>(cmd: ClientCommand, read: (reply: any) => T, asked?: object): Promise<T> {
    return quiet(
      new Promise((resolve, reject) => {
        if (this.state.name !== 'joined') throw this.#error('not-joined')
        const answer: Answer = frame => {
          const param = paramOf(frame)
          if (frame?.cmd === '$ack') resolve(read(param.reply))
          else reject(this.#error(param.code ?? 'unknown', param))
        }
        this.#host.ask(cmd, this.name, answer, asked)
      })
    )
  }

  join({ loadState }: JoinOptions = {}): void {
    this.#host.turn.run(() => {
      const joined = this.state.name === 'joined'
      if (loadState) this.#feed.loadBy(loadState, joined)
      if (this.#wish === 'join') return
      this.#wish = 'join'
      this.#host.keep(this)
      if (!joined) this.#move({ name: 'joining' })
      this.act()
    })
  }

  leave(): void {
    if (this.state.name.startsWith('join')) this.#host.turn.run(() => this.#left('client'))
  }

  ready(): Promise<Joined> {
    return quiet(
      new Promise((resolve, reject) => {
        const settle = (error: ChannelError | null): void => (error ? reject(error) : resolve(this.state as Joined))
        const { sendable } = this
        const why = this.#host.port.state.name === 'closed' ? this.#error('closed') : sendable
        if (why === false) {
          this.#waiters.push(settle)
          this.#host.keep(this)
        } else settle(why === true ? null : why)
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
    const { position } = this
    this.#asking = true
    const answer: Answer = frame => {
      this.#asking = false
      // A `$joined` or `$left` is heard of by `entered` or `exited`.
      if (frame?.cmd === '$nack') this.#nacked(cmd, this.#error(paramOf(frame).code, paramOf(frame)))
    }
    this.#host.ask(cmd, this.name, answer, position ? { position } : undefined)
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
      this.#end({ name: 'refused', error })
      this.#tell('$error', error)
      turn.report(error)
      this.giveUp(error)
    }
  }

  /** The server has joined this connection to the channel. */
  entered(joined: Joined, presence: PresenceState | undefined): void {
    this.#attempt = 0
    this.#retry?.cancel()
    if (this.#wish === 'leave') this.act()
    else this.#entered(joined, presence)
  }

  #entered(joined: Joined, presence: PresenceState | undefined): void {
    const { by, position = null } = joined
    this.own &&= by === 'client'
    // Who asked to be joined and was by the route meanwhile is told twice, and has missed nothing in between.
    if (this.state.name !== 'joined' || joined.outcome.kind === 'gap') {
      const outcome = this.#feed.outcome(
        joined.outcome,
        position,
        this.#host.more && !this.own ? 'over-limit' : 'epoch-lost'
      )
      const state = { ...joined, outcome }
      this.#move(state)
      this.#settleWaiters(null)
      this.#feed.begin(outcome, position, () => this.#tell('$joined', state))
    }
    this.there.set(presence)
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
    this.there.state = null
    this.#end({ name: 'left', reason })
    this.#tell('$left', reason)
    this.giveUp(this.#error('left'))
    this.act()
  }

  #end(state: ChannelState): void {
    this.#ends++
    this.#feed.end()
    this.#move(state)
  }

  /** Neither membership nor requests outlive their link; a wish to be in does. */
  linkLost(): void {
    this.#retry?.cancel()
    if (this.#wish === 'leave') this.#wish = ''
    if (this.state.name === 'joined') this.#move({ name: this.held ? 'joining' : 'idle' })
  }

  /** A publication, `$skip` or `$gap`: nothing precedes a `$joined`, and nothing follows a leave. */
  heard(frame: Frame): void {
    const { name } = this.state
    if (name === 'joined') this.#feed.heard(frame)
    else if (name === 'idle' && !frame.offset && !frame.cmd.startsWith('$')) this.#feed.publication(frame)
  }

  /** Nothing comes of it: neither for those who wait to be joined nor for what waits to be sent. */
  giveUp(error: ChannelError): void {
    this.#settleWaiters(error)
    this.#feed.pause()
    this.#host.outbox.flush()
    this.#host.forget(this)
  }

  #settleWaiters(error: ChannelError | null): void {
    for (const settle of this.#waiters.splice(0)) settle(error)
  }

  #move(to: ChannelState): void {
    this.state = to
    this.#tell('$state', to)
  }

  /** A listener that was told of a publication first may have left the channel. */
  #tell(event: string, ...args: unknown[]): void {
    const ends = this.#ends
    this.#emitter.emit(event, args, () => event.startsWith('$') || ends === this.#ends)
  }

  #error(code: string, details?: Record<string, unknown>): ChannelError {
    return new ChannelError(code, { ...pick(details), channel: this.name })
  }
}

/** The param of a `$` frame, whatever came in its place. */
export function paramOf(frame: Frame | null): Record<string, any> {
  return Object(frame?.param)
}
