import type { CommandContext } from 'fastify-channels'
import { command, defineChannel, ephemeral, Type } from 'fastify-channels/protocol'
import type { Chance, Fault, KitClient, Net, World } from 'fastify-channels/testing'
import { createNet, createWorld } from 'fastify-channels/testing'
import { Deeds } from './deeds.ts'
import { judge } from './judge.ts'
import { Stranger } from './stranger.ts'

/** Faults after which nothing may be missing: the store is kept, and what a node was not sent by another is a bus's. */
const FAULTS: readonly Fault[] = [
  ...(['cut', 'reset', 'half-open', 'drop', 'delay', 'stop-reading', 'offline', 'suspend', 'stall'] as const),
  ...(['kill', 'drain', 'refuse', 'fail-broker'] as const)
]

/** Faults that hold nothing back on its way: what a revocation has not stopped shows at once. */
const PROMPT: readonly Fault[] = ['cut', 'reset', 'kill', 'drain', 'fail-broker', 'refuse']

/** Stories in which what was written has arrived in the same moment. */
export const prompt = (seed: number): boolean => seed % 4 === 0

const numbered = Type.Object({ n: Type.Integer(), fill: Type.Optional(Type.String()) })

const room = defineChannel('room-:n', {
  events: { said: numbered, typing: ephemeral(numbered) },
  commands: { say: command(numbered, { reply: numbered }), type: command(numbered), both: command(numbered) }
})

const LOGS = [
  { entries: 1_000, ageMs: 3_600_000, bytes: 4_194_304 },
  { entries: 12, ageMs: 3_600_000, bytes: 4_194_304 },
  { entries: 1_000, ageMs: 15_000, bytes: 4_000 }
]

export interface StoryOptions {
  readonly seed: number
  /** Through the plugin and Fastify, or service and client alone. */
  readonly form: 'net' | 'world'
  readonly steps: number
}

/** What was found wrong in a story, how much was done in it, and what happened. */
export interface Told {
  readonly found: readonly string[]
  readonly done: Readonly<Record<string, number>>
  readonly trace: string
}

/** One story from its seed: what was found wrong, and how much was done. */
export async function tell({ seed, form, steps }: StoryOptions): Promise<Told> {
  const story = new Story(seed, form === 'net' ? await net(seed) : await world(seed))
  return story.run(steps)
}

/** Bytes that a connection holds in stories of narrow ones. */
const NARROW_BYTES = 4_096

/** With what the client's process has read ahead: what of it came before a revocation may be heard after it. */
export const HELD_BYTES = NARROW_BYTES + 16_384

const narrow = (seed: number): boolean => seed % 5 === 0 || seed % 8 === 4

const options = (seed: number) => ({
  seed,
  nodes: 1 + (seed % 2),
  latencyMs: [0, prompt(seed) ? 0 : 20] as const,
  brokerMs: seed % 3 === 0 ? ([0, 30] as const) : ([0, 0] as const),
  // Shorter than the faults: what a session was is then known by the store alone.
  sessionMs: seed % 7 === 3 ? 1_000 : 300_000,
  socketBytes: narrow(seed) ? NARROW_BYTES : 65_536,
  ...(bounded(seed) && { store: seed % 2 === 0 ? { channels: 2 } : { bytes: 6_000 } })
})

/** Stores that hold less than the story uses: whole logs go, under their members. */
const bounded = (seed: number): boolean => seed % 9 === 5

/** Rooms that take less than is sent to them, so that much of it is refused for now. */
const hurried = (seed: number): boolean => seed % 11 === 6

/** Clients that load a state where they join, and hear of everything once it is there. */
const loading = (seed: number): boolean => seed % 10 === 7

/** A store is lost now and then, and with it what it had acknowledged: the new epoch says so. */
const wiped = (seed: number): boolean => seed % 14 === 8

function faultsOf(seed: number): readonly Fault[] {
  if (prompt(seed)) return PROMPT
  if (wiped(seed)) return [...FAULTS, 'kill-and-wipe']
  return seed % 2 === 1 ? [...FAULTS, 'lose-entry'] : FAULTS
}

