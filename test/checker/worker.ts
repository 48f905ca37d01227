// A process of clients. It is never killed with the server: what it saw is what the run is judged by.
import { Actor, Counts } from './actor.ts'
import { Journal } from './journal.ts'
import { Lateness } from './lateness.ts'
import type { Plan } from './plan.ts'
import { clientsOf } from './plan.ts'
import { RawPort } from './raw-port.ts'
import { readLog } from './read-log.ts'
import { ShippedPort } from './shipped-port.ts'

export interface WorkerSettings {
  readonly plan: Plan
  /** Which of the workers, from 0. */
  readonly index: number
  readonly journal: string
  readonly direct: string
  readonly proxied: string
}

export type WorkerOrder =
  /** A fault begins or ends that concerns these clients, or all. */
  | { readonly do: 'trouble'; readonly on: boolean; readonly clients: readonly number[] | null; readonly link: boolean }
  | { readonly do: 'pause'; readonly on: boolean; readonly clients: readonly number[] }
  /** A user may not join a channel, or may again. */
  | { readonly do: 'bar'; readonly on: boolean; readonly user: string; readonly channel: string }
  /** Another server process has begun. */
  | { readonly do: 'restarted' }
  /** Send from now on, or no more. */
  | { readonly do: 'send'; readonly on: boolean }
  | { readonly do: 'look' }
  | { readonly do: 'finish' }

export interface WorkerLook {
  readonly counts: Counts
  readonly waiting: number
  /** Memberships that are missing. */
  readonly missing: number
  /** By channel: offset and how many subscribers stand there. */
  readonly places: ReadonlyArray<readonly [channel: string, place: string]>
  readonly presence: ReadonlyArray<{
    readonly channel: string
    readonly user: string
    readonly joined: boolean
    readonly there: readonly string[] | null
  }>
}

const TICK_MS = 20

const { plan, index, journal: path, direct, proxied } = JSON.parse(process.argv[2]!) as WorkerSettings
const journal = new Journal(path)
const counts = new Counts()
const actors = clientsOf(plan)
  .filter((_, i) => i % plan.workers === index)
  .map(client => new Actor(plan, client, journal, counts))
const clients = actors.filter(({ plan: { kind } }) => kind !== 'auditor')

const orphaned = (): never => process.exit(1)
process.on('disconnect', orphaned)
process.on('message', (order: WorkerOrder) => {
  void carryOut(order)
})

for (const actor of actors) {
  const url = actor.plan.proxied ? proxied : direct
  actor.port = actor.plan.kind === 'shipped' ? new ShippedPort(actor, url) : new RawPort(actor, url)
}
const lateness = new Lateness(actors)
const flusher = setInterval(() => journal.flush(), 1_000)

let sending = false
let budget = 0
let turn = 0
let ticked = performance.now()
const ticker = setInterval(tick, TICK_MS)

/** Sends as many commands as are due, by one client after the other. */
function tick(): void {
  const at = performance.now()
  // After this process stood still it does not send all at once what it has missed.
  budget += (Math.min(200, at - ticked) / 1000) * (plan.rate / plan.workers)
  ticked = at
  if (!sending) budget = 0
  for (; budget >= 1; budget--) clients[turn++ % clients.length]!.act()
}

async function carryOut(order: WorkerOrder): Promise<void> {
  if (order.do === 'send') sending = order.on
  else if (order.do === 'restarted') lateness.restarted()
  else if (order.do === 'bar') for (const actor of actors) actor.bar(order.user, order.channel, order.on)
  else if (order.do === 'trouble' || order.do === 'pause') {
    for (const actor of actors) {
      if (order.clients !== null && !order.clients.includes(actor.plan.p)) continue
      if (order.do === 'pause') actor.port.pause(order.on)
      else actor.trouble(order.on, order.link)
    }
  } else if (order.do === 'look') process.send!(look())
  else await finish()
}

function look(): WorkerLook {
  const views = actors.flatMap(actor => [...actor.recorders.values()].map(recorder => ({ actor, recorder })))
  return {
    counts,
    waiting: actors.reduce((sum, actor) => sum + actor.waiting, 0),
    missing: views.filter(({ actor, recorder: { joined, subscriber } }) => !joined && actor.mayJoin(subscriber.c))
      .length,
    places: views.map(({ recorder: { subscriber, place } }) => [subscriber.c, `${place}`] as const),
    presence: views
      .filter(({ recorder }) => recorder.subscriber.c !== 'lobby')
      .map(({ actor, recorder: { subscriber, joined } }) => ({
        channel: subscriber.c,
        user: actor.plan.user,
        joined,
        there: actor.port.present(subscriber.c)
      }))
  }
}

async function finish(): Promise<void> {
  lateness.stop()
  clearInterval(ticker)
  for (const actor of actors) {
    if (plan.log && actor.plan.kind === 'auditor' && actor.port instanceof RawPort)
      await readLog(actor, actor.port, journal)
  }
  for (const actor of actors) actor.end()
  clearInterval(flusher)
  journal.close()
  // Links whose other end is disturbed would keep the process for a while.
  process.send!({ finished: true, cpu: process.cpuUsage() }, () => process.exit(0))
}
