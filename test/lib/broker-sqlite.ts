import { spawn, spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Writable } from 'node:stream'
import { build } from 'esbuild'
import t, { type Test } from 'tap'
import type { Broker, CommandRecord, Commit, Committed, Entry, Publication } from '../../lib/broker/broker.ts'
import { RESULT_AGE_MS, RESULT_CHARACTERS } from '../../lib/broker/broker.ts'
import { type Database, loadDriver } from '../../lib/broker/sqlite/driver.ts'
import { openFile } from '../../lib/broker/sqlite/file.ts'
import { disown, isOthers, own, ownerOf } from '../../lib/broker/sqlite/owner.ts'
import { APPLICATION_ID } from '../../lib/broker/sqlite/schema.ts'
import { CLOSE } from '../../lib/broker/sqlite/serve.ts'
import { resultCode } from '../../lib/broker/sqlite/store-error.ts'
import { startWorker } from '../../lib/broker/sqlite/thread.ts'
import { openSqlite, type SqliteOptions, type SqliteParts, sqlite } from '../../lib/broker/sqlite.ts'
import type { Logger } from '../../lib/log.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { FaultyDriver, openFixtureFile, portThread, silent, sqliteError, testClock } from '../fixtures/broker.ts'
import { ManualClock, settle } from '../fixtures/clock.ts'

const LOG = { entries: 100, ageMs: 3_600_000, bytes: 1_000_000 }
const ALL = { entries: 10_000, bytes: 100_000_000 }
const DAY_MS = 86_400_000

/** A store in this thread, with a driver that fails when it is told to. */
class Rig {
  readonly path: string
  readonly faulty = new FaultyDriver()
  readonly logged: (readonly [level: string, details: object])[] = []
  readonly time = testClock()
  readonly #open: Broker[] = []
  readonly #remove: () => void

  constructor(t: Test) {
    const { path, remove } = openFixtureFile()
    this.path = path
    this.#remove = remove
    t.teardown(() => this.end())
  }

  async broker(options: Partial<SqliteOptions> = {}, parts: SqliteParts = { load: this.faulty.load }): Promise<Broker> {
    const note = (level: string) => (details: object | string) => void this.logged.push([level, Object(details)])
    const logger: Logger = { ...silent, error: note('error'), warn: note('warn'), info: note('info') }
    const context = { clock: this.time.clock, logger, onControl: () => {} }
    const broker = await openSqlite(context, { path: this.path, worker: false, ...options }, parts)
    this.#open.push(broker)
    return broker
  }

  /** The file as SQL sees it, once no broker has it. */
  async sql<T>(text: string): Promise<T[]> {
    const database: Database = (await loadDriver('auto')).open(this.path)
    const rows = database.prepare(text).all() as T[]
    database.exec('PRAGMA locking_mode = NORMAL')
    database.close()
    return rows
  }

