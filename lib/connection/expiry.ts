import type { Clock, Timer } from '../protocol/clock.ts'
import { closeAs } from './close.ts'
import type { Connection } from './connection.ts'

/** The wall clock may jump, and no timer tells: so it is looked at at least this often. */
const MAX_STEP_MS = 60_000

/** Closes a connection at an instant of the wall clock: its client may come back with new credentials. */
export class Expiry {
  readonly #clock: Clock
  readonly #connection: Connection
  #timer: Timer | null = null

  constructor(clock: Clock, connection: Connection) {
    this.#clock = clock
    this.#connection = connection
    connection.whenEnded(() => this.#timer?.cancel())
  }

  /** In milliseconds since 1970; never where it is null. Takes the place of what was set before. */
  set(at: number | null): void {
    this.#timer?.cancel()
    if (at === null || !this.#connection.open) return
    const leftMs = at - this.#clock.wall()
    if (leftMs <= 0) closeAs(this.#connection, 'renew-credentials')
    else this.#timer = this.#clock.after(Math.min(leftMs, MAX_STEP_MS), () => this.set(at))
  }
}
