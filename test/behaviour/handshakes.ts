import t from 'tap'
import { Chance } from '../fixtures/chance.ts'
import { connect } from '../fixtures/raw-client.ts'
import { exchange, upgradeRequest } from '../fixtures/raw-socket.ts'
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
