import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { installBuilt } from '../install.ts'
import { SABOTAGES, sabotage } from '../sabotages.ts'
import type { Found, Part } from './play.ts'

interface Outcome {
  readonly form: 'net' | 'world'
  readonly seeds: number
  readonly anomalies: readonly Found[]
  readonly total: Readonly<Record<string, number>>
}

/** Names that stand for many. */
const SETS: Readonly<Record<string, readonly string[]>> = {
  all: SABOTAGES.filter(({ simulated }) => simulated !== 'never').map(({ name }) => name),
  quick: SABOTAGES.filter(({ simulated }) => simulated === undefined).map(({ name }) => name)
}

const USAGE = `npm run check:simulation -- [--worlds 2000] [--nets 200] [--first 1] [--steps 40] [--workers 2] [--trace] [--sabotage NAME,…|quick|all]
Plays stories from seeds on a virtual clock, in which everything goes wrong, and holds what came of them against the promises.
With --trace it prints all that happened where something was found.
With --sabotage the package is broken on purpose: then something has to be found.`

/** @returns the exit code: 0 where nothing was found, or all that was to be found */
export async function run(root: string, args: readonly string[]): Promise<number> {
  const number = (value: string | undefined, usual: number): number => (value === undefined ? usual : Number(value))
  const text = { type: 'string' } as const
  const options = {
    worlds: text,
    nets: text,
    first: text,
    steps: text,
    workers: text,
    sabotage: text,
    trace: { type: 'boolean' },
    help: { type: 'boolean' }
  } as const
  const { values } = parseArgs({ args: [...args], options })
  if (values.help) return console.log(USAGE) ?? 0
  const settings = {
    worlds: number(values.worlds, 2_000),
    nets: number(values.nets, 200),
    first: number(values.first, 1),
    steps: number(values.steps, 40),
    workers: number(values.workers, 2),
    traces: values.trace === true
  }
  if (values.sabotage === undefined) return simulate(root, settings)
  return caught(root, SETS[values.sabotage] ?? values.sabotage.split(','), settings)
}

/** Breaks the package in each of these ways, and sees whether that is found. */
async function caught(root: string, names: readonly string[], settings: Settings): Promise<number> {
  const left = [...names]
  const missed: string[] = []
  const work = async (): Promise<void> => {
    for (let name = left.shift(); name !== undefined; name = left.shift()) {
      const started = performance.now()
      const outcomes = await play(root, sabotage(name).patches, { ...settings, workers: 1, untilFound: true })
      const [first] = outcomes.flatMap(({ anomalies }) => anomalies)
      if (first === undefined) missed.push(name)
      const how = first === undefined ? 'NOT CAUGHT' : `caught by ${first.what[0]!.split(/[:\n]/, 1)}`
      console.log(
        `${name}: ${how}, ${outcomes.reduce((sum, { seeds }) => sum + seeds, 0)} seeds, ${seconds(started)} s`
      )
    }
  }
  await Promise.all(Array.from({ length: settings.workers }, work))
  console.log(`${names.length - missed.length} of ${names.length} sabotages caught`)
  return missed.length === 0 ? 0 : 1
}

interface Settings {
  readonly worlds: number
  readonly nets: number
  readonly first: number
  readonly steps: number
  readonly workers: number
  readonly traces: boolean
}

async function simulate(root: string, settings: Settings): Promise<number> {
  const started = performance.now()
  const outcomes = await play(root, [], { ...settings, untilFound: false })
  const anomalies = outcomes.flatMap(outcome => outcome.anomalies.map(one => ({ ...one, form: outcome.form })))
  for (const { form, seed, what, trace } of anomalies)
    console.log(`ANOMALY ${form} seed ${seed}\n  ${what.join('\n  ')}\n${trace}`.trimEnd())
  const seeds = (form: string): number =>
    outcomes.filter(one => one.form === form).reduce((sum, one) => sum + one.seeds, 0)
  const total: Record<string, number> = {}
  for (const outcome of outcomes) {
    for (const [what, times] of Object.entries(outcome.total)) total[what] = (total[what] ?? 0) + times
  }
  const perSecond = (
    outcomes.reduce((sum, one) => sum + one.seeds, 0) /
    ((performance.now() - started) / 1000)
  ).toFixed(1)
  console.log(
    `done: ${Object.entries(total)
      .map(([what, times]) => `${times} ${what}`)
      .join(', ')}`
  )
  console.log(
    `${seeds('world')} seeds at service and client, ${seeds('net')} through the plugin, in ${seconds(started)} s: ` +
      `${perSecond} seeds/s, ${anomalies.length} with anomalies`
  )
  const complete = seeds('world') === settings.worlds && seeds('net') === settings.nets
  return anomalies.length === 0 && complete ? 0 : 1
}

/** Plays the stories in processes of their own, over the built package with these patches. */
async function play(
  root: string,
  patches: Parameters<typeof installBuilt>[1],
  { worlds, nets, first, steps, workers, traces, untilFound }: Settings & { untilFound: boolean }
): Promise<Outcome[]> {
  const { folder, remove } = installBuilt(root, patches)
  try {
    const outfile = join(folder, 'play.mjs')
    await build({
      entryPoints: ['test/checker/simulation/play.ts'],
      outfile,
      bundle: true,
      packages: 'external',
      absWorkingDir: root,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      logLevel: 'warning'
    })
    const parts = Array.from({ length: workers }, (_, i): Part[] => [
      { form: 'world', ...share(worlds, first, i, workers), steps, untilFound, traces },
      { form: 'net', ...share(nets, first, i, workers), steps, untilFound, traces }
    ])
    const outcomes = await Promise.all(
      parts.map(async mine => {
        const done: Outcome[] = []
        for (const part of mine) {
          if (part.count === 0 || (untilFound && done.some(({ anomalies }) => anomalies.length > 0))) continue
          done.push(await inProcess(outfile, folder, part))
        }
        return done
      })
    )
    return outcomes.flat()
  } finally {
    remove()
  }
}

function share(all: number, first: number, i: number, of: number): Pick<Part, 'first' | 'count'> {
  const from = Math.floor((all * i) / of)
  return { first: first + from, count: Math.floor((all * (i + 1)) / of) - from }
}

async function inProcess(program: string, cwd: string, part: Part): Promise<Outcome> {
  const child = fork(program, [], { cwd, execArgv: [] })
  child.send(part)
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`a process of the simulation ended with ${code}`)
  })
  const [outcome] = (await Promise.race([once(child, 'message'), ended])) as [Outcome]
  ended.catch(() => {})
  return outcome
}

function seconds(started: number): string {
  return ((performance.now() - started) / 1000).toFixed(1)
}
