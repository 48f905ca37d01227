// A run of the checker: the server, its clients, the load and the faults; then the judgement.
import { setTimeout as sleep } from 'node:timers/promises'
import { Chance } from '../fixtures/chance.ts'
import { analyse } from './analysis/analyse.ts'
import { Faults } from './faults.ts'
import { garbage } from './garbage.ts'
import { readJournal } from './journal.ts'
import type { Plan } from './plan.ts'
import { channelsOf } from './plan.ts'
import { now } from './records.ts'
import type { Outcome } from './report.ts'
import { report } from './report.ts'
import { scheduleOf } from './schedule.ts'
import type { ServerLook } from './server-process.ts'
import { Stage } from './stage.ts'
import { strain } from './strain.ts'
import type { WorkerLook } from './worker.ts'

/** What the application itself publishes to everybody, each so often. */
const LOBBY_MS = 300
/** After the load everything must have been answered, and everybody back, within this. */
const SETTLE_MS = 25_000
/** And at the head within this. */
const HEAD_MS = 5_000
/** A presence is kept for a grace after an abrupt end. */
const PRESENCE_MS = 10_000

/** Runs a plan in a folder where the programs are; resolves to whether all was well. */
export async function direct(plan: Plan, folder: string, signal: AbortSignal): Promise<boolean> {
  const stage = new Stage(plan, folder)
  const started = now()
  try {
    const aborted = new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => reject(new Error('interrupted')))
    })
    const outcome = await Promise.race([play(stage), aborted])
    const deep = new Set(channelsOf(plan).flatMap(({ name, deep }) => (deep ? [name] : [])))
    const setting = { broker: plan.broker, log: plan.log, deep: (channel: string) => deep.has(channel) }
    const judged = performance.now()
    const history = analyse(setting, stage.journals.flatMap(readJournal))
    const times = { seconds: (now() - started) / 1000, analysisMs: performance.now() - judged }
    return report(plan, history, { ...outcome, ...times })
  } finally {
    await stage.end()
  }
}

async function play(stage: Stage): Promise<Omit<Outcome, 'seconds' | 'analysisMs'>> {
  const { plan } = stage
  await stage.begin()
  await until(stage, SETTLE_MS, looks => missing(looks) === 0, 'not-back', 'not everybody had joined before the load')
  const faults = await load(stage)
  await until(stage, SETTLE_MS, looks => missing(looks) === 0, 'not-back', 'not everybody was back after the load')
  await until(stage, SETTLE_MS, looks => waiting(looks) === 0, 'unsettled', 'commands still waited after the load')
  // Strangers ask for what is not theirs, when nothing else can be the reason of an answer; and have been there, and gone.
  await garbage(stage.port, plan.log, plan.seed, 0, detail => stage.found('hostile-served', detail))
  for (const { name } of channelsOf(plan)) await stage.publish(name, 'the last one')
  if (plan.log) await until(stage, HEAD_MS, atOnePlace, 'late', 'not everybody was at the head')
  else await sleep(500)
  await until(stage, PRESENCE_MS, isTold, 'presence', 'not everybody is told who is there')
  const looks = await stage.lookAtWorkers()
  const last = (await stage.server.ask({ do: 'look' })) as ServerLook | null
  const workersCpu = await stage.finishWorkers()
  // The file must be complete before it is read.
  await leftovers(stage)
  await stage.stop('SIGTERM')
  stage.journal.flush()
  const sum = (pick: (look: WorkerLook) => number): number => looks.reduce((all, look) => all + pick(look), 0)
  return {
    acked: sum(({ counts }) => counts.acked),
    sent: sum(({ counts }) => counts.sent),
    copies: sum(({ counts }) => counts.copies),
    deliveries: sum(({ counts }) => counts.deliveries),
    faults,
    refusals: stage.refusals,
    boots: stage.server.boot,
    serverCpu: stage.cpuSeconds,
    workersCpu,
    serverRss: last?.memory.rss ?? 0,
    canFill: stage.store.canFill
  }
}

