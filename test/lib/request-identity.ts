import { hkdfSync } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import fastifyCookie, { Signer } from '@fastify/cookie'
import Fastify, { type FastifyInstance, type FastifyRequest, type FastifyServerOptions } from 'fastify'
import t, { type Test } from 'tap'
import { type CookieOptions, MAX_COOKIE_BYTES, SignedCookie, type SignedIn } from '../../lib/request/cookie.ts'
import { OriginCheck, type OriginPolicy } from '../../lib/request/origin.ts'
import { assertProfile, isProfile, type ProfileLike, type ProfileLoader } from '../../lib/request/profile.ts'
import { clientScheme } from '../../lib/request/scheme.ts'
import { ManualClock } from '../fixtures/clock.ts'

type Headers = Record<string, string | string[]>
type Trust = NonNullable<FastifyServerOptions['trustProxy']>

const SECRET = 'correct horse battery staple, twice over'
const OLDER = 'the secret that was there before this one'
const HOST = 'app.example.com'
const START_S = 1_700_000_000
const WEEK_S = 604_800

/** One app for a kind of server; `on` hands each request to the test. */
class Probe {
  readonly app: FastifyInstance
  on: (request: FastifyRequest) => unknown = () => null

  constructor(trustProxy: Trust = false, encrypted = false) {
    this.app = Fastify({ trustProxy })
    this.app.get('/', async request => {
      if (encrypted) Object.defineProperty(request.raw.socket, 'encrypted', { value: true })
      return { answer: await this.on(request) }
    })
  }

  async ask<T>(headers: Headers, on: (request: FastifyRequest) => T | Promise<T>): Promise<T> {
    this.on = on
    const response = await this.app.inject({ url: '/', headers })
    if (response.statusCode !== 200) throw Object.assign(new Error(response.json().message), response.json())
    return response.json().answer
  }
}

const servers = {
  plain: new Probe(),
  tls: new Probe(false, true),
  trusting: new Probe(true),
  trustingTls: new Probe(true, true),
  elsewhere: new Probe('10.0.0.0/8'),
  // Its types no longer have it, and Fastify believes no forwarded host or scheme then; applications still say it.
  hops: new Probe(1 as unknown as Trust)
}
type Server = keyof typeof servers

// ── profile ────────────────────────────────────────────────────────────────────────────────────────────────────────

t.test('A profile is an object whose id is 1 to 128 characters of well-formed Unicode', async t => {
  for (const id of ['1', 'ö', '😀', 'a'.repeat(128), '__proto__', ' ']) {
    const profile = { id, plan: 'pro' }
    t.equal(assertProfile(profile), profile, `${id.slice(0, 20)} is an id`)
    t.equal(isProfile(profile), true)
  }
  t.equal(assertProfile(null), null, 'null is nobody in particular')
  t.equal(isProfile(null), false)
  const code = { code: 'FST_CHANNELS_INVALID_PROFILE', statusCode: 500 }
  for (const id of ['', 'a'.repeat(129), '\ud800', 'a\udc00b', 7, null, undefined, ['1'], { id: '1' }]) {
    t.throws(() => assertProfile({ id }), code, `${String(id).slice(0, 20)} is no id`)
  }
  for (const value of [undefined, 'ada', 7, true, [], () => null, Symbol('ada')]) {
    t.throws(() => assertProfile(value), code, `${String(value)} is no profile`)
  }
  t.throws(() => assertProfile({ id: 7 }), { message: /: got the id 7$/ })
  t.throws(() => assertProfile(undefined), { message: /: got undefined$/ })
})

t.test('A loader may return a profile of a type of its own, or a literal with more in it', async t => {
  interface Member {
    id: string
    plan: string
  }
  const member: Member = { id: '7', plan: 'pro' }
  const loaders: ProfileLoader[] = [() => member, () => ({ id: '7', plan: 'pro' }), async () => null]
  const request = {} as FastifyRequest
  t.same(await Promise.all(loaders.map(load => load(request))), [member, member, null])
})

// ── scheme ─────────────────────────────────────────────────────────────────────────────────────────────────────────

t.test('The scheme of the client is known over TLS, and where a trusted proxy tells it', async t => {
  const cases: [Server, string | undefined, string | null][] = [
    ['plain', undefined, null],
    ['plain', 'https', null],
    ['plain', 'http', null],
    ['tls', undefined, 'https'],
    ['tls', 'http', 'https'],
    ['trusting', undefined, null],
    ['trusting', '', null],
    ['trusting', 'https', 'https'],
    ['trusting', 'HTTPS', 'https'],
    ['trusting', 'http', 'http'],
    ['trusting', 'wss', 'https'],
    ['trusting', 'ws', 'http'],
    ['trusting', 'http, https', 'https'],
    ['trusting', 'https,http', 'http'],
    ['trusting', 'gopher', 'gopher'],
    ['trustingTls', undefined, 'https'],
    ['trustingTls', 'http', 'http'],
    ['elsewhere', 'https', null],
    ['elsewhere', 'http', 'http'],
    ['hops', 'https', null]
  ]
  for (const [server, told, expected] of cases) {
    const headers: Headers = told === undefined ? {} : { 'x-forwarded-proto': told }
    const scheme = await servers[server].ask(headers, request => clientScheme(request) ?? null)
    t.equal(scheme, expected, `${server}, told ${told}: ${expected}`)
  }
})

