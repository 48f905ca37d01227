import { once } from 'node:events'
import websocket from '@fastify/websocket'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { fastify } from 'fastify'
import type { Test } from 'tap'
import t from 'tap'
import { defineChannel } from '../../lib/protocol/index.ts'
import type { ActionEvent, ChannelsOptions } from '../../plugins/index.ts'
import { act, channels, forbidden, notFound, unauthorized } from '../../plugins/index.ts'
import { Chance } from '../fixtures/chance.ts'
import { connect } from '../fixtures/raw-client.ts'
import type { Answer } from '../fixtures/raw-socket.ts'
import { clientFrame, exchange, RawSocket, upgraded, upgradeRequest } from '../fixtures/raw-socket.ts'
import type { AnyPageState, ServerOptions } from '../fixtures/server.ts'
import { as, serve } from '../fixtures/server.ts'
import type { End } from '../fixtures/storm.ts'
import { inParallel, Ledger, planOf, play, steps, stormRoute } from '../fixtures/storm.ts'
import { nothingLeft, socketsOf, until } from '../fixtures/until.ts'

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
    ends.push(await play(url, planOf(n, chance.child(n)), chance))
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
    if (part === 'BAD_HANDSHAKE') t.equal(answer.headers['sec-websocket-version'], '13')
    // What is answered outside our routes may say otherwise, and its link is closed all the same.
    const ours = !answer.body.includes('FST_ERR') && path !== '/absent'
    if (ours) t.equal(answer.headers.connection, status === 426 ? 'upgrade, close' : 'close', `${title}: Connection`)
    if (how === 'HEAD' || status === 204) t.equal(answer.body.length, 0)
    else t.equal(answer.body.length, Number(answer.headers['content-length']), `${title}: the body is whole`)
  }
  await nothingLeft(app)
})

t.test('the host keeps its own words: prefixes, hooks, error handlers, and whole bodies however big', async t => {
  const big = 'x'.repeat(2_000_000)
  const { app, url } = await serve(t, {}, async app => {
    await app.register(
      async app => {
        app.addHook('onSend', async (_request, reply) => void reply.header('x-from', 'hook'))
        app.setErrorHandler((error: Error & { statusCode?: number }, _request, reply) =>
          reply.code(error.statusCode ?? 500).send({ own: error.message, big })
        )
        zoo(app)
      },
      { prefix: '/v1' }
    )
    app.register(async app => {
      app.addHook('preHandler', async (_request, reply) => reply.code(418).send({ teapot: true }))
      app.get(
        '/guarded',
        act('guarded', (app, ps) => app.sockets.upgrade(ps, 'guarded'))
      )
    })
  })
  for (const how of ['GET', 'upgrade']) {
    const answer = await ask(url, how, '/v1/room/staff', ANN)
    t.equal(answer.status, 403)
    t.equal(answer.headers['x-from'], 'hook')
    t.strictSame(JSON.parse(answer.body.toString()), { own: 'You may not do that', big })
    t.equal((await ask(url, how, '/guarded')).body.toString(), '{"teapot":true}')
  }
  const client = await connect(`${url}/v1/room/a`, as('ann'))
  t.match(await client.next('$joined'), { channel: 'room-a' })
  await client.close()
  await nothingLeft(app)
})

