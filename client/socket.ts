import type { Frame, Message } from '../lib/protocol/message.ts'
import type { Channel, DefinitionFor, JoinOptions, Outgoing, ParamsFor, PatternFor, Received } from './channel.ts'
import { channelName } from './channel-name.ts'
import type { SendOptions, Sent, Waiting } from './command.ts'
import { byteLength, pick } from './command.ts'
import { log } from './debug.ts'
import type { OptionsSource, UrlSource } from './dialer.ts'
import { Dialer } from './dialer.ts'
import { Emitter } from './emitter.ts'
import { ChannelError } from './errors.ts'
import { messageOf } from './feed.ts'
import type { Gap } from './loader.ts'
import { Outbox } from './outbox.ts'
import { Roster } from './roster.ts'
import type { SocketState } from './states.ts'
import { paramOf } from './subscription.ts'
import { Turn } from './turn.ts'

/** How a connection ended; `final` is that the socket will not dial again by itself. */
export interface CloseInfo {
  readonly code: number
  readonly reason: string
  readonly final: boolean
  /** The HTTP status of a refused handshake, where it is known. */
  readonly status?: number | undefined
}

/** What a socket tells of itself, by event. */
export interface SocketEvents {
  $state: (state: SocketState, previous: SocketState) => void
  /** The server has welcomed us: a new connection, of a new session unless `resumed`. */
  $open: (opened: { readonly session: string; readonly connection: string; readonly resumed: boolean }) => void
  /** An open connection ended, or (`final`) the socket has given up. */
  $close: (info: CloseInfo) => void
  /** Whatever went wrong, also what a promise that nobody waits for has rejected with. */
  $error: (error: ChannelError) => void
  /** Every publication, of whatever channel, before the channel's own listeners hear of it. */
  $message: (message: Received) => void
  /** Publications of a channel are missing, before its own listeners hear of it. */
  $gap: (channel: string, gap: Gap) => void
  /** A command was taken, has left for the first time, or is settled: `outbox` is another. */
  $outbox: () => void
  /** The server's contract is another one than at the welcome before: this client may be too old. */
  $outdated: (contract: string, previous: string) => void
}

/** Where a socket goes that was not told. */
const DEFAULT_URL = '/ws/connect'

/** A connection to the server that comes back by itself, and the channels joined through it. `C` is the type of a contract. */
export class Socket<C = unknown> {
  #turn = new Turn((error, event) => this.#report(error, event))
  #emitter = new Emitter(this.#turn)
  #dialer: Dialer
  #outbox: Outbox
  #roster: Roster
  #contract: string | undefined
  /** Kept in memory only: a page that was duplicated is another client. */
  #session: string | undefined
  /** In this session. */
  #dials = 0

  /**
   * Dials `url` at once, unless the option `connect` is false. A relative URL is resolved against the page's; url and
   * options may be functions, which are asked before every dial.
   * @throws {ChannelError} `invalid-option`, naming the option
   */
  constructor(url: UrlSource, options?: OptionsSource)
  /**
   * The form of Project Forge's client. `onError` is told the channel, or `socket`, and a sentence.
   * @throws {ChannelError} `invalid-option` where the URL is none
   */
  constructor(
    debug: boolean,
    onOpen: () => void,
    onMessage: (message: Message) => void,
    onError: (service: string, error: string) => void,
    url?: UrlSource
  )
  constructor(
    first: UrlSource | boolean,
    second: OptionsSource | (() => void) = {},
    onMessage?: (message: Message) => void,
    onError?: (service: string, error: string) => void,
    url: UrlSource = DEFAULT_URL
  ) {
    const seed = typeof first === 'boolean'
    const options = seed ? { debug: first } : (second as OptionsSource)
    this.#dialer = new Dialer(
      seed ? url : first,
      options,
      this.#turn,
      (...states) => this.#moved(...states),
      data => this.#data(data),
      () => this.#roster.resume(this.#session, ++this.#dials)
    )
    const ready = (name: string): boolean | ChannelError =>
      this.state.name === 'closed' ? new ChannelError('closed') : (this.#roster.find(name)?.sendable ?? false)
    this.#outbox = new Outbox(this.#dialer, this.#turn, ready, () => this.#tell('$outbox'))
    this.#roster = new Roster(this.#dialer, this.#turn, this.#outbox, (...told) =>
      this.#tell(...(told as ['$message', Received]))
    )
    if (seed) {
      this.on('$open', second as () => void)
      this.on('$message', onMessage!)
      this.on('$error', error => onError!(error.channel ?? 'socket', error.message))
    }
    if (this.#dialer.settings.connect) this.connect()
  }

  get state(): SocketState {
    return this.#dialer.state
  }

  /** The commands that are not settled; within a channel in the order of `send`. */
  get outbox(): readonly Waiting[] {
    return this.#outbox.list
  }

  /** Adds a listener; what comes back removes it, and does nothing the second time. */
  on<K extends keyof SocketEvents>(event: K, listener: SocketEvents[K]): () => void {
    return this.#emitter.on(event, listener)
  }

  /** Dials, where the socket is idle or closed; joined channels are joined again. Does nothing otherwise. */
  connect(): void {
    this.#turn.run(() => this.#dialer.connect())
  }

  /** Drops the connection, if there is one, and dials now: to come with other credentials, or out of a wait. The session goes on. */
  reconnect(): void {
    this.#turn.run(() => this.#dialer.reconnect())
  }

