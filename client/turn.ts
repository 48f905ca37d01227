import type { ChannelError } from './errors.ts'

/**
 * Puts off what listeners are told until the step at hand is done. A listener may then call anything of the socket, and
 * finds it between two steps and never in the middle of one; what follows from its call is told after what came before.
 */
export class Turn {
  /** Where every error of a socket goes. `event` is the one whose listener threw it. */
  readonly report: (error: ChannelError, event?: string) => void
  #depth = 0
  #told: Array<() => void> = []

  constructor(report: Turn['report']) {
    this.report = report
  }

  /** Runs a step, then tells what it had to tell. */
  run<T>(step: () => T): T {
    this.#depth++
    try {
      return step()
    } finally {
      try {
        if (this.#depth === 1) for (let notice = this.#told.shift(); notice; notice = this.#told.shift()) notice()
      } finally {
        this.#depth--
      }
    }
  }

  /** Tells this after the current step, or at once where there is none. A notice must not throw. */
  tell(notice: () => void): void {
    this.run(() => this.#told.push(notice))
  }
}