  async end(): Promise<void> {
    this.faulty.onStatement = () => null
    for (const broker of this.#open) await broker.close()
    this.#remove()
  }
}

function publication(channel: string, n: number | string, log = LOG): Publication {
  return { channel, text: `m${n}`, except: [], log }
}

function command(session: string, id: number, reply = '', highest = id): CommandRecord {
  return { session, fence: 0, id, progress: { highest, holes: [] }, reply }
}

function one(channel: string, n: number | string, session: string | null = null): Commit {
  return { publications: [publication(channel, n)], command: session === null ? null : command(session, Number(n)) }
}

async function stored(broker: Broker, commit: Commit): Promise<Position> {
  const committed = await broker.commit(commit)
  if (committed.kind !== 'stored') throw new Error(committed.kind)
  return committed.positions.at(-1)!
}

async function kept(broker: Broker, channel: string): Promise<readonly Entry[]> {
  const page = await broker.read(channel, { before: null }, ALL)
  return page.kind === 'page' ? page.entries : []
}

/** The code with which it fails, and that of SQLite's below. */
async function failure(run: () => unknown): Promise<readonly [code: string, cause: string, message: string]> {
  try {
    await run()
  } catch (error) {
    const { code, cause, message } = error as { code: string; cause?: { code: string }; message: string }
    return [code, cause?.code ?? '', message]
  }
  return ['', '', '']
}

t.test('options that are wrong are refused when they are given', async t => {
  for (const [options, code] of [
    [{}, 'FST_CHANNELS_INVALID_OPTION'],
    [{ path: '' }, 'FST_CHANNELS_INVALID_OPTION'],
    [{ path: 'x', driver: 'mysql' }, 'FST_CHANNELS_INVALID_OPTION'],
    [{ path: 'x', onDamaged: 'ignore' }, 'FST_CHANNELS_INVALID_OPTION'],
    [{ path: 'x', sessions: 0 }, 'FST_CHANNELS_INVALID_OPTION'],
    [{ path: 'x', file: 'y' }, 'FST_CHANNELS_UNKNOWN_OPTION']
  ] as const) {
    t.throws(() => sqlite(options as SqliteOptions), { code }, JSON.stringify(options))
  }
  t.throws(() => sqlite({ path: 'x', driver: 'mysql' as 'auto' }), /"auto" or "node:sqlite"/)
})

t.test('the driver is the one that was named, or what there is', async t => {
  class DatabaseSync {}
  const has = (names: readonly string[]) => (name: string) =>
    names.includes(name)
      ? Promise.resolve({ [name === 'node:sqlite' ? 'DatabaseSync' : 'default']: DatabaseSync })
      : Promise.reject(Object.assign(new Error('not found'), { code: 'ERR_NONE' }))
  t.equal((await loadDriver('auto', has(['node:sqlite', 'libsql']))).name, 'node:sqlite')
  t.equal((await loadDriver('auto', has(['libsql', 'better-sqlite3']))).name, 'libsql')
  const named = await loadDriver('better-sqlite3', has(['libsql', 'better-sqlite3']))
  t.equal(named.name, 'better-sqlite3')
  t.ok(named.open('x') instanceof DatabaseSync)
  for (const wanted of ['auto', 'libsql'] as const) {
    const [code, , message] = await failure(() => loadDriver(wanted, has(['better-sqlite3'])))
    t.equal(code, 'FST_CHANNELS_NO_SQLITE')
    t.match(message, /libsql: ERR_NONE/)
  }
  const rig = new Rig(t)
  const load: SqliteParts['load'] = wanted => loadDriver(wanted, has([]))
  for (const worker of [false, true]) {
    const [code, , message] = await failure(() =>
      rig.broker({ worker }, { load, start: data => portThread(data, load) })
    )
    t.equal(code, 'FST_CHANNELS_NO_SQLITE')
    t.match(message, /npm install libsql/)
  }
})

t.test('result codes are the same for every driver', async t => {
  t.equal(resultCode({ errcode: 13, code: 'ERR_SQLITE_ERROR' }), 'SQLITE_FULL')
  t.equal(resultCode({ errcode: 10 | (3 << 8), code: 'ERR_SQLITE_ERROR' }), 'SQLITE_IOERR')
  t.equal(resultCode({ errcode: 1, code: 'ERR_SQLITE_ERROR' }), 'SQLITE_1')
  t.equal(resultCode({ code: 'SQLITE_FULL' }), 'SQLITE_FULL')
  t.equal(resultCode(new Error('no')), '')
  t.equal(resultCode({ code: 'ENOENT' }), '')
})

t.test('a real thread stores, delivers, and gives the file to the next', async t => {
  const rig = new Rig(t)
  const { clock } = rig.time
  const first = await sqlite({ path: rig.path })({ clock, logger: silent, onControl: () => {} })
  const got: Entry[] = []
  const head = await first.subscribe('a', entry => got.push(entry))
  t.equal(head.offset, 0)
  const during = Array.from({ length: 100 }, (_, i) => stored(first, one('a', i + 1, 's')))
  const [code, , message] = await failure(() => rig.broker())
  t.equal(code, 'FST_CHANNELS_STORE_LOCKED', 'a second broker is refused')
  t.match(message, rig.path)
  const positions = await Promise.all(during)
  t.equal(got.length, 100)
  await first.close()
  const second = await rig.broker()
  t.same(await second.heads(['a']), [positions.at(-1)])
  t.equal((await second.commit(one('a', 7, 's'))).kind, 'earlier')
})

t.test('a thread that dies fails what it had, and the next request starts another', async t => {
  const rig = new Rig(t)
  const workers: ReturnType<typeof startWorker>[] = []
  const start: SqliteParts['start'] = data => {
    const worker = startWorker(data)
    workers.push(worker)
    return worker
  }
  const broker = await rig.broker({ worker: true }, { start })
  const first = await stored(broker, one('a', 1, 's'))
  // It throws where it runs: one that is terminated amid a call of libsql takes the process with it.
  workers[0]!.postMessage('{')
  t.equal((await failure(() => broker.commit(one('a', 2, 's'))))[0], 'FST_CHANNELS_STORE_FAILED')
  t.equal((await broker.commit(one('a', 2, 's'))).kind, 'stored')
  t.equal(workers.length, 2)
  const entries = await kept(broker, 'a')
  t.same(
    entries.map(({ offset, text }) => [offset, text]),
    [
      [1, 'm1'],
      [2, 'm2']
    ]
  )
  t.equal(entries[0]!.tag, first.tag)
})

/** Who has a file is told by /proc. */
const noProc = existsSync('/proc/self/stat') ? false : 'there is no /proc'

t.test('the lock goes with a process that is killed, and everything it acknowledged is there', async t => {
  const rig = new Rig(t)
  // Without tap's loaders, which take seconds to start; a process that is killed leaves no coverage anyway.
  const script = join(import.meta.dirname, '../../node_modules/.cache', `broker-child-${process.pid}.mjs`)
  t.teardown(() => rmSync(script, { force: true }))
  await build({
    entryPoints: [join(import.meta.dirname, '../fixtures/broker-child.ts')],
    outfile: script,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    packages: 'external',
    logLevel: 'warning'
  })
  const { NODE_OPTIONS: _, ...env } = process.env
  const child = spawn(process.execPath, [script, rig.path], { env, stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  const acked: string[] = []
  const owner = `${rig.path}-owner`
  let last = Number.POSITIVE_INFINITY
  const lines = createInterface({ input: child.stdout })
  for await (const line of lines) {
    acked.push(line)
    if (acked.length === 30) {
      if (!noProc) renameSync(owner, `${owner}-aside`)
      const [code, cause] = await failure(() => rig.broker())
      t.same([code, cause], ['FST_CHANNELS_STORE_LOCKED', 'SQLITE_BUSY'], 'by the lock alone')
      if (!noProc) renameSync(`${owner}-aside`, owner)
      if (!noProc) child.stdin.write('read')
      else last = 60
    }
    if (existsSync(`${rig.path}.read`) && last > acked.length + 60) {
      last = acked.length + 30
      const [code, cause] = await failure(() => rig.broker())
      t.same([code, cause], ['FST_CHANNELS_STORE_LOCKED', ''], 'without it, as the kernel has let go of it')
    }
    if (acked.length === last) child.kill('SIGKILL')
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  t.equal(child.signalCode, 'SIGKILL')
  const broker = await rig.broker()
  const entries = (await kept(broker, 'a')).map(({ offset, tag }) => `${offset} ${tag}`)
  t.same(entries.slice(0, acked.length), acked)
  t.ok(entries.length - acked.length <= 20, 'and no more than was under way')
})

t.test('what is said of the owner is of this machine, this process and its time', { skip: noProc }, async t => {
  const { path } = new Rig(t)
  own(join(path, 'no', 'folder'))
  const file = `${path}-owner`
  own(path)
  t.equal(isOthers(path), false, 'oneself')
  const said = JSON.parse(readFileSync(file, 'utf8'))
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'])
  t.teardown(() => child.kill('SIGKILL'))
  const { started } = ownerOf(child.pid!)
  const isSaid = (changes: object): boolean => {
    writeFileSync(file, JSON.stringify({ ...said, pid: child.pid, started, ...changes }))
    return isOthers(path)
  }
  t.equal(isSaid({}), true)
  for (const changes of [{ started: '1' }, { boot: 'another' }, { namespace: 'pid:[1]' }, { pid: 2 ** 30 }])
    t.equal(isSaid(changes), false, JSON.stringify(changes))
  // A parent that does not ask after it, as `exec` leaves one; before that the shell might.
  const script = 'head -c 1 <&3 > /dev/null & echo $!; exec sleep 60'
  const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'ignore', 'pipe'] })
  t.teardown(() => parent.kill('SIGKILL'))
  const [pid] = await once(parent.stdout!, 'data')
  const becomes = async (file: string, what: RegExp) => {
    while (!what.test(readFileSync(file, 'utf8'))) await new Promise(setImmediate)
  }
  await becomes(`/proc/${parent.pid}/comm`, /^sleep$/m)
  ;(parent.stdio[3] as Writable).end()
  await becomes(`/proc/${Number(pid)}/stat`, /\) Z /)
  t.throws(() => ownerOf(Number(pid)), { message: /has ended/ })
  isSaid({})
  disown(path)
  t.equal(isOthers(path), true, 'what another one says stays')
  own(path)
  disown(path)
  t.equal(existsSync(file), false)
  disown(path)
})