t.test('an upgrade too many, too late, of a stranger or before its time is told by its code', async t => {
  const codes: Record<string, unknown> = {}
  const saved: AnyPageState[] = []
  const note = async (name: string, work: () => Promise<unknown>): Promise<void> => {
    codes[name] = await work().then(
      () => 'none',
      error => error.code
    )
  }
  const { app, url } = await serve(t, {}, app => {
    app.get(
      '/twice',
      act('twice', async (app, ps) => {
        await app.sockets.upgrade(ps, 'twice')
        await note('twice', () => app.sockets.upgrade(ps, 'twice'))
      })
    )
    app.get(
      '/late',
      act('late', async (app, ps, { reply }) => {
        await reply.send({ late: true })
        await note('late', () => app.sockets.upgrade(ps, 'late'))
      })
    )
    app.get(
      '/foreign',
      act('foreign', async (app, ps) => {
        saved.push(ps)
        await note('foreign', () => app.sockets.upgrade({ ...ps } as AnyPageState, 'foreign'))
        await note('badly named', () => app.sockets.upgrade(ps, 'no such/name'))
        return 'answered'
      })
    )
  })
  const client = await connect(`${url}/twice`)
  t.equal((await ask(url, 'upgrade', '/late')).body.toString(), '{"late":true}')
  t.equal((await ask(url, 'upgrade', '/foreign')).body.toString(), 'answered')
  await note('over', () => app.sockets.upgrade(saved[0]!, 'over'))
  t.match(await client.next('$joined'), { channel: 'twice' }, 'a second upgrade does not harm the first')
  await client.close()
  await until('all were noted', () => Object.keys(codes).length === 5)
  t.strictSame(codes, {
    twice: 'FST_CHANNELS_ALREADY_UPGRADED',
    late: 'FST_CHANNELS_UPGRADE_TOO_LATE',
    foreign: 'FST_CHANNELS_FOREIGN_PAGE_STATE',
    'badly named': 'FST_CHANNELS_INVALID_CHANNEL',
    over: 'FST_CHANNELS_UPGRADE_TOO_LATE'
  })
  await nothingLeft(app)
})

t.test('an upgrade that an action did not wait for comes too late once the action has ended', async t => {
  const codes: string[] = []
  const { app, url } = await serve(t, {}, app => {
    const slowly = async ({ params }: { params: { readonly n?: string } }) => {
      for (let n = Number(params.n); n > 0; n--) await null
      return true
    }
    app.sockets.serve(defineChannel('slow-:n', {}), { access: slowly })
    app.get(
      '/:how/:n',
      act('forgetful', async (app, ps) => {
        app.sockets.upgrade(ps, `slow-${ps.params.n}`).catch(({ code }) => codes.push(code))
        if (ps.params.how === 'throw') throw forbidden()
        return 'answered'
      })
    )
  })
  for (let n = 0; n < 6; n++) {
    t.equal((await ask(url, 'upgrade', `/throw/${n}`, ANN)).status, 403, `${n} microtasks`)
    t.equal((await ask(url, 'upgrade', `/return/${n}`, ANN)).status, 200, `${n} microtasks`)
  }
  await until('all were refused', () => codes.length === 12)
  t.equal(app.sockets.stats().opened, 0)
  await nothingLeft(app)
})

t.test('an action learns why nobody waits for it any more', async t => {
  const reasons: string[] = []
  const { app, url } = await serve(t, { handshakeTimeoutMs: 50, closeGraceMs: GRACE }, app => {
    app.get(
      '/ws',
      act('ws', async (_app, _ps, { signal }) => {
        await once(signal, 'abort')
        reasons.push(signal.reason.code)
        throw signal.reason
      })
    )
  })
  const fin = await RawSocket.open(url)
  fin.write(upgradeRequest('/ws'))
  fin.socket.end()
  await until('the action has heard of it', () => reasons.length === 1)
  const rst = await RawSocket.open(url)
  rst.write(upgradeRequest('/ws'))
  await until('the handshake is pending', () => app.sockets.stats().pendingHandshakes === 1)
  rst.socket.resetAndDestroy()
  await until('the action has heard of it', () => reasons.length === 2)
  t.equal((await ask(url, 'upgrade', '/ws')).status, 503)
  const last = ask(url, 'upgrade', '/ws')
  await until('the handshake is pending', () => app.sockets.stats().pendingHandshakes === 1)
  await app.close()
  t.equal((await last).status, 503)
  const gone = 'FST_CHANNELS_SOCKET_GONE'
  t.strictSame(reasons, [gone, gone, 'FST_CHANNELS_HANDSHAKE_TIMEOUT', 'FST_CHANNELS_CLOSING'])
})

