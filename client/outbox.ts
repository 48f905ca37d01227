import type { Timer } from '../lib/protocol/clock.ts'
import type { Message } from '../lib/protocol/message.ts'
import { encodeFrame } from '../lib/protocol/message.ts'
import type { Position } from '../lib/protocol/position.ts'
import type { Stored } from '../lib/protocol/system.ts'
import { ChannelError, nackError } from './errors.ts'
import type { Settings } from './options.ts'
import { checkMs } from './options.ts'

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

/** What the outbox needs of its socket. */
export interface OutboxHost {
  settings(): Settings
  /** The longest frame that the server takes. */
  payloadBytes(): number
  /** Whether the socket has closed for good. */
  closed(): boolean
  /** Whether commands of this channel may be sent now. */
  ready(channel: string): boolean
  /** Sends; false where the link takes nothing more. */
  write(text: string): boolean
  report(error: ChannelError): void
}

interface Command {
  readonly channel: string
  readonly cmd: string
  /** The frame without its id. */
  readonly text: string
  readonly bytes: number
  /** 0 until it is sent: ids are given in the order of sending. */
  id: number
  /** Settles the promise, the first time it is called. */
  settle(error: ChannelError | null, value?: Sent): void
}

const encoder = new TextEncoder()

/** Commands that wait to be sent or answered. Each settles exactly once, and none is sent twice. */
export class Outbox {
  #host: OutboxHost
  /** In the order of `send`. Replaced and never changed, so that one may go over it while commands leave it. */
  #waiting: readonly Command[] = []
  #sent = new Map<number, Command>()
  #bytes = 0
  #nextId = 1

  constructor(host: OutboxHost) {
    this.#host = host
  }

  /** Commands that wait to be sent or answered. */
  get size(): number {
    return this.#waiting.length + this.#sent.size
  }

  /** Takes a command. The promise may be left alone: its failure is also reported, and never an unhandled rejection. */
  send(message: Message, options: SendOptions, usualMs: number): Promise<Sent> {
    const promise = new Promise<Sent>((resolve, reject) => {
      const settle = (error: ChannelError | null, value?: Sent): void => {
        if (error === null) return resolve(value!)
        this.#host.report(error)
        reject(error)
      }
      try {
        this.#take(message, options, usualMs, settle)
      } catch (error) {
        settle(error as ChannelError)
      }
    })
    promise.catch(() => {})
    return promise
  }

  #take(message: Message, options: SendOptions, usualMs: number, settle: Command['settle']): void {
    const { channel, cmd } = message
    const { timeoutMs = usualMs, signal } = options
    const { clock, queue } = this.#host.settings()
    const text = encode(message)
    const bytes = encoder.encode(text).length
    checkMs('timeoutMs', timeoutMs)
    if (this.#host.closed()) throw new ChannelError('closed', 'the socket is closed', { channel, cmd })
    if (signal?.aborted) throw givenUp('aborted', message)
    if (this.size >= queue.count || this.#bytes + bytes > queue.bytes) {
      throw new ChannelError('queue-full', 'as many commands wait as may', { channel, cmd, retry: true })
    }
    let timer: Timer | undefined
    const onAbort = (): void => this.#settle(command, givenUp('aborted', command))
    const command: Command = {
      channel,
      cmd,
      text,
      bytes,
      id: 0,
      settle: (error, value) => {
        timer?.cancel()
        signal?.removeEventListener('abort', onAbort)
        settle(error, value)
      }
    }
    if (timeoutMs > 0) timer = clock.after(timeoutMs, () => this.#settle(command, givenUp('timeout', command)))
    signal?.addEventListener('abort', onAbort)
    this.#bytes += bytes
    this.#waiting = [...this.#waiting, command]
    this.flush()
  }

  /** Sends what may be sent, in order; what waits for one channel holds up no other. */
  flush(): void {
    for (const command of this.#waiting) {
      if (!this.#host.ready(command.channel)) continue
      const text = `{"id":${this.#nextId},${command.text.slice(1)}`
      if (command.bytes + text.length - command.text.length > this.#host.payloadBytes()) {
        this.#settle(command, new ChannelError('too-big', 'longer than the server takes', command))
        continue
      }
      if (!this.#host.write(text)) return
      this.#waiting = this.#waiting.filter(other => other !== command)
      command.id = this.#nextId++
      this.#sent.set(command.id, command)
    }
  }

  /** A `$ack` or `$nack` with an id. One for an id that is not waited for is late, and changes nothing. */
  answered(id: number, acked: boolean, param: Record<string, unknown>): void {
    const command = this.#sent.get(id)
    if (command === undefined) return
    const { position, stored, reply } = param as Partial<Sent>
    if (acked) this.#settle(command, null, { position: position ?? null, stored: stored ?? 'none', reply })
    // The server ran it once and has forgotten how that ended.
    else if (param.code === 'result-expired') this.#settle(command, unknown(command))
    else this.#settle(command, nackError(param, command.channel, command.cmd))
  }

  /** A session begins: its ids count from 1. */
  begin(): void {
    this.#nextId = 1
  }

  /** The session ended, and nobody will say any more what became of what was sent. */
  linkLost(): void {
    for (const command of [...this.#sent.values()]) this.#settle(command, unknown(command))
  }

  /** Gives up what was not sent: of one channel, or of all. */
  drop(error: ChannelError, channel?: string): void {
    for (const command of this.#waiting) {
      if (channel !== undefined && command.channel !== channel) continue
      const { code, message, retry, retryAfterMs, cause } = error
      const details = { channel: command.channel, cmd: command.cmd, retry, retryAfterMs, cause }
      this.#settle(command, new ChannelError(code, message, details))
    }
  }

  #settle(command: Command, error: ChannelError | null, value?: Sent): void {
    this.#waiting = this.#waiting.filter(other => other !== command)
    this.#sent.delete(command.id)
    this.#bytes -= command.bytes
    command.settle(error, value)
  }
}

/** @throws {ChannelError} where the message cannot be sent by anybody */
function encode({ channel, cmd, param }: Message): string {
  if (typeof channel !== 'string') throw new ChannelError('invalid-channel', 'a command needs a channel', { cmd })
  if (typeof cmd !== 'string' || cmd === '' || cmd.startsWith('$')) {
    throw new ChannelError('reserved-command', `"${cmd}" is no name of a command`, { channel })
  }
  try {
    return encodeFrame({ channel, cmd, param })
  } catch (cause) {
    throw new ChannelError('unserialisable', `the param of "${cmd}" has no JSON form`, { channel, cmd, cause })
  }
}

/** Whether it took effect is known only as long as it was not sent. */
function givenUp(code: 'timeout' | 'aborted', command: Message | Command): ChannelError {
  if ('id' in command && command.id > 0) return unknown(command)
  return new ChannelError(code, 'given up before it was sent', { channel: command.channel, cmd: command.cmd })
}

function unknown({ channel, cmd }: Command): ChannelError {
  return new ChannelError('unknown', 'sent, and not answered: it took effect once or never', { channel, cmd })
}
