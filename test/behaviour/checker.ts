import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import { WebSocketServer } from 'ws'
import { analyse } from '../checker/analysis/analyse.ts'
import { applyPatch } from '../checker/patch.ts'
import { isIntact, padding, payload } from '../checker/payload.ts'
import { clientsOf, readPlan } from '../checker/plan.ts'
import type { RawEvents } from '../checker/raw-client.ts'
import { RawClient } from '../checker/raw-client.ts'
import { RawOutbox } from '../checker/raw-outbox.ts'
import { Recorder } from '../checker/recorder.ts'
import type { Boot, Item, Rule } from '../checker/records.ts'
import { isRule, RULES } from '../checker/records.ts'
import { SABOTAGES } from '../checker/sabotages.ts'
import { scheduleOf } from '../checker/schedule.ts'
import { Chance } from '../fixtures/chance.ts'
import { RUNS, restored } from '../fixtures/checked-run.ts'
import { PLANTED } from '../fixtures/planted.ts'

const root = join(import.meta.dirname, '../..')

/** Rules that only those can find who were there: the clients, and whoever runs the processes. */
const WITNESSED: readonly Rule[] = [
  'excluded-told',
  'early-ack',
  'answer-changed',
  'late',
  'sent-away',
  'presence',
  'leftovers',
  'server-died',
  'bad-frame',
  'hostile-served'
]

t.test('a run in which all was well has no anomaly', async t => {
  for (const [name, { setting, items }] of Object.entries(RUNS)) {
    t.strictSame(analyse(setting, items()).anomalies, [], name)
  }
})

t.test('what is planted in a record is found by its rule', async t => {
  for (const [what, rule, name, plant] of PLANTED) {
    const { setting, items } = RUNS[name]
    const { anomalies } = analyse(setting, plant(items()))
    const rules = anomalies.map(anomaly => anomaly.rule)
    t.ok(rules.includes(rule), `${rule}: ${what}`, { rules })
    const found = anomalies.find(anomaly => anomaly.rule === rule)
    t.ok(found?.detail, `${rule}: ${what}: it says what is wrong`)
  }
  const planted = new Set<string>([...PLANTED.map(([, rule]) => rule), ...WITNESSED])
  t.strictSame(
    Object.keys(RULES).filter(rule => !planted.has(rule)),
    [],
    'every rule is planted once, or witnessed'
  )
})

t.test('a store that was put back excuses what it lost, and only that', async t => {
  const { setting, items } = RUNS.restored
  const later = items().map(item => (item.k === 'boot' && item.restored ? { ...item, restored: restored + 1 } : item))
  t.not(analyse(setting, later).anomalies.length, 0, 'with a later copy the same record is wrong')
  const began = items().find(item => item.k === 'boot' && item.boot === 3) as Boot
  const refused = (done: number): Item[] =>
    items().map(item =>
      item.k === 'command' && item.p === 1 && item.boot === 2 ? { ...item, end: 'nack', code: 'forbidden', done } : item
    )
  t.strictSame(analyse(setting, refused(began.at + 1)).anomalies, [], 'what was lost may be refused afterwards')
  const rules = analyse(setting, refused(began.at)).anomalies.map(({ rule }) => rule)
  t.ok(rules.includes('nacked-but-visible'), 'and not before', { rules })

  const changed = (boot: number): Item => ({
    k: 'anomaly',
    rule: 'answer-changed',
    at: began.at + 10,
    before: { at: began.at + 5, boot },
    detail: 'an answer came late, and then another',
    around: []
  })
  t.strictSame(analyse(setting, [...items(), changed(2)]).anomalies, [], 'an answer to what was lost may come late')
  t.strictSame(
    analyse(setting, [...items(), changed(3)]).anomalies.length,
    1,
    'but not that of the process that found the copy'
  )
})

t.test('the recorder compresses and loses nothing', async t => {
  const items: Item[] = []
  let deliveries = 0
  const host = { write: (item: Item) => void items.push(item), delivered: () => void deliveries++ }
  const recorder = new Recorder({ k: 'subscriber', s: '1/a', c: 'a', p: 1, user: 'u', kind: 'raw' }, host)
  recorder.join({ kind: 'fresh' }, ['e', 0, ''])
  for (let n = 1; n <= 100; n++) recorder.logged({ ...payload(2, n, 'a', 'text', false), b: 1 }, 'e', n, `t${n}`)
  recorder.skipped('e', 101, 't101')
  recorder.end()
  const runs = items.filter(item => item.k === 'run')
  t.equal(deliveries, 100)
  t.match(runs, [
    { first: 1, last: 64, tag: 't64' },
    { first: 65, last: 101, tag: 't101', skips: [[101, 't101']] }
  ])
  t.match(items.at(-1), { k: 'stand', place: ['e', 101, 't101'], joined: true })
})

