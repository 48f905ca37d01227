// Acknowledged commits a second of 64 publishers, each of which commits its next command once the last is acknowledged:
// the memory broker and SQLite by turns in one run, with what the disk needs for an fsync.
// `npm run build && node bench/commits.mjs [publishers] [seconds] [driver]`
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { memory } from '../dist/lib/broker/memory.js'
import { sqlite } from '../dist/lib/broker/sqlite.js'
import { systemClock } from '../dist/lib/clock.js'
import { fsyncTimes, quantile } from './disk.mjs'

const publishers = Number(process.argv[2] ?? 64)
const seconds = Number(process.argv[3] ?? 2)
const driver = process.argv[4] ?? 'auto'
const ROUNDS = 3
const CHANNELS = 20
const LOG = { entries: 1000, ageMs: 600_000, bytes: 4_194_304 }
/** Where the file lies: a folder in memory would measure nothing. */
const folder = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'fastify-channels-bench-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

let used = ''
const logger = {
  error: console.error,
  warn: console.error,
  debug() {},
  child: () => logger,
  info: told => (used = told.driver ?? used)
}
const context = { clock: systemClock, logger, onControl() {} }
const makers = {
  memory: () => memory()(context),
  sqlite: round => sqlite({ path: join(folder, `${round}.db`), driver })(context)
}

const figures = { memory: [], sqlite: [] }
const fsyncs = []
for (let round = 0; round < ROUNDS; round++) {
  fsyncs.push(...fsyncTimes(folder))
  for (const [name, make] of Object.entries(makers)) figures[name].push(await measure(await make(round)))
}
const fsyncMs = quantile(fsyncs, 0.5)
const rate = Object.fromEntries(
  Object.entries(figures).map(([name, rounds]) => [
    name,
    quantile(
      rounds.map(r => r.rate),
      0.5
    )
  ])
)
const groupMs = (publishers / rate.memory) * 1000
const bound = publishers / ((fsyncMs + groupMs) / 1000)
console.log(
  `Node ${process.versions.node}, ${used}, ${publishers} publishers, ${CHANNELS} channels, ${ROUNDS} rounds of ${seconds} s`
)
for (const [name, rounds] of Object.entries(figures)) {
  const at = q =>
    quantile(
      rounds.flatMap(r => r.latencies),
      q
    ).toFixed(2)
  console.log(
    `${name.padEnd(7)}${String(Math.round(rate[name])).padStart(8)} acked commits/s, ack p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, CPU ${quantile(
      rounds.map(r => r.cpu),
      0.5
    ).toFixed(1)} µs a commit`
  )
}
console.log(`fsync  p50 ${fsyncMs.toFixed(3)} ms; memory needs ${groupMs.toFixed(3)} ms for ${publishers}`)
console.log(
  `sqlite reaches ${(rate.sqlite / bound).toFixed(2)} of ${publishers} / (fsync + memory) = ${Math.round(bound)}/s`
)

async function measure(broker) {
  const latencies = []
  let acked = 0
  const before = process.cpuUsage()
  for (let i = 0; i < CHANNELS; i++) await broker.subscribe(`channel-${i}`, () => {})
  const started = performance.now()
  const ends = started + seconds * 1000
  const publish = async n => {
    const session = `session-${n}`
    for (let id = 1; performance.now() < ends; id++) {
      const begun = performance.now()
      const channel = `channel-${(n + id) % CHANNELS}`
      const text = JSON.stringify({
        channel,
        cmd: 'chat-message',
        param: { text: `${n} ${id} ${'x'.repeat(100)}` },
        from: `user-${n}`
      })
      const command = { session, fence: 0, id, progress: { highest: id, holes: [] }, reply: '' }
      const answer = await broker.commit({ publications: [{ channel, text, except: [], log: LOG }], command })
      if (answer.kind !== 'stored') throw new Error(answer.kind)
      acked++
      if (acked % 16 === 0) latencies.push(performance.now() - begun)
      // What answers in the same turn would never let another turn come.
      if (n === 0 && id % 50 === 0) await new Promise(setImmediate)
    }
  }
  await Promise.all(Array.from({ length: publishers }, (_, n) => publish(n)))
  const rate = acked / ((performance.now() - started) / 1000)
  const { user, system } = process.cpuUsage(before)
  await broker.close()
  return { rate, latencies, cpu: (user + system) / acked }
}