/** Commits until the store has no room, and again once `makeRoom` was called. */
async function fillUp(t: Test, rig: Rig, broker: Broker, makeRoom: () => void): Promise<readonly Position[]> {
  const acked: Position[] = []
  let id = 1
  const next = () => ({ publications: [publication('a', 'x'.repeat(20_000))], command: command('s', id) })
  let refused: readonly string[] = []
  while (refused[0] !== 'FST_CHANNELS_STORE_FAILED' && id < 500) {
    refused = await failure(async () => acked.push(await stored(broker, next())))
    if (refused[0] === '') id++
  }
  t.same(refused.slice(0, 2), ['FST_CHANNELS_STORE_FAILED', 'SQLITE_FULL'])
  t.equal(broker.healthy, false)
  t.ok(acked.length > 3)
  t.equal((await failure(() => broker.commit(next())))[0], 'FST_CHANNELS_STORE_FAILED', 'it stays full')
  t.same(await broker.heads(['a']), [acked.at(-1)], 'and is read meanwhile')
  t.equal((await broker.commit({ ...next(), command: command('s', 1) })).kind, 'earlier', 'and answers what it knows')
  makeRoom()
  acked.push(await stored(broker, next()))
  t.equal(broker.healthy, true)
  await hasKept(t, broker, acked)
  t.same(
    rig.logged.map(([level]) => level),
    ['info', 'error', 'info']
  )
  await broker.close()
  return acked
}

async function hasKept(t: Test, broker: Broker, acked: readonly Position[]): Promise<void> {
  t.same(
    (await kept(broker, 'a')).map(({ tag }) => tag),
    acked.map(({ tag }) => tag)
  )
}

t.test(
  'a file that may not grow refuses, loses nothing it acknowledged, and works again when there is room',
  async t => {
    const rig = new Rig(t)
    const opened: Database[] = []
    const load: SqliteParts['load'] = async name => {
      const driver = await loadDriver(name)
      const open = (path: string): Database => {
        const database = driver.open(path)
        opened.push(database)
        return database
      }
      return { ...driver, open }
    }
    const broker = await rig.broker({}, { load })
    opened[0]!.exec('PRAGMA max_page_count = 100')
    const acked = await fillUp(t, rig, broker, () => opened[0]!.exec('PRAGMA max_page_count = 1000000'))
    const again = await rig.broker()
    await hasKept(t, again, acked)
  }
)

/** A folder of a file system of its own, where this machine lets us have one. */
const small = mkdtempSync(join(tmpdir(), 'fastify-channels-small-'))
const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1536k', 'tmpfs', small])
const skip = status === 0 ? false : 'a small file system cannot be mounted here'
t.teardown(() => {
  spawnSync('umount', ['-l', small])
  rmSync(small, { recursive: true, force: true })
})

t.test('so does a full disk', { skip }, async t => {
  const rig = new Rig(t)
  const path = join(small, 'store.db')
  const ballast = join(small, 'ballast')
  writeFileSync(ballast, Buffer.alloc(512 * 1024))
  const acked = await fillUp(t, rig, await rig.broker({ path }, {}), () => rmSync(ballast))
  const again = await rig.broker({ path }, {})
  await hasKept(t, again, acked)
  await again.close()
})

t.test('whatever fails in a group, all of it fails, nothing of it is kept, and the next one works', async t => {
  const patterns = [
    /^BEGIN/,
    /^INSERT INTO channel/,
    /^INSERT INTO entry/,
    /^INSERT INTO session/,
    /^INSERT INTO result/,
    /^UPDATE channel/,
    /^UPDATE session/,
    /^COMMIT/
  ]
  for (const pattern of patterns) {
    for (const rollbackFails of [false, true]) {
      const rig = new Rig(t)
      const broker = await rig.broker({ worker: true }, { start: data => portThread(data, rig.faulty.load) })
      const [never] = await broker.heads(['b'])
      const first = await stored(broker, one('a', 1, 's'))
      const got: Entry[] = []
      for (const channel of ['a', 'b']) await broker.subscribe(channel, entry => got.push(entry))
      rig.faulty.failNext(pattern, sqliteError('SQLITE_IOERR'))
      if (rollbackFails) {
        const { onStatement } = rig.faulty
        // As SQLite does where it has undone the transaction by itself.
        rig.faulty.onStatement = sql => (sql === 'ROLLBACK' ? sqliteError('SQLITE_ERROR') : onStatement(sql))
      }
      const asked = [one('a', 2, 's'), one('b', 1), one('b', 1, 't'), one('a', 1, 's')].map(commit =>
        failure(() => broker.commit(commit))
      )
      for (const result of await Promise.all(asked)) {
        t.same(result.slice(0, 2), ['FST_CHANNELS_STORE_FAILED', 'SQLITE_IOERR'], `${pattern}`)
      }
      t.equal(broker.healthy, false)
      rig.faulty.onStatement = () => null
      t.same(await broker.heads(['a', 'b']), [first, never])
      t.same(await broker.openSession('s', 0), { fence: 0, highest: 1, holes: [] })
      t.equal(await broker.openSession('t', 0), null)
      const after = await Promise.all(
        [one('a', 2, 's'), one('b', 1), one('b', 2, 't')].map(commit => stored(broker, commit))
      )
      t.same(
        after.map(at => at.offset),
        [2, 1, 2],
        `${pattern}`
      )
      t.same(
        got.map(entry => [entry.offset, entry.prev]),
        [
          [2, first.tag],
          [1, ''],
          [2, after[1]!.tag]
        ]
      )
      t.equal(broker.healthy, true)
    }
  }
})

t.test('a transaction that can be neither ended nor undone is left behind by opening the file anew', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker()
  const first = await stored(broker, one('a', 1, 's'))
  rig.faulty.onStatement = sql => (/^(COMMIT|ROLLBACK)$/.test(sql) ? sqliteError('SQLITE_IOERR') : null)
  t.equal((await failure(() => broker.commit(one('a', 2, 's'))))[0], 'FST_CHANNELS_STORE_FAILED')
  t.equal((await failure(() => broker.heads(['a'])))[0], 'FST_CHANNELS_STORE_FAILED', 'nothing is known meanwhile')
  t.equal((await failure(() => broker.read('a', { before: null }, ALL)))[0], 'FST_CHANNELS_STORE_FAILED')
  rig.faulty.onStatement = () => null
  const second = await stored(broker, one('a', 2, 's'))
  t.same(await broker.heads(['a']), [second])
  t.same(
    (await kept(broker, 'a')).map(entry => entry.prev),
    ['', first.tag]
  )
})

