import type { ChannelEvents, Joined, Received } from '../../client/channel.ts'
import type { Position } from '../../lib/protocol/position.ts'
import type { LeaveReason } from '../../lib/protocol/system.ts'

/** What an application heard through its client; `line` is the trace's length at that moment. */
export type Heard = { readonly at: number; readonly line: number } & What

export type What =
  | { readonly kind: 'message'; readonly via: string; readonly message: Received; readonly place: Place | null }
  | { readonly kind: 'joined'; readonly channel: string; readonly joined: Joined }
  | {
      readonly kind: 'gap'
      readonly channel: string
      readonly gap: Parameters<ChannelEvents['$gap']>[0]
      /** Where it goes on. */
      readonly position: Position | null
    }
  | { readonly kind: 'left'; readonly channel: string; readonly reason: LeaveReason }
  | { readonly kind: 'lost' }

/** Where a publication stands in its channel's log. */
export interface Place {
  readonly offset: number
  readonly tag: string
}
