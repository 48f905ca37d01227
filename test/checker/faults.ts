import { setTimeout as sleep } from 'node:timers/promises'
import { Chance } from '../fixtures/chance.ts'
import { garbage } from './garbage.ts'
import type { ClientPlan } from './plan.ts'
import { clientsOf } from './plan.ts'
import { now } from './records.ts'
import type { PlannedFault } from './schedule.ts'
import { isOfLink, isOfServer } from './schedule.ts'
import type { ServerProcess } from './server-process.ts'
import { CLOSE_GRACE_MS } from './server-settings.ts'
import type { Stage } from './stage.ts'
import { strain } from './strain.ts'

/** A drain ends within its grace and this much. */
const DRAIN_SLACK_MS = 1_500

/** How long after a disk has room again a failure may still be told. */
const STORE_SLACK_MS = 3_000

/**
 * What the store could not do is told for a while after it can again; and by a process that stands still meanwhile (a stall may follow) not before it
 * goes on. Its loop has come round once it has answered twice.
 */
async function overcome(server: ServerProcess): Promise<void> {
  await sleep(STORE_SLACK_MS)
  for (let i = 0; i < 2; i++) await server.ask({ do: 'look' })
  server.storeTroubles--
}

/** Carries faults out. Those of the server's process wait for each other. */
export class Faults {
  readonly counts = new Map<string, number>()
  readonly #stage: Stage
  readonly #clients: readonly ClientPlan[]
  #server: Promise<void> = Promise.resolve()

  constructor(stage: Stage) {
    this.#stage = stage
    this.#clients = clientsOf(stage.plan)
  }

  async run(fault: PlannedFault): Promise<void> {
    const { kind, clients } = fault
    if (!isOfServer(kind)) return this.#around(fault, clients, () => this.#ofClients(fault))
    const before = this.#server
    this.#server = before.then(() => this.#around(fault, null, () => this.#ofServer(fault)))
    return this.#server
  }

  /** Workers know who is disturbed meanwhile, and since when no more. */
  async #around(fault: PlannedFault, clients: readonly number[] | null, task: () => Promise<string>): Promise<void> {
    const stage = this.#stage
    const { kind } = fault
    const at = now()
    // Garbage and revocations disturb nobody else.
    const felt = kind !== 'garbage' && kind !== 'revoke'
    const link = isOfLink(kind) || kind === 'slow'
    if (felt) stage.tellWorkers({ do: 'trouble', on: true, clients, link })
    const detail = await task()
    if (felt) stage.tellWorkers({ do: 'trouble', on: false, clients, link })
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    stage.journal.write({ k: 'fault', kind, at, until: now(), detail })
  }

  async #ofServer({ kind, ms }: PlannedFault): Promise<string> {
    const stage = this.#stage
    const { server, store, plan } = stage
    if (kind === 'pause') {
      server.signal('SIGSTOP')
      await sleep(ms)
      server.signal('SIGCONT')
    } else if (kind === 'stall') {
      server.tell({ do: 'stall', ms })
      await sleep(ms)
    } else if (kind === 'disk-full') {
      server.storeTroubles++
      store.fill()
      await sleep(ms)
      store.free()
      void overcome(server)
    } else if (kind === 'thread-death') {
      server.storeTroubles++
      server.tell({ do: 'end-thread' })
      await overcome(server)
    } else {
      const { code, ms: took } = await stage.stop(kind === 'drain' ? 'SIGTERM' : 'SIGKILL')
      if (kind === 'drain' && (code !== 0 || took > 2 * CLOSE_GRACE_MS + DRAIN_SLACK_MS * strain())) {
        stage.found('server-died', `a drain ended with ${code} after ${Math.round(took)} ms`)
      }
      const rewinds = kind === 'rewind' && store.copiedAfter !== null
      if (rewinds) stage.restore()
      else if (plan.log && plan.broker === 'sqlite') store.copy(server.boot)
      await sleep(ms)
      await stage.start()
      return `boot ${stage.server.boot}${rewinds ? `, the store as after boot ${store.copiedAfter}` : ''}`
    }
    return `${ms} ms`
  }

  async #ofClients({ kind, ms, clients, seed }: PlannedFault): Promise<string> {
    const stage = this.#stage
    if (isOfLink(kind)) {
      const addresses = this.#clients.filter(({ p }) => clients.includes(p)).map(({ address }) => address)
      const links = await stage.proxy.disturb(addresses, kind, ms)
      return `${links} links, ${ms} ms`
    }
    if (kind === 'slow') {
      stage.tellWorkers({ do: 'pause', on: true, clients })
      const burst = this.#burst(seed)
      await Promise.all([sleep(ms), burst])
      stage.tellWorkers({ do: 'pause', on: false, clients })
      return `${clients.length} clients, ${ms} ms`
    }
    if (kind === 'revoke') return this.#revoke(clients, ms)
    const tried = await garbage(stage.port, stage.plan.log, seed, ms, detail => stage.found('hostile-served', detail))
    return `${tried} tries`
  }

  /** Enough in the channel of few members that a reader which has stopped is cut off. */
  async #burst(seed: number): Promise<void> {
    const chance = new Chance(seed)
    for (let i = 0; i < 60; i++) {
      await this.#stage.publish('heavy-0', 'x'.repeat(20_000 + chance.below(29_000)))
      await sleep(5)
    }
  }

  async #revoke(clients: readonly number[], ms: number): Promise<string> {
    const stage = this.#stage
    const chosen = this.#clients.filter(({ p }) => clients.includes(p))
    const pairs = new Map(chosen.map(({ user, channels: [c = 'lobby'] }) => [`${user} ${c}`, { user, channel: c }]))
    const since = new Map<string, number>()
    for (const [key, { user, channel }] of pairs) {
      stage.denied.add(key)
      stage.tellWorkers({ do: 'bar', on: true, user, channel })
      const at = await stage.revoke(user, channel)
      // A process that ended has told nobody; the next one knows from its start.
      if (at !== null) since.set(key, at)
    }
    await sleep(ms)
    for (const [key, { user, channel }] of pairs) {
      const at = since.get(key)
      if (at !== undefined) stage.journal.write({ k: 'revocation', user, c: channel, at, until: now() })
      stage.denied.delete(key)
      await stage.server.ask({ do: 'grant', user, channel })
      stage.tellWorkers({ do: 'bar', on: false, user, channel })
    }
    return `${pairs.size} users, ${ms} ms`
  }
}
