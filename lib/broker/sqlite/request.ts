import type { Position } from '../../protocol/position.ts'
import type { Commit, Committed, KeptResult, ReadFrom, ReadLimits, ReadResult, SessionRecord } from '../broker.ts'
import type { Failure } from './store-error.ts'

/** What is asked of the store. Tags are made by whoever asks: the store has no chance of its own. */
export type Request =
  | readonly ['commit', commit: Commit, tags: readonly string[]]
  | readonly ['open', session: string, fence: number]
  | readonly ['end', session: string, fence: number]
  | readonly ['heads', channels: readonly string[]]
  | readonly ['read', channel: string, from: ReadFrom, limits: ReadLimits]
  | readonly ['result', session: string, id: number]

/** Where a publication came to stand: the epoch of its log, its offset, and the tag before. */
export type Place = readonly [epoch: string, offset: number, prev: string]

export type CommitAnswer =
  | { readonly kind: 'stored'; readonly places: readonly Place[] }
  | Exclude<Committed, { kind: 'stored' }>

/** What the store answers to each request. */
export interface Answers {
  readonly commit: CommitAnswer
  readonly open: SessionRecord | null
  readonly end: null
  readonly heads: readonly Position[]
  readonly read: ReadResult
  readonly result: KeptResult | null
}

export type Reply = { readonly value: Answers[keyof Answers] } | { readonly failure: Failure }

/** The time and chance that a group of requests comes with. */
export interface Moment {
  /** The wall clock: what is stored outlives the process, and its monotonic clock. */
  readonly now: number
  /** Becomes an epoch where a new one is needed. */
  readonly chance: string
}

export interface Batch extends Moment {
  readonly requests: readonly Request[]
}
