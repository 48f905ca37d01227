import { resolve } from 'node:path'
import { Type } from '@sinclair/typebox'
import { newEpoch } from '../chance.ts'
import { channelsError, shown } from '../errors.ts'
import { assertKeys } from '../options.ts'
import type { Broker, BrokerContext, BrokerFactory } from './broker.ts'
import { bound, withDefaults } from './defaults.ts'
import { type DriverName, loadDriver } from './sqlite/driver.ts'
import { DirectLink } from './sqlite/link.ts'
import type { Moment } from './sqlite/request.ts'
import { SqliteBroker } from './sqlite/sqlite-broker.ts'
import { Store, type StoreOptions } from './sqlite/store.ts'
import { fromFailure, toFailure } from './sqlite/store-error.ts'
import { type Opened, ThreadLink, type ThreadOptions } from './sqlite/thread.ts'

export interface SqliteOptions {
  /** The file, made where there is none; one broker of one process has it at a time. Two more of that name lie beside it. */
  readonly path: string
  /**
   * What reads and writes the file. Default `auto`: node:sqlite where this Node has it (from 22.13), else libsql. Those
   * that do not come with Node are for the application to install.
   */
  readonly driver?: 'auto' | DriverName
  /** Whether the store has a thread of its own. Without one every commit stops the process until the disk has written. Default true. */
  readonly worker?: boolean
  /**
   * What becomes of a damaged file: `refuse` keeps the server from starting; `new-epoch` moves it aside, to
   * `<path>.damaged-<time>`, and begins anew, which subscribers are told as a gap. A file that is found damaged while the
   * process runs is refused in any case. Default `refuse`.
   */
  readonly onDamaged?: 'refuse' | 'new-epoch'
  /** Logs that are kept; above it the least recently written are forgotten. Default 100,000; at least 1. */
  readonly channels?: number
  /** Bytes of publications in all logs; above it the oldest are trimmed. Default 1,073,741,824; at least 1. */
  readonly bytes?: number
  /** Sessions that are kept, each for a day after its last command. Default 100,000; at least 1. */
  readonly sessions?: number
  /** Results of commands that are kept in all; above it the oldest are forgotten. Default 1,000,000; at least 1. */
  readonly results?: number
  /** Characters of the replies in those results. Default 268,435,456; at least 1. */
  readonly replyCharacters?: number
  /** Requests that may wait for the store; above it they are refused. Default 10,000; at least 1. */
  readonly queuedRequests?: number
  /** Characters of publications and replies in them. Default 67,108,864; at least 1. */
  readonly queuedCharacters?: number
}

export const SQLITE_DEFAULTS = Object.freeze({
  driver: 'auto',
  worker: true,
  onDamaged: 'refuse',
  channels: 100_000,
  bytes: 1_073_741_824,
  sessions: 100_000,
  results: 1_000_000,
  replyCharacters: 268_435_456,
  queuedRequests: 10_000,
  queuedCharacters: 67_108_864
})

const OPTIONS = {
  path: Type.String({ minLength: 1 }),
  driver: Type.Union(['auto', 'node:sqlite', 'better-sqlite3', 'libsql'].map(name => Type.Literal(name))),
  worker: Type.Boolean(),
  onDamaged: Type.Union([Type.Literal('refuse'), Type.Literal('new-epoch')]),
  channels: bound,
  bytes: bound,
  sessions: bound,
  results: bound,
  replyCharacters: bound,
  queuedRequests: bound,
  queuedCharacters: bound
}

/**
 * A broker that keeps logs, results and sessions in an SQLite file: what is acknowledged is on the disk, and outlives
 * the process. For one node.
 * @throws FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION
 */
export function sqlite(options: SqliteOptions): BrokerFactory {
  assertKeys('sqlite.', options, OPTIONS)
  if (options.path === undefined) {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', 'sqlite.path', 'string', shown(options.path))
  }
  return context => openSqlite(context, options)
}

/** What a test puts in the place of the real driver or thread. */
export interface SqliteParts {
  readonly load?: typeof loadDriver
  readonly start?: ThreadOptions['start']
}

/** @throws FST_CHANNELS_NO_SQLITE, FST_CHANNELS_STORE_… */
export async function openSqlite(
  context: BrokerContext,
  options: SqliteOptions,
  parts: SqliteParts = {}
): Promise<Broker> {
  const { clock, logger } = context
  const { path, driver, worker, onDamaged, queuedRequests, queuedCharacters, ...bounds } = withDefaults(
    SQLITE_DEFAULTS,
    options
  )
  const store: StoreOptions = { path: resolve(path), onDamaged, bounds }
  const moment = (): Moment => ({ now: clock.wall(), chance: newEpoch(clock) })
  const told = ({ driver, movedTo }: Opened) => {
    if (movedTo !== null) logger.warn({ path, movedTo }, 'the store was damaged, and begins anew')
    logger.info({ path, driver }, 'the store is open')
  }
  if (worker) {
    const queue = { requests: queuedRequests, bytes: queuedCharacters }
    const link = new ThreadLink({ clock, moment, serve: { driver, store }, queue, start: parts.start })
    told(await link.open())
    return new SqliteBroker(context, link)
  }
  try {
    const loaded = await (parts.load ?? loadDriver)(driver)
    const here = new Store(loaded, store, moment())
    told({ driver: loaded.name, movedTo: here.movedTo })
    return new SqliteBroker(context, new DirectLink(here, moment))
  } catch (error) {
    throw fromFailure(toFailure(error))
  }
}
