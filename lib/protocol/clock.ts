/** A timer that was started and can be stopped; stopping twice, or after it ran, does nothing. */
export interface Timer {
  cancel(): void
}

/**
 * Where all time and all chance come from, so that a test can run a server and its clients on a clock of its own.
 * Timeouts and leases read `monotonic`; what people and cookies read is `wall`.
 */
export interface Clock {
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number
  /** Milliseconds since 1970-01-01T00:00:00Z; may jump. */
  wall(): number
  /** Runs `task` once, `delayMs` milliseconds from now at the earliest. */
  after(delayMs: number, task: () => void): Timer
  /** Runs `task` once this turn's input has been read, before any timer of a later turn. */
  soon(task: () => void): void
  /** A number in [0, 1), good for jitter and not for secrets. */
  random(): number
  /** Bytes fit for secrets and session ids. */
  randomBytes(count: number): Uint8Array
}