t.test('the recorder sees what only it can see', async t => {
  const rules: string[] = []
  const host = { write: (item: Item) => void (item.k === 'anomaly' && rules.push(item.rule)), delivered: () => {} }
  const recorder = new Recorder({ k: 'subscriber', s: '1/a', c: 'a', p: 1, user: 'u', kind: 'raw' }, host)
  const found = (task: () => void): string[] => {
    rules.length = 0
    task()
    return [...rules]
  }
  const sent = payload(2, 5, 'a', 'text', false)
  t.strictSame(
    found(() => recorder.unlogged(sent, 'said')),
    ['foreign'],
    'before it has joined'
  )
  recorder.join({ kind: 'fresh' }, null)
  t.strictSame(
    found(() => recorder.unlogged(sent, 'said')),
    []
  )
  t.strictSame(
    found(() => recorder.unlogged({ ...sent, z: 'other' }, 'said')),
    ['altered']
  )
  t.strictSame(
    found(() => recorder.unlogged(payload(2, 6, 'b', 'text', false), 'said')),
    ['foreign']
  )
  t.strictSame(
    found(() => recorder.unlogged(sent, 'said')),
    ['duplicate']
  )
  t.strictSame(
    found(() => recorder.unlogged(payload(2, 8, 'a', 'text', false), 'said')),
    []
  )
  t.strictSame(
    found(() => recorder.unlogged(payload(2, 7, 'a', 'text', false), 'said')),
    ['reorder']
  )
  t.strictSame(
    found(() => recorder.unlogged(payload(2, 7, 'a', 'text', false), 'said')),
    ['duplicate']
  )
})

t.test('the raw client resends, voids and settles by the protocol', async t => {
  const sent: string[] = []
  const wrong: string[] = []
  const ends: string[] = []
  const link = {
    connected: true,
    joined: new Set(['a', 'b']),
    refused: new Set<string>(),
    places: new Map([['a', ['e', 4, 't4'] as const]]),
    write: (frame: object | string) => {
      const { id, cmd, channel } = typeof frame === 'string' ? JSON.parse(frame) : (frame as Record<string, any>)
      sent.push(`${cmd} ${channel} ${id}`)
    },
    wrong: (rule: string) => void wrong.push(rule)
  }
  const outbox = new RawOutbox(link)
  const send = (channel: string, copies = 1): void =>
    outbox.send(channel, 'say', {}, { copies, done: ({ end, code }) => void ends.push(`${end} ${code ?? ''}`.trim()) })
  const took = (): string[] => sent.splice(0)
  const position = { epoch: 'e', offset: 4, tag: 't4' }

  send('a', 2)
  send('b')
  t.strictSame(took(), ['say a 1', 'say a 1', 'say b 2'])
  outbox.answered(1, 'a', true, { position, stored: 'memory' })
  outbox.answered(1, 'a', true, { position, stored: 'memory' })
  t.strictSame([ends.splice(0), wrong.splice(0)], [['ack'], []], 'a second answer that is the same')
  outbox.answered(1, 'a', true, { position: { ...position, offset: 5 }, stored: 'memory' })
  t.strictSame(wrong.splice(0), ['answer-changed'])
  send('a')
  outbox.answered(3, 'a', true, { position: { ...position, offset: 5 }, stored: 'memory' })
  t.strictSame([ends.splice(0), wrong.splice(0)], [['ack'], ['early-ack']])
  took()

  outbox.linkLost()
  t.strictSame(took(), [], 'nothing is sent on a lost link')
  outbox.flush()
  t.strictSame(took(), ['say b 2'], 'what was not answered comes again with its id')
  outbox.answered(2, 'b', false, { code: 'resend-from', retry: true, from: 1 })
  t.strictSame(took(), ['$void b 1'], 'an id that is settled is given up')
  outbox.linkLost()
  outbox.begin()
  outbox.flush()
  t.strictSame(ends.splice(0), [], 'what was refused for now has not run: it goes on under a new id')
  t.strictSame(took(), ['say b 1'])
  outbox.linkLost()
  outbox.begin()
  t.strictSame(ends, ['unknown'], 'what was sent and not answered')
})

