import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker/broker.ts'

/** What answers a command, as text of a frame. */
export interface Answer {
  readonly text: string
  /** The same without the reply, which is for members only. */
  readonly bare: string
  /** Whether the two differ. */
  readonly replies: boolean
}

interface Kept {
  readonly answer: Answer
  readonly at: number
}

/** The answers to one session's commands that are kept by this node alone: those of commands that stored nothing. */
export class Answers {
  readonly #answers = new Map<number, Kept>()
  #characters = 0

  /** What answered this id; undefined where it is not kept any more. */
  get(id: number): Answer | undefined {
    return this.#answers.get(id)?.answer
  }

  /** `now` is of the monotonic clock. */
  add(id: number, answer: Answer, now: number): void {
    const answers = this.#answers
    answers.set(id, { answer, at: now })
    this.#characters += answer.text.length
    for (const [old, { answer, at }] of answers) {
      const over = now - at > RESULT_AGE_MS || old <= id - RESULT_IDS
      if (!over && this.#characters <= RESULT_CHARACTERS) return
      answers.delete(old)
      this.#characters -= answer.text.length
    }
  }
}
