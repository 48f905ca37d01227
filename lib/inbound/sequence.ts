/** Retryably refused ids that a client may send again, kept per session. */
const MAX_HOLES = 1024

/** What to do with a command of this id. */
export type Turn = 'run' | 'expired' | 'ahead'

/** The ids of one session's commands: the next one, and those that were refused and may come again. */
export class Sequence {
  #highest = 0
  readonly #holes = new Set<number>()

  get next(): number {
    return this.#highest + 1
  }

  /** `expired` is an id that was used, `ahead` one before which others are missing. */
  take(id: number): Turn {
    if (this.#holes.delete(id)) return 'run'
    if (id <= this.#highest) return 'expired'
    if (id > this.#highest + 1) return 'ahead'
    this.#highest = id
    return 'run'
  }

  /** Gives an id back that was taken and not used: a retryable nack does not consume it. */
  giveBack(id: number): void {
    this.#holes.add(id)
    if (this.#holes.size > MAX_HOLES) this.#holes.delete(Math.min(...this.#holes))
  }
}