// ── origin ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Spelling {
  readonly origin: string | string[] | undefined
  readonly allowed: boolean
  readonly host?: string
  readonly on?: Server
  readonly forwarded?: Headers
  readonly bears?: boolean
}

function verdict(policy: OriginPolicy | undefined, spelling: Spelling): Promise<boolean> {
  const { origin, host = HOST, on = 'plain', forwarded = {}, bears = true } = spelling
  const check = new OriginCheck(policy)
  const headers: Headers = { host, ...forwarded, ...(origin === undefined ? {} : { origin }) }
  return servers[on].ask(headers, request => check.allows(request, bears))
}

async function holds(t: Test, policy: OriginPolicy | undefined, spellings: readonly Spelling[]): Promise<void> {
  for (const spelling of spellings) {
    const { origin, host = HOST, on = 'plain', forwarded, allowed } = spelling
    const name = `${JSON.stringify(origin)} to ${host} (${on}${forwarded ? `, ${JSON.stringify(forwarded)}` : ''})`
    t.equal(await verdict(policy, spelling), allowed, `${name} is ${allowed ? 'admitted' : 'refused'}`)
  }
}

t.test('Under same-host the page has the host and the port that the request was sent to', t =>
  holds(t, undefined, [
    { origin: 'https://app.example.com', allowed: true },
    { origin: 'http://app.example.com', allowed: true },
    { origin: 'HTTPS://App.Example.COM', allowed: true },
    { origin: 'https://app.example.com', host: 'APP.example.com', allowed: true },
    // Default ports
    { origin: 'https://app.example.com:443', allowed: true },
    { origin: 'http://app.example.com:80', allowed: true },
    { origin: 'https://app.example.com', host: 'app.example.com:443', allowed: true },
    { origin: 'http://app.example.com', host: 'app.example.com:80', allowed: true },
    { origin: 'https://app.example.com:80', allowed: false },
    { origin: 'http://app.example.com:443', allowed: false },
    { origin: 'https://app.example.com', host: 'app.example.com:80', allowed: false },
    { origin: 'http://app.example.com', host: 'app.example.com:443', allowed: false },
    // Other ports
    { origin: 'http://localhost:3000', host: 'localhost:3000', allowed: true },
    { origin: 'http://localhost:3001', host: 'localhost:3000', allowed: false },
    { origin: 'http://localhost', host: 'localhost:3000', allowed: false },
    { origin: 'http://localhost:3000', host: 'localhost', allowed: false },
    { origin: 'http://localhost:03000', host: 'localhost:3000', allowed: false },
    { origin: 'http://localhost:', host: 'localhost', allowed: false },
    { origin: 'http://localhost:0', host: 'localhost:0', allowed: false },
    { origin: 'http://localhost:65536', host: 'localhost:65536', allowed: false },
    { origin: 'http://localhost:3e3', host: 'localhost:3000', allowed: false },
    { origin: 'http://localhost:3000', host: 'localhost:3000:3000', allowed: false },
    // Names that begin, end or look alike
    { origin: 'https://app.example.com.evil.com', allowed: false },
    { origin: 'https://evil-app.example.com', allowed: false },
    { origin: 'https://evil.com', allowed: false },
    { origin: 'https://evilapp.example.com', allowed: false },
    { origin: 'https://app.example.co', allowed: false },
    { origin: 'https://example.com', allowed: false },
    { origin: 'https://sub.app.example.com', allowed: false },
    { origin: 'https://appxexample.com', allowed: false },
    { origin: 'https://app.example.com.', allowed: false },
    { origin: 'https://app.example.com.', host: 'app.example.com.', allowed: true },
    { origin: 'https://app_example.com', host: 'app_example.com', allowed: true },
    // Userinfo, path, and what a lenient parser would drop
    { origin: 'https://app.example.com@evil.com', allowed: false },
    { origin: 'https://evil.com@app.example.com', allowed: false },
    { origin: 'https://user:secret@app.example.com', allowed: false },
    { origin: 'https://app.example.com/', allowed: false },
    { origin: 'https://app.example.com/path', allowed: false },
    { origin: 'https://app.example.com?', allowed: false },
    { origin: 'https://app.example.com#evil.com', allowed: false },
    { origin: 'https://evil.com/https://app.example.com', allowed: false },
    { origin: 'https:\\\\app.example.com', allowed: false },
    { origin: 'https:app.example.com', allowed: false },
    { origin: 'https:///app.example.com', allowed: false },
    { origin: '//app.example.com', allowed: false },
    { origin: 'app.example.com', allowed: false },
    { origin: 'https://app%2eexample.com', allowed: false },
    { origin: 'https://app.example.com\t', allowed: false },
    { origin: 'https://app.example.com%00.evil.com', allowed: false },
    // No web origin
    { origin: 'null', allowed: false },
    { origin: 'null', host: 'null', allowed: false },
    { origin: 'null', bears: false, allowed: false },
    { origin: '', bears: false, allowed: false },
    { origin: 'undefined', allowed: false },
    { origin: 'https://', allowed: false },
    { origin: 'file://', allowed: false },
    { origin: 'wss://app.example.com', allowed: false },
    { origin: 'chrome-extension://app.example.com', allowed: false },
    { origin: '*', allowed: false },
    // Two of them
    { origin: ['https://app.example.com', 'https://evil.com'], allowed: false },
    { origin: ['https://evil.com', 'https://app.example.com'], allowed: false },
    { origin: ['https://app.example.com', 'https://app.example.com'], allowed: false },
    { origin: 'https://app.example.com https://evil.com', allowed: false },
    // Internationalised names arrive as punycode
    { origin: 'https://xn--bcher-kva.example', host: 'xn--bcher-kva.example', allowed: true },
    { origin: 'https://XN--BCHER-KVA.example', host: 'xn--bcher-kva.example', allowed: true },
    { origin: 'https://bücher.example', host: 'xn--bcher-kva.example', allowed: false },
    { origin: 'https://bücher.example', host: 'bücher.example', allowed: false },
    // Addresses
    { origin: 'http://127.0.0.1:8080', host: '127.0.0.1:8080', allowed: true },
    { origin: 'http://127.1', host: '127.0.0.1', allowed: false },
    { origin: 'http://2130706433', host: '127.0.0.1', allowed: false },
    { origin: 'http://localhost', host: '127.0.0.1', allowed: false },
    { origin: 'http://[::1]:3000', host: '[::1]:3000', allowed: true },
    { origin: 'http://[::1]', host: '[::1]', allowed: true },
    { origin: 'https://[2001:DB8::1]', host: '[2001:db8::1]:443', allowed: true },
    { origin: 'http://[0:0:0:0:0:0:0:1]', host: '[::1]', allowed: false },
    { origin: 'http://::1', host: '[::1]', allowed: false },
    { origin: 'http://[::1', host: '[::1]', allowed: false },
    { origin: 'http://[::1]', host: '::1', allowed: false },
    { origin: 'http://[::1%25eth0]', host: '[::1%25eth0]', allowed: false },
    // A Host that is none
    { origin: 'https://app.example.com', host: 'user@app.example.com', allowed: false },
    { origin: 'https://app.example.com', host: 'app.example.com, evil.com', allowed: false }
  ])
)

