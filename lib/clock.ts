import type { Clock, Timer } from './protocol/clock.ts'

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
  randomBytes: count => crypto.getRandomValues(new Uint8Array(count))
}
