import type { FastifyRequest } from 'fastify'
import { AgedMap } from '../aged-map.ts'
import { closeAs } from '../connection/close.ts'
import type { Connection } from '../connection/connection.ts'
import type { Expiry } from '../connection/expiry.ts'
import { attempt } from '../host-code.ts'
import type { Clock, Timer } from '../protocol/clock.ts'
import { closeCode } from '../protocol/close-code.ts'
import type { Profile } from '../protocol/profile.ts'
import type { RegisteredProfile } from '../register.ts'
import type { Refusals } from '../stats.ts'

/** Loaders that run for re-checks at once; the others that are due wait. */
const MAX_AT_ONCE = 16
/** Connections that came together are not checked together for ever. */
const JITTER = 0.2

export interface RecheckParts {
  readonly clock: Clock
  /** How often each connection is checked. */
  readonly everyMs: number
  /** How long a loader may take. */
  readonly timeoutMs: number
  readonly load: (request: FastifyRequest) => Profile | null | Promise<Profile | null>
  readonly refusals: Refusals
  readonly failed: (error: unknown, connection: Connection) => void
}

interface Check {
  readonly connection: Connection
  readonly request: FastifyRequest
  readonly expiry: Expiry
  /** Failures in a row. */
  failures: number
  timer: Timer | null
}

/**
 * Asks again and again who the request of each open connection is. Where that is nobody any more it closes 4502, where it
 * is somebody else 4003; what is new about the same user is what access rules and handlers are told from then on. A loader
 * that fails tells nothing of the user: the connection stays and is checked the next time, however often that happens,
 * because a store of sessions that is down must not end every connection.
 */
export class Rechecks {
  readonly #parts: RecheckParts
  /** Checks that are due, in the order in which they became so. */
  readonly #due = new AgedMap<Check, null>()
  readonly #running = new Set<Check>()

  constructor(parts: RecheckParts) {
    this.#parts = parts
  }

  watch(connection: Connection, request: FastifyRequest, expiry: Expiry): void {
    const check: Check = { connection, request, expiry, failures: 0, timer: null }
    connection.whenEnded(() => {
      check.timer?.cancel()
      this.#due.delete(check)
      this.#end(check)
    })
    this.#arm(check)
  }

  #arm(check: Check): void {
    const { clock, everyMs } = this.#parts
    const delayMs = everyMs * (1 - JITTER + 2 * JITTER * clock.random())
    check.timer = clock.after(delayMs, () => {
      this.#due.set(check, null)
      this.#next()
    })
  }

  #next(): void {
    for (let due = this.#due.oldest; due !== null; due = this.#due.oldest) {
      if (this.#running.size >= MAX_AT_ONCE) return
      this.#due.delete(due.key)
      this.#run(due.key)
    }
  }

  #run(check: Check): void {
    const { clock, timeoutMs, load } = this.#parts
    this.#running.add(check)
    /** Whoever of the two comes second, or after the connection, comes too late. */
    const settle = (judge: () => void): void => {
      if (!this.#running.has(check) || check.timer !== timer) return
      timer.cancel()
      judge()
      if (check.connection.open) this.#arm(check)
      this.#end(check)
    }
    const fail = (error: unknown): void => settle(() => this.#failed(check, error))
    const timer = clock.after(timeoutMs, () => fail(new Error('the profile loader took too long')))
    check.timer = timer
    void attempt(async () => {
      const profile = await load(check.request)
      settle(() => this.#judge(check, profile))
    }, fail)
  }

  #judge(check: Check, profile: Profile | null): void {
    const { connection, expiry } = check
    check.failures = 0
    if (profile === null) {
      const { code, reason } = closeCode('revoked')
      connection.abandon(code, reason)
    } else if (profile.id !== connection.profile?.id) closeAs(connection, 'renew-credentials')
    else {
      connection.renew(profile as RegisteredProfile)
      expiry.set(profile.expiresAt ?? null)
    }
  }

  /** Of failures in a row the host hears once. */
  #failed(check: Check, error: unknown): void {
    this.#parts.refusals.count('recheck-failed')
    if (check.failures++ === 0) this.#parts.failed(error, check.connection)
  }

  #end(check: Check): void {
    if (this.#running.delete(check)) this.#next()
  }
}
