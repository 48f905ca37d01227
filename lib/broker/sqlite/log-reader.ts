import type { GapReason, Position } from '../../protocol/position.ts'
import type { Entry, Page, ReadFrom, ReadLimits, ReadResult } from '../broker.ts'
import type { Database } from './driver.ts'
import { type LogHead, position } from './log-head.ts'

interface Place {
  readonly offset: number
  readonly tag: string
}

interface Size {
  readonly offset: number
  readonly bytes: number
}

interface EntryRow extends Place {
  readonly except_for: string
  readonly text: string
}

/** The logs of a file as they are read. */
export class LogReader {
  readonly #sql: ReturnType<typeof statements>

  constructor(database: Database) {
    this.#sql = statements(database)
  }

  read(head: LogHead, from: ReadFrom, limits: ReadLimits, now: number): ReadResult {
    const base = this.#base(head, now)
    const given = 'after' in from ? from.after : from.before
    const reason = given === null ? null : this.#lost(head, base, given)
    if (reason !== null) return { kind: 'lost', reason, head: position(head) }
    const page =
      'after' in from ? this.#readOn(head, from.after, limits) : this.#readBack(head, base, from.before, limits)
    return { kind: 'page', ...page }
  }

  /** The place after which the log begins for a reader: what has grown too old is trimmed with the next commit only. */
  #base({ id, head, tag, base, baseTag, policy, oldestAt, newestAt }: LogHead, now: number): Place {
    const oldest = now - policy.ageMs
    if (base === head || oldestAt >= oldest) return { offset: base, tag: baseTag }
    if (newestAt < oldest) return { offset: head, tag }
    // `at` never falls within a log: the last entry that is too old is found by halving.
    let old = base
    let fresh = head
    while (fresh - old > 1) {
      const middle = Math.floor((old + fresh) / 2)
      if ((this.#sql.at.get(id, middle) as { at: number }).at < oldest) old = middle
      else fresh = middle
    }
    return old === base ? { offset: base, tag: baseTag } : { offset: old, tag: this.#tag(id, old) }
  }

  #tag(id: number, offset: number): string {
    return (this.#sql.tag.get(id, offset) as { tag: string }).tag
  }

  #lost(head: LogHead, base: Place, { epoch, offset, tag }: Position): GapReason | null {
    if (epoch !== head.epoch) return 'epoch-lost'
    if (offset > head.head) return 'rewound'
    if (offset < base.offset) return 'trimmed'
    const there = offset === base.offset ? base.tag : offset === head.head ? head.tag : this.#tag(head.id, offset)
    return there === tag ? null : 'rewound'
  }

  #readOn(head: LogHead, after: Position, limits: ReadLimits): Page {
    const sizes = this.#sql.sizesOn.all(head.id, after.offset, limits.entries) as Size[]
    const last = reach(sizes, limits.bytes) ?? after.offset
    const entries = this.#entries(head.id, after, last)
    return { entries, head: position(head), complete: last === head.head }
  }

  #readBack(head: LogHead, base: Place, before: Position | null, limits: ReadLimits): Page {
    const end = before?.offset ?? head.head + 1
    const sizes = this.#sql.sizesBack.all(head.id, end, base.offset, limits.entries) as Size[]
    const first = reach(sizes, limits.bytes)
    if (first === null) return { entries: [], head: position(head), complete: true }
    const previous = first - 1
    const tag = previous === base.offset ? base.tag : this.#tag(head.id, previous)
    const entries = this.#entries(head.id, { offset: previous, tag }, end - 1)
    return { entries, head: position(head), complete: previous === base.offset }
  }

  /** The entries after a place, up to an offset inclusive. */
  #entries(id: number, { offset, tag }: Place, last: number): Entry[] {
    let prev = tag
    return (this.#sql.entries.all(id, offset, last) as EntryRow[]).map(row => {
      const except = row.except_for === '' ? [] : (JSON.parse(row.except_for) as string[])
      const entry = { offset: row.offset, tag: row.tag, prev, text: row.text, except }
      prev = row.tag
      return entry
    })
  }
}

/** The offset of the last of these that fit into so many bytes; the first fits always. */
function reach(sizes: readonly Size[], bytes: number): number | null {
  let room = bytes
  let reached: number | null = null
  for (const size of sizes) {
    room -= size.bytes
    if (room < 0 && reached !== null) break
    reached = size.offset
  }
  return reached
}

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    at: sql('SELECT at FROM entry WHERE channel = ? AND offset = ?'),
    tag: sql('SELECT tag FROM entry WHERE channel = ? AND offset = ?'),
    sizesOn: sql('SELECT offset, bytes FROM entry WHERE channel = ? AND offset > ? ORDER BY offset LIMIT ?'),
    sizesBack: sql(`SELECT offset, bytes FROM entry WHERE channel = ? AND offset < ? AND offset > ?
      ORDER BY offset DESC LIMIT ?`),
    entries: sql(`SELECT offset, tag, except_for, text FROM entry WHERE channel = ? AND offset > ? AND offset <= ?
      ORDER BY offset`)
  }
}
