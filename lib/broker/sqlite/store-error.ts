import type { ChannelsError, ErrorCode } from '../../errors.ts'
import { channelsError } from '../../errors.ts'

/** A failure as it goes from the thread of the store to the one that asked. */
export interface Failure {
  readonly code: ErrorCode
  readonly args: readonly (string | number)[]
  readonly cause: { readonly message: string; readonly code: string } | null
}

/** What the store throws; its code and the arguments of its text travel between threads. */
export class StoreError extends Error {
  readonly code: ErrorCode
  readonly args: readonly (string | number)[]

  constructor(code: ErrorCode, args: readonly (string | number)[], cause?: unknown) {
    super(`${code}: ${args.join(', ')}`, { cause })
    this.code = code
    this.args = args
  }
}

/** SQLite's result code, primary and by name, whichever driver threw; empty for what SQLite did not say. */
export function resultCode(error: unknown): string {
  const { code, errcode } = error as { code?: unknown; errcode?: unknown }
  // node:sqlite has the extended number, of which the low byte is the primary code.
  if (typeof errcode === 'number') return PRIMARY[errcode & 255] ?? `SQLITE_${errcode}`
  return typeof code === 'string' && code.startsWith('SQLITE_') ? code : ''
}

const PRIMARY: Readonly<Record<number, string>> = {
  5: 'SQLITE_BUSY',
  6: 'SQLITE_LOCKED',
  8: 'SQLITE_READONLY',
  10: 'SQLITE_IOERR',
  11: 'SQLITE_CORRUPT',
  13: 'SQLITE_FULL',
  14: 'SQLITE_CANTOPEN',
  26: 'SQLITE_NOTADB'
}

/** What the opening of a file met, as an error of ours. */
export function openingError(error: unknown, path: string): StoreError {
  if (error instanceof StoreError) return error
  const code = resultCode(error)
  const { message } = error as Error
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return new StoreError('FST_CHANNELS_STORE_LOCKED', [path], error)
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) return new StoreError('FST_CHANNELS_STORE_DAMAGED', [path, message], error)
  return new StoreError('FST_CHANNELS_STORE_FAILED', [`${path}: ${message}`], error)
}

export function toFailure(error: unknown): Failure {
  if (!(error instanceof StoreError)) {
    const { message } = error as Error
    return { code: 'FST_CHANNELS_STORE_FAILED', args: [message], cause: { message, code: resultCode(error) } }
  }
  const { code, args, cause } = error
  return {
    code,
    args,
    cause: cause === undefined ? null : { message: (cause as Error).message, code: resultCode(cause) }
  }
}

export function fromFailure({ code, args, cause }: Failure): ChannelsError {
  const error = channelsError(code, ...args)
  if (cause !== null) error.cause = Object.assign(new Error(cause.message), { code: cause.code })
  return error
}
