import type { Position } from '../../lib/protocol/position.ts'
import type { Ledger, Stored } from './ledger.ts'
import type { Heard, Place } from './record.ts'
import type { Trace } from './trace.ts'

/** What one client is, as far as the checks are concerned. */
export interface Witness {
  readonly name: string
  readonly user: string | null
  readonly heard: readonly Heard[]
  /** Sessions that it has had. */
  readonly sessions: ReadonlySet<string>
  /** Channels that it is joined to now, over a link that is open. */
  readonly joined: readonly string[]
}

export interface CheckParts {
  readonly ledger: Ledger
  readonly trace: Trace
  readonly seed: number
  readonly heads: (channels: readonly string[]) => Promise<readonly Position[] | null>
  /** Whether the store forgets whole logs, of which it has then an empty one. */
  readonly forgets: boolean
}

/** Lines of the trace that are shown round a loss. */
const LINES_BEFORE = 14
const LINES_AFTER = 6

/** Something that was promised was not kept. */
export class LossError extends Error {
  readonly seed: number
  readonly anomalies: readonly string[]

  constructor(seed: number, anomalies: readonly string[], context: string) {
    super(`seed ${seed}: ${anomalies.length} anomalies\n${anomalies.slice(0, 20).join('\n')}\n${context}`)
    this.name = 'LossError'
    this.seed = seed
    this.anomalies = anomalies
  }
}

/**
 * Holds what clients heard against what the brokers stored: in each channel with a log strictly in order, nothing twice,
 * nothing invented or altered, no hole unless a gap that covers exactly it came first, and in the end at the head.
 * @throws {LossError}
 */
export async function expectNoLoss(witnesses: readonly Witness[], parts: CheckParts): Promise<void> {
  const anomalies: string[] = parts.ledger.faults.map(fault => `store: ${fault}`)
  let line: number | null = null
  for (const witness of witnesses) {
    const check = new WitnessCheck(witness, parts, (what, heard) => {
      line ??= heard?.line ?? null
      anomalies.push(`${witness.name}: ${what}`)
    })
    await check.run()
  }
  if (anomalies.length === 0) return
  const at = line ?? parts.trace.length
  throw new LossError(parts.seed, anomalies, parts.trace.round(at, LINES_BEFORE, LINES_AFTER))
}

type Complain = (what: string, heard?: Heard) => void

class WitnessCheck {
  readonly #witness: Witness
  readonly #parts: CheckParts
  readonly #complain: Complain
  /** Where it stands in each channel with a log; null where it heard nothing that tells. */
  readonly #at = new Map<string, Position | null>()
  /** Gaps of joins, which are told once more as such. */
  readonly #told = new Map<string, string>()
  /** Tags that it was given already, by channel. */
  readonly #seen = new Map<string, Set<string>>()

  constructor(witness: Witness, parts: CheckParts, complain: Complain) {
    this.#witness = witness
    this.#parts = parts
    this.#complain = complain
  }

  async run(): Promise<void> {
    for (const heard of this.#witness.heard) {
      if (heard.kind === 'joined') this.#joined(heard)
      else if (heard.kind === 'gap') this.#gap(heard)
      else if (heard.kind === 'message') this.#message(heard)
      else if (heard.kind === 'left') this.#left(heard.channel)
    }
    await this.#end()
  }

