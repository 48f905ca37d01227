import { newId } from '../chance.ts'
import type { Logger } from '../log.ts'
import { loggable } from '../log.ts'
import type { Timer } from '../protocol/clock.ts'
import type { CloseName } from '../protocol/close-code.ts'
import { closeCode, comesBack } from '../protocol/close-code.ts'
import type { Frame } from '../protocol/message.ts'
import { encodeFrame } from '../protocol/message.ts'
import type { RegisteredProfile } from '../register.ts'
import type { TrafficStats } from '../stats.ts'
import { assertClose } from './close.ts'
import { encodeText } from './frame.ts'
import type { Pulse } from './heartbeat.ts'
import { Memberships } from './memberships.ts'
import type { Origin } from './outbox.ts'
import { Outbox } from './outbox.ts'
import type { ConnectionHost, ConnectionKind, ConnectionParts } from './parts.ts'
import type { OutgoingMessage } from './publication.ts'
import { encodeMessage } from './publication.ts'
import type { Resume } from './resume.ts'
import type { Receiver, Transport } from './transport.ts'

const MAX_PAGE_BYTES = 65_536

export type { CloseEvent } from './close.ts'
export type { ConnectionEvents, ConnectionHost, ConnectionKind, ConnectionParts } from './parts.ts'

/** One open socket, whoever is behind it. */
export class Connection implements Receiver, Pulse {
  /** Unique among all connections of all nodes. */
  readonly id: string
  /** 128 random bits, base64url; outlives the connection. */
  readonly session: string
  /** `channels.v1`, or `plain` where the client offered no subprotocol. */
  readonly kind: ConnectionKind
  /** What `upgradeWithMetadata` was given; empty otherwise. */
  readonly metadata: Readonly<Record<string, unknown>>
  readonly ip: string
  /** The channel it was upgraded for; frames that name no channel mean this one. */
  readonly route: string
  /** Whether its session had a connection before. */
  readonly resumed: boolean
  /** Milliseconds since 1970, by the wall clock. */
  readonly openedAt: number
  /** @internal */
  slot = -1
  /** @internal */
  received = -1
  /** @internal */
  readonly memberships = new Memberships()
  /** @internal What the layer that reads input keeps of it. */
  inbox: unknown = null
  /** @internal */
  readonly transport: Transport
  /** @internal */
  readonly outbox: Outbox
  /** @internal */
  readonly cameWith: Resume | null
  readonly #host: ConnectionHost
  /** Null once the logger is its own: most connections log nothing, and each child takes some hundred bytes. */
  #action: string | null
  #logger: Logger
  #messagesIn = 0
  #bytesIn = 0
  #profile: RegisteredProfile | null
  #state: 'open' | 'closing' | 'closed' = 'open'
  #lost = false
  #graceTimer: Timer | null = null
  #ends: Array<() => void> | null = null
  #paused = false
  /** Resolves when the peer has taken the last page; null before there was one. */
  #page: Promise<void> | null = null

  constructor(host: ConnectionHost, parts: ConnectionParts) {
    this.#host = host
    this.id = newId(host.clock)
    this.session = parts.session
    this.resumed = parts.resumed
    this.cameWith = parts.cameWith
    this.kind = parts.kind
    this.#profile = parts.profile
    this.metadata = parts.metadata
    this.ip = parts.ip
    this.route = parts.route
    this.openedAt = host.clock.wall()
    this.#action = parts.action
    this.#logger = parts.logger
    this.transport = parts.transport
    this.outbox = new Outbox(host, this)
  }

  /** Whose it is, as the profile loader last told; the user is the same for as long as it lasts. Null for nobody in particular. */
  get profile(): RegisteredProfile | null {
    return this.#profile
  }

