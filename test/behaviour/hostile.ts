import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { defineChannel, Type } from '../../lib/protocol/index.ts'
import { act } from '../../plugins/index.ts'
import { Canary } from '../fixtures/canary.ts'
import { Chance } from '../fixtures/chance.ts'
import { mutantFrame, mutantRequest, mutantText } from '../fixtures/mutants.ts'
import { clientFrame, RawSocket, upgraded } from '../fixtures/raw-socket.ts'
import { serve } from '../fixtures/server.ts'
import { inParallel, steps } from '../fixtures/storm.ts'
import { nothingLeft } from '../fixtures/until.ts'

const TEXTS = Number(process.env.TEXTS ?? 70_000)
const FRAMES = Number(process.env.FRAMES ?? 24_000)
const REQUESTS = Number(process.env.REQUESTS ?? 6_000)
const AT_ONCE = 16

const lab = defineChannel('lab-:id', {
  events: { noted: Type.Object({ text: Type.String() }) },
  commands: {
    note: {
      kind: 'command',
      param: Type.Object({ text: Type.String({ maxLength: 50 }), n: Type.Integer() }),
      reply: Type.Object({ n: Type.Integer() })
    }
  }
})

/** Channels with and without a contract; what is sent to the latter comes back to the sender and goes to all. */
function laboratory(app: FastifyInstance): void {
  app.sockets.serve(lab, {
    access: ({ params }) => params.id !== 'secret',
    presence: true,
    commands: {
      note({ text, n }, { publish }) {
        publish({ cmd: 'noted', param: { text } })
        return { n }
      }
    }
  })
  const enter = (channel: string) =>
    act(channel, async (app, ps) => {
      await app.sockets.upgrade(ps, channel, {
        onMessage(message, connection) {
          connection.send({ cmd: 'echo', param: message.param })
          void app.sockets.broadcast(channel, { cmd: 'tick', param: message.param })
        }
      })
    })
  app.get('/canary', enter('canary'))
  app.get('/ws/:id', enter('arena'))
  app.get('/lab', enter('lab-1'))
  app.get('/ordinary', () => 'ordinary')
}

t.test(
  'a hundred thousand mutated frames and handshakes end nobody, and the client beside them notices nothing',
  async t => {
    const chance = new Chance()
    t.comment(`SEED=${chance.seed}`)
    const natures = [Object.prototype, Array.prototype, String.prototype, Number.prototype]
    const before = natures.map(nature => Reflect.ownKeys(nature).map(String))
    const limits = { connectionsPerAddress: 0, messagesPerSecond: 0, violationsPerMinute: 0 }
    const { app, url } = await serve(t, { limits, closeGraceMs: 500, handshakeTimeoutMs: 2000 }, laboratory)
    const canary = await Canary.start(`${url}/canary`)
    const delay = monitorEventLoopDelay({ resolution: 10 })
    const attack = async (name: string, part: number): Promise<void> => {
      const started = performance.now()
      await inParallel((TEXTS * part) / 100, AT_ONCE, n => attackByTexts(url, chance.child(n)))
      await inParallel((FRAMES * part) / 6, AT_ONCE, n => attackByFrames(url, chance.child(1e6 + n)))
      await inParallel(REQUESTS * part, AT_ONCE, n => attackByRequest(url, chance.child(2e6 + n)))
      t.comment(`${name}: ${Math.round(performance.now() - started)} ms`)
    }
    await attack('warm-up', 0.1)
    const start = memory()
    delay.enable()
    await attack('attack', 0.9)
    delay.disable()
    const grown = { rss: memory().rss - start.rss, heap: memory().heapUsed - start.heapUsed }
    await canary.stop()
    await nothingLeft(app)

    const worst = (of: number): number => Math.round([...canary.latencies].sort((a, b) => a - b).at(of)!)
    const stall = Math.round(delay.max / 1e6)
    const p99 = Math.round(delay.percentile(99) / 1e6)
    t.comment(`longest stall ${stall} ms, 99 % below ${p99} ms`)
    t.comment(`canary: ${canary.messages} messages, ${worst(-1)} ms at worst`)
    t.comment(`grown by ${mega(grown.rss)} MB, of it heap ${mega(grown.heap)} MB`)
    t.strictSame(canary.complaints, [])
    t.ok(canary.latencies.length > 100)
    t.ok(stall < 1000 && p99 < 250, 'the loop was never blocked for long')
    t.ok(grown.heap < 30e6 && grown.rss < 200e6, 'memory does not grow')
    t.strictSame(
      natures.map(nature => Reflect.ownKeys(nature).map(String)),
      before,
      'nothing was written to a prototype'
    )
    t.comment(JSON.stringify(app.sockets.stats().refusals))
    for (const name of COUNTED) t.ok(app.sockets.stats().refusals[name]! > 0, `${name} is counted`)
  }
)

