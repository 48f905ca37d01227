import type { Progress } from '../broker/broker.ts'

/** Ids that are accepted and not consumed, kept per session; beyond it no new one is accepted. */
const MAX_OPEN = 1_024

/** What to do with a command of this id. */
export type Turn =
  | 'run'
  /** It was accepted before: what became of it is answered once more. */
  | 'repeat'
  /** Not now: an id before it is missing. */
  | { readonly from: number }

interface Open {
  readonly channel: string
  /** `waiting` may come again; `running` is under way; `stored` is as good as consumed. */
  state: 'waiting' | 'running' | 'stored'
  /** It was handed to the store once, which may have taken it though it failed. */
  maybeStored: boolean
}

const NOTHING = { from: null, running: null }
/** What most sequences have open beside the lone one: they share it until they have something of their own. */
const NONE: ReadonlyMap<number, Open> = new Map()

/**
 * The ids of one session's commands: 1, 2, 3 … over all channels. One that is refused for the moment stays open, and
 * those after it on the same channel are not accepted before it has come again.
 */
export class Sequence {
  #highest: number
  /** Ids up to the highest that are not consumed. */
  #open: ReadonlyMap<number, Open> = NONE
  /** The highest, where it is the only one that is under way: most end before the next one comes. */
  #lone: Open | null = null

  constructor({ highest, holes }: Progress = { highest: 0, holes: [] }) {
    this.#highest = highest
    // Which channel it was for is not known any more: it blocks none. And its commit may have been thought to have failed.
    for (const id of holes) this.#set(id, { channel: '', state: 'waiting', maybeStored: true })
  }

  take(id: number, channel: string): Turn {
    if (id === this.#highest + 1 && this.#open.size === 0 && this.#lone === null) {
      this.#highest = id
      this.#lone = { channel, state: 'running', maybeStored: false }
      return 'run'
    }
    this.#gather()
    const known = this.#open.get(id)
    if (id <= this.#highest && known?.state !== 'waiting') return 'repeat'
    if (id > this.#highest + 1) return { from: this.#highest + 1 }
    if (known === undefined && this.#open.size >= MAX_OPEN) return { from: id }
    this.#highest = Math.max(this.#highest, id)
    const maybeStored = known?.maybeStored === true
    // To the end: the map is in the order in which they were accepted.
    this.#delete(id)
    const { from } = this.before(id, channel)
    this.#set(id, { channel, state: from === null ? 'running' : 'waiting', maybeStored })
    return from === null ? 'run' : { from }
  }

  /**
   * What of that channel has to come before this id: `from` is the lowest that has to come again, or came again only after
   * it; `running` one that was accepted before it and is not done.
   */
  before(id: number, channel: string): { readonly from: number | null; readonly running: number | null } {
    if (this.#open.size === 0) return NOTHING
    let from: number | null = null
    let running: number | null = null
    let later = false
    for (const [other, open] of this.#open) {
      if (other === id) later = true
      if (open.channel !== channel || other >= id) continue
      if (open.state !== 'waiting' && !later) running = other
      else if (from === null || other < from) from = other
    }
    return { from, running }
  }

  #gather(): void {
    if (this.#lone !== null) this.#set(this.#highest, this.#lone)
    this.#lone = null
  }

  #set(id: number, open: Open): void {
    if (this.#open === NONE) this.#open = new Map()
    ;(this.#open as Map<number, Open>).set(id, open)
  }

  #delete(id: number): void {
    if (this.#open !== NONE) (this.#open as Map<number, Open>).delete(id)
  }

  #of(id: number): Open | undefined {
    return this.#lone !== null && id === this.#highest ? this.#lone : this.#open.get(id)
  }

  /** The id may come again: nothing came of it. */
  giveBack(id: number): void {
    this.#gather()
    const open = this.#open.get(id)
    if (open !== undefined) open.state = 'waiting'
  }

  /** Nothing comes of the ids behind this one, up to `to`; only where none behind it was accepted. */
  skip(id: number, to: number): void {
    if (id !== this.#highest || to === id) return
    this.#gather()
    this.#highest = to
  }

  /** It is being stored: what is stored meanwhile takes it for consumed, as running it twice would be worse than never. */
  storing(id: number): void {
    const open = this.#of(id)
    if (open === undefined) return
    open.state = 'stored'
    open.maybeStored = true
  }

  /** Whether the store has to be asked before anything else is done with the id. */
  isMaybeStored(id: number): boolean {
    return this.#of(id)?.maybeStored === true
  }

  /** Whether the id was accepted and nothing has come of it. */
  isOpen(id: number): boolean {
    return this.#of(id) !== undefined
  }

  /** Whether it is being dealt with. */
  isUnderWay(id: number): boolean {
    const open = this.#of(id)
    return open !== undefined && open.state !== 'waiting'
  }

  consume(id: number): void {
    if (this.#lone !== null && id === this.#highest) this.#lone = null
    else this.#delete(id)
  }

  /** As it is once that id is consumed. Of what is on its way to the store before it nobody knows yet: those are holes. */
  after(id: number): Progress {
    const highest = this.#highest
    if (this.#open.size === 0 && (this.#lone === null || id === highest)) return { highest, holes: [] }
    this.#gather()
    const holes = [...this.#open.keys()].filter(other => other !== id)
    return { highest, holes: holes.sort((a, b) => a - b) }
  }
}