  /**
   * Closes for good, until `connect()` is called, and ends the session. What was sent and not answered rejects with
   * `unknown`, what was not sent with `closed`.
   * @param code 1000 (the default) or 3000 to 4999
   * @param reason at most 123 bytes
   * @throws {ChannelError} `invalid-close`
   */
  disconnect(code = 1000, reason = ''): void {
    const fits = (code === 1000 || (code >= 3000 && code <= 4999)) && byteLength(reason) <= 123
    if (!fits) throw new ChannelError('invalid-close', { cmd: `${code} ${reason}` })
    this.#turn.run(() => this.#dialer.close(code, reason))
  }

  /**
   * The channel of that name, asked to be joined now and after every reconnect.
   * @throws {ChannelError} `invalid-channel` where pattern and parameters make no name
   */
  join<P extends PatternFor<C>>(
    pattern: P,
    ...params: ParamsFor<NoInfer<P>, [options?: JoinOptions]>
  ): Channel<DefinitionFor<C, P>> {
    const channel = this.#hold<P>(pattern, params[0])
    channel.join(params[1])
    return channel
  }

  /**
   * The channel of that name, left to the route or the server to join.
   * @throws {ChannelError} `invalid-channel` where pattern and parameters make no name
   */
  channel<P extends PatternFor<C>>(pattern: P, ...params: ParamsFor<NoInfer<P>>): Channel<DefinitionFor<C, P>> {
    return this.#hold<P>(pattern, params[0])
  }

  #hold<P extends PatternFor<C>>(pattern: P, params?: Readonly<Record<string, string>>): Channel<DefinitionFor<C, P>> {
    return this.#roster.hold(channelName(pattern, params)) as unknown as Channel<DefinitionFor<C, P>>
  }

  /** Leaves the channel of that name, whoever joined it. */
  leave(name: string): void {
    this.#roster.find(name)?.leave()
  }

  /** Sends a command to a channel that the route, the server or we have joined; waits and settles as `Channel.send` does. */
  send(message: Outgoing<C>, options?: SendOptions): Promise<Sent> {
    const { channel, cmd, param } = message as Message
    return this.#roster.at(channel).send(cmd, param, options)
  }

  /** Sends a command and gives its reply; waits `requestTimeoutMs` unless told otherwise. Fails as `send` does. */
  request(message: Outgoing<C>, options?: SendOptions): Promise<unknown> {
    const { channel, cmd, param } = message as Message
    return this.#roster.at(channel).request(cmd, param, options)
  }

  #data(data: unknown): void {
    try {
      this.#frame(JSON.parse(data as string))
    } catch (cause) {
      // Also where a field is missing or of another type: nothing a server sends may throw into the application.
      this.#report(new ChannelError('bad-frame', { cause }))
    }
  }

  #frame(frame: Frame): void {
    const { channel, cmd, id, ref } = frame
    const param = paramOf(frame)
    const isAnswer = /^\$(n?ack|joined|left)$/.test(cmd)
    if (cmd === '$welcome') this.#welcome(param)
    else if (cmd === '$closing') this.#dialer.closing(param.reason, param.retryAfterMs)
    else if (cmd === '$ping') this.#dialer.send('{"cmd":"$pong"}')
    // What else bears a number is of a time to come.
    else if (id && isAnswer) this.#outbox.answered(id, cmd === '$ack', param)
    // An answer to a request of an earlier link, or to one that was answered: nobody waits for it.
    else if (ref && isAnswer && !this.#roster.answered(ref, frame)) return
    else if (cmd === '$nack' && !ref) this.#report(new ChannelError(param.code, { ...pick(param), channel }))
    else if (typeof channel !== 'string') {
      if (isAnswer || !/^\$(?!presence|gap|skip)/.test(cmd)) throw new ChannelError('bad-frame')
    } else if (cmd.startsWith('$')) this.#roster.system(channel, frame)
    else this.#publication(channel, frame)
  }

  #publication(channel: string, frame: Frame): void {
    const subscription = this.#roster.find(frame.via ?? channel)
    if (subscription) subscription.heard(frame)
    // A place in a log has only what was joined.
    else if (!frame.offset) this.#tell('$message', messageOf(frame, null))
    if (frame.cmd === 'close-connection') this.disconnect(1000, frame.cmd)
  }

  #welcome({ session, connection, resumed, heartbeatMs, limits, contract }: Record<string, any>): void {
    const previous = this.#contract
    this.#outbox.payloadBytes = limits.payloadBytes
    this.#roster.historyLimit = limits.history
    // Throws where this is not the first.
    this.#dialer.welcomed(session, connection, heartbeatMs)
    this.#contract = contract
    this.#session = session
    if (!resumed) this.#dials = 0
    this.#tell('$open', { session, connection, resumed })
    if (previous && previous !== contract) this.#tell('$outdated', contract, previous)
    this.#roster.linkUp()
    this.#outbox.begin(resumed)
  }

  #moved(state: SocketState, previous: SocketState): void {
    const final = state.name === 'closed'
    this.#tell('$state', state, previous)
    if (!final && (state.name !== 'waiting' || previous.name !== 'connected')) return
    this.#outbox.linkLost()
    this.#roster.linkLost()
    if (final) {
      this.#session = undefined
      this.#outbox.lose()
      this.#roster.giveUp(new ChannelError('closed'))
    }
    this.#outbox.flush()
    const { code, reason, status } = state as SocketState & { name: 'closed' }
    this.#tell('$close', { code, reason, final, status })
  }

  #tell<K extends keyof SocketEvents>(event: K, ...args: Parameters<SocketEvents[K]>): void {
    log(this.#dialer.settings.debug, event, args)
    this.#emitter.emit(event, args)
  }

  #report(error: ChannelError, event?: string): void {
    // What a listener of `$error` throws is only logged: told to itself it would throw for ever.
    if (event === '$error') log(this.#dialer.settings.debug, event, error)
    else this.#tell('$error', error)
  }
}
