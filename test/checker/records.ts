// What a run writes down: one JSON object a line. Deliveries are kept as runs with a rolling hash, so that millions of them
// need megabytes. Times are milliseconds of the machine's monotonic clock, the same in every process.

/** Epoch, offset, tag. */
export type Place = readonly [epoch: string, offset: number, tag: string]

/** How a command ended. `never`: its client says that it was not sent. `pending`: it had not ended when the run did. */
export type Ending = 'ack' | 'nack' | 'unknown' | 'never' | 'pending'

/** A command of a publisher, from its call to its settlement. */
export interface Command {
  readonly k: 'command'
  /** The publisher's number. */
  readonly p: number
  /** Counts the publisher's commands on that channel, from 1. */
  readonly n: number
  readonly c: string
  readonly cmd: string
  readonly crc: number
  /** Its publication was excepted from its sender. */
  readonly x?: 1
  readonly at: number
  readonly done: number
  readonly end: Ending
  readonly code?: string
  readonly place?: Place | null
  readonly stored?: string
  /** The server process that ran it, counted from 1. */
  readonly boot?: number
}

/** One client's view of one channel, over all of its connections. */
export interface Subscriber {
  readonly k: 'subscriber'
  readonly s: string
  readonly c: string
  readonly p: number
  readonly user: string
  readonly kind: 'raw' | 'shipped' | 'auditor'
}

export interface Join {
  readonly k: 'join'
  readonly s: string
  readonly at: number
  readonly outcome: 'fresh' | 'recovered' | 'gap'
  readonly from?: number
  readonly to?: number
  readonly reason?: string
  readonly place: Place | null
  /** The position that the client came with; absent where it cannot be seen. */
  readonly given?: Place | null
  /** When the client asked; absent where it cannot be seen. */
  readonly asked?: number
}

/** Deliveries one after the other in one epoch and of one server process. */
export interface Run {
  readonly k: 'run'
  readonly s: string
  readonly at: number
  readonly until: number
  readonly epoch: string
  readonly boot: number
  readonly first: number
  readonly last: number
  /** The last one's. */
  readonly tag: string
  readonly hash: number
  /** Offsets that came as `$skip`. */
  readonly skips?: ReadonlyArray<readonly [offset: number, tag: string]>
  /** It was read by `$history`, not delivered. */
  readonly read?: 1
}

export interface Gap {
  readonly k: 'gap'
  readonly s: string
  readonly at: number
  readonly from?: number
  readonly to: number
  readonly reason: string
  readonly place: Place | null
}

/** The membership ended: by a `$left`, or `cut` with its connection. */
export interface Left {
  readonly k: 'left'
  readonly s: string
  readonly at: number
  readonly reason: string
}

/** Where a subscriber stood when the run ended. */
export interface Stand {
  readonly k: 'stand'
  readonly s: string
  readonly at: number
  readonly joined: boolean
  readonly place: Place | null
}

/** What a subscriber heard of a publisher outside of any log. */
export interface Unlogged {
  readonly k: 'unlogged'
  readonly s: string
  readonly p: number
  readonly last: number
  readonly count: number
}

/** An entry of a channel's log, as an auditor saw it. */
export interface Entry {
  readonly k: 'entry'
  readonly c: string
  readonly epoch: string
  readonly offset: number
  readonly tag: string
  readonly p: number
  readonly n: number
  readonly crc: number
  readonly boot: number
  readonly x?: 1
  /** Of the read at the end. */
  readonly final?: 1
}

/** A channel's log when the run ended; its entries are those marked `final`. */
export interface Final {
  readonly k: 'final'
  readonly c: string
  readonly place: Place
  /** The oldest offset that was still kept; head + 1 where nothing was. */
  readonly oldest: number
}

/** A server process. */
export interface Boot {
  readonly k: 'boot'
  readonly boot: number
  readonly at: number
  /** Its store was put back to what it was when that process had ended. */
  readonly restored?: number
}

/** A user had no access to a channel from one time (when the server took it back) to another (before it was told otherwise). */
export interface Revocation {
  readonly k: 'revocation'
  readonly user: string
  readonly c: string
  readonly at: number
  readonly until: number
}

export interface Fault {
  readonly k: 'fault'
  readonly kind: string
  readonly at: number
  readonly until: number
  readonly detail: string
}

/** Something that must not be. */
/** When something was told, and by which server process, where that is known. */
export interface Told {
  readonly at: number
  readonly boot?: number | undefined
}

export interface Anomaly {
  readonly k: 'anomaly'
  readonly rule: Rule
  readonly at?: number
  readonly c?: string
  readonly s?: string
  readonly detail: string
  /** The publisher and number of the command that it is about. */
  readonly of?: readonly [p: number, n: number]
  /** What it differs from. */
  readonly before?: Told
  /** What went on around it. */
  readonly around: readonly string[]
}

export type Item =
  | Command
  | Subscriber
  | Join
  | Run
  | Gap
  | Left
  | Stand
  | Unlogged
  | Entry
  | Final
  | Boot
  | Revocation
  | Fault
  | Anomaly

/** Every way in which a run can be wrong. */
export const RULES = {
  duplicate: 'a publication came twice',
  reorder: 'a publication came after one that follows it',
  'silent-hole': 'a publication is missing and no gap was told',
  'false-gap': 'a gap was told for no reason that the run gave',
  'gap-over-claim': 'a gap claims more, or other, than what is missing',
  'wrong-outcome': 'a join was answered by an outcome that does not fit the position given',
  invented: 'a publication that nobody sent',
  altered: 'a publication is not what was sent',
  'nacked-but-visible': 'a command that was refused, voided or never sent has taken effect',
  foreign: 'a publication came to somebody who may not have it',
  'excluded-told': 'a publication came to the one it was excepted from',
  'lost-ack': 'an acknowledged publication is gone',
  'double-store': 'one command has taken effect twice',
  'inconsistent-offset': 'two see different publications at one offset',
  'wrong-class': 'an acknowledgement names another durability than the store has',
  'real-time-order': 'what was acknowledged before another was sent comes after it',
  'publisher-order': 'the commands of one client on one channel took effect in another order',
  'early-ack': 'an acknowledgement came before the publication',
  'answer-changed': 'two answers to one command differ',
  unsettled: 'a command was never settled',
  'needless-unknown': 'it was told that nobody knows what became of a command, though the server has run all the time',
  late: 'a connected subscriber is not at the head 5 s after the fault',
  'not-back': 'a client has not come back',
  'not-converged': 'a subscriber does not end at the head',
  'sent-away': 'a client that kept to the rules was closed for good, or for silence',
  presence: 'who is there is not who is told to be there',
  leftovers: 'something is left that should be gone',
  'server-died': 'the server ended, or failed, by itself',
  'bad-frame': 'the server sent what the protocol does not allow',
  'hostile-served': 'a hostile request got what it must not get'
} as const

export type Rule = keyof typeof RULES

export function isRule(name: string): name is Rule {
  return Object.hasOwn(RULES, name)
}

/** The machine's monotonic clock in milliseconds. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
