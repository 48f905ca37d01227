import type { Entry } from './broker.ts'

interface Delivery {
  readonly channel: string
  readonly entry: Entry
  readonly epoch: string
}

/** Hands entries on in the order in which they came, also where whoever gets one commits the next at once. */
export class Deliveries {
  readonly #give: (channel: string, entry: Entry, epoch: string) => void
  #waiting: Delivery[] = []
  #giving = false

  constructor(give: (channel: string, entry: Entry, epoch: string) => void) {
    this.#give = give
  }

  add(channel: string, entry: Entry, epoch: string): void {
    this.#waiting.push({ channel, entry, epoch })
  }

  /** Gives all that wait; does nothing where that is under way. */
  run(): void {
    if (this.#giving) return
    this.#giving = true
    try {
      // Those that come meanwhile are at the end of the same array.
      for (const { channel, entry, epoch } of this.#waiting) this.#give(channel, entry, epoch)
    } finally {
      this.#waiting = []
      this.#giving = false
    }
  }
}