async function load(stage: Stage): Promise<ReadonlyMap<string, number>> {
  const { plan } = stage
  const faults = new Faults(stage)
  const running: Promise<void>[] = []
  const chance = new Chance(plan.seed).child(3)
  stage.tellWorkers({ do: 'send', on: true })
  const begun = now()
  const lobby = setInterval(() => running.push(stage.publish('lobby', 'y'.repeat(20 + chance.below(400)))), LOBBY_MS)
  const progress = setInterval(() => void tell(stage, faults, begun), 10_000)
  for (const fault of scheduleOf(plan, stage.store.canFill)) {
    await sleep(Math.max(0, begun + fault.at - now()))
    const run = faults.run(fault)
    // One that could not be carried out fails the run, once that is waited for.
    run.catch(() => {})
    running.push(run)
  }
  await sleep(Math.max(0, begun + plan.seconds * 1000 - now()))
  clearInterval(lobby)
  clearInterval(progress)
  await Promise.all(running)
  stage.tellWorkers({ do: 'send', on: false })
  return faults.counts
}

async function tell(stage: Stage, faults: Faults, begun: number): Promise<void> {
  const looks = await stage.lookAtWorkers()
  const seconds = Math.round((now() - begun) / 1000)
  const acked = looks.reduce((sum, { counts }) => sum + counts.acked, 0)
  const deliveries = looks.reduce((sum, { counts }) => sum + counts.deliveries, 0)
  const wider = strain() > 1 ? `; bounds of time are ${strain().toFixed(1)} times as wide` : ''
  const made = [...faults.counts.values()].reduce((sum, count) => sum + count, 0)
  console.log(
    `${seconds} s: ${acked} acked, ${deliveries} deliveries, ${made} faults, ${missing(looks)} memberships missing${wider}`
  )
}

async function until(
  stage: Stage,
  ms: number,
  holds: (looks: readonly WorkerLook[]) => boolean,
  rule: Parameters<Stage['found']>[0],
  detail: string
): Promise<void> {
  const begun = now()
  for (;;) {
    const looks = await stage.lookAtWorkers()
    if (holds(looks)) return
    const tookMs = now() - begun
    // A build that is broken need not be waited for: what is wrong with it has been seen.
    if (tookMs > (stage.plan.expectCaught ? Math.min(ms, 5_000) : ms * strain()))
      return stage.found(rule, `${detail} within ${Math.round(tookMs)} ms`)
    await sleep(200)
  }
}

function missing(looks: readonly WorkerLook[]): number {
  return looks.reduce((sum, look) => sum + look.missing, 0)
}

function waiting(looks: readonly WorkerLook[]): number {
  return looks.reduce((sum, look) => sum + look.waiting, 0)
}

function atOnePlace(looks: readonly WorkerLook[]): boolean {
  const places = new Map<string, string>()
  for (const [channel, place] of looks.flatMap(look => look.places)) {
    if ((places.get(channel) ?? place) !== place) return false
    places.set(channel, place)
  }
  return true
}

/** Whether everybody in a channel is told of all users there, and of nobody else. */
function isTold(looks: readonly WorkerLook[]): boolean {
  const views = looks.flatMap(look => look.presence)
  const users = new Map<string, Set<string>>()
  for (const { channel, user, joined } of views) {
    if (!users.has(channel)) users.set(channel, new Set())
    if (joined) users.get(channel)!.add(user)
  }
  return views.every(({ channel, joined, there }) => {
    const expected = users.get(channel)!
    return !joined || there === null || (there.length === expected.size && there.every(user => expected.has(user)))
  })
}

/** Once all clients are gone nothing is left of them. */
async function leftovers(stage: Stage): Promise<void> {
  const deadline = now() + 10_000
  const { descriptors, resources } = await stage.server.ready()
  for (;;) {
    const look = (await stage.server.ask({ do: 'look' })) as ServerLook | null
    if (look === null) return
    const left: Record<string, number> = { ...look.stats, descriptors: look.descriptors - descriptors }
    left.sockets = (look.resources.TCPSocketWrap ?? 0) - (resources.TCPSocketWrap ?? 0)
    if (Object.values(left).every(count => count <= 0)) return
    if (now() > deadline) return stage.found('leftovers', JSON.stringify(left))
    await sleep(100)
  }
}
