import type { Awaitable } from '../../awaitable.ts'
import { newTag } from '../../chance.ts'
import type { Position } from '../../protocol/position.ts'
import type {
  Broker,
  BrokerContext,
  Commit,
  Committed,
  KeptResult,
  ReadFrom,
  ReadLimits,
  ReadResult,
  Receiver,
  SessionRecord
} from '../broker.ts'
import { Deliveries } from '../deliveries.ts'
import type { Link } from './link.ts'
import type { Answers, CommitAnswer, Reply, Request } from './request.ts'
import { fromFailure } from './store-error.ts'

interface Subscription {
  readonly receiver: Receiver
  /** Whether its head is known: what was committed before is not for it. */
  live: boolean
}

/** Keeps everything in one file of one process. */
export class SqliteBroker implements Broker {
  readonly stored = 'disk'
  readonly #context: BrokerContext
  readonly #link: Link
  readonly #subscriptions = new Map<string, Subscription>()
  readonly #deliveries = new Deliveries((channel, entry, epoch) => {
    const subscription = this.#subscriptions.get(channel)
    if (subscription?.live) subscription.receiver(entry, epoch)
  })
  #healthy = true

  constructor(context: BrokerContext, link: Link) {
    this.#context = context
    this.#link = link
  }

  get healthy(): boolean {
    return this.#healthy
  }

  commit(commit: Commit): Awaitable<Committed> {
    const tags = commit.publications.map(() => newTag(this.#context.clock))
    return this.#ask(['commit', commit, tags], (answer: CommitAnswer) => this.#committed(commit, tags, answer))
  }

  #committed({ publications }: Commit, tags: readonly string[], answer: CommitAnswer): Committed {
    if (answer.kind !== 'stored') return answer
    const positions = answer.places.map(([epoch, offset, prev], i): Position => {
      const { channel, text, except } = publications[i]!
      const tag = tags[i]!
      this.#deliveries.add(channel, { offset, tag, prev, text, except }, epoch)
      return { epoch, offset, tag }
    })
    this.#deliveries.run()
    return { kind: 'stored', positions }
  }

  subscribe(channel: string, receiver: Receiver): Awaitable<Position> {
    const subscription: Subscription = { receiver, live: false }
    this.#subscriptions.set(channel, subscription)
    const forget = () => {
      if (this.#subscriptions.get(channel) === subscription) this.#subscriptions.delete(channel)
    }
    const follow = ([head]: readonly Position[]): Position => {
      subscription.live = true
      return head!
    }
    return this.#ask(['heads', [channel]], follow, forget)
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.delete(channel)
  }

  read(channel: string, from: ReadFrom, limits: ReadLimits): Awaitable<ReadResult> {
    return this.#ask(['read', channel, from, limits], same<ReadResult>)
  }

  heads(channels: readonly string[]): Awaitable<readonly Position[]> {
    return this.#ask(['heads', channels], same<readonly Position[]>)
  }

  openSession(session: string, fence: number): Awaitable<SessionRecord | null> {
    return this.#ask(['open', session, fence], same<SessionRecord | null>)
  }

  result(session: string, id: number): Awaitable<KeptResult | null> {
    return this.#ask(['result', session, id], same<KeptResult | null>)
  }

  endSession(session: string, fence: number): void {
    const fail = (error: Error) => this.#observe(error)
    // One that could not be forgotten is forgotten when it is old.
    const reply = (reply: Reply) => ('failure' in reply ? fail(fromFailure(reply.failure)) : this.#observe(null))
    this.#link.ask({ request: ['end', session, fence], reply, fail })
  }

  /** There is no other node. */
  broadcast(): void {}

  close(): Promise<void> {
    return this.#link.close()
  }

  /** Answers in the same turn where the store does. What `take` does is done before anything else is answered. */
  #ask<A extends Answers[keyof Answers], T>(
    request: Request,
    take: (answer: A) => T,
    failed?: () => void
  ): Awaitable<T> {
    let outcome: (() => T) | null = null
    let settle: (() => void) | null = null
    const end = (result: () => T) => {
      outcome = result
      settle?.()
    }
    const fail = (error: Error) => {
      this.#observe(error)
      failed?.()
      end(() => {
        throw error
      })
    }
    const reply = (reply: Reply) => {
      if ('failure' in reply) return fail(fromFailure(reply.failure))
      this.#observe(null)
      end(() => take(reply.value as A))
    }
    this.#link.ask({ request, reply, fail })
    if (outcome !== null) return (outcome as () => T)()
    return new Promise((resolve, reject) => {
      settle = () => {
        try {
          resolve(outcome!())
        } catch (error) {
          reject(error)
        }
      }
    })
  }

  #observe(error: Error | null): void {
    const healthy = error === null
    if (healthy === this.#healthy) return
    this.#healthy = healthy
    const { logger } = this.#context
    if (healthy) logger.info('the store works again')
    else logger.error({ err: error }, 'the store failed')
  }
}

function same<T>(answer: T): T {
  return answer
}