t.test('an action does not begin for who is gone, and tells who goes later by the same code', async t => {
  const heard: unknown[] = []
  const ends: ActionEvent[] = []
  const answered: unknown[] = []
  let hasAsked = false
  const { app, url } = await serve(t, { onAction: event => void ends.push(event) }, app => {
    const preHandler = async ({ raw, url }: FastifyRequest): Promise<void> => {
      if (url !== '/before') return
      hasAsked = true
      await new Promise(resolve => void raw.socket.once('close', resolve))
    }
    app.setErrorHandler((error, _request, reply) => {
      answered.push(error)
      return reply.send(error)
    })
    app.get(
      '/:when',
      { preHandler },
      act('when', async (app, ps, { signal }) => {
        if (!signal.aborted) await once(signal, 'abort')
        heard.push(ps.params.when, signal.reason.code)
        await app.sockets.upgrade(ps, 'a')
      })
    )
  })
  for (const [when, isSeen] of [
    ['before', () => hasAsked],
    ['later', () => app.sockets.stats().pendingHandshakes === 1]
  ] as const) {
    const raw = await RawSocket.open(url)
    raw.write(upgradeRequest(`/${when}`))
    await until('the request has come', isSeen)
    raw.socket.resetAndDestroy()
    await until('it is over', () => ends.length === (when === 'before' ? 1 : 2))
  }
  const gone = 'FST_CHANNELS_SOCKET_GONE'
  t.strictSame(heard, ['later', gone])
  t.strictSame(answered, [], 'there is nobody to answer')
  t.match(ends, Array(2).fill({ key: 'when', result: 'failed', error: { code: gone } }))
  await nothingLeft(app)
})

t.test('whatever kind of promise origin, profile or rule answers with, a no is a no and a yes a yes', async t => {
  /** A promise whose `then` gives no promise, as decorated and lazy ones have it. */
  const decorated = <T>(value: T): Promise<T> => {
    const promise = Promise.resolve(value)
    const plain = promise.then.bind(promise)
    const then = (...args: Parameters<typeof plain>) => {
      const next = plain(...args)
      // biome-ignore lint/suspicious/noThenProperty: it is what is tested
      return { then: next.then.bind(next) }
    }
    return Object.assign(promise, { then }) as unknown as Promise<T>
  }
  const thenable = <T>(value: T): Promise<T> =>
    // biome-ignore lint/suspicious/noThenProperty: it is what is tested
    ({ then: (done: (value: T) => void) => done(value) }) as unknown as Promise<T>
  const kinds = { decorated, thenable, native: async <T>(value: T) => value, plain: <T>(value: T) => value as never }
  for (const [name, later] of Object.entries(kinds)) {
    const answers = { origin: true, id: 'ann' as string | null, access: true }
    const { url } = await serve(
      t,
      {
        origin: () => later(answers.origin),
        profile: () => later(answers.id === null ? null : { id: answers.id })
      },
      app => {
        app.sockets.serve(defineChannel('room', {}), { access: () => later(answers.access) })
        app.get(
          '/ws',
          act('ws', async (app, ps) => {
            if (ps.profile?.id !== 'ann') throw unauthorized()
            await app.sockets.upgrade(ps, 'room')
          })
        )
      }
    )
    const status = async (): Promise<number> => (await ask(url, 'upgrade', '/ws')).status
    t.equal(await status(), 101, name)
    for (const [key, no, code] of [
      ['origin', false, 403],
      ['id', null, 401],
      ['access', false, 403]
    ] as const) {
      const before = answers[key]
      Object.assign(answers, { [key]: no })
      t.equal(await status(), code, `${name}: ${key}`)
      Object.assign(answers, { [key]: before })
    }
  }
})

