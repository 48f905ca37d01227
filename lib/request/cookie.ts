import { hkdfSync } from 'node:crypto'
import { Signer } from '@fastify/cookie'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { channelsError, shown } from '../errors.ts'
import type { Clock } from '../protocol/clock.ts'
import { assertProfile, isProfile, type Profile, type ProfileLike } from './profile.ts'
import { clientScheme } from './scheme.ts'

/** How the signed-in user is kept in a cookie. */
export interface CookieOptions {
  /**
   * What signs the cookie: at least 32 characters that only the servers know. In a list the first one signs and all of
   * them verify, so a new secret is put in front, and the old one taken out once its cookies may be refused.
   */
  readonly secret: string | readonly string[]
  /** Name of the cookie, 1 to 64 characters of an RFC 9110 token. Default `channels`; over https it is `__Host-channels`. */
  readonly name?: string
  /** Seconds from sign-in until the cookie is refused. Default 604,800 (7 days); 1 to 34,560,000 (400 days). */
  readonly maxAgeSeconds?: number
  /**
   * Whether the cookie is for https alone: it is then `Secure` and named with the prefix `__Host-`, so that no other
   * host of the domain can set it. Default `'auto'`: exactly where the request came by https, which behind a proxy that
   * ends TLS only `trustProxy` can tell.
   */
  readonly secure?: 'auto' | boolean
  /** Default `'lax'`: sent when another site links here. `'strict'`: not even then. */
  readonly sameSite?: 'lax' | 'strict'
}

/** What `CookieOptions` leaves out. */
export const COOKIE_DEFAULTS = {
  name: 'channels',
  maxAgeSeconds: 7 * 24 * 60 * 60,
  secure: 'auto',
  sameSite: 'lax'
} as const satisfies Omit<CookieOptions, 'secret'>

/** The longest value that is set, in bytes; browsers drop a cookie over 4,096 with its name (RFC 6265bis §5.6). */
export const MAX_COOKIE_BYTES = 3_584

/** What a valid cookie says. */
export interface SignedIn {
  readonly profile: Profile
  /** Milliseconds since 1970, in whole seconds. */
  readonly issuedAt: number
  /** Milliseconds since 1970, in whole seconds: from this instant on the cookie is refused. */
  readonly expiresAt: number
  /** Whether an older secret than the first signed it: `signIn` again on an HTTP answer renews it. */
  readonly renew: boolean
}

/** The longest lifetime that browsers keep (RFC 6265bis §5.5). */
const MAX_AGE_SECONDS = 400 * 24 * 60 * 60
const MIN_SECRET_LENGTH = 32
/** How far the clock of the server that signed may be ahead of this one's. */
const SKEW_MS = 60_000
const HOST_PREFIX = '__Host-'

/** Payload, issue, expiry (both in seconds since 1970) and an unpadded SHA-256, as `signIn` writes them. */
const VALUE = /^(?:[A-Za-z0-9_-]+)\.(?:[1-9][0-9]{0,11})\.(?:[1-9][0-9]{0,11})\.(?:[A-Za-z0-9+/]{43})$/

/**
 * A profile kept in a signed cookie. Who bears the cookie can read it: no secrets belong in the profile. The signature
 * covers the cookie's name, the times and the profile; @fastify/cookie by itself signs a bare value, which stays valid
 * for ever and under any name.
 */
export class SignedCookie {
  readonly #options: Required<Omit<CookieOptions, 'secret'>>
  readonly #signer: Signer
  readonly #clock: Clock

  /** @throws FST_CHANNELS_INVALID_OPTION, FST_CHANNELS_UNKNOWN_OPTION */
  constructor(options: CookieOptions, clock: Clock) {
    const { secret, ...given } = options
    this.#options = { ...COOKIE_DEFAULTS, ...defined(given) }
    checkOptions(this.#options)
    this.#signer = new Signer(secretsOf(secret).map(deriveKey))
    this.#clock = clock
  }

  /** The profile in the request's cookie; null where there is none, or none that may be believed. */
  read(request: FastifyRequest): Profile | null {
    return this.inspect(request)?.profile ?? null
  }

  /** As `read`, with the times. */
  inspect(request: FastifyRequest): SignedIn | null {
    const name = this.#nameFor(request)
    const values = cookiesNamed(request, name)
    // Of two, one was set by somebody else (another host of the domain, another path), and nothing tells which.
    return values.length === 1 ? this.#verify(name, values[0]!) : null
  }

  /** Whether the request has a cookie by our name, good or bad: it then comes from something that keeps cookies. */
  bears(request: FastifyRequest): boolean {
    const { name } = this.#options
    return cookiesNamed(request, name).length > 0 || cookiesNamed(request, HOST_PREFIX + name).length > 0
  }

  /**
   * Sets the cookie on an answer. The profile is kept as JSON, so what has no JSON form in it is lost.
   * @throws FST_CHANNELS_INVALID_PROFILE, FST_CHANNELS_COOKIE_TOO_BIG
   */
  signIn(reply: FastifyReply, profile: ProfileLike): void {
    const name = this.#nameFor(reply.request)
    const { maxAgeSeconds } = this.#options
    const issued = Math.floor(this.#clock.wall() / 1000)
    const body = `${encodeProfile(profile)}.${issued}.${issued + maxAgeSeconds}`
    const value = this.#signer.sign(`${name}=${body}`).slice(name.length + 1)
    if (value.length > MAX_COOKIE_BYTES) {
      throw channelsError('FST_CHANNELS_COOKIE_TOO_BIG', value.length, MAX_COOKIE_BYTES)
    }
    this.#set(reply, name, value, { maxAge: maxAgeSeconds, expires: undefined })
  }

  /** Takes the cookie away on an answer. A copy of it stays valid until it expires: nothing is kept on the server. */
  signOut(reply: FastifyReply): void {
    this.#set(reply, this.#nameFor(reply.request), '', { maxAge: 0, expires: new Date(0) })
  }

  #nameFor(request: FastifyRequest): string {
    return this.#isSecure(request) ? HOST_PREFIX + this.#options.name : this.#options.name
  }

  #isSecure(request: FastifyRequest): boolean {
    const { secure } = this.#options
    return secure === 'auto' ? clientScheme(request) === 'https' : secure
  }

