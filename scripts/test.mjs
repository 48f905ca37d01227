// What `npm test` runs: everything that continuous integration asserts. The last line is `N passed, N failed, N skipped`:
// tap's own assertions, and one for each other step. With names of steps (`node scripts/test.mjs lint test:unit`) only those.
import { spawn } from 'node:child_process'
import { constants, setPriority } from 'node:os'
import { createInterface } from 'node:readline'
import { ensureServices } from './ensure-services.mjs'
import { isCI, locate, missingReason, services } from './services.mjs'

/**
 * @typedef {{ passed: number, failed: number, skipped: number }} Counts
 * @typedef {{ name: string, run: (how: How) => Promise<Counts>, needs?: string }} Step
 * @typedef {{ said: string[] | null, idle: boolean }} How where what it writes goes, if not out; whether it gives way to others
 * @typedef {{ steps: Step[], idle?: boolean }} Lane
 */

/** @type {readonly Lane[][]} Lanes of a stage run side by side, and what is in one of them one after the other. The first says what it does at once. */
const stages = [
  [lane({ name: 'services', run: async () => one(ensureServices()) })],
  [
    lane(scripted('lint')),
    lane(scripted('unused')),
    lane(scripted('typecheck')),
    lane(scripted('build')),
    lane(scripted('test:prepare'))
  ],
  [lane({ name: 'test:unit', run: tap })],
  [
    lane(
      { name: 'check:memory', run: how => script('check:delivery', how, '--broker', 'memory'), needs: 'build' },
      { name: 'check:sqlite', run: how => script('check:delivery', how, '--broker', 'sqlite'), needs: 'build' },
      { name: 'sabotages:delivery', run: sabotages, needs: 'build' }
    ),
    lane({ ...scripted('test:smoke'), needs: 'build' }),
    // What time means nothing to takes what the others leave of the processor.
    {
      idle: true,
      steps: [
        { ...scripted('lint:pkg'), needs: 'build' },
        { ...scripted('check:simulation'), needs: 'build' },
        {
          name: 'sabotages:simulation',
          // Those that it finds within seconds; all of them: `npm run check:simulation -- --sabotage all`.
          run: how => script('check:simulation', how, '--nets', '0', '--sabotage', 'quick'),
          needs: 'build'
        }
      ]
    }
  ],
  [lane({ name: 'bench:guard', run: guard, needs: 'build' })]
]
/** @type {readonly Step[]} */
const steps = stages.flat().flatMap(({ steps }) => steps)

const names = process.argv.slice(2)
const unknown = names.find(name => !steps.some(step => step.name === name))
if (unknown !== undefined) {
  console.error(`there is no step ${unknown}; there are ${steps.map(step => step.name).join(', ')}`)
  process.exit(2)
}
const total = { passed: 0, failed: 0, skipped: 0 }
const failures = new Set()

for (const lanes of stages) await Promise.all(lanes.map((lane, i) => follow(lane, i === 0)))

