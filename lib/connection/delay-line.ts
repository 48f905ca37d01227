import type { Clock, Timer } from '../protocol/clock.ts'

/** Something that will be done, unless it is taken back. */
export interface Delayed {
  /** Does it now, if it has not been done or taken back. */
  run(): void
  /** Takes it back. */
  cancel(): void
}

class Entry implements Delayed {
  readonly due: number
  readonly task: () => void
  readonly #entries: Set<Entry>

  constructor(due: number, task: () => void, entries: Set<Entry>) {
    this.due = due
    this.task = task
    this.#entries = entries
    entries.add(this)
  }

  run(): void {
    if (this.#entries.delete(this)) this.task()
  }

  cancel(): void {
    this.#entries.delete(this)
  }
}

/**
 * Does many things after the same delay, with one timer: the first that came is the first that is due. Most are taken back
 * before, so the timer is left to run when nothing is left to do: to stop and start it costs more than to run once in vain.
 */
export class DelayLine {
  readonly #clock: Clock
  readonly delayMs: number
  readonly #entries = new Set<Entry>()
  #timer: Timer | null = null

  constructor(clock: Clock, delayMs: number) {
    this.#clock = clock
    this.delayMs = delayMs
  }

  add(task: () => void): Delayed {
    if (this.#timer === null) this.#arm(this.delayMs)
    return new Entry(this.#clock.monotonic() + this.delayMs, task, this.#entries)
  }

  /** Does at once all that is left. */
  runAll(): void {
    for (const entry of [...this.#entries]) entry.run()
    this.#stop()
  }

  /** Takes everything back. */
  clear(): void {
    this.#entries.clear()
    this.#stop()
  }

  #stop(): void {
    if (this.#entries.size > 0) return
    this.#timer?.cancel()
    this.#timer = null
  }

  #arm(delayMs: number): void {
    this.#timer = this.#clock.after(delayMs, () => {
      const now = this.#clock.monotonic()
      const due: Entry[] = []
      for (const entry of this.#entries) {
        if (entry.due > now) break
        due.push(entry)
        this.#entries.delete(entry)
      }
      const [next] = this.#entries
      this.#timer = null
      if (next !== undefined) this.#arm(next.due - now)
      for (const { task } of due) task()
    })
  }
}
