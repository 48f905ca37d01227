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

interface Kept {
  readonly owner: Answers
  readonly id: number
  readonly answer: Answer
  readonly at: number
}

/** What one takes beside its text, by the bound of all: many short ones are not less. */
const OVERHEAD_CHARACTERS = 200

function sizeOf({ answer }: Kept): number {
  return answer.text.length + OVERHEAD_CHARACTERS
}

/** The answers that this node keeps for all sessions together: over a bound, or too old, the oldest go first, whosesoever they are. */
export class AllAnswers {
  readonly #maxCharacters: number
  readonly #kept = new Set<Kept>()
  #characters = 0

  /** Without a bound where it is 0. */
  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters
  }

  get characters(): number {
    return this.#characters
  }

  add(kept: Kept): void {
    this.#kept.add(kept)
    this.#characters += sizeOf(kept)
    for (const oldest of this.#kept) {
      const isOver = this.#maxCharacters !== 0 && this.#characters > this.#maxCharacters
      if (!isOver && kept.at - oldest.at <= RESULT_AGE_MS) return
      oldest.owner.forget(oldest)
    }
  }

  remove(kept: Kept): void {
    if (this.#kept.delete(kept)) this.#characters -= sizeOf(kept)
  }
}

/** The answers to one session's commands that are kept by this node alone: those of commands that stored nothing. */
export class Answers {
  readonly #all: AllAnswers
  readonly #answers = new Map<number, Kept>()
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
    const kept: Kept = { owner: this, id, answer, at: now }
    this.#answers.set(id, kept)
    this.#characters += answer.text.length
    this.#all.add(kept)
    for (const old of this.#answers.values()) {
      if (old.id > id - RESULT_IDS && this.#characters <= RESULT_CHARACTERS) return
      this.forget(old)
    }
  }

  forget(kept: Kept): void {
    if (!this.#answers.delete(kept.id)) return
    this.#characters -= kept.answer.text.length
    this.#all.remove(kept)
  }

  /** The session has ended. */
  clear(): void {
    for (const kept of [...this.#answers.values()]) this.forget(kept)
  }
}