t.test('a read that fails fails alone', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ worker: true }, { start: data => portThread(data, rig.faulty.load) })
  await stored(broker, one('a', 1, 's'))
  rig.faulty.failNext(/^SELECT offset, bytes/, sqliteError('SQLITE_IOERR'))
  const asked = [
    failure(() => broker.read('a', { before: null }, ALL)),
    failure(() => stored(broker, one('a', 2, 's')))
  ]
  t.same(
    (await Promise.all(asked)).map(([code]) => code),
    ['FST_CHANNELS_STORE_FAILED', '']
  )
  t.equal((await kept(broker, 'a')).length, 2)
  rig.faulty.failNext(/^SELECT \* FROM channel/, sqliteError('SQLITE_IOERR'))
  const got: Entry[] = []
  t.equal((await failure(() => broker.subscribe('b', entry => got.push(entry))))[0], 'FST_CHANNELS_STORE_FAILED')
  await stored(broker, one('b', 1))
  t.same(got, [], 'a subscription that failed is none')
})

t.test('what comes in one turn is one transaction, and what stores nothing is none', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ worker: true }, { start: data => portThread(data, rig.faulty.load) })
  const run = async (commits: readonly Commit[]): Promise<[Committed['kind'][], number]> => {
    rig.faulty.ran.length = 0
    const kinds = (await Promise.all(commits.map(commit => broker.commit(commit)))).map(({ kind }) => kind)
    return [kinds, rig.faulty.ran.filter(sql => /^(BEGIN|COMMIT|ROLLBACK)/.test(sql)).length]
  }
  const six = [one('a', 1, 's'), one('b', 1, 's'), one('a', 1), one('c', 2, 's'), one('a', 1, 't'), one('c', 1, 't')]
  t.same(await run(six), [['stored', 'earlier', 'stored', 'stored', 'stored', 'earlier'], 2])
  t.same(await run([one('a', 1, 's'), one('a', 2, 's')]), [['earlier', 'earlier'], 0])
  t.equal((await broker.openSession('s', 0)) !== null, true)
  t.same(
    rig.faulty.ran.filter(sql => /^BEGIN/.test(sql)),
    []
  )
})

t.test('a damaged file is refused, or moved aside where that is wanted', async t => {
  const damages: Record<string, (path: string) => void> = {
    garbage: path => writeFileSync(path, Buffer.alloc(20_000, 'not a database ')),
    header: path => {
      const bytes = readFileSync(path)
      bytes.fill(0, 0, 100)
      writeFileSync(path, bytes)
    },
    page: path => {
      const bytes = readFileSync(path)
      for (let at = 4096; at < bytes.length; at += 4096) bytes.fill(0xa5, at, at + 64)
      writeFileSync(path, bytes)
    }
  }
  for (const [name, damage] of Object.entries(damages)) {
    for (const worker of [false, true]) {
      const rig = new Rig(t)
      const parts: SqliteParts = { load: rig.faulty.load, start: data => portThread(data, rig.faulty.load) }
      const before = await rig.broker({ worker }, parts)
      let last = await stored(before, one('a', 0, 's'))
      for (let i = 1; i < 50; i++) last = await stored(before, one('a', i))
      await before.close()
      damage(rig.path)
      const bytes = readFileSync(rig.path)
      const [code, , message] = await failure(() => rig.broker({ worker }, parts))
      t.equal(code, 'FST_CHANNELS_STORE_DAMAGED', name)
      t.match(message, rig.path)
      t.same(readFileSync(rig.path), bytes, 'a refused file is as it was')
      const after = await rig.broker({ worker, onDamaged: 'new-epoch' }, parts)
      const [head] = await after.heads(['a'])
      t.equal(head!.offset, 0)
      t.not(head!.epoch, last.epoch)
      t.match(await after.read('a', { after: last }, ALL), { kind: 'lost', reason: 'epoch-lost' })
      t.equal(await after.openSession('s', 0), null)
      await stored(after, one('a', 1, 's'))
      const aside = readdirSync(dirname(rig.path)).find(file => file.includes('.damaged-'))
      t.equal(aside, `store.db.damaged-${rig.time.clock.wall()}`)
      t.same(readFileSync(join(dirname(rig.path), aside!)), bytes)
      t.ok(rig.logged.some(([level, details]) => level === 'warn' && 'movedTo' in details))
      await after.close()
      const again = await rig.broker({ worker, onDamaged: 'new-epoch' }, parts)
      t.equal((await again.heads(['a']))[0]!.offset, 1, 'a sound file is not moved')
    }
  }
  const rig = new Rig(t)
  writeFileSync(rig.path, Buffer.alloc(20_000, 'not a database '))
  mkdirSync(`${rig.path}.damaged-${rig.time.clock.wall()}`)
  const [code] = await failure(() => rig.broker({ onDamaged: 'new-epoch' }))
  t.equal(code, 'FST_CHANNELS_STORE_FAILED', 'what cannot be moved aside is told')
})

t.test('a file of something else, of a newer version, or in no folder is refused and not touched', async t => {
  for (const [sql, code] of [
    ['CREATE TABLE mine (x)', 'FST_CHANNELS_STORE_FOREIGN'],
    ['CREATE TABLE mine (x); PRAGMA journal_mode = WAL', 'FST_CHANNELS_STORE_FOREIGN'],
    ['PRAGMA application_id = 7; CREATE TABLE mine (x)', 'FST_CHANNELS_STORE_FOREIGN'],
    [
      `PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = 9; CREATE TABLE meta (epoch)`,
      'FST_CHANNELS_STORE_TOO_NEW'
    ]
  ] as const) {
    const rig = new Rig(t)
    const other = (await loadDriver('auto')).open(rig.path)
    other.exec(sql)
    other.close()
    const bytes = readFileSync(rig.path)
    // A log of changes keeps the lock where the driver cannot close.
    const ways = sql.includes('WAL') ? (['new-epoch'] as const) : (['refuse', 'new-epoch'] as const)
    for (const onDamaged of ways) t.equal((await failure(() => rig.broker({ onDamaged })))[0], code)
    t.same(readFileSync(rig.path), bytes)
  }
  const rig = new Rig(t)
  const path = join(dirname(rig.path), 'none', 'store.db')
  t.equal((await failure(() => rig.broker({ path })))[0], 'FST_CHANNELS_STORE_FAILED')
  t.notOk(existsSync(dirname(path)))
  rig.faulty.onStatement = () => sqliteError('SQLITE_READONLY')
  t.same((await failure(() => rig.broker())).slice(0, 2), ['FST_CHANNELS_STORE_FAILED', 'SQLITE_READONLY'])
})

