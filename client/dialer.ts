import type { Timer } from '../lib/protocol/clock.ts'
import { comesBack } from '../lib/protocol/close-code.ts'
import { ChannelError } from './errors.ts'
import { Link } from './link.ts'
import type { Settings, SocketOptions } from './options.ts'
import { checkOptions, DEFAULTS } from './options.ts'
import { askWhy, FINAL, mayProbe } from './probe.ts'
import { namedMs, Reconnect } from './reconnect.ts'
import type { SocketState } from './states.ts'
import { move } from './states.ts'
import { resolveUrl } from './transport.ts'
import type { Turn } from './turn.ts'

/** Where to dial; a function is asked before every dial, so that it may bear a fresh token. */
export type UrlSource = string | URL | (() => string | URL | Promise<string | URL>)

/** How to dial; a function is asked before every dial. Until it first was, the defaults hold. */
export type OptionsSource = SocketOptions | (() => SocketOptions | Promise<SocketOptions>)

/** The server's close code for credentials that are too old. */
const RENEW = 4003

/** Keeps one link to the server: dials, waits, dials again, and knows when to stop. */
export class Dialer {
  settings: Settings
  state: SocketState = { name: 'idle' }
  #url: UrlSource
  #options: OptionsSource
  #turn: Turn
  #moved: (state: SocketState, previous: SocketState) => void
  #data: (data: unknown) => void
  #resume: () => string[]
  #reconnect = new Reconnect(this, () => this.#turn.run(() => this.#start()))
  #link: Link | undefined
  #timer: Timer | undefined
  /** Counts dials: whatever an earlier one still has to say is not heard. */
  #dial = 0
  #opened = false
  #connectedAt = 0
  /** What the server has said of the close to come. */
  #stay = false
  #serverMs = 0
  #dialled: URL | undefined
  /** The server wants other credentials, and no dial has had a welcome since. */
  #renew = false

  /** @throws {ChannelError} `invalid-option` */
  constructor(
    url: UrlSource,
    options: OptionsSource,
    turn: Turn,
    moved: (state: SocketState, previous: SocketState) => void,
    data: (data: unknown) => void,
    resume: () => string[]
  ) {
    this.#url = url
    this.#options = options
    this.#turn = turn
    this.#moved = moved
    this.#data = data
    this.#resume = resume
    // A function is asked with the first dial; what it gives is checked then.
    this.settings = typeof options === 'function' ? DEFAULTS : checkOptions(options)
    if (typeof url !== 'function') resolveUrl(url)
  }

  /** Dials, unless it has or is about to. */
  connect(): void {
    if (!['idle', 'closed'].includes(this.state.name)) return
    this.#reconnect.attempt = 0
    this.#reconnect.listen('add')
    this.#start()
  }

  /** Drops the link, if any, and dials now. */
  reconnect(): void {
    const { name } = this.state
    this.connect()
    if (['idle', 'closed'].includes(name)) return
    this.#hangUp(1000, 'reconnect')
    if (name === 'connected') this.#wait(1000, 'reconnect', 0)
    this.#start()
  }

  /** Ends the link, or what should become one, for good. */
  close(code: number, reason: string, status?: number): void {
    if (this.state.name === 'closed') return
    this.#reconnect.stop()
    this.#reconnect.listen('remove')
    this.#hangUp(code, reason)
    this.#move({ name: 'closed', code, reason, status })
  }

  /** Sends, once connected; false where the link takes nothing more. */
  send(text: string): boolean {
    return this.#link!.send(text)
  }

  /** The server has said `$welcome`. */
  welcomed(session: string, connection: string, heartbeatMs: number): void {
    const { clock, silentSlackMs } = this.settings
    this.#move({ name: 'connected', session, connection })
    this.#timer?.cancel()
    this.#connectedAt = clock.monotonic()
    this.#renew = false
    if (heartbeatMs > 0) this.#link!.watch(heartbeatMs + silentSlackMs, silentSlackMs)
  }

  /** The server has said `$closing`: how it means the close that follows. */
  closing(reason: unknown, retryAfterMs: unknown): void {
    this.#stay = reason === 'closed-by-server'
    this.#serverMs = namedMs(retryAfterMs)
  }

  #start(): void {
    const { clock, connectTimeoutMs } = this.settings
    this.#reconnect.stop()
    this.#opened = this.#stay = false
    this.#serverMs = 0
    this.#dialled = undefined
    this.#move({ name: 'connecting', attempt: this.#reconnect.attempt })
    this.#timer = clock.after(connectTimeoutMs, () => this.#failed('timeout'))
    void this.#open(this.#dial)
  }

  async #open(dial: number): Promise<void> {
    try {
      const options = this.#options
      if (this.#renew) await this.settings.renewCredentials?.()
      // Also where there is nothing to wait for: whoever made the socket adds listeners first.
      const given = await (typeof options === 'function' ? options() : options)
      const source = await (typeof this.#url === 'function' ? this.#url() : this.#url)
      if (dial !== this.#dial) return
      if (given !== options) this.settings = checkOptions(given)
      this.#dialled = resolveUrl(source)
      this.#link = this.#newLink(this.#dialled.href)
    } catch (cause) {
      if (dial === this.#dial) this.#failed('error', cause)
    }
  }

  #newLink(url: string): Link {
    return new Link(this.settings, url, ['channels.v1', ...this.#resume()], {
      open: () => {
        this.#opened = true
      },
      data: data => this.#turn.run(() => this.#data(data)),
      end: (code, reason) => {
        this.#link = undefined
        this.#turn.run(() => this.#ended(code, reason))
      }
    })
  }

  #failed(cmd: string, cause?: unknown): void {
    this.#turn.run(() => {
      this.#turn.report(new ChannelError('dial-failed', { cmd, retry: true, cause }))
      this.#ended(1006, cmd)
    })
  }

  #ended(code: number, reason: string): void {
    const { clock, backoff, probe } = this.settings
    const url = this.#dialled
    this.#hangUp(1000, reason)
    if (this.state.name === 'connected' && clock.monotonic() - this.#connectedAt >= backoff.stableMs) {
      this.#reconnect.attempt = 0
    }
    this.#renew ||= code === RENEW
    if (this.#stay || !comesBack(code)) this.close(code, reason)
    else if (code === RENEW && !this.#reconnect.attempt) {
      // At once, but not again and again.
      this.#reconnect.attempt++
      this.#wait(code, reason, 0)
      this.#start()
    } else if (!this.#opened && url && mayProbe(url, probe)) void this.#probe(url, code, reason)
    else this.#wait(code, reason, this.#reconnect.start(this.#serverMs))
  }

  async #probe(url: URL, code: number, reason: string): Promise<void> {
    const dial = this.#dial
    const [status, serverMs] = await askWhy(url, this.settings)
    if (dial !== this.#dial) return
    this.#turn.run(() => {
      if (FINAL.includes(status)) this.close(code, `HTTP ${status}`, status)
      else this.#wait(code, reason, this.#reconnect.start(serverMs))
    })
  }

  #wait(code: number, reason: string, retryInMs: number): void {
    this.#move({ name: 'waiting', attempt: this.#reconnect.attempt, retryInMs, code, reason })
  }

  /** Ends whatever is under way: the link, the dial, the question why. */
  #hangUp(code: number, reason: string): void {
    this.#dial++
    this.#timer?.cancel()
    this.#link?.drop(code, reason)
    this.#link = undefined
  }

  #move(to: SocketState): void {
    const from = this.state
    this.state = move(from, to)
    this.#moved(to, from)
  }
}
