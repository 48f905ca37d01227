import { AgedMap } from '../aged-map.ts'
import { newEpoch, newTag } from '../chance.ts'
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
import { bound, withDefaults } from './defaults.ts'
import { Deliveries } from './deliveries.ts'
import { Log } from './log.ts'
import { SessionStore } from './session-store.ts'

/** How much the memory broker may hold in all. */
export interface MemoryOptions {
  /** Logs whose head is remembered, and as many that were never written to; the one that was used least recently is forgotten. Default 100,000; at least 1. */
  readonly channels?: number
  /** Bytes of publications in all logs; the least recently used are emptied, which a reader is told. Default 268,435,456; at least 1. */
  readonly bytes?: number
  /** Sessions whose results are kept; the one that committed least recently is forgotten. Default 100,000; at least 1. */
  readonly sessions?: number
  /** Results of commands in all sessions; above it those of the session that committed least recently go. Default 1,000,000; at least 1. */
  readonly results?: number
  /** Characters of the replies in those results. Default 67,108,864; at least 1. */
  readonly replyCharacters?: number
}

export const MEMORY_DEFAULTS = Object.freeze({
  channels: 100_000,
  bytes: 268_435_456,
  sessions: 100_000,
  results: 1_000_000,
  replyCharacters: 67_108_864
})

const OPTIONS = { channels: bound, bytes: bound, sessions: bound, results: bound, replyCharacters: bound }

/** What a memory broker holds. Several brokers over one are nodes of one cluster; one that outlives its broker is a disk. */
export class MemoryStore {
  readonly sessions: SessionStore
  readonly brokers = new Set<MemoryBroker>()
  readonly deliveries = new Deliveries((channel, entry, epoch) => {
    for (const broker of this.brokers) broker.deliver(channel, entry, epoch)
  })
  readonly #options: Required<MemoryOptions>
  /** Those that were written to, in the order of use, the least recent first. */
  readonly #logs = new AgedMap<string, Log>()
  /** Those that were only asked about, for which no other is forgotten: anybody may ask. */
  readonly #unwritten = new AgedMap<string, Log>()
  /** Those of them that hold entries, in the same order: the empty ones are not gone through for room. */
  readonly #holding = new AgedMap<Log, null>()
  #bytes = 0
  #epoch: string | null = null

  /** @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION */
  constructor(options: MemoryOptions = {}) {
    assertKeys('memory.', options, OPTIONS)
    this.#options = withDefaults(MEMORY_DEFAULTS, options)
    this.sessions = new SessionStore(this.#options)
  }

  append(publication: Publication, clock: Clock): { entry: Entry; epoch: string } {
    const { channel } = publication
    const log = this.log(channel, clock)
    const entry = this.#counted(log, () => log.append(publication, newTag(clock), clock.monotonic()))
    if (entry.offset === 1) this.#written(channel, log, clock)
    if (this.#bytes > this.#options.bytes) this.#makeRoom(log)
    return { entry, epoch: log.epoch }
  }

  read(channel: string, from: ReadFrom, limits: ReadLimits, clock: Clock): ReadResult {
    const log = this.log(channel, clock)
    return this.#counted(log, () => log.read(from, limits, clock.monotonic()))
  }

  /** Does what changes how much a log holds. */
  #counted<T>(log: Log, task: () => T): T {
    const before = log.bytes
    const result = task()
    this.#bytes += log.bytes - before
    if (log.bytes > 0) this.#holding.set(log, null)
    else this.#holding.delete(log)
    return result
  }

  /** The log of that name, which from now on is the one used last. */
  log(channel: string, clock: Clock): Log {
    const written = this.#logs.get(channel)
    if (written !== undefined) {
      this.#logs.set(channel, written)
      return written
    }
    this.#epoch ??= newEpoch(clock)
    const log = this.#unwritten.get(channel) ?? new Log(this.#epoch)
    this.#unwritten.set(channel, log)
    if (this.#unwritten.size > this.#options.channels) this.#unwritten.delete(this.#unwritten.oldest!.key)
    return log
  }

  #written(channel: string, log: Log, clock: Clock): void {
    this.#unwritten.delete(channel)
    this.#logs.set(channel, log)
    if (this.#logs.size > this.#options.channels) this.#forgetOldest(clock)
  }

  #forgetOldest(clock: Clock): void {
    const { key: channel, value: log } = this.#logs.oldest!
    this.#bytes -= log.bytes
    this.#holding.delete(log)
    this.#logs.delete(channel)
    // Whatever is written there next must not be taken for what was: logs that are new from now on have another epoch.
    this.#epoch = newEpoch(clock)
  }

  #makeRoom(kept: Log): void {
    const { bytes } = this.#options
    while (this.#bytes > bytes) {
      const { key: log } = this.#holding.oldest!
      // The last one is that which was just written to, and keeps what fits, and the newest in any case.
      this.#bytes -= log.bytes
      log.shrink(log === kept ? bytes : 0)
      this.#bytes += log.bytes
      if (log === kept) return
      this.#holding.delete(log)
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
    const { sessions, deliveries } = this.#store
    const refusal = command === null ? null : sessions.refusal(command)
    if (refusal !== null) return refusal
    const positions = publications.map((publication): Position => {
      const { entry, epoch } = this.#store.append(publication, clock)
      deliveries.add(publication.channel, entry, epoch)
      return { epoch, offset: entry.offset, tag: entry.tag }
    })
    if (command !== null) sessions.record(command, positions.at(-1) ?? null, clock.monotonic())
    // Only now: whoever hears of an entry may commit the next.
    deliveries.run()
    return { kind: 'stored', positions }
  }

  deliver(channel: string, entry: Entry, epoch: string): void {
    this.#receivers.get(channel)?.(entry, epoch)
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
