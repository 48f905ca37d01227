// Compiles send.c, where there is a C compiler; where there is none, `native` of index.js is null and all goes on without it.
import { execFileSync } from 'node:child_process'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** @param {string} to where the add-on goes @returns {string | null} why there is none */
export function build(to = join(import.meta.dirname, 'send.node')) {
  const lazy = process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : []
  try {
    const include = join(dirname(fileURLToPath(import.meta.resolve('node-api-headers'))), 'include')
    const args = ['-O2', '-shared', '-fPIC', ...lazy, '-I', include, '-o', to, join(import.meta.dirname, 'send.c')]
    execFileSync(process.env.CC || 'cc', args, { stdio: ['ignore', 'inherit', 'inherit'] })
    return null
  } catch (error) {
    return String(error)
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const fault = build()
  if (fault !== null) console.warn(`fastify-channels-native is not used: ${fault}`)
}
