import type { Awaitable } from '../awaitable.ts'
import type { Logger } from '../log.ts'
import type { Clock } from '../protocol/clock.ts'
import type { GapReason, Position } from '../protocol/position.ts'
import type { Stored } from '../protocol/system.ts'

/** How much of a channel's log is kept; what is over any of the three is trimmed, oldest first. */
export interface LogPolicy {
  /** Publications; at least 1. */
  readonly entries: number
  /** Milliseconds since the publication; at least 1. */
  readonly ageMs: number
  /** Bytes of their text in UTF-8; at least 1. The newest publication is kept whatever its size. */
  readonly bytes: number
}

/** What is to be appended to a channel's log. */
export interface Publication {
  readonly channel: string
  /** The JSON text of the frame, without offset and tag. Nobody parses it again. */
  readonly text: string
  /** Who does not get it: `s:<session>` or `u:<profile id>`. Stored with it. */
  readonly except: readonly string[]
  readonly log: LogPolicy
}

/** A publication in a log. */
export interface Entry {
  /** 1 for the first of an epoch, then +1 each. */
  readonly offset: number
  /** 48 random bits in base64url, made when it was appended. */
  readonly tag: string
  /** The tag of the entry before; empty for the first of an epoch. */
  readonly prev: string
  readonly text: string
  readonly except: readonly string[]
}

/** How far the ids of a session have come. */
export interface Progress {
  /** The highest id accepted; those up to it are consumed, but for the holes. */
  readonly highest: number
  /** Ids below `highest` that are not consumed, ascending. */
  readonly holes: readonly number[]
}

/** The command that a commit is the effect of. */
export interface CommandRecord {
  /** The session's key: unique to session and profile. */
  readonly session: string
  /** The fencing number under which the node holds the session. */
  readonly fence: number
  readonly id: number
  /**
   * Progress as it is once this command is consumed. Its holes may name commands whose commits are under way, or were thought
   * to have failed: `holesOf` leaves out those that have been stored meanwhile.
   */
  readonly progress: Progress
  /** JSON text of the handler's reply; empty where it has none. */
  readonly reply: string
}

export interface Commit {
  readonly publications: readonly Publication[]
  readonly command: CommandRecord | null
}

/** What was answered to a command. */
export interface KeptResult {
  readonly reply: string
  /** Of the command's last publication; null where it made none. */
  readonly position: Position | null
}

export type Committed =
  /** All of it is stored; one position for each publication. */
  | { readonly kind: 'stored'; readonly positions: readonly Position[] }
  /** That session and id were committed before: nothing was stored now. */
  | { readonly kind: 'earlier'; readonly result: KeptResult }
  /** The id was committed before, and its result is gone: nothing was stored now. */
  | { readonly kind: 'expired' }
  /** Another connection has taken the session over: nothing was stored. */
  | { readonly kind: 'fenced' }

export interface SessionRecord extends Progress {
  /** The highest fencing number that the session was opened or committed with before. */
  readonly fence: number
}

/** A stretch of a log, ascending. */
export interface Page {
  readonly entries: readonly Entry[]
  /** The log's head when it was read. */
  readonly head: Position
  /** Whether the stretch reaches the head (reading on) or the oldest kept entry (reading back). */
  readonly complete: boolean
}

export type ReadResult =
  | ({ readonly kind: 'page' } & Page)
  /** The log does not hold that position any more, or never did. */
  | { readonly kind: 'lost'; readonly reason: GapReason; readonly head: Position }

/** Where to begin. `after` is a position that the reader has; `before` an offset exclusive of which it reads back. */
export type ReadFrom = { readonly after: Position } | { readonly before: Position | null }

export interface ReadLimits {
  readonly entries: number
  /** At least one entry is returned whatever its size. */
  readonly bytes: number
}

/** Takes a channel's entries, in log order, each once. It must not throw. */
export type Receiver = (entry: Entry, epoch: string) => void

