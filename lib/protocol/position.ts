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

export type GapReason = 'trimmed' | 'epoch-lost' | 'rewound' | 'slow' | 'over-limit' | 'store-error'

/** What a (re)joined subscription is told about what it missed. `from` is exclusive, `to` inclusive. */
export type Outcome =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'recovered'; readonly from: number; readonly to: number }
  | { readonly kind: 'gap'; readonly from?: number; readonly to: number; readonly reason: GapReason }