t.test('a file that cannot keep a log of changes is refused', async t => {
  const rig = new Rig(t)
  const load: SqliteParts['load'] = async wanted => {
    const driver = await rig.faulty.load(wanted)
    const open = (path: string): Database => {
      const database = driver.open(path)
      const prepare = (sql: string) =>
        sql === 'PRAGMA journal_mode = WAL'
          ? { ...database.prepare('SELECT 1'), get: () => ({ m: 'delete' }) }
          : database.prepare(sql)
      return { exec: sql => database.exec(sql), close: () => database.close(), prepare }
    }
    return { name: driver.name, open }
  }
  const [code, , message] = await failure(() => rig.broker({}, { load }))
  t.equal(code, 'FST_CHANNELS_STORE_FAILED')
  t.match(message, /journal mode stays delete/)
})

t.test('an older copy of the file that was put back is found by the tag', async t => {
  const rig = new Rig(t)
  const before = await rig.broker()
  const early = await stored(before, one('a', 1, 's'))
  await before.close()
  copyFileSync(rig.path, `${rig.path}.copy`)
  const later = await rig.broker()
  const lost = [await stored(later, one('a', 2, 's')), await stored(later, one('a', 3, 's'))]
  await later.close()
  copyFileSync(`${rig.path}.copy`, rig.path)
  const back = await rig.broker()
  const read = (after: Position) => back.read('a', { after }, ALL)
  t.match(await read(lost[1]!), { kind: 'lost', reason: 'rewound', head: early })
  t.match(await read(early), { kind: 'page', entries: [] })
  for (const i of [2, 3, 4]) await stored(back, one('a', `again ${i}`))
  t.match(await read(lost[0]!), { kind: 'lost', reason: 'rewound' })
  t.match(await read(lost[1]!), { kind: 'lost', reason: 'rewound' })
  t.match(await read(early), { kind: 'page', entries: { length: 3 } })
})

t.test(
  'a file that is moved, removed or replaced under the server fails what comes next, which goes on with what lies there',
  async t => {
    const rig = new Rig(t)
    const broker = await rig.broker()
    const fails = async () => {
      const [code, , message] = await failure(() => broker.commit(one('c', 'lost')))
      t.equal(code, 'FST_CHANNELS_STORE_FAILED')
      t.match(message, /moved, removed or replaced/)
    }
    const { epoch } = await stored(broker, one('c', 1))
    for (const part of ['', '-wal']) copyFileSync(rig.path + part, `${rig.path}.copy${part}`)
    await stored(broker, one('c', 2))

    renameSync(rig.path, `${rig.path}.away`)
    await fails()
    const anew = await stored(broker, one('c', 3))
    t.equal(anew.offset, 1)
    t.not(anew.epoch, epoch, 'nobody takes the new log for the old one')

    for (const part of ['', '-wal']) renameSync(`${rig.path}.copy${part}`, rig.path + part)
    await fails()
    t.strictSame(
      (await kept(broker, 'c')).map(({ text }) => text),
      ['m1'],
      'the log of changes that came with it is whole'
    )
    t.match(await stored(broker, one('c', 4)), { epoch, offset: 2 })

    rmSync(`${rig.path}-wal`)
    await fails()
    await stored(broker, one('c', 5))
    rig.faulty.onStatement = sql => {
      if (sql === 'COMMIT') renameSync(rig.path, `${rig.path}.away`)
      return null
    }
    await fails()
    rig.faulty.onStatement = () => null
    renameSync(`${rig.path}.away`, rig.path)
    await stored(broker, one('c', 6))
    await broker.close()
    const texts = (await kept(await rig.broker(), 'c')).map(({ text }) => text)
    t.strictSame(texts.slice(0, 3), ['m1', 'm4', 'm5'])
    t.equal(texts.at(-1), 'm6', 'what is acknowledged is found after a restart')
  }
)

t.test('a file to which there is no way any more fails what comes, and is gone on with when there is one', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker()
  await stored(broker, one('c', 1))
  const folder = dirname(rig.path)
  renameSync(folder, `${folder}.away`)
  symlinkSync(folder, folder)
  for (const tells of [/moved, removed or replaced/, /ELOOP|unable to open/i]) {
    const [code, , message] = await failure(() => broker.commit(one('c', 'lost')))
    t.equal(code, 'FST_CHANNELS_STORE_FAILED')
    t.match(message, tells)
  }
  rmSync(folder)
  renameSync(`${folder}.away`, folder)
  t.equal((await stored(broker, one('c', 2))).offset, 2)
  await broker.close()
  t.strictSame(
    (await kept(await rig.broker(), 'c')).map(({ text }) => text),
    ['m1', 'm2']
  )
})

t.test('results that grew old behind one that came late are forgotten once, and the store goes on', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker()
  const store = (id: number, highest: number, holes: number[], reply = '') => {
    const record = { session: 's', fence: 0, id, progress: { highest, holes }, reply }
    return stored(broker, { publications: [publication('c', id)], command: record })
  }
  for (let id = 2; id <= 21; id++) await store(id, id, [1])
  rig.time.advance(RESULT_AGE_MS - 60_000)
  await store(1, 21, [])
  rig.time.advance(120_000)
  await stored(broker, one('c', 'the first twenty are old by now'))
  const long = 'x'.repeat(60_000)
  for (let id = 22; id * 60_000 < RESULT_CHARACTERS + 30 * 60_000; id++) await store(id, id, [], long)
  for (let i = 0; i < 3; i++) {
    rig.time.advance(RESULT_AGE_MS + 1)
    await stored(broker, one('c', `nobody sends a command any more ${i}`))
  }
  await broker.close()
  t.same(await rig.sql('SELECT COUNT(*) AS n FROM result'), [{ n: 0 }])
})