t.test('Under same-host the scheme counts where it is known', t =>
  holds(t, 'same-host', [
    { origin: 'https://app.example.com', on: 'tls', allowed: true },
    { origin: 'http://app.example.com', on: 'tls', allowed: false },
    { origin: 'http://app.example.com:443', on: 'tls', allowed: false },
    { origin: 'http://app.example.com', on: 'trusting', allowed: true },
    { origin: 'https://app.example.com', on: 'trusting', allowed: true },
    ...(['https', 'wss', 'HTTPS', 'http, https'] as const).flatMap(
      proto =>
        [
          {
            origin: 'https://app.example.com',
            on: 'trusting',
            forwarded: { 'x-forwarded-proto': proto },
            allowed: true
          },
          {
            origin: 'http://app.example.com',
            on: 'trusting',
            forwarded: { 'x-forwarded-proto': proto },
            allowed: false
          }
        ] as const
    ),
    { origin: 'https://app.example.com', on: 'trusting', forwarded: { 'x-forwarded-proto': 'http' }, allowed: false },
    { origin: 'http://app.example.com', on: 'trusting', forwarded: { 'x-forwarded-proto': 'ws' }, allowed: true },
    { origin: 'http://app.example.com', on: 'trusting', forwarded: { 'x-forwarded-proto': 'gopher' }, allowed: false },
    { origin: 'gopher://app.example.com', on: 'trusting', forwarded: { 'x-forwarded-proto': 'gopher' }, allowed: false }
  ])
)

t.test('X-Forwarded-Host moves the host only where the proxy that sends it is trusted', t => {
  const forwarded = { 'x-forwarded-host': 'evil.com', 'x-forwarded-proto': 'https' }
  const behind = { 'x-forwarded-host': HOST, 'x-forwarded-proto': 'https' }
  const two = { 'x-forwarded-host': 'evil.com, app.example.com' }
  return holds(t, 'same-host', [
    { origin: 'https://evil.com', on: 'plain', forwarded, allowed: false },
    { origin: 'https://app.example.com', on: 'plain', forwarded, allowed: true },
    { origin: 'https://evil.com', on: 'elsewhere', forwarded, allowed: false },
    { origin: 'https://app.example.com', on: 'elsewhere', forwarded, allowed: true },
    { origin: 'https://evil.com', on: 'hops', forwarded, allowed: false },
    { origin: 'https://evil.com', on: 'trusting', forwarded, allowed: true },
    { origin: 'https://app.example.com', on: 'trusting', forwarded, allowed: false },
    { origin: 'https://app.example.com', host: 'inner:8080', on: 'trusting', forwarded: behind, allowed: true },
    { origin: 'https://app.example.com', host: 'inner:8080', on: 'plain', forwarded: behind, allowed: false },
    { origin: 'http://app.example.com', host: 'inner:8080', on: 'trusting', forwarded: behind, allowed: false },
    { origin: 'https://inner:8080', host: 'inner:8080', on: 'trusting', forwarded: behind, allowed: false },
    { origin: 'https://app.example.com', host: 'inner', on: 'trusting', forwarded: two, allowed: true },
    { origin: 'https://evil.com', host: 'inner', on: 'trusting', forwarded: two, allowed: false }
  ])
})

