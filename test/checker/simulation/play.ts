import { tell } from './story.ts'

export interface Part {
  readonly form: 'net' | 'world'
  readonly first: number
  readonly count: number
  readonly steps: number
  /** Ends with the first seed that finds something. */
  readonly untilFound: boolean
  /** Tells of what happened as well where something was found. */
  readonly traces: boolean
}

export interface Found {
  readonly seed: number
  readonly what: readonly string[]
  readonly trace: string
}

// A process of its own for each part: it tells its parent what it found.
process.on('message', (part: Part) => void play(part))

async function play({ form, first, count, steps, untilFound, traces }: Part): Promise<void> {
  const total: Record<string, number> = {}
  let seeds = 0
  const anomalies: Found[] = []
  let current = first
  const end = (): void => void process.send!({ form, seeds, anomalies, total }, () => process.exit())
  // It would have ended a server: it is told, and the process ends as that one would have.
  process.once('uncaughtException', error => {
    anomalies.push({ seed: current, what: [`uncaught: ${error.stack}`], trace: '' })
    end()
  })
  for (let seed = first; seed < first + count; seed++) {
    current = seed
    let found: readonly string[]
    let trace = ''
    try {
      const story = await tell({ seed, form, steps })
      found = story.found
      trace = story.trace
      for (const [what, times] of Object.entries(story.done)) total[what] = (total[what] ?? 0) + times
    } catch (error) {
      found = [`failed: ${(error as Error).stack}`]
    }
    seeds++
    if (found.length > 0) anomalies.push({ seed, what: found.slice(0, 10), trace: traces ? trace : '' })
    if (anomalies.length > 0 && (untilFound || anomalies.length >= 20)) break
  }
  end()
}