t.test('over the number of channels the least used are forgotten, and what is new there has another epoch', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ channels: 3 })
  const first = await stored(broker, one('a', 1))
  for (const channel of ['b', 'c']) {
    rig.time.advance(60_000)
    await stored(broker, one(channel, 1))
  }
  const [never] = await broker.heads(['never'])
  rig.time.advance(60_000)
  const last = await stored(broker, one('d', 1))
  t.match(await broker.read('a', { after: first }, ALL), { kind: 'lost', reason: 'epoch-lost', head: { offset: 0 } })
  t.same((await kept(broker, 'b')).length, 1)
  t.equal(last.epoch, first.epoch)
  rig.time.advance(60_000)
  const again = await stored(broker, one('a', 2))
  t.equal(again.offset, 1)
  t.not(again.epoch, first.epoch)
  rig.time.advance(60_000)
  t.equal((await stored(broker, one('never', 1))).epoch, never!.epoch, 'whoever was told of an empty log finds it')
  await broker.close()
  t.same(await rig.sql('SELECT name FROM channel ORDER BY id'), [{ name: 'd' }, { name: 'a' }, { name: 'never' }])
  t.same(await rig.sql('SELECT COUNT(*) AS n FROM entry'), [{ n: 3 }], 'what they held is swept away')
  t.same(await rig.sql('SELECT * FROM forgotten'), [])
})

t.test('a group of more channels than may be kept stands, and shrinks with the next', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ channels: 2 })
  const publications = ['a', 'b', 'c', 'd'].map(channel => publication(channel, 1))
  const { positions } = (await broker.commit({ publications, command: null })) as unknown as { positions: Position[] }
  t.equal(new Set(positions.map(at => at.epoch)).size, 1)
  t.same(
    (await broker.heads(['a', 'd'])).map(head => head.offset),
    [1, 1]
  )
  rig.time.advance(60_000)
  await stored(broker, one('d', 2))
  t.same(
    (await broker.heads(['a', 'b', 'd'])).map(head => head.offset),
    [0, 0, 2]
  )
})

t.test('the litter of a large forgotten log is swept in steps, over a restart as well', async t => {
  const rig = new Rig(t)
  const log = { entries: 2_000, ageMs: 1e9, bytes: 1e9 }
  const before = await rig.broker({ channels: 1 })
  await before.commit({
    publications: Array.from({ length: 700 }, (_, i) => publication('big', i, log)),
    command: null
  })
  rig.time.advance(60_000)
  await stored(before, one('a', 1))
  await before.close()
  t.same(await rig.sql('SELECT COUNT(*) AS n FROM entry'), [{ n: 444 }])
  const after = await rig.broker({ channels: 1 })
  for (const i of [2, 3, 4]) await stored(after, one('a', i))
  await after.close()
  t.same(await rig.sql('SELECT COUNT(*) AS n FROM entry'), [{ n: 4 }])
  t.same(await rig.sql('SELECT * FROM forgotten'), [])
})

t.test('what a forgotten log has left behind does not count as bytes, and what has just come is kept', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ channels: 1, bytes: 5_000 })
  const log = { entries: 1_000, ageMs: 1e9, bytes: 1e9 }
  await broker.commit({ publications: Array.from({ length: 700 }, () => publication('big', 1, log)), command: null })
  rig.time.advance(60_000)
  const shown = async () => (await kept(broker, 'a')).map(entry => entry.text.slice(0, 2))
  await stored(broker, one('a', 1))
  await stored(broker, one('a', 'x'.repeat(6_000)))
  t.same(await shown(), ['m1', 'mx'], 'trimmed in steps')
  await stored(broker, one('a', 2))
  t.same(await shown(), ['m2'])
})

t.test('over the bytes of all logs the oldest entries go, whichever log they are in', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ bytes: 10, channels: 3 })
  const at: Position[] = []
  for (const [i, channel] of ['a', 'a', 'b', 'a', 'b', 'c', 'c'].entries())
    at.push(await stored(broker, one(channel, i)))
  t.same(
    (await kept(broker, 'a')).map(entry => entry.text),
    ['m3']
  )
  t.same(
    (await kept(broker, 'b')).map(entry => entry.text),
    ['m2', 'm4']
  )
  t.match(await broker.read('a', { after: at[0]! }, ALL), { kind: 'lost', reason: 'trimmed' })
  t.match(await broker.read('a', { after: at[1]! }, ALL), { kind: 'page', entries: { length: 1 } })
  rig.time.advance(60_000)
  await stored(broker, one('d', 7))
  rig.time.advance(60_000)
  for (const i of [8, 9]) await stored(broker, one('d', i))
  t.same(
    (await kept(broker, 'd')).map(entry => entry.text),
    ['m7', 'm8', 'm9']
  )
})

t.test('the bytes of all logs stay within their bound however much comes at once', async t => {
  const rig = new Rig(t)
  const bytes = 100_000
  const broker = await rig.broker({ worker: true, bytes }, { start: data => portThread(data, rig.faulty.load) })
  const log = { entries: 1e6, ageMs: 1e9, bytes: 1e9 }
  const text = 'x'.repeat(199)
  for (let group = 0; group < 20; group++) {
    const commits = Array.from({ length: 1_024 }, (_, i) => publication(`c${i % 50}`, text, log))
    await Promise.all(commits.map(one => stored(broker, { publications: [one], command: null })))
  }
  await broker.close()
  const [file] = await rig.sql<{ n: number }>('SELECT SUM(bytes) AS n FROM entry')
  t.ok(file!.n <= bytes + 1_024 * 200, `${file!.n} bytes, of which one group may be over`)
  t.same(await rig.sql('SELECT SUM(bytes) AS n FROM channel'), [file], 'and they are counted right')
})

t.test('however many channels come and go, the file holds no more entries than those that are kept', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ channels: 1_000 })
  for (let n = 0; n < 300; n++) {
    const publications = Array.from({ length: 20 }, (_, i) => publication(`c${n * 20 + i}`, n))
    await broker.commit({ publications, command: null })
  }
  await broker.close()
  const [entries] = await rig.sql<{ n: number }>('SELECT COUNT(*) AS n FROM entry')
  t.ok(entries!.n <= 1_000 + 20, `${entries!.n} entries`)
  t.same(await rig.sql('SELECT COUNT(*) AS n FROM forgotten'), [{ n: 0 }])
})

t.test('what forgotten logs have left behind keeps nobody from trimming the oldest of the others', async t => {
  const rig = new Rig(t)
  const bytes = 50_000
  const broker = await rig.broker({ channels: 100, bytes })
  const log = { entries: 1e6, ageMs: 1e9, bytes: 1e9 }
  for (let n = 0; n < 100; n++) {
    const fresh = Array.from({ length: 20 }, (_, i) => publication(`c${n * 20 + i}`, n, log))
    await broker.commit({ publications: [...fresh, publication('a', 'x'.repeat(4_999), log)], command: null })
  }
  await broker.close()
  const [file] = await rig.sql<{ n: number }>('SELECT SUM(bytes) AS n FROM entry')
  t.ok(file!.n <= bytes + 6_000, `${file!.n} bytes, of which the last commit may be over`)
  t.same(await rig.sql('SELECT SUM(bytes) AS n FROM channel'), [file], 'and they are counted right')
})