const rules = (seed: number, clock: () => Net['clock']) => ({
  log: LOGS[seed % LOGS.length]!,
  presence: true,
  ...(hurried(seed) && { limits: { messagesPerSecond: 3 } }),
  // What it answers is what was true when it was asked.
  access: ({ profile, channel }: any) => {
    const allowed = !denied.get(seed)!.has(`${profile?.id} ${channel}`)
    if (seed % 3 !== 1) return allowed
    return new Promise<boolean>(resolve => void clock().after(20, () => resolve(allowed)))
  },
  commands: {
    say: (param: any, context: CommandContext<typeof room>) => {
      context.publish({ cmd: 'said', param })
      return param
    },
    type: (param: any, context: CommandContext<typeof room>) =>
      context.publish({ cmd: 'typing', param }, { exceptSender: true }),
    both: (param: any, context: CommandContext<typeof room>) => {
      context.publish({ cmd: 'typing', param })
      context.publish({ cmd: 'said', param }, { exceptSender: true })
    }
  }
})

/** Who may not enter which room, by seed. */
const denied = new Map<number, Set<string>>()

async function net(seed: number): Promise<Net> {
  denied.set(seed, new Set())
  let made: Net | undefined
  const clock = () => made!.clock
  const { sessionMs, ...simulation } = options(seed)
  made = await createNet({
    ...simulation,
    options: { sessionMs },
    setup: (app: any) => void app.sockets.serve(room, rules(seed, clock))
  })
  return made
}

async function world(seed: number): Promise<World> {
  denied.set(seed, new Set())
  let made: World | undefined
  const clock = () => made!.clock
  made = await createWorld({ ...options(seed), setup: (sockets: any) => void sockets.serve(room, rules(seed, clock)) })
  return made
}

const ROOMS = ['0', '1', '2'] as const

/** How long the sender of a command waits. */
const TIMEOUT_MS = 10_000

/** Publications of 300 bytes: more than a narrow connection holds that is not read from. */
const PRESSED = 100

class Story {
  readonly #seed: number
  readonly #simulation: Net | World
  readonly #deeds = new Deeds()
  readonly #chance: Chance
  readonly #found: string[] = []
  readonly #stranger: Stranger
  /** Who is out by which revocation. */
  readonly #revoked = new Map<string, number>()
  #n = 0

  constructor(seed: number, simulation: Net | World) {
    this.#seed = seed
    this.#simulation = simulation
    this.#chance = simulation.chance
    this.#stranger = new Stranger(simulation, what => this.#found.push(what))
  }

