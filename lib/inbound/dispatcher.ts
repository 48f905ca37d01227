import type { Channels } from '../channel/registry.ts'
import type { Subscription } from '../channel/subscription.ts'
import type { Connection } from '../connection/connection.ts'
import type { Observer } from '../observer.ts'
import type { Clock } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import type { Frame } from '../protocol/message.ts'
import { decodeFrame, FrameError } from '../protocol/message.ts'
import { systemFrame } from '../protocol/system.ts'
import type { Refusals } from '../stats.ts'
import type { Commands } from './commands.ts'
import type { MessageHandler } from './handlers.ts'
import type { InboxLimits } from './inbox.ts'
import { Inbox } from './inbox.ts'
import { Refusal, refusalOf } from './refusal.ts'
import { runCommand } from './run-command.ts'
import { runRequest } from './run-request.ts'

/** A connection may owe this many bursts of messages before it is closed. */
const MAX_DEBT_BURSTS = 10

export interface DispatcherParts {
  readonly clock: Clock
  readonly limits: InboxLimits
  /** How long an access rule may take. */
  readonly accessTimeoutMs: number
  readonly channels: Channels
  readonly commands: Commands
  readonly observer: Observer
  readonly refusals: Refusals
}

/** Takes what clients send: reads it, holds it against the limits, and hands it on. */
export class Dispatcher {
  readonly parts: DispatcherParts
  readonly #inboxes = new Map<Connection, Inbox>()
  #running = 0
  #draining = false
  #onIdle: (() => void) | null = null

  constructor(parts: DispatcherParts) {
    this.parts = parts
  }

  open(connection: Connection, onMessage: MessageHandler | null): void {
    this.#inboxes.set(connection, new Inbox(this.parts.clock, this.parts.limits, onMessage))
  }

  close(connection: Connection): void {
    this.#inboxes.get(connection)?.pause?.cancel()
    this.#inboxes.delete(connection)
  }

  /** A sign of life that is no message still counts against the rate. */
  control(connection: Connection): void {
    const inbox = this.#inboxes.get(connection)
    if (inbox !== undefined) this.#limitRate(connection, inbox)
  }

  text(connection: Connection, text: string): void {
    const inbox = this.#inboxes.get(connection)
    if (inbox === undefined) return
    const bytes = Buffer.byteLength(text)
    connection.traffic.countIn(bytes)
    this.#limitRate(connection, inbox)
    if (!connection.open) return
    let frame: Frame
    try {
      frame = decodeFrame(text, { maxDepth: this.parts.limits.depth, strict: connection.kind !== 'plain' })
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      const { id, message } = error
      // Its id is used up: else every command after it would be ahead of its turn.
      if (id !== undefined) inbox.sequence.take(id)
      this.nack(connection, id === undefined ? {} : { id }, new Refusal('bad-frame', message))
      this.#strike(connection, inbox)
      return
    }
    this.#route(connection, inbox, frame, bytes)
  }

  /** No new commands from now on. Resolves when those under way are done. */
  drain(): Promise<void> {
    this.#draining = true
    if (this.#running === 0) return Promise.resolve()
    return new Promise(resolve => {
      this.#onIdle = resolve
    })
  }

  /** Tells a client why it was refused, in the words that its kind knows. */
  nack(connection: Connection, at: Pick<Frame, 'channel' | 'id' | 'ref'>, refusal: Refusal): void {
    const { code, message, retry, retryAfterMs } = refusal
    this.parts.refusals.count(code)
    this.parts.observer.nacked(connection, code, message)
    if (connection.kind === 'plain') {
      connection.sendFrame({ ...at, cmd: 'error', param: { code, message } })
      return
    }
    const wait = retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) }
    const frame = systemFrame('$nack', { code, message, retry, ...wait }, at)
    const subscription = at.channel === undefined ? undefined : connection.memberships.get(at.channel)
    if (subscription === undefined) connection.sendFrame(frame)
    else this.parts.channels.reply(subscription as Subscription, frame)
  }

  #route(connection: Connection, inbox: Inbox, frame: Frame, bytes: number): void {
    if (frame.cmd === '$pong') return
    const addressed = { ...frame, channel: frame.channel ?? connection.route }
    try {
      if (frame.cmd.startsWith('$')) runRequest(this, connection, inbox, addressed)
      else runCommand(this, connection, inbox, addressed, bytes)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      const { channel, id, ref } = addressed
      this.nack(
        connection,
        { channel, ...(id === undefined ? {} : { id }), ...(ref === undefined ? {} : { ref }) },
        error
      )
    }
  }

  /** @throws {Refusal} where the connection waits for as many answers as it may, or the server is closing */
  begin(inbox: Inbox): void {
    if (this.#draining) throw new Refusal('draining')
    if (inbox.waiting >= this.parts.limits.pendingCommands) throw new Refusal('too-many-commands')
    inbox.waiting++
    this.#running++
  }

  done(inbox: Inbox): void {
    inbox.waiting--
    if (--this.#running === 0) this.#onIdle?.()
  }

  /** What application code threw, as what the client is told; a failure is reported to the host. */
  refusal(connection: Connection, error: unknown): Refusal {
    const refusal = refusalOf(error)
    if (refusal !== null) return refusal
    this.parts.observer.failed(error, connection)
    return new Refusal('internal-error')
  }

  /** Over the rate we stop reading until the debt is paid; whoever owes too much is closed. */
  #limitRate(connection: Connection, inbox: Inbox): void {
    const { bucket } = inbox
    if (bucket === null) return
    const waitMs = bucket.take()
    if (waitMs === 0) return
    if (bucket.debt > this.parts.limits.burst * MAX_DEBT_BURSTS) {
      this.parts.refusals.count('rate-limited')
      const { code, reason } = closeCode('rate-limited')
      connection.close(code, reason)
    } else if (inbox.pause === null) {
      connection.pause()
      inbox.pause = this.parts.clock.after(waitMs, () => this.#resume(connection, inbox))
    }
  }

  /** More may have been received since: then the debt has grown. */
  #resume(connection: Connection, inbox: Inbox): void {
    const waitMs = inbox.bucket!.waitMs()
    inbox.pause = waitMs === 0 ? null : this.parts.clock.after(waitMs, () => this.#resume(connection, inbox))
    if (inbox.pause === null) connection.resume()
  }

  #strike(connection: Connection, inbox: Inbox): void {
    if (inbox.strikes === null || inbox.strikes.tryTake() === 0) return
    const { code, name, reason } = closeCode('too-many-violations')
    this.parts.refusals.count(name)
    connection.close(code, reason)
  }
}
