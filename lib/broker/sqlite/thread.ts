import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { channelsError } from '../../errors.ts'
import type { Clock } from '../../protocol/clock.ts'
import type { Asked, Link } from './link.ts'
import type { Batch, Moment, Reply, Request } from './request.ts'
import { CLOSE, type Opening, type ServeOptions } from './serve.ts'
import type { StoreOptions } from './store.ts'
import { type Failure, fromFailure } from './store-error.ts'

/** The same file from the sources and from the build, where it has another extension. */
const WORKER = new URL(`./worker${extname(import.meta.url)}`, import.meta.url)

/** The part of a worker that is used here. */
export interface Thread {
  postMessage(text: string): void
  on(event: 'message', listener: (message: any) => void): unknown
  once(event: 'message' | 'error' | 'exit', listener: (value: any) => void): unknown
  ref(): void
  unref(): void
}

/** Requests that share one commit, and its failure. */
const GROUP = 1_024

/** How long a store may take to end its work, in milliseconds. */
const CLOSE_LIMIT_MS = 5_000

export interface ThreadOptions {
  readonly clock: Clock
  readonly moment: () => Moment
  readonly serve: Omit<ServeOptions, 'moment'>
  /** What may wait for the store. */
  readonly queue: { readonly requests: number; readonly bytes: number }
  /** Starts a thread, by default a real one. */
  readonly start: ((workerData: ServeOptions) => Thread) | undefined
}

/** What was opened. */
export type Opened = Exclude<Opening, { failure: Failure }>

interface Waiting extends Asked {
  readonly bytes: number
}

/**
 * A store in a thread of its own, since drivers of SQLite block until the disk has written. What is asked in one turn goes
 * there as one message. A thread that died is started again by the next request.
 */
export class ThreadLink implements Link {
  readonly #options: ThreadOptions
  #worker: Thread | null = null
  /** Sent and not answered, in order, and then what this turn has brought. */
  #waiting: Waiting[] = []
  #sent = 0
  #bytes = 0
  #flushes = false
  #closed = false

  constructor(options: ThreadOptions) {
    this.#options = options
  }

  /** @throws FST_CHANNELS_NO_SQLITE, FST_CHANNELS_STORE_… */
  open(): Promise<Opened> {
    const { onDamaged } = this.#options.serve.store
    return new Promise((resolve, reject) => this.#start(onDamaged, resolve, reject))
  }

  #start(
    onDamaged: StoreOptions['onDamaged'],
    opened: (opened: Opened) => void,
    refused: (error: Error) => void
  ): Thread {
    const { serve, moment } = this.#options
    const workerData: ServeOptions = { ...serve, store: { ...serve.store, onDamaged }, moment: moment() }
    const worker = (this.#options.start ?? startWorker)(workerData)
    this.#worker = worker
    // Of a thread that could not open its file the refusal says more than that it has ended.
    let reason: Error = channelsError('FST_CHANNELS_STORE_FAILED', 'its thread has ended')
    worker.once('message', (opening: Opening) => {
      if ('failure' in opening) {
        reason = fromFailure(opening.failure)
        refused(reason)
        return
      }
      opened(opening)
      worker.on('message', (text: string) => this.#answered(JSON.parse(text) as Reply[]))
      this.#rest()
    })
    worker.once('error', (error: Error) => {
      reason = channelsError('FST_CHANNELS_STORE_FAILED', error.message)
    })
    worker.once('exit', () => {
      refused(reason)
      if (this.#worker === worker) this.#worker = null
      this.#failSent(reason)
      if (!this.#closed) this.#send()
    })
    return worker
  }

  ask(asked: Asked): void {
    const refusal = this.#refusal()
    if (refusal !== null) {
      asked.fail(refusal)
      return
    }
    const bytes = weight(asked.request)
    this.#bytes += bytes
    this.#waiting.push({ ...asked, bytes })
    if (this.#flushes) return
    this.#flushes = true
    this.#options.clock.soon(() => this.#flush())
  }

  #refusal(): Error | null {
    const { requests, bytes } = this.#options.queue
    if (this.#closed) return channelsError('FST_CHANNELS_STORE_CLOSED')
    if (this.#waiting.length < requests && this.#bytes < bytes) return null
    return channelsError('FST_CHANNELS_STORE_BUSY', this.#waiting.length, this.#bytes)
  }

  /** What comes while the store is at work goes there together: each message to a thread has its price. */
  #flush(): void {
    this.#flushes = false
    if (this.#sent === 0) this.#send()
  }

  #send(most = GROUP): void {
    if (this.#sent === this.#waiting.length) return
    // To begin anew is for a start of the process: nobody would be told of it here, neither a log nor a subscriber.
    const worker = this.#worker ?? this.#start('refuse', ignore, ignore)
    // Whoever waits for an answer keeps the process alive, and nobody else does.
    worker.ref()
    const requests = this.#waiting.slice(this.#sent, this.#sent + most).map(({ request }) => request)
    this.#sent += requests.length
    worker.postMessage(JSON.stringify({ ...this.#options.moment(), requests } satisfies Batch))
  }

  #answered(replies: readonly Reply[]): void {
    const asked = this.#take(replies.length)
    // Before the answers are told: the store is at work meanwhile.
    if (this.#sent === 0) this.#send()
    // What was committed is delivered before anybody who asked in the same group is told of a head.
    for (const [i, { request, reply }] of asked.entries()) if (request[0] === 'commit') reply(replies[i]!)
    for (const [i, { request, reply }] of asked.entries()) if (request[0] !== 'commit') reply(replies[i]!)
    this.#rest()
  }

  #take(count: number): Waiting[] {
    const taken = this.#waiting.splice(0, count)
    this.#sent -= count
    for (const { bytes } of taken) this.#bytes -= bytes
    return taken
  }

  #failSent(reason: Error): void {
    for (const { fail } of this.#take(this.#sent)) fail(reason)
  }

  #rest(): void {
    // Whoever closes waits for its end.
    if (this.#waiting.length === 0 && !this.#closed) this.#worker?.unref()
  }

  /** @throws FST_CHANNELS_STORE_FAILED where the store does not end its work in time: a disk may never answer */
  async close(): Promise<void> {
    this.#closed = true
    this.#send(Number.POSITIVE_INFINITY)
    const worker = this.#worker
    if (worker === null) return
    worker.ref()
    const ended = new Promise<void>(resolve => worker.once('exit', () => resolve()))
    worker.postMessage(CLOSE)
    const late = channelsError('FST_CHANNELS_STORE_FAILED', `it did not end within ${CLOSE_LIMIT_MS} ms`)
    const lost = new Promise<never>((_, reject) => {
      const limit = this.#options.clock.after(CLOSE_LIMIT_MS, () => reject(late))
      ended.then(() => limit.cancel())
    })
    try {
      await Promise.race([ended, lost])
    } catch (error) {
      this.#failSent(late)
      // A thread that waits for a disk cannot be ended; and libsql would take the process with it.
      worker.unref()
      throw error
    }
  }
}

export function startWorker(workerData: ServeOptions): Worker {
  return new Worker(WORKER, { workerData, name: 'fastify-channels-sqlite' })
}

function ignore(): void {}

/** Of what a request holds, in characters of its text. */
function weight(request: Request): number {
  if (request[0] !== 'commit') return 0
  const { publications, command } = request[1]
  return publications.reduce((sum, { text }) => sum + text.length, command?.reply.length ?? 0)
}
