import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Broker, Entry, ReadResult } from '../broker/broker.ts'
import type { Clock, Timer } from '../protocol/clock.ts'
import type { GapReason, Position } from '../protocol/position.ts'
import { gapStart } from '../protocol/position.ts'

/** Publications that will not come: those after `from` up to `to`. Delivery goes on after `position`. */
export interface LiveGap {
  /** Absent where `position` is of another epoch. */
  readonly from?: number
  readonly to: number
  readonly reason: GapReason
  readonly position: Position
}

/** Takes what comes out of a feed. */
export interface FeedSink {
  entry(entry: Entry): void
  gap(gap: LiveGap): void
  /** The store did not answer. */
  failed(error: unknown): void
}

const PAGE = { entries: 500, bytes: 262_144 }
/** Readings that may bring nothing new while entries wait behind a hole; then the hole is declared. */
const MAX_TRIES = 3
/** Entries that may wait while a hole is being filled; what is over is read again. */
const MAX_WAITING = 1_000

/** How long an entry that is known to be committed may be on its way before it is looked for, in milliseconds. */
const PATIENCE_MS = 100

/** How long a store that did not tell its head is left alone, in milliseconds: at first, and at most. */
const LOOK_MS = 250
const MAX_LOOK_MS = 2_000

interface Waiting {
  readonly entry: Entry
  readonly epoch: string
}

/** Somebody who waits for a position to be reached. */
interface Awaited {
  readonly position: Position
  readonly resolve: () => void
  /** Whether the log has been asked since. */
  looked: boolean
}

/**
 * The live end of one channel's log on this node: what comes out is each entry once, in order, without a hole that was not
 * declared. What the broker lost on the way is read from the log, and what the log has lost is a gap.
 */
export class Feed {
  readonly #name: string
  readonly #broker: Broker
  readonly #clock: Clock
  readonly #sink: FeedSink
  #head: Position | null = null
  /** What came while the head was not known or a hole was being filled. */
  #waiting: Waiting[] | null = []
  #awaited: Awaited[] = []
  #patience: Timer | null = null
  /** Failed commits since the head was last asked for with success. */
  #doubts = 0
  #nextLook: Timer | null = null
  #ended = false

  constructor(name: string, broker: Broker, clock: Clock, sink: FeedSink) {
    this.#name = name
    this.#broker = broker
    this.#clock = clock
    this.#sink = sink
  }

  /** The position up to which everything has come out; only once it has started. */
  get head(): Position {
    return this.#head!
  }

  /** Begins; what is appended from then on comes out. Rejects or throws as the broker does. */
  start(): Awaitable<void> {
    const head = this.#broker.subscribe(this.#name, (entry, epoch) => this.#take(entry, epoch))
    return chain(head, position => {
      this.#head = position
      this.#drain(position)
    })
  }

  end(): void {
    this.#ended = true
    this.#broker.unsubscribe(this.#name)
    this.#patience?.cancel()
    this.#nextLook?.cancel()
    this.#release(() => true)
  }

