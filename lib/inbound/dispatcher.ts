import type { Broker } from '../broker/broker.ts'
import type { Publisher } from '../channel/publisher.ts'
import type { Channels } from '../channel/registry.ts'
import type { Subscription } from '../channel/subscription.ts'
import type { Connection } from '../connection/connection.ts'
import { encodeText } from '../connection/frame.ts'
import type { Observer } from '../observer.ts'
import type { Clock } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import type { Frame, ReceivedFrame } from '../protocol/message.ts'
import { decodeFrame, encodeFrame, FrameError } from '../protocol/message.ts'
import type { Refusals } from '../stats.ts'
import type { Commands } from './commands.ts'
import type { MessageHandler } from './handlers.ts'
import type { InboxLimits, InboxRates } from './inbox.ts'
import { Inbox, inboxRates } from './inbox.ts'
import { nackFrame, Refusal, refusalOf } from './refusal.ts'
import type { CommandFrame } from './run-command.ts'
import { answerWith, runCommand } from './run-command.ts'
import { runRequest } from './run-request.ts'
import type { Session } from './session.ts'
import type { Sessions } from './sessions.ts'

/** A connection may owe this many bursts of messages before it is closed. */
const MAX_DEBT_BURSTS = 10

export interface DispatcherParts {
  readonly clock: Clock
  readonly limits: InboxLimits
  /** How long an access rule may take. */
  readonly accessTimeoutMs: number
  readonly channels: Channels
  readonly publisher: Publisher
  readonly sessions: Sessions
  readonly broker: Broker
  readonly commands: Commands
  readonly observer: Observer
  readonly refusals: Refusals
}

/** Takes what clients send: reads it, holds it against the limits, and hands it on. */
export class Dispatcher {
  readonly parts: DispatcherParts
  readonly #rates: InboxRates
  #running = 0
  #draining = false
  #onIdle: (() => void) | null = null

  constructor(parts: DispatcherParts) {
    this.parts = parts
    this.#rates = inboxRates(parts.clock, parts.limits)
  }

  open(connection: Connection, session: Session, onMessage: MessageHandler | null): void {
    connection.inbox = new Inbox(this.#rates, session, onMessage)
  }

  close(connection: Connection): void {
    const inbox = inboxOf(connection)
    if (inbox === null) return
    inbox.pause?.cancel()
    connection.inbox = null
    this.parts.sessions.leave(inbox.session, connection)
  }

  /** A sign of life that is no message still counts against the rate. */
  control(connection: Connection): void {
    const inbox = inboxOf(connection)
    if (inbox !== null) this.#limitRate(connection, inbox)
  }

  text(connection: Connection, text: string, bytes: number): void {
    const inbox = inboxOf(connection)
    if (inbox === null) return
    connection.countIn(bytes)
    this.#limitRate(connection, inbox)
    if (!connection.open) return
    let frame: ReceivedFrame
    try {
      frame = decodeFrame(text, { maxDepth: this.parts.limits.depth, strict: connection.kind !== 'plain' })
    } catch (error) {
      if (!(error instanceof FrameError)) throw error
      this.#unreadable(connection, inbox, error)
      this.#strike(connection, inbox)
      return
    }
    this.#route(connection, inbox, frame, bytes)
  }

  /** No new commands from now on. Resolves when those under way are done, or the grace is over. */
  drain(graceMs: number): Promise<void> {
    this.#draining = true
    if (this.#running === 0) return Promise.resolve()
    return new Promise(resolve => {
      const grace = this.parts.clock.after(graceMs, resolve)
      this.#onIdle = () => {
        grace.cancel()
        resolve()
      }
    })
  }

  /** Its id is used up: else every command after it would be ahead of its turn. */
  #unreadable(connection: Connection, { session }: Inbox, { id, message }: FrameError): void {
    const refusal = new Refusal('bad-frame', message)
    const turn = id === undefined || connection.kind === 'plain' ? 'repeat' : session.sequence.take(id, '')
    if (turn === 'run') answerWith(this, connection, session, { id: id! }, refusal)
    else this.nack(connection, id === undefined ? {} : { id }, refusal)
  }

  /** Tells a client why it was refused, in the words that its kind knows. Gives the frame's text. */
  nack(connection: Connection, at: Pick<Frame, 'channel' | 'id' | 'ref'>, refusal: Refusal): string {
    const { code, message } = refusal
    this.parts.refusals.count(code)
    this.parts.observer.nacked(connection, code, message)
    if (connection.kind === 'plain') return this.tell(connection, { ...at, cmd: 'error', param: { code, message } })
    return this.tell(connection, nackFrame(refusal, at))
  }

  /** Sends a frame after what was published on its channel before, and gives its text. */
  tell(connection: Connection, frame: Frame): string {
    const text = encodeFrame(frame)
    this.tellText(connection, frame.channel, text)
    return text
  }

  tellText(connection: Connection, channel: string | undefined, text: string): void {
    const subscription = channel === undefined ? undefined : connection.memberships.get(channel)
    const encoded = encodeText(text)
    if (subscription === undefined) connection.sendEncoded(encoded, 1)
    else this.parts.channels.replyEncoded(subscription as Subscription, encoded, null)
  }

  #route(connection: Connection, inbox: Inbox, frame: ReceivedFrame, bytes: number): void {
    if (frame.cmd === '$pong') return
    const addressed = (frame.channel === undefined ? { ...frame, channel: connection.route } : frame) as CommandFrame
    try {
      // A client that numbers nothing has nothing to give up.
      const isCommand = !frame.cmd.startsWith('$') || (frame.cmd === '$void' && connection.kind !== 'plain')
      if (!isCommand) runRequest(this, connection, inbox, addressed)
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
    if ((inbox.strikes?.tryTake() ?? 0) === 0) return
    const { code, name, reason } = closeCode('too-many-violations')
    this.parts.refusals.count(name)
    connection.close(code, reason)
  }
}

function inboxOf(connection: Connection): Inbox | null {
  return connection.inbox as Inbox | null
}
