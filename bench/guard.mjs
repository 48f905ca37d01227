// Fails where the CPU of a delivery, against that of bare ws in the same run, is a quarter worse than what was recorded.
// CPU and no time, and a ratio within each round, because machines are shared; and what looks worse is looked at again.
// `npm run build && node bench/guard.mjs [--record]`
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { median } from './load/figures.mjs'
import { measureOn, startAlone } from './load/measure.mjs'

const WORSE = 1.25
const ROUNDS = 3
const MOST_ROUNDS = 12
const path = join(import.meta.dirname, 'guard.json')
const recorded = JSON.parse(readFileSync(path, 'utf8'))
const record = parseArgs({ options: { record: { type: 'boolean', default: false } } }).values.record

const load = { mode: 'pub', conns: 250, warmup: 0.3, duration: 0.6 }
/** Single messages, whose cost is the write and what little stands round it; and bursts, in which our own work is most of it. */
const CASES = { single: { ...load, depth: 1 }, burst: { ...load, depth: 2, burst: 20 } }

const started = { ours: await startAlone('ours'), ws: await startAlone('ws') }
const seen = {}
try {
  for (const [name, load] of Object.entries(CASES)) {
    const bound = recorded[name] * WORSE
    const ratios = []
    while (ratios.length < (record ? MOST_ROUNDS : ROUNDS)) await round(ratios, load)
    while (!record && median(ratios) > bound && ratios.length < MOST_ROUNDS) await round(ratios, load)
    seen[name] = Number(median(ratios).toPrecision(3))
    const within = median(ratios) <= bound
    console.log(
      `${name}: ${seen[name]} of ws in ${ratios.length} rounds; recorded ${recorded[name]}, at most ${bound.toPrecision(3)}`
    )
    if (!within && !record) {
      console.error(`${name}: a delivery costs more than it did. If that is meant: node bench/guard.mjs --record`)
      process.exitCode = 1
    }
  }
} finally {
  for (const { stop } of Object.values(started)) await stop()
}
if (record) writeFileSync(path, `${JSON.stringify(seen, null, 2)}\n`)

async function round(ratios, load) {
  const [first, second] = ratios.length % 2 === 0 ? ['ours', 'ws'] : ['ws', 'ours']
  const of = {}
  for (const name of [first, second]) of[name] = await measureOn(started[name].server, load)
  ratios.push(of.ours.cpu_ns_per_delivery / of.ws.cpu_ns_per_delivery)
}