t.test('over the number of sessions the least used are forgotten, and after a day each', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ sessions: 2 })
  for (const session of ['r', 's', 't']) {
    await stored(broker, one('a', 1, session))
    rig.time.advance(60_000)
  }
  t.same([(await broker.openSession('r', 0)) === null, (await broker.openSession('s', 1))?.highest], [true, 1])
  rig.time.advance(DAY_MS - 60_000)
  await stored(broker, one('a', 2, 't'))
  t.equal(await broker.openSession('s', 1), null)
  t.equal((await broker.openSession('t', 1))?.highest, 2)
})

t.test('more sessions in one group than may be kept stand, and shrink with the next', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ worker: true, sessions: 2 }, { start: data => portThread(data, rig.faulty.load) })
  await Promise.all(['r', 's', 't'].map(session => stored(broker, one('a', 1, session))))
  t.equal((await broker.openSession('r', 0))?.highest, 1)
  rig.time.advance(60_000)
  await stored(broker, one('a', 2, 't'))
  const left = await Promise.all(['r', 's', 't'].map(session => broker.openSession(session, 0)))
  t.same(
    left.map(session => session !== null),
    [false, true, true]
  )
})

t.test('results go when they are old, too many, too large, or far behind in their session', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ results: 5, replyCharacters: 100 })
  const results = async (session: string, ids: readonly number[]) => {
    const kept = await Promise.all(ids.map(id => broker.result(session, id)))
    return ids.filter((_, i) => kept[i] !== null)
  }
  const ids = [1, 2, 3, 4, 5, 6, 7, 8]
  for (const id of ids) await stored(broker, { publications: [], command: command('s', id, '1') })
  t.same(await results('s', ids), [4, 5, 6, 7, 8])
  t.equal((await broker.commit({ publications: [], command: command('s', 1) })).kind, 'expired')
  await stored(broker, { publications: [], command: command('s', 9, 'x'.repeat(200)) })
  t.ok((await results('s', [9])).length === 1, 'the newest stays whatever its size')
  await stored(broker, { publications: [], command: command('s', 10, 'x') })
  t.same(await results('s', [8, 9, 10]), [10])
  rig.time.advance(RESULT_AGE_MS + 1)
  await stored(broker, { publications: [], command: command('t', 1) })
  t.same(await results('s', [10]), [])
})

t.test('a session with many ids keeps ten thousand results, and with large replies so many characters', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker(
    { worker: true, queuedRequests: 20_000 },
    { start: data => portThread(data, rig.faulty.load) }
  )
  const commit = (session: string, id: number, reply: string) =>
    broker.commit({ publications: [], command: command(session, id, reply) })
  const all = (session: string, from: number, to: number, reply: string) =>
    Promise.all(Array.from({ length: to - from + 1 }, (_, i) => commit(session, from + i, reply)))
  await all('s', 1, 10_500, '')
  await all('s', 10_501, 10_600, '')
  const large = 'x'.repeat(RESULT_CHARACTERS / 4)
  for (let id = 1; id <= 8; id++) await commit('t', id, large)
  t.same(await broker.result('s', 500), null)
  t.not(await broker.result('s', 601), null)
  t.equal(await broker.result('t', 2), null)
  t.not(await broker.result('t', 5), null)
  await broker.close()
  t.match(await rig.sql('SELECT COUNT(*) AS n FROM result GROUP BY session'), [
    { n: /^10(0|1|2)\d\d$/ },
    { n: /^[45]$/ }
  ])
})

t.test('what is cached is bounded, and what is not cached is found', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker(
    { worker: true, queuedRequests: 50_000 },
    { start: data => portThread(data, rig.faulty.load) }
  )
  const count = 20_010
  const commits = Array.from({ length: count }, (_, i) => broker.commit(one(`c${i}`, 1, `s${i}`)))
  await Promise.all(commits)
  for (const i of [0, 5, count - 1]) {
    t.equal((await broker.commit(one(`c${i}`, 2, `s${i}`))).kind, 'stored')
    t.equal((await broker.commit(one(`c${i}`, 1, `s${i}`))).kind, 'earlier')
    t.equal((await kept(broker, `c${i}`)).length, 2)
  }
})

t.test('of two answers about a wall clock that jumps neither loses an entry early', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker()
  for (const i of [1, 2]) await stored(broker, one('a', i))
  rig.time.advance(-3_600_000)
  for (const i of [3, 4]) await stored(broker, one('a', i))
  t.equal((await kept(broker, 'a')).length, 4)
  rig.time.advance(3_600_000 + LOG.ageMs)
  t.equal((await kept(broker, 'a')).length, 4)
  rig.time.advance(1)
  t.equal((await kept(broker, 'a')).length, 0)
})

t.test('the queue has a bound in requests and in bytes, which is told', async t => {
  const rig = new Rig(t)
  const parts: SqliteParts = { start: data => portThread(data, rig.faulty.load) }
  const broker = await rig.broker({ worker: true, queuedRequests: 3, queuedCharacters: 1_000 }, parts)
  const asked = [1, 2, 3, 4].map(i => failure(() => broker.commit(one('a', i, 's'))))
  broker.endSession('s', 1)
  t.same(
    (await Promise.all(asked)).map(([code]) => code),
    ['', '', '', 'FST_CHANNELS_STORE_BUSY']
  )
  const large = [1, 2].map(() => failure(() => broker.commit(one('a', 'x'.repeat(1_000)))))
  t.same(
    (await Promise.all(large)).map(([code]) => code),
    ['', 'FST_CHANNELS_STORE_BUSY']
  )
  t.equal((await broker.commit(one('a', 4, 's'))).kind, 'stored')
  t.equal((await kept(broker, 'a')).length, 5)
})

