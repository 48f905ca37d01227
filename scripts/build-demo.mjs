// Makes the demo: server.js with everything of examples/demo in it, and beside it public/ with the page's files and its
// bundle, main.js. The target must be inside this repository, as packages are resolved from there.
import { cp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('..', import.meta.url))
const source = join(root, 'examples', 'demo')

/** What package.json says with `exports`, for the sources. */
const SOURCES = {
  'fastify-channels': join(root, 'plugins/index.ts'),
  'fastify-channels/client': join(root, 'client/index.ts'),
  'fastify-channels/controllers': join(root, 'controllers/index.ts'),
  'fastify-channels/protocol': join(root, 'lib/protocol/index.ts')
}

/** The thread of the SQLite broker: looked for beside the file that starts it, which from the sources is server.js. */
const WORKER = { worker: join(root, 'lib/broker/sqlite/worker.ts') }

/**
 * @param {string} target
 * @param {{ fromSources?: boolean }} [options] `fromSources`: take this package from its TypeScript instead of from `dist`,
 * where the demo finds it by its name as any application would
 * @returns {Promise<string>} the path of server.js
 */
export async function buildDemo(target, { fromSources = false } = {}) {
  const server = join(target, 'server.js')
  const files = join(target, 'public')
  const common = {
    bundle: true,
    format: 'esm',
    sourcemap: true,
    logLevel: 'warning',
    absWorkingDir: root,
    alias: fromSources ? SOURCES : {}
  }
  await rm(target, { recursive: true, force: true })
  await cp(join(source, 'public'), files, { recursive: true })
  await Promise.all([
    build({
      ...common,
      entryPoints: { server: join(source, 'server.ts'), ...(fromSources && WORKER) },
      outdir: target,
      platform: 'node',
      target: 'node20',
      packages: 'external'
    }),
    build({
      ...common,
      entryPoints: [join(source, 'browser', 'main.ts')],
      outdir: files,
      target: 'es2022',
      minify: true
    })
  ])
  return server
}
