import type { Clock, Timer } from './protocol/clock.ts'

/** Chance is fetched for many at once: each fetching costs more than what most ask for. */
const POOL_BYTES = 4_096
const pool = new Uint8Array(POOL_BYTES)
let used = POOL_BYTES

/** What was handed out is not handed out again, and does not stay. */
function fromPool(count: number): Uint8Array {
  if (count > POOL_BYTES / 16) return crypto.getRandomValues(new Uint8Array(count))
  if (used + count > POOL_BYTES) {
    crypto.getRandomValues(pool)
    used = 0
  }
  const bytes = pool.slice(used, used + count)
  pool.fill(0, used, used + count)
  used += count
  return bytes
}

/** The real time of a Node process. Its timers never keep the process alive: sockets and the listener do that. */
export const systemClock: Clock = {
  monotonic: () => performance.now(),
  wall: () => Date.now(),
  after(delayMs, task): Timer {
    const timer = setTimeout(task, delayMs)
    timer.unref()
    return {
      cancel() {
        // Node keeps a list for each number of milliseconds, and until that time is over where it was emptied by clearing a
        // timer that had been unref'd: delays with a jitter would leave one for each connection.
        timer.ref()
        clearTimeout(timer)
      }
    }
  },
  soon: task => void setImmediate(task),
  random: () => Math.random(),
  randomBytes: fromPool
}
