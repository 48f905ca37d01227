import type { Position } from '../../protocol/position.ts'
import { type CommandRecord, type KeptResult, RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker.ts'
import type { Database } from './driver.ts'
import { ResultIndex } from './result-index.ts'
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

interface IndexRow {
  readonly seq: number
  readonly session: number
  readonly id: number
  readonly size: number
}

interface OldRow {
  readonly seq: number
  readonly session: number
  readonly size: number
}

interface Totals {
  results: number
  /** Characters of all kept replies. */
  replies: number
  /** When the oldest kept result was made, at the earliest. */
  oldestAt: number
  newestAt: number
  /** The last row. */
  seq: number
}

/** Rows that are purged in one transaction beyond those that came, so that no commit waits for long. */
const PURGED = 256

/** Rows that are read at once when a file is opened. */
const PAGE = 1_000

/** The results of commands that a resend may still ask for. What writes belongs into a transaction. */
export class ResultTable {
  readonly #bounds: ResultBounds
  readonly #sql: ReturnType<typeof statements>
  readonly #index = new ResultIndex()
  /** Results of this transaction: which session, and its command. */
  #added: (readonly [session: number, id: number])[] = []
  /** What of the index is gone once this transaction is in the file. */
  #gone: (() => void)[] = []
  #totals: Totals
  #kept: Totals

  constructor(database: Database, bounds: ResultBounds) {
    this.#bounds = bounds
    this.#sql = statements(database)
    this.#totals = { ...(this.#sql.sums.get() as Omit<Totals, 'oldestAt'>), oldestAt: 0 }
    this.#kept = { ...this.#totals }
    this.#read()
  }

  #read(): void {
    let rows: IndexRow[]
    let last = 0
    do {
      rows = this.#sql.page.all(last, PAGE) as IndexRow[]
      for (const { session, ...mark } of rows) this.#index.add(session, mark)
      last = rows.at(-1)?.seq ?? last
    } while (rows.length === PAGE)
  }

  find(session: Session, id: number): KeptResult | null {
    const seq = this.#index.find(session.id, id)
    const row = seq === null ? undefined : (this.#sql.find.get(seq) as ResultRow | undefined)
    if (row === undefined) return null
    const { reply, epoch, offset, tag } = row
    return { reply, position: epoch === '' ? null : { epoch, offset, tag } }
  }

  add(session: Session, { id, reply }: CommandRecord, position: Position | null, now: number): void {
    const totals = this.#totals
    const at = Math.max(now, totals.newestAt)
    const seq = totals.seq + 1
    const { epoch, offset, tag } = position ?? { epoch: '', offset: 0, tag: '' }
    this.#sql.add.run(seq, session.id, id, at, reply.length, epoch, offset, tag, reply)
    this.#index.add(session.id, { id, seq, size: reply.length })
    this.#added.push([session.id, id])
    totals.seq = seq
    totals.newestAt = at
    totals.results++
    totals.replies += reply.length
  }

  /** What a session's newer results let go of, once that is worth a statement. */
  prune({ id: session, highest }: Session): void {
    const index = this.#index
    const over = index.over(session, highest - RESULT_IDS, RESULT_CHARACTERS, PURGED, 2 * PURGED)
    if (over.length === 0) return
    const gone = this.#sql.prune.all(JSON.stringify(over.map(({ seq }) => seq))) as { readonly size: number }[]
    this.#gone.push(() => index.drop(session, over.length))
    this.#totals.results -= gone.length
    this.#totals.replies -= gone.reduce((sum, { size }) => sum + size, 0)
  }

  /** Nobody asks for these any more; they go when they are old. */
  end(session: number): void {
    this.#gone.push(() => this.#index.end(session))
  }

  /** What is too old or too much over all sessions. */
  purge(now: number): void {
    const totals = this.#totals
    const tooMany = totals.results - this.#bounds.results
    const tooLarge = totals.replies > this.#bounds.replyCharacters
    if (tooMany > 0 || tooLarge) this.#makeRoom(Math.max(tooMany, tooLarge ? PURGED + this.#added.length : 0))
    if (totals.results === 0 || now - totals.oldestAt <= RESULT_AGE_MS) return
    const oldest = this.#sql.oldest.get() as { readonly seq: number; readonly at: number }
    totals.oldestAt = oldest.at
    const last = oldest.seq + PURGED + this.#added.length
    this.#forget(this.#sql.old.all(oldest.seq, last, now - RESULT_AGE_MS) as OldRow[])
  }

  /** The oldest go, but for what this transaction has brought. */
  #makeRoom(most: number): void {
    const { results, replyCharacters } = this.#bounds
    let { results: count, replies } = this.#totals
    const going: OldRow[] = []
    for (const row of this.#sql.oldestFew.all(Math.min(most, count - this.#added.length)) as OldRow[]) {
      if (count <= results && replies <= replyCharacters) break
      going.push(row)
      count--
      replies -= row.size
    }
    this.#forget(going)
  }

  #forget(rows: readonly OldRow[]): void {
    const last = rows.at(-1)
    if (last === undefined) return
    const { seq } = last
    this.#sql.forget.run(seq)
    for (const session of new Set(rows.map(row => row.session))) {
      this.#gone.push(() => this.#index.dropUpTo(session, seq))
    }
    this.#totals.results -= rows.length
    this.#totals.replies -= rows.reduce((sum, { size }) => sum + size, 0)
    this.#totals.oldestAt = 0
  }

  committed(): void {
    for (const go of this.#gone) go()
    this.#gone = []
    this.#added = []
    this.#kept = { ...this.#totals }
  }

  rolledBack(): void {
    for (const [session, id] of this.#added) this.#index.remove(session, id)
    this.#gone = []
    this.#added = []
    this.#totals = { ...this.#kept }
  }
}

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    sums: sql(`SELECT COUNT(*) AS results, COALESCE(SUM(size), 0) AS replies, COALESCE(MAX(at), 0) AS newestAt,
      COALESCE(MAX(seq), 0) AS seq FROM result`),
    // Of those that are left of a session that was ended nobody asks.
    page: sql(`SELECT seq, session, result.id, size FROM result JOIN session ON session.id = result.session
      WHERE seq > ? ORDER BY seq LIMIT ?`),
    find: sql('SELECT epoch, offset, tag, reply FROM result WHERE seq = ?'),
    add: sql(`INSERT INTO result (seq, session, id, at, size, epoch, offset, tag, reply)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    prune: sql('DELETE FROM result WHERE seq IN (SELECT value FROM json_each(?)) RETURNING size'),
    oldest: sql('SELECT seq, at FROM result ORDER BY seq LIMIT 1'),
    oldestFew: sql('SELECT seq, session, size FROM result ORDER BY seq LIMIT ?'),
    old: sql('SELECT seq, session, size FROM result WHERE seq BETWEEN ? AND ? AND at < ? ORDER BY seq'),
    forget: sql('DELETE FROM result WHERE seq <= ?')
  }
}
