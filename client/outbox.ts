import type { Timer } from '../lib/protocol/clock.ts'
import type { Message } from '../lib/protocol/message.ts'
import type { Command, SendOptions, Sent, Waiting } from './command.ts'
import { byteLength, encode, pick, quiet } from './command.ts'
import type { ErrorDetails } from './errors.ts'
import { ChannelError } from './errors.ts'
import type { Settings } from './options.ts'
import { backoffMs, namedMs } from './reconnect.ts'
import type { SocketState } from './states.ts'
import type { Turn } from './turn.ts'

/** What channels and commands need of the dialer. */
export interface Port {
  readonly settings: Settings
  readonly state: SocketState
  /** Sends, once connected; false where the link takes nothing more. */
  send(text: string): boolean
}

/** How long the answer to a `$void` may take, and how long others wait for a channel to be joined again. */
export const GRACE_MS = 10_000

/**
 * Commands that wait to be sent or answered. Each settles exactly once. One that has left keeps its id, and leaves again
 * under it on the next link until it is answered: the server runs it once, whatever comes twice.
 */
export class Outbox {
  /** The longest frame that the server takes. */
  payloadBytes = 0
  #port: Port
  #turn: Turn
  #ready: (channel: string) => boolean | ChannelError
  #changed: () => void
  /** Those that are not settled; within a channel in the order of `send`. A Set may lose members while one goes over it. */
  #commands = new Set<Command>()
  #bytes = 0
  #nextId = 1
  #copies = 0
  /** The server wants it before any later id, and its channel is not joined yet. */
  #gate: Command | undefined
  #gateTimer: Timer | undefined

  /**
   * `ready` tells whether commands of a channel may be sent now, or why they never may; `changed` is told when `list` is
   * another.
   */
  constructor(port: Port, turn: Turn, ready: (channel: string) => boolean | ChannelError, changed: () => void) {
    this.#port = port
    this.#turn = turn
    this.#ready = ready
    this.#changed = changed
  }

