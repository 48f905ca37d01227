import { build } from 'esbuild'
import { direct } from './director.ts'
import { installBuilt } from './install.ts'
import { readPlan, USAGE } from './plan.ts'
import { SABOTAGES, sabotage } from './sabotages.ts'

/** Runs the checker from the command line. Resolves to the exit code: 0 where nothing was wrong and enough was done. */
export async function run(root: string, args: readonly string[]): Promise<number> {
  const plan = readPlan(args)
  if (plan === 'help') console.log(USAGE)
  else if (plan === 'list') for (const { name, about } of SABOTAGES) console.log(`${name}: ${about}`)
  if (typeof plan === 'string') return 0
  const { folder, remove } = installBuilt(root, plan.sabotage === null ? [] : sabotage(plan.sabotage).patches)
  const controller = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  try {
    await build({
      absWorkingDir: root,
      entryPoints: ['test/checker/server.ts', 'test/checker/worker.ts'],
      outdir: folder,
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      packages: 'external',
      logLevel: 'warning'
    })
    return (await direct(plan, folder, controller.signal)) ? 0 : 1
  } finally {
    if (plan.keep) console.log(`the records are in ${folder}`)
    else remove()
  }
}
