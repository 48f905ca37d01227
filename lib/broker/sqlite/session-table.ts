import type { Position } from '../../protocol/position.ts'
import type { CommandRecord, KeptResult, SessionRecord } from '../broker.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker.ts'
import type { Database } from './driver.ts'
import type { CommitAnswer } from './request.ts'

export interface SessionBounds {
  readonly sessions: number
  readonly results: number
  readonly replies: number
}

interface Session {
  readonly id: number
  fence: number
  highest: number
  holes: readonly number[]
  /** Minutes of the wall clock, so that the index of it changes rarely. */
  used: number
  /** Characters of all replies it ever got. */
  written: number
  /** Of its oldest kept result, as far as was looked: the id, and `written` with it. */
  oldestId: number
  oldestWritten: number
}

interface SessionRow {
  readonly id: number
  readonly fence: number
  readonly highest: number
  readonly holes: string
  readonly used: number
  readonly written: number
}

interface ResultRow {
  readonly epoch: string
  readonly offset: number
  readonly tag: string
  readonly reply: string
}

interface Old {
  readonly count: number
  readonly size: number
  readonly seq: number
}

interface Totals {
  sessions: number
  results: number
  /** Characters of all kept replies. */
  replies: number
  /** When the oldest kept result was made, at the earliest. */
  oldestAt: number
  newestAt: number
  /** The minute in which old sessions were last looked for. */
  looked: number
}

const MINUTE_MS = 60_000
/** A session that commits nothing for so many minutes is forgotten: a day, in which a server may be away. */
const SESSION_MINUTES = 1_440
/** Rows of a kind that are purged in one transaction beyond those that came, so that no commit waits for long. */
const PURGED = 256
const CACHED = 20_000

/** The sessions of a file and the results of their commands. */
export class SessionTable {
  readonly #bounds: SessionBounds
  readonly #sql: ReturnType<typeof statements>
  readonly #sessions = new Map<string, Session>()
  readonly #changed = new Map<string, Session>()
  /** Results of this transaction. */
  #came = 0
  #totals: Totals
  #kept: Totals

  constructor(database: Database, bounds: SessionBounds) {
    this.#bounds = bounds
    this.#sql = statements(database)
    const sums = this.#sql.sums.get() as Pick<Totals, 'sessions' | 'results' | 'replies' | 'newestAt'>
    this.#totals = { ...sums, oldestAt: 0, looked: 0 }
    this.#kept = { ...this.#totals }
  }