  get list(): Waiting[] {
    return [...this.#commands].map(({ channel, cmd, param, id, since }) => {
      return { channel, cmd, param, id, state: id ? 'sent' : 'waiting', since }
    })
  }

  /** Takes a command, or refuses it. Its failure is reported too. */
  send(message: Message, { timeoutMs = 0, ttlMs = 0, signal, onOffline }: SendOptions): Promise<Sent> {
    return quiet(
      new Promise((resolve, reject) => {
        const { channel, cmd, param } = message
        const { clock, onOffline: usual } = this.#port.settings
        const text = encode(message)
        const timers: Timer[] = []
        const aborted = (): void => this.#giveUp(command, 'aborted')
        const settle = (error: ChannelError | null, sent?: Sent): void => {
          for (const timer of timers) timer.cancel()
          signal?.removeEventListener('abort', aborted)
          if (error) this.#turn.report(error)
          if (error) reject(error)
          else resolve(sent!)
        }
        const command: Command = {
          ...{ channel, cmd, param, text, bytes: byteLength(text), since: clock.wall(), onOffline: onOffline ?? usual },
          ...{ id: 0, sent: 0, attempt: 0, late: false, error: undefined, retry: undefined, timers, settle }
        }
        this.#turn.run(() => {
          const code = signal?.aborted ? 'aborted' : this.#refusal(command)
          this.#bytes += command.bytes
          this.#commands.add(command)
          if (code) return this.#fail(command, code, { retry: ['queue-full', 'offline'].includes(code) })
          if (timeoutMs > 0) timers.push(clock.after(timeoutMs, () => this.#giveUp(command, 'timeout')))
          if (ttlMs > 0) timers.push(clock.after(ttlMs, () => this.#expire(command)))
          signal?.addEventListener('abort', aborted)
          this.#changed()
          this.flush()
        })
      })
    )
  }

  /** Why this command may not be taken; empty where it may. */
  #refusal({ channel, cmd, text, bytes, onOffline }: Command): string {
    const { settings, state } = this.#port
    const { queue } = settings
    const full = (): boolean => this.#commands.size >= queue.count || this.#bytes + bytes > queue.bytes
    if (typeof channel !== 'string') return 'invalid-channel'
    if (typeof cmd !== 'string' || !cmd || cmd.startsWith('$')) return 'reserved-command'
    if (!text) return 'unserialisable'
    if (state.name === 'closed') return 'closed'
    if (onOffline === 'reject' && state.name !== 'connected') return 'offline'
    if (onOffline === 'drop-oldest') {
      const old = [...this.#commands].filter(one => !one.id && one.onOffline === onOffline)
      const kept = old.reduce((sum, one) => sum - one.bytes, this.#bytes)
      // None is dropped in vain.
      if (kept + bytes <= queue.bytes && this.#commands.size - old.length < queue.count)
        for (const one of old) if (full()) this.#fail(one, 'dropped')
    }
    return full() ? 'queue-full' : ''
  }

  /** Sends what may be sent, in order; what waits for one channel holds up no other. */
  flush(): void {
    this.#turn.run(() => this.#flush())
  }

  #flush(): void {
    const connected = this.#port.state.name === 'connected'
    const held = new Set<string>()
    for (const command of this.#commands) {
      const { channel, id } = command
      if (!command.sent && !held.has(channel)) {
        const ready = command.error ? true : this.#ready(channel)
        const next = id || this.#nextId
        if (ready instanceof ChannelError) this.#giveUp(command, ready.code, ready)
        else if (!connected || !ready || command.retry || (this.#gate && next > this.#gate.id)) held.add(channel)
        else {
          const text = command.error ? voided(command, id) : `{"id":${next},${command.text.slice(1)}`
          if (!command.error && byteLength(text) > this.payloadBytes) this.#giveUp(command, 'too-big')
          else if (!this.#port.send(text)) return
          else this.#left(command, next)
        }
      }
      if (command.sent && command.alone) held.add(channel)
    }
  }

  #left(command: Command, id: number): void {
    command.sent = ++this.#copies
    if (!command.id) {
      command.id = id
      this.#nextId++
      this.#changed()
    }
    if (command === this.#gate) this.#openGate()
  }

  /** A `$ack` or `$nack` with an id. One for an id that is not waited for is late, and changes nothing. */
  answered(id: number, acked: boolean, param: Record<string, any>): void {
    const command = this.#find(id)
    if (!command) return
    const { position = null, stored = 'none', reply, code, retry, retryAfterMs, from } = param
    if (acked) this.#settle(command, null, { position, stored, reply })
    else if (code === 'resend-from') this.#goBack(command, from)
    else if (retry === true) this.#retry(command, retryAfterMs)
    else if (code === 'voided' && command.error) this.#settle(command, command.error)
    // The server ran it once and has forgotten how that ended.
    else this.#fail(command, code === 'result-expired' ? 'unknown' : (code ?? 'bad-frame'), param)
    this.flush()
  }

  /** The id before the lowest one behind `from` that somebody waits for. */
  #before(from: number): number {
    let to = this.#nextId
    for (const { id } of this.#commands) if (id > from && id < to) to = id
    return to - 1
  }

  #find(id: number): Command | undefined {
    for (const command of this.#commands) if (command.id === id) return command
    return undefined
  }

  /** Leaves again after a while, and before whatever is behind it in its channel. */
  #retry(command: Command, retryAfterMs?: unknown): void {
    const { clock, backoff } = this.#port.settings
    this.#recall(command)
    command.retry = clock.after(namedMs(retryAfterMs) + backoffMs(command.attempt++, clock.random(), backoff), () => {
      command.retry = undefined
      this.flush()
    })
  }

  /** The server wants the id `from` first: it was not there when this command came. */
  #goBack(command: Command, from: number): void {
    const first = this.#find(from)
    // It is about to leave, or has since.
    const coming = first && first !== command && (!first.sent || first.sent > command.sent)
    command.alone = true
    if (coming && !first.sent && first.channel !== command.channel) this.#closeGate(first)
    // Nobody waits for it any more, nor for those behind it: it may be a store that has forgotten them all.
    if (!first) this.#port.send(voided(command, from, this.#before(from)))
    else if (!coming) this.#recall(first)
    // The second time something is wrong, which must not go round and round.
    if (!coming && command.attempt++) this.#retry(command)
    else this.#recall(command)
  }

  /** Nothing of a later id leaves before this one; for a while, as its channel may never be joined again. */
  #closeGate(command: Command): void {
    if (this.#gate && this.#gate.id <= command.id) return
    this.#openGate()
    this.#gate = command
    this.#gateTimer = this.#port.settings.clock.after(GRACE_MS, () => {
      this.#giveUp(command, 'not-joined', { retry: true })
    })
  }

  #openGate(): void {
    this.#gateTimer?.cancel()
    if (this.#gate) this.#turn.tell(() => this.flush())
    this.#gate = undefined
  }

  /** A link is there, in the session of the one before or in a new one, whose ids count from 1. */
  begin(resumed: boolean): void {
    if (!resumed) this.lose()
    this.flush()
  }

  /** What has left has to leave again, on the next link. */
  linkLost(): void {
    this.#openGate()
    for (const command of this.#commands) {
      this.#recall(command)
      if (!command.id && command.onOffline === 'reject') this.#fail(command, 'offline', { retry: true })
    }
  }

  /** The session is over, and nobody will say any more what became of what was sent. */
  lose(): void {
    for (const command of this.#commands) if (command.id) this.#fail(command, 'unknown')
    this.#nextId = 1
  }

  /** What is on its way has left in time; if it has to leave again it is late. */
  #expire(command: Command): void {
    command.late = true
    if (!command.sent) this.#giveUp(command, 'timeout')
  }

  #recall(command: Command): void {
    command.retry?.cancel()
    command.retry = undefined
    command.sent = 0
    if (command.late) this.#giveUp(command, 'timeout')
  }

  /** What has not left never will. Of what has, the server is told so, and says what became of it. */
  #giveUp(command: Command, code: string, details?: ErrorDetails): void {
    if (!command.id) this.#fail(command, code, details)
    else if (!command.error) {
      command.error = errorOf(command, code, details)
      this.#recall(command)
      command.timers.push(this.#port.settings.clock.after(GRACE_MS, () => this.#fail(command, 'unknown')))
      this.flush()
    }
  }

  #fail(command: Command, code: string, details?: ErrorDetails): void {
    this.#settle(command, errorOf(command, code, details))
  }

  #settle(command: Command, error: ChannelError | null, sent?: Sent): void {
    command.retry?.cancel()
    this.#commands.delete(command)
    this.#bytes -= command.bytes
    command.settle(error, sent)
    this.#changed()
    if (command === this.#gate) this.#openGate()
  }
}

function errorOf({ channel, cmd }: Command, code: string, details?: ErrorDetails): ChannelError {
  return new ChannelError(code, { ...pick(details), channel, cmd })
}

/** Gives up an id in its turn, and all behind it up to `to`. */
function voided({ channel }: Command, id: number, to = id): string {
  return JSON.stringify({ channel, cmd: '$void', id, ...(to > id && { param: { to } }) })
}