  /** A child of the request's logger, with the action's key as `action` and the id as `connectionId`. */
  get logger(): Logger {
    if (this.#action !== null) this.#logger = this.#logger.child({ action: this.#action, connectionId: this.id })
    this.#action = null
    return this.#logger
  }

  /** @internal A line that bears what those of `logger` do, without one of its own being made for it. */
  debug(fields: object, line: string): void {
    const whose = this.#action === null ? {} : { action: this.#action, connectionId: this.id }
    this.#logger.debug({ ...whose, ...fields }, line)
  }

  /** What went through it until now: a count that is read again has to be asked for again. */
  get traffic(): TrafficStats {
    const { messagesOut, bytesOut } = this.outbox
    return { messagesIn: this.#messagesIn, bytesIn: this.#bytesIn, messagesOut, bytesOut }
  }

  /** @internal A message has come. */
  countIn(bytes: number): void {
    this.#messagesIn++
    this.#bytesIn += bytes
  }

  get open(): boolean {
    return this.#state === 'open'
  }

  /** @internal Whether its link was lost, which its client may have found first; it is likely to be back soon. */
  get lost(): boolean {
    return this.#lost
  }

  /** Names of the channels it is a member of. */
  get channels(): string[] {
    const joined = this.memberships.all().filter(({ state }) => state === 'joined')
    return joined.map(({ name }) => name)
  }

  get paused(): boolean {
    return this.#paused
  }

  /** @internal Takes what is now known of the same user. */
  renew(profile: RegisteredProfile): void {
    this.#profile = profile
  }

  /** @internal Writes what is queued, and begins reading. */
  start(): void {
    this.outbox.flush()
    this.transport.start(this)
  }

  /** @internal Encodes and queues one frame for this connection alone. */
  sendFrame(frame: Frame): void {
    this.sendEncoded(encodeText(encodeFrame(frame)), 1)
  }

  /** @internal Queues encoded frames; those of a channel say so. */
  sendEncoded(frames: Uint8Array, count: number, origin: Origin | null = null): void {
    this.outbox.push(frames, count, origin)
  }

  /** @internal Calls `task` once the connection takes no more part in anything. */
  whenEnded(task: () => void): void {
    if (!this.open) task()
    else if (this.#ends === null) this.#ends = [task]
    else this.#ends.push(task)
  }

  /**
   * Sends a message to this connection alone, through the channel that it names.
   * @throws FST_CHANNELS_INVALID_CHANNEL, FST_CHANNELS_RESERVED_COMMAND, FST_CHANNELS_UNSERIALISABLE,
   * FST_CHANNELS_MESSAGE_TOO_BIG
   */
  send(message: OutgoingMessage): void {
    const channel = message.channel ?? this.route
    const frame = encodeMessage(channel, message, this.#host.messageBytes)
    this.#host.turn.distribute()
    this.sendEncoded(frame, 1, { channel })
  }

  /** @internal Text that may be sent at once to a peer that has taken what came before, with room for what comes live. */
  get pageBytes(): number {
    return Math.min(MAX_PAGE_BYTES, Math.ceil(this.#host.outboxBytes / 8))
  }

  /**
   * @internal Does work that sends up to a page, once the peer has taken the page before or the link is gone: however many
   * channels have much to send to it, they do so by turns.
   */
  sendPage<T>(work: () => Promise<T>): Promise<T> {
    const sending = (this.#page ?? Promise.resolve()).then(work)
    const taken = (): Promise<void> => this.#drained()
    this.#page = sending.then(taken, taken)
    return sending
  }

  #drained(): Promise<void> {
    this.outbox.flush()
    return new Promise(resolve => this.transport.whenDrained(resolve))
  }

  /** @internal Stops reading. */
  pause(): void {
    this.#paused = true
    if (this.open) this.transport.pause()
  }

  /** @internal */
  resume(): void {
    this.#paused = false
    if (this.open) this.transport.resume()
  }

  /**
   * Closes with what was sent before going out first; drops the link where the peer does not answer within the grace.
   * @throws FST_CHANNELS_INVALID_CLOSE
   */
  close(code: number, reason = ''): void {
    assertClose(code, reason)
    if (this.#state !== 'open') return
    this.#host.turn.distribute()
    this.outbox.flush()
    if (this.#state === 'open') this.#end(code, reason)
  }

  /** @internal Gives the peer the grace to close by itself, and closes then. */
  closeAfterGrace(code: number, reason: string): void {
    if (this.#state !== 'open') return
    this.#graceTimer?.cancel()
    this.#graceTimer = this.#host.clock.after(this.#host.closeGraceMs, () => this.close(code, reason))
  }

  /** @internal Closes and throws away what was not sent. */
  abandon(code: number, reason: string): void {
    if (this.#state === 'open') this.#end(code, reason)
  }

  #end(code: number, reason: string): void {
    // Whoever is replaced is here already, by another connection.
    this.#lost = comesBack(code) || code === closeCode('replaced').code
    this.#leaveOpen()
    this.transport.end(code, reason)
  }

  #leaveOpen(): void {
    this.#detach('closing')
    this.#graceTimer = this.#host.clock.after(this.#host.closeGraceMs, () => this.transport.destroy())
  }

  /** @internal Its outbox has grown past its bound. */
  outgrown(): void {
    this.#host.events.slow(this)
  }

  text(text: string, bytes: number): void {
    if (this.open) this.#host.events.text(this, text, bytes)
  }

  /** From here on nothing is sent or taken any more, however long the closing handshake lasts. */
  #detach(state: 'closing' | 'closed'): void {
    this.#state = state
    this.#graceTimer?.cancel()
    this.outbox.close()
    const ends = this.#ends
    this.#ends = null
    for (const task of ends ?? []) task()
    this.#host.events.detached(this)
  }

  binary(): void {
    const { code, name, reason } = closeCode('unsupported-data')
    if (this.open) this.#host.events.violated(this, name as CloseName)
    this.close(code, reason)
  }

  violated(name: CloseName): void {
    if (!this.open) return
    this.#host.events.violated(this, name)
    this.#leaveOpen()
  }

  control(): void {
    if (this.open) this.#host.events.control(this)
  }

  closed(code: number, reason: string): void {
    if (this.#state === 'closed') return
    if (this.#state === 'open') {
      this.#lost = code === 1006 || code === closeCode('silent').code
      this.#detach('closed')
    }
    this.#state = 'closed'
    this.#graceTimer?.cancel()
    const event = { code, reason: loggable(reason), clean: code !== 1006, willReturn: comesBack(code) }
    this.#host.events.closed(this, event)
  }
}
