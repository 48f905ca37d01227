import { parseArgs } from 'node:util'
import { Chance } from '../fixtures/chance.ts'
import { sabotage } from './sabotages.ts'

export type BrokerName = 'memory' | 'sqlite'

/** What a run is to do; everything else follows from it and its seed. */
export interface Plan {
  readonly broker: BrokerName
  /** Whether channels have logs. Without: at most once, in order, each command settled once. */
  readonly log: boolean
  readonly seconds: number
  readonly seed: number
  readonly clients: number
  readonly channels: number
  readonly workers: number
  /** Commands a second that the clients try to send. */
  readonly rate: number
  readonly sabotage: string | null
  readonly least: {
    readonly acked: number
    readonly deliveries: number
    readonly faults: number
    readonly kinds: number
  }
  /** The run is well where anomalies of the sabotage's rules are found, and only then. */
  readonly expectCaught: boolean
  /** Keep what was recorded. */
  readonly keep: boolean
}

export const USAGE = `npm run check:delivery -- [options]
  --broker memory|sqlite   what the server runs on (memory)
  --no-log                 channels without logs: order, at most once, settlements
  --seconds N              how long to send (60)
  --seed N                 schedule of faults and of the load (1)
  --clients N              clients, half of them the shipped one (200)
  --channels N             channels (20; at least 5)
  --workers N              processes of clients (2)
  --rate N                 commands a second (500)
  --sabotage NAME          run a build that is broken in that way
  --expect-caught          succeed where that is found, and only then
  --list                   the sabotages
  --keep                   leave the records in the folder of the run, and say where
  --min-acked N --min-deliveries N --min-faults N --min-kinds N   the least that a run must have done`

/** @throws where an option is unknown or makes no sense */
export function readPlan(args: readonly string[]): Plan | 'help' | 'list' {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean' } as const
  const { values } = parseArgs({
    args: [...args],
    options: {
      ...{ broker: text, seconds: text, seed: text, clients: text, channels: text, workers: text, rate: text },
      ...{ sabotage: text, 'min-acked': text, 'min-deliveries': text, 'min-faults': text, 'min-kinds': text },
      ...{ 'no-log': flag, 'expect-caught': flag, keep: flag, list: flag, help: flag }
    }
  })
  if (values.help) return 'help'
  if (values.list) return 'list'
  const { broker = 'memory' } = values
  if (broker !== 'memory' && broker !== 'sqlite') throw new Error(`no broker "${broker}"`)
  const seconds = count(values.seconds, 60, 5)
  const { sabotage: name, 'expect-caught': expectCaught = false } = values
  if (expectCaught && name !== undefined && sabotage(name).finds.length === 0) {
    throw new Error(`"${name}" is for the simulation alone: what it breaks does not show here`)
  }
  return {
    broker,
    log: !values['no-log'],
    seconds,
    seed: count(values.seed, 1, 0),
    clients: count(values.clients, 200, 4),
    channels: count(values.channels, 20, 5),
    workers: count(values.workers, 2, 1),
    rate: count(values.rate, 500, 1),
    sabotage: name ?? null,
    expectCaught,
    keep: values.keep ?? false,
    least: {
      acked: count(values['min-acked'], seconds * 250, 0),
      deliveries: count(values['min-deliveries'], seconds * 5000, 0),
      faults: count(values['min-faults'], Math.floor(seconds / 3), 0),
      kinds: count(values['min-kinds'], Math.min(6, Math.floor(seconds / 6)), 0)
    }
  }
}

function count(text: string | undefined, usual: number, least: number): number {
  if (text === undefined) return usual
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < least) throw new Error(`expected an integer from ${least}, got ${text}`)
  return value
}

export type ChannelKind = 'lobby' | 'deep' | 'shallow' | 'heavy'

export interface ChannelPlan {
  readonly name: string
  readonly kind: ChannelKind
  /** Whether all that a run stores is kept to its end. */
  readonly deep: boolean
}

/** How much of each kind's log is kept. */
export const LOGS = {
  lobby: { entries: 1_000_000, ageMs: 86_400_000, bytes: 1_073_741_824 },
  deep: { entries: 1_000_000, ageMs: 86_400_000, bytes: 1_073_741_824 },
  heavy: { entries: 1_000_000, ageMs: 86_400_000, bytes: 1_073_741_824 },
  shallow: { entries: 100, ageMs: 86_400_000, bytes: 1_073_741_824 }
} as const

export function channelsOf({ channels }: Plan): ChannelPlan[] {
  const shallow = Math.max(1, Math.floor(channels / 6))
  return Array.from({ length: channels }, (_, i): ChannelPlan => {
    if (i === 0) return { name: 'lobby', kind: 'lobby', deep: true }
    if (i === 1) return { name: 'heavy-0', kind: 'heavy', deep: true }
    const kind = i < 2 + shallow ? 'shallow' : 'deep'
    return { name: `${kind}-${i}`, kind, deep: kind === 'deep' }
  })
}

export interface ClientPlan {
  /** The publisher's number, from 1. */
  readonly p: number
  readonly user: string
  readonly kind: 'raw' | 'shipped' | 'auditor'
  /** Those that it joins itself; its route joins it to the lobby. */
  readonly channels: readonly string[]
  /** Whether it dials by way of the proxy. */
  readonly proxied: boolean
  /** A loopback address of its own, by which the proxy knows it. */
  readonly address: string
}

/** Members of the channel whose publications are large: few, so that a reader that stops can be told from the others. */
const HEAVY_MEMBERS = 6

export function clientsOf(plan: Plan): ClientPlan[] {
  const chance = new Chance(plan.seed).child(1)
  const channels = channelsOf(plan)
  const busy = channels.filter(({ kind }) => kind === 'deep' || kind === 'shallow').map(({ name }) => name)
  const clients = Array.from({ length: plan.clients }, (_, i): ClientPlan => {
    const p = i + 1
    const own = new Set<string>()
    while (own.size < Math.min(busy.length, 2 + chance.below(2))) own.add(chance.pick(busy))
    if (i < HEAVY_MEMBERS) own.add('heavy-0')
    // One in ten shares its user with the one before it: a second tab.
    const user = `user${i % 10 === 9 ? p - 1 : p}`
    const kind = i % 2 === 0 ? 'raw' : 'shipped'
    return { p, user, kind, channels: [...own], proxied: i % 5 < 2, address: address(p) }
  })
  const auditors = channels.map(({ name }, i): ClientPlan => {
    const p = 100_000 + i
    const own = name === 'lobby' ? [] : [name]
    return { p, user: `auditor${i}`, kind: 'auditor', channels: own, proxied: false, address: address(p) }
  })
  return [...clients, ...auditors]
}

function address(p: number): string {
  return `127.1.${1 + (Math.floor(p / 250) % 250)}.${1 + (p % 250)}`
}