t.test('Without an Origin header only a request without a cookie of ours is admitted', async t => {
  for (const policy of ['same-host', ['https://app.example.com'], []] as const) {
    t.equal(await verdict(policy, { origin: undefined, bears: false, allowed: true }), true)
    t.equal(await verdict(policy, { origin: undefined, bears: true, allowed: false }), false)
  }
})

t.test('A list admits exactly its origins', async t => {
  const list = [
    'https://App.example.com',
    'http://localhost:3000',
    'https://bücher.example',
    'https://[2001:db8:0::1]:8443'
  ]
  await holds(
    t,
    [...list, 'capacitor://localhost', 'http://plain.example:80'],
    [
      { origin: 'https://app.example.com', host: 'elsewhere.net', allowed: true },
      { origin: 'https://APP.example.com:443', allowed: true },
      { origin: 'http://app.example.com', allowed: false },
      { origin: 'https://app.example.com:8443', allowed: false },
      { origin: 'https://app.example.com.', allowed: false },
      { origin: 'https://app.example.com/', allowed: false },
      { origin: 'https://sub.app.example.com', allowed: false },
      { origin: 'https://elsewhere.net', host: 'elsewhere.net', allowed: false },
      { origin: 'http://localhost:3000', allowed: true },
      { origin: 'https://localhost:3000', allowed: false },
      { origin: 'https://xn--bcher-kva.example', allowed: true },
      { origin: 'https://bücher.example', allowed: false },
      { origin: 'https://[2001:db8:0::1]:8443', allowed: true },
      { origin: 'capacitor://localhost', allowed: true },
      { origin: 'capacitor://localhost:80', allowed: false },
      { origin: 'ionic://localhost', allowed: false },
      { origin: 'http://plain.example', allowed: true },
      { origin: 'null', allowed: false },
      { origin: ['https://app.example.com', 'http://localhost:3000'], allowed: false }
    ]
  )
  t.equal(await verdict([], { origin: 'https://app.example.com', allowed: false }), false, 'an empty one no page')
})

t.test('A list with what is no origin, or another kind of policy, is a mistake told at once', async t => {
  const wrong = [
    ...['https://app.example.com/', 'https://app.example.com/chat', 'https://*.example.com', 'app.example.com', 'null'],
    ...[
      '*',
      '',
      'https://',
      'https://a b.com',
      'https://user@a.com',
      'https://a.com:99999',
      'https://a.com:',
      'file://'
    ],
    ...['wss://app.example.com', 'ws://localhost:3000', 'https://a%2eb.com', 'https://a.com, https://b.com', 7, null]
  ]
  for (const [index, entry] of wrong.entries()) {
    const list = [...Array(index).fill('https://a.com'), entry] as string[]
    const option = new RegExp(`^Option "origin\\[${index}\\]": expected an origin such as`)
    const expected = { code: 'FST_CHANNELS_INVALID_OPTION', message: option }
    t.throws(() => new OriginCheck(list), expected, `${entry} is no origin`)
  }
  for (const policy of ['samehost', 'https://app.example.com', false, true, null, 7, {}]) {
    const expected = { code: 'FST_CHANNELS_INVALID_OPTION', message: /^Option "origin": expected 'same-host', 'any'/ }
    t.throws(() => new OriginCheck(policy as OriginPolicy), expected, `${policy} is no policy`)
  }
})

t.test("'any' admits every page, and no page", async t => {
  for (const origin of ['https://evil.com', 'null', '', undefined, ['https://a.com', 'https://b.com']]) {
    t.equal(await verdict('any', { origin, allowed: true }), true)
  }
})

t.test('A function decides alone, and only true admits', async t => {
  const seen: (string | undefined)[] = []
  const policy: OriginPolicy = (origin, request) => {
    seen.push(origin)
    return request.headers['x-device'] === '1'
  }
  for (const origin of ['https://evil.com', 'null', undefined, ['https://a.com', 'https://b.com']]) {
    t.equal(await verdict(policy, { origin, forwarded: { 'x-device': '1' }, allowed: true }), true)
    t.equal(await verdict(policy, { origin, bears: false, allowed: false }), false)
  }
  const headers = ['https://evil.com', 'null', undefined, 'https://a.com, https://b.com']
  t.same(
    seen,
    headers.flatMap(origin => [origin, origin]),
    'it gets the header as it came'
  )

  const answers: [unknown, boolean][] = [
    ...[true, Promise.resolve(true)].map((answer): [unknown, boolean] => [answer, true]),
    ...[false, 1, 'yes', undefined, Promise.resolve(false), Promise.resolve('no'), {}].map((a): [unknown, boolean] => [
      a,
      false
    ])
  ]
  for (const [answer, allowed] of answers) {
    t.equal(await verdict((() => answer) as OriginPolicy, { origin: 'https://evil.com', allowed }), allowed)
  }
  const mistake = new Error('the list of tenants cannot be read')
  const throwing = () => {
    throw mistake
  }
  await t.rejects(
    verdict(throwing, { origin: 'https://evil.com', allowed: false }),
    mistake,
    'what it throws is passed on'
  )
  await t.rejects(
    verdict(() => Promise.reject(mistake), { origin: undefined, allowed: false }),
    mistake
  )
})