if (failures.size > 0) console.log(`\nfailed: ${[...failures].join(', ')}`)
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`)
process.exitCode = total.failed > 0 ? 1 : 0

/** @param {Step[]} steps @returns {Lane} */
function lane(...steps) {
  return { steps }
}

/** @param {string} name of a script @returns {Step} */
function scripted(name) {
  return { name, run: how => script(name, how) }
}

/** @param {Lane} lane @param {boolean} loud */
async function follow({ steps, idle = false }, loud) {
  for (const step of steps) {
    if (names.length === 0 || names.includes(step.name)) await take(step, { said: loud ? null : [], idle })
  }
}

/** Runs a step, and tells of it; what is written beside others is told as one piece. */
async function take(step, how) {
  if (step.needs !== undefined && failures.has(step.needs)) {
    console.log(`\n── ${step.name}: not run, as ${step.needs} failed`)
    failures.add(step.name)
    total.failed += 1
    return
  }
  const { said } = how
  if (said === null) console.log(`\n── ${step.name}`)
  const started = performance.now()
  const counts = await step.run(how)
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  if (counts.failed > 0) failures.add(step.name)
  if (said !== null) console.log(`\n── ${step.name}\n${said.join('')}`.trimEnd())
  console.log(`── ${step.name}: ${counts.failed > 0 ? 'FAILED' : 'passed'} in ${seconds} s`)
  for (const key of ['passed', 'failed', 'skipped']) total[key] += counts[key]
}

/** @param {string} name @param {How} how @param {string[]} args @returns {Promise<Counts>} */
async function script(name, { said, idle }, ...args) {
  const child = npm(['run', '--silent', name, '--', ...args], said === null ? 'inherit' : 'pipe', said !== null)
  if (idle) setPriority(child.pid, constants.priority.PRIORITY_LOW)
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', data => said.push(String(data)))
  return one((await ended(child)) === 0)
}

/**
 * Whether the black box finds what is wrong: three builds that are broken, each to be found by one of its own rules. They run
 * side by side, as none of those rules is about time.
 */
async function sabotages() {
  const names = ['drop-one-in-a-thousand', 'excluded-still-told', 'resend-run-again']
  const codes = await Promise.all(
    names.map(name =>
      checked('check:delivery', '--seconds', '10', '--clients', '80', '--sabotage', name, '--expect-caught')
    )
  )
  const passed = codes.filter(code => code === 0).length
  return { passed, failed: codes.length - passed, skipped: 0 }
}

/** Whether a delivery costs what it did: measured by the benchmarks' load generator, which has to be compiled. */
async function guard(how) {
  const compiler = services.find(({ name }) => name === 'g++')
  if (locate(compiler) !== undefined) return script('bench:guard', how)
  console.log(`*** ${missingReason(compiler)} ***`)
  return { passed: 0, failed: isCI() ? 1 : 0, skipped: isCI() ? 0 : 1 }
}

/** Runs a check, and writes what it said when it has ended. @param {string} script @param {string[]} args */
async function checked(script, ...args) {
  const child = npm(['run', '--silent', script, '--', ...args], 'pipe', true)
  const said = []
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => said.push(String(data)))
  const code = await ended(child)
  // Of a sabotage that was caught only that is worth reading.
  const lines = said.join('').split('\n')
  console.log((code === 0 && lines.length > 60 ? lines.slice(-2) : lines).join('\n').trim())
  return code
}

/**
 * Runs tap, holds it to 100 % of lines, and shows a line for each file, all that failed or was skipped, and the coverage. The counts are those of the
 * comment with which tap ends its output; where it is missing, or nothing ran, that is a failure.
 *
 * @returns {Promise<Counts>}
 */
async function tap() {
  const child = npm(['run', '--silent', 'test:unit', '--', '--reporter=tap'], 'pipe')
  const exit = ended(child)
  const show = tapFilter()
  let summary = ''
  let lines = 0
  for await (const line of createInterface({ input: child.stdout })) {
    if (/^# \{ total: \d+/.test(line)) summary = line
    lines = Number(/^Lines\s*: ([\d.]+)%/.exec(line)?.[1] ?? lines)
    if (show(line)) console.log(line)
  }
  const count = word => Number(new RegExp(`\\b${word}: (\\d+)`).exec(summary)?.[1] ?? 0)
  const counts = { passed: count('pass'), failed: count('fail'), skipped: count('skip') + count('todo') }
  if (counts.failed === 0 && ((await exit) !== 0 || counts.passed === 0)) counts.failed = 1
  if (lines === 100) counts.passed += 1
  else {
    console.log(`${lines} % of lines are covered: each must be, or say why not`)
    counts.failed += 1
  }
  return counts
}

/** Whether a line of TAP is worth showing: results of files, what failed with its diagnosis, skips, the coverage table. */
function tapFilter() {
  let table = false
  let failure = -1
  return line => {
    const indent = line.search(/\S/)
    if (/^-+\|/.test(line) || /^=+ Coverage/.test(line)) table = true
    if (/^\s*not ok /.test(line)) failure = indent
    else if (failure >= 0 && indent <= failure && indent >= 0) failure = -1
    return table || failure >= 0 || /^(ok|Bail out|# \{|# ERROR)/.test(line) || /^\s*ok .* # (SKIP|TODO)/i.test(line)
  }
}

/** @param {string[]} args @param {'inherit' | 'pipe'} stdout @param {boolean} [both] whether errors go where the rest goes */
function npm(args, stdout, both = false) {
  const path = process.env.npm_execpath
  const [command, first] = path?.endsWith('.js') ? [process.execPath, [path]] : ['npm', []]
  return spawn(command, [...first, ...args], { stdio: ['ignore', stdout, both ? stdout : 'inherit'] })
}

/** @param {import('node:child_process').ChildProcess} child @returns {Promise<number>} */
function ended(child) {
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? 1))
  })
}

/** @param {boolean} ok @returns {Counts} */
function one(ok) {
  return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0 }
}
