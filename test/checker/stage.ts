import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { join } from 'node:path'
import { Journal } from './journal.ts'
import type { Payload } from './payload.ts'
import { payload } from './payload.ts'
import type { Plan } from './plan.ts'
import { FaultProxy } from './proxy.ts'
import type { Rule } from './records.ts'
import { now } from './records.ts'
import type { Ready, ServerLook } from './server-process.ts'
import { ServerProcess } from './server-process.ts'
import { StoreFolder } from './store.ts'
import type { WorkerLook, WorkerOrder, WorkerSettings } from './worker.ts'

/** Reading all logs to their beginning takes its time. */
const FINISH_MS = 120_000

/** The publisher's number of the server itself. */
export const SERVER = 0

/** Everything of a run that is not a client: the server's process after process, its store, the proxy, and the workers. */
export class Stage {
  readonly plan: Plan
  readonly store: StoreFolder
  readonly proxy = new FaultProxy()
  readonly journal: Journal
  /** Paths of all that is recorded. */
  readonly journals: string[] = []
  server!: ServerProcess
  /** What the first server had before any client came. */
  first!: Ready
  refusals: Record<string, number> = {}
  cpuSeconds = 0
  /** `user channel` of those who have no access. */
  readonly denied = new Set<string>()
  readonly #folder: string
  readonly #workers: ChildProcess[] = []
  /** Publications of the server itself, by channel. */
  readonly #counts = new Map<string, number>()
  #port = 0
  #looks: Promise<unknown> = Promise.resolve()

  constructor(plan: Plan, folder: string) {
    this.plan = plan
    this.#folder = folder
    this.store = new StoreFolder(folder)
    this.journal = this.#newJournal('director')
  }

