import type { FastifyInstance } from 'fastify'
import t from 'tap'
import { act, forbidden, notFound, unauthorized } from '../../plugins/index.ts'
import { Chance } from '../fixtures/chance.ts'
import { connect } from '../fixtures/raw-client.ts'
import type { Answer } from '../fixtures/raw-socket.ts'
import { exchange, RawSocket, upgradeRequest } from '../fixtures/raw-socket.ts'
import { serve } from '../fixtures/server.ts'
import type { End } from '../fixtures/storm.ts'
import { inParallel, Ledger, planOf, play, stormRoute } from '../fixtures/storm.ts'
import { nothingLeft } from '../fixtures/until.ts'

const HANDSHAKES = Number(process.env.HANDSHAKES ?? 10_000)
const AT_ONCE = 100

t.test('ten thousand faulty handshakes lose no frame, leave nothing behind and end nobody', async t => {
  const chance = new Chance()
  t.comment(`SEED=${chance.seed}`)
  const ledger = new Ledger()
  const limits = { connectionsPerAddress: 0, messagesPerSecond: 0 }
  const { app, url } = await serve(
    t,
    { handshakeTimeoutMs: 150, closeGraceMs: 500, limits, onAction: event => void ledger.results[event.result]++ },
    app => stormRoute(app, ledger, chance)
  )
  const ends: End[] = []
  const wrong: Array<number | null> = []
  const started = performance.now()
  await inParallel(HANDSHAKES, AT_ONCE, async n => {
    ends.push(await play(url, planOf(n, chance), chance))
    if (n % 50 === 0) wrong.push((await exchange(url, upgradeRequest(n % 100 === 0 ? '/%ff' : LONG)))?.status ?? null)
  })
  await nothingLeft(app)
  const perSecond = Math.round(HANDSHAKES / ((performance.now() - started) / 1000))
  t.comment(`${perSecond} handshakes a second; ${ledger.upgraded.size} upgraded`)

  t.strictSame(
    [...ledger.started].filter(n => !ledger.settled.has(n)),
    [],
    'every action that started was settled'
  )
  t.strictSame(
    ends.filter(end => complaint(end, ledger) !== null).map(end => complaint(end, ledger)),
    []
  )
  t.strictSame([...new Set(wrong)].sort(), [400, 414], 'malformed URLs are answered and their links closed')
  const { opened, closed, refusals } = app.sockets.stats()
  t.strictSame([opened, closed], [ledger.upgraded.size, ledger.upgraded.size])
  const badKeys = ends.filter(end => end.plan.fault === 'bad-key').length
  const { answered, upgraded, failed } = ledger.results
  t.equal(answered, 0)
  t.equal(upgraded + failed, ledger.started.size + badKeys, 'each action, and each handshake without one, was reported')
  t.ok(refusals.FST_CHANNELS_HANDSHAKE_TIMEOUT! > 0)
  const client = await connect(`${url}/storm/ok?n=0`)
  t.match(await client.command('storm-0', 'count', 1), { cmd: '$ack' }, 'a fresh client is served')
  await client.close()
})

const LONG = `/storm/${'x'.repeat(101)}`

/** The answers that a client without a fault may get. A slow machine may let any of them meet the deadline. */
const STATUS = { ok: 101, forbidden: 403, unauthorized: 401, stall: 503, 'late-throw': 101 }

/** What is wrong with an end; null where nothing is. */
function complaint({ plan, status, frames }: End, ledger: Ledger): object | null {
  const { n, fault, outcome } = plan
  const patient = fault === 'none' || fault === 'split'
  const fine = fault === 'bad-key' ? status === 400 : !patient || status === STATUS[outcome] || status === 503
  if (!fine) return { plan, status }
  if (fault === 'bad-key' && ledger.started.has(n)) return { plan, but: 'its action ran' }
  if (!ledger.upgraded.has(n)) return status === 101 ? { plan, but: 'answered 101 without an upgrade' } : null
  const heard = ledger.heard.get(n)!
  const ordered = heard.every((param, i) => param === i + 1)
  // A client that resets takes its word back, and after a throw the rest is not heard; otherwise all must be there.
  const whole = heard.length === plan.frames || outcome === 'late-throw' || !(patient || fault === 'fin')
  if (!ordered || !whole) return { plan, heard }
  const code = frames.find(frame => frame.opcode === 8)?.payload.readUInt16BE(0)
  return patient && outcome === 'late-throw' && code !== 1011 ? { plan, code } : null
}

