// Runs examples/demo from its TypeScript on any supported Node. Expects `npm run build` to have run: the demo imports
// this package by its name, as an application would. The server is bundled to dist-examples/demo/server.js and finds its
// files with `new URL('./public/', import.meta.url)`: the contents of examples/demo/public, and beside them one
// bundle for each script directly in examples/demo/client.
import { cpSync, existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'examples', 'demo')
const target = join(root, 'dist-examples', 'demo')
const server = join(target, 'server.js')
const common = { bundle: true, format: 'esm', sourcemap: true, logLevel: 'warning', absWorkingDir: root }

rmSync(target, { recursive: true, force: true })
const files = join(source, 'public')
if (existsSync(files)) cpSync(files, join(target, 'public'), { recursive: true })

await Promise.all([
  build({
    ...common,
    entryPoints: [join(source, 'server.ts')],
    outfile: server,
    platform: 'node',
    target: 'node20',
    packages: 'external'
  }),
  build({ ...common, entryPoints: scripts(join(source, 'client')), outdir: join(target, 'public'), target: 'es2022' })
])

if (!process.argv.includes('--build-only')) await import(pathToFileURL(server).href)

/** @param {string} folder */
function scripts(folder) {
  const names = existsSync(folder) ? readdirSync(folder) : []
  return names.filter(name => name.endsWith('.ts')).map(name => join(folder, name))
}
