import type { Frame } from '../lib/protocol/message.ts'
import { encodeFrame } from '../lib/protocol/message.ts'
import type { ClientCommand } from '../lib/protocol/system.ts'

/** Takes the answer to a request; null where the link ended before it came. */
export type Answer = (frame: Frame | null) => void

/** Requests (`$join`, `$leave`, `$presence`) that wait for their answer on the present link. */
export class Requests {
  #write: (text: string) => boolean
  /** Never begins again, so that an answer to an earlier link's request fits none of a later one's. */
  #lastRef = 0
  #asked = new Map<number, Answer>()

  constructor(write: (text: string) => boolean) {
    this.#write = write
  }

  /** Asks; a link that takes nothing more is about to end, which is the answer then. */
  ask(cmd: ClientCommand, channel: string, answer: Answer): void {
    const ref = ++this.#lastRef
    this.#asked.set(ref, answer)
    this.#write(encodeFrame({ channel, cmd, ref }))
  }

  /** Whoever asked with this ref, once. */
  take(ref: number): Answer | undefined {
    const answer = this.#asked.get(ref)
    this.#asked.delete(ref)
    return answer
  }

  linkLost(): void {
    const asked = [...this.#asked.values()]
    this.#asked.clear()
    for (const answer of asked) answer(null)
  }
}