/** Routes of every kind beside each other. */
function zoo(app: FastifyInstance): void {
  app.get(
    '/room/:room',
    act('room', async (app, ps) => {
      if (ps.profile === null) throw unauthorized()
      const room = ps.requestString('room')
      if (room === 'staff') throw forbidden()
      if (room === 'nowhere') throw notFound()
      await app.sockets.upgrade(ps, `room-${room}`)
    })
  )
  app.get(
    '/json',
    act('json', () => ({ a: 1 }))
  )
  app.get(
    '/page',
    act('page', (_app, _ps, { reply }) => {
      reply.type('text/html')
      return '<p>page</p>'
    })
  )
  app.get(
    '/sent',
    act('sent', (_app, _ps, { reply }) => reply.code(201).send({ sent: true }))
  )
  app.get(
    '/redirect',
    act('redirect', (_app, _ps, { reply }) => reply.redirect('/elsewhere'))
  )
  app.get(
    '/nothing',
    act('nothing', () => undefined)
  )
  app.get(
    '/broken',
    act('broken', () => {
      throw new Error('broken')
    })
  )
  app.post(
    '/post',
    act('post', (app, ps) => app.sockets.upgrade(ps, 'post'))
  )
  app.get('/foreign', { websocket: true }, socket => socket.send('{"cmd":"foreign"}'))
  app.get('/ordinary', () => ({ ordinary: true }))
}

const V1 = { 'Sec-WebSocket-Protocol': 'channels.v1' }
const ANN = { 'X-User': 'ann' }