  #verify(name: string, value: string): SignedIn | null {
    if (value.length > MAX_COOKIE_BYTES || !VALUE.test(value)) return null
    const result = this.#signer.unsign(`${name}=${value}`)
    if (!result.valid) return null
    const [payload, issued, expires] = value.split('.') as [string, string, string]
    const issuedAt = Number(issued) * 1000
    const expiresAt = Number(expires) * 1000
    const now = this.#clock.wall()
    if (now >= expiresAt || issuedAt > now + SKEW_MS) return null
    const profile = decodeProfile(payload)
    return profile === null ? null : { profile, issuedAt, expiresAt, renew: result.renew }
  }

  /** Every attribute is said here, also those left out: @fastify/cookie would fill them from the application's defaults. */
  #set(reply: FastifyReply, name: string, value: string, life: { maxAge: number; expires: Date | undefined }): void {
    const attributes = {
      ...life,
      path: '/',
      domain: undefined,
      httpOnly: true,
      secure: this.#isSecure(reply.request),
      sameSite: this.#options.sameSite,
      partitioned: false,
      priority: undefined,
      encode: undefined,
      signed: false
    }
    reply.setCookie(name, value, attributes as object as Parameters<FastifyReply['setCookie']>[2])
  }
}

/**
 * A key of our own (HKDF, RFC 5869): an application that gives @fastify/cookie the same secret, and signs what users
 * send it, does not thereby sign our cookies.
 */
function deriveKey(secret: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, '', 'fastify-channels signed cookie', 32))
}

/**
 * The values of all cookies by that name, undecoded. `request.cookies` has but the first of them, decoded, and is null
 * where the hook of @fastify/cookie has not run yet.
 */
function cookiesNamed(request: FastifyRequest, name: string): string[] {
  const values: string[] = []
  for (const pair of (request.raw.headers.cookie ?? '').split(';')) {
    const equals = pair.indexOf('=')
    if (equals !== -1 && pair.slice(0, equals).trim() === name) values.push(pair.slice(equals + 1).trim())
  }
  return values
}

function encodeProfile(profile: ProfileLike): string {
  let json: string
  try {
    json = JSON.stringify(profile) ?? 'null'
  } catch (error) {
    throw channelsError('FST_CHANNELS_INVALID_PROFILE', `it has no JSON form (${(error as Error).message})`)
  }
  // What will be read is what counts: toJSON may have made something else of it.
  if (assertProfile(JSON.parse(json)) === null) throw channelsError('FST_CHANNELS_INVALID_PROFILE', 'got null')
  return Buffer.from(json).toString('base64url')
}

/** A signature tells who wrote the payload, not that this version of the package would have written it. */
function decodeProfile(payload: string): Profile | null {
  const bytes = Buffer.from(payload, 'base64url')
  if (bytes.toString('base64url') !== payload) return null
  try {
    const value: unknown = JSON.parse(bytes.toString())
    return isProfile(value) ? value : null
  } catch {
    return null
  }
}

function defined<T extends object>(options: T): Partial<T> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<T>
}

/** The secrets as a list; a message about one tells its length and never the text. */
function secretsOf(secret: unknown): string[] {
  const secrets: unknown[] = Array.isArray(secret) ? secret : [secret]
  const expected = `at least ${MIN_SECRET_LENGTH} characters, or a list of such texts`
  if (secrets.length === 0) throw invalid('secret', expected, 'an empty list')
  for (const one of secrets) {
    if (typeof one !== 'string') throw invalid('secret', expected, typeof one)
    if (one.length < MIN_SECRET_LENGTH) throw invalid('secret', expected, `${one.length} characters`)
  }
  return secrets as string[]
}

function checkOptions(options: Required<Omit<CookieOptions, 'secret'>>): void {
  for (const key of Object.keys(options)) {
    if (!Object.hasOwn(COOKIE_DEFAULTS, key)) {
      const known = ['secret', ...Object.keys(COOKIE_DEFAULTS)].join(', ')
      throw channelsError('FST_CHANNELS_UNKNOWN_OPTION', `cookie.${key}`, known)
    }
  }
  const { name, maxAgeSeconds, secure, sameSite } = options
  if (
    typeof name !== 'string' ||
    !/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/.test(name) ||
    /^__(?:host|secure)-/i.test(name)
  ) {
    throw invalid('name', 'a token of 1 to 64 characters, without the prefix __Host- or __Secure-', shown(name))
  }
  if (!Number.isInteger(maxAgeSeconds) || maxAgeSeconds < 1 || maxAgeSeconds > MAX_AGE_SECONDS) {
    throw invalid('maxAgeSeconds', `an integer from 1 to ${MAX_AGE_SECONDS}`, shown(maxAgeSeconds))
  }
  if (secure !== 'auto' && typeof secure !== 'boolean') throw invalid('secure', `'auto', true or false`, shown(secure))
  if (sameSite !== 'lax' && sameSite !== 'strict') throw invalid('sameSite', `'lax' or 'strict'`, shown(sameSite))
}

function invalid(option: string, expected: string, got: string): Error {
  return channelsError('FST_CHANNELS_INVALID_OPTION', `cookie.${option}`, expected, got)
}
