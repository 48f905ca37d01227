// Installs the package's tarball into an empty folder outside this repository, as an application would. There it runs
// test/fixtures/smoke by import and by require, on this Node and on those of VERSIONS, which bring node:sqlite, and compiles
// test/types/application.mts. Expects `npm run build` to have run; needs the npm registry.
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { isCI, locate, missingReason, services } from './services.mjs'

const VERSIONS = ['22', '24', '26']

/** What a page without a bundler loads, and how many bytes of it, gzipped, are promised. */
const CLIENT = 'dist/browser/client.min.js'
const MAX_CLIENT_BYTES = 8704

/** All that the tarball may hold, and what it has to. */
const ALLOWED =
  /^(dist\/.+\.(js|d\.ts|js\.map)|docs\/.+|(package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md))$/
const REQUIRED = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'SECURITY.md', CLIENT]

const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
const run = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
const started = performance.now()
const folder = mkdtempSync(join(tmpdir(), 'fastify-channels-smoke-'))
const app = join(folder, 'app')
const clean = () => rmSync(folder, { recursive: true, force: true })
process.once('exit', clean)
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))

let failures = 0
const tarball = await check('the tarball holds what it should and nothing else', pack)
if (tarball !== undefined) {
  const [installed, nodes] = await Promise.all([
    check('it installs into an empty folder', () => install(tarball)),
    fetchNodes()
  ])
  if (installed) {
    await Promise.all([check('its types compile in an application', compile), runAll(nodes)])
    await check('the native add-on installs beside it and writes on every Node', () => native(nodes))
  }
}
console.log(`smoke: ${failures === 0 ? 'passed' : `${failures} failed`} in ${seconds(started)} s`)
process.exit(failures === 0 ? 0 : 1)

async function pack() {
  if (!existsSync(join(root, 'dist'))) throw new Error('there is no dist: run `npm run build` first')
  const { stdout } = await npm(['pack', '--ignore-scripts', '--json', '--pack-destination', folder], root)
  const [packed] = Object.values(JSON.parse(stdout))
  const paths = packed.files.map(file => file.path)
  const wrong = paths.filter(path => !ALLOWED.test(path)).map(path => `${path} does not belong there`)
  const missing = REQUIRED.filter(path => !paths.includes(path)).map(path => `${path} is missing`)
  if (wrong.length + missing.length > 0) report([...wrong, ...missing].join('\n'))
  const gzipped = gzipSync(readFileSync(join(root, CLIENT)), { level: 9 }).length
  if (gzipped > MAX_CLIENT_BYTES)
    report(`${CLIENT} has ${gzipped} bytes gzipped; at most ${MAX_CLIENT_BYTES} are promised`)
  return join(folder, packed.filename)
}

/** @param {string} tarball */
async function install(tarball) {
  mkdirSync(app)
  writeFileSync(join(app, 'package.json'), JSON.stringify({ name: 'smoke', private: true, type: 'module' }))
  const beside = ['fastify', 'ws', '@types/node'].map(
    name => `${name}@${lock.packages[`node_modules/${name}`].version}`
  )
  await npm(['install', ...quiet, tarball, ...beside], app)
  cpSync(join(root, 'test', 'fixtures', 'smoke'), app, { recursive: true })
  cpSync(join(root, 'test', 'types', 'application.mts'), join(app, 'application.mts'))
  return true
}

/** The binaries of other Nodes, from npm; a platform that npm has none for goes untested, loudly. */
async function fetchNodes() {
  const target = join(folder, 'nodes')
  mkdirSync(target)
  writeFileSync(join(target, 'package.json'), JSON.stringify({ name: 'nodes', private: true }))
  const source = `node-${process.platform === 'win32' ? 'win' : process.platform}-${process.arch}`
  const aliases = VERSIONS.map(version => `node${version}@npm:${source}@${version}`)
  const nodes = new Map([[process.versions.node, process.execPath]])
  try {
    await npm(['install', ...quiet, '--no-bin-links', ...aliases], target)
    for (const version of VERSIONS) nodes.set(version, join(target, 'node_modules', `node${version}`, 'bin', 'node'))
  } catch (error) {
    if (isCI()) report(`Node ${VERSIONS.join(', ')} could not be installed`, error)
    else console.log(`*** NOT TESTED: Node ${VERSIONS.join(', ')}, as ${source} could not be installed ***`)
  }
  return nodes
}

/** @param {Map<string, string>} nodes */
async function runAll(nodes) {
  for (const [version, binary] of nodes) {
    const files = ['app.mjs', 'app.cjs', ...(VERSIONS.includes(version) ? ['sqlite.mjs'] : [])]
    for (const file of files) {
      await check(`${file} on Node ${version}`, () => run(binary, [file], { cwd: app, timeout: 30_000 }))
    }
  }
}

async function compile() {
  const options = ['--target', 'es2022', '--module', 'nodenext', '--lib', 'es2023,dom', '--types', 'node']
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc')
  await run(process.execPath, [tsc, '--noEmit', '--strict', ...options, 'application.mts'], { cwd: app })
}

/** @param {Map<string, string>} nodes */
async function native(nodes) {
  const compiler = services.find(({ name }) => name === 'g++')
  if (locate(compiler) === undefined && !isCI()) return console.log(`*** ${missingReason(compiler)} ***`)
  const { stdout } = await npm(['pack', '--json', '--pack-destination', folder], join(root, 'native'))
  await npm(['install', ...quiet, join(folder, Object.values(JSON.parse(stdout))[0].filename)], app)
  // What its install script does; npm runs none here.
  await run(process.execPath, ['build.js'], { cwd: join(app, 'node_modules', 'fastify-channels-native') })
  for (const binary of nodes.values()) await run(binary, ['native.mjs'], { cwd: app, timeout: 30_000 })
}

/** @param {string[]} args @param {string} cwd */
function npm(args, cwd) {
  const path = process.env.npm_execpath
  const [command, first] = path?.endsWith('.js') ? [process.execPath, [path]] : ['npm', []]
  return run(command, [...first, ...args], { cwd, maxBuffer: 16 * 1024 * 1024 })
}

/** @template T @param {string} name @param {() => Promise<T>} task @returns {Promise<T | undefined>} */
async function check(name, task) {
  const start = performance.now()
  const before = failures
  try {
    const result = await task()
    if (failures === before) console.log(`ok: ${name} (${seconds(start)} s)`)
    return result
  } catch (error) {
    report(name, error)
    return undefined
  }
}

/** @param {string} what @param {any} [error] */
function report(what, error) {
  failures += 1
  console.log(`FAILED: ${what}`)
  if (error !== undefined) console.log(`${error.stdout ?? ''}${error.stderr ?? ''}` || error)
}

/** @param {number} since */
function seconds(since) {
  return ((performance.now() - since) / 1000).toFixed(1)
}
