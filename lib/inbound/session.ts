import type { Progress } from '../broker/broker.ts'
import type { Connection } from '../connection/connection.ts'
import type { Delayed } from '../connection/delay-line.ts'
import type { AllAnswers } from './answers.ts'
import { Answers } from './answers.ts'
import { Sequence } from './sequence.ts'

/** Who waits for the end of a command. */
interface Waiters {
  readonly done: Promise<void>
  readonly settle: () => void
}

/** What outlives a connection: the same client, next connection. */
export class Session {
  /** 128 random bits, base64url. */
  readonly id: string
  /** Where it is kept: unique to the session and its profile. */
  readonly key: string
  /** Whose it is, for the bounds. */
  readonly owner: string
  /** The dial that has the session. */
  dial: number
  /** The fencing number under which this node commits: that of the latest dial that has come here. */
  fence: number
  /** The latest dial that this node has asked the store for: the answer may have been lost. */
  asked: number
  connection: Connection | null = null
  /** What forgets it, while it has no connection. */
  rest: Delayed | null = null
  /** Null before the first command with an id. */
  #sequence: Sequence | null
  #answers: Answers | null = null
  readonly #all: AllAnswers
  /** Of commands that are accepted and not answered, those whose end somebody waits for. */
  #awaited: Map<number, Waiters> | null = null
  /** What runs on each channel, over all connections and memberships that the session has had there. */
  #running: Map<string, Promise<void>> | null = null

  constructor(all: AllAnswers, id: string, key: string, owner: string, dial: number, progress?: Progress) {
    this.#all = all
    this.id = id
    this.key = key
    this.owner = owner
    this.dial = dial
    this.fence = this.asked = dial
    this.#sequence = progress === undefined ? null : new Sequence(progress)
  }

  get sequence(): Sequence {
    this.#sequence ??= new Sequence()
    return this.#sequence
  }

  get answers(): Answers {
    this.#answers ??= new Answers(this.#all)
    return this.#answers
  }

  /** Nobody comes back to it. */
  forgetAnswers(): void {
    this.#answers?.clear()
  }

  /** Resolves once the command has been answered or given back; undefined where it is not under way. */
  whenDone(id: number): Promise<void> | undefined {
    if (!this.sequence.isUnderWay(id)) return
    const known = this.#awaited?.get(id)
    if (known !== undefined) return known.done
    let settle = (): void => {}
    const done = new Promise<void>(resolve => {
      settle = resolve
    })
    this.#awaited ??= new Map()
    this.#awaited.set(id, { done, settle })
    return done
  }

  /** The command has been answered or given back. */
  end(id: number): void {
    this.#awaited?.get(id)?.settle()
    this.#awaited?.delete(id)
  }

  /** What of an earlier connection or membership is still running on that channel. */
  runningOn(channel: string): Promise<void> | undefined {
    return this.#running?.get(channel)
  }

  /** Something runs on that channel until the promise resolves; gives it back. */
  runs(channel: string, done: Promise<void>): Promise<void> {
    this.#running ??= new Map()
    const running = this.#running
    const over = done.then(() => void running.delete(channel))
    running.set(channel, over)
    return over
  }
}
