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
    rounds: { type: 'string' },
    json: { type: 'string' },
    help: { type: 'boolean', default: false }
  }
})
if (values.help) {
  console.log('npm run bench -- [scenario ...] [--rounds N] [--json FILE]\n')
  console.log('Five rounds, or nine where an aim is within a fifth of 1. The report is printed where it has no file.\n')
  for (const [name, { about }] of Object.entries(SCENARIOS)) console.log(`  ${name.padEnd(18)}${about}`)
  process.exit()
}
const chosen = positionals.length > 0 ? positionals : Object.keys(SCENARIOS)
for (const name of chosen) if (SCENARIOS[name] === undefined) throw new Error(`there is no scenario ${name}`)

const report = { node: process.versions.node, at: new Date().toISOString(), scenarios: {} }
for (const name of chosen) {
  const rounds = values.rounds === undefined ? roundsOf(SCENARIOS[name]) : Number(values.rounds)
  report.scenarios[name] = await compare(SCENARIOS[name], rounds)
  tell(name, SCENARIOS[name], report.scenarios[name])
}
const versionsOf = ['ws', '@fastify/websocket', 'socket.io'].map(one => [one, versionOf(one)])
report.versions = Object.fromEntries(versionsOf.filter(([, version]) => version !== null))
const versions = Object.entries(report.versions).map(pair => pair.join(' '))
console.log(`\nNode ${report.node}; ${versions.join(', ')}\n`)
for (const row of table(report.scenarios)) console.log(row)
const json = JSON.stringify(report, null, 2)
if (values.json === undefined) console.log(`\n${json}`)
else writeFileSync(values.json, `${json}\n`)

/** A ratio near the one that is aimed at takes more rounds to tell from it. */
function roundsOf({ goals }) {
  return Object.values(goals).some(goal => goal >= 0.8 && goal <= 1.2) ? 9 : 5
}

/** Each round in the other direction, so that neither is always the one that finds the machine warm. */
async function compare(scenario, rounds) {
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
  return { about: scenario.about, key, better, rounds, figures }
}

function run(scenario, who) {
  if (scenario.run !== undefined) return scenario.run(pins)
  const { load, key, env, warm, times, beside, against } = scenario
  if (who === against?.name) return measure('ours', { load, key, warm, times, beside, ...against })
  return measure(who, { load, key, warm, times, beside, env: who === 'ours' ? env : {} })
}

function tell(name, { about, goals, most = {}, better }, { key, rounds, figures }) {
  console.log(`${name}: ${about} (${rounds} rounds)`)
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

/** A line for each scenario: our figure, and what it is of each other's. */
function table(scenarios) {
  const others = [...new Set(Object.values(scenarios).flatMap(({ figures }) => Object.keys(figures)))].slice(1)
  const rows = [['scenario', 'figure', 'ours', ...others]]
  for (const [name, { key, figures }] of Object.entries(scenarios)) {
    const ratios = others.map(who => (figures[who] === undefined ? '' : `${figures[who].ratio.toFixed(2)} ×`))
    rows.push([name, key, whole(figures.ours[key]), ...ratios])
  }
  const widths = rows[0].map((_, i) => Math.max(...rows.map(row => row[i].length)))
  return rows.map(row => row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('   '))
}

function whole(value) {
  return Math.round(value).toLocaleString('en')
}

function verdict(reached) {
  return reached ? 'reached' : 'NOT reached'
}