  /**
   * A commit failed, and may have been stored all the same without anybody having been given it: a store may die before its
   * answer. The log is asked until it tells; what it has more than came out is then looked for.
   */
  doubt(): void {
    this.#doubts++
    if (this.#doubts === 1) void this.#look(LOOK_MS)
  }

  async #look(againMs: number): Promise<void> {
    const doubts = this.#doubts
    const head = await this.#askHead()
    if (this.#ended) return
    // Before it has started it is not known whether that is behind us.
    if (head === null || this.#head === null) {
      this.#nextLook = this.#clock.after(againMs, () => void this.#look(Math.min(2 * againMs, MAX_LOOK_MS)))
      return
    }
    void this.reach(head)
    this.#doubts -= doubts
    // What failed meanwhile may have been stored after the answer.
    if (this.#doubts > 0) void this.#look(LOOK_MS)
  }

  /** Null where the store does not answer, which whoever committed has reported. */
  async #askHead(): Promise<Position | null> {
    try {
      const [head] = await this.#broker.heads([this.#name])
      return head!
    } catch {
      return null
    }
  }

  /**
   * Resolves once everything up to a committed position has come out: a commit may be answered before it is delivered. What
   * does not come is looked for.
   */
  reach(position: Position): Awaitable<void> {
    if (this.#ended || this.#head === null || this.#isPast(position)) return
    return new Promise(resolve => {
      this.#awaited.push({ position, resolve, looked: false })
      this.#beImpatient()
    })
  }

  #isPast({ epoch, offset }: Position): boolean {
    const head = this.#head!
    return epoch === head.epoch && offset <= head.offset
  }

  #beImpatient(): void {
    this.#patience ??= this.#clock.after(PATIENCE_MS, () => {
      this.#patience = null
      if (this.#awaited.length === 0) return
      // What is being filled was perhaps read too early.
      if (this.#waiting !== null) return this.#beImpatient()
      for (const awaited of this.#awaited) awaited.looked = true
      this.#waiting = []
      void this.#fill(0)
    })
  }

  #release(isDue: (awaited: Awaited) => boolean): void {
    if (this.#awaited.length === 0) return
    const due = this.#awaited.filter(isDue)
    this.#awaited = this.#awaited.filter(awaited => !due.includes(awaited))
    for (const { resolve } of due) resolve()
    if (this.#awaited.length > 0) return
    this.#patience?.cancel()
    this.#patience = null
  }

  #take(entry: Entry, epoch: string): void {
    if (this.#ended) return
    if (this.#waiting === null && this.#follows(entry, epoch)) {
      this.#advance(entry)
      return
    }
    const filling = this.#waiting !== null
    this.#waiting ??= []
    this.#waiting.push({ entry, epoch })
    if (this.#waiting.length > MAX_WAITING) this.#waiting.shift()
    if (!filling) void this.#fill(0)
  }

  #follows({ offset, prev }: Entry, epoch: string): boolean {
    const head = this.#head!
    return offset === head.offset + 1 && prev === head.tag && epoch === head.epoch
  }

  #advance(entry: Entry): void {
    const { epoch } = this.#head!
    this.#head = { epoch, offset: entry.offset, tag: entry.tag }
    this.#sink.entry(entry)
    this.#release(({ position }) => this.#isPast(position))
  }

  /** Hands on what waited, as far as it fits, and looks for the rest. */
  #drain(from: Position, tries = 0): void {
    const waiting = this.#waiting!
    while (waiting.length > 0) {
      const { entry, epoch } = waiting[0]!
      if (this.#follows(entry, epoch)) this.#advance(entry)
      // What is known already came out of a reading.
      else if (epoch !== this.#head!.epoch || entry.offset > this.#head!.offset) break
      waiting.shift()
    }
    if (waiting.length === 0) {
      this.#waiting = null
      // The log has told all that it has.
      this.#release(({ looked, position }) => looked || this.#isPast(position))
    } else void this.#fill(this.#head === from ? tries : 0)
  }

  /** Reads what is between the head and what waits. */
  #fill(tries: number): Awaitable<void> {
    const from = this.#head!
    if (tries >= MAX_TRIES) return this.#giveUp(from)
    try {
      const reading = this.#broker.read(this.#name, { after: from }, PAGE)
      if (!(reading instanceof Promise)) return this.#filled(from, reading, tries)
      return reading.then(
        result => this.#filled(from, result, tries),
        error => this.#failed(error, tries)
      )
    } catch (error) {
      return this.#failed(error, tries)
    }
  }

  #filled(from: Position, result: ReadResult, tries: number): Awaitable<void> {
    if (this.#ended) return
    if (result.kind === 'lost') this.#lose(from, result.head, result.reason)
    else for (const entry of result.entries) if (this.#follows(entry, from.epoch)) this.#advance(entry)
    if (result.kind === 'page' && !result.complete && this.#head !== from) return this.#fill(0)
    this.#drain(from, tries + 1)
  }

  #failed(error: unknown, tries: number): Awaitable<void> {
    if (this.#ended) return
    this.#sink.failed(error)
    if (this.#waiting!.length > 0) return this.#fill(tries + 1)
    this.#waiting = null
    this.#beImpatient()
  }

  /** What is missing is lost; what waits of the log that is there now is not, and comes after the gap. */
  #lose(from: Position, head: Position, reason: GapReason): void {
    const waiting = this.#waiting!
    const first = waiting.findIndex(({ epoch }) => epoch === head.epoch)
    // What waits of another log is lost with it; unless it is of a newer one, that the reading did not know yet.
    this.#waiting = first < 0 ? waiting.filter(({ epoch }) => epoch !== from.epoch) : waiting.slice(first)
    const next = first < 0 ? null : positionBefore(waiting[first]!)
    const goesOn =
      next !== null && next.offset < head.offset && (head.epoch !== from.epoch || next.offset >= from.offset)
    this.#skip(from, goesOn ? next : head, reason)
  }

  /** The log cannot tell: what waits is all there is. */
  #giveUp(from: Position): void {
    this.#skip(from, positionBefore(this.#waiting![0]!), 'store-error')
    this.#drain(from)
  }

  #skip(from: Position, position: Position, reason: GapReason): void {
    this.#head = position
    this.#sink.gap({ ...gapStart(from, position), to: position.offset, reason, position })
  }
}

function positionBefore({ entry, epoch }: Waiting): Position {
  return { epoch, offset: entry.offset - 1, tag: entry.prev }
}
