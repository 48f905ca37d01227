// Our side of the benchmarks: the whole service with its defaults. What a benchmark would run into is raised, and printed.
// PORT, BROKER (`memory`, or `sqlite:` and the path of a file) and LOG=1 (channels with a log) choose; PRESENCE=1 gives
// every connection a user of its own, of whom the channel's members are told; PUBLISH=CHANNELS:RATE publishes by itself.
import { createRequire } from 'node:module'
import { fastify } from 'fastify'
import { act, channels, memory, sqlite } from 'fastify-channels'
import { command, defineChannel, Type } from 'fastify-channels/protocol'

const { PORT = '0', BROKER = 'memory', LOG = '', PRESENCE = '', PUBLISH = '', NATIVE = '' } = process.env

const limits = {
  messagesPerSecond: 1_000_000,
  burst: 1_000_000,
  outboxBytes: 16_777_216,
  connectionsPerAddress: 100_000,
  pendingHandshakes: 100_000,
  pendingHandshakesPerAddress: 100_000,
  sessions: 200_000,
  sessionsPerAddress: 200_000
}
const Mark = Type.Object({ bs: Type.Integer(), bt: Type.Integer(), pad: Type.String() })
const parts = {
  events: { msg: Mark, echo: Mark, kept: Type.Object({ pad: Type.String() }) },
  commands: { msg: command(Mark), echo: command(Mark, { reply: Mark }), keep: command(Mark, { reply: Mark }) }
}

const app = fastify()
const users = PRESENCE === '1' ? { profile: ({ id }: { id: string }) => ({ id }) } : {}
const native = await nativeOf(NATIVE)
await app.register(channels, { limits, origin: 'any', broker: brokerOf(BROKER), native, ...users })

for (const definition of [defineChannel('bench', parts), defineChannel('own-:n', parts)]) {
  app.sockets.serve(definition, {
    access: () => true,
    log: LOG === '1',
    presence: PRESENCE === '1',
    commands: {
      msg: (_param, { relay }) => relay('msg'),
      // What is published bears no mark, so that whoever counts marks counts acks.
      keep: ({ bs, bt, pad }, { publish }) => {
        publish({ cmd: 'kept', param: { pad } })
        return { bs, bt, pad: '' }
      },
      echo: (param, { connection, channel, idempotencyKey }) => {
        if (idempotencyKey === null) connection.send({ channel, cmd: 'echo', param })
        return param
      }
    }
  })
}

app.get(
  '/ws/bench',
  act('bench', async (app, ps) => void (await app.sockets.upgrade(ps, 'bench')))
)
// A channel for each connection: what its commands cost without anybody else who hears of them.
app.get(
  '/ws/own/:n',
  act('own', async (app, ps) => void (await app.sockets.upgrade(ps, `own-${ps.params.n}`)))
)
// A channel for each two.
app.get(
  '/ws/pair/:n',
  act('pair', async (app, ps) => void (await app.sockets.upgrade(ps, `own-${Number(ps.params.n) >> 1}`)))
)
// As many channels as the path says, the same for every connection.
app.get(
  '/ws/many/:count',
  act('many', async (app, ps) => {
    const connection = await app.sockets.upgrade(ps, 'own-0')
    for (let n = 1; n < Number(ps.params.count); n++) await app.sockets.join(connection, `own-${n}`)
  })
)

const address = await app.listen({ port: Number(PORT), host: '127.0.0.1' })
const chosen = `broker ${BROKER}, log ${LOG === '1'}, presence ${PRESENCE === '1'}, writes by ${native?.backend ?? 'Node'}`
console.error(`${address}, ${chosen}; raised, and none off: ${JSON.stringify(limits)}`)
process.send?.(new URL(address).port)

if (PUBLISH !== '') publishAtRate(...(PUBLISH.split(':').map(Number) as [number, number]))

/** To `own-0` and those after it by turns, or to `bench` where there are none. */
function publishAtRate(count: number, perSecond: number): void {
  const pad = 'x'.repeat(80)
  const started = performance.now()
  let published = 0
  setInterval(() => {
    const due = ((performance.now() - started) / 1000) * perSecond
    for (; published < due; published++) {
      const channel = count === 0 ? 'bench' : `own-${published % count}`
      const bs = count === 0 ? published + 1 : Math.floor(published / count) + 1
      void app.sockets.broadcast(channel, { cmd: 'msg', param: { bs, bt: Number(process.hrtime.bigint()), pad } })
    }
  }, 5)
}

/** The add-on as `npm run build:native` leaves it: `send` or `io_uring`. */
async function nativeOf(backend: string) {
  if (backend === '') return null
  const { open } = createRequire(import.meta.url)('../../native/send.node')
  const native = open(backend === 'io_uring')
  if (native === null) throw new Error(`${backend} is not permitted here`)
  return native
}

function brokerOf(name: string) {
  return name.startsWith('sqlite:') ? sqlite({ path: name.slice('sqlite:'.length) }) : memory()
}

// A profiler writes what it has when the process ends in order.
process.once('SIGTERM', () => void app.close())
