import type { Clock, Timer } from '../protocol/clock.ts'

/** Something that will be done, unless it is taken back. */
export interface Delayed {
  /** Does it now, if it has not been done or taken back. */
  run(): void
  /** Takes it back. */
  cancel(): void
}

interface Entry {
  readonly due: number
  readonly task: () => void
}

/** Does many things after the same delay, with one timer: the first that came is the first that is due. */
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
    const entry = { due: this.#clock.monotonic() + this.delayMs, task }
    this.#entries.add(entry)
    if (this.#entries.size === 1) this.#arm(this.delayMs)
    return {
      run: () => {
        if (this.#remove(entry)) task()
      },
      cancel: () => void this.#remove(entry)
    }
  }

  /** Does at once all that is left. */
  runAll(): void {
    for (const entry of [...this.#entries]) if (this.#remove(entry)) entry.task()
  }

  /** Takes everything back. */
  clear(): void {
    for (const entry of [...this.#entries]) this.#remove(entry)
  }

  #remove(entry: Entry): boolean {
    const there = this.#entries.delete(entry)
    if (this.#entries.size === 0) {
      this.#timer?.cancel()
      this.#timer = null
    }
    return there
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