  #session(key: string): Session | null {
    const known = this.#sessions.get(key)
    if (known !== undefined) return known
    const row = this.#sql.session.get(quoted(key)) as SessionRow | undefined
    // Whoever tries keys that do not exist fills no memory.
    if (row === undefined) return null
    const { id, fence, highest, used, written } = row
    const holes = row.holes === '' ? [] : row.holes.split(',').map(Number)
    return this.#cache(key, { id, fence, highest, holes, used, written, oldestId: 0, oldestWritten: 0 })
  }

  #cache(key: string, session: Session): Session {
    this.#sessions.set(key, session)
    if (this.#sessions.size <= CACHED) return session
    for (const other of this.#sessions.keys()) {
      if (other === key || this.#changed.has(other)) continue
      this.#sessions.delete(other)
      break
    }
    return session
  }

  record(key: string): SessionRecord | null {
    const session = this.#session(key)
    return session === null ? null : { fence: session.fence, highest: session.highest, holes: session.holes }
  }

  result(key: string, id: number): KeptResult | null {
    const session = this.#session(key)
    const row = session === null ? undefined : (this.#sql.result.get(session.id, id) as ResultRow | undefined)
    if (row === undefined) return null
    const { reply, epoch, offset, tag } = row
    return { reply, position: epoch === '' ? null : { epoch, offset, tag } }
  }

  /** Why this command must not be stored; null where it may be. */
  refusal({ session: key, fence, id }: CommandRecord): CommitAnswer | null {
    const session = this.#session(key)
    if (session === null) return null
    if (fence < session.fence) return { kind: 'fenced' }
    if (id > session.highest) return null
    // A hole may be one whose commit was thought to have failed.
    const result = this.result(key, id)
    if (result !== null) return { kind: 'earlier', result }
    return session.holes.includes(id) ? null : { kind: 'expired' }
  }

  // What follows belongs into a transaction.

  fence(key: string, fence: number): void {
    const session = this.#session(key)!
    session.fence = fence
    this.#changed.set(key, session)
  }

  end(key: string): void {
    const session = this.#session(key)!
    this.#sessions.delete(key)
    this.#changed.delete(key)
    this.#remove(session.id)
  }

  /** Its results are found by nobody from now on, and go when they are old. */
  #remove(id: number): void {
    this.#sql.remove.run(id)
    this.#totals.sessions--
  }

  add({ session: key, fence, id, progress, reply }: CommandRecord, position: Position | null, now: number): void {
    const session = this.#session(key) ?? this.#insert(key)
    session.fence = Math.max(session.fence, fence)
    session.highest = progress.highest
    session.holes = progress.holes
    session.written += reply.length
    session.used = Math.floor(now / MINUTE_MS)
    this.#changed.set(key, session)
    const at = Math.max(now, this.#totals.newestAt)
    const { epoch, offset, tag } = position ?? { epoch: '', offset: 0, tag: '' }
    this.#sql.add.run(session.id, id, at, reply.length, session.written, epoch, offset, tag, reply)
    this.#totals.newestAt = at
    this.#totals.results++
    this.#totals.replies += reply.length
    this.#came++
  }

  #insert(key: string): Session {
    const { id } = this.#sql.insert.get(quoted(key)) as { id: number }
    this.#totals.sessions++
    return this.#cache(key, { id, fence: 0, highest: 0, holes: [], used: 0, written: 0, oldestId: 1, oldestWritten: 0 })
  }

  /** Purges what is over a bound and writes the sessions: the last step of a transaction. */
  settle(now: number): void {
    for (const session of this.#changed.values()) {
      this.#prune(session)
      const { fence, highest, holes, used, written, id } = session
      this.#sql.update.run(fence, highest, holes.join(','), used, written, id)
    }
    this.#purgeResults(now)
    this.#purgeSessions(Math.floor(now / MINUTE_MS))
  }

  /** What a session's newer results let go of, once that is worth a statement. */
  #prune(session: Session): void {
    const ids = session.highest - RESULT_IDS - session.oldestId
    if (ids < PURGED && session.written - session.oldestWritten <= RESULT_CHARACTERS) return
    const rows = this.#sql.oldestOf.all(session.id, 2 * PURGED) as { id: number; written: number; size: number }[]
    let last = 0
    for (const { id, written, size } of rows) {
      session.oldestId = id
      session.oldestWritten = written
      if (id > session.highest - RESULT_IDS && session.written - written <= RESULT_CHARACTERS) break
      last = id
      this.#totals.results--
      this.#totals.replies -= size
    }
    if (last > 0) this.#sql.prune.run(session.id, last)
  }

  #purgeResults(now: number): void {
    const totals = this.#totals
    const tooMany = totals.results - this.#bounds.results
    const tooLarge = totals.replies > this.#bounds.replies
    if (tooMany > 0 || tooLarge) this.#makeRoom(Math.max(tooMany, tooLarge ? PURGED + this.#came : 0))
    if (totals.results === 0 || now - totals.oldestAt <= RESULT_AGE_MS) return
    const oldest = this.#sql.oldest.get() as { seq: number; at: number }
    totals.oldestAt = oldest.at
    const last = oldest.seq + PURGED + this.#came
    const { count, size, seq } = this.#sql.old.get(oldest.seq, last, now - RESULT_AGE_MS) as Old
    if (count > 0) this.#purge(seq, count, size)
  }

  /** The oldest go, but for what this transaction has brought. */
  #makeRoom(most: number): void {
    const { results, replies } = this.#bounds
    const totals = this.#totals
    let [last, count, size] = [0, 0, 0]
    for (const row of this.#sql.oldestFew.all(Math.min(most, totals.results - this.#came)) as {
      seq: number
      size: number
    }[]) {
      if (totals.results - count <= results && totals.replies - size <= replies) break
      last = row.seq
      count++
      size += row.size
    }
    if (count > 0) this.#purge(last, count, size)
  }

  #purge(seq: number, count: number, size: number): void {
    this.#sql.purge.run(seq)
    this.#totals.results -= count
    this.#totals.replies -= size
    this.#totals.oldestAt = 0
  }

  #purgeSessions(minute: number): void {
    const totals = this.#totals
    if (totals.sessions <= this.#bounds.sessions && totals.looked === minute) return
    totals.looked = minute
    const most = this.#changed.size + PURGED
    for (const { id, key, used } of this.#sql.leastUsed.all(most) as { id: number; key: string; used: number }[]) {
      const old = used < minute - SESSION_MINUTES
      if (!old && totals.sessions <= this.#bounds.sessions) return
      const name = JSON.parse(key) as string
      if (this.#changed.has(name)) continue
      this.#sessions.delete(name)
      this.#remove(id)
    }
  }

  committed(): void {
    this.#changed.clear()
    this.#came = 0
    this.#kept = { ...this.#totals }
  }

  /** What was in memory of a transaction that failed is not in the file. */
  rolledBack(): void {
    this.#changed.clear()
    this.#sessions.clear()
    this.#came = 0
    this.#totals = { ...this.#kept }
  }
}

/** A key holds what a stranger's profile id holds; some drivers cut a text off at a NUL. */
function quoted(key: string): string {
  return JSON.stringify(key)
}

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    sums: sql(`SELECT (SELECT COUNT(*) FROM session) AS sessions, COUNT(*) AS results, COALESCE(SUM(size), 0) AS replies,
      COALESCE(MAX(at), 0) AS newestAt FROM result`),
    session: sql('SELECT * FROM session WHERE key = ?'),
    insert: sql(`INSERT INTO session (key, fence, highest, holes, used, written)
      VALUES (?, 0, 0, '', 0, 0) RETURNING id`),
    update: sql('UPDATE session SET fence = ?, highest = ?, holes = ?, used = ?, written = ? WHERE id = ?'),
    remove: sql('DELETE FROM session WHERE id = ?'),
    leastUsed: sql('SELECT id, key, used FROM session ORDER BY used LIMIT ?'),
    result: sql('SELECT epoch, offset, tag, reply FROM result WHERE session = ? AND id = ?'),
    add: sql(`INSERT INTO result (session, id, at, size, written, epoch, offset, tag, reply)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`),
    oldestOf: sql('SELECT id, written, size FROM result WHERE session = ? ORDER BY id LIMIT ?'),
    prune: sql('DELETE FROM result WHERE session = ? AND id <= ?'),
    oldest: sql('SELECT seq, at FROM result ORDER BY seq LIMIT 1'),
    oldestFew: sql('SELECT seq, size FROM result ORDER BY seq LIMIT ?'),
    old: sql(`SELECT COUNT(*) AS count, SUM(size) AS size, MAX(seq) AS seq FROM result
      WHERE seq BETWEEN ? AND ? AND at < ?`),
    purge: sql('DELETE FROM result WHERE seq <= ?')
  }
}
