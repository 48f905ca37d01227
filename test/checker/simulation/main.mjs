// The simulation: `npm run check:simulation -- --help`. Node reads no TypeScript, so it is bundled first.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const cache = join(root, 'node_modules', '.cache')
mkdirSync(cache, { recursive: true })
const folder = mkdtempSync(join(cache, 'checker-main-'))
try {
  const outfile = join(folder, 'run.mjs')
  const entry = { entryPoints: ['test/checker/simulation/run.ts'], outfile, bundle: true, packages: 'external' }
  await build({ ...entry, absWorkingDir: root, platform: 'node', format: 'esm', target: 'node20', logLevel: 'warning' })
  const { run } = await import(pathToFileURL(outfile).href)
  process.exitCode = await run(root, process.argv.slice(2))
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 2
} finally {
  rmSync(folder, { recursive: true, force: true })
}
// What an interrupted run still waits for is of no interest.
process.exit()