t.test('a socket is ended where a listener of the host’s throws before the plugin sees the request', async t => {
  const app = fastify()
  app.server.on('upgrade', request => {
    if (request.url === '/bad') throw new Error('of the host')
  })
  await app.register(channels, { handshakeTimeoutMs: 20 })
  app.get(
    '/:any',
    act('any', async (app, ps) => void (await app.sockets.upgrade(ps, 'any')))
  )
  // Stands for a process that lives on after an uncaught exception.
  const thrown: unknown[] = []
  const emit = app.server.emit.bind(app.server)
  app.server.emit = ((...args: Parameters<typeof emit>) => {
    try {
      return emit(...args)
    } catch (error) {
      thrown.push(error)
      return true
    }
  }) as typeof app.server.emit
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  const raw = await RawSocket.open(url)
  raw.write(upgradeRequest('/bad'))
  await raw.closed
  const reset = await RawSocket.open(url)
  reset.write(upgradeRequest('/bad'))
  await until('the host has seen both', () => thrown.length === 2)
  reset.socket.resetAndDestroy()
  t.equal((await connect(`${url}/good`)).ws.readyState, 1)
  await until('none of the two is left', async () => (await socketsOf(app)) === 1)
})

t.test('what follows a refused upgrade in its packet is never served', async t => {
  let served = 0
  const { app, url } = await serve(t, {}, app => {
    zoo(app)
    app.get('/count', () => ++served)
  })
  const smuggled = upgradeRequest('/count', ORDINARY)
  const starts = ['/room/staff', '/json', '/nothing', '/%ff', '/absent'].map(path => upgradeRequest(path, ANN))
  starts.push(upgradeRequest('/room/a', { ...ANN, 'Content-Length': '5' }))
  starts.push(upgradeRequest('/room/a', { ...ANN, 'Transfer-Encoding': 'chunked' }))
  starts.push(upgradeRequest('/post', ANN, 'POST'))
  for (const start of starts) {
    const raw = await RawSocket.open(url)
    raw.write(start + smuggled + smuggled)
    await raw.closed
    t.equal(raw.bytes.toString('latin1').split('HTTP/1.1 ').length, 2, start.slice(0, 30))
  }
  t.equal(served, 0)
  await nothingLeft(app)
})

t.test('a route with more methods than GET is no socket route, and does not say that it were', async t => {
  const { url } = await serve(t, {}, app => {
    app.route({
      method: ['GET', 'HEAD'],
      url: '/both',
      handler: act('both', (app, ps) => app.sockets.upgrade(ps, 'both'))
    })
  })
  t.match(JSON.parse((await ask(url, 'GET', '/both')).body.toString()), { code: 'FST_CHANNELS_NOT_A_SOCKET_ROUTE' })
})

t.test('a route that was declared before the plugin was ready runs nothing and says so', async t => {
  let ran = false
  const app = fastify()
  app.register(channels)
  app.get(
    '/early',
    act('early', () => {
      ran = true
    })
  )
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => app.close())
  for (const how of ['GET', 'upgrade']) {
    const answer = await ask(url, how, '/early')
    t.equal(answer.status, 500)
    t.match(JSON.parse(answer.body.toString()), { code: 'FST_CHANNELS_NOT_REGISTERED', message: /"early"/ })
  }
  t.equal(ran, false)
  await until('no sockets are left', async () => (await socketsOf(app)) === 0)
})

