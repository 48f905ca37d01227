import type { Progress } from '../broker/broker.ts'
import type { Connection } from '../connection/connection.ts'
import type { Clock } from '../protocol/clock.ts'
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
  readonly sequence: Sequence
  readonly answers: Answers
  /** The dial that has the session. */
  dial: number
  /** The fencing number under which this node commits: that of the latest dial that has come here. */
  fence: number
  /** The latest dial that this node has asked the store for: the answer may have been lost. */
  asked: number
  connection: Connection | null = null
  /** Of commands that are accepted and not answered, those whose end somebody waits for. */
  readonly #awaited = new Map<number, Waiters>()

  /** What runs on each channel, over all connections and memberships that the session has had there. */
  readonly running = new Map<string, Promise<void>>()

  constructor(clock: Clock, id: string, key: string, owner: string, dial: number, progress?: Progress) {
    this.id = id
    this.key = key
    this.owner = owner
    this.dial = dial
    this.fence = this.asked = dial
    this.sequence = new Sequence(progress)
    this.answers = new Answers(clock)
  }

  /** Resolves once the command has been answered or given back; undefined where it is not under way. */
  whenDone(id: number): Promise<void> | undefined {
    if (!this.sequence.isUnderWay(id)) return
    const known = this.#awaited.get(id)
    if (known !== undefined) return known.done
    let settle = (): void => {}
    const done = new Promise<void>(resolve => {
      settle = resolve
    })
    this.#awaited.set(id, { done, settle })
    return done
  }

  /** The command has been answered or given back. */
  end(id: number): void {
    if (this.#awaited.size === 0) return
    this.#awaited.get(id)?.settle()
    this.#awaited.delete(id)
  }
}
