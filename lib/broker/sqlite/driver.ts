import { StoreError } from './store-error.ts'

/** What goes into a statement and comes out of it. Whole numbers are safe integers. */
export type Value = string | number | null

export interface Statement {
  run(...values: Value[]): { readonly changes: number | bigint }
  get(...values: Value[]): unknown
  all(...values: Value[]): unknown[]
}

/** An open file. node:sqlite, better-sqlite3 and libsql have this form in common. */
export interface Database {
  exec(sql: string): unknown
  prepare(sql: string): Statement
  close(): unknown
  /** Not told by node:sqlite. */
  readonly inTransaction?: boolean | undefined
}

export interface Driver {
  readonly name: string
  open(path: string): Database
}

export type DriverName = 'node:sqlite' | 'better-sqlite3' | 'libsql'

type Constructor = new (path: string) => Database

/** How a driver is fetched; a test hands in its own. */
export type ImportModule = (name: string) => Promise<Record<string, unknown>>

const importModule: ImportModule = name => import(name)

/**
 * Loads a driver. `auto` is what Node brings, else libsql, which installs without a compiler on every Node that the
 * package supports; better-sqlite3 is never guessed, since its current release ends the process of an older Node.
 * @throws FST_CHANNELS_NO_SQLITE
 */
export async function loadDriver(wanted: DriverName | 'auto', load = importModule): Promise<Driver> {
  const missing: string[] = []
  for (const name of wanted === 'auto' ? (['node:sqlite', 'libsql'] as const) : [wanted]) {
    try {
      const module = await load(name)
      const Constructor = (module.DatabaseSync ?? module.default) as Constructor
      return { name, open: path => new Constructor(path) }
    } catch (error) {
      missing.push(`${name}: ${(error as { code?: string }).code ?? (error as Error).message}`)
    }
  }
  throw new StoreError('FST_CHANNELS_NO_SQLITE', [missing.join(', ')])
}
