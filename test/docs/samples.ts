import type { ChildProcess } from 'node:child_process'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import t from 'tap'
import { isCI, locate, missingReason, services } from '../../scripts/services.mjs'
import type { Block } from '../fixtures/docs.ts'
import { blocksOf, readPages, sampleFiles, samplePrograms, samplesFolder, sampleText } from '../fixtures/docs.ts'
import { installPackage } from '../fixtures/package.ts'

/** Languages in which a block is a program, or part of one. */
const PROGRAMS = ['ts', 'js', 'mjs', 'html', 'tsx', 'typescript', 'javascript']
const TIMEOUT_MS = 20_000

const pages = readPages()
const blocks = pages.flatMap(blocksOf)
const application = await installPackage()
t.teardown(application.remove)
const folder = join(application.folder, 'samples')

t.test('every program in the documentation is part of a sample, word for word', async t => {
  for (const { page, line, language, code, sample } of blocks) {
    if (sample === null) t.notOk(PROGRAMS.includes(language), `${page}:${line}: a ${language || 'plain'} block`)
    else t.equal(code, sampleText(sample), `${page}:${line}: ${sample}`)
  }
})

t.test('every sample is shown in a page', async t => {
  const shown = new Set(blocks.flatMap(({ sample }) => (sample === null ? [] : [sample.split('#')[0]])))
  t.strictSame(
    sampleFiles().filter(file => !file.startsWith('support/') && !shown.has(file)),
    []
  )
})

t.test('the examples that promise twenty lines have no more', async t => {
  const lines = (text: string) => text.trimEnd().split('\n').length
  t.ok(lines(sampleText('readme.ts#server')) <= 20, 'README.md')
  t.ok(lines(sampleText('getting-started/server.mjs')) <= 20, 'docs/getting-started.md')
})

t.test('every sample compiles and runs, each as a program of its own', async t => {
  const support = readdirSync(join(samplesFolder, 'support')).map(name => `support/${name}`)
  await build({
    entryPoints: [...samplePrograms(), ...support].map(name => join(samplesFolder, name)),
    outbase: samplesFolder,
    outdir: folder,
    format: 'esm',
    target: 'node20',
    logLevel: 'warning'
  })
  const compile = async () => {
    const { child, output } = start(join(import.meta.dirname, '../fixtures/compile-samples.mjs'))
    const [code] = await once(child, 'close')
    if (code !== 0) throw new Error(`exit ${code}\n${output()}`)
    const wrong = JSON.parse(output()) as Record<string, string>
    for (const name of samplePrograms()) t.equal(wrong[name], '', `${name} compiles`)
  }
  // Whoever is free takes the next.
  const names = samplePrograms().values()
  const execute = async () => {
    for (const name of names) t.equal(await run(join(folder, name.replace(/\.ts$/, '.js'))), '', `${name} runs`)
  }
  // Side by side: a program that waits leaves its core to the others.
  await Promise.all([compile(), execute(), execute()])
})

const service = services.find(({ name }) => name === 'chromium')!
const executablePath = locate(service)
const skip = executablePath === undefined && !isCI() ? missingReason(service) : false
t.test('getting started, word for word: two pages hear what either says', { skip }, async t => {
  const page = pages.find(({ path }) => path === 'docs/getting-started.md')!
  const target = join(application.folder, 'getting-started')
  writeBlocks(target, blocksOf(page))
  const server = start(join(target, 'server.mjs'))
  t.teardown(() => server.child.kill())
  const address = await server.said(/Open (http\S+)/)
  const browser = await chromium.launch({ args: ['--no-sandbox'], ...(executablePath && { executablePath }) })
  t.teardown(() => browser.close())
  const [one, other] = await Promise.all([browser.newPage(), browser.newPage()])
  for (const tab of [one, other]) await tab.goto(address.replace(/\/\/[^/]*:/, '//127.0.0.1:'))
  const say = async (tab: typeof one, text: string) => {
    await tab.fill('input', text)
    await tab.click('button')
    await tab.waitForSelector(`li:has-text("${text}")`)
  }
  // Whoever has heard itself is in the room.
  await say(one, 'Hello')
  await say(other, 'Hello to you')
  await one.waitForSelector('li:has-text("Hello to you")')
  t.strictSame(await one.locator('li').allTextContents(), ['Hello', 'Hello to you'])
})

/** Writes the blocks of a page that name a file into a folder, as a reader would. */
function writeBlocks(target: string, found: readonly Block[]): void {
  for (const { sample, code } of found) {
    const file = sample?.split('/').at(-1)
    if (file === undefined || file.includes('#')) continue
    mkdirSync(dirname(join(target, file)), { recursive: true })
    writeFileSync(join(target, file), code)
  }
}

/** Runs a program to its end. Empty where it ended well; else what it wrote. */
async function run(path: string): Promise<string> {
  // Node before 22 has no WebSocket, and the client looks for one when it is loaded.
  const { child, output } = start(path, pathToFileURL(join(folder, 'support/node.js')).href)
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS)
  const [code] = await once(child, 'close')
  clearTimeout(timer)
  return code === 0 ? '' : `exit ${code}\n${output()}`
}

interface Started {
  readonly child: ChildProcess
  readonly output: () => string
  /** Resolves to the first group of what it writes, once it has. */
  readonly said: (pattern: RegExp) => Promise<string>
}

function start(path: string, preload?: string): Started {
  // tap's own loaders, and a coverage of what is no source, would be inherited, and are none of an application's.
  const { NODE_OPTIONS: _, NODE_V8_COVERAGE: __, ...rest } = process.env
  const child = spawn(process.execPath, [...(preload === undefined ? [] : ['--import', preload]), path], {
    cwd: dirname(path),
    env: { ...rest, PORT: '0', COOKIE_SECRET: 'n'.repeat(32), OLD_COOKIE_SECRET: 'o'.repeat(32) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', data => {
      text += data
    })
  }
  const said = (pattern: RegExp) =>
    new Promise<string>((resolve, reject) => {
      const look = () => {
        const [, found] = pattern.exec(text) ?? []
        if (found !== undefined) resolve(found)
      }
      child.stdout.on('data', look)
      child.once('close', code => reject(new Error(`exit ${code}\n${text}`)))
      look()
    })
  return { child, output: () => text, said }
}
