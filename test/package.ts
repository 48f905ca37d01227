import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const root = join(import.meta.dirname, '..')
const read = (name: string) => readFileSync(join(root, name), 'utf8')

t.test('package.json, lock file and changelog tell the same', async t => {
  const manifest = JSON.parse(read('package.json'))
  const lock = JSON.parse(read('package-lock.json'))
  t.equal(lock.version, manifest.version)
  t.match(read('CHANGELOG.md'), `## [${manifest.version}]`)
  t.strictSame(lock.packages[''].dependencies, manifest.dependencies)
  t.strictSame(lock.packages[''].devDependencies, manifest.devDependencies)
})

t.test('the lock file names no registry', async t => {
  t.notMatch(read('package-lock.json'), /"resolved"/)
})
