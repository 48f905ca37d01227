import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const sources = ['lib', 'plugins', 'controllers', 'client']
  .filter(folder => existsSync(folder))
  .flatMap(folder =>
    readdirSync(folder, { recursive: true })
      .map(name => join(folder, String(name)))
      .filter(path => path.endsWith('.ts'))
  )

/** What is long and covers nothing that others do not: to watch every line of it would only make it longer. */
const UNWATCHED = ['test/behaviour/soak.ts', 'test/behaviour/demo.ts', 'test/docs/samples.ts']

/** Which files tap counts: every test may cover every source, and nothing but sources. @param {string} test */
export default test => (UNWATCHED.includes(test) ? null : sources)
