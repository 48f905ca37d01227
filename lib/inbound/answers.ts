import { AgedMap } from '../aged-map.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker/broker.ts'

/** What answers a command, as text of a frame. */
export interface Answer {
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

/** An answer that is kept, between the one before it and the one after it, whosesoever they are. */
class Kept {
  readonly owner: Answers
  readonly id: number
  readonly answer: Answer
  readonly at: number
  older: Kept | null = null
  newer: Kept | null = null

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
      oldest.owner.forget(oldest)
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
  readonly #answers = new AgedMap<number, Kept>()
  #characters = 0

  constructor(all: AllAnswers) {
    this.#all = all
  }

  /** What answered this id; undefined where it is not kept any more. */
  get(id: number): Answer | undefined {
    return this.#answers.get(id)?.answer
  }

  /** `now` is of the monotonic clock. */
  add(id: number, answer: Answer, now: number): void {
    const kept = new Kept(this, id, answer, now)
    const former = this.#answers.get(id)
    if (former !== undefined) this.forget(former)
    this.#answers.set(id, kept)
    this.#characters += answer.text.length
    this.#all.add(kept)
    for (let old = this.#answers.oldest; old !== null; old = this.#answers.oldest) {
      if (old.key > id - RESULT_IDS && this.#characters <= RESULT_CHARACTERS) return
      this.forget(old.value)
    }
  }

  forget(kept: Kept): void {
    if (!this.#answers.delete(kept.id)) return
    this.#characters -= kept.answer.text.length
    this.#all.remove(kept)
  }

  /** The session has ended. */
  clear(): void {
    for (let old = this.#answers.oldest; old !== null; old = this.#answers.oldest) this.forget(old.value)
  }
}