t.test('Two Origin headers on the wire are refused, equal ones too', async t => {
  const check = new OriginCheck()
  const probe = new Probe()
  probe.on = request => check.allows(request, false)
  await probe.app.listen({ port: 0, host: '127.0.0.1' })
  t.teardown(() => probe.app.close())
  const { port } = probe.app.server.address() as { port: number }
  const send = async (...origins: string[]): Promise<boolean> => {
    const socket = connect(port, '127.0.0.1').setEncoding('utf8')
    let answer = ''
    socket.on('data', text => {
      answer += text
    })
    const lines = origins.map(origin => `Origin: ${origin}\r\n`).join('')
    socket.write(`GET / HTTP/1.1\r\nHost: a.com\r\n${lines}Connection: close\r\n\r\n`)
    await once(socket, 'close')
    return JSON.parse(answer.slice(answer.indexOf('\r\n\r\n'))).answer
  }
  t.equal(await send('https://a.com'), true)
  t.equal(await send('https://a.com', 'https://a.com'), false)
  t.equal(await send('https://a.com', 'https://evil.com'), false)
  t.equal(await send('https://evil.com', 'https://a.com'), false)
})

// ── cookie ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** An app that signs in by one SignedCookie, beside an @fastify/cookie with the same secret. */
class Site {
  readonly clock = new ManualClock({ wall: START_S * 1000 })
  readonly app: FastifyInstance
  cookie: SignedCookie
  profile: ProfileLike = { id: '7', name: 'Ada' }

  constructor(options: Partial<CookieOptions> = {}, plugin: fastifyCookie.FastifyCookieOptions = {}) {
    this.cookie = this.make(options)
    this.app = Fastify({ trustProxy: true })
    this.app.register(fastifyCookie, { secret: SECRET, ...plugin })
    this.app.get('/in', (_request, reply) => {
      this.cookie.signIn(reply, this.profile)
      return null
    })
    this.app.get('/out', (_request, reply) => {
      this.cookie.signOut(reply)
      return null
    })
    this.app.get('/who', request => ({
      who: this.cookie.read(request),
      bears: this.cookie.bears(request),
      seen: this.cookie.inspect(request)
    }))
  }

  make(options: Partial<CookieOptions>): SignedCookie {
    return new SignedCookie({ secret: SECRET, ...options }, this.clock)
  }

  async get(url: '/in' | '/out', https = false): Promise<string> {
    const response = await this.app.inject({ url, headers: https ? { 'x-forwarded-proto': 'https' } : {} })
    if (response.statusCode !== 200) throw Object.assign(new Error(response.json().message), response.json())
    return response.headers['set-cookie'] as string
  }

  /** Signs in and gives the cookie's value. */
  async value(https = false): Promise<string> {
    return /^[^=]+=([^;]*);/.exec(await this.get('/in', https))![1]!
  }

  async who(cookie: string | undefined, proto = 'http'): Promise<{ who: unknown; bears: boolean; seen: SignedIn }> {
    const headers: Headers = { 'x-forwarded-proto': proto, ...(cookie === undefined ? {} : { cookie }) }
    return (await this.app.inject({ url: '/who', headers })).json()
  }
}

const ADA = { id: '7', name: 'Ada' }
const PAYLOAD = Buffer.from(JSON.stringify(ADA)).toString('base64url')

/** Signs as the server does: what only a holder of the secret can do. */
function signed(body: string, name = 'channels', secret = SECRET): string {
  const key = Buffer.from(hkdfSync('sha256', secret, '', 'fastify-channels signed cookie', 32))
  return new Signer([key]).sign(`${name}=${body}`).slice(name.length + 1)
}

const json = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url')

t.test('Signing in sets a cookie for a week, and signing out takes it away', async t => {
  const site = new Site()
  const value = `${PAYLOAD}.${START_S}.${START_S + WEEK_S}`
  const attributes = 'Max-Age=604800; Path=/; HttpOnly'
  t.equal(await site.get('/in'), `channels=${signed(value)}; ${attributes}; SameSite=Lax`)
  const secure = signed(value, '__Host-channels')
  t.equal(await site.get('/in', true), `__Host-channels=${secure}; ${attributes}; Secure; SameSite=Lax`)
  const gone = 'Max-Age=0; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly'
  t.equal(await site.get('/out'), `channels=; ${gone}; SameSite=Lax`)
  t.equal(await site.get('/out', true), `__Host-channels=; ${gone}; Secure; SameSite=Lax`)
})

