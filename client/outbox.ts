import type { Timer } from '../lib/protocol/clock.ts'
import type { Message } from '../lib/protocol/message.ts'
import type { Position } from '../lib/protocol/position.ts'
import type { Stored } from '../lib/protocol/system.ts'
import type { ErrorDetails } from './errors.ts'
import { ChannelError } from './errors.ts'
import type { Settings } from './options.ts'
import type { SocketState } from './states.ts'
import type { Turn } from './turn.ts'

/** What an acknowledged command gives. */
export interface Sent<Reply = unknown> {
  /** Where the channel's log stood after it; null where the channel has none. */
  readonly position: Position | null
  /** How far the acknowledgement's word goes; `none` is that the handler has run. */
  readonly stored: Stored
  /** What the handler returned; undefined where the command has no reply. */
  readonly reply: Reply
}

/** How long one command may take, and what gives it up. */
export interface SendOptions {
  /** Milliseconds to be sent and answered; 0 is as long as it takes. Default: the socket's option for `send` or `request`. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** What channels and commands need of the dialer. */
export interface Port {
  readonly settings: Settings
  readonly state: SocketState
  /** Sends, once connected; false where the link takes nothing more. */
  send(text: string): boolean
}

interface Command {
  readonly channel: string
  readonly cmd: string
  /** The frame without its id. */
  readonly text: string
  readonly bytes: number
  /** 0 until it is sent: ids are given in the order of sending. */
  id: number
  /** Settles the promise; called once. */
  settle(error: ChannelError | null, sent?: Sent): void
}

/** The length of a text in UTF-8. */
export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length
}

/** A promise that may be left alone: nobody waiting for it never ends a process. */
export function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {})
  return promise
}

/** Commands that wait to be sent or answered. Each settles exactly once, and none is sent twice. */
export class Outbox {
  /** The longest frame that the server takes. */
  payloadBytes = 0
  #port: Port
  #turn: Turn
  #ready: (channel: string) => boolean
  /** Those that are not settled, in the order of `send`. A Set may lose members while one goes over it. */
  #commands = new Set<Command>()
  #bytes = 0
  #nextId = 1

  /** `ready` tells whether commands of a channel may be sent now. */
  constructor(port: Port, turn: Turn, ready: (channel: string) => boolean) {
    this.#port = port
    this.#turn = turn
    this.#ready = ready
  }

  /** Takes a command, or refuses it. Its failure is reported too. */
  send(message: Message, { timeoutMs = 0, signal }: SendOptions): Promise<Sent> {
    return quiet(
      new Promise((resolve, reject) => {
        const { channel, cmd } = message
        const { clock } = this.#port.settings
        const text = encode(message)
        const bytes = byteLength(text)
        const aborted = (): void => this.#fail(command, 'aborted')
        let timer: Timer | undefined
        const settle = (error: ChannelError | null, sent?: Sent): void => {
          timer?.cancel()
          signal?.removeEventListener('abort', aborted)
          if (error) this.#turn.report(error)
          if (error) reject(error)
          else resolve(sent!)
        }
        const command: Command = { channel, cmd, text, bytes, id: 0, settle }
        this.#bytes += bytes
        this.#commands.add(command)
        const code = signal?.aborted ? 'aborted' : this.#refusal(command)
        if (code) this.#fail(command, code, { retry: code === 'queue-full' })
        else {
          if (timeoutMs > 0) timer = clock.after(timeoutMs, () => this.#fail(command, 'timeout'))
          signal?.addEventListener('abort', aborted)
          this.flush()
        }
      })
    )
  }

  /** Why this command, which has been counted, may not stay; empty where it may. */
  #refusal({ channel, cmd, text }: Command): string {
    const { queue } = this.#port.settings
    if (typeof channel !== 'string') return 'invalid-channel'
    if (typeof cmd !== 'string' || !cmd || cmd.startsWith('$')) return 'reserved-command'
    if (!text) return 'unserialisable'
    if (this.#port.state.name === 'closed') return 'closed'
    return this.#commands.size > queue.count || this.#bytes > queue.bytes ? 'queue-full' : ''
  }

  /** Sends what may be sent, in order; what waits for one channel holds up no other. */
  flush(): void {
    for (const command of this.#commands) {
      if (command.id || !this.#ready(command.channel)) continue
      const text = `{"id":${this.#nextId},${command.text.slice(1)}`
      if (byteLength(text) > this.payloadBytes) this.#fail(command, 'too-big')
      else if (this.#port.send(text)) command.id = this.#nextId++
      else return
    }
  }

  /** A `$ack` or `$nack` with an id. One for an id that is not waited for is late, and changes nothing. */
  answered(id: number, acked: boolean, param: Record<string, any>): void {
    const { position = null, stored = 'none', reply, code } = param
    for (const command of this.#commands) {
      if (command.id !== id) continue
      if (acked) this.#settle(command, null, { position, stored, reply })
      // The server ran it once and has forgotten how that ended.
      else this.#fail(command, code === 'result-expired' ? 'unknown' : code, param)
      return
    }
  }

  /** A session begins: its ids count from 1. */
  begin(): void {
    this.#nextId = 1
  }

  /** The session ended, and nobody will say any more what became of what was sent. */
  linkLost(): void {
    for (const command of this.#commands) if (command.id) this.#fail(command, 'unknown')
  }

  /** Gives up what was not sent: of one channel, or of all. */
  drop(error: ChannelError, channel?: string): void {
    for (const command of this.#commands) {
      if (!command.id && (!channel || command.channel === channel)) this.#fail(command, error.code, error)
    }
  }

  /** Whether it took effect is known only as long as it was not sent; an answer of the server has details. */
  #fail(command: Command, code: string, details?: ErrorDetails): void {
    const { channel, cmd } = command
    const known = details || !command.id ? code : 'unknown'
    this.#settle(command, new ChannelError(known, { ...pick(details), channel, cmd }))
  }

  #settle(command: Command, error: ChannelError | null, sent?: Sent): void {
    this.#commands.delete(command)
    this.#bytes -= command.bytes
    command.settle(error, sent)
  }
}

/** What a `$nack`, or an error, has to say besides its code. */
export function pick({ message, retry, retryAfterMs }: ErrorDetails = {}): ErrorDetails {
  return { message, retry: retry === true, retryAfterMs }
}

/** The frame without its id; empty where it has no JSON form. JSON alone would leave functions out in silence. */
function encode({ channel, cmd, param }: Message): string {
  try {
    return ['function', 'symbol'].includes(typeof param) ? '' : JSON.stringify({ channel, cmd, param })
  } catch {
    return ''
  }
}
