import type { Net, World } from 'fastify-channels/testing'
import type { Deed, Deeds } from './deeds.ts'
import { STRANGER } from './stranger.ts'
import { Wire } from './wire.ts'

export type Complain = (what: string) => void
export type Stored = ReturnType<World['stored']>[number]

const ROOMS = ['room-0', 'room-1', 'room-2']

/** Everything in which a story broke a promise. */
export async function judge(
  simulation: Net | World,
  deeds: Deeds,
  strangers: readonly string[],
  prompt: boolean
): Promise<string[]> {
  const found: string[] = []
  const complain = (what: string): void => void found.push(what)
  try {
    await simulation.expectNoLoss()
  } catch (error) {
    complain(`loss: ${(error as Error).message}`)
  }
  const stored = ROOMS.flatMap(name => simulation.stored(name))
  const byTag = new Map(stored.map(one => [one.tag, one]))
  const users = new Map(simulation.clients.map(({ name, user }) => [name, user!]))
  for (const name of strangers) users.set(name, STRANGER)
  new Wire(users, byTag, prompt, complain).read(simulation.trace)
  judgePages(deeds, byTag, complain)
  if (simulation.nodes.length === 1) judgePresence(simulation, complain)
  for (const { name, socket } of simulation.clients) {
    if (socket.state.name !== 'connected') complain(`not-back: ${name} is ${socket.state.name}`)
    // What waits for a channel that nobody joins waits until somebody gives it up.
    socket.disconnect()
  }
  await simulation.settle()
  judgeCommands(deeds, stored, knowing(simulation), complain)
  return found
}

/**
 * Whether somebody must have known what became of a command: in one session that never ended the store knows what it has
 * taken, and the node, as long as it lives, the rest.
 */
type Knowing = (deed: Deed, isStored: boolean) => boolean

function knowing({ clients, trace }: Net | World): Knowing {
  const steady = new Set(clients.filter(({ sessions }) => sessions.size === 1).map(({ name }) => name))
  const forgot = /fault: (killed|drains)/.test(trace)
  return ({ client, cmd, late }, isStored) => !late && cmd !== 'type' && steady.has(client) && (isStored || !forgot)
}

function judgeCommands(
  { commands, publications }: Deeds,
  stored: readonly Stored[],
  isKnown: Knowing,
  complain: Complain
): void {
  const places = new Map<number, Stored[]>()
  for (const one of stored) {
    const { cmd, param } = JSON.parse(one.text)
    if (cmd === 'said') places.set(param.n, [...(places.get(param.n) ?? []), one])
  }
  for (const deed of commands) {
    const taken = places.get(deed.n) ?? []
    judgeCommand(deed, taken, complain)
    if (deed.end === 'unknown' && isKnown(deed, taken.length > 0))
      complain(`needless-unknown: ${deed.client} ${deed.cmd} ${deed.n}`)
  }
  for (const { n, stored: kept } of publications.values()) {
    const times = places.get(n)?.length ?? 0
    if (times > 1 || (kept && times === 0)) complain(`publication ${n}: stored ${times} times, acked: ${kept}`)
  }
  judgeOrder(commands, stored, complain)
}

function judgeCommand(
  { client, cmd, n, ends, end, code, position, reply, stored }: Deed,
  places: readonly Stored[],
  complain: Complain
): void {
  const what = `${client} ${cmd} ${n}`
  if (ends !== 1) complain(`not-settled: ${what}`)
  if (places.length > 1) complain(`double: ${what} at ${places.map(({ offset }) => offset)}`)
  if (end === 'refused' && places.length > 0) complain(`refused-and-stored: ${what} ${code}`)
  if (end !== 'acked') return
  if (stored !== (cmd === 'type' ? 'none' : 'disk')) complain(`wrong-class: ${what} ${stored}`)
  if (cmd === 'say' && (reply as { n?: number } | undefined)?.n !== n && reply !== undefined)
    complain(`wrong-answer: ${what}`)
  if (cmd === 'type') {
    if (position !== null) complain(`place-of-ephemeral: ${what}`)
    return
  }
  const [place] = places
  if (place === undefined) complain(`lost-ack: ${what}`)
  else if (place.offset !== position?.offset || place.tag !== position.tag) complain(`wrong-place: ${what}`)
}

/** What one client sent to one channel is stored in that order; but for what is unknown, which a lost link may bring late. */
function judgeOrder(commands: readonly Deed[], stored: readonly Stored[], complain: Complain): void {
  const by = new Map(
    commands.flatMap(({ n, client, channel, end }) => (end === 'unknown' ? [] : [[n, `${client} ${channel}`]]))
  )
  const last = new Map<string, number>()
  for (const { text, epoch } of stored) {
    const { n } = JSON.parse(text).param
    const who = by.get(n)
    if (who === undefined) continue
    const key = `${who} ${epoch}`
    if ((last.get(key) ?? 0) > n) complain(`order: ${who} ${n} after ${last.get(key)}`)
    last.set(key, n)
  }
}

/** Once all is quiet everybody who is in a room sees those who are, and nobody else. */
function judgePresence({ clients }: Net | World, complain: Complain): void {
  for (const channel of ROOMS) {
    const inside = clients.filter(({ joined }) => joined.includes(channel))
    const users = [...new Set(inside.map(({ user }) => user!))].sort()
    for (const { name, socket } of inside) {
      const seen = socket
        .channel(channel)
        .presence?.members?.map(({ id }: { id: string }) => id)
        .sort()
      if (`${seen}` !== `${users}`) complain(`presence: ${name} sees ${seen} in ${channel}, there are ${users}`)
    }
  }
}

function judgePages({ pages }: Deeds, byTag: ReadonlyMap<string, Stored>, complain: Complain): void {
  for (const { client, user, channel, messages } of pages) {
    let before = 0
    for (const { position, param } of messages) {
      const stored = byTag.get(position?.tag)
      if (stored === undefined || stored.channel !== channel) complain(`page-invented: ${client} ${channel}`)
      else if (JSON.parse(stored.text).param.n !== param.n) complain(`page-altered: ${client} ${channel}`)
      else if (stored.except.includes(`u:${user}`)) complain(`page-excepted: ${client} ${channel}`)
      if (position.offset <= before) complain(`page-order: ${client} ${channel}`)
      before = position.offset
    }
  }
}
