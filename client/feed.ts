import type { Frame } from '../lib/protocol/message.ts'
import type { GapReason, Outcome, Position } from '../lib/protocol/position.ts'
import type { ServerFrames } from '../lib/protocol/system.ts'
import type { Received } from './channel.ts'
import type { Gap, LoadContext, LoadState } from './loader.ts'
import { Loader } from './loader.ts'
import type { Port } from './outbox.ts'
import type { Turn } from './turn.ts'

/** Where what a channel has to tell goes. */
export interface FeedHost {
  readonly port: Port
  readonly turn: Turn
  /** Tells those who hear of every channel. */
  readonly tell: (...told: ['$message', Received] | ['$gap', string, Gap]) => void
}

/** What comes of one channel: each publication once, in order, and a gap where one is missing. */
export class Feed {
  position: Position | null = null
  #loader: Loader
  #channel: string
  #host: FeedHost
  #tell: (event: string, ...args: unknown[]) => void
  #outcome: Outcome = { kind: 'fresh' }
  /** Up to where all is told, or held back to be told. */
  #passed: Position | null = null

  constructor(channel: string, host: FeedHost, tell: (event: string, ...args: unknown[]) => void) {
    this.#channel = channel
    this.#host = host
    this.#tell = tell
    this.#loader = new Loader(host.port, host.turn, () => {
      const passed = this.#passed
      return () => this.#missing({ ...from(passed, this.position), to: this.position?.offset ?? 0, reason: 'slow' })
    })
  }

  /** The outcome of a join, as it is for us: who had a position and is told nothing of it has missed something. */
  outcome(outcome: Outcome, position: Position | null, reason: GapReason): Outcome {
    const held = this.position
    if (!held || outcome.kind !== 'fresh') return outcome
    return { kind: 'gap', ...from(held, position), to: (position ?? held).offset, reason }
  }

  /** Delivery begins, or goes on: `joined` tells so, after what was held back before. */
  begin(outcome: Outcome, position: Position | null, joined: () => void): void {
    this.#pass(joined)
    this.position = position
    this.#outcome = outcome
    const { kind, ...gap } = outcome as Gap & { kind: string }
    if (kind === 'gap') this.#missing(gap)
    else this.#load(kind === 'fresh')
  }

  heard(frame: Frame): void {
    if (frame.cmd === '$gap') this.#gap(frame.param as ServerFrames['$gap'])
    else if (frame.cmd === '$skip') this.#advance(frame)
    else this.publication(frame)
  }

  /** A publication; whoever hears it may leave, and then the others do not. */
  publication(frame: Frame): void {
    if (frame.offset && !this.#advance(frame)) return
    const message = messageOf(frame, this.position)
    this.#pass(() => {
      this.#host.tell('$message', message)
      this.#tell(message.cmd, message.param, message)
    })
  }

  /** Whether this place in the log is a new one. Where it is not the next the server owes us an explanation. */
  #advance({ offset = 0, tag = '' }: Frame): boolean {
    const held = this.position
    if (!held) return true
    if (offset <= held.offset) return false
    this.position = { epoch: held.epoch, offset, tag }
    if (offset > held.offset + 1) this.#missing({ from: held.offset, to: offset - 1, reason: 'store-error' })
    return true
  }

  /** The server tells what will not come. */
  #gap({ position, ...gap }: ServerFrames['$gap']): void {
    this.position = position
    this.#missing(gap)
  }

  /** Sets what loads the state, which is done at once where delivery has `begun` without. */
  loadBy(load: LoadState, begun: boolean): void {
    this.#loader.load = load
    if (begun) this.#load(false)
  }

  /** Nothing is told any more of what came, and what comes has no past. */
  end(): void {
    this.position = null
    // Whoever comes back loads anew, even where a `$join` that was under way says that nothing was missed.
    this.#loader.at = undefined
    this.#loader.stop()
  }

  /** What was held back is not worth keeping for a socket that may never come back; without it there is no place to go on from. */
  pause(): void {
    if (this.#loader.busy) this.end()
  }

  #missing(gap: Gap): void {
    const context = this.#context(gap)
    this.#pass(() => {
      this.#host.tell('$gap', this.#channel, gap)
      this.#tell('$gap', gap)
      this.#loader.begin(context)
    })
  }

  #pass(notice: () => void): void {
    if (this.#loader.pass(notice)) this.#passed = this.position
  }

  /** Where it never was, or the past is not known. */
  #load(anew: boolean): void {
    if (anew || !this.#loader.at) this.#loader.begin(this.#context(null))
  }

  #context(gap: Gap | null): LoadContext {
    return { position: this.position, outcome: this.#outcome, gap }
  }
}

/** Offsets of different epochs have nothing to do with each other. */
function from(before: Position | null, now: Position | null): { from?: number } {
  return before && before.epoch === now?.epoch ? { from: before.offset } : {}
}

/** What the application sees of a publication; its place has the epoch of `position`. */
export function messageOf(frame: Frame, position: Position | null): Received {
  const { channel, cmd, param, from, offset, tag } = frame
  const place = offset && position && { position: { epoch: position.epoch, offset, tag: tag! } }
  return { channel: channel!, cmd, param, ...(from && { from }), ...place }
}
