import { AgedMap } from '../aged-map.ts'
import type { Position } from '../protocol/position.ts'
import type { CommandRecord, Committed, KeptResult, SessionRecord } from './broker.ts'
import { holesOf, RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from './broker.ts'

interface Result extends KeptResult {
  readonly at: number
}

interface Session {
  fence: number
  highest: number
  holes: readonly number[]
  /** In the order of their commits, the oldest first. */
  readonly results: AgedMap<number, Result>
  /** Of the replies in them. */
  characters: number
  usedAt: number
}

/** How much a session store may hold in all. */
export interface SessionBounds {
  readonly sessions: number
  readonly results: number
  /** Characters of the replies in the results. */
  readonly replyCharacters: number
}

/** The sessions of a store in memory, each with the results that a resend may still ask for. */
export class SessionStore {
  readonly #bounds: SessionBounds
  /** In the order of their last commit, the least recent first. */
  readonly #sessions = new AgedMap<string, Session>()
  /** Those of them that hold results, in the same order. */
  readonly #holding = new AgedMap<Session, null>()
  #results = 0
  #characters = 0

  constructor(bounds: SessionBounds) {
    this.#bounds = bounds
  }

  get size(): number {
    return this.#sessions.size
  }

  open(key: string, fence: number): SessionRecord | null {
    const session = this.#sessions.get(key)
    if (session === undefined) return null
    const { fence: before, highest, holes } = session
    session.fence = Math.max(before, fence)
    return { fence: before, highest, holes }
  }

  end(key: string, fence: number): void {
    const session = this.#sessions.get(key)
    if (session === undefined || fence < session.fence) return
    this.#empty(session)
    this.#sessions.delete(key)
  }

  result(key: string, id: number): KeptResult | null {
    const result = this.#sessions.get(key)?.results.get(id)
    return result === undefined ? null : { reply: result.reply, position: result.position }
  }

  /** Why this command must not be stored; null where it may be. */
  refusal({ session: key, fence, id }: CommandRecord): Committed | null {
    const session = this.#sessions.get(key)
    if (session === undefined) return null
    if (fence < session.fence) return { kind: 'fenced' }
    const result = this.result(key, id)
    if (result !== null) return { kind: 'earlier', result }
    return id <= session.highest && !session.holes.includes(id) ? { kind: 'expired' } : null
  }

  record({ session: key, fence, id, progress, reply }: CommandRecord, position: Position | null, now: number): void {
    const session = this.#sessions.get(key) ?? newSession()
    session.fence = Math.max(session.fence, fence)
    session.holes = holesOf(progress, session)
    session.highest = progress.highest
    session.usedAt = now
    session.results.set(id, { reply, position, at: now })
    session.characters += reply.length
    this.#results++
    this.#characters += reply.length
    // The one that was used last is the last to go.
    this.#sessions.set(key, session)
    this.#holding.set(session, null)
    this.#prune(session, now)
    this.#purge(session, now)
  }

  #prune(session: Session, now: number): void {
    const { results } = session
    for (let oldest = results.oldest; oldest !== null; oldest = results.oldest) {
      const { key: id, value } = oldest
      const old = now - value.at > RESULT_AGE_MS || id <= session.highest - RESULT_IDS
      // The newest has no newer ones that could push it out.
      if (!old && (session.characters <= RESULT_CHARACTERS || results.size === 1)) return
      this.#drop(session, id, value.reply)
    }
  }

  #drop(session: Session, id: number, reply: string): void {
    session.results.delete(id)
    session.characters -= reply.length
    this.#results--
    this.#characters -= reply.length
  }

  get #isOver(): boolean {
    return this.#results > this.#bounds.results || this.#characters > this.#bounds.replyCharacters
  }

  /** Sessions that commit nothing any more hold nothing for ever: their results go when they are old, or for want of room. */
  #purge(kept: Session, now: number): void {
    for (let session = this.#holding.oldest!.key; session !== kept; session = this.#holding.oldest!.key) {
      if (!this.#isOver && now - session.usedAt <= RESULT_AGE_MS) break
      this.#empty(session)
    }
    // What is over when nobody else holds anything is its own.
    while (this.#isOver && kept.results.size > 1) {
      const { key, value } = kept.results.oldest!
      this.#drop(kept, key, value.reply)
    }
    if (this.#sessions.size <= this.#bounds.sessions) return
    const { key, value } = this.#sessions.oldest!
    this.#empty(value)
    this.#sessions.delete(key)
  }

  #empty(session: Session): void {
    this.#results -= session.results.size
    this.#characters -= session.characters
    session.results.clear()
    session.characters = 0
    this.#holding.delete(session)
  }
}

function newSession(): Session {
  return { fence: 0, highest: 0, holes: [], results: new AgedMap(), characters: 0, usedAt: 0 }
}