t.test('mistakes at boot are told at boot', async t => {
  const boot = async (setUp: (app: FastifyInstance) => unknown): Promise<void> => {
    const app = fastify()
    t.teardown(() => app.close())
    await setUp(app)
    await app.ready()
  }
  const refuses = (code: string, setUp: (app: FastifyInstance) => unknown): Promise<unknown> =>
    t.rejects(boot(setUp), { code }, code)
  const given = (options: object) => (app: FastifyInstance) => app.register(channels, options as ChannelsOptions)

  await refuses('FST_CHANNELS_ALREADY_REGISTERED', async app => {
    await app.register(channels)
    await app.register(channels)
  })
  await refuses('FST_CHANNELS_ALREADY_REGISTERED', async app => {
    await app.register(channels)
    await app.register(async app => app.register(channels), { prefix: '/sub' })
  })
  await refuses('FST_CHANNELS_WEBSOCKET_REGISTERED', async app => {
    await app.register(websocket)
    await app.register(channels)
  })
  await refuses('FST_CHANNELS_WEBSOCKET_OPTION', async app => {
    await app.register(channels)
    app.get('/both', { websocket: true }, act('both', () => {}) as never)
  })
  await refuses('FST_CHANNELS_NOT_READY', async app => {
    await app.register(channels)
    await app.sockets.broadcast('early', { cmd: 'x' })
  })
  for (const method of [
    'members',
    'online',
    'disconnect',
    'closeRequest',
    'join',
    'leave',
    'broadcastAll',
    'sendTo'
  ] as const) {
    await refuses('FST_CHANNELS_NOT_READY', async app => {
      await app.register(channels)
      await (app.sockets[method] as (...args: unknown[]) => unknown)({ user: 'x' }, 'x')
    })
  }
  await refuses('FST_CHANNELS_UNKNOWN_OPTION', given({ heartbeat: 1 }))
  await refuses('FST_CHANNELS_UNKNOWN_OPTION', given({ limits: { payload: 1 } }))
  await refuses('FST_CHANNELS_UNKNOWN_OPTION', given({ toString: 1 }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ limits: { payloadBytes: 1 } }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ limits: null }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ heartbeatMs: 2 ** 31 }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ origin: 'https://a.test' }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ profile: 'nobody' }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ cookie: {} }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ clock: null }))
  await refuses('FST_CHANNELS_INVALID_OPTION', given({ clock: { monotonic: () => 0 } }))
  t.throws(() => act('', () => {}), { code: 'FST_CHANNELS_INVALID_OPTION' })
  t.throws(() => act('key', undefined as never), { code: 'FST_CHANNELS_INVALID_OPTION' })
})

interface Closing {
  readonly app: FastifyInstance
  readonly url: string
  /** Commands and actions that have begun. */
  readonly begun: Set<string>
  /** Ends the command `slow`. */
  readonly finish: () => void
}

/** An app in all the states that make closing hard, with a grace of 300 ms. */
async function closingApp(t: Test, options: ServerOptions = {}): Promise<Closing> {
  const begun = new Set<string>()
  let finish = (): void => {}
  const { app, url } = await serve(t, { ...CLOSING, ...options }, app => {
    app.get(
      '/ws',
      act('ws', async (app, ps) => {
        await app.sockets.upgrade(ps, 'ws', {
          async onMessage({ cmd }) {
            begun.add(cmd)
            if (cmd === 'endless') await new Promise(() => {})
            if (cmd !== 'slow') return
            await new Promise<void>(resolve => {
              finish = resolve
            })
            return 'done'
          }
        })
      })
    )
    app.addHook('onSend', () => new Promise<void>(resolve => setImmediate(resolve)))
    app.get(
      '/stall',
      act('stall', async () => {
        begun.add('stall')
        await new Promise(() => {})
      })
    )
  })
  return { app, url, begun, finish: () => finish() }
}

const GRACE = 300
const CLOSING: ServerOptions = { closeGraceMs: GRACE, userChannel: false }
/** For links on which no request has ended yet Fastify has an option of its own. */
const FORCED: ServerOptions = { fastify: { forceCloseConnections: true } }
const BOUND = 2 * GRACE + 1000

t.test('a close tells clients and handshakes, lets commands end, and waits for nobody beyond its grace', async t => {
  const { app, url, begun, finish } = await closingApp(t)
  const good = await connect(`${url}/ws`)
  const busy = await connect(`${url}/ws`)
  const endless = await connect(`${url}/ws`)
  const silent = await upgraded(url, '/ws')
  const stalled = ask(url, 'upgrade', '/stall')
  busy.send({ cmd: 'slow', id: 1 })
  endless.send({ cmd: 'endless', id: 1 })
  await until('all have begun', () => begun.size === 3)

  const started = performance.now()
  const closed = app.close()
  t.match(await stalled, { status: 503, headers: { 'retry-after': '1', connection: 'close' } })
  const late = await ask(url, 'upgrade', '/ws')
  t.match(late, { status: 503, headers: { 'retry-after': '1', connection: 'close' } })
  good.send({ cmd: 'fresh', id: 1 })
  t.match(await good.next('$nack'), { id: 1, param: { code: 'draining', retry: true } })
  finish()
  t.match(await busy.next('$ack'), { id: 1, param: { reply: 'done' } }, 'a command under way gets its ack first')
  for (const client of [good, busy, endless]) {
    const closing = await client.next('$closing')
    t.equal(closing.param.reason, 'draining')
    t.ok(closing.param.retryAfterMs >= 0)
    t.match(await client.closed, { code: 1012, reason: 'service restart' })
  }
  await closed
  const took = performance.now() - started
  t.ok(took >= GRACE && took < BOUND, `closed in ${Math.round(took)} ms`)
  await silent.closed
  t.equal(silent.closeCode, 1012)
  t.equal(await socketsOf(app), 0)
  t.equal(begun.has('fresh'), false)
})

