import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { Test } from 'tap'
import t from 'tap'
import { Chance } from '../fixtures/chance.ts'
import type { Ending, Rest } from '../fixtures/soak.ts'
import { ENDINGS, SoakClient, SoakServer, slope } from '../fixtures/soak.ts'
import { inParallel } from '../fixtures/storm.ts'

const CONNECTS = Number(process.env.SOAK ?? 5_000)
const WARM_UP = 500
const AT_ONCE = 50
/**
 * What the engine learns of code that gets hot is in the heap as well: some hundred kilobytes in the first thousands of
 * connects, and nothing after them. So only the second half of the samples counts, and a few seconds of it tell no slope an
 * hour: they tell what a connect leaves, next to which an entry of a Map by an id of its own would be 100 bytes or more. Whatever is
 * smaller is found by the counts of objects, which do not vary at all. The hour is for long runs alone: two collections leave
 * 70 KB more or less, with which two minutes of samples give a slope that is known to 2 MB an hour, and six to half of one.
 */
const BYTES_PER_CONNECT = CONNECTS >= 100_000 ? 16 : 200
const LEGS = Math.max(10, Math.min(40, Math.round(CONNECTS / 2_500)))

t.test('links that end in eight ways, at once and in any order, leave nothing behind on the server', async t => {
  const chance = new Chance()
  t.comment(`SEED=${chance.seed} SOAK=${CONNECTS}`)
  const server = await startServer(t)
  const counts = Object.fromEntries(ENDINGS.map(ending => [ending, 0])) as Record<Ending, number>
  const complaints: string[] = []
  let played = 0
  const play = (count: number): Promise<void> =>
    inParallel(count, AT_ONCE, async () => {
      const n = played++
      const client = new SoakClient(server, n, chance.child(n))
      await client.play()
      counts[client.ending]++
      if (client.complaint !== null) complaints.push(client.complaint)
    })

  await play(WARM_UP)
  const points: Array<readonly [connects: number, rest: Rest]> = [[played, await server.rest(true)]]
  const started = performance.now()
  for (let leg = 1; leg <= LEGS; leg++) {
    await play(Math.round((CONNECTS * leg) / LEGS) - (played - WARM_UP))
    points.push([played, await server.rest(leg === LEGS)])
  }
  const seconds = (performance.now() - started) / 1000
  const first = points[0]![1]
  const last = points.at(-1)![1]
  t.comment(`${CONNECTS} connects in ${seconds.toFixed(1)} s, ${Math.round(CONNECTS / seconds)} a second`)
  t.comment(JSON.stringify(counts))
  t.comment(`closed ${JSON.stringify(last.codes)}; refused ${JSON.stringify(last.refusals)}`)
  t.comment(`heap in KB: ${points.map(([, { heap }]) => Math.round(heap / 1000)).join(' ')}`)
  t.comment(`code in KB: ${points.map(([, { code }]) => Math.round(code / 1000)).join(' ')}`)
  const heapOf = (of: (point: (typeof points)[number]) => number, some = points): number =>
    slope(some.map(point => [of(point), point[1].heap]))
  const settled = points.slice(points.length >> 1)
  const perConnect = heapOf(([connects]) => connects, settled)
  const perHour = heapOf(([, { at }]) => at, settled) * 3_600_000
  t.comment(`${perConnect.toFixed(1)} bytes a connect, ${(perHour / 1e6).toFixed(2)} MB an hour`)

  t.strictSame(complaints, [], 'every client saw the end that it was to see')
  t.strictSame(server.failures, [])
  for (const ending of ENDINGS) t.ok(counts[ending] > 0, `${ending}: ${counts[ending]}`)
  t.equal(last.refusals.slow, counts.slow)
  const { [PROMISES]: promises = 0, ...left } = last.left
  const { [PROMISES]: before = 0, ...leftBefore } = first.left
  t.strictSame(left, leftBefore, 'descriptors, timers, listeners, maps and objects are what they were')
  t.ok(promises - before < AT_ONCE, `${promises} promises, ${before} before: those of the looking itself come and go`)
  for (const name of GONE) t.equal(last.left[name], 0, name)
  if (last.left.descriptors === undefined) t.pass('descriptors', { skip: 'there is no /proc/self/fd' })
  t.ok(perConnect < BYTES_PER_CONNECT, `the heap grows by less than ${BYTES_PER_CONNECT} bytes a connect`)
  if (CONNECTS >= 100_000) t.ok(perHour < 1e6, 'the heap grows by less than 1 MB an hour')
})

const PROMISES = 'objects Promise'

/** What must not only be as it was after the warm-up, which may have left something itself. */
const GONE = [
  ...['connections', 'users', 'channels', 'perChannel', 'pendingHandshakes', 'links', 'sessions', 'timers', 'sockets'],
  ...['clients', 'objects Connection', 'objects Channel', 'objects Session', 'objects Handshake']
]

/** The server, bundled, as Node reads no TypeScript. */
async function startServer(t: Test): Promise<SoakServer> {
  const cache = join(import.meta.dirname, '../../node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'soak-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const outfile = join(folder, 'server.mjs')
  const entry = join(import.meta.dirname, '../fixtures/soak-server.ts')
  const format = { bundle: true, packages: 'external', platform: 'node', format: 'esm', target: 'node20' } as const
  await build({ entryPoints: [entry], outfile, ...format, logLevel: 'warning' })
  const server = await SoakServer.start(outfile)
  t.teardown(() => server.stop())
  return server
}
