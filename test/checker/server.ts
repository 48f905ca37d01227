// The server under test: an ordinary application of the built package. It is told what to do, and what to break, by messages
// of its parent; it is killed, stopped and drained by signals.
import { readdirSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import workers, { Worker } from 'node:worker_threads'
import { fastify } from 'fastify'
import type { ChannelsOptions, CommandContext, LogPolicy, Profile } from 'fastify-channels'
import { act, badRequest, channels, memory, sqlite } from 'fastify-channels'
import { command, defineChannel, ephemeral, Type } from 'fastify-channels/protocol'
import type { Payload } from './payload.ts'
import type { ChannelKind, Plan } from './plan.ts'
import { LOGS } from './plan.ts'
import { now } from './records.ts'
import { CLOSE_GRACE_MS, HEARTBEAT_MS, RAISED } from './server-settings.ts'

export interface ServerSettings {
  readonly plan: Plan
  /** Counts the server processes of a run, from 1. */
  readonly boot: number
  /** 0 takes any. */
  readonly port: number
  /** The database of the SQLite broker. */
  readonly path: string
  /** `user channel` of those who have no access, from before this process. */
  readonly denied: readonly string[]
}

export type ServerOrder =
  | { readonly do: 'stall'; readonly ms: number }
  | { readonly do: 'end-thread' }
  | { readonly do: 'publish'; readonly ref: number; readonly channel: string; readonly payload: Payload }
  | {
      readonly do: 'revoke'
      readonly ref: number
      readonly user: string
      readonly channel: string
      readonly payload: Payload
    }
  | { readonly do: 'grant'; readonly ref: number; readonly user: string; readonly channel: string }
  | { readonly do: 'look'; readonly ref: number }

const settings = JSON.parse(process.argv[2]!) as ServerSettings
const { plan, boot } = settings
const denied = new Set(settings.denied)

process.on('uncaughtException', error => fail('uncaughtException', error))
process.on('unhandledRejection', error => fail('unhandledRejection', error))
// Without its parent nobody would ever end it.
process.on('disconnect', () => process.exit(1))

/** Threads of this process, of which only the store has any. */
const threads: StoreThread[] = []
/** Of whom nothing is heard any more. */
const dying = new WeakSet<Worker>()
class StoreThread extends Worker {
  constructor(...args: ConstructorParameters<typeof Worker>) {
    super(...args)
    threads.push(this)
  }

  /**
   * It dies of what it cannot read, and what it may have answered before is lost: between two calls of its driver, as libsql
   * (0.5.29) ends the whole process where its thread is stopped amid one.
   */
  die(): void {
    dying.add(this)
    this.postMessage('no JSON')
  }

  override emit(event: string | symbol, ...args: unknown[]): boolean {
    return !(dying.has(this) && event === 'message') && super.emit(event, ...args)
  }
}
workers.Worker = StoreThread
syncBuiltinESMExports()

const Published = Type.Object({
  p: Type.Integer(),
  n: Type.Integer(),
  c: Type.String(),
  k: Type.Integer(),
  x: Type.Optional(Type.Literal(1)),
  z: Type.String(),
  b: Type.Optional(Type.Integer())
})
const Reply = Type.Object({ b: Type.Integer() })
const parts = {
  events: { said: Published, nudged: ephemeral(Published) },
  commands: {
    say: command(Published, { reply: Reply }),
    nudge: command(Published, { reply: Reply }),
    fail: command(Published)
  }
} as const

const app = fastify({ logger: false })
await app.register(channels, {
  limits: RAISED,
  heartbeatMs: HEARTBEAT_MS,
  closeGraceMs: CLOSE_GRACE_MS,
  checkEvents: false,
  userChannel: false,
  profile: request => {
    const id = request.headers['x-user']
    return typeof id === 'string' ? ({ id } as Profile) : null
  },
  onError: error => send({ failed: describe('onError', error), store: isOfStore(error) }),
  ...brokerOption()
})

for (const kind of ['lobby', 'deep', 'shallow', 'heavy'] as const) {
  const definition = defineChannel(kind === 'lobby' ? 'lobby' : `${kind}-:n`, parts)
  app.sockets.serve(definition, {
    access: ({ profile, channel }) => profile !== null && !denied.has(`${profile.id} ${channel}`),
    commands: {
      say: (param, context) => say(param, context),
      nudge: (param, context) => {
        context.publish({ cmd: 'nudged', param: { ...param, b: boot } })
        return { b: boot }
      },
      fail: (param, context) => {
        say(param, context)
        throw badRequest('as asked')
      }
    },
    presence: kind !== 'lobby',
    ...logRule(kind)
  })
}
app.get(
  '/ws',
  act('ws', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)

function say(param: Payload, context: Pick<CommandContext<any>, 'publish'>): { b: number } {
  context.publish({ cmd: 'said', param: { ...param, b: boot } } as never, { exceptSender: param.x === 1 })
  return { b: boot }
}

/** More than a run stores: what is trimmed is trimmed by the channels' own policies. */
const STORE_BYTES = 4_294_967_296

function brokerOption(): Pick<ChannelsOptions, 'broker'> {
  if (!plan.log) return {}
  const { path } = settings
  return { broker: plan.broker === 'memory' ? memory({ bytes: STORE_BYTES }) : sqlite({ path, bytes: STORE_BYTES }) }
}

function logRule(kind: ChannelKind): { log?: LogPolicy } {
  return plan.log ? { log: LOGS[kind] } : {}
}

let listens = (): void => {}
const listening = new Promise<void>(resolve => {
  listens = resolve
})

process.on('message', (order: ServerOrder) => {
  void carryOut(order).catch(error => fail(order.do, error))
})

async function carryOut(order: ServerOrder): Promise<void> {
  await listening
  if (order.do === 'stall') return stall(order.ms)
  if (order.do === 'end-thread') return void threads.at(-1)?.die()
  if (order.do === 'look') return send({ ref: order.ref, ...look() })
  if (order.do === 'publish') return send({ ref: order.ref, ...(await publish(order.channel, order.payload)) })
  const { ref, user, channel } = order
  if (order.do === 'grant') {
    denied.delete(`${user} ${channel}`)
    return send({ ref })
  }
  denied.add(`${user} ${channel}`)
  const at = now()
  // What was published in this turn is still in our hands: whoever loses access in it must not get it.
  const publishing = publish(channel, order.payload)
  await app.sockets.revoke(user, channel)
  send({ ref, at, ...(await publishing) })
}

async function publish(channel: string, payload: Payload): Promise<object> {
  try {
    const published = await app.sockets.broadcast(channel, { cmd: 'said', param: { ...payload, b: boot } })
    return { position: published?.position ?? null }
  } catch (error) {
    // A store that is full, say: nothing may have been published.
    return { refused: (error as { code?: string }).code ?? String(error) }
  }
}

/** A loop that takes no turn: what a slow regular expression or a huge JSON does to a process. */
function stall(ms: number): void {
  const end = now() + ms
  while (now() < end);
}

function look(): object {
  const { connections, channels, users, pendingHandshakes, opened, closed, refusals, messagesOut } = app.sockets.stats()
  const resources: Record<string, number> = {}
  for (const name of process.getActiveResourcesInfo()) resources[name] = (resources[name] ?? 0) + 1
  const stats = { connections, channels, users, pendingHandshakes, links: opened - closed }
  const descriptors = readdirSync('/proc/self/fd').length
  return {
    stats,
    resources,
    descriptors,
    refusals,
    messagesOut,
    memory: process.memoryUsage(),
    cpu: process.cpuUsage()
  }
}

process.on('SIGTERM', () => {
  app.close().then(
    () => process.exit(0),
    error => fail('close', error)
  )
})

function send(message: object): void {
  if (process.connected) process.send!(message)
}

/** Whether it says that the store could not: what a full disk leads to, or a stop. */
function isOfStore(error: unknown): boolean {
  return String((error as { code?: string }).code).startsWith('FST_CHANNELS_STORE_')
}

function describe(where: string, error: unknown): string {
  return `${where}: ${(error as Error)?.stack ?? String(error)}`
}

function fail(where: string, error: unknown): void {
  process.send?.({ failed: describe(where, error) }, () => process.exit(70))
  setTimeout(() => process.exit(70), 500).unref()
}

const url = await app.listen({ port: settings.port, host: '127.0.0.1' })
listens()
send({ ready: Number(new URL(url).port), at: now(), ...look() })