t.test('the raw client that asks again as a member expects to be told where it stands', async t => {
  const place = (offset: number) => ({ epoch: 'e', offset, tag: `t${offset}` })
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const given: unknown[] = []
  const enough = new Promise<void>(resolve => {
    const events = new Proxy({} as RawEvents, {
      get: (_, event) => (_channel: string, _param: object, position: unknown) => {
        if (event === 'joined' && given.push(position) === 3) resolve()
      }
    })
    server.on('connection', ws => {
      const tell = (frame: object) => ws.send(JSON.stringify(frame))
      const joined = (ref: number, kind: string, offset: number) => {
        const outcome = { kind, ...(kind === 'recovered' ? { from: offset, to: offset } : {}) }
        tell({ channel: 'a', cmd: '$joined', ref, param: { by: 'client', position: place(offset), outcome } })
      }
      tell({ cmd: '$welcome', param: { session: 's', resumed: false, heartbeatMs: 60_000 } })
      joined(1, 'fresh', 0)
      tell({ channel: 'a', cmd: 'said', param: {}, offset: 1, tag: 't1' })
      joined(2, 'recovered', 1)
      joined(3, 'recovered', 1)
    })
    const { port } = server.address() as AddressInfo
    const url = `ws://127.0.0.1:${port}`
    const client = new RawClient({ url, headers: {}, localAddress: '127.0.0.1', early: false, random: () => 0, events })
    for (let i = 0; i < 3; i++) client.want('a')
    t.teardown(() => client.end())
  })
  await enough
  t.strictSame(given, [null, ['e', 1, 't1'], ['e', 1, 't1']])
  for (const ws of server.clients) ws.terminate()
  server.close()
})

t.test('a patch stands in its source exactly once, and fails loudly where it does not', async t => {
  for (const { name, finds, simulated } of SABOTAGES) {
    t.ok(finds.every(isRule), `${name}: its rules are rules`)
    t.ok(finds.length > 0 || simulated !== 'never', `${name}: one of the checks finds it`)
  }
  for (const { name, patches } of SABOTAGES) {
    for (const patch of patches) {
      t.doesNotThrow(() => applyPatch(readFileSync(join(root, patch.file), 'utf8'), patch), `${name}: ${patch.file}`)
    }
  }
  const patch = { file: 'a.ts', search: 'if (a) b()', replace: 'c()' }
  t.equal(applyPatch('x\nif (a)\n    b();\ny', patch), 'x\nc();\ny', 'white space stands for any')
  t.throws(() => applyPatch('if (a) c()', patch), { message: /found 0 times/ })
  t.throws(() => applyPatch('if (a) b(); if (a) b()', patch), { message: /found 2 times/ })
})

t.test('a seed gives the same faults, clients and texts', async t => {
  const plan = (...args: string[]) => readPlan(args) as Exclude<ReturnType<typeof readPlan>, string>
  const one = scheduleOf(plan('--seed', '7', '--broker', 'sqlite'), true)
  t.strictSame(scheduleOf(plan('--seed', '7', '--broker', 'sqlite'), true), one)
  t.notSame(scheduleOf(plan('--seed', '8', '--broker', 'sqlite'), true), one)
  t.ok(one.length >= 20 && new Set(one.map(({ kind }) => kind)).size >= 6, 'enough faults of enough kinds')
  t.strictSame(clientsOf(plan('--seed', '7')), clientsOf(plan('--seed', '7')))
  t.throws(() => readPlan(['--broker', 'other']), { message: /no broker/ })
  t.throws(() => readPlan(['--seconds', 'x']), { message: /expected an integer/ })
  t.throws(() => readPlan(['--sabotage', 'revocation-overtaken', '--expect-caught']), { message: /simulation alone/ })
  const texts = Array.from({ length: 2_000 }, (_, i) => padding(new Chance(i), i % 2 === 0))
  const intact = (z: string): boolean => isIntact(JSON.parse(JSON.stringify(payload(1, 2, 'a', z, true))))
  t.ok(texts.every(text => intact(text) && Buffer.byteLength(JSON.stringify(text)) < 60_000))
})
