import type { Position } from '../../protocol/position.ts'
import type { LogPolicy } from '../broker.ts'

/** What is known of a log without reading its entries; kept in memory for those that are in use. */
export interface LogHead {
  /** Of its row; 0 for one that was never written to. */
  id: number
  readonly name: string
  readonly epoch: string
  head: number
  tag: string
  /** The last entry that is not kept any more. */
  base: number
  baseTag: string
  bytes: number
  /** Minutes of the wall clock, so that the index of it changes rarely. */
  used: number
  policy: LogPolicy
  /** When the oldest and the newest entry were appended; 0 for the oldest where it has to be looked up. */
  oldestAt: number
  newestAt: number
}

export interface LogHeadRow {
  readonly id: number
  readonly name: string
  readonly epoch: string
  readonly head: number
  readonly tag: string
  readonly base: number
  readonly base_tag: string
  readonly bytes: number
  readonly used: number
  readonly max_entries: number
  readonly max_age: number
  readonly max_bytes: number
}

export function neverWritten(name: string, epoch: string): LogHead {
  const policy = { entries: 1, ageMs: 1, bytes: 1 }
  return {
    id: 0,
    name,
    epoch,
    head: 0,
    tag: '',
    base: 0,
    baseTag: '',
    bytes: 0,
    used: 0,
    policy,
    oldestAt: 0,
    newestAt: 0
  }
}

export function fromRow(row: LogHeadRow, newestAt: number): LogHead {
  const { id, name, epoch, head, tag, base, base_tag: baseTag, bytes, used } = row
  const policy = { entries: row.max_entries, ageMs: row.max_age, bytes: row.max_bytes }
  return { id, name, epoch, head, tag, base, baseTag, bytes, used, policy, oldestAt: 0, newestAt }
}

export function position({ epoch, head, tag }: LogHead): Position {
  return { epoch, offset: head, tag }
}
