import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const sources = ['lib', 'plugins', 'controllers', 'client']
  .filter(folder => existsSync(folder))
  .flatMap(folder =>
    readdirSync(folder, { recursive: true })
      .map(name => join(folder, String(name)))
      .filter(path => path.endsWith('.ts'))
  )

/** Which files tap counts: every test may cover every source, and nothing but sources. */
export default () => sources
