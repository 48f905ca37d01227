import type { History } from './history.ts'
import type { Known, Log, Logs } from './logs.ts'
import { shown } from './logs.ts'

/** What stands in the logs: each entry was sent, once, unaltered, and in an order that its senders can have seen. */
export function checkLogs(history: History, logs: Logs): void {
  for (const channel of logs.channels()) {
    const seen = new Map<string, Array<{ log: Log; known: Known }>>()
    for (const log of logs.of(channel)) {
      const entries = log.all()
      for (const known of entries) {
        checkOrigin(history, log, known)
        const name = `${known.p} ${known.n}`
        const others = seen.get(name)
        if (others === undefined) seen.set(name, [{ log, known }])
        else {
          checkOnce(history, others, log, known)
          others.push({ log, known })
        }
      }
      checkLines(history, log, entries)
      checkOrder(history, log, entries)
    }
  }
}

function checkOrigin(history: History, log: Log, known: Known): void {
  const { p, n, crc, x, offset } = known
  const { channel } = log
  const command = history.command(p, n, channel)
  const say = (rule: 'invented' | 'altered' | 'nacked-but-visible', detail: string): void =>
    history.found(rule, channel, `${detail}: ${shown(known)}`, undefined, log.around(offset))
  if (command === undefined || command.cmd === 'nudge') say('invented', 'nobody sent it')
  else if (command.crc !== crc || (command.x === 1) !== x) say('altered', `it was sent with checksum ${command.crc}`)
  else if (command.cmd === 'fail') say('nacked-but-visible', 'its handler failed')
  // Whoever refused it may have had a store that knew nothing of it any more.
  else if (command.end === 'never' || (command.end === 'nack' && history.knownAt(known.boot, command.done)))
    say('nacked-but-visible', `${command.end} ${command.code}`)
}

/** Twice is once too often, unless the store had lost the first before the second. */
function checkOnce(history: History, others: ReadonlyArray<{ log: Log; known: Known }>, log: Log, known: Known): void {
  for (const { log: otherLog, known: other } of others) {
    if (otherLog === log && other.offset === known.offset && other.boot === known.boot) continue
    const [first, second] = other.boot <= known.boot ? [other, known] : [known, other]
    if (!history.survives(first.boot, second.boot)) continue
    history.found(
      'double-store',
      log.channel,
      `${shown(first)} and ${shown(second)}`,
      undefined,
      log.around(known.offset)
    )
  }
}

/** Within an epoch a later process goes on where the store that it found ended. */
function checkLines(history: History, log: Log, entries: readonly Known[]): void {
  let last: Known | undefined
  for (const known of entries) {
    if (
      last !== undefined &&
      last.boot !== known.boot &&
      history.survives(last.boot, known.boot) &&
      known.offset <= last.offset
    ) {
      history.found(
        'inconsistent-offset',
        log.channel,
        `${shown(known)} after ${shown(last)}`,
        undefined,
        log.around(known.offset)
      )
    }
    last = known
  }
}

/**
 * What was acknowledged before another was sent stands before it: along the log nothing may have ended before the latest
 * begin so far. And one publisher's stand in the order in which it sent them.
 */
function checkOrder(history: History, log: Log, entries: readonly Known[]): void {
  const { channel } = log
  let begun = Number.NEGATIVE_INFINITY
  let latest: Known | undefined
  let boot = 0
  const highest = new Map<number, Known>()
  for (const known of entries) {
    const command = history.command(known.p, known.n, channel)
    if (command === undefined) continue
    if (known.boot !== boot && !history.survives(boot, known.boot)) {
      begun = Number.NEGATIVE_INFINITY
      highest.clear()
    }
    boot = known.boot
    if (command.end === 'ack' && command.done < begun) {
      const detail = `${shown(known)} was acked before ${shown(latest!)} was sent`
      history.found('real-time-order', channel, detail, undefined, log.around(known.offset))
    }
    if (command.at > begun) {
      begun = command.at
      latest = known
    }
    const before = highest.get(known.p)
    if (before !== undefined && before.n > known.n) {
      history.found(
        'publisher-order',
        channel,
        `${shown(known)} after ${shown(before)}`,
        undefined,
        log.around(known.offset)
      )
    }
    if (before === undefined || before.n < known.n) highest.set(known.p, known)
  }
}
