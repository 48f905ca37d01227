import type { Position } from '../../protocol/position.ts'
import { type CommandRecord, type KeptResult, RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker.ts'
import type { Database } from './driver.ts'
import type { Session } from './session-table.ts'

export interface ResultBounds {
  readonly results: number
  readonly replyCharacters: number
}

interface ResultRow {
  readonly epoch: string
  readonly offset: number
  readonly tag: string
  readonly reply: string
}

interface OldRow {
  readonly seq: number
  readonly id: number
  readonly at: number
  readonly size: number
  readonly written: number
}

interface OldRows {
  readonly count: number
  readonly size: number
  readonly seq: number
}

interface Totals {
  results: number
  /** Characters of all kept replies. */
  replies: number
  /** When the oldest kept result was made, at the earliest. */
  oldestAt: number
  newestAt: number
}

/** Rows that are purged in one transaction beyond those that came, so that no commit waits for long. */
const PURGED = 256

/** The results of commands that a resend may still ask for. What writes belongs into a transaction. */
export class ResultTable {
  readonly #bounds: ResultBounds
  readonly #sql: ReturnType<typeof statements>
  /** Results of this transaction. */
  #came = 0
  #totals: Totals
  #kept: Totals

  constructor(database: Database, bounds: ResultBounds) {
    this.#bounds = bounds
    this.#sql = statements(database)
    this.#totals = { ...(this.#sql.sums.get() as Omit<Totals, 'oldestAt'>), oldestAt: 0 }
    this.#kept = { ...this.#totals }
  }

  find(session: Session, id: number): KeptResult | null {
    const row = this.#sql.find.get(session.id, id) as ResultRow | undefined
    if (row === undefined) return null
    const { reply, epoch, offset, tag } = row
    return { reply, position: epoch === '' ? null : { epoch, offset, tag } }
  }

  add(session: Session, { id, reply }: CommandRecord, position: Position | null, now: number): void {
    const totals = this.#totals
    const at = Math.max(now, totals.newestAt)
    const { epoch, offset, tag } = position ?? { epoch: '', offset: 0, tag: '' }
    session.written += reply.length
    this.#sql.add.run(session.id, id, at, reply.length, session.written, epoch, offset, tag, reply)
    totals.newestAt = at
    totals.results++
    totals.replies += reply.length
    this.#came++
  }

  /** What a session's newer results let go of, once that is worth a statement. */
  prune(session: Session): void {
    const ids = session.highest - RESULT_IDS - session.oldestId
    if (ids < PURGED && session.written - session.oldestWritten <= RESULT_CHARACTERS) return
    let [last, count, size] = [0, 0, 0]
    for (const row of this.#sql.oldestOf.all(session.id, 2 * PURGED) as OldRow[]) {
      session.oldestId = row.id
      session.oldestWritten = row.written
      if (row.id > session.highest - RESULT_IDS && session.written - row.written <= RESULT_CHARACTERS) break
      last = row.id
      count++
      size += row.size
    }
    if (count === 0) return
    this.#sql.prune.run(session.id, last)
    this.#totals.results -= count
    this.#totals.replies -= size
  }

  /** What is too old or too much over all sessions. */
  purge(now: number): void {
    const totals = this.#totals
    const tooMany = totals.results - this.#bounds.results
    const tooLarge = totals.replies > this.#bounds.replyCharacters
    if (tooMany > 0 || tooLarge) this.#makeRoom(Math.max(tooMany, tooLarge ? PURGED + this.#came : 0))
    if (totals.results === 0 || now - totals.oldestAt <= RESULT_AGE_MS) return
    const oldest = this.#sql.oldest.get() as OldRow
    totals.oldestAt = oldest.at
    const last = oldest.seq + PURGED + this.#came
    const { count, size, seq } = this.#sql.old.get(oldest.seq, last, now - RESULT_AGE_MS) as OldRows
    if (count > 0) this.#forget(seq, count, size)
  }

  /** The oldest go, but for what this transaction has brought. */
  #makeRoom(most: number): void {
    const { results, replyCharacters } = this.#bounds
    const totals = this.#totals
    let [last, count, size] = [0, 0, 0]
    for (const row of this.#sql.oldestFew.all(Math.min(most, totals.results - this.#came)) as OldRow[]) {
      if (totals.results - count <= results && totals.replies - size <= replyCharacters) break
      last = row.seq
      count++
      size += row.size
    }
    if (count > 0) this.#forget(last, count, size)
  }

  #forget(seq: number, count: number, size: number): void {
    this.#sql.forget.run(seq)
    this.#totals.results -= count
    this.#totals.replies -= size
    this.#totals.oldestAt = 0
  }

  committed(): void {
    this.#came = 0
    this.#kept = { ...this.#totals }
  }

  rolledBack(): void {
    this.#came = 0
    this.#totals = { ...this.#kept }
  }
}

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    sums: sql(`SELECT COUNT(*) AS results, COALESCE(SUM(size), 0) AS replies, COALESCE(MAX(at), 0) AS newestAt
      FROM result`),
    find: sql('SELECT epoch, offset, tag, reply FROM result WHERE session = ? AND id = ?'),
    add: sql(`INSERT INTO result (session, id, at, size, written, epoch, offset, tag, reply)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    oldestOf: sql('SELECT id, written, size FROM result WHERE session = ? ORDER BY id LIMIT ?'),
    prune: sql('DELETE FROM result WHERE session = ? AND id <= ?'),
    oldest: sql('SELECT seq, at FROM result ORDER BY seq LIMIT 1'),
    oldestFew: sql('SELECT seq, size FROM result ORDER BY seq LIMIT ?'),
    old: sql(`SELECT COUNT(*) AS count, SUM(size) AS size, MAX(seq) AS seq FROM result
      WHERE seq BETWEEN ? AND ? AND at < ?`),
    forget: sql('DELETE FROM result WHERE seq <= ?')
  }
}