t.test('of very many requests each thousand is a group of its own, in its order', async t => {
  const rig = new Rig(t)
  const queue = { queuedRequests: 10_000 }
  const broker = await rig.broker({ worker: true, ...queue }, { start: data => portThread(data, rig.faulty.load) })
  rig.faulty.ran.length = 0
  const commits = Array.from({ length: 2_500 }, (_, i) => stored(broker, one('a', i + 1)))
  const closing = broker.heads(['a'])
  t.same(
    (await Promise.all(commits)).map(({ offset }) => offset),
    commits.map((_, i) => i + 1)
  )
  t.equal((await closing)[0]!.offset, 2_500)
  t.equal(rig.faulty.ran.filter(sql => sql === 'COMMIT').length, 3)
  const last = Array.from({ length: 2_500 }, (_, i) => stored(broker, one('b', i + 1)))
  await broker.close()
  t.equal((await Promise.all(last)).at(-1)!.offset, 2_500, 'the close lets all of them through')
})

t.test('however many results a file holds, each is found after it was opened again', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ worker: true }, { start: data => portThread(data, rig.faulty.load) })
  const ids = Array.from({ length: 2_100 }, (_, i) => i + 1)
  await Promise.all(ids.map(id => broker.commit({ publications: [], command: command('s', id, `${id}`) })))
  await broker.close()
  const again = await rig.broker()
  for (const id of [1, 1_000, 1_001, 2_000, 2_100]) t.match(await again.result('s', id), { reply: `${id}` })
  t.equal(await again.result('s', 2_101), null)
})

t.test('after the close nothing is answered, and it may be closed again', async t => {
  const rig = new Rig(t)
  const broker = await rig.broker({ worker: true }, { start: data => portThread(data, rig.faulty.load) })
  const last = broker.commit(one('a', 1, 's'))
  await Promise.all([broker.close(), last])
  t.equal((await failure(() => broker.commit(one('a', 2, 's'))))[0], 'FST_CHANNELS_STORE_CLOSED')
  broker.endSession('s', 0)
  await broker.close()
})

t.test('a store that never answers does not hold up the end', async t => {
  const rig = new Rig(t)
  const clock = new ManualClock()
  const thread = Object.assign(new EventEmitter(), { held: 0, postMessage: () => {}, ref: () => {}, unref: () => {} })
  thread.ref = () => void thread.held++
  thread.unref = () => {
    thread.held = 0
  }
  const start = () => thread
  const opening = openSqlite({ clock, logger: silent, onControl: () => {} }, { path: rig.path }, { start })
  thread.emit('message', { driver: 'none', movedTo: null })
  const broker = await opening
  const last = failure(() => broker.commit(one('a', 1, 's')))
  const closing = failure(() => broker.close())
  await settle()
  await clock.advance(4_999)
  t.ok(thread.held > 0, 'it is waited for')
  await clock.advance(1)
  t.match((await closing)[2], /did not end within 5000 ms/)
  t.equal((await last)[0], 'FST_CHANNELS_STORE_FAILED', 'and who waits is told')
  t.equal(thread.held, 0, 'it keeps the process no longer')
  t.equal(clock.pending, 0)
})

t.test('what a thread dies of is told', async t => {
  const rig = new Rig(t)
  const ends = new EventEmitter()
  const start = () => Object.assign(ends, { postMessage: () => {}, ref: () => {}, unref: () => {} })
  const opening = failure(() => rig.broker({ worker: true }, { start }))
  ends.emit('error', new Error('out of memory'))
  ends.emit('exit', 1)
  const [code, , message] = await opening
  t.equal(code, 'FST_CHANNELS_STORE_FAILED')
  t.match(message, /out of memory/)
})

/** Threads of a rig's broker, each a port in this very thread. */
function portThreads(rig: Rig): { threads: ReturnType<typeof portThread>[]; start: SqliteParts['start'] } {
  const threads: ReturnType<typeof portThread>[] = []
  const start: SqliteParts['start'] = data => {
    const thread = portThread(data, rig.faulty.load)
    threads.push(thread)
    return thread
  }
  return { threads, start }
}

t.test('a thread that was idle when it died is missed by nobody, and one that cannot open again says why', async t => {
  const rig = new Rig(t)
  const { threads, start } = portThreads(rig)
  const broker = await rig.broker({ worker: true }, { start })
  await stored(broker, one('a', 1, 's'))
  threads[0]!.end()
  await new Promise(setImmediate)
  await new Promise(setImmediate)
  const [code] = await failure(() => broker.commit(one('a', 2, 's')))
  t.equal(code, 'FST_CHANNELS_STORE_LOCKED', 'this test leaves the file open')
  t.equal(broker.healthy, false)
  t.equal(threads.length, 2)
})

t.test('a file found damaged while the process runs is refused, even where a start would begin anew', async t => {
  const rig = new Rig(t)
  const { threads, start } = portThreads(rig)
  const options = { worker: true, onDamaged: 'new-epoch' } as const
  writeFileSync(rig.path, Buffer.alloc(20_000, 'not a database '))
  const broker = await rig.broker(options, { start })
  t.match(rig.logged.shift(), ['warn', { movedTo: /damaged/ }], 'at the start it is moved aside')
  const first = await stored(broker, one('a', 1, 's'))
  // Its thread ends and gives the file back, as the death of a real one does.
  const ended = new Promise(resolve => threads[0]!.once('exit', resolve))
  threads[0]!.ref()
  threads[0]!.postMessage(CLOSE)
  await ended
  const sound = readFileSync(rig.path)
  const damaged = Buffer.alloc(sound.length, 'not a database ')
  writeFileSync(rig.path, damaged)
  rig.logged.length = 0
  for (const ask of [() => broker.heads(['a']), () => broker.commit(one('a', 2, 's'))]) {
    const [code, , message] = await failure(ask)
    t.equal(code, 'FST_CHANNELS_STORE_DAMAGED')
    t.match(message, rig.path)
  }
  t.match(rig.logged, [['error', { err: { code: 'FST_CHANNELS_STORE_DAMAGED' } }]], 'which is told')
  t.same(readFileSync(rig.path), damaged, 'and the file stays where it is')
  writeFileSync(rig.path, sound)
  t.same(await broker.heads(['a']), [first], 'once a copy is in its place, it goes on')
  t.equal(broker.healthy, true)
})

t.test('a commit waits for the disk: the file is opened with synchronous=FULL and a log of changes', async t => {
  const rig = new Rig(t)
  const { database } = openFile(await loadDriver('auto'), { path: rig.path, onDamaged: 'refuse', epoch: 'e', now: 0 })
  const ask = (pragma: string) => Object.values(database.prepare(`PRAGMA ${pragma}`).get() as object)[0]
  t.strictSame([ask('synchronous'), ask('journal_mode'), ask('locking_mode')], [2, 'wal', 'exclusive'])
  database.close()
})
