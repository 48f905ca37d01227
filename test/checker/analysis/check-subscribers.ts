import { mix, mixSkip } from '../payload.ts'
import type { Command, Gap, Join, Left, Place, Revocation, Run, Stand, Subscriber } from '../records.ts'
import type { History, View } from './history.ts'
import type { Known, Log, Logs } from './logs.ts'

/** Faults after which a store may not have answered, and how long after them that may still reach a slow reader. */
const STORE_FAULTS: readonly string[] = ['disk-full', 'thread-death']
const TOLD_MS = 20_000

/** Walks through what each subscriber saw: step by step adjacent, or a gap that says exactly what is missing. */
export function checkSubscribers(history: History, logs: Logs): void {
  for (const [s, views] of history.views) new Walk(history, logs, history.subscribers.get(s)!, views).walk()
}

class Walk {
  readonly #history: History
  readonly #logs: Logs
  readonly #subscriber: Subscriber
  readonly #views: readonly View[]
  readonly #revocations: readonly Revocation[]
  #index = 0
  #joined = false
  #forgot: boolean | 'perhaps' = false
  /** Where it stands; null until it was told. */
  #place: Place | null = null
  /** The gap that was told since the last delivery. */
  #told: Gap | Join | null = null
  #holes = new Set<number>()
  /** Of this client: excepted from, and where they were stored at first nobody may be able to say. */
  readonly #own: Command[]

