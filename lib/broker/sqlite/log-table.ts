import type { Publication } from '../broker.ts'
import { forgetFirst } from './cache.ts'
import type { Database } from './driver.ts'
import { fromRow, type LogHead, type LogHeadRow, neverWritten } from './log-head.ts'
import type { Moment, Place } from './request.ts'

export interface LogBounds {
  readonly channels: number
  readonly bytes: number
}

interface OldRow {
  readonly offset: number
  readonly tag: string
  readonly at: number
  readonly bytes: number
}

interface OldestRow extends OldRow {
  readonly seq: number
  /** Of its log; null where that was forgotten. */
  readonly name: string | null
}

const MINUTE_MS = 60_000
/**
 * Rows that are trimmed in one transaction beyond those that came, of one log, of all, and of forgotten ones: so no commit
 * waits for long, and what is too much shrinks under any load.
 */
const TRIMMED = 256
/** Logs that are forgotten at once, each time with a new epoch for those that are new. */
const FORGOTTEN = 64
/** Heads that stay in memory. */
const CACHED = 20_000

interface Totals {
  /** Of logs that are new. */
  epoch: string
  channels: number
  bytes: number
  /** Whether forgotten logs have left entries behind. */
  litter: boolean
}

/** The logs of a file as they are written. All methods but `head` belong into a transaction. */
export class LogTable {
  readonly #bounds: LogBounds
  readonly #sql: ReturnType<typeof statements>
  readonly #heads = new Map<string, LogHead>()
  /** Those that changed in this transaction, each with how many entries came. */
  readonly #changed = new Map<LogHead, number>()
  #totals: Totals
  /** As they were before this transaction. */
  #kept: Totals

  constructor(database: Database, epoch: string, bounds: LogBounds) {
    this.#bounds = bounds
    this.#sql = statements(database)
    const { count: channels, bytes } = this.#sql.sums.get() as { count: number; bytes: number }
    this.#totals = { epoch, channels, bytes, litter: this.#sql.litter.get() !== undefined }
    this.#kept = { ...this.#totals }
  }

  head(channel: string): LogHead {
    const known = this.#heads.get(channel)
    if (known !== undefined) return known
    const row = this.#sql.head.get(channel) as LogHeadRow | undefined
    // One that was never written to keeps the epoch that somebody was told, whatever becomes of others meanwhile.
    const head = row === undefined ? neverWritten(channel, this.#totals.epoch) : fromRow(row, this.#newestAt(row.id))
    this.#heads.set(channel, head)
    return head
  }

  #newestAt(id: number): number {
    return (this.#sql.newest.get(id) as { at: number } | undefined)?.at ?? 0
  }

  append({ channel, text, except, log }: Publication, tag: string, now: number): Place {
    const head = this.head(channel)
    if (head.id === 0) this.#insert(head)
    const prev = head.tag
    const bytes = Buffer.byteLength(text)
    // Never older than the one before, so that age is found by halving.
    const at = Math.max(now, head.newestAt)
    this.#sql.append.run(
      head.id,
      head.head + 1,
      tag,
      at,
      bytes,
      except.length === 0 ? '' : JSON.stringify(except),
      text
    )
    if (head.head === head.base) head.oldestAt = at
    head.head++
    head.tag = tag
    head.newestAt = at
    head.bytes += bytes
    this.#totals.bytes += bytes
    head.policy = log
    this.#changed.set(head, (this.#changed.get(head) ?? 0) + 1)
    return [head.epoch, head.head, prev]
  }

