import type { Timeline } from './timeline.ts'

/** Lines that a trace keeps; older ones are dropped. */
const MAX_LINES = 200_000
/** Characters of a frame that a trace shows. */
const MAX_TEXT = 400

interface Line {
  readonly at: number
  readonly who: string
  readonly what: string
}

/** What happened, one line each: milliseconds, who, what. The same seed gives the same text. */
export class Trace {
  readonly #timeline: Timeline
  #lines: Line[] = []
  #dropped = 0

  constructor(timeline: Timeline) {
    this.#timeline = timeline
  }

  /** Lines so far. */
  get length(): number {
    return this.#dropped + this.#lines.length
  }

  add(who: string, what: string): void {
    this.#lines.push({ at: this.#timeline.now, who, what })
    if (this.#lines.length < MAX_LINES * 2) return
    this.#lines = this.#lines.slice(-MAX_LINES)
    this.#dropped = this.length - MAX_LINES
  }

  /** A frame, shortened where it is long. */
  frame(who: string, direction: '<' | '>', text: string): void {
    this.add(who, `${direction} ${text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}… ${text.length}`}`)
  }

  /** The lines round one of them, that one marked. */
  round(index: number, before: number, after: number): string {
    const at = index - this.#dropped
    return this.#lines
      .slice(Math.max(0, at - before), Math.max(0, at + after))
      .map((line, i) => `${Math.max(0, at - before) + i === at ? '→' : ' '} ${shown(line)}`)
      .join('\n')
  }

  toString(): string {
    const head = this.#dropped === 0 ? '' : `… ${this.#dropped} earlier lines\n`
    return head + this.#lines.map(line => `${shown(line)}\n`).join('')
  }
}

function shown({ at, who, what }: Line): string {
  return `${at.toFixed(3).padStart(12)} ${who.padEnd(8)} ${what}`
}
