import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'

const root = join(import.meta.dirname, '..')
const read = (name: string) => readFileSync(join(root, name), 'utf8')

/** What a page pays for the whole client: channels, history, presence, reconnecting. */
const MAX_CLIENT_BYTES = 8 * 1024

t.test('the browser bundle is our own code alone, and small', async t => {
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['client/index.ts'],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    metafile: true
  })
  const foreign = Object.keys(metafile.inputs).filter(path => !/^(client|lib\/protocol)\//.test(path))
  t.strictSame(foreign, [], 'nothing from a package, and nothing of the server')

  const bytes = gzipSync(outputFiles[0]!.contents).length
  t.comment(`${bytes} bytes, gzipped`)
  t.ok(bytes <= MAX_CLIENT_BYTES, `${bytes} bytes gzipped, of ${MAX_CLIENT_BYTES}`)
})

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
