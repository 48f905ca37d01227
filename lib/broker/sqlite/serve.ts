import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads'
import { type DriverName, loadDriver } from './driver.ts'
import type { Batch, Moment, Request } from './request.ts'
import { Store, type StoreOptions } from './store.ts'
import { type Failure, toFailure } from './store-error.ts'

export interface ServeOptions {
  readonly driver: DriverName | 'auto'
  readonly store: StoreOptions
  readonly moment: Moment
}

/** The first thing that is told. */
export type Opening = { readonly driver: string; readonly movedTo: string | null } | { readonly failure: Failure }

/** Ends the thread once everything that was asked before is answered. */
export const CLOSE = ''

/** Opens a file and answers what comes through the port: whatever came while the disk was written to is the next group. */
export async function serve(
  port: MessagePort,
  { driver: wanted, store: options, moment }: ServeOptions,
  load = loadDriver
): Promise<void> {
  // There from the start: a port that nobody listens to would let the thread end while its driver is being loaded.
  const early: string[] = []
  let take = (text: string): void => void early.push(text)
  port.on('message', (text: string) => take(text))
  try {
    const driver = await load(wanted)
    const store = new Store(driver, options, moment)
    const next = (): string | undefined => early.shift() ?? receiveMessageOnPort(port)?.message
    take = first => answer(port, store, first, next)
    port.postMessage({ driver: driver.name, movedTo: store.movedTo } satisfies Opening)
  } catch (error) {
    port.postMessage({ failure: toFailure(error) } satisfies Opening)
    port.close()
    return
  }
  const first = early.shift()
  if (first !== undefined) take(first)
}

/** Answers a message, together with all that came while the one before was answered. */
function answer(port: MessagePort, store: Store, first: string, next: () => string | undefined): void {
  const requests: Request[] = []
  let moment: Moment = { now: 0, chance: '' }
  let text: string | undefined = first
  for (; text !== undefined && text !== CLOSE; text = next()) {
    // JSON is cheaper than a structured clone of many small objects, in both directions.
    const batch = JSON.parse(text) as Batch
    moment = batch
    for (const request of batch.requests) requests.push(request)
  }
  if (requests.length > 0) port.postMessage(JSON.stringify(store.run(requests, moment)))
  if (text !== CLOSE) return
  store.close()
  port.close()
}
