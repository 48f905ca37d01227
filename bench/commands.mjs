// Acknowledged commands a second, and how long an ack takes: clients that send their next command once the last is acked, each
// in a channel of its own with a log. The memory broker and SQLite by turns in one run, with what the disk needs for an fsync.
// `npm run build && node bench/commands.mjs [clients] [seconds] [rounds]`; its exit code is 1 where a command was lost or the goal is missed.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sqlite } from '../dist/lib/broker/sqlite.js'
import { systemClock } from '../dist/lib/clock.js'
import { fsyncTimes } from './load/disk.mjs'
import { median, quantile } from './load/figures.mjs'
import { load } from './load/load.mjs'
import { start } from './load/servers.mjs'

const [clients = 64, duration = 3, rounds = 5] = process.argv.slice(2).map(Number)
/** The part of what the disk and the rest of the way allow that SQLite should reach. */
const GOAL = 0.7
/** Where the file lies: a folder in memory would measure nothing. */
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'fastify-channels-bench-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

const figures = { memory: [], sqlite: [] }
const parts = []
const fsyncs = []
for (let round = 0; round < rounds; round++) {
  const disk = fsyncTimes(folder)
  fsyncs.push(...disk)
  const names = round % 2 === 0 ? ['memory', 'sqlite'] : ['sqlite', 'memory']
  for (const name of names) figures[name].push(await measure(name, round))
  const memory = figures.memory.at(-1).deliveries_s
  const sqlite = figures.sqlite.at(-1).deliveries_s
  parts.push(sqlite / (clients / (median(disk) / 1000 + clients / memory)))
}

console.log(
  `Node ${process.versions.node}, SQLite by ${await driver()}; ${clients} clients, ${rounds} rounds of ${duration} s`
)
for (const [name, runs] of Object.entries(figures)) {
  const of = key => median(runs.map(run => run[key]))
  const ms = key => (of(key) / 1000).toFixed(2)
  console.log(
    `${name.padEnd(7)}${String(Math.round(of('deliveries_s'))).padStart(7)} acked commands/s, ack p50 ${ms('p50_us')} ms, p99 ${ms('p99_us')} ms, ` +
      `${(of('cpu_ns_per_delivery') / 1000).toFixed(1)} µs of the server's CPU each; lost ${runs.reduce((sum, run) => sum + run.lost, 0)}`
  )
}
const groupMs = (clients / median(figures.memory.map(run => run.deliveries_s))) * 1000
console.log(`fsync p50 ${quantile(fsyncs, 0.5).toFixed(3)} ms; memory needs ${groupMs.toFixed(3)} ms for ${clients}`)
const reached = median(parts)
console.log(
  `SQLite reaches ${reached.toFixed(2)} (${Math.min(...parts).toFixed(2)} to ${Math.max(...parts).toFixed(2)}) of ` +
    `${clients} / (fsync + memory); the goal is ${GOAL}`
)
const lost = Object.values(figures)
  .flat()
  .some(run => run.lost > 0)
process.exitCode = lost || reached < GOAL ? 1 : 0

async function measure(name, round) {
  const BROKER = name === 'memory' ? 'memory' : `sqlite:${join(folder, `${round}.db`)}`
  const server = await start('ours', { env: { BROKER, LOG: '1' } })
  const result = await load({
    ...{ mode: 'echo', conns: clients, depth: 1, port: server.port, pid: server.pid, duration, warmup: 1 },
    ...{ path: '/ws/own/{i}', subprotocol: 'channels.v1', ready: '$joined' },
    msg: '{"channel":"own-{i}","cmd":"keep","id":{s},"param":{"bs":{s},"bt":{t},"pad":"{pad}"}}'
  })
  if (parts.length === 0 && name === 'memory') console.log(server.said)
  await server.stop()
  return result
}

/** Which of the drivers it is, as it says itself. */
async function driver() {
  let used = ''
  const quiet = () => {}
  const logger = {
    error: quiet,
    warn: quiet,
    debug: quiet,
    child: () => logger,
    info: told => (used = told.driver ?? used)
  }
  const broker = await sqlite({ path: join(folder, 'which.db') })({ clock: systemClock, logger, onControl: quiet })
  await broker.close()
  return used
}
