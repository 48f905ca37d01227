import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import t from 'tap'

/** What a page pays for the client. */
const MAX_GZIPPED_BYTES = 8704

t.test('the client, bundled and gzipped, is at most 8.5 KB and needs neither TypeBox nor Node', async t => {
  const { outputFiles, metafile } = await build({
    entryPoints: ['client/index.ts'],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    write: false,
    metafile: true
  })
  const text = outputFiles[0]!.text
  const bytes = gzipSync(text, { level: 9 }).length
  t.ok(bytes <= MAX_GZIPPED_BYTES, `${bytes} bytes`)
  t.notMatch(text.toLowerCase(), /typebox|node:|\bimport\b/)
  const inputs = Object.keys(metafile.inputs)
  t.same(
    inputs.filter(path => !/^(client|lib\/protocol)\//.test(path)),
    []
  )
})
