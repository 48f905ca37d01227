import { Type } from '@sinclair/typebox'
import { assertKeys } from '../options.ts'
import type { Clock } from '../protocol/clock.ts'
import type { Position } from '../protocol/position.ts'
import type { Stored } from '../protocol/system.ts'
import type {
  Broker,
  BrokerContext,
  BrokerFactory,
  Commit,
  Committed,
  Entry,
  KeptResult,
  Publication,
  ReadFrom,
  ReadLimits,
  ReadResult,
  Receiver,
  SessionRecord
} from './broker.ts'
import { Log } from './log.ts'
import { SessionStore } from './session-store.ts'

/** How much the memory broker may hold in all. */
export interface MemoryOptions {
  /** Logs whose head is remembered; the one that was used least recently is forgotten. Default 100,000; at least 1. */
  readonly channels?: number
  /** Bytes of publications in all logs; the least recently used are emptied, which a reader is told. Default 268,435,456. */
  readonly bytes?: number
  /** Sessions whose results are kept; the one that committed least recently is forgotten. Default 100,000; at least 1. */
  readonly sessions?: number
}

export const MEMORY_DEFAULTS = Object.freeze({ channels: 100_000, bytes: 268_435_456, sessions: 100_000 })

const TAG_BYTES = 6
const EPOCH_BYTES = 9

const count = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })
const OPTIONS = { channels: count, bytes: count, sessions: count }

/** What a memory broker holds. Several brokers over one are nodes of one cluster; one that outlives its broker is a disk. */
export class MemoryStore {
  readonly sessions: SessionStore
  readonly brokers = new Set<MemoryBroker>()
  readonly #options: Required<MemoryOptions>
  /** In the order of use, the least recent first. */
  readonly #logs = new Map<string, Log>()
  #bytes = 0
  #epoch: string | null = null

  /** @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION */
  constructor(options: MemoryOptions = {}) {
    assertKeys('memory.', options, OPTIONS)
    this.#options = { ...MEMORY_DEFAULTS, ...options }
    this.sessions = new SessionStore(this.#options.sessions)
  }

  append(publication: Publication, clock: Clock): { entry: Entry; epoch: string } {
    const log = this.log(publication.channel, clock)
    this.#bytes -= log.bytes
    const entry = log.append(publication, base64url(clock.randomBytes(TAG_BYTES)), clock.monotonic())
    this.#bytes += log.bytes
    if (this.#bytes > this.#options.bytes) this.#emptyOthers(log)
    return { entry, epoch: log.epoch }
  }

  read(channel: string, from: ReadFrom, limits: ReadLimits, clock: Clock): ReadResult {
    const log = this.log(channel, clock)
    this.#bytes -= log.bytes
    const result = log.read(from, limits, clock.monotonic())
    this.#bytes += log.bytes
    return result
  }

  /** The log of that name, which from now on is the one used last. */
  log(channel: string, clock: Clock): Log {
    let log = this.#logs.get(channel)
    if (log === undefined) {
      this.#epoch ??= base64url(clock.randomBytes(EPOCH_BYTES))
      log = new Log(this.#epoch)
    } else this.#logs.delete(channel)
    this.#logs.set(channel, log)
    if (this.#logs.size > this.#options.channels) this.#forgetOldest(clock)
    return log
  }

  /** Whatever is written there next must not be taken for what was: logs that are new from now on have another epoch. */
  #forgetOldest(clock: Clock): void {
    const [[channel, log]] = this.#logs as unknown as [[string, Log]]
    this.#bytes -= log.bytes
    this.#logs.delete(channel)
    this.#epoch = base64url(clock.randomBytes(EPOCH_BYTES))
  }

  #emptyOthers(kept: Log): void {
    for (const log of this.#logs.values()) {
      if (this.#bytes <= this.#options.bytes || log === kept) return
      this.#bytes -= log.bytes
      log.empty()
    }
  }
}

/** Keeps everything in this process, and answers every question in the turn in which it is asked. */
export class MemoryBroker implements Broker {
  readonly stored: Stored
  readonly healthy = true
  readonly #store: MemoryStore
  readonly #context: BrokerContext
  readonly #receivers = new Map<string, Receiver>()

  constructor(context: BrokerContext, store: MemoryStore, stored: Stored = 'memory') {
    this.#context = context
    this.#store = store
    this.stored = stored
    store.brokers.add(this)
  }

  commit({ publications, command }: Commit): Committed {
    const { clock } = this.#context
    const { sessions, brokers } = this.#store
    const refusal = command === null ? null : sessions.refusal(command)
    if (refusal !== null) return refusal
    const appended = publications.map(publication => this.#store.append(publication, clock))
    const positions = appended.map(({ entry: { offset, tag }, epoch }): Position => ({ epoch, offset, tag }))
    if (command !== null) sessions.record(command, positions.at(-1) ?? null, clock.monotonic())
    // Only now: whoever hears of an entry may commit the next.
    publications.forEach(({ channel }, i) => {
      for (const broker of brokers) broker.#receivers.get(channel)?.(appended[i]!.entry, appended[i]!.epoch)
    })
    return { kind: 'stored', positions }
  }

  subscribe(channel: string, receiver: Receiver): Position {
    this.#receivers.set(channel, receiver)
    return this.#store.log(channel, this.#context.clock).head
  }

  unsubscribe(channel: string): void {
    this.#receivers.delete(channel)
  }

  read(channel: string, from: ReadFrom, limits: ReadLimits): ReadResult {
    return this.#store.read(channel, from, limits, this.#context.clock)
  }

  heads(channels: readonly string[]): Position[] {
    return channels.map(channel => this.#store.log(channel, this.#context.clock).head)
  }

  openSession(session: string, fence: number): SessionRecord | null {
    return this.#store.sessions.open(session, fence)
  }

  result(session: string, id: number): KeptResult | null {
    return this.#store.sessions.result(session, id)
  }

  endSession(session: string, fence: number): void {
    this.#store.sessions.end(session, fence)
  }

  broadcast(text: string): void {
    for (const broker of this.#store.brokers) if (broker !== this) broker.#context.onControl(text)
  }

  close(): Promise<void> {
    this.#receivers.clear()
    this.#store.brokers.delete(this)
    return Promise.resolve()
  }
}

/**
 * The default broker: logs, results and sessions in this process, gone when it ends.
 * @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION
 */
export function memory(options: MemoryOptions = {}): BrokerFactory {
  const store = new MemoryStore(options)
  return context => new MemoryBroker(context, store)
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url')
}
