import { tell } from './story.ts'

export interface Part {
  readonly form: 'net' | 'world'
  readonly first: number
  readonly count: number
  readonly steps: number
  /** Ends with the first seed that finds something. */
  readonly untilFound: boolean
}

// A process of its own for each part: it tells its parent what it found.
process.on('message', (part: Part) => void play(part))

async function play({ form, first, count, steps, untilFound }: Part): Promise<void> {
  const total: Record<string, number> = {}
  let seeds = 0
  const anomalies: Array<{ seed: number; what: string[] }> = []
  for (let seed = first; seed < first + count; seed++) {
    let found: string[]
    try {
      const story = await tell({ seed, form, steps })
      found = story.found
      for (const [what, times] of Object.entries(story.done)) total[what] = (total[what] ?? 0) + times
    } catch (error) {
      found = [`failed: ${(error as Error).stack}`]
    }
    seeds++
    if (found.length > 0) anomalies.push({ seed, what: found.slice(0, 10) })
    if (anomalies.length > 0 && (untilFound || anomalies.length >= 20)) break
  }
  process.send!({ form, seeds, anomalies, total }, () => process.disconnect())
}
