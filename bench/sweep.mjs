// Whether cost grows linearly: CPU of a delivery from 10 to 10,000 members, and memory of a connection from 1 to 100 channels.
// `npm run build && node bench/sweep.mjs [--rounds 5] [--json FILE]`
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { median } from './load/figures.mjs'
import { measure } from './load/measure.mjs'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '5' }, json: { type: 'string' } } })

// One message under way, so that nothing is joined with anything: each delivery is a write.
const members = await sweep([10, 30, 100, 300, 1_000, 3_000, 10_000], 'cpu_ns_per_delivery', conns => ({
  ...{ mode: 'pub', depth: 1, warmup: 1, duration: 2, sources: 4, timeout: 90, conns }
}))
const memory = await sweep([1, 2, 5, 10, 20, 50, 100], 'rss_per_conn_b', channels => ({
  ...{
    mode: 'idle',
    conns: 8_000,
    duration: 2,
    settle: 2_000,
    gc: true,
    sources: 4,
    timeout: 120,
    path: `/ws/many/${channels}`
  }
}))
if (values.json !== undefined) {
  const report = { node: process.versions.node, at: new Date().toISOString(), members, memory }
  writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`)
}

/** By turns over all sizes, so that no size has the machine's good minute for itself. */
async function sweep(sizes, key, loadOf) {
  const runs = sizes.map(() => [])
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [i, size] of sizes.entries()) runs[i].push((await measure('ours', { load: loadOf(size), key }))[key])
  }
  const points = sizes.map((size, i) => ({ size, value: median(runs[i]) }))
  console.log(key)
  for (const { size, value } of points)
    console.log(`${String(size).padStart(8)}${Math.round(value).toString().padStart(10)}`)
  return points
}
