import type { Command } from '../records.ts'
import type { History } from './history.ts'
import type { Logs } from './logs.ts'

const STORED = { memory: 'memory', sqlite: 'disk' } as const

/** How commands ended: each once, and what was acknowledged is there. */
export function checkCommands(history: History, logs: Logs): void {
  for (const command of history.commands) {
    const { end, cmd, c, p, n } = command
    const name = `publisher ${p}'s ${n} (${cmd})`
    if (end === 'pending') history.found('unsettled', c, `${name} has waited since ${command.at.toFixed(0)}`)
    else if (
      end === 'unknown' &&
      command.code === 'result-expired' &&
      history.setting.log &&
      !history.restarted(command) &&
      // Of what failed to be stored while others were, a later commit says that it was used up.
      !history.faults.some(({ kind, at, until }) => kind === 'disk-full' && at < command.done && command.at < until)
    )
      history.found('needless-unknown', c, `${name} was refused as ${command.code}`)
    else if (end === 'ack' && cmd === 'fail')
      history.found('nacked-but-visible', c, `${name} was acked though its handler failed`)
    else if (end === 'ack' && history.setting.log && cmd === 'say') checkAck(history, logs, command, name)
  }
  for (const { s, p, last } of history.unlogged) {
    const { c } = history.subscribers.get(s)!
    if (history.command(p, last, c) === undefined) history.found('invented', c, `publisher ${p} never sent ${last}`, s)
  }
}

function checkAck(history: History, logs: Logs, command: Command, name: string): void {
  const { c, place, stored, boot, p, n } = command
  if (!place) {
    history.found('lost-ack', c, `${name} was acked without a position`)
    return
  }
  const { broker, deep } = history.setting
  if (stored !== undefined && stored !== STORED[broker]) {
    history.found('wrong-class', c, `${name} was acked as ${stored}; the broker is ${broker}`)
  }
  const final = history.finals.get(c)
  const last = history.boots.at(-1)
  if (final === undefined || last === undefined || boot === undefined || !history.survives(boot, last.boot)) return
  const [epoch, offset, tag] = place
  const kept = epoch === final.place[0] && offset >= final.oldest
  // What a log of few entries has trimmed is not lost.
  if (!kept && !deep(c) && (epoch === final.place[0] || final.place[1] > 0)) return
  const there = kept ? logs.at(c, place) : undefined
  if (there?.final && there.p === p && there.n === n) return
  const log = logs.log(c, epoch)
  history.found(
    'lost-ack',
    c,
    `${name} was acked at ${epoch} ${offset} ${tag} and is not there at the end`,
    undefined,
    log?.around(offset)
  )
}