t.test('a pending handshake is answered 503 where nothing else keeps the close waiting', async t => {
  const { app, url, begun } = await closingApp(t)
  const stalled = Array.from({ length: 20 }, () => ask(url, 'upgrade', '/stall'))
  await until('they have begun', () => begun.has('stall') && app.sockets.stats().pendingHandshakes === 20)
  const started = performance.now()
  await app.close()
  t.ok(performance.now() - started < BOUND)
  for (const answer of await Promise.all(stalled)) t.equal(answer?.status, 503)
  t.equal(app.sockets.stats().refusals.FST_CHANNELS_CLOSING, 20)
})

t.test('from any of fifty random states a close ends in time, with nothing left', async t => {
  const chance = new Chance()
  t.comment(`SEED=${chance.seed}`)
  const slowest: number[] = []
  for (let round = 0; round < 50; round += 10) {
    await Promise.all(Array.from({ length: 10 }, async () => slowest.push(await randomClose(t, chance))))
  }
  t.ok(Math.max(...slowest) < BOUND, `the slowest close took ${Math.round(Math.max(...slowest))} ms`)
})

/** Brings clients into random states, closes, and says how long that took. */
async function randomClose(t: Test, chance: Chance): Promise<number> {
  const { app, url } = await closingApp(t, FORCED)
  const clients: RawSocket[] = []
  const ways: ReadonlyArray<() => Promise<unknown>> = [
    async () => clients.push(await upgraded(url, '/ws')),
    async () => clients.push(await upgraded(url, '/ws', { 'Sec-WebSocket-Protocol': null })),
    async () => (await upgraded(url, '/ws')).write(clientFrame('{"cmd":"endless","id":1}')),
    async () => (await upgraded(url, '/ws')).write(clientFrame('{"cmd":"slow","id":1}')),
    async () => (await upgraded(url, '/ws')).write(clientFrame('{"cmd":"cut off","id":1}').subarray(0, 9)),
    async () => (await upgraded(url, '/ws')).write(clientFrame('', { rsv: 7 })),
    async () => (await upgraded(url, '/ws')).write(clientFrame('', { opcode: 8 })),
    async () => (await upgraded(url, '/ws')).socket.pause(),
    async () => (await upgraded(url, '/ws')).socket.end(),
    async () => (await upgraded(url, '/ws')).socket.resetAndDestroy(),
    async () => (await RawSocket.open(url)).write(upgradeRequest('/stall')),
    async () => (await RawSocket.open(url)).write(upgradeRequest('/%ff')),
    async () => (await RawSocket.open(url)).write(upgradeRequest('/ws').slice(0, 40)),
    () => RawSocket.open(url)
  ]
  await Promise.all(Array.from({ length: chance.below(12) }, () => chance.pick(ways)()))
  await steps(chance.below(5), chance)
  const started = performance.now()
  const closed = app.close()
  if (chance.oneIn(2)) await exchange(url, upgradeRequest('/ws')).catch(() => null)
  await closed
  const took = performance.now() - started
  await Promise.all(clients.map(client => client.closed))
  t.strictSame(new Set(clients.map(client => client.closeCode)), new Set(clients.length === 0 ? [] : [1012]))
  t.equal(await socketsOf(app), 0)
  return took
}
