import { existsSync, renameSync, statSync } from 'node:fs'
import type { Database, Driver } from './driver.ts'
import { isOthers, own } from './owner.ts'
import { APPLICATION_ID, FORMAT, SCHEMA } from './schema.ts'
import { openingError, StoreError } from './store-error.ts'

export interface FileOptions {
  readonly path: string
  /** What becomes of a damaged file: the broker does not start, or the file is moved aside. */
  readonly onDamaged: 'refuse' | 'new-epoch'
  /** The epoch of a file that is made anew. */
  readonly epoch: string
  /** The wall clock when it is opened. */
  readonly now: number
}

export interface OpenFile {
  readonly database: Database
  readonly epoch: string
  /** Where a damaged file was moved. */
  readonly movedTo: string | null
}

/** What SQLite keeps beside the file, with it. */
const PARTS = ['', '-wal', '-shm'] as const

/**
 * The lock is SQLite's own, taken for as long as the file is open, and the kernel's to give back when the process dies.
 * A commit that returned is on the disk (`synchronous`). The log of changes is brought over every 16 MiB: what is not
 * needed for durability costs least when it is rare.
 */
const PRAGMAS = `
PRAGMA busy_timeout = 0;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 4096;
PRAGMA journal_size_limit = 67108864;
PRAGMA temp_store = MEMORY;
PRAGMA cache_size = -16384;
`

/** @throws FST_CHANNELS_STORE_LOCKED, _DAMAGED, _FOREIGN, _TOO_NEW, _FAILED */
export function openFile(driver: Driver, options: FileOptions): OpenFile {
  try {
    return { ...attempt(driver, options), movedTo: null }
  } catch (error) {
    const damaged = error instanceof StoreError && error.code === 'FST_CHANNELS_STORE_DAMAGED'
    if (!damaged || options.onDamaged === 'refuse') throw error
  }
  const movedTo = `${options.path}.damaged-${options.now}`
  try {
    for (const part of PARTS) if (existsSync(options.path + part)) renameSync(options.path + part, movedTo + part)
  } catch (error) {
    throw openingError(error, options.path)
  }
  return { ...attempt(driver, options), movedTo }
}

function attempt(driver: Driver, options: FileOptions): { database: Database; epoch: string } {
  // Before it is opened: to close it again would bring over, and delete, the log of changes that the other one writes.
  if (isOthers(options.path)) throw new StoreError('FST_CHANNELS_STORE_LOCKED', [options.path])
  let database: Database | null = null
  try {
    database = driver.open(options.path)
    return { database, epoch: prepare(database, options) }
  } catch (error) {
    if (database !== null) closeFile(database, 'as it is')
    throw openingError(error, options.path)
  }
}

/**
 * Tells, when asked, whether what lies at the path, or its log of changes, is another file than at first, or cannot be reached
 * any more. What is then written to the open one nobody finds after a restart, and SQLite does not look
 * (sqlite.org/howtocorrupt.html §4.4).
 */
export function watchFile(path: string): (part: '' | '-wal') => boolean {
  const known = new Map<string, string>()
  return part => {
    const found = identityOf(path + part)
    if (found !== '' && !known.has(part)) known.set(part, found)
    return (known.get(part) ?? '') !== found
  }
}

/** Empty where there is nothing, or no way to it: to open it anew tells why. */
function identityOf(path: string): string {
  try {
    const { dev, ino } = statSync(path)
    return `${dev}:${ino}`
  } catch {
    return ''
  }
}

/** Locks the file, looks whether it is ours and sound, makes it ours where it is new, and tells its epoch. */
function prepare(database: Database, { path, epoch }: FileOptions): string {
  const ask = (sql: string) => Object.values(database.prepare(sql).get() as object)[0] as string | number
  database.exec('PRAGMA busy_timeout = 0')
  // Before anything reads the file: then SQLite keeps its index of the log in memory and needs no shared one.
  ask('PRAGMA locking_mode = EXCLUSIVE')

  // Nothing is changed in the file of somebody else, or in one that has to be repaired.
  database.exec('BEGIN EXCLUSIVE')
  const owner = ask('PRAGMA application_id')
  const isNew = owner === 0 && ask('SELECT COUNT(*) FROM sqlite_schema') === 0
  if (!isNew && owner !== APPLICATION_ID) throw new StoreError('FST_CHANNELS_STORE_FOREIGN', [path])
  const format = ask('PRAGMA user_version') as number
  if (format > FORMAT) throw new StoreError('FST_CHANNELS_STORE_TOO_NEW', [path, format, FORMAT])
  const sound = ask('PRAGMA quick_check(1)')
  if (sound !== 'ok') throw new StoreError('FST_CHANNELS_STORE_DAMAGED', [path, sound])
  database.exec('COMMIT')

  const mode = ask('PRAGMA journal_mode = WAL')
  if (mode !== 'wal') throw new StoreError('FST_CHANNELS_STORE_FAILED', [`${path}: its journal mode stays ${mode}`])
  database.exec(PRAGMAS)
  if (isNew) {
    database.exec('BEGIN')
    database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${FORMAT}; ${SCHEMA}`)
    database.prepare('INSERT INTO meta (epoch) VALUES (?)').run(epoch)
    database.exec('COMMIT')
  }
  const kept = ask('SELECT epoch FROM meta') as string
  own(path)
  return kept
}

/**
 * Gives the file back. A driver may hold on to it for as long as a statement of it is not collected (libsql does, its
 * issue 228); so the lock is given up before. It is kept for as long as there is a log of changes, which `whole` brings
 * over: whoever copies the file then has all of it. False where it is as open as before, for a transaction that cannot be
 * undone now: such a driver would keep it with the lock, and nobody could undo it later.
 */
export function closeFile(database: Database, as: 'whole' | 'as it is' | 'moved'): boolean {
  // One that was moved has lost its name: what bears it, and goes with it, may be another's.
  if (as !== 'moved') {
    attemptTo(() => database.exec(as === 'whole' ? 'PRAGMA journal_mode = DELETE' : 'ROLLBACK'))
    if (as === 'whole' && database.inTransaction === true) return false
    attemptTo(() => database.exec('PRAGMA locking_mode = NORMAL; SELECT COUNT(*) FROM sqlite_schema'))
  }
  attemptTo(() => database.close())
  return true
}

/** On a full or broken disk what can be done is done; the rest is found at the next opening. */
function attemptTo(task: () => void): void {
  try {
    task()
  } catch {
    // As said.
  }
}
