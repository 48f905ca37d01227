import type { Direction, Link } from './link.ts'

/** The way from one client to the servers, and what is wrong with it. What is done to the way outlives its links. */
export class Path {
  readonly #links = new Set<Link>()
  #held: Array<() => void> = []
  #offline = false
  readonly #delays: Record<Direction, number> = { up: 0, down: 0 }

  /** The link that was made last, if there is one. */
  get link(): Link | undefined {
    return [...this.#links].at(-1)
  }

  get offline(): boolean {
    return this.#offline
  }

  /** Runs once the way is there. */
  dial(task: () => void): void {
    if (this.#offline) this.#held.push(task)
    else task()
  }

  add(link: Link): void {
    this.#links.add(link)
    for (const direction of ['up', 'down'] as const) link.delay(this.#delays[direction], direction)
    if (this.#offline) link.block(true)
  }

  remove(link: Link): void {
    this.#links.delete(link)
  }

  setOffline(offline: boolean): void {
    if (this.#offline === offline) return
    this.#offline = offline
    for (const link of this.#links) link.block(offline)
    if (offline) return
    const held = this.#held
    this.#held = []
    for (const task of held) task()
  }

  /** Nothing is wrong with it any more; what cannot be mended is reset. */
  heal(): void {
    this.delay(0)
    this.setOffline(false)
    for (const link of [...this.#links]) link.block(false)
  }

  delay(ms: number, direction?: Direction): void {
    for (const each of ['up', 'down'] as const)
      if (direction === undefined || direction === each) this.#delays[each] = ms
    for (const link of this.#links) link.delay(ms, direction)
  }
}
