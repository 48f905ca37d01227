import type { Clock, Timer } from '../lib/protocol/clock.ts'

/** The longest delay that a platform timer takes; a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1

/** The real time of a browser, a worker or a Node process: the one place of the client that touches it. */
export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, task): Timer {
    const timer = setTimeout(task, Math.min(delayMs, MAX_TIMER_MS))
    return { cancel: () => clearTimeout(timer) }
  },
  soon: task => void setTimeout(task, 0),
  random: () => Math.random(),
  randomBytes: count => crypto.getRandomValues(new Uint8Array(count))
}
