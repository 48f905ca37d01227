import { RESULT_AGE_MS, RESULT_CHARACTERS, RESULT_IDS } from '../broker/broker.ts'
import { encodeText } from '../connection/frame.ts'
import type { Origin } from '../connection/outbox.ts'

/** What one takes beside its text, by the bound of all: many short ones are not less. */
const OVERHEAD_CHARACTERS = 200

/**
 * What answers a command, as text of a frame; taken back with its channel, where it replies. It bears its own place among those that are kept, in the order
 * of them all and in that of its session: so many are kept for so long that what each is made of is most of what they cost.
 */
export class Answer implements Origin {
  /** The command's: a copy of it may name another. Empty where it named none. */
  readonly channel: string
  readonly id: number
  readonly text: string
  /** Whether it has a reply, which is for members only. */
  readonly replies: boolean
  /** Null where it is not kept. */
  owner: Answers | null = null
  /** Milliseconds of the monotonic clock, whole: another number would be an object of its own. */
  at = 0
  older: Answer | null = null
  newer: Answer | null = null
  nextOfOwner: Answer | null = null

  constructor(channel: string, id: number, text: string, replies: boolean) {
    this.channel = channel
    this.id = id
    this.text = text
    this.replies = replies
  }

  /** The same without the reply. */
  get bare(): string {
    return this.text
  }

  instead(): Uint8Array {
    return encodeText(this.bare)
  }

  get size(): number {
    return this.text.length + OVERHEAD_CHARACTERS
  }
}

/** The answers that this node keeps for all sessions together: over a bound, or too old, the oldest go first, whosesoever they are. */
export class AllAnswers {
  readonly #maxCharacters: number
  #oldest: Answer | null = null
  #newest: Answer | null = null
  #characters = 0

  /** Without a bound where it is 0. */
  constructor(maxCharacters: number) {
    this.#maxCharacters = maxCharacters
  }

  get characters(): number {
    return this.#characters
  }

  add(kept: Answer): void {
    kept.older = this.#newest
    if (this.#newest === null) this.#oldest = kept
    else this.#newest.newer = kept
    this.#newest = kept
    this.#characters += kept.size
    for (let oldest: Answer | null = this.#oldest; oldest !== null; oldest = this.#oldest) {
      const isOver = this.#maxCharacters !== 0 && this.#characters > this.#maxCharacters
      if (!isOver && kept.at - oldest.at <= RESULT_AGE_MS) return
      oldest.owner!.forgetOldest()
    }
  }

  /** Of one that was added, once. */
  remove(kept: Answer): void {
    const { older, newer } = kept
    if (older === null) this.#oldest = newer
    else older.newer = newer
    if (newer === null) this.#newest = older
    else newer.older = older
    // Whoever still holds it must not hold all that came after it.
    kept.older = kept.newer = kept.nextOfOwner = null
    this.#characters -= kept.size
  }
}

/** The answers to one session's commands that are kept by this node alone: those of commands that stored nothing. */
export class Answers {
  readonly #all: AllAnswers
  #oldest: Answer | null = null
  #newest: Answer | null = null
  #characters = 0
  /** By id. Only who comes back asks: it is made then, and goes when more have come since somebody asked than are kept. */
  #index: Map<number, Answer> | null = null
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
    return this.#index.get(id)
  }

  /** Keeps it, once for each id. `now` is of the monotonic clock. */
  add(kept: Answer, now: number): void {
    const { id } = kept
    kept.owner = this
    kept.at = Math.floor(now)
    if (this.#index !== null && ++this.#addedUnasked > this.#index.size) this.#index = null
    this.#index?.set(id, kept)
    if (this.#newest === null) this.#oldest = kept
    else this.#newest.nextOfOwner = kept
    this.#newest = kept
    this.#characters += kept.text.length
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
    this.#characters -= oldest.text.length
    this.#all.remove(oldest)
  }

  /** The session has ended. */
  clear(): void {
    while (this.#oldest !== null) this.forgetOldest()
  }
}
