import type { Moment, Reply, Request } from './request.ts'
import type { Store } from './store.ts'

/** A request, and who takes its reply; `failed` where it never got to the store, or the store is gone. */
export interface Asked {
  readonly request: Request
  readonly reply: (reply: Reply) => void
  readonly fail: (error: Error) => void
}

/** The way to a store. */
export interface Link {
  ask(asked: Asked): void
  close(): Promise<void>
}

/** A store in this thread, which answers in the turn in which it is asked, and stops everything else meanwhile. */
export class DirectLink implements Link {
  readonly #store: Store
  readonly #moment: () => Moment

  constructor(store: Store, moment: () => Moment) {
    this.#store = store
    this.#moment = moment
  }

  ask({ request, reply }: Asked): void {
    reply(this.#store.run([request], this.#moment())[0]!)
  }

  close(): Promise<void> {
    this.#store.close()
    return Promise.resolve()
  }
}
