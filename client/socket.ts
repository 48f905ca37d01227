import { compilePattern, isChannelName } from '../lib/protocol/channel-name.ts'
import type { Frame, Message } from '../lib/protocol/message.ts'
import { encodeFrame } from '../lib/protocol/message.ts'
import type { Channel, DefinitionFor, Outgoing, ParamsFor, PatternFor } from './channel.ts'
import { debugLogger } from './debug.ts'
import type { CloseInfo, OptionsSource, UrlSource } from './dialer.ts'
import { Dialer } from './dialer.ts'
import { Emitter } from './emitter.ts'
import { ChannelError, nackError } from './errors.ts'
import type { SendOptions, Sent } from './outbox.ts'
import { Outbox } from './outbox.ts'
import { Requests } from './requests.ts'
import { Roster } from './roster.ts'
import type { SocketState } from './states.ts'
import { paramOf } from './subscription.ts'
import { Turn } from './turn.ts'

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
  $message: (message: Message) => void
  /** The server's contract is another one than at the welcome before: this client may be too old. */
  $outdated: (contract: string, previous: string) => void
}

/** Where a socket goes that was not told. */
const DEFAULT_URL = '/ws/connect'

/** A connection to the server that comes back by itself, and the channels joined through it. `C` is the type of a contract. */
export class Socket<C = unknown> {
  #turn = new Turn()
  #emitter = new Emitter()
  #dialer: Dialer
  #outbox: Outbox
  #requests: Requests
  #roster: Roster
  #payloadBytes = 0
  #contract: string | undefined

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
    second?: OptionsSource | (() => void),
    onMessage?: (message: Message) => void,
    onError?: (service: string, error: string) => void,
    url: UrlSource = DEFAULT_URL
  ) {
    const seed = typeof first === 'boolean'
    const options = seed ? { debug: first } : ((second ?? {}) as OptionsSource)
    this.#dialer = new Dialer(seed ? url : first, options, this.#turn, {
      state: (state, previous) => this.#tell('$state', state, previous),
      data: data => this.#data(data),
      down: (info, wasConnected) => this.#down(info, wasConnected),
      fail: error => this.#fail(error)
    })
    this.#requests = new Requests(text => this.#dialer.send(text))
    this.#outbox = new Outbox({
      settings: () => this.#dialer.settings,
      payloadBytes: () => this.#payloadBytes,
      closed: () => this.state.name === 'closed',
      ready: channel => this.#roster.find(channel)?.state.name === 'joined',
      write: text => this.#dialer.send(text),
      report: error => this.#fail(error)
    })
    this.#roster = new Roster({
      turn: this.#turn,
      outbox: this.#outbox,
      requests: this.#requests,
      settings: () => this.#dialer.settings,
      connected: () => this.state.name === 'connected',
      closed: () => this.state.name === 'closed',
      fail: error => this.#fail(error),
      listenerFailed: cause => this.#listenerFailed(cause)
    })
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

  /** Adds a listener; what comes back removes it, and does nothing the second time. */
  on<K extends keyof SocketEvents>(event: K, listener: SocketEvents[K]): () => void {
    return this.#emitter.on(event, listener)
  }

  /** Dials, where the socket is idle or closed; joined channels are joined again. Does nothing otherwise. */
  connect(): void {
    this.#turn.run(() => this.#dialer.connect())
  }

  /** Drops the connection, if there is one, and dials now: to come with other credentials, or out of a wait. */
  reconnect(): void {
    this.#turn.run(() => this.#dialer.reconnect())
  }

  /**
   * Closes for good, until `connect()` is called. What was sent and not answered rejects with `unknown`, what was not
   * sent with `closed`.
   * @param code 1000 (the default) or 3000 to 4999
   * @param reason at most 123 bytes
   * @throws {ChannelError} `invalid-close`
   */
  disconnect(code = 1000, reason = ''): void {
    const fits = new TextEncoder().encode(reason).length <= 123
    if (!fits || !(code === 1000 || (code >= 3000 && code <= 4999))) {
      throw new ChannelError('invalid-close', 'a close has code 1000 or 3000–4999 and a reason of at most 123 bytes')
    }
    this.#turn.run(() => this.#dialer.disconnect(code, reason))
  }

  /**
   * The channel of that name, asked to be joined now and after every reconnect.
   * @throws {ChannelError} `invalid-channel` where pattern and parameters make no name
   */
  join<P extends PatternFor<C>>(pattern: P, ...params: ParamsFor<P>): Channel<DefinitionFor<C, P>> {
    const channel = this.channel(pattern, ...params)
    channel.join()
    return channel
  }

  /**
   * The channel of that name, left to the route or the server to join.
   * @throws {ChannelError} `invalid-channel` where pattern and parameters make no name
   */
  channel<P extends PatternFor<C>>(pattern: P, ...params: ParamsFor<P>): Channel<DefinitionFor<C, P>> {
    return this.#roster.hold(channelName(pattern, params[0])) as unknown as Channel<DefinitionFor<C, P>>
  }

  /** Leaves the channel of that name, whoever joined it. */
  leave(name: string): void {
    this.#roster.find(name)?.leave()
  }

  /** Sends a command to a channel that the route, the server or we have joined; waits and settles as `Channel.send` does. */
  send(message: Outgoing<C>, options: SendOptions = {}): Promise<Sent> {
    return this.#send(message as Message, options, this.#dialer.settings.sendTimeoutMs)
  }

  /** Sends a command and gives its reply; waits `requestTimeoutMs` unless told otherwise. Fails as `send` does. */
  request(message: Outgoing<C>, options: SendOptions = {}): Promise<unknown> {
    const answer = this.#send(message as Message, options, this.#dialer.settings.requestTimeoutMs)
    const reply = answer.then(sent => sent.reply)
    reply.catch(() => {})
    return reply
  }

  #send(message: Message, options: SendOptions, usualMs: number): Promise<Sent> {
    const channel = this.#roster.find(message.channel)
    if (channel !== undefined) return channel.post(message.cmd, message.param, options, usualMs)
    return this.#outbox.send(message, options, usualMs)
  }

  #data(data: unknown): void {
    try {
      this.#frame(JSON.parse(data as string))
    } catch (cause) {
      // Also where a field is missing or of another type: nothing a server sends may throw into the application.
      this.#fail(new ChannelError('bad-frame', 'the server sent something unreadable', { cause }))
    }
  }

  #frame(frame: Frame): void {
    const { channel, cmd, id, ref } = frame
    if (cmd === '$welcome') return this.#welcome(frame)
    if (cmd === '$closing') return this.#closing(frame)
    // Late from before the welcome, or nothing of ours.
    if (this.state.name !== 'connected') throw new TypeError(`${cmd} before $welcome`)
    if (cmd === '$ping') return void this.#dialer.send(encodeFrame({ cmd: '$pong' }))
    if (cmd === '$ack' || cmd === '$nack') {
      if (id !== undefined) return this.#outbox.answered(id, cmd === '$ack', paramOf(frame))
      if (ref === undefined) return this.#fail(nackError(paramOf(frame), channel))
    }
    // An answer to a request of an earlier link, or to one that was answered: nobody waits for it.
    const answer = ref === undefined ? undefined : this.#requests.take(ref)
    if (ref !== undefined && answer === undefined) return
    answer?.(frame)
    if (typeof cmd !== 'string' || typeof channel !== 'string') throw new TypeError('neither cmd nor channel may lack')
    if (cmd.startsWith('$')) this.#system(cmd, channel, frame)
    else this.#publication(channel, frame)
  }

  /** What the server says of a channel. What it may say one day and we do not know yet is passed over. */
  #system(cmd: string, channel: string, frame: Frame): void {
    if (cmd === '$joined') {
      this.#roster.joined(channel, frame)
      this.#outbox.flush()
    } else if (cmd === '$left') this.#roster.left(channel, frame)
    else if (cmd === '$presence') this.#roster.presence(channel, frame)
    else if (cmd === '$gap') this.#roster.gap(channel, frame)
  }

  #publication(channel: string, { via = channel, cmd, param, from }: Frame): void {
    const message = { channel, cmd, param, ...(from === undefined ? {} : { from }) }
    const subscription = this.#roster.find(via)
    if (!subscription?.deaf) {
      this.#tell('$message', message)
      subscription?.publish(message)
    }
    if (cmd === 'close-connection') this.disconnect(1000, cmd)
  }

  #welcome(frame: Frame): void {
    const { session, connection, resumed, heartbeatMs, limits, contract } = paramOf(frame) as any
    const previous = this.#contract
    if (this.state.name !== 'connecting') throw new TypeError('a second $welcome')
    this.#payloadBytes = limits.payloadBytes
    this.#contract = contract
    if (!resumed) this.#outbox.begin()
    this.#dialer.welcomed(session, connection, heartbeatMs)
    this.#tell('$open', { session, connection, resumed })
    if (previous !== undefined && previous !== contract) this.#tell('$outdated', contract, previous)
    this.#roster.linkUp()
  }

  #closing(frame: Frame): void {
    const { reason, retryAfterMs } = paramOf(frame)
    this.#dialer.closing(reason, retryAfterMs)
  }

  #down(info: CloseInfo, wasConnected: boolean): void {
    this.#outbox.linkLost()
    this.#requests.linkLost()
    this.#roster.linkLost()
    if (info.final) {
      const error = new ChannelError('closed', 'the socket is closed')
      this.#outbox.drop(error)
      this.#roster.socketClosed(error)
    }
    if (wasConnected || info.final) this.#tell('$close', info)
  }

  #tell<K extends keyof SocketEvents>(event: K, ...args: Parameters<SocketEvents[K]>): void {
    this.#log(event, args)
    // What a listener of `$error` throws is only logged: told to itself it would throw for ever.
    const failed = (error: unknown): void =>
      event === '$error' ? this.#log('a listener of $error threw', error) : this.#listenerFailed(error)
    this.#turn.tell(() => this.#emitter.emit(event, args, failed))
  }

  #fail(error: ChannelError): void {
    this.#tell('$error', error)
  }

  #listenerFailed(cause: unknown): void {
    this.#fail(new ChannelError('listener-failed', `a listener threw: ${cause}`, { cause }))
  }

  #log(line: string, details: unknown): void {
    debugLogger(this.#dialer.settings.debug)(line, details)
  }
}

/** @throws {ChannelError} `invalid-channel` */
function channelName(pattern: string, params: Readonly<Record<string, string>> = {}): string {
  let cause: unknown
  try {
    const name = pattern.includes(':') ? compilePattern(pattern).name(params) : pattern
    if (isChannelName(name)) return name
  } catch (error) {
    cause = error
  }
  const why = cause instanceof Error ? cause.message : 'a name has [A-Za-z0-9._~%-], 1 to 128 of them'
  throw new ChannelError('invalid-channel', why, { cause })
}