t.test('Name, age, secure and sameSite are what the options say', async t => {
  const strict = new Site({ name: 'forge', maxAgeSeconds: 60, sameSite: 'strict', secure: true })
  const forge = signed(`${PAYLOAD}.${START_S}.${START_S + 60}`, '__Host-forge')
  const expected = `__Host-forge=${forge}; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Strict`
  t.equal(await strict.get('/in'), expected, 'secure also where nothing tells of https')
  t.same((await strict.who(`__Host-forge=${forge}`)).who, ADA)

  const open = new Site({ secure: false })
  t.match(await open.get('/in', true), /^channels=[^;]+; Max-Age=604800; Path=\/; HttpOnly; SameSite=Lax$/)
  t.same((await open.who(`channels=${await open.value(true)}`, 'https')).who, ADA)
})

t.test("The application's own defaults for cookies do not change ours", async t => {
  const parseOptions: fastifyCookie.CookieSerializeOptions = {
    domain: 'example.com',
    path: '/app',
    httpOnly: false,
    secure: false,
    sameSite: 'none',
    partitioned: true,
    expires: new Date(0),
    maxAge: 5,
    priority: 'low',
    signed: true,
    encode: () => 'encoded'
  }
  const site = new Site({}, { parseOptions })
  t.equal(await site.get('/in', true), await new Site().get('/in', true))
  t.equal(await site.get('/out', true), await new Site().get('/out', true))
})

t.test('The cookie tells who the request is, and when it was signed', async t => {
  const site = new Site()
  site.profile = { ...ADA, roles: ['admin'], motto: 'naïve 😀; a=b' }
  const value = await site.value()
  const times = { issuedAt: START_S * 1000, expiresAt: (START_S + WEEK_S) * 1000, renew: false }
  const seen = { profile: site.profile, ...times }
  t.same(await site.who(`channels=${value}`), { who: site.profile, bears: true, seen })
  t.same(await site.who(`theme=dark; channels = ${value} ;x`), { who: site.profile, bears: true, seen })
  t.same((await site.who(`__Host-channels=${await site.value(true)}`, 'wss')).who, site.profile)
  t.same(await site.who(undefined), { who: null, bears: false, seen: null })
  t.same(await site.who('Channels=1; xchannels=2; channels; channels2=3; "channels"=4'), {
    who: null,
    bears: false,
    seen: null
  })
})

t.test('A cookie outlives the process that signed it, and is good until the second in which it expires', async t => {
  const site = new Site()
  const cookie = `channels=${await site.value()}`
  site.cookie = site.make({})
  t.same((await site.who(cookie)).who, ADA, 'another instance with the same secret')
  site.clock.jumpWall(WEEK_S * 1000 - 1)
  t.same((await site.who(cookie)).who, ADA, 'a millisecond before')
  site.clock.jumpWall(1)
  t.equal((await site.who(cookie)).who, null, 'at its expiry')
  site.clock.jumpWall(1000)
  t.equal((await site.who(cookie)).who, null, 'a second later')
  t.equal((await site.who(cookie)).bears, true, 'an expired one is still one of ours')
})

t.test('A cookie from a clock that is ahead is good for 60 seconds of difference and no more', async t => {
  const site = new Site()
  const cookie = `channels=${await site.value()}`
  site.clock.jumpWall(-60_000)
  t.same((await site.who(cookie)).who, ADA)
  site.clock.jumpWall(-1)
  t.equal((await site.who(cookie)).who, null)
})

t.test('Secrets rotate: each of the list verifies, the first signs, one taken out is void', async t => {
  const site = new Site({ secret: OLDER })
  const old = `channels=${await site.value()}`
  site.cookie = site.make({ secret: [SECRET, OLDER] })
  const { who, seen } = await site.who(old)
  t.same(who, ADA)
  t.equal(seen.renew, true, 'and tells that it wants to be signed anew')
  const renewed = `channels=${await site.value()}`
  t.equal((await site.who(renewed)).seen.renew, false)
  site.cookie = site.make({ secret: [SECRET] })
  t.equal((await site.who(old)).who, null)
  t.same((await site.who(renewed)).who, ADA)
})

