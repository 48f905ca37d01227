// This package against others, scenario by scenario: rounds by turns in one run, each with servers that were started for it.
// Only ratios within a round mean anything on a shared machine; what is told is their median.
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { median } from './load/figures.mjs'
import { measure, pins } from './load/measure.mjs'
import { versionOf } from './load/servers.mjs'
import { SCENARIOS } from './scenarios.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false }
  }
})
if (values.help) {
  console.log('npm run bench -- [scenario ...] [--rounds 5] [--json FILE]\n')
  for (const [name, { about }] of Object.entries(SCENARIOS)) console.log(`  ${name.padEnd(18)}${about}`)
  process.exit()
}
const rounds = Number(values.rounds)
const chosen = positionals.length > 0 ? positionals : Object.keys(SCENARIOS)
for (const name of chosen) if (SCENARIOS[name] === undefined) throw new Error(`there is no scenario ${name}`)

const report = { node: process.versions.node, at: new Date().toISOString(), rounds, scenarios: {} }
for (const name of chosen) {
  report.scenarios[name] = await compare(SCENARIOS[name])
  tell(name, SCENARIOS[name], report.scenarios[name])
}
report.versions = Object.fromEntries(['ws', '@fastify/websocket', 'socket.io'].map(one => [one, versionOf(one)]))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
const versions = Object.entries(report.versions).map(pair => pair.join(' '))
console.log(`Node ${report.node}, ${rounds} rounds; ${versions.join(', ')}`)

/** Each round in the other direction, so that neither is always the one that finds the machine warm. */
async function compare(scenario) {
  const { key, most = {}, better } = scenario
  const who = ['ours', ...(scenario.peers ?? []), ...(scenario.against === undefined ? [] : [scenario.against.name])]
  const runs = Object.fromEntries(who.map(one => [one, []]))
  for (let round = 0; round < rounds; round++) {
    for (const one of round % 2 === 0 ? who : [...who].reverse()) runs[one].push(await run(scenario, one))
  }
  const kept = [key, ...Object.keys(most), 'cpu_ns_per_delivery', 'p50_us', 'p99_us']
  const figures = {}
  for (const one of who) {
    const own = Object.fromEntries([...new Set(kept)].map(name => [name, median(runs[one].map(run => run[name] ?? 0))]))
    const ratios = runs.ours.map((run, i) => run[key] / runs[one][i][key])
    const lost = runs[one].reduce((sum, run) => sum + Math.max(0, run.lost) + run.out_of_order + run.dead, 0)
    figures[one] = { ...own, lost, ratio: median(ratios), lowest: Math.min(...ratios), highest: Math.max(...ratios) }
  }
  return { about: scenario.about, key, better, figures }
}

function run(scenario, who) {
  if (scenario.run !== undefined) return scenario.run(pins)
  const { load, key, env, warm, times, beside, against } = scenario
  if (who === against?.name) return measure('ours', { load, key, warm, times, beside, ...against })
  return measure(who, { load, key, warm, times, beside, env: who === 'ours' ? env : {} })
}

function tell(name, { about, goals, most = {}, better }, { key, figures }) {
  console.log(`${name}: ${about}`)
  for (const [who, of] of Object.entries(figures)) {
    const parts = [`  ${who.padEnd(18)}${whole(of[key]).padStart(12)}`]
    if (who !== 'ours') {
      const { ratio, lowest, highest } = of
      const goal = goals[who]
      const reached = better === 'more' ? ratio >= goal : ratio <= goal
      const aim = goal === undefined ? '' : `, goal ${goal}: ${verdict(reached)}`
      parts.push(`ours is ${ratio.toFixed(2)} × (${lowest.toFixed(2)} to ${highest.toFixed(2)})${aim}`)
    }
    for (const [one, limit] of who === 'ours' ? Object.entries(most) : []) {
      const at = one === key ? '' : `${one} ${whole(of[one])}, `
      parts.push(`${at}at most ${whole(limit)}: ${verdict(of[one] <= limit)}`)
    }
    if (of.lost > 0) parts.push(`${of.lost} lost, out of order or cut off`)
    console.log(parts.join('   '))
  }
}

function whole(value) {
  return Math.round(value).toLocaleString('en')
}

function verdict(reached) {
  return reached ? 'reached' : 'NOT reached'
}