  async run(steps: number): Promise<Told> {
    const simulation = this.#simulation
    // Two of one user, for what is the user's and what is the session's.
    for (const id of ['u0', 'u0', 'u1', 'u2']) simulation.client({ profile: { id }, socket: SOCKET })
    for (const [i, client] of simulation.clients.entries()) {
      for (const n of ROOMS.slice(0, 1 + (i % 3))) client.socket.join('room-:n', { n }, this.#loadState())
    }
    simulation.chaos({
      ms: steps * 150,
      everyMs: 900,
      lastsMs: [10, 4_000],
      faults: faultsOf(this.#seed)
    })
    for (let step = 0; step < steps; step++) {
      await this.#step()
      await simulation.advance(this.#chance.below(300))
    }
    await simulation.heal()
    await simulation.advance(90_000)
    // What a node lost on its way from the broker is found when something comes after it.
    for (const n of ROOMS) this.#broadcast(n, 'said')
    await simulation.advance(10_000)
    const judged = await judge(simulation, this.#deeds, this.#stranger.names, prompt(this.#seed))
    const found = [...this.#found, ...judged]
    const { trace } = simulation
    await simulation.close()
    denied.delete(this.#seed)
    return { found, done: this.#deeds.counts, trace }
  }

  async #step(): Promise<void> {
    const plan = this.#chance.below(22)
    const client = this.#chance.pick(this.#simulation.clients)
    const n = this.#chance.pick(ROOMS)
    if (plan < 9) this.#send(client, n, this.#chance.pick(['say', 'say', 'say', 'both', 'type']))
    else if (plan < 12) this.#broadcast(n)
    else if (plan === 12) for (let i = this.#chance.below(40); i > 0; i--) this.#broadcast(n)
    else if (plan === 13) client.socket.join('room-:n', { n })
    else if (plan === 14) client.socket.leave(`room-${n}`)
    else if (plan === 15) this.#revoke(client.user!, n)
    else if (plan === 16) this.#history(client, n)
    else if (plan === 17) for (let i = hurried(this.#seed) ? 30 : 5; i > 0; i--) this.#send(client, n, 'say')
    else if (plan === 18) client.socket.reconnect()
    else if (plan === 19) this.#rejoin(client)
    else if (plan === 20) this.#intrude(n)
    else if (prompt(this.#seed) && narrow(this.#seed)) this.#press(client, n)
  }

  #loadState(): { loadState?: () => Promise<void> } {
    if (!loading(this.#seed)) return {}
    const { clock } = this.#simulation
    return { loadState: () => new Promise(resolve => void clock.after(this.#chance.below(2_000), resolve)) }
  }

  #intrude(n: string): void {
    this.#deeds.count('strangers')
    this.#stranger.come(`room-${n}`, `room-${this.#chance.pick(ROOMS.filter(other => other !== n))}`)
  }

  /** Access is taken back while much is on its way to somebody who does not read. */
  #press(client: KitClient<any>, n: string): void {
    if (!client.joined.includes(`room-${n}`)) return
    client.stopReading()
    for (let i = 0; i < PRESSED; i++) this.#broadcast(n, 'said', 'x'.repeat(300))
    // In the same turn it is still ours to take back, and later with the link alone.
    this.#simulation.clock.after(this.#chance.pick([0, 5]), () => this.#revoke(client.user!, n))
    this.#simulation.clock.after(10 + this.#chance.below(8_000), () => client.resumeReading())
  }

  #send(client: KitClient<any>, n: string, cmd: string): void {
    const id = ++this.#n
    const fill = this.#chance.oneIn(8) ? { fill: 'x'.repeat(this.#chance.below(200)) } : {}
    const channel = client.socket.channel('room-:n', { n })
    const { clock } = this.#simulation
    const ttlMs = this.#chance.oneIn(10) ? { ttlMs: 1 + this.#chance.below(3_000) } : {}
    const timeoutMs = this.#chance.oneIn(10) ? 1 + this.#chance.below(3_000) : TIMEOUT_MS
    const until = clock.monotonic() + timeoutMs
    const sending = channel.send(cmd, { n: id, ...fill }, { ...ttlMs, timeoutMs })
    this.#deeds.sent(client.name, channel.name, cmd, id, sending, () => clock.monotonic() >= until)
  }

  #broadcast(n: string, cmd = this.#chance.oneIn(4) ? 'typing' : 'said', fill?: string): void {
    const id = ++this.#n
    const except = this.#chance.oneIn(5) ? { except: { user: this.#chance.pick(['u0', 'u1']) } } : undefined
    const node = this.#simulation.nodes.find(({ state }) => state === 'up')
    if (node === undefined) return
    const sockets = 'app' in node ? node.app.sockets : node.sockets
    this.#deeds.published(
      id,
      cmd,
      sockets.broadcast(`room-${n}`, { cmd, param: { n: id, ...(fill && { fill }) } }, except)
    )
  }

  /** Access is taken back on every node, and given again after a while. */
  #revoke(user: string, n: string): void {
    const channel = `room-${n}`
    const rights = denied.get(this.#seed)!
    const key = `${user} ${channel}`
    if (rights.has(key)) return
    rights.add(key)
    const simulation = this.#simulation
    const node = simulation.nodes.find(({ state }) => state === 'up')
    if (node !== undefined && simulation.nodes.length === 1) {
      const sockets = 'app' in node ? node.app.sockets : node.sockets
      const turn = ++this.#n
      this.#revoked.set(key, turn)
      this.#deeds.revoking(sockets.revoke(user, channel), () => {
        // Where it took longer than access was denied for, it forbids nothing any more.
        if (this.#revoked.get(key) === turn) this.#mark(`revoked ${key}`)
      })
    }
    simulation.clock.after(500 + this.#chance.below(3_000), () => {
      rights.delete(key)
      this.#revoked.delete(key)
      this.#mark(`granted ${key}`)
    })
  }

  /** A line of the story's own in the trace. */
  #mark(line: string): void {
    ;(this.#simulation as unknown as { tracer: { add(who: string, what: string): void } }).tracer.add('story', line)
  }

  #history(client: KitClient<any>, n: string): void {
    const channel = client.socket.channel('room-:n', { n })
    const { position } = channel
    const from =
      position === null || this.#chance.oneIn(2)
        ? {}
        : this.#chance.oneIn(2)
          ? { before: position }
          : { after: position }
    this.#deeds.asked(
      client.name,
      client.user!,
      channel.name,
      channel.history({ ...from, limit: 1 + this.#chance.below(50) })
    )
  }

  /** Who was put out asks again; whoever lost a channel too. */
  #rejoin(client: KitClient<any>): void {
    for (const n of ROOMS) if (this.#chance.oneIn(2)) client.socket.channel('room-:n', { n }).join()
  }
}

const SOCKET = { backoff: { minMs: 10, maxMs: 1_000 }, queue: { count: 10_000, bytes: 16_777_216 } }
