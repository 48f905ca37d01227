import { AgedMap } from '../aged-map.ts'
import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Broker, SessionRecord } from '../broker/broker.ts'
import { newId } from '../chance.ts'
import { closeAs } from '../connection/close.ts'
import type { Connection } from '../connection/connection.ts'
import { DelayLine } from '../connection/delay-line.ts'
import type { Resume } from '../connection/resume.ts'
import { MultiMap } from '../multi-map.ts'
import type { Clock } from '../protocol/clock.ts'
import type { RegisteredProfile } from '../register.ts'
import { AllAnswers } from './answers.ts'
import { Session } from './session.ts'

/** The part of `limits` that concerns sessions. */
export interface SessionLimits {
  readonly sessions: number
  readonly sessionsPerUser: number
  readonly sessionsPerAddress: number
  readonly answerCharacters: number
}

/** A session as a connection begins with it. */
export interface OpenedSession {
  readonly session: Session
  readonly resumed: boolean
  /** The connection's dial count in it. */
  readonly dial: number
}

/** The sessions that this node has: those with a connection, and those whose client may come back. */
export class Sessions {
  readonly #clock: Clock
  readonly #broker: Broker
  readonly #limits: SessionLimits
  readonly #byKey = new Map<string, Session>()
  readonly #byOwner = new MultiMap<string, Session>()
  /** Sessions without a connection; the one that was left first is the first to be forgotten. */
  readonly #idle: DelayLine
  /** Those of each owner, likewise. */
  readonly #idleOf = new Map<string, AgedMap<string, Session>>()
  readonly #answers: AllAnswers
  #closed = false

  constructor(clock: Clock, broker: Broker, limits: SessionLimits, idleMs: number) {
    this.#clock = clock
    this.#broker = broker
    this.#limits = limits
    this.#idle = new DelayLine(clock, idleMs)
    this.#answers = new AllAnswers(limits.answerCharacters)
  }

  get size(): number {
    return this.#byKey.size
  }

  /** The session that a client comes back with, if it is known and the profile's own; else a new one. */
  open(resume: Resume | null, profile: RegisteredProfile | null, ip: string): Awaitable<OpenedSession> {
    const owner = profile === null ? `a:${ip}` : `u:${profile.id}`
    const id = resume?.session ?? null
    if (id === null) return this.#new(profile, owner)
    const { dial } = resume!
    const key = keyOf(id, profile)
    const known = this.#byKey.get(key)
    const before = known?.asked ?? 0
    if (known !== undefined) known.asked = Math.max(before, dial)
    return chain(this.#broker.openSession(key, dial), record => this.#resumed(id, profile, owner, dial, record, before))
  }

  #resumed(
    id: string,
    profile: RegisteredProfile | null,
    owner: string,
    dial: number,
    record: SessionRecord | null,
    asked: number
  ): OpenedSession {
    const key = keyOf(id, profile)
    let session = this.#byKey.get(key)
    // Another node has had it since, unless an answer to us was lost: what is known here of it is old.
    if (session !== undefined && record !== null && record.fence > Math.max(session.fence, asked)) {
      this.takenOver(key, record.fence)
      session = undefined
    }
    if (session === undefined && record === null) return this.#new(profile, owner)
    if (session === undefined) {
      session = new Session(this.#answers, id, key, owner, record!.fence, record!)
      // Where a later dial has it already it is that one's, here or on another node, to keep and to forget.
      if (record!.fence < dial) {
        this.#add(session)
        this.#rest(session)
      }
    }
    session.fence = Math.max(session.fence, dial)
    return { session, resumed: true, dial }
  }

  #new(profile: RegisteredProfile | null, owner: string): OpenedSession {
    const id = newId(this.#clock)
    return { session: new Session(this.#answers, id, keyOf(id, profile), owner, 0), resumed: false, dial: 0 }
  }

  /**
   * Gives the session to a connection: the one that had it is closed, and what it had sent and was not run is given back.
   * False where a later dial has it already.
   */
  take({ session, dial, resumed }: OpenedSession, connection: Connection): boolean {
    if (resumed && dial <= session.dial) return false
    const former = session.connection
    session.dial = dial
    session.connection = connection
    this.#wake(session)
    if (!this.#byKey.has(session.key)) this.#add(session)
    if (former !== null) closeAs(former, 'replaced')
    if (resumed) this.#broker.broadcast(JSON.stringify({ cmd: 'takeover', key: session.key, dial }))
    return true
  }

  /** The connection is gone; its client may come back for a while. */
  leave(session: Session, connection: Connection): void {
    if (session.connection !== connection) return
    session.connection = null
    // Unless another node has it.
    if (this.#byKey.get(session.key) === session) this.#rest(session)
  }

  /** Another node has the session from this dial on. */
  takenOver(key: string, dial: number): void {
    const session = this.#byKey.get(key)
    if (session === undefined || session.dial >= dial) return
    const { connection } = session
    this.#remove(session)
    if (connection !== null) closeAs(connection, 'replaced')
  }

  /** Nobody comes back to a session of this user that this node knows. */
  endOf(userId: string): void {
    for (const session of this.#byOwner.get(`u:${userId}`)) this.#forget(session)
  }

  close(): void {
    this.#closed = true
    this.#idle.clear()
    this.#idleOf.clear()
  }

  #rest(session: Session): void {
    this.#wake(session)
    if (this.#closed) return
    session.rest = this.#idle.add(() => this.#forget(session))
    const idle = this.#idleOf.get(session.owner) ?? new AgedMap()
    idle.set(session.key, session)
    this.#idleOf.set(session.owner, idle)
  }

  #wake(session: Session): void {
    if (session.rest === null) return
    session.rest.cancel()
    session.rest = null
    const idle = this.#idleOf.get(session.owner)
    idle?.delete(session.key)
    if (idle?.size === 0) this.#idleOf.delete(session.owner)
  }

  #add(session: Session): void {
    this.#byKey.set(session.key, session)
    this.#byOwner.add(session.owner, session)
    const { sessions, sessionsPerUser, sessionsPerAddress } = this.#limits
    const limit = session.owner.startsWith('u:') ? sessionsPerUser : sessionsPerAddress
    // Only those without a connection: connections have bounds of their own.
    const isOver = limit !== 0 && this.#byOwner.count(session.owner) > limit
    const oldest = isOver ? this.#idleOf.get(session.owner)?.oldest?.value : undefined
    if (oldest !== undefined) this.#forget(oldest)
    if (sessions !== 0 && this.#byKey.size > sessions) this.#idle.oldest?.run()
  }

  #forget(session: Session): void {
    this.#remove(session)
    this.#broker.endSession(session.key, session.fence)
  }

  #remove(session: Session): void {
    this.#byKey.delete(session.key)
    session.forgetAnswers()
    this.#wake(session)
    this.#byOwner.delete(session.owner, session)
  }
}

/** A session id is of fixed length, so that no two pairs share a key. */
function keyOf(id: string, profile: RegisteredProfile | null): string {
  return profile === null ? id : `${id}.${profile.id}`
}