/** What is asked, how, and the status and the error's code (or a part of the body) that answer it. */
const ANSWERS: ReadonlyArray<[how: string, path: string, status: number, part: string, headers?: Headers]> = [
  ['GET', '/room/a', 401, 'FST_CHANNELS_UNAUTHORIZED'],
  ['GET', '/room/staff', 403, 'FST_CHANNELS_FORBIDDEN', ANN],
  ['GET', '/room/nowhere', 404, 'FST_CHANNELS_NOT_FOUND', ANN],
  ['GET', '/room/a', 426, 'FST_CHANNELS_UPGRADE_REQUIRED', ANN],
  ['HEAD', '/room/a', 401, ''],
  ['HEAD', '/room/staff', 403, '', ANN],
  ['HEAD', '/room/nowhere', 404, '', ANN],
  ['HEAD', '/room/a', 426, '', ANN],
  ['POST', '/room/a', 404, 'Route POST:/room/a not found', ANN],
  ['upgrade', '/room/a', 401, 'FST_CHANNELS_UNAUTHORIZED'],
  ['upgrade', '/room/staff', 403, 'FST_CHANNELS_FORBIDDEN', ANN],
  ['upgrade', '/room/nowhere', 404, 'FST_CHANNELS_NOT_FOUND', ANN],
  ['upgrade', '/room/a', 101, '', ANN],
  ['upgrade', '/room/a', 101, '', { ...ANN, ...V1 }],
  ['upgrade', '/room/a', 101, '', { ...ANN, 'Sec-WebSocket-Protocol': 'other, channels.v1' }],
  ['upgrade', '/room/a', 400, 'offer channels.v1', { ...ANN, 'Sec-WebSocket-Protocol': 'other' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Protocol': 'channels.v1, channels.v1' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Protocol': 'channels.v1,' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, Upgrade: 'h2c' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Version': '8' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Version': null }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Key': 'short' }],
  ['upgrade', '/room/a', 400, 'BAD_HANDSHAKE', { ...ANN, 'Sec-WebSocket-Key': null }],
  ['upgrade', '/room/a', 403, 'FST_CHANNELS_ORIGIN_REFUSED', { ...ANN, Origin: 'http://evil.test' }],
  ['upgrade', '/room/%ff', 400, 'FST_ERR_BAD_URL', ANN],
  ['upgrade', `/room/${'x'.repeat(101)}`, 414, 'FST_ERR_MAX_PARAM_LENGTH', ANN],
  ['upgrade', '/absent', 404, 'Route GET:/absent not found'],
  ['GET', '/json', 200, '{"a":1}'],
  ['upgrade', '/json', 200, '{"a":1}'],
  ['GET', '/page', 200, '<p>page</p>'],
  ['upgrade', '/page', 200, '<p>page</p>'],
  ['GET', '/sent', 201, '{"sent":true}'],
  ['upgrade', '/sent', 201, '{"sent":true}'],
  ['GET', '/redirect', 302, ''],
  ['upgrade', '/redirect', 302, ''],
  ['GET', '/nothing', 204, ''],
  ['upgrade', '/nothing', 500, 'FST_CHANNELS_NO_ANSWER'],
  ['GET', '/broken', 500, 'broken'],
  ['upgrade', '/broken', 500, 'broken'],
  ['POST', '/post', 500, 'FST_CHANNELS_NOT_A_SOCKET_ROUTE'],
  ['POST upgrade', '/post', 405, ''],
  ['GET', '/foreign', 404, ''],
  ['upgrade', '/foreign', 101, 'foreign'],
  ['upgrade', '/foreign', 101, 'foreign', { 'Sec-WebSocket-Protocol': 'other' }],
  ['GET', '/ordinary', 200, '{"ordinary":true}']
]

type Headers = Record<string, string | null>

const ORDINARY: Headers = {
  Connection: 'close',
  Upgrade: null,
  'Sec-WebSocket-Key': null,
  'Sec-WebSocket-Version': null
}

/** Asks, and reads to the end; after a 101 until something came. */
async function ask(url: string, how: string, path: string, headers: Headers = {}): Promise<Answer> {
  const raw = await RawSocket.open(url)
  const method = how.includes('upgrade') ? how.replace(/ ?upgrade/, '') || 'GET' : how
  raw.write(upgradeRequest(path, how.includes('upgrade') ? headers : { ...ORDINARY, ...headers }, method))
  const answer = await raw.answered()
  if (answer?.status === 101) {
    if (path === '/foreign') await raw.until(() => raw.frames.length > 0)
    raw.destroy()
  }
  await raw.closed
  return raw.answer!
}

t.test('an ordinary request of a socket route gets what the upgrade gets, and 426 where that would be 101', async t => {
  const { app, url } = await serve(t, {}, zoo)
  for (const [how, path, status, part, headers] of ANSWERS) {
    const answer = await ask(url, how, path, headers)
    const title = `${how} ${path.slice(0, 20)} ${JSON.stringify(headers ?? {})}`
    t.equal(answer.status, status, title)
    t.ok(answer.body.toString().includes(part), `${title}: ${part}`, { body: answer.body.toString() })
    if (status === 101) {
      const offered = headers?.['Sec-WebSocket-Protocol'] ?? ''
      const agreed = path === '/foreign' ? offered : offered === '' ? '' : 'channels.v1'
      t.equal(answer.headers['sec-websocket-protocol'] ?? '', agreed, `${title}: the subprotocol`)
      continue
    }
    // What is answered outside our routes may say otherwise, and its link is closed all the same.
    const ours = !answer.body.includes('FST_ERR') && path !== '/absent'
    if (ours) t.equal(answer.headers.connection, status === 426 ? 'upgrade, close' : 'close', `${title}: Connection`)
    if (how === 'HEAD' || status === 204) t.equal(answer.body.length, 0)
    else t.equal(answer.body.length, Number(answer.headers['content-length']), `${title}: the body is whole`)
  }
  await nothingLeft(app)
})