/** What a broker is made with. */
export interface BrokerContext {
  readonly clock: Clock
  readonly logger: Logger
  /** Takes what `broadcast` was given, on every node but the one that gave it. It must not throw. */
  readonly onControl: (text: string) => void
}

/** Makes a broker, or rejects where it cannot work: then the server does not start. */
export type BrokerFactory = (context: BrokerContext) => Awaitable<Broker>

/**
 * Holds logs and carries publications between nodes. Each method may answer in the same turn, and one that fails rejects
 * or throws: then nothing of it was stored, unless the method says otherwise. Whoever calls it waits for nothing else
 * meanwhile, so it may take its time, and must come to an end.
 *
 * What `commit` promises is what our acknowledgements mean. In one step it appends all publications, each to its own log,
 * and records the command's result and the session's progress: all of it or nothing, whatever dies meanwhile. Once it
 * has resolved the step survives what `stored` names. Two commits of the same session and id store at most once; the
 * later one gets the earlier one's result. A commit under a lower fencing number than the session was opened with stores
 * nothing. A commit that rejects may have been stored where nobody can know (a broker that died meanwhile): committing
 * the same session and id again then tells.
 */
export interface Broker {
  /** What an acknowledged commit survives. */
  readonly stored: Stored
  /** Whether the last thing asked of the store went well. */
  readonly healthy: boolean
  commit(commit: Commit): Awaitable<Committed>
  /**
   * Gives every entry appended from now on to the receiver, in log order, and resolves to the head that they follow. One
   * receiver for each channel of a node.
   */
  subscribe(channel: string, receiver: Receiver): Awaitable<Position>
  /** Does nothing for a channel that is not subscribed to. */
  unsubscribe(channel: string): void
  /**
   * Reads on from a position, or back from one (from the head where it is null). `lost` where the log cannot vouch for
   * that position: `epoch-lost` where the epoch is another, `trimmed` where it is older than what is kept, `rewound` where
   * another publication stands there now, or none yet.
   */
  read(channel: string, from: ReadFrom, limits: ReadLimits): Awaitable<ReadResult>
  /** The heads of these logs. A log that was never written to has offset 0 and an empty tag, and its epoch is kept as well. */
  heads(channels: readonly string[]): Awaitable<readonly Position[]>
  /**
   * What is kept of a session; null where nothing is, as for one that never committed, whose number is not kept either.
   * Its fencing number is then raised to `fence` where that is higher; a record with a higher one means that somebody
   * else has the session.
   */
  openSession(session: string, fence: number): Awaitable<SessionRecord | null>
  /**
   * The kept result of a command; null where there is none. Results are kept for RESULT_AGE_MS or RESULT_IDS newer ids,
   * within the bounds that the broker sets to all sessions together.
   */
  result(session: string, id: number): Awaitable<KeptResult | null>
  /** Forgets a session, unless it was opened under a higher fencing number since. */
  endSession(session: string, fence: number): void
  /** Hands a text to `onControl` of every other node, at most once. */
  broadcast(text: string): void
  /** Ends the broker, with what was asked of it before being answered first. */
  close(): Promise<void>
}

/** Entries of a log that are read, and sent, at once. */
export const PAGE_ENTRIES = 500
/** A result may be forgotten once it is this old. */
export const RESULT_AGE_MS = 300_000
/** Or once the session has so many newer ids. */
export const RESULT_IDS = 10_000
/** Or once the newer results of its session have so many characters. */
export const RESULT_CHARACTERS = 4_194_304

/**
 * The holes of a session once a command's progress is recorded. What is no hole is none again: it was stored, or refused for good, whatever whoever
 * sends the command knew of it.
 */
export function holesOf(progress: Progress, before: Progress): readonly number[] {
  const { highest, holes } = before
  return progress.holes.filter(id => id > highest || holes.includes(id))
}

/** Of the last publication of a commit; null where it stored none. */
export function positionOf(committed: Committed): Position | null {
  if (committed.kind === 'earlier') return committed.result.position
  return committed.kind === 'stored' ? (committed.positions.at(-1) ?? null) : null
}
