import type { FastifyRequest } from 'fastify'
import { channelsError, shown } from '../errors.ts'
import { clientScheme } from './scheme.ts'

/**
 * From which pages a socket may be opened. A browser sends the cookies of a site with every WebSocket handshake to it,
 * whichever page asks, and no same-origin rule stands in between: this check does (RFC 6455 §10.2).
 *
 * - `'same-host'` (the default): host and port of the Origin header equal those that the request was sent to, and so
 *   does the scheme where it is known: over TLS, or told by a proxy that `trustProxy` trusts. A page that made its own
 *   name resolve to this server (DNS rebinding) passes, without any cookie of this site; a list stops it as well.
 * - a list of origins, each exactly `scheme://host` or `scheme://host:port`; the empty list admits no page at all.
 * - a function, which decides alone. It gets the header as it came: undefined where there is none, `'null'` from a
 *   sandboxed page, two joined by a comma where two were sent. Only `true` admits; what it throws is the answer.
 * - `'any'`: every page of the web may connect as the user whose browser it runs in. For public data only.
 *
 * Under `'same-host'` and a list, `null` and anything that is no origin are refused, and a request without an Origin
 * (no browser sends a handshake so) is admitted only where it bears no cookie that could speak for a user.
 */
export type OriginPolicy =
  | 'same-host'
  | 'any'
  | readonly string[]
  | ((origin: string | undefined, request: FastifyRequest) => boolean | Promise<boolean>)

/** The policy where none is given. */
const DEFAULT_ORIGIN_POLICY: OriginPolicy = 'same-host'

interface WebOrigin {
  readonly scheme: string
  readonly host: string
  /** The scheme's default where none was written; 0 where the scheme has none. */
  readonly port: number
}

type Rule = (origin: string | undefined, request: FastifyRequest, bearsCookie: boolean) => boolean | Promise<boolean>

/** An `OriginPolicy`, checked once and ready to be asked. */
export class OriginCheck {
  readonly #rule: Rule

  /** @throws FST_CHANNELS_INVALID_OPTION where the policy is none of the four, or a list has what is no origin */
  constructor(policy: OriginPolicy = DEFAULT_ORIGIN_POLICY) {
    this.#rule = ruleOf(policy)
  }

  /**
   * Whether the request may open a socket. `bearsCookie`: whether it has a credential that browsers add by themselves,
   * valid or not. Throws, or rejects with, what a policy function threw.
   */
  allows(request: FastifyRequest, bearsCookie: boolean): boolean | Promise<boolean> {
    return this.#rule(request.raw.headers.origin, request, bearsCookie)
  }
}

function ruleOf(policy: OriginPolicy): Rule {
  if (policy === 'any') return () => true
  if (policy === 'same-host') {
    return (text, request, bearsCookie) => (text === undefined ? !bearsCookie : isSameHost(parseOrigin(text), request))
  }
  if (typeof policy === 'function') return (text, request) => onlyTrue(policy(text, request))
  if (!Array.isArray(policy)) {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', 'origin', EXPECTED_POLICY, shown(policy))
  }
  const origins = new Set(policy.map(listed))
  return (text, _request, bearsCookie) => {
    if (text === undefined) return !bearsCookie
    const origin = parseOrigin(text)
    return origin !== null && origins.has(keyOf(origin))
  }
}

const EXPECTED_POLICY = "'same-host', 'any', a list of origins or a function"
const EXPECTED_ORIGIN = 'an origin such as https://app.example.com, without path or wildcard'

/** A policy written in JavaScript may answer anything, and a promise of `false` is truthy. */
function onlyTrue(answer: boolean | Promise<boolean>): boolean | Promise<boolean> {
  return typeof answer === 'boolean' ? answer : isTrue(answer)
}

async function isTrue(answer: unknown): Promise<boolean> {
  return (await answer) === true
}

/** The key of an origin from the options, where an internationalised host may stand as people write it. */
function listed(entry: unknown, index: number): string {
  const origin = typeof entry === 'string' ? parseOrigin(toAscii(entry)) : null
  // A page's origin is http or https; ws and wss are what it connects to, and would match no request.
  if (origin === null || origin.scheme === 'ws' || origin.scheme === 'wss') {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', `origin[${index}]`, EXPECTED_ORIGIN, shown(entry))
  }
  return keyOf(origin)
}

/** The URL parser would also forgive paths, userinfo and backslashes: only what has none of them gets there. */
function toAscii(entry: string): string {
  if (!/^https?:\/\/[^\s/\\?#@%:[\]]+(?::[0-9]+)?$/i.test(entry) || !URL.canParse(entry)) return entry
  return new URL(entry).origin
}

function isSameHost(origin: WebOrigin | null, request: FastifyRequest): boolean {
  if (origin === null || defaultPort(origin.scheme) === 0) return false
  const scheme = clientScheme(request)
  if (scheme !== undefined && scheme !== origin.scheme) return false
  const target = AUTHORITY.exec(request.host)
  if (target === null) return false
  // A Host without a port was written by a browser for the scheme that it used, which is the origin's or is refused.
  return target[1]!.toLowerCase() === origin.host && portOf(target[2], origin.scheme) === origin.port
}

// Browsers send hosts in the URL standard's one serialisation (lower case, punycode, shortest IPv6), in Origin as in
// Host. So spellings are compared as text; nothing is decoded that a stranger could make mean two things.
const HOST = String.raw`([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?`
const AUTHORITY = new RegExp(`^${HOST}$`, 'i')
const ORIGIN = new RegExp(`^([a-z][a-z0-9+.-]*)://${HOST}$`, 'i')

/** RFC 6454 §6.2, one origin; null for `null`, for a list, and for anything else. */
function parseOrigin(text: string): WebOrigin | null {
  const parts = ORIGIN.exec(text)
  if (parts === null) return null
  const scheme = parts[1]!.toLowerCase()
  const port = portOf(parts[3], scheme)
  return port > 65_535 ? null : { scheme, host: parts[2]!.toLowerCase(), port }
}

function portOf(digits: string | undefined, scheme: string): number {
  return digits === undefined ? defaultPort(scheme) : Number(digits)
}

function defaultPort(scheme: string): number {
  return scheme === 'https' ? 443 : scheme === 'http' ? 80 : 0
}

function keyOf(origin: WebOrigin): string {
  return `${origin.scheme}://${origin.host}:${origin.port}`
}