t.test('No forgery is believed', async t => {
  const site = new Site()
  const value = await site.value()
  const [payload, issued, expires, signature] = value.split('.') as [string, string, string, string]
  const times = `${START_S}.${START_S + WEEK_S}`
  const other = new Signer(SECRET)
  const flip = (text: string, at: number) => text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
  const name = '__Host-channels'
  const forgeries: Record<string, string> = {
    'another cookie, signed by @fastify/cookie with the same secret': `channels=${other.sign('7')}`,
    'our body, signed by @fastify/cookie with the same secret': `channels=${other.sign(`${payload}.${times}`)}`,
    'our body and name, signed so': `channels=${other.sign(`channels=${payload}.${times}`).slice('channels='.length)}`,
    'our cookie under another name of ours': `channels=${signed(`${payload}.${times}`, 'forge')}`,
    'the cookie of https on http': `channels=${signed(`${payload}.${times}`, name)}`,
    'no signature': `channels=${payload}.${issued}.${expires}`,
    'an empty signature': `channels=${payload}.${issued}.${expires}.`,
    'an unsigned profile': `channels=${payload}`,
    nothing: 'channels=',
    'a signature cut by one': `channels=${value.slice(0, -1)}`,
    'a cookie cut in half': `channels=${value.slice(0, value.length / 2)}`,
    'a cookie without its first character': `channels=${value.slice(1)}`,
    'a padded signature': `channels=${value}=`,
    'a padded payload': `channels=${payload}=.${issued}.${expires}.${signature}`,
    'a percent-encoded spelling': `channels=${value.replaceAll('.', '%2E')}`,
    'a quoted value': `channels="${value}"`,
    'more after it': `channels=${value}.`,
    'more before it': `channels=.${value}`,
    'one bit of the signature': `channels=${flip(value, value.length - 5)}`,
    'another last character of the signature, which decodes to the same bytes': `channels=${sameBytes(value)}`,
    'the signature in base64url': `channels=${payload}.${issued}.${expires}.${signature.replaceAll('+', '-').replaceAll('/', '_')}-`,
    'another profile': `channels=${json({ id: '1' })}.${issued}.${expires}.${signature}`,
    'one bit of the profile': `channels=${flip(value, 3)}`,
    'a later expiry': `channels=${payload}.${issued}.${Number(expires) + 1}.${signature}`,
    'a later issue': `channels=${payload}.${Number(issued) + 1}.${expires}.${signature}`,
    'a shifted dot': `channels=${payload}.${issued}${expires[0]}.${expires.slice(1)}.${signature}`,
    'another secret': `channels=${signed(`${payload}.${times}`, 'channels', OLDER)}`,
    'no secret': `channels=${new Signer('').sign(`channels=${payload}.${times}`).slice('channels='.length)}`,
    'expired by a second': `channels=${signed(`${payload}.${START_S - WEEK_S - 1}.${START_S - 1}`)}`,
    'expired now': `channels=${signed(`${payload}.${START_S - WEEK_S}.${START_S}`)}`,
    'issued 61 seconds from now': `channels=${signed(`${payload}.${START_S + 61}.${START_S + WEEK_S}`)}`,
    'a time with a zero before it': `channels=${signed(`${payload}.0${times}`)}`,
    'an expiry with a zero before it': `channels=${signed(`${payload}.${START_S}.0${START_S + WEEK_S}`)}`,
    'a time with a sign': `channels=${signed(`${payload}.-${times}`)}`,
    'a time with an exponent': `channels=${signed(`${payload}.${START_S}.9e99`)}`,
    'no times': `channels=${signed(payload)}`,
    'a signed payload that is padded': `channels=${signed(`${payload}=.${times}`)}`,
    'a signed payload in another spelling': `channels=${signed(`${sameBytes(json({ id: '7', n: 1 }))}.${times}`)}`,
    'a signed payload that is no JSON': `channels=${signed(`${Buffer.from('{').toString('base64url')}.${times}`)}`,
    'a signed payload that is no profile': `channels=${signed(`${json(['7'])}.${times}`)}`,
    'a signed null': `channels=${signed(`${json(null)}.${times}`)}`,
    'a signed profile without an id': `channels=${signed(`${json({ id: '' })}.${times}`)}`,
    'a signed profile with a number for an id': `channels=${signed(`${json({ id: 7 })}.${times}`)}`,
    'a signed profile over the bound': `channels=${signed(`${json({ id: '7', x: 'x'.repeat(3000) })}.${times}`)}`,
    'twice the same': `channels=${value}; channels=${value}`,
    'a good one, then a bad one': `channels=${value}; channels=x`,
    'a bad one, then a good one': `channels=; theme=dark; channels=${value}`
  }
  t.same((await site.who(`channels=${value}`)).who, ADA, 'the cookie itself is good')
  t.same((await site.who(`channels=${signed(`${payload}.${times}`)}`)).who, ADA, 'and so is one signed here')
  for (const [forgery, cookie] of Object.entries(forgeries)) {
    t.match(await site.who(cookie), { who: null, bears: true, seen: null }, forgery)
  }
})

/** Changes the unused bits of the last base64 character: a lenient decoder sees no difference. */
function sameBytes(text: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  const last = alphabet.indexOf(text.at(-1)!.replace('+', '-').replace('/', '_'))
  const changed = text.slice(0, -1) + alphabet[last + 1]
  const bytes = (all: string) => Buffer.from(all.slice(all.lastIndexOf('.') + 1), 'base64url')
  if (!bytes(changed).equals(bytes(text))) throw new Error('the last character has no unused bits')
  return changed
}

