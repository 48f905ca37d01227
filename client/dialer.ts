import type { Timer } from '../lib/protocol/clock.ts'
import { comesBack } from '../lib/protocol/close-code.ts'
import { ChannelError } from './errors.ts'
import { Link } from './link.ts'
import type { Settings, SocketOptions } from './options.ts'
import { checkOptions, DEFAULTS } from './options.ts'
import { askWhy, mayProbe } from './probe.ts'
import { namedMs, Reconnect } from './reconnect.ts'
import type { SocketState } from './states.ts'
import { move } from './states.ts'
import { environment, resolveUrl } from './transport.ts'
import type { Turn } from './turn.ts'

/** Where to dial; a function is asked before every dial, so that it may bear a fresh token. */
export type UrlSource = string | URL | (() => string | URL | Promise<string | URL>)

/** How to dial; a function is asked before every dial. Until it first was, the defaults hold. */
export type OptionsSource = SocketOptions | (() => SocketOptions | Promise<SocketOptions>)

/** How a connection ended; `final` is that the socket will not dial again by itself. */
export interface CloseInfo {
  readonly code: number
  readonly reason: string
  readonly final: boolean
  /** The HTTP status of a refused handshake, where it is known. */
  readonly status?: number
}

/** What the socket hears of its links. */
export interface DialerEvents {
  state(state: SocketState, previous: SocketState): void
  data(data: unknown): void
  /** The link is gone; `final` where no other follows by itself. */
  down(info: CloseInfo, wasConnected: boolean): void
  fail(error: ChannelError): void
}

/** What a server said about the end that it is about to make. */
interface Announced {
  readonly stay: boolean
  readonly retryAfterMs: number
}

const NOTHING: Announced = { stay: false, retryAfterMs: 0 }

/** Keeps one link to the server: dials, waits, dials again, and knows when to stop. */
export class Dialer {
  settings: Settings
  state: SocketState = { name: 'idle' }
  #url: UrlSource
  #options: OptionsSource
  #turn: Turn
  #events: DialerEvents
  #reconnect: Reconnect
  #link: Link | undefined
  #timer: Timer | undefined
  /** Counts dials: whatever an earlier one still has to say is not heard. */
  #dial = 0
  #opened = false
  #connectedAt = 0
  #announced = NOTHING
  #dialled: URL | undefined

  constructor(url: UrlSource, options: OptionsSource, turn: Turn, events: DialerEvents) {
    this.#url = url
    this.#options = options
    this.#turn = turn
    this.#events = events
    // A function is asked with the first dial; what it gives is checked then.
    this.settings = typeof options === 'function' ? DEFAULTS : checkOptions(options)
    if (typeof url !== 'function') resolveUrl(url)
    this.#reconnect = new Reconnect(
      () => this.settings,
      () => turn.run(() => this.#start())
    )
  }

  /** Dials, unless it has or is about to. */
  connect(): void {
    const { name } = this.state
    if (name !== 'idle' && name !== 'closed') return
    this.#reconnect.attempt = 0
    this.#reconnect.listen()
    this.#start()
  }

  /** Drops the link, if any, and dials now. */
  reconnect(): void {
    this.connect()
    if (this.state.name === 'connecting' && this.#link === undefined && this.#dialled === undefined) return
    const wasConnected = this.state.name === 'connected'
    this.#hangUp(1000, 'reconnect')
    this.#events.down({ code: 1000, reason: 'reconnect', final: false }, wasConnected)
    this.#start()
  }

  /** Ends the link for good. */
  disconnect(code: number, reason: string): void {
    if (this.state.name !== 'closed') this.#close(code, reason)
  }

  send(text: string): boolean {
    return this.#link?.send(text) ?? false
  }

  /** The server has said `$welcome`. */
  welcomed(session: string, connection: string, heartbeatMs: number): void {
    const { clock, silentSlackMs } = this.settings
    this.#timer?.cancel()
    this.#connectedAt = clock.monotonic()
    if (heartbeatMs > 0) this.#link!.watch(heartbeatMs + silentSlackMs, silentSlackMs)
    this.#move({ name: 'connected', session, connection })
  }

  /** The server has said `$closing`: how it meant the close that follows. */
  closing(reason: unknown, retryAfterMs: unknown): void {
    this.#announced = { stay: reason === 'closed-by-server', retryAfterMs: namedMs(retryAfterMs) }
  }

  #start(): void {
    const dial = ++this.#dial
    const { clock, connectTimeoutMs } = this.settings
    this.#reconnect.stop()
    this.#opened = false
    this.#announced = NOTHING
    this.#dialled = undefined
    this.#move({ name: 'connecting', attempt: this.#reconnect.attempt })
    if (connectTimeoutMs > 0) {
      this.#timer = clock.after(connectTimeoutMs, () => this.#failed(`no $welcome within ${connectTimeoutMs} ms`))
    }
    void this.#open(dial)
  }

