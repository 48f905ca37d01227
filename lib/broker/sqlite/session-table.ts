import type { Position } from '../../protocol/position.ts'
import type { CommandRecord, KeptResult, SessionRecord } from '../broker.ts'
import { holesOf } from '../broker.ts'
import { forgetFirst } from './cache.ts'
import type { Database } from './driver.ts'
import type { CommitAnswer } from './request.ts'
import { type ResultBounds, ResultTable } from './result-table.ts'

export interface SessionBounds extends ResultBounds {
  readonly sessions: number
}

export interface Session {
  readonly id: number
  fence: number
  highest: number
  holes: readonly number[]
  /** Minutes of the wall clock, so that the index of it changes rarely. */
  used: number
}

interface SessionRow {
  readonly id: number
  readonly fence: number
  readonly highest: number
  readonly holes: string
  readonly used: number
}

interface Totals {
  sessions: number
  /** The minute in which old sessions were last looked for. */
  looked: number
}

const MINUTE_MS = 60_000
/** A session that commits nothing for so many minutes is forgotten: a day, in which a server may be away. */
const SESSION_MINUTES = 1_440
/** Sessions that are purged in one transaction beyond those that came, so that no commit waits for long. */
const PURGED = 256
const CACHED = 20_000

/** The sessions of a file and the results of their commands. */
export class SessionTable {
  readonly #bounds: SessionBounds
  readonly #sql: ReturnType<typeof statements>
  readonly #results: ResultTable
  readonly #sessions = new Map<string, Session>()
  readonly #changed = new Map<string, Session>()
  #totals: Totals
  #kept: Totals

  constructor(database: Database, bounds: SessionBounds) {
    this.#bounds = bounds
    this.#sql = statements(database)
    this.#results = new ResultTable(database, bounds)
    this.#totals = { ...(this.#sql.sums.get() as { sessions: number }), looked: 0 }
    this.#kept = { ...this.#totals }
  }

  #session(key: string): Session | null {
    const known = this.#sessions.get(key)
    if (known !== undefined) return known
    const row = this.#sql.session.get(quoted(key)) as SessionRow | undefined
    // Whoever tries keys that do not exist fills no memory.
    if (row === undefined) return null
    const { id, fence, highest, used } = row
    const holes = row.holes === '' ? [] : row.holes.split(',').map(Number)
    const session = { id, fence, highest, holes, used }
    this.#sessions.set(key, session)
    return session
  }

  record(key: string): SessionRecord | null {
    const session = this.#session(key)
    return session === null ? null : { fence: session.fence, highest: session.highest, holes: session.holes }
  }

  result(key: string, id: number): KeptResult | null {
    const session = this.#session(key)
    return session === null ? null : this.#results.find(session, id)
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

  #remove(id: number): void {
    this.#sql.remove.run(id)
    this.#results.end(id)
    this.#totals.sessions--
  }

  add(command: CommandRecord, position: Position | null, now: number): void {
    const { session: key, fence, progress } = command
    const session = this.#session(key) ?? this.#insert(key)
    session.fence = Math.max(session.fence, fence)
    session.holes = holesOf(progress, session)
    session.highest = progress.highest
    session.used = Math.floor(now / MINUTE_MS)
    this.#results.add(session, command, position, now)
    this.#changed.set(key, session)
  }

  #insert(key: string): Session {
    const { id } = this.#sql.insert.get(quoted(key)) as { id: number }
    this.#totals.sessions++
    const session = { id, fence: 0, highest: 0, holes: [], used: 0 }
    this.#sessions.set(key, session)
    return session
  }

  /** Purges what is over a bound and writes the sessions: the last step of a transaction. */
  settle(now: number): void {
    for (const session of this.#changed.values()) {
      this.#results.prune(session)
      const { fence, highest, holes, used, id } = session
      this.#sql.update.run(fence, highest, holes.join(','), used, id)
    }
    this.#results.purge(now)
    this.#purgeSessions(Math.floor(now / MINUTE_MS))
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
    this.#results.committed()
    this.#kept = { ...this.#totals }
  }

  /** What was in memory of a transaction that failed is not in the file. */
  rolledBack(): void {
    this.#changed.clear()
    this.#sessions.clear()
    this.#results.rolledBack()
    this.#totals = { ...this.#kept }
  }

  /** Between two groups, when nothing is changed that is not in the file. */
  uncache(): void {
    forgetFirst(this.#sessions, CACHED)
  }
}

/** A key holds what a stranger's profile id holds; some drivers cut a text off at a NUL. */
function quoted(key: string): string {
  return JSON.stringify(key)
}

function statements(database: Database) {
  const sql = (text: string) => database.prepare(text)
  return {
    sums: sql('SELECT COUNT(*) AS sessions FROM session'),
    session: sql('SELECT * FROM session WHERE key = ?'),
    insert: sql(`INSERT INTO session (key, fence, highest, holes, used)
      VALUES (?, 0, 0, '', 0) RETURNING id`),
    update: sql('UPDATE session SET fence = ?, highest = ?, holes = ?, used = ? WHERE id = ?'),
    remove: sql('DELETE FROM session WHERE id = ?'),
    leastUsed: sql('SELECT id, key, used FROM session ORDER BY used LIMIT ?')
  }
}
