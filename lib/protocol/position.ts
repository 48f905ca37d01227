/**
 * A place in a channel's log. Two parts would not do: after a store was put back from a copy, epoch and offset count up
 * again over other messages, and only the tag tells them apart.
 */
export interface Position {
  readonly epoch: string
  readonly offset: number
  /** 48 random bits given when the entry was appended; empty at the head of an empty log. */
  readonly tag: string
}

/** Whether two positions are the same place of the same log. */
export function samePosition(a: Position, b: Position): boolean {
  return a.offset === b.offset && a.tag === b.tag && a.epoch === b.epoch
}

/** Where what is missing between two positions begins, where their numbers can be compared: those of two epochs cannot. */
export function gapStart(before: Position, after: Position): { readonly from?: number } {
  return before.epoch === after.epoch ? { from: before.offset } : {}
}

const TEXT = /^[A-Za-z0-9_-]{1,32}$/

/** Whether a value of a stranger's has the form of a position. */
export function isPosition(value: unknown): value is Position {
  if (typeof value !== 'object' || value === null) return false
  const { epoch, offset, tag } = value as Partial<Position>
  return (
    typeof epoch === 'string' &&
    TEXT.test(epoch) &&
    typeof tag === 'string' &&
    (tag === '' ? offset === 0 : TEXT.test(tag)) &&
    Number.isSafeInteger(offset) &&
    offset! >= 0
  )
}

export type GapReason = 'trimmed' | 'epoch-lost' | 'rewound' | 'slow' | 'over-limit' | 'store-error'

/** What a (re)joined subscription is told about what it missed. `from` is exclusive, `to` inclusive. */
export type Outcome =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'recovered'; readonly from: number; readonly to: number }
  | { readonly kind: 'gap'; readonly from?: number; readonly to: number; readonly reason: GapReason }