  #insert(head: LogHead): void {
    const { id } = this.#sql.insert.get(head.name, head.epoch) as { id: number }
    head.id = id
    this.#totals.channels++
  }

  /** Trims what is over a bound and writes the heads: the last step of a transaction. */
  settle({ now, chance }: Moment): void {
    const used = Math.floor(now / MINUTE_MS)
    let most = TRIMMED
    for (const [head, came] of this.#changed) {
      this.#trim(head, now, TRIMMED + came)
      head.used = used
      most += came
    }
    if (this.#totals.bytes > this.#bounds.bytes) this.#trimOldest(most)
    for (const { id, head, tag, base, baseTag, bytes, used, policy } of this.#changed.keys()) {
      this.#sql.update.run(head, tag, base, baseTag, bytes, used, policy.entries, policy.ageMs, policy.bytes, id)
    }
    if (this.#totals.channels > this.#bounds.channels) this.#forget(chance)
    if (this.#totals.litter) this.#sweep(most)
  }

  #trim(head: LogHead, now: number, most: number): void {
    const { entries, bytes, ageMs } = head.policy
    const over = () => {
      const count = head.head - head.base
      return count > entries || (count > 1 && head.bytes > bytes) || (count > 0 && now - head.oldestAt > ageMs)
    }
    const first = head.base
    while (over() && head.base - first < most) {
      // Those that are too many, and the next one, which tells whether the others suffice.
      const wanted = Math.min(most, Math.max(0, head.head - head.base - entries) + 1)
      for (const row of this.#sql.oldestOf.all(head.id, head.base, wanted) as OldRow[]) {
        head.oldestAt = row.at
        if (!over()) break
        this.#drop(head, row)
        head.oldestAt = 0
      }
    }
    if (head.base > first) this.#sql.trim.run(head.id, head.base)
  }

  #drop(head: LogHead, { offset, tag, bytes }: OldRow): void {
    head.base = offset
    head.baseTag = tag
    head.bytes -= bytes
    this.#totals.bytes -= bytes
  }

  /** The oldest entries of all logs go first. */
  #trimOldest(most: number): void {
    let last = 0
    for (const row of this.#sql.oldest.all(most) as OldestRow[]) {
      if (this.#totals.bytes <= this.#bounds.bytes) break
      // What a forgotten log has left behind is not counted, and goes all the same: else nothing behind it would be found.
      if (row.name !== null) {
        const head = this.head(row.name)
        // What has just come is kept whatever its size.
        if (row.offset === head.head && this.#changed.get(head)) break
        this.#drop(head, row)
        head.oldestAt = 0
        if (!this.#changed.has(head)) this.#changed.set(head, 0)
      }
      last = row.seq
    }
    if (last > 0) this.#sql.drop.run(last)
  }

  /** Whatever is written to a forgotten log next must not be taken for what was: new logs have another epoch from now on. */
  #forget(chance: string): void {
    const rows = this.#sql.leastUsed.all(this.#changed.size + FORGOTTEN) as {
      id: number
      name: string
      bytes: number
    }[]
    // A few more than needed: the fewer new epochs the better.
    const enough = this.#bounds.channels - Math.min(FORGOTTEN, Math.floor(this.#bounds.channels / 100))
    for (const { id, name, bytes } of rows) {
      const head = this.#heads.get(name)
      if (head !== undefined && this.#changed.has(head)) continue
      this.#sql.remove.run(id)
      this.#sql.forget.run(id)
      this.#heads.delete(name)
      this.#totals.bytes -= bytes
      this.#totals.litter = true
      if (--this.#totals.channels <= enough) break
    }
    this.#totals.epoch = chance
    this.#sql.renew.run(chance)
  }

  /** What forgotten logs have left behind goes, one log after the other. */
  #sweep(most: number): void {
    this.#sql.sweep.run(most)
    const next = this.#sql.litter.get() as { channel: number } | undefined
    this.#totals.litter = next !== undefined
    this.#sql.clean.run(next?.channel ?? Number.MAX_SAFE_INTEGER)
  }

  committed(): void {
    this.#changed.clear()
    this.#kept = { ...this.#totals }
  }

  /** What was in memory of a transaction that failed is not in the file. */
  rolledBack(): void {
    this.#changed.clear()
    this.#heads.clear()
    this.#totals = { ...this.#kept }
  }

  /** Between two groups, when nothing is changed that is not in the file. */
  uncache(): void {
    forgetFirst(this.#heads, CACHED)
  }
}

/** Entries of forgotten logs, found from these logs whatever SQLite knows of the tables: else it may read all entries. */
const LITTER = 'forgotten CROSS JOIN entry INDEXED BY entry_place USING (channel) ORDER BY forgotten.channel'

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    sums: sql('SELECT COUNT(*) AS count, COALESCE(SUM(bytes), 0) AS bytes FROM channel'),
    head: sql('SELECT * FROM channel WHERE name = ?'),
    newest: sql('SELECT at FROM entry WHERE channel = ? ORDER BY offset DESC LIMIT 1'),
    insert:
      sql(`INSERT INTO channel (name, epoch, head, tag, base, base_tag, bytes, used, max_entries, max_age, max_bytes)
      VALUES (?, ?, 0, '', 0, '', 0, 0, 1, 1, 1) RETURNING id`),
    update: sql(`UPDATE channel SET head = ?, tag = ?, base = ?, base_tag = ?, bytes = ?, used = ?, max_entries = ?,
      max_age = ?, max_bytes = ? WHERE id = ?`),
    append: sql('INSERT INTO entry (channel, offset, tag, at, bytes, except_for, text) VALUES (?, ?, ?, ?, ?, ?, ?)'),
    oldestOf: sql('SELECT offset, tag, at, bytes FROM entry WHERE channel = ? AND offset > ? ORDER BY offset LIMIT ?'),
    trim: sql('DELETE FROM entry WHERE channel = ? AND offset <= ?'),
    oldest: sql(`SELECT seq, offset, entry.tag, at, entry.bytes, name
      FROM entry LEFT JOIN channel ON channel.id = entry.channel ORDER BY seq LIMIT ?`),
    drop: sql('DELETE FROM entry WHERE seq <= ?'),
    leastUsed: sql('SELECT id, name, bytes FROM channel ORDER BY used LIMIT ?'),
    remove: sql('DELETE FROM channel WHERE id = ?'),
    forget: sql('INSERT INTO forgotten (channel) VALUES (?)'),
    renew: sql('UPDATE meta SET epoch = ?'),
    litter: sql(`SELECT channel FROM ${LITTER} LIMIT 1`),
    sweep: sql(`DELETE FROM entry WHERE seq IN (SELECT seq FROM ${LITTER} LIMIT ?)`),
    clean: sql('DELETE FROM forgotten WHERE channel < ?')
  }
}