  constructor(history: History, logs: Logs, subscriber: Subscriber, views: readonly View[]) {
    this.#history = history
    this.#logs = logs
    this.#subscriber = subscriber
    this.#views = views
    this.#revocations = history.revocations.filter(({ user, c }) => user === subscriber.user && c === subscriber.c)
    this.#own = history.commands.filter(
      ({ p, c, x, end }) => p === subscriber.p && c === subscriber.c && x === 1 && end !== 'nack' && end !== 'never'
    )
  }

  walk(): void {
    for (const view of this.#views) {
      if (view.k === 'join') this.#join(view)
      else if (view.k === 'gap') this.#gap(view)
      else if (view.k === 'run') this.#run(view)
      else if (view.k === 'left') this.#left(view)
      else this.#stand(view)
      this.#index++
    }
  }

  /**
   * With a membership that was ended the shipped client forgets where it stood. So it does where it was not let in again, but there the server
   * may have heard of it with the handshake.
   */
  #left({ reason }: Left): void {
    this.#joined = false
    this.#forgot = reason === 'refused' ? 'perhaps' : reason !== 'cut'
  }

  #join(join: Join): void {
    const { outcome, place, given, asked, at } = join
    this.#joined = true
    if (asked !== undefined && this.#revocations.some(r => asked > r.at && at < r.until)) {
      this.#found('foreign', `joined though access was revoked`)
    }
    if (place === null) return
    const forgot = this.#forgot === 'perhaps' ? outcome === 'fresh' : this.#forgot
    const stood = given !== undefined ? given : forgot ? null : this.#place
    this.#forgot = false
    const came = stood === null ? null : this.#passedOver(stood, join.from ?? stood[1], place[2])
    if (outcome === 'fresh') {
      if (came !== null) this.#found('wrong-outcome', `fresh, though it came with ${came}`)
      this.#place = place
    } else if (outcome === 'recovered') this.#recovered(join, place, came)
    else if (came === null) this.#found('wrong-outcome', 'a gap, though it came with no position')
    else this.#missed(join, came, place)
  }

  #recovered({ from, to }: Join, place: Place, came: Place | null): void {
    if (came === null) this.#found('wrong-outcome', 'recovered, though it came with no position')
    else if (`${place}` !== `${came}` || from !== came[1] || to! < from!) {
      this.#found('wrong-outcome', `recovered from ${from} to ${to} at ${place}, though it came with ${came}`)
    }
    this.#place = place
  }

  #gap(gap: Gap): void {
    const told = this.#told
    // A gap at a join may be told once as the outcome and once as the event.
    if (told !== null && told.to === gap.to && told.reason === gap.reason) return
    this.#missed(gap, this.#place, gap.place)
  }

  #missed(gap: Gap | Join, came: Place | null, place: Place | null): void {
    this.#told = gap
    const { from, to, reason = '' } = gap
    if (from !== undefined && came !== null && from !== came[1]) {
      this.#found('gap-over-claim', `${reason} from ${from}, though it stood at ${came[1]}`)
    }
    if (place !== null && place[1] !== to)
      this.#found('gap-over-claim', `${reason} to ${to}, though it goes on at ${place[1]}`)
    if (came !== null && place !== null) this.#justify(reason, came, place, gap.at)
    this.#holes.clear()
    this.#place = place
  }

  /** Inside the kept history a reconnect is never a gap. */
  #justify(reason: string, came: Place, place: Place, at: number): void {
    const { boots, setting, faults } = this.#history
    const { c } = this.#subscriber
    const good =
      reason === 'epoch-lost'
        ? came[0] !== place[0]
        : reason === 'rewound'
          ? boots.some(boot => boot.restored !== undefined && boot.at < at)
          : reason === 'trimmed'
            ? !setting.deep(c) && place[1] > came[1]
            : reason === 'store-error'
              ? faults.some(fault => STORE_FAULTS.includes(fault.kind) && fault.at < at && at < fault.until + TOLD_MS)
              : false
    if (!good) this.#found('false-gap', `${reason} between ${came} and ${place}`)
  }

  #run(run: Run): void {
    const log = this.#logs.log(this.#subscriber.c, run.epoch)
    if (run.read === undefined) this.#follow(run, log)
    if (log !== undefined) this.#compare(run, log)
    if (run.read === undefined) this.#checkAccess(run, log)
  }

  #follow(run: Run, log: Log | undefined): void {
    const { epoch, boot, first, last, tag } = run
    const place = this.#place
    this.#told = null
    if (!this.#joined) this.#found('foreign', `${first} to ${last} came to no member`)
    this.#place = [epoch, last, tag]
    if (place === null) {
      this.#found('silent-hole', `${first} came before any position was told`)
      return
    }
    if (epoch !== place[0]) {
      this.#found('silent-hole', `from epoch ${place[0]} to ${epoch} at ${first} without a gap`)
      return
    }
    if (first <= place[1]) {
      const late = this.#holes.delete(first)
      this.#found(late ? 'reorder' : 'duplicate', `${first} to ${last} after ${place[1]}`, log?.around(first))
      if (last < place[1]) this.#place = place
      return
    }
    const missing = Array.from({ length: first - place[1] - 1 }, (_, i) => place[1] + 1 + i).filter(
      o => !this.#excepted(o, run, log)
    )
    for (const offset of missing) this.#holes.add(offset)
    if (missing.length > 0) {
      const range = `${missing[0]} to ${missing.at(-1)} (${missing.length})`
      this.#found('silent-hole', `${range} between ${place[1]} and ${first}`, log?.around(first))
    }
    const before = log?.seenBy(place[1], boot, this.#history)
    if (before !== undefined && before.tag !== place[2]) {
      this.#found(
        'silent-hole',
        `it stood at ${place}, and ${first} of boot ${boot} follows ${before.tag}`,
        log?.around(first)
      )
    }
  }

  /**
   * What the shipped client passes over in silence: what this client was excepted from. Where nobody else can say what it was,
   * that may be a command that was under way, each once: its answer was lost, or it ran anew after the store was put back.
   */
  #excepted(offset: number, { boot, at, until }: Run, log: Log | undefined): boolean {
    if (this.#subscriber.kind !== 'shipped') return false
    const known = log?.seenBy(offset, boot, this.#history)
    if (known !== undefined) return this.#isFromIt(known)
    const index = this.#own.findIndex(command => command.at < until && command.done > at)
    return index >= 0 && this.#own.splice(index, 1).length > 0
  }

  /** Whether this client is excepted from it. */
  #isFromIt({ x, p }: Known): boolean {
    return x && p === this.#subscriber.p
  }

  /** Held against what others saw, by the hash over all of it. */
  #compare(run: Run, log: Log): void {
    const { first, last, boot, skips = [] } = run
    let hash = 0
    for (let offset = first; offset <= last; offset++) {
      const skip = skips.find(([o]) => o === offset)
      const known = skip ? log.at(offset).find(({ tag }) => tag === skip[1]) : log.of(offset, boot)
      // Nobody else saw it, so that there is nothing to hold it against.
      if (known === undefined) return
      const { tag, p, n, crc } = known
      if (skip && !this.#isFromIt(known)) {
        this.#found('silent-hole', `${offset} was skipped, and is not excepted from it`, log.around(offset))
      }
      hash = skip ? mixSkip(hash, offset, tag) : mix(hash, offset, tag, p, n, crc)
    }
    if (hash !== run.hash)
      this.#found('inconsistent-offset', `${first} to ${last} are not what others saw`, log.around(last))
  }

  /** Nothing that was sent while access was revoked, or published in the turn in which it was, may have come while it was. */
  #checkAccess(run: Run, log: Log | undefined): void {
    for (const { at, until } of this.#revocations) {
      if (run.at >= until || run.until <= at) continue
      for (let offset = run.first; offset <= run.last; offset++) {
        const known = log?.of(offset, run.boot)
        const sent = known === undefined ? undefined : this.#history.command(known.p, known.n, this.#subscriber.c)?.at
        if (sent === undefined || sent < at || sent >= until || (run.until >= until && run.at >= at)) continue
        this.#found('foreign', `${offset} was sent and came while access was revoked`, log?.around(offset))
        return
      }
    }
  }

  #stand({ joined, place }: Stand): void {
    const { c } = this.#subscriber
    const final = this.#history.finals.get(c)
    if (final === undefined) return
    if (!joined) this.#found('not-back', 'not joined at the end')
    else if (`${place}` !== `${final.place}` && !this.#endsExcepted(place, final.place)) {
      this.#found('not-converged', `at ${place} at the end, while the head is ${final.place}`)
    }
  }

  #endsExcepted(place: Place | null, head: Place): boolean {
    if (place === null || place[0] !== head[0]) return false
    return `${this.#passedOver(place, head[1])}` === `${head}`
  }

  /**
   * Where the shipped client stands after it has passed over what it is excepted from, up to an offset that it names. The
   * store may have lost that since, and have something else there: then `tag` says which of them is meant.
   */
  #passedOver(place: Place, to: number, tag = ''): Place {
    if (this.#subscriber.kind !== 'shipped') return place
    const log = this.#logs.log(this.#subscriber.c, place[0])
    let last = place
    for (let offset = place[1] + 1; offset <= to; offset++) {
      const own = log?.at(offset).filter(entry => this.#isFromIt(entry)) ?? []
      const known = own.find(entry => entry.tag === tag) ?? own.at(-1)
      if (known === undefined) return place
      last = [place[0], offset, known.tag]
    }
    return last
  }

  #found(rule: Parameters<History['found']>[0], detail: string, around: readonly string[] = []): void {
    const own = this.#views.slice(Math.max(0, this.#index - 8), this.#index + 4).map(view => JSON.stringify(view))
    this.#history.found(rule, this.#subscriber.c, detail, this.#subscriber.s, [...own, ...around])
  }
}