  /** Whoever left has given its place up: a node that is behind may begin with what it had. */
  #left(channel: string): void {
    this.#at.delete(channel)
    this.#seen.delete(channel)
  }

  #joined(heard: Heard & { readonly kind: 'joined' }): void {
    const { channel, joined } = heard
    const { outcome, position } = joined
    if (position === undefined) return
    const before = this.#at.get(channel) ?? null
    if (outcome.kind === 'recovered') {
      const same = before === null || (before.epoch === position.epoch && this.#stands(channel, before, outcome.from))
      if (!same) this.#complain(`${channel}: recovered from ${outcome.from}, but stood at ${place(before)}`, heard)
      if (outcome.from > outcome.to) this.#complain(`${channel}: recovered ${outcome.from} to ${outcome.to}`, heard)
      this.#at.set(channel, position)
      return
    }
    if (outcome.kind === 'fresh' && before !== null) {
      this.#complain(`${channel}: fresh, but stood at ${place(before)}`, heard)
    }
    if (outcome.kind === 'gap') {
      this.#hole(heard, channel, before, outcome, position)
      this.#told.set(channel, `${outcome.from} ${outcome.to} ${outcome.reason}`)
    }
    this.#at.set(channel, position)
  }

  #gap(heard: Heard & { readonly kind: 'gap' }): void {
    const { channel, gap, position } = heard
    const told = this.#told.get(channel) === `${gap.from} ${gap.to} ${gap.reason}`
    this.#told.delete(channel)
    if (told) return
    const before = this.#at.get(channel) ?? null
    this.#hole(heard, channel, before, gap, position)
    if (position !== null) this.#at.set(channel, position)
  }

  /** A gap must say exactly what is missing. */
  #hole(
    heard: Heard,
    channel: string,
    before: Position | null,
    gap: { readonly from?: number; readonly to: number },
    after: Position | null
  ): void {
    if (before === null) return
    if (gap.from !== undefined && !this.#stands(channel, before, gap.from)) {
      this.#complain(`${channel}: a gap from ${gap.from}, but stood at ${place(before)}`, heard)
    }
    if (after !== null && gap.to !== after.offset) {
      this.#complain(`${channel}: a gap to ${gap.to} that goes on after ${place(after)}`, heard)
    }
    if (after !== null && after.epoch === before.epoch && after.tag === before.tag && after.offset === before.offset) {
      this.#complain(`${channel}: a gap where nothing is missing, at ${place(before)}`, heard)
    }
  }

  #message(heard: Heard & { readonly kind: 'message' }): void {
    if (heard.place === null) return
    const { tag, offset } = heard.place
    const stored = this.#parts.ledger.find(tag)
    if (stored === undefined) {
      this.#complain(`${heard.via}: ${offset} ${tag} was never stored`, heard)
      return
    }
    const { channel } = stored
    const seen = this.#seen.get(channel) ?? new Set()
    if (seen.has(tag)) this.#complain(`${channel}: ${offset} ${tag} came twice`, heard)
    this.#seen.set(channel, seen.add(tag))
    this.#compare(heard, stored)
    if (this.#isSurelyExcepted(stored)) this.#complain(`${channel}: ${offset} was not for it`, heard)
    const before = this.#at.get(channel)
    if (before === undefined) this.#complain(`${channel}: ${offset} came before it was joined`, heard)
    else if (before !== null) this.#step(heard, before, stored)
    this.#at.set(channel, stored)
  }

  #compare(heard: Heard & { readonly kind: 'message' }, stored: Stored): void {
    const { offset } = heard.place as Place
    const frame = JSON.parse(stored.text) as { cmd: string; param?: unknown; channel: string }
    const { cmd, param, channel } = heard.message
    const same = cmd === frame.cmd && channel === frame.channel && JSON.stringify(param) === JSON.stringify(frame.param)
    if (!same || offset !== stored.offset) this.#complain(`${stored.channel}: ${offset} is not what was stored`, heard)
  }

  #step(heard: Heard, before: Position, { channel, epoch, offset }: Stored): void {
    if (before.epoch !== epoch) {
      this.#complain(`${channel}: ${offset} of epoch ${epoch} without a gap after ${place(before)}`, heard)
      return
    }
    if (offset <= before.offset) this.#complain(`${channel}: ${offset} after ${before.offset}`, heard)
    const missing = this.#missing(channel, before, offset)
    if (missing.length > 0) {
      this.#complain(`${channel}: ${offset} after ${before.offset}, without ${missing.join(' ')}`, heard)
    }
  }

  /** Offsets between two places that were for it. */
  #missing(channel: string, before: Position, end: number): number[] {
    const missing: number[] = []
    for (let offset = before.offset + 1; offset < end; offset++) {
      const stored = this.#parts.ledger.at(channel, before, offset)
      if (stored === undefined || !this.#isExcepted(stored)) missing.push(offset)
    }
    return missing
  }

  /** Whether it stands at that offset: what lies between was not for it. */
  #stands(channel: string, before: Position, offset: number): boolean {
    return offset >= before.offset && this.#missing(channel, before, offset + 1).length === 0
  }

  /** An exception of a session ends with the session, and which one it was at the time is not known of several. */
  #isSurelyExcepted(stored: Stored): boolean {
    const { user, sessions } = this.#witness
    return sessions.size > 1 ? stored.except.includes(`u:${user}`) : this.#isExcepted(stored)
  }

  #isExcepted({ except }: Stored): boolean {
    const { user, sessions } = this.#witness
    return except.some(key => (key.startsWith('u:') ? key.slice(2) === user : sessions.has(key.slice(2))))
  }

  async #end(): Promise<void> {
    const channels = this.#witness.joined.filter(channel => (this.#at.get(channel) ?? null) !== null)
    const heads = channels.length === 0 ? null : await this.#parts.heads(channels)
    // Without a node there is nobody to be in step with.
    if (heads === null) return
    channels.forEach((channel, i) => {
      const { forgets, ledger } = this.#parts
      const last = forgets && heads[i]!.offset === 0 ? ledger.of(channel).at(-1) : undefined
      const head = last ?? heads[i]!
      const at = this.#at.get(channel)!
      if (at.epoch !== head.epoch) this.#complain(`${channel}: stands in epoch ${at.epoch}, the head is ${place(head)}`)
      else if (at.offset > head.offset)
        this.#complain(`${channel}: stands at ${place(at)}, past the head ${place(head)}`)
      else {
        const missing = this.#missing(channel, at, head.offset + 1)
        if (missing.length > 0) this.#complain(`${channel}: stands at ${at.offset}, the head is ${head.offset}`)
      }
    })
  }
}

function place(position: Position | null): string {
  return position === null ? 'nowhere' : `${position.epoch} ${position.offset}`
}
