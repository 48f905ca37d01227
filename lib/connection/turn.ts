import type { Clock } from '../protocol/clock.ts'

/** Writes of one slice. Each takes some microseconds, so that a slice holds others up for a hundredth of a second or two. */
const SLICE = 2_000

/** Something that has frames waiting to be put into outboxes. */
export interface Batch {
  /** Where up to so many writes are enough for all of it, they may be made at once. */
  distribute(writes: number): void
}

/** Something that has frames waiting to be written. */
export interface Flushable {
  flush(): void
}

/** What may put off the writes of a turn, and make many together. */
export interface WriteScope {
  begin(): void
  end(): void
}

/**
 * Collects what is to be sent in this turn of the event loop and sends it at the turn's end: each channel's publications
 * as one batch, in the order in which the channels were first published to, then one write per socket. Where that is more
 * than a slice, the other sockets' turn comes after everybody else's.
 */
export class Turn {
  readonly #clock: Clock
  /** Null where each write is made at once. */
  scope: WriteScope | null = null
  #batches: Batch[] = []
  #outboxes: Flushable[] = []
  #scheduled = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  addBatch(batch: Batch): void {
    this.#batches.push(batch)
    this.#schedule()
  }

  addOutbox(outbox: Flushable): void {
    this.#outboxes.push(outbox)
    this.#schedule()
  }

  /** Writes all that is in the outboxes, now: what is published in one turn must find room in them. */
  write(): void {
    this.#write(this.#outboxes.length)
  }

  /** What comes meanwhile for those that still wait goes with the rest. */
  #write(most: number): void {
    const outboxes = this.#outboxes
    this.#outboxes = outboxes.slice(most)
    if (this.#outboxes.length > 0) this.#schedule()
    let done = 0
    this.scope?.begin()
    try {
      while (done < outboxes.length && done < most) outboxes[done++]!.flush()
    } finally {
      const left = outboxes.slice(done, most)
      if (left.length > 0) this.#outboxes = [...left, ...this.#outboxes]
      this.scope?.end()
    }
  }

  /** Puts what was published so far into the outboxes, so that what is sent next comes after it. */
  distribute(): void {
    this.#distribute(0)
  }

  #distribute(writes: number): void {
    const batches = this.#batches
    this.#batches = []
    let done = 0
    try {
      while (done < batches.length) batches[done++]!.distribute(writes)
    } finally {
      if (done < batches.length) this.#batches = [...batches.slice(done), ...this.#batches]
    }
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    this.#clock.soon(() => {
      // What is put into outboxes here is written here, and needs no other turn.
      try {
        // A batch that is alone shares writes only with what is in the outboxes already. All of it is one slice then, so
        // that nobody waits for those who are written to at once.
        const alone = this.#batches.length === 1 && this.scope === null
        this.#distribute(alone ? SLICE - this.#outboxes.length : 0)
        this.#scheduled = false
        this.#write(SLICE)
      } catch (error) {
        // Whoever threw is not the only one who waits.
        this.#scheduled = false
        this.#schedule()
        throw error
      }
      if (this.#batches.length > 0) this.#schedule()
    })
  }
}
