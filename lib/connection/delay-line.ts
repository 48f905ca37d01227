import { Linked } from '../linked.ts'
import type { Clock, Timer } from '../protocol/clock.ts'

/** Something that will be done, unless it is taken back. */
export interface Delayed {
  /** Does it now, if it has not been done or taken back. */
  run(): void
  /** Takes it back. */
  cancel(): void
}

class Entry extends Linked implements Delayed {
  readonly due: number
  readonly task: () => void

  constructor(due: number, task: () => void) {
    super()
    this.due = due
    this.task = task
  }

  run(): void {
    if (this.alone) return
    this.leave()
    this.task()
  }

  cancel(): void {
    this.leave()
  }
}

/**
 * Does many things after the same delay, with one timer: the first that came is the first that is due. Most are taken back
 * before, so the timer is left to run when nothing is left to do: to stop and start it costs more than to run once in vain.
 */
export class DelayLine {
  readonly #clock: Clock
  readonly delayMs: number
  /** Stands between the last and the first. */
  readonly #ends = new Entry(Number.POSITIVE_INFINITY, () => {})
  #timer: Timer | null = null

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock
    this.delayMs = delayMs
  }

  /** The first that is due; null where nothing is left to do. */
  get oldest(): Delayed | null {
    return this.#ends.alone ? null : this.#ends.next
  }

  add(task: () => void): Delayed {
    const entry = new Entry(this.#clock.monotonic() + this.delayMs, task)
    this.#ends.precede(entry)
    if (this.#timer === null) this.#arm(this.delayMs)
    return entry
  }

  /** Does at once all that is left. */
  runAll(): void {
    for (const entry of this.#until(Number.MAX_VALUE)) entry.run()
    if (this.#ends.alone) this.#stop()
  }

  /** Takes everything back. */
  clear(): void {
    for (const entry of this.#until(Number.MAX_VALUE)) entry.cancel()
    this.#stop()
  }

  #stop(): void {
    this.#timer?.cancel()
    this.#timer = null
  }

  /** Those that are due by then, the first first. */
  #until(time: number): readonly Entry[] {
    const due: Entry[] = []
    for (let entry = this.#ends.next; entry.due <= time; entry = entry.next) due.push(entry)
    return due
  }

  #arm(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      const now = this.#clock.monotonic()
      const due = this.#until(now)
      for (const entry of due) entry.cancel()
      this.#timer = null
      if (!this.#ends.alone) this.#arm(this.#ends.next.due - now)
      for (const { task } of due) task()
    })
  }
}
