import type { Position } from '../protocol/position.ts'
import type { CommandRecord, Committed, KeptResult, SessionRecord } from './broker.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from './broker.ts'

interface Result extends KeptResult {
  readonly at: number
}

interface Session {
  fence: number
  highest: number
  holes: readonly number[]
  readonly results: Map<number, Result>
  characters: number
}

/** The sessions of a store in memory, each with the results that a resend may still ask for. */
export class SessionStore {
  readonly #sessions = new Map<string, Session>()
  readonly #maxSessions: number

  constructor(maxSessions: number) {
    this.#maxSessions = maxSessions
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
    if ((this.#sessions.get(key)?.fence ?? Number.POSITIVE_INFINITY) <= fence) this.#sessions.delete(key)
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
    const known = this.#sessions.get(key)
    const session = known ?? { fence, highest: 0, holes: [], results: new Map<number, Result>(), characters: 0 }
    session.fence = Math.max(session.fence, fence)
    session.highest = progress.highest
    session.holes = progress.holes
    session.results.set(id, { reply, position, at: now })
    session.characters += reply.length
    prune(session, now)
    // The one that was used last is the last to go.
    if (known !== undefined) this.#sessions.delete(key)
    this.#sessions.set(key, session)
    const [oldest] = this.#sessions.keys()
    if (this.#sessions.size > this.#maxSessions) this.#sessions.delete(oldest!)
  }
}

function prune(session: Session, now: number): void {
  for (const [id, { at, reply }] of session.results) {
    const old = now - at > RESULT_AGE_MS || id <= session.highest - RESULT_IDS
    if (!old && session.characters <= RESULT_CHARACTERS) return
    session.results.delete(id)
    session.characters -= reply.length
  }
}
