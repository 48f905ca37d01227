import { loadavg } from 'node:os'
import { isCI } from '../../scripts/services.mjs'
import type { History } from './analysis/history.ts'
import type { Plan } from './plan.ts'
import type { Anomaly, Command } from './records.ts'
import { RULES } from './records.ts'
import { sabotage } from './sabotages.ts'
import { RAISED } from './server-settings.ts'
import { mostStrain } from './strain.ts'

export interface Outcome {
  readonly sent: number
  readonly acked: number
  readonly copies: number
  readonly deliveries: number
  readonly faults: ReadonlyMap<string, number>
  readonly refusals: Readonly<Record<string, number>>
  readonly boots: number
  readonly serverCpu: number
  readonly workersCpu: number
  readonly serverRss: number
  readonly canFill: boolean
  readonly seconds: number
  readonly analysisMs: number
}

/** Anomalies of one rule that are shown whole. */
const SHOWN = 3

/** Prints what was done and seen. Whether nothing was wrong, and enough was done. */
export function report(plan: Plan, history: History, outcome: Outcome): boolean {
  const faults = [...outcome.faults.values()].reduce((sum, count) => sum + count, 0)
  const done = { acked: outcome.acked, deliveries: outcome.deliveries, faults, kinds: outcome.faults.size }
  const lines = [
    `broker ${plan.log ? plan.broker : 'none (--no-log)'}, seed ${plan.seed}, ${plan.seconds} s of load, ${plan.clients} clients, ${plan.channels} channels`,
    `limits, all on; raised: ${pairs(Object.entries(RAISED))}`,
    `${outcome.sent} commands sent, ${outcome.acked} acked, ${outcome.copies} copies more; ${outcome.deliveries} deliveries`,
    `settled: ${pairs(tally(history.commands, endOf))}`,
    `${faults} faults: ${pairs([...outcome.faults].sort())}; ${outcome.boots} server processes`,
    `gaps: ${pairs(tally(gaps(history), reason => reason)) || 'none'}`,
    `ack latency: ${latency(history)}`,
    `refusals: ${pairs(Object.entries(outcome.refusals)) || 'none'}`,
    `CPU seconds: server ${outcome.serverCpu.toFixed(1)} (without processes that were killed at work), clients ${outcome.workersCpu.toFixed(1)}; server ${megabytes(outcome.serverRss)} at the end`,
    `judged in ${(outcome.analysisMs / 1000).toFixed(1)} s, all in ${outcome.seconds.toFixed(0)} s; load of the machine ${loadavg()[0]!.toFixed(1)}, for which bounds of time were up to ${mostStrain().toFixed(1)} times as wide`
  ]
  if (plan.log && plan.broker === 'sqlite' && !outcome.canFill)
    lines.push('disk-full was LEFT OUT: no file system can be mounted here')
  const incomplete = isCI() && plan.log && plan.broker === 'sqlite' && !outcome.canFill
  console.log(lines.join('\n'))
  const short = (Object.keys(done) as Array<keyof typeof done>).filter(name => done[name] < plan.least[name])
  for (const name of short) console.log(`TOO LITTLE: ${name} ${done[name]}, wanted ${plan.least[name]}`)
  const anomalies = [...history.anomalies]
  showAnomalies(plan, anomalies)
  console.log(
    `${anomalies.length} anomalies${anomalies.length > 0 ? `: ${pairs(tally(anomalies, ({ rule }) => rule))}` : ''}`
  )
  if (plan.sabotage !== null && plan.expectCaught) return isCaught(plan.sabotage, anomalies)
  return anomalies.length === 0 && short.length === 0 && !incomplete
}

function isCaught(name: string, anomalies: readonly Anomaly[]): boolean {
  const { finds } = sabotage(name)
  const caught = anomalies.filter(({ rule }) => finds.includes(rule))
  console.log(
    caught.length > 0 ? `CAUGHT: ${name} (${caught[0]!.rule})` : `NOT CAUGHT: ${name}, by any of ${finds.join(', ')}`
  )
  return caught.length > 0
}

function showAnomalies(plan: Plan, anomalies: readonly Anomaly[]): void {
  const shown = new Map<string, number>()
  for (const { rule, c, s, at, detail, around } of anomalies) {
    const count = (shown.get(rule) ?? 0) + 1
    shown.set(rule, count)
    if (count > SHOWN) continue
    const where = [c, s && `subscriber ${s}`, at && `at ${at.toFixed(0)}`].filter(Boolean).join(', ')
    console.log(`ANOMALY ${rule} (${RULES[rule]}), seed ${plan.seed}${where && `, ${where}`}\n  ${detail}`)
    for (const line of around) console.log(`    ${line.slice(0, 240)}`)
  }
}

function endOf({ end, code }: Command): string {
  return code === undefined ? end : `${end} ${code}`
}

function gaps(history: History): string[] {
  return [...history.views.values()]
    .flat()
    .flatMap(view => ((view.k === 'gap' || view.k === 'join') && view.reason !== undefined ? [view.reason] : []))
}

/** Half, and all but one in a hundred, of the acks: those of commands that met no fault, and the others. */
function latency(history: History): string {
  const faults = history.faults
    .filter(({ kind }) => kind !== 'garbage' && kind !== 'revoke')
    .sort((a, b) => a.at - b.at)
  const calm: number[] = []
  const rough: number[] = []
  for (const { end, at, done } of history.commands) {
    if (end !== 'ack') continue
    const met = faults.some(fault => fault.at < done && at < fault.until + 500)
    ;(met ? rough : calm).push(done - at)
  }
  const part = (name: string, values: number[]): string => {
    const sorted = values.sort((a, b) => a - b)
    const at = (share: number): string => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1)
    return `${name} p50 ${at(0.5)} ms, p99 ${at(0.99)} ms (${sorted.length})`
  }
  return `${part('calm', calm)}; ${part('under faults', rough)}`
}

function tally<T>(values: readonly T[], name: (value: T) => string): Array<[string, number]> {
  const counts = new Map<string, number>()
  for (const value of values) counts.set(name(value), (counts.get(name(value)) ?? 0) + 1)
  return [...counts].sort()
}

function pairs(entries: ReadonlyArray<readonly [string, number]>): string {
  return entries.map(([name, count]) => `${name} ${count}`).join(', ')
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1048576)} MB`
}
