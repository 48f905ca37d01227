import { performance } from 'node:perf_hooks'
import type { Clock, Timer } from '../../lib/protocol/clock.ts'
import type { Chance } from './chance.ts'

/** What wakes a process: its own timers, what reaches it from outside, and the end of its turn. */
type Kind = 'timer' | 'input' | 'soon'

interface Happening extends Timer {
  readonly at: number
  readonly order: number
  readonly kind: Kind
  /** Whose it is; null is the network's own. */
  readonly host: Host | null
  /** Null once it has run or was cancelled. */
  run: (() => void) | null
}

/** Turns that something which was started may take (an app that boots) without the clock. */
const BUSY_ROUNDS = 20_000
/** Real milliseconds that `settle(promise)` waits for what comes from outside the simulation. */
const OUTSIDE_MS = 5_000

/** The wall clock's reading at the start of every run: 2023-11-14T22:13:20Z. */
const EPOCH_MS = 1_700_000_000_000

/** One time line for all that takes part in a simulation; it moves only when it is told to. */
export class Timeline {
  readonly chance: Chance
  readonly #turns: Turns
  #now = 0
  #order = 0
  /** A binary heap by time, then by order. */
  readonly #queue: Happening[] = []
  #pending = 0
  /** Counts everything that happens, so that standstill can be seen. */
  #moves = 0
  #busy = 0
  #moving = false

  constructor(chance: Chance, turns: Turns) {
    this.chance = chance
    this.#turns = turns
  }

  get now(): number {
    return this.#now
  }

  /** What has been scheduled and has neither run nor been cancelled. */
  get pending(): number {
    return this.#pending
  }

  /** Says that something happens outside of what is scheduled. */
  moved(): void {
    this.#moves++
  }

  /** Time does not move on as long as this is under way, unless it waits for time itself. */
  track<T>(work: Promise<T>): Promise<T> {
    this.#busy++
    const done = (): void => {
      this.#busy--
      this.#moves++
    }
    work.then(done, done)
    return work
  }

  schedule(host: Host | null, delayMs: number, kind: Kind, run: () => void): Timer {
    const at = this.#now + Math.max(0, delayMs)
    const happening: Happening = { at, order: this.#order++, kind, host, run, cancel: () => this.#cancel(happening) }
    this.#moves++
    this.#pending++
    push(this.#queue, happening)
    return happening
  }

  #cancel(happening: Happening): void {
    if (happening.run === null) return
    happening.run = null
    this.#pending--
    this.#moves++
  }

  /**
   * Runs what can happen without time passing. With a promise it resolves to what that comes to, and rejects where it
   * waits for time to pass.
   */
  async settle<T>(promise?: Promise<T>): Promise<T | undefined> {
    await this.advance(0)
    if (promise === undefined) return undefined
    let settled = false
    const done = (): void => {
      settled = true
    }
    promise.then(done, done)
    const began = performance.now()
    for (await this.#turns.next(); !settled; await this.advance(0)) {
      if (performance.now() - began > OUTSIDE_MS) throw new Error('settle: the promise waits for time to pass')
    }
    return promise
  }

  /** Lets `ms` pass, running all that falls due in order. */
  async advance(ms: number): Promise<void> {
    if (!(ms >= 0)) throw new RangeError(`advance: expected milliseconds, got ${ms}`)
    await this.#move(this.#now + ms, () => false)
  }

  /** Lets time pass until the promise has settled, `limitMs` at most. */
  async advanceUntil<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
    let settled = false
    const done = (): void => {
      settled = true
    }
    promise.then(done, done)
    await this.#move(this.#now + limitMs, () => settled)
    if (!settled) throw new Error(`${what}: not within ${limitMs} ms`)
    return promise
  }

  async #move(end: number, enough: () => boolean): Promise<void> {
    if (this.#moving) throw new Error('time is moving already: wait for the advance or settle before')
    this.#moving = true
    try {
      for (;;) {
        const before = this.#moves
        await this.#turns.next()
        let next = this.#due(this.#now)
        if (next === null) {
          await this.#quiet(before === this.#moves && this.#busy === 0 ? 1 : 0)
          if (enough()) return
          next = this.#due(this.#now) ?? this.#due(end)
        }
        if (next === null) break
        this.#now = Math.max(this.#now, next.at)
        this.#perform(next)
      }
      // Nothing was due before it.
      this.#now = Math.max(this.#now, end)
    } finally {
      this.#moving = false
    }
  }

