import type { Clock, Timer } from '../lib/protocol/clock.ts'

/** The part of a Clock that a client needs. */
export type ClientClock = Pick<Clock, 'monotonic' | 'wall' | 'after' | 'random'>

/** The longest delay that a platform timer takes; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** The real time of a browser, a worker or a Node process: the one place of the client that touches it. */
export const systemClock: ClientClock = {
  monotonic: () => performance.now(),
  wall: Date.now,
  after(delayMs, task): Timer {
    const timer = setTimeout(task, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  random: Math.random
}
