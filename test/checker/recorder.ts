import type { Payload } from './payload.ts'
import { isIntact, mix, mixSkip } from './payload.ts'
import type { Item, Place, Rule, Subscriber, Told } from './records.ts'
import { now } from './records.ts'

/** A run is cut after so many deliveries, so that what differs is found within few. */
const RUN = 64

/** Events that are kept to be shown round an anomaly. */
const AROUND = 24

interface OpenRun {
  at: number
  until: number
  epoch: string
  boot: number
  first: number
  last: number
  tag: string
  hash: number
  count: number
  skips: Array<readonly [offset: number, tag: string]>
}

/** What was heard of one publisher outside of any log. */
interface Heard {
  readonly p: number
  last: number
  count: number
  readonly missed: Set<number>
}

export interface RecorderHost {
  write(item: Item): void
  /** A publication reached somebody. */
  delivered(): void
}

/** What `joined` is told besides the outcome. */
export interface Asked {
  readonly given?: Place | null
  readonly asked?: number
}

/** Writes down what one client sees of one channel. It compresses and does not judge, but for what only it can see. */
export class Recorder {
  readonly subscriber: Subscriber
  joined = false
  place: Place | null = null
  joinedAt = 0
  /** Offsets that this client is excepted from, as far as it was told: the shipped one passes over them in silence. */
  readonly excepted = new Set<number>()
  readonly #host: RecorderHost
  readonly #unlogged = new Map<string, Heard>()
  /** The latest events, put into words only where somebody asks. */
  readonly #around: Array<readonly unknown[]> = []
  #run: OpenRun | null = null

  constructor(subscriber: Subscriber, host: RecorderHost) {
    this.subscriber = subscriber
    this.#host = host
    host.write(subscriber)
  }

  join(outcome: Record<string, any>, place: Place | null, asked: Asked = {}): void {
    this.#cut()
    this.joined = true
    this.joinedAt = now()
    const { kind, from, to, reason } = outcome
    const claim = { ...(from === undefined ? {} : { from }), ...(to === undefined ? {} : { to }) }
    this.#note('joined', JSON.stringify(outcome), 'at', place)
    const why = reason === undefined ? {} : { reason }
    const { s } = this.subscriber
    this.#host.write({ k: 'join', s, at: this.joinedAt, outcome: kind, ...claim, ...why, place, ...asked })
    // Where nothing was missed the replay, if any, starts from where we were.
    if (kind !== 'recovered' || this.place === null) this.place = place
  }

  /** A publication in the log. */
  logged(payload: Payload, epoch: string, offset: number, tag: string): void {
    const { p, n, k, b = 0 } = payload
    this.#note(offset, tag, 'publisher', p, 'n', n)
    this.#host.delivered()
    if (!this.#check(payload)) return
    const run = this.#open(epoch, offset, b)
    run.hash = mix(run.hash, offset, tag, p, n, k)
    this.#advance(run, epoch, offset, tag)
  }

  /** A publication outside of any log: each publisher's must count up, and what was missed must not come later. */
  unlogged(payload: Payload, name: string): void {
    const { p, n, b } = payload
    this.#note(name, 'publisher', p, 'n', n)
    this.#host.delivered()
    if (!this.#check(payload)) return
    // With a log commands are sent again, and of those that leave nothing in it another process does not know.
    const key = this.place === null ? `${name} ${p}` : `${name} ${p} ${b}`
    const heard = this.#unlogged.get(key) ?? { p, last: n - 1, count: 0, missed: new Set() }
    this.#unlogged.set(key, heard)
    heard.count++
    for (let i = heard.last + 1; i < n; i++) heard.missed.add(i)
    if (n > heard.last) heard.last = n
    else {
      const rule = heard.missed.delete(n) ? 'reorder' : 'duplicate'
      this.anomaly(rule, `${name} of publisher ${p}: ${n} after ${heard.last}`, [p, n])
    }
  }

  skipped(epoch: string, offset: number, tag: string): void {
    this.#note(offset, tag, 'skip')
    // Which process it was of cannot be seen: it goes with the run that it is in.
    const run = this.#open(epoch, offset, this.#run?.boot ?? 0)
    run.hash = mixSkip(run.hash, offset, tag)
    run.skips.push([offset, tag])
    this.#advance(run, epoch, offset, tag)
  }

  gap(from: number | undefined, to: number, reason: string, place: Place | null): void {
    this.#cut()
    this.#note('gap', from, to, reason, 'at', place)
    const { s } = this.subscriber
    this.#host.write({ k: 'gap', s, at: now(), ...(from === undefined ? {} : { from }), to, reason, place })
    this.place = place
  }

  left(reason: string): void {
    this.#cut()
    // Who is not let in again forgets where it stood, as one does whose membership is ended.
    if (!this.joined && reason !== 'refused') return
    this.joined = false
    this.#note('left', reason)
    this.#host.write({ k: 'left', s: this.subscriber.s, at: now(), reason })
  }

  /** The run has ended. */
  end(): void {
    this.#cut()
    const { s } = this.subscriber
    this.#host.write({ k: 'stand', s, at: now(), joined: this.joined, place: this.place })
    for (const { p, last, count } of this.#unlogged.values()) this.#host.write({ k: 'unlogged', s, p, last, count })
  }

  anomaly(rule: Rule, detail: string, of?: readonly [p: number, n: number], before?: Told): void {
    const { s, c } = this.subscriber
    const about = {
      ...(of === undefined ? {} : { of }),
      ...(before === undefined ? {} : { before: { at: before.at, boot: before.boot } })
    }
    this.#host.write({
      k: 'anomaly',
      rule,
      at: now(),
      c,
      s,
      detail,
      ...about,
      around: this.#around.map(words => words.join(' '))
    })
  }

  #check(payload: Payload): boolean {
    const { c } = this.subscriber
    if (!isIntact(payload)) this.anomaly('altered', `publisher ${payload.p}'s ${payload.n} has another checksum`)
    else if (payload.c !== c) this.anomaly('foreign', `publisher ${payload.p}'s ${payload.n} was sent to ${payload.c}`)
    else if (!this.joined) this.anomaly('foreign', `publisher ${payload.p}'s ${payload.n} came to no member`)
    else return true
    return false
  }

  /** The run that this delivery goes on with: the open one, or a new one. */
  #open(epoch: string, offset: number, boot: number): OpenRun {
    const run = this.#run
    if (run !== null && run.epoch === epoch && run.boot === boot && offset === run.last + 1 && run.count < RUN)
      return run
    this.#cut()
    const at = now()
    this.#run = { at, until: at, epoch, boot, first: offset, last: offset, tag: '', hash: 0, count: 0, skips: [] }
    return this.#run
  }

  #advance(run: OpenRun, epoch: string, offset: number, tag: string): void {
    run.until = now()
    run.last = offset
    run.tag = tag
    run.count++
    this.place = [epoch, offset, tag]
  }

  #cut(): void {
    const run = this.#run
    this.#run = null
    if (run === null) return
    const { count: _, skips, ...rest } = run
    this.#host.write({ k: 'run', s: this.subscriber.s, ...rest, ...(skips.length > 0 ? { skips } : {}) })
  }

  #note(...words: unknown[]): void {
    if (this.#around.push([now(), ...words]) > AROUND) this.#around.shift()
  }
}