t.test('Over https only the __Host- cookie counts, whatever else was tossed in', async t => {
  const site = new Site()
  const plain = await site.value()
  site.profile = { id: '8' }
  const host = await site.value(true)
  const cases: [string, unknown][] = [
    [`__Host-channels=${host}`, { id: '8' }],
    [`channels=${plain}; __Host-channels=${host}`, { id: '8' }],
    [`__Host-channels=${host}; channels=${plain}; channels=x`, { id: '8' }],
    [`channels=${plain}`, null],
    [`__Host-channels=${plain}`, null],
    [`channels=${plain}; __Host-channels=x`, null],
    [`__Host-channels=${host}; __Host-channels=${host}`, null],
    [`__host-channels=${host}`, null],
    [`__Secure-channels=${host}`, null]
  ]
  for (const [cookie, who] of cases) t.same((await site.who(cookie, 'https')).who, who, cookie.slice(0, 60))
  t.same((await site.who(`channels=${plain}; __Host-channels=${host}`)).who, ADA, 'and over http only the plain one')
  t.equal((await site.who(`__Host-channels=${host}`)).who, null)
  t.equal((await site.who(`__Host-channels=${host}`)).bears, true, 'either name is one of ours')
  t.equal((await site.who(`channels=${plain}`, 'https')).bears, true)
})

t.test('The cookie is read also before the hook of @fastify/cookie has run', async t => {
  const site = new Site({}, { hook: false })
  t.same((await site.who(`channels=${await site.value()}`)).who, ADA)
})

t.test('What cannot be a profile, or makes too long a cookie, is not signed in', async t => {
  const site = new Site()
  const code = { code: 'FST_CHANNELS_INVALID_PROFILE', statusCode: 500 }
  const circular: Record<string, unknown> & { id: string } = { id: '7' }
  circular.self = circular
  const wrong: unknown[] = [null, undefined, '7', { id: '' }, { id: 7 }, { id: '7', n: 1n }, circular]
  for (const profile of [...wrong, { id: '7', toJSON: () => ({}) }, () => ADA]) {
    site.profile = profile as ProfileLike
    await t.rejects(site.get('/in'), code)
  }
  const times = 2 * 11 + 44
  const fits = Math.floor(((MAX_COOKIE_BYTES - times) * 3) / 4) - JSON.stringify({ id: '7', x: '' }).length
  site.profile = { id: '7', x: 'x'.repeat(fits) }
  const value = await site.value()
  t.equal(value.length, MAX_COOKIE_BYTES, 'at the bound it is')
  t.same((await site.who(`channels=${value}`)).who, site.profile)
  site.profile = { id: '7', x: 'x'.repeat(fits + 1) }
  await t.rejects(site.get('/in'), { code: 'FST_CHANNELS_COOKIE_TOO_BIG', message: /bytes; at most 3584 are allowed$/ })
})

t.test('Wrong options are told by name, and a secret is never in the message', async t => {
  const clock = new ManualClock()
  const wrong: [Record<string, unknown>, RegExp][] = [
    [{ secret: undefined }, /^Option "cookie.secret": expected at least 32 characters.*, got undefined$/],
    [{ secret: 'hunter2' }, /, got 7 characters$/],
    [{ secret: 'x'.repeat(31) }, /, got 31 characters$/],
    [{ secret: [] }, /, got an empty list$/],
    [{ secret: [SECRET, 'hunter2'] }, /, got 7 characters$/],
    [{ secret: Buffer.alloc(64) }, /, got object$/],
    ...['', 'a b', 'a=b', 'a;b', 'é', 'x'.repeat(65), '__Host-a', '__secure-a', 7, null].map(
      (name): [Record<string, unknown>, RegExp] => [{ name }, /^Option "cookie.name": expected a token/]
    ),
    ...[0, -1, 1.5, 34_560_001, Number.NaN, Number.POSITIVE_INFINITY, '60', null].map(
      (maxAgeSeconds): [Record<string, unknown>, RegExp] => [
        { maxAgeSeconds },
        /^Option "cookie.maxAgeSeconds": expected/
      ]
    ),
    [{ secure: 'yes' }, /^Option "cookie.secure": expected 'auto', true or false, got "yes"$/],
    [{ sameSite: 'none' }, /^Option "cookie.sameSite": expected 'lax' or 'strict', got "none"$/],
    [
      { domain: 'example.com' },
      /^Unknown option "cookie.domain"; known are secret, name, maxAgeSeconds, secure, sameSite$/
    ],
    [{ path: '/' }, /^Unknown option "cookie.path"/]
  ]
  for (const [options, message] of wrong) {
    const make = () => new SignedCookie({ secret: SECRET, ...options } as CookieOptions, clock)
    t.throws(make, { message, code: /^FST_CHANNELS_(INVALID|UNKNOWN)_OPTION$/ }, String(message))
    try {
      make()
    } catch (error) {
      t.notMatch((error as Error).message, /hunter2/)
    }
  }
  const edge = { secret: 'x'.repeat(32), name: "a!#$%&'*+.^_`|~-", maxAgeSeconds: 34_560_000 }
  t.ok(new SignedCookie(edge, clock))
  const undefinedOnes = { secret: SECRET, name: undefined, sameSite: undefined } as unknown as CookieOptions
  t.ok(new SignedCookie(undefinedOnes, clock), 'undefined is what was left out')
})