  async begin(): Promise<void> {
    const port = await this.proxy.listen()
    await this.start()
    this.first = await this.server.ready()
    for (let index = 0; index < this.plan.workers; index++) {
      const direct = `ws://127.0.0.1:${this.#port}/ws`
      const journal = join(this.#folder, `worker-${index}.jsonl`)
      this.journals.push(journal)
      const settings: WorkerSettings = { plan: this.plan, index, journal, direct, proxied: `ws://127.0.0.1:${port}/ws` }
      const worker = fork(join(this.#folder, 'worker.js'), [JSON.stringify(settings)], { detached: true })
      worker.once('exit', code => code !== 0 && this.found('server-died', `a worker of the checker ended: ${code}`))
      this.#workers.push(worker)
    }
  }

  get port(): number {
    return this.#port
  }

  /** Starts the next server process, and resolves once it listens. */
  async start(): Promise<Ready> {
    const boot = (this.server?.boot ?? 0) + 1
    const settings = { plan: this.plan, boot, port: this.#port, path: this.store.path, denied: [...this.denied] }
    this.server = new ServerProcess(join(this.#folder, 'server.js'), settings, what => this.found('server-died', what))
    const ready = await this.server.ready()
    this.#port = ready.ready
    this.proxy.aim(this.#port)
    this.tellWorkers({ do: 'restarted' })
    const { copiedAfter } = this.store
    const restored = this.#restored && copiedAfter !== null ? { restored: copiedAfter } : {}
    this.#restored = false
    this.journal.write({ k: 'boot', boot, at: ready.at, ...restored })
    return ready
  }
  #restored = false

  /** Ends the server, and waits for its end. What it says of itself is added up before, if it can still say it. */
  async stop(signal: 'SIGKILL' | 'SIGTERM'): Promise<{ code: number | null; ms: number }> {
    const looked = (await within(1_000, this.server.ask({ do: 'look' }))) as ServerLook | null
    for (const [name, count] of Object.entries(looked?.refusals ?? {}))
      this.refusals[name] = (this.refusals[name] ?? 0) + count
    this.cpuSeconds += ((looked?.cpu.user ?? 0) + (looked?.cpu.system ?? 0)) / 1e6
    const at = now()
    this.server.signal(signal)
    const { code } = await this.server.ended
    return { code, ms: now() - at }
  }

  /** Puts the store back to the copy; the next process finds it so. */
  restore(): void {
    this.store.restore()
    this.#restored = true
  }

  /** Publishes as the application itself does, and writes it down as a command of the server. */
  async publish(channel: string, z: string): Promise<void> {
    const { server } = this
    const message = this.#message(channel, z)
    const at = now()
    await server.ready().catch(() => {})
    const answer = await server.ask({ do: 'publish', channel, payload: message })
    this.#published(message, at, server.boot, answer)
  }

  /** Publishes, and takes access back in the same turn of the server's loop. When it did so; null where nobody knows. */
  async revoke(user: string, channel: string): Promise<number | null> {
    const { server } = this
    const message = this.#message(channel, '')
    const asked = now()
    const answer = await server.ask({ do: 'revoke', user, channel, payload: message })
    const at: number | null = answer?.at ?? null
    this.#published(message, at ?? asked, server.boot, answer)
    return at
  }

  #message(channel: string, z: string): Payload {
    const n = (this.#counts.get(channel) ?? 0) + 1
    this.#counts.set(channel, n)
    return payload(SERVER, n, channel, z, false)
  }

  #published({ n, c, k }: Payload, at: number, boot: number, answer: Record<string, any> | null): void {
    const base = { k: 'command', p: SERVER, n, c, cmd: 'say', crc: k, at, done: now() } as const
    if (answer === null) this.journal.write({ ...base, end: 'unknown' })
    // A publication that is refused may be stored nevertheless, where the store died meanwhile: nobody can know.
    else if (answer.refused !== undefined) this.journal.write({ ...base, end: 'unknown', code: answer.refused })
    else {
      const { position } = answer
      const place = position === null ? null : ([position.epoch, position.offset, position.tag] as const)
      this.journal.write({ ...base, end: 'ack', place, boot })
    }
  }

  tellWorkers(order: WorkerOrder): void {
    for (const worker of this.#workers) worker.send(order)
  }

  /** One after the other, so that no answer is taken for another question's. */
  lookAtWorkers(): Promise<WorkerLook[]> {
    const ask = async (): Promise<WorkerLook[]> => {
      const answers = this.#workers.map(worker => new Promise<WorkerLook>(resolve => worker.once('message', resolve)))
      this.tellWorkers({ do: 'look' })
      return Promise.all(answers)
    }
    const looks = this.#looks.then(ask)
    this.#looks = looks
    return looks
  }

  /** Lets the workers write down where everything stands, and end. Resolves to their CPU seconds. */
  async finishWorkers(): Promise<number> {
    const ends = this.#workers.map(worker => new Promise<any>(resolve => worker.once('message', resolve)))
    const exits = this.#workers.map(worker => new Promise(resolve => worker.once('exit', resolve)))
    this.tellWorkers({ do: 'finish' })
    const said = await within(FINISH_MS, Promise.all(ends))
    if (said === null) throw new Error(`the workers did not finish within ${FINISH_MS} ms`)
    await Promise.all(exits)
    return said.reduce((sum, { cpu }) => sum + (cpu.user + cpu.system) / 1e6, 0)
  }

  found(rule: Rule, detail: string, c?: string): void {
    this.journal.write({ k: 'anomaly', rule, at: now(), ...(c === undefined ? {} : { c }), detail, around: [] })
  }

  /** Ends whatever still runs. */
  async end(): Promise<void> {
    for (const worker of this.#workers) if (worker.exitCode === null) worker.kill('SIGKILL')
    if (this.server !== undefined && !this.server.over) {
      this.server.signal('SIGCONT')
      this.server.signal('SIGKILL')
      await this.server.ended
    }
    await this.proxy.close()
    this.journal.close()
    this.store.remove()
  }

  #newJournal(name: string): Journal {
    const path = join(this.#folder, `${name}.jsonl`)
    this.journals.push(path)
    return new Journal(path)
  }
}

/** What a promise gives; null where it takes longer. */
export async function within<T>(ms: number, promise: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<null>(resolve => {
    timer = setTimeout(() => resolve(null), ms)
  })
  const first = await Promise.race([promise, late])
  clearTimeout(timer)
  return first
}
