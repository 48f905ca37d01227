import type { GapReason, Position } from '../protocol/position.ts'
import type { Entry, LogPolicy, Publication, ReadFrom, ReadLimits, ReadResult } from './broker.ts'

interface Kept extends Entry {
  /** When it was appended, in the milliseconds that the log is asked with. */
  readonly at: number
  readonly bytes: number
}

/** The publications of one channel that are kept in memory, and the place where they begin. */
export class Log {
  readonly epoch: string
  /** The last entry that is not kept any more: whoever stands there has missed nothing. */
  #base: Position
  #head: Position
  #kept: Kept[] = []
  /** Entries before it are trimmed; the array is cut now and then. */
  #first = 0
  bytes = 0
  /** As the last publication brought it: what has grown too old is not read either. */
  #policy: LogPolicy | null = null

  constructor(epoch: string) {
    this.epoch = epoch
    this.#base = this.#head = { epoch, offset: 0, tag: '' }
  }

  get head(): Position {
    return this.#head
  }

  append({ text, except, log }: Publication, tag: string, now: number): Entry {
    const bytes = Buffer.byteLength(text)
    const entry: Kept = { offset: this.#head.offset + 1, tag, prev: this.#head.tag, text, except, at: now, bytes }
    this.#kept.push(entry)
    this.bytes += bytes
    this.#head = { epoch: this.epoch, offset: entry.offset, tag }
    this.#policy = log
    this.#trim(log, now)
    return entry
  }

  #trim({ entries, bytes, ageMs }: LogPolicy, now: number): void {
    for (;;) {
      const oldest = this.#kept[this.#first]
      const count = this.#kept.length - this.#first
      if (oldest === undefined) break
      // The newest is kept whatever its size, or a large one would be lost to all who look away for a moment.
      const over = count > entries || (count > 1 && this.bytes > bytes) || now - oldest.at > ageMs
      if (!over) break
      this.#drop(oldest)
    }
  }

  /** Drops the oldest until no more than so many bytes are left, or the newest alone; with 0 that goes too. */
  shrink(bytes: number): void {
    for (let oldest = this.#kept[this.#first]; oldest; oldest = this.#kept[this.#first]) {
      const isNewest = oldest.offset === this.#head.offset
      if (bytes > 0 && (isNewest || this.bytes <= bytes)) return
      this.#drop(oldest)
    }
  }

  #drop(oldest: Kept): void {
    this.#base = { epoch: this.epoch, offset: oldest.offset, tag: oldest.tag }
    this.bytes -= oldest.bytes
    this.#first++
    if (this.#first < 32 || this.#first * 2 < this.#kept.length) return
    this.#kept = this.#kept.slice(this.#first)
    this.#first = 0
  }

  read(from: ReadFrom, limits: ReadLimits, now: number): ReadResult {
    if (this.#policy !== null) this.#trim(this.#policy, now)
    return 'after' in from ? this.#readOn(from.after, limits) : this.#readBack(from.before, limits)
  }

  #readOn(after: Position, limits: ReadLimits): ReadResult {
    const head = this.#head
    const reason = this.#lost(after)
    if (reason !== null) return { kind: 'lost', reason, head }
    const from = this.#first + (after.offset - this.#base.offset)
    const to = this.#reach(from, limits, 1)
    return { kind: 'page', entries: this.#kept.slice(from, to), head, complete: to === this.#kept.length }
  }

  #readBack(before: Position | null, limits: ReadLimits): ReadResult {
    const head = this.#head
    const reason = before === null ? null : this.#lost(before)
    if (reason !== null) return { kind: 'lost', reason, head }
    // A position that is trimmed away itself has nothing kept before it.
    const end = before === null ? this.#kept.length : Math.max(this.#first, this.#indexOf(before.offset))
    const from = this.#reach(end - 1, limits, -1) + 1
    return { kind: 'page', entries: this.#kept.slice(from, end), head, complete: from === this.#first }
  }

  #indexOf(offset: number): number {
    return this.#first + (offset - this.#base.offset) - 1
  }

  /** How far a page goes from an index, as an index exclusive. */
  #reach(from: number, { entries, bytes }: ReadLimits, step: 1 | -1): number {
    let index = from
    let room = bytes
    while (index >= this.#first && index < this.#kept.length && Math.abs(index - from) < entries) {
      room -= this.#kept[index]!.bytes
      if (room < 0 && index !== from) break
      index += step
    }
    return index
  }

  #lost({ epoch, offset, tag }: Position): GapReason | null {
    if (epoch !== this.epoch) return 'epoch-lost'
    if (offset > this.#head.offset) return 'rewound'
    if (offset < this.#base.offset) return 'trimmed'
    const there = offset === this.#base.offset ? this.#base : this.#kept[this.#indexOf(offset)]!
    return there.tag === tag ? null : 'rewound'
  }
}
