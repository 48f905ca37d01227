import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { ServerOrder, ServerSettings } from './server.ts'

/** What the server says of itself. */
export interface ServerLook {
  readonly stats: Readonly<Record<string, number>>
  readonly resources: Readonly<Record<string, number>>
  readonly descriptors: number
  readonly refusals: Readonly<Record<string, number>>
  readonly messagesOut: number
  readonly memory: { readonly rss: number; readonly heapUsed: number }
  readonly cpu: { readonly user: number; readonly system: number }
}

export interface Ready extends ServerLook {
  readonly ready: number
  readonly at: number
}

type Question = ServerOrder extends infer O ? (O extends { ref: number } ? Omit<O, 'ref'> : never) : never

/** One process of the server, from its start to its end. */
export class ServerProcess {
  readonly boot: number
  readonly #child: ChildProcess
  readonly #ready: Promise<Ready>
  readonly #asked = new Map<number, (answer: Record<string, any> | null) => void>()
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  #ref = 0
  /** How many disturbances its store has now, or had a moment ago. */
  storeTroubles = 0
  #over = false
  /** Whether its end is wanted. */
  #doomed = false

  /** `failed` hears of whatever the server did not survive, or should not have done. */
  constructor(file: string, settings: ServerSettings, failed: (what: string) => void) {
    this.boot = settings.boot
    // In a group of its own, so that an interrupt from a terminal does not reach it before us.
    this.#child = fork(file, [JSON.stringify(settings)], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      detached: true
    })
    this.ended = once(this.#child, 'exit').then(([code, signal]) => ({ code, signal }))
    let last = 'it said nothing'
    this.#ready = new Promise((resolve, reject) => {
      this.#child.on('message', (message: Record<string, any>) => {
        if (message.failed !== undefined) {
          last = message.failed
          if (!(message.store && (this.#doomed || this.storeTroubles > 0))) failed(message.failed)
        } else if (message.ready !== undefined) resolve(message as Ready)
        else this.#answer(message.ref, message)
      })
      void this.ended.then(({ code, signal }) => {
        reject(new Error(`the server ended (${code ?? signal}) before it was ready: ${last}`))
        this.#over = true
        for (const ref of [...this.#asked.keys()]) this.#answer(ref, null)
        if (!this.#doomed) failed(`it ended by itself: ${code ?? signal}`)
      })
    })
    this.#ready.catch(() => {})
  }

  ready(): Promise<Ready> {
    return this.#ready
  }

  get pid(): number {
    return this.#child.pid!
  }

  get over(): boolean {
    return this.#over
  }

  tell(order: ServerOrder): void {
    if (this.#child.connected) this.#child.send(order, () => {})
  }

  /** Resolves to null where the server ends before it answers. */
  ask(question: Question): Promise<Record<string, any> | null> {
    if (this.#over || !this.#child.connected) return Promise.resolve(null)
    const ref = ++this.#ref
    return new Promise(resolve => {
      this.#asked.set(ref, resolve)
      this.#child.send({ ...question, ref }, error => error && this.#answer(ref, null))
    })
  }

  signal(signal: NodeJS.Signals): void {
    if (signal === 'SIGKILL' || signal === 'SIGTERM') this.#doomed = true
    if (!this.#over) this.#child.kill(signal)
  }

  #answer(ref: number, message: Record<string, any> | null): void {
    this.#asked.get(ref)?.(message)
    this.#asked.delete(ref)
  }
}