  /** Waits until nothing moves any more, or something is due; `idle` turns have passed so. */
  async #quiet(idle: number): Promise<void> {
    for (let rounds = 0; idle < this.#turns.idle && this.#due(this.#now, true) === null; rounds++) {
      const before = this.#moves
      await this.#turns.next()
      const still = before === this.#moves && (this.#busy === 0 || rounds > BUSY_ROUNDS)
      idle = still ? idle + 1 : 0
    }
  }

  #perform(happening: Happening): void {
    const { host } = happening
    if (host?.state === 'held' && happening.run !== null) host.keep(happening)
    else this.#run(happening)
  }

  #run(happening: Happening): void {
    const { host, run } = happening
    if (run === null) return
    happening.run = null
    this.#pending--
    this.#moves++
    if (host?.state !== 'dead') run()
  }

  /** The first that is due by then, taken out unless it is only looked at. */
  #due(by: number, look = false): Happening | null {
    for (;;) {
      const first = this.#queue[0]
      if (first === undefined || first.at > by) return null
      if (first.run === null) {
        pop(this.#queue)
        continue
      }
      return look ? first : pop(this.#queue)
    }
  }

  /** Nothing is to come any more: of that host, or of anybody. */
  forget(host?: Host): void {
    for (const happening of this.#queue) if (host === undefined || happening.host === host) happening.cancel()
  }

  /** Timers of that host that are to come. */
  timersOf(host: Host): number {
    return this.#queue.filter(each => each.host === host && each.kind === 'timer' && each.run !== null).length
  }

  /**
   * Runs what a host was kept from, as one turn of its loop: timers first, then input, then what was put off to the end. What
   * falls due meanwhile comes after it.
   */
  wake(host: Host): void {
    const ranks: Record<Kind, number> = { timer: 0, input: 1, soon: 2 }
    const work = async (): Promise<void> => {
      for (let kept = host.takeKept(); kept.length > 0; kept = host.takeKept()) {
        kept.sort((a, b) => ranks[a.kind] - ranks[b.kind] || a.at - b.at || a.order - b.order)
        for (const [i, happening] of kept.entries()) {
          if (!host.waking) {
            host.keep(...kept.slice(i))
            return
          }
          this.#run(happening)
          // Between two callbacks of one turn only ticks and promises run.
          await PROMISE_TURNS.next()
        }
      }
      host.woken()
    }
    void this.track(work())
  }
}

/** A process that takes part, as its clock: a node, a client. Each has its own chance and its own wall clock. */
export class Host implements Clock {
  readonly name: string
  readonly timeline: Timeline
  readonly #chance: Chance
  #state: 'up' | 'held' | 'dead' = 'up'
  #kept: Happening[] = []
  #waking = false
  #wallOffset = EPOCH_MS

  constructor(timeline: Timeline, name: string, chance = timeline.chance.child(name)) {
    this.timeline = timeline
    this.name = name
    this.#chance = chance
  }

  get state(): 'up' | 'held' | 'dead' {
    return this.#state
  }

  monotonic(): number {
    return this.timeline.now
  }

  wall(): number {
    return this.timeline.now + this.#wallOffset
  }

  /** A millisecond at least, as with Node: a timer so short that adding it changes nothing would stop all time. */
  after(delayMs: number, task: () => void): Timer {
    return this.timeline.schedule(this, Math.max(1, delayMs), 'timer', task)
  }

  soon(task: () => void): void {
    this.timeline.schedule(this, 0, 'soon', task)
  }

  /** Something reaches this host after `delayMs`. */
  input(delayMs: number, task: () => void): Timer {
    return this.timeline.schedule(this, delayMs, 'input', task)
  }

  random(): number {
    return this.#chance.next()
  }

  randomBytes(count: number): Uint8Array {
    return this.#chance.bytes(count)
  }

  /** Moves the wall clock alone, as an operator or NTP would. */
  jumpWall(ms: number): void {
    this.#wallOffset += ms
  }

  /** From now on nothing runs here; what falls due is kept. */
  hold(): void {
    if (this.#state === 'up') this.#state = 'held'
    this.#waking = false
  }

  /** What was kept runs now, in one burst; only after it what comes next. */
  release(): void {
    if (this.#state !== 'held' || this.#waking) return
    this.#waking = true
    if (this.#kept.length === 0) this.woken()
    else this.timeline.wake(this)
  }

  /** Whether what was kept is running. */
  get waking(): boolean {
    return this.#waking
  }

  woken(): void {
    this.#waking = false
    if (this.#state === 'held') this.#state = 'up'
  }

  keep(...happenings: readonly Happening[]): void {
    if (this.#state === 'held') this.#kept.push(...happenings)
    else for (const happening of happenings) happening.cancel()
  }

  takeKept(): Happening[] {
    return this.#kept.splice(0)
  }

  /** Nothing runs here any more, and what was to run is forgotten. */
  die(): void {
    this.#state = 'dead'
    this.#waking = false
    for (const happening of this.#kept) happening.cancel()
    this.#kept = []
    this.timeline.forget(this)
  }

  /** Lets what is left be tidied up. */
  revive(): void {
    if (this.#state === 'dead') this.#state = 'up'
  }
}

/** Lets other code do what it put off. */
export interface Turns {
  /** Ends once other code has had its turn. */
  readonly next: () => Promise<void>
  /** Turns in which nothing moves before the moment counts as over. */
  readonly idle: number
}

/** Whole turns of the real event loop: streams and HTTP put things off to the next, and that may do so again. */
export const LOOP_TURNS: Turns = { idle: 3, next: () => new Promise(resolve => setImmediate(resolve)) }

/** Only promises: a tick runs when none of them has anything left to do. */
export const PROMISE_TURNS: Turns = { idle: 1, next: () => new Promise(resolve => process.nextTick(resolve)) }

function isBefore(a: Happening, b: Happening): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

function push(heap: Happening[], item: Happening): void {
  let index = heap.length
  heap.push(item)
  while (index > 0) {
    const parent = (index - 1) >> 1
    if (!isBefore(item, heap[parent]!)) break
    heap[index] = heap[parent]!
    index = parent
  }
  heap[index] = item
}

function pop(heap: Happening[]): Happening {
  const first = heap[0]!
  const last = heap.pop()!
  if (heap.length === 0) return first
  let index = 0
  for (;;) {
    let child = index * 2 + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
    if (!isBefore(heap[child]!, last)) break
    heap[index] = heap[child]!
    index = child
  }
  heap[index] = last
  return first
}