/** Refusals that mutants must have met. */
const COUNTED = [
  'bad-frame',
  'unknown-command',
  'unknown-channel',
  'invalid-param',
  'not-joined',
  'resend-from',
  'result-expired',
  'too-big',
  'protocol-error',
  'invalid-payload',
  'unsupported-data',
  'FST_CHANNELS_BAD_HANDSHAKE',
  'FST_CHANNELS_UNKNOWN_SUBPROTOCOL',
  'FST_CHANNELS_ORIGIN_REFUSED'
]

const mega = (bytes: number): string => (bytes / 1e6).toFixed(1)

function memory(): NodeJS.MemoryUsage {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage()
}

/** A hundred right frames with wrong texts; the connection must still be good afterwards. */
async function attackByTexts(url: string, chance: Chance): Promise<void> {
  const v1 = { 'Sec-WebSocket-Protocol': chance.oneIn(4) ? null : 'channels.v1' }
  const raw = await upgraded(url, chance.pick(['/ws/1', '/lab']), v1)
  for (let i = 0; i < 10; i++) {
    raw.write(Buffer.concat(Array.from({ length: 10 }, () => clientFrame(mutantText(chance)))))
    await steps(2, chance)
  }
  raw.write(clientFrame('still there', { opcode: 9 }))
  await raw.until(() => raw.socket.destroyed || raw.bytes.includes('still there'))
  if (raw.closeCode !== null || raw.socket.destroyed) throw new Error(`closed ${raw.closeCode} by texts`)
  for (const message of raw.messages) checkAnswer(message, v1['Sec-WebSocket-Protocol'] === null)
  raw.destroy()
  await raw.closed
}

function checkAnswer(message: any, plain: boolean): void {
  const known = plain ? PLAIN : V1
  if (!known.has(message.cmd)) throw new Error(`unexpected ${JSON.stringify(message).slice(0, 200)}`)
  if (message.cmd !== 'noted' && message.from !== undefined) throw new Error('a sender was forged')
}

const PLAIN = new Set(['echo', 'tick', 'noted', 'error', 'online-update'])
const V1 = new Set(['echo', 'tick', 'noted', '$welcome', '$joined', '$left', '$ack', '$nack', '$presence', '$ping'])

/** Six frames with something wrong among them, in pieces of any size. */
async function attackByFrames(url: string, chance: Chance): Promise<void> {
  const raw = await upgraded(url, chance.pick(['/ws/1', '/lab']))
  const bytes = Buffer.concat(Array.from({ length: 6 }, () => mutantFrame(chance)))
  const pieces = chance.pick([1, 1, 3, 20])
  for (let i = 0, at = 0; i < pieces; i++) {
    const end = i === pieces - 1 ? bytes.length : at + chance.below(bytes.length - at)
    raw.write(bytes.subarray(at, end))
    at = end
    if (pieces > 1) await steps(2, chance)
  }
  await leave(raw, chance)
}

/** One request, whether or not it can be one; whatever came of it, the link ends. */
async function attackByRequest(url: string, chance: Chance): Promise<void> {
  const raw = await RawSocket.open(url)
  raw.write(mutantRequest(chance))
  await steps(chance.below(20), chance)
  await leave(raw, chance)
}

async function leave(raw: RawSocket, chance: Chance): Promise<void> {
  const way = chance.below(4)
  if (way === 0) raw.socket.resetAndDestroy()
  else if (way === 1) raw.destroy()
  else raw.socket.end()
  await raw.closed
}