  async #open(dial: number): Promise<void> {
    try {
      const options = this.#options
      // Also where there is nothing to wait for: whoever made the socket adds listeners first.
      const given = await (typeof options === 'function' ? options() : options)
      const source = await (typeof this.#url === 'function' ? this.#url() : this.#url)
      if (dial !== this.#dial) return
      if (given !== options) this.settings = checkOptions(given)
      this.#dialled = resolveUrl(source, this.settings.query)
      this.#link = this.#newLink(this.#dialled.href)
    } catch (error) {
      if (dial === this.#dial) this.#failed('the dial failed', error)
    }
  }

  #newLink(url: string): Link {
    const { clock, WebSocket = environment.WebSocket } = this.settings
    return new Link(WebSocket!, url, ['channels.v1'], clock, {
      open: () => {
        this.#opened = true
      },
      data: data => this.#turn.run(() => this.#events.data(data)),
      end: (code, reason) => {
        this.#link = undefined
        this.#turn.run(() => this.#ended(code, reason))
      }
    })
  }

  #failed(reason: string, cause?: unknown): void {
    this.#turn.run(() => {
      this.#events.fail(new ChannelError('dial-failed', reason, { retry: true, cause }))
      this.#ended(1006, reason)
    })
  }

  #ended(code: number, reason: string): void {
    const { clock, backoff, probe } = this.settings
    const wasConnected = this.state.name === 'connected'
    const url = this.#dialled
    this.#hangUp(1000, reason)
    if (wasConnected && clock.monotonic() - this.#connectedAt >= backoff.stableMs) this.#reconnect.attempt = 0
    if (this.#announced.stay || !comesBack(code)) this.#close(code, reason)
    else if (!this.#opened && url !== undefined && mayProbe(url, probe)) void this.#probe(url, code, reason)
    else this.#wait(code, reason, this.#announced.retryAfterMs)
  }

  async #probe(url: URL, code: number, reason: string): Promise<void> {
    const dial = this.#dial
    const verdict = await askWhy(url, this.settings)
    if (dial !== this.#dial) return
    this.#turn.run(() => {
      if (verdict?.final) this.#close(code, `refused with ${verdict.status}`, verdict.status)
      else this.#wait(code, reason, verdict?.retryAfterMs ?? 0)
    })
  }

  #wait(code: number, reason: string, serverMs: number): void {
    const wasConnected = this.state.name === 'connected'
    const retryInMs = this.#reconnect.start(serverMs)
    const { attempt } = this.#reconnect
    const retryAt = this.settings.clock.wall() + retryInMs
    this.#move({ name: 'waiting', attempt, retryInMs, retryAt, code, reason })
    this.#events.down({ code, reason, final: false }, wasConnected)
  }

  #close(code: number, reason: string, status?: number): void {
    const wasConnected = this.state.name === 'connected'
    this.#dial++
    this.#reconnect.stop()
    this.#reconnect.unlisten()
    this.#hangUp(code, reason)
    const known = status === undefined ? {} : { status }
    this.#move({ name: 'closed', code, reason, ...known })
    this.#events.down({ code, reason, final: true, ...known }, wasConnected)
  }

  #hangUp(code: number, reason: string): void {
    this.#timer?.cancel()
    this.#link?.drop(code, reason)
    this.#link = undefined
  }

  #move(to: SocketState): void {
    const from = this.state
    this.state = move(from, to)
    this.#events.state(to, from)
  }
}
