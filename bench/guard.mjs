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
const MOST_PAIRS = 5
const path = join(import.meta.dirname, 'guard.json')
const recorded = JSON.parse(readFileSync(path, 'utf8'))
const record = parseArgs({ options: { record: { type: 'boolean', default: false } } }).values.record

const load = { mode: 'pub', conns: 250, warmup: 0.3, duration: 0.6 }
/** Single messages, whose cost is the write and what little stands round it; and bursts, in which our own work is most of it. */
const CASES = { single: { ...load, depth: 1 }, burst: { ...load, depth: 2, burst: 20 } }

const ratios = Object.fromEntries(Object.keys(CASES).map(name => [name, []]))
const bound = name => recorded[name] * WORSE
const isOver = () => Object.keys(CASES).some(name => median(ratios[name]) > bound(name))

// How much of a burst is joined differs between processes as well: so what looks worse is looked at with others.
for (let pairs = 0; pairs < MOST_PAIRS && (pairs === 0 || record || isOver()); pairs++) await pair()

const seen = {}
for (const [name, { length }] of Object.entries(ratios)) {
  seen[name] = Number(median(ratios[name]).toPrecision(3))
  const most = bound(name).toPrecision(3)
  console.log(`${name}: ${seen[name]} of ws in ${length} rounds; recorded ${recorded[name]}, at most ${most}`)
  if (median(ratios[name]) <= bound(name) || record) continue
  console.error(`${name}: a delivery costs more than it did. If that is meant: node bench/guard.mjs --record`)
  process.exitCode = 1
}
if (record) writeFileSync(path, `${JSON.stringify(seen, null, 2)}\n`)

/** All cases on two servers that are started for it. */
async function pair() {
  const started = { ours: await startAlone('ours'), ws: await startAlone('ws') }
  try {
    for (const [name, load] of Object.entries(CASES)) {
      for (let i = 0; i < ROUNDS; i++) ratios[name].push(await round(started, load, i % 2 === 0))
    }
  } finally {
    for (const { stop } of Object.values(started)) await stop()
  }
}

async function round(started, load, oursFirst) {
  const of = {}
  for (const name of oursFirst ? ['ours', 'ws'] : ['ws', 'ours']) of[name] = await measureOn(started[name].server, load)
  return of.ours.cpu_ns_per_delivery / of.ws.cpu_ns_per_delivery
}
