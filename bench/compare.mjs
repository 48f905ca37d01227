// This package against others, scenario by scenario: rounds by turns in one run, each with servers that were started for it.
// Only ratios within a round mean anything on a shared machine; what is told is their median.
import { writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { median } from './load/figures.mjs'
import { load } from './load/load.mjs'
import { DIALS, start, versionOf } from './load/servers.mjs'
import { MESSAGES, SCENARIOS } from './scenarios.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rounds: { type: 'string', default: '5' },
    json: { type: 'string' },
    'no-pin': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false }
  }
})
if (values.help) {
  console.log('npm run bench -- [scenario ...] [--rounds 5] [--json FILE] [--no-pin]\n')
  for (const [name, { about }] of Object.entries(SCENARIOS)) console.log(`  ${name.padEnd(18)}${about}`)
  process.exit()
}
const rounds = Number(values.rounds)
/** The server has one core and the load generator another. */
const pins =
  values['no-pin'] || availableParallelism() < 2
    ? [[], []]
    : [
        ['taskset', '-c', '0'],
        ['taskset', '-c', '1']
      ]
const chosen = positionals.length > 0 ? positionals : Object.keys(SCENARIOS)
for (const name of chosen) if (SCENARIOS[name] === undefined) throw new Error(`there is no scenario ${name}`)

let told = false
const report = { node: process.versions.node, at: new Date().toISOString(), rounds, scenarios: {} }
for (const name of chosen) report.scenarios[name] = await scenario(name, SCENARIOS[name])
report.versions = Object.fromEntries(['ws', '@fastify/websocket', 'socket.io'].map(one => [one, versionOf(one)]))
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
console.log(
  `Node ${report.node}, ${rounds} rounds; ${Object.entries(report.versions)
    .map(pair => pair.join(' '))
    .join(', ')}`
)

async function scenario(name, { about, load: options, peers, key, better, goals, most, env, warm = 0 }) {
  const runs = {
    ours: [],
    ...Object.fromEntries(peers.map(peer => [`${peer}${peer === 'ours' ? ' without' : ''}`, []]))
  }
  const names = Object.keys(runs)
  for (let round = 0; round < rounds; round++) {
    for (const who of round % 2 === 0 ? names : [...names].reverse()) {
      runs[who].push(await measure(who.split(' ')[0], options, who === 'ours' ? env : {}, warm))
    }
  }
  console.log(`${name}: ${about}`)
  const ratios = {}
  for (const who of names) {
    const value = median(runs[who].map(run => run[key]))
    const lost = runs[who].reduce((sum, run) => sum + Math.max(0, run.lost) + run.out_of_order + run.dead, 0)
    let line = `  ${who.padEnd(18)}${Math.round(value).toLocaleString('en').padStart(12)}`
    if (who !== 'ours') {
      ratios[who] = runs.ours.map((run, i) => run[key] / runs[who][i][key])
      const ratio = median(ratios[who])
      const goal = goals[who.split(' ')[0]]
      line += `   ours is ${ratio.toFixed(2)} × (${Math.min(...ratios[who]).toFixed(2)} to ${Math.max(...ratios[who]).toFixed(2)})`
      if (goal !== undefined) line += `, goal ${goal}: ${verdict(better === 'more' ? ratio >= goal : ratio <= goal)}`
    } else if (most !== undefined) line += `   goal ${most.toLocaleString('en')}: ${verdict(value <= most)}`
    console.log(lost > 0 ? `${line}   ${lost} lost, out of order or cut off` : line)
  }
  return {
    about,
    key,
    runs,
    ratios: Object.fromEntries(Object.entries(ratios).map(([who, all]) => [who, median(all)]))
  }
}

function verdict(reached) {
  return reached ? 'reached' : 'NOT reached'
}

async function measure(name, options, env, warm) {
  const server = await start(name, { env, pin: pins[0] })
  try {
    const msg = MESSAGES[name]?.[options.mode]
    const { port, pid } = server
    const all = { ...options, ...DIALS[name], ...(msg === undefined ? {} : { msg }), port, pid }
    for (let i = 0; i < warm; i++) await load(all, pins[1])
    return await load(all, pins[1])
  } finally {
    if (name === 'ours' && !told) console.log(server.said)
    told ||= name === 'ours'
    await server.stop()
  }
}
