import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker/broker.ts'
import type { Origin } from '../connection/outbox.ts'

/** What answers a command, as text of a frame; taken back with its channel, where it replies. */
export interface Answer extends Origin {
  /** The command's: a copy of it may name another. Empty where it named none. */
  readonly channel: string
  readonly text: string
  /** The same without the reply, which is for members only. */
  readonly bare: string
  /** Whether the two differ. */
  readonly replies: boolean
}

/** What one takes beside its text, by the bound of all: many short ones are not less. */
const OVERHEAD_CHARACTERS = 200

/** An answer that is kept, in the order of them all and in that of its session: a Map would have to look for its oldest, as AgedMap says. */
class Kept {
  readonly owner: Answers
  readonly id: number
  readonly answer: Answer
  readonly at: number
  older: Kept | null = null
  newer: Kept | null = null
  nextOfOwner: Kept | null = null

  constructor(owner: Answers, id: number, answer: Answer, at: number) {
    this.owner = owner
    this.id = id
    this.answer = answer
    this.at = at
  }

  get size(): number {
    return this.answer.text.length + OVERHEAD_CHARACTERS
  }
}

/** The answers that this node keeps for all sessions together: over a bound, or too old, the oldest go first, whosesoever they are. */
export class AllAnswers {
  readonly #maxCharacters: number
  #oldest: Kept | null = null
  #newest: Kept | null = null
  #characters = 0

  /** Without a bound where it is 0. */
  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters
  }

  get characters(): number {
    return this.#characters
  }

  add(kept: Kept): void {
    kept.older = this.#newest
    if (this.#newest === null) this.#oldest = kept
    else this.#newest.newer = kept
    this.#newest = kept
    this.#characters += kept.size
    for (let oldest: Kept | null = this.#oldest; oldest !== null; oldest = this.#oldest) {
      const isOver = this.#maxCharacters !== 0 && this.#characters > this.#maxCharacters
      if (!isOver && kept.at - oldest.at <= RESULT_AGE_MS) return
      oldest.owner.forgetOldest()
    }
  }

  /** Of one that was added, once. */
  remove(kept: Kept): void {
    const { older, newer } = kept
    if (older === null) this.#oldest = newer
    else older.newer = newer
    if (newer === null) this.#newest = older
    else newer.older = older
    this.#characters -= kept.size
  }
}

/** The answers to one session's commands that are kept by this node alone: those of commands that stored nothing. */
export class Answers {
  readonly #all: AllAnswers
  #oldest: Kept | null = null
  #newest: Kept | null = null
  #characters = 0
  /** By id. Only who comes back asks: it is made then, and goes when as many have come as it was made of, and nobody asked. */
  #index: Map<number, Kept> | null = null
  #addedUnasked = 0

  constructor(all: AllAnswers) {
    this.#all = all
  }

  /** What answered this id; undefined where it is not kept any more. */
  get(id: number): Answer | undefined {
    this.#addedUnasked = 0
    if (this.#index === null) {
      this.#index = new Map()
      for (let kept = this.#oldest; kept !== null; kept = kept.nextOfOwner) this.#index.set(kept.id, kept)
    }
    return this.#index.get(id)?.answer
  }

  /** Once for each id. `now` is of the monotonic clock. */
  add(id: number, answer: Answer, now: number): void {
    const kept = new Kept(this, id, answer, now)
    if (this.#index !== null && ++this.#addedUnasked > this.#index.size) this.#index = null
    this.#index?.set(id, kept)
    if (this.#newest === null) this.#oldest = kept
    else this.#newest.nextOfOwner = kept
    this.#newest = kept
    this.#characters += answer.text.length
    this.#all.add(kept)
    for (let oldest = this.#oldest; oldest !== null; oldest = this.#oldest) {
      if (oldest.id > id - RESULT_IDS && this.#characters <= RESULT_CHARACTERS) return
      this.forgetOldest()
    }
  }

  /** Of one that there is. */
  forgetOldest(): void {
    const oldest = this.#oldest!
    this.#oldest = oldest.nextOfOwner
    if (this.#oldest === null) this.#newest = null
    this.#index?.delete(oldest.id)
    this.#characters -= oldest.answer.text.length
    this.#all.remove(oldest)
  }

  /** The session has ended. */
  clear(): void {
    while (this.#oldest !== null) this.forgetOldest()
  }
}
