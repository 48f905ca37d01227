import { Chance } from '../fixtures/chance.ts'
import type { Plan } from './plan.ts'
import { clientsOf } from './plan.ts'
import type { Disturbance } from './proxy.ts'

/** Faults of the server's process, one after the other. */
const PROCESS = ['kill', 'drain', 'pause', 'stall'] as const
/** And of its store. */
const STORE = ['disk-full', 'thread-death', 'rewind'] as const
/** Faults of some clients' links; several may overlap. */
const LINKS = [
  'reset',
  'freeze',
  'mute-down',
  'mute-up',
  'half-open',
  'delay'
] as const satisfies readonly Disturbance[]
const OTHERS = ['slow', 'garbage', 'revoke'] as const

export type FaultKind =
  | (typeof PROCESS)[number]
  | (typeof STORE)[number]
  | (typeof LINKS)[number]
  | (typeof OTHERS)[number]

export interface PlannedFault {
  readonly kind: FaultKind
  /** Milliseconds since the load began. */
  readonly at: number
  readonly ms: number
  /** Publishers' numbers of the clients that it concerns; all where it is of the server. */
  readonly clients: readonly number[]
  readonly seed: number
}

/** Faults come for so long, */
const STORM_MS = 13_000
/** and then none begins for so long: everybody must be at the head before the next. */
const CALM_MS = 7_500
/** From the begin of the load. */
const FIRST_MS = 1_500
/** What is served after a fault of the server, before the next one. */
const REST_MS = 900

const LENGTHS: Readonly<Record<FaultKind, readonly [least: number, most: number]>> = {
  kill: [0, 1_500],
  drain: [0, 500],
  pause: [500, 3_500],
  stall: [300, 3_500],
  'disk-full': [500, 2_500],
  'thread-death': [0, 0],
  rewind: [0, 500],
  reset: [0, 0],
  freeze: [300, 5_000],
  'mute-down': [500, 5_000],
  'mute-up': [500, 5_000],
  'half-open': [2_000, 5_000],
  delay: [1_000, 4_000],
  slow: [1_000, 4_000],
  garbage: [500, 2_000],
  revoke: [500, 2_500]
}

/** All faults of a run, by its seed. Each kind comes once before any comes again. */
export function scheduleOf(plan: Plan, stores: boolean): PlannedFault[] {
  const chance = new Chance(plan.seed).child(2)
  const kinds: FaultKind[] = [...PROCESS, ...LINKS, ...OTHERS]
  if (plan.log && plan.broker === 'sqlite')
    kinds.push('rewind', 'thread-death', ...(stores ? (['disk-full'] as const) : []))
  const proxied = clientsOf(plan).filter(client => client.proxied)
  const all = clientsOf(plan).filter(({ kind }) => kind !== 'auditor')
  const faults: PlannedFault[] = []
  const lastMs = plan.seconds * 1000 - 1_500
  let deck: FaultKind[] = []
  // The server is free again from then on.
  let freeAt = 0
  for (let at = FIRST_MS; at < lastMs; at += 700 + chance.below(1_000)) {
    const inRound = at % (STORM_MS + CALM_MS)
    if (inRound > STORM_MS) continue
    if (deck.length === 0) deck = shuffled(kinds, chance)
    const kind = deck.shift()!
    const [least, most] = LENGTHS[kind]
    const ms = least + chance.below(most - least + 1)
    const ofServer = isOfServer(kind)
    const start = ofServer ? Math.max(at, freeAt) : at
    if (ofServer) freeAt = start + ms + REST_MS + (['kill', 'drain', 'rewind'].includes(kind) ? 1_500 : 0)
    const among = kind === 'slow' || kind === 'revoke' ? all : proxied
    const share = kind === 'revoke' ? 0.03 : kind === 'slow' ? 0.05 : 0.1 + chance.next() * 0.6
    const clients = ofServer || kind === 'garbage' ? [] : among.filter(() => chance.next() < share).map(({ p }) => p)
    faults.push({ kind, at: start, ms, clients, seed: chance.below(1 << 30) })
  }
  return faults.sort((a, b) => a.at - b.at)
}

export function isOfServer(kind: FaultKind): boolean {
  return (PROCESS as readonly string[]).includes(kind) || (STORE as readonly string[]).includes(kind)
}

export function isOfLink(kind: FaultKind): kind is Disturbance {
  return (LINKS as readonly string[]).includes(kind)
}

function shuffled<T>(values: readonly T[], chance: Chance): T[] {
  const deck = [...values]
  for (let i = deck.length - 1; i > 0; i--) {
    const j = chance.below(i + 1)
    ;[deck[i], deck[j]] = [deck[j]!, deck[i]!]
  }
  return deck
}
