import type { FastifyRequest } from 'fastify'
import { channelsError, shown } from '../errors.ts'
import type { Clock } from '../protocol/clock.ts'
import type { Profile } from '../protocol/profile.ts'
import type { RegisteredProfile } from '../register.ts'

/** The longest id of a profile, in UTF-16 code units. */
const MAX_PROFILE_ID_LENGTH = 128

export type { Profile } from '../protocol/profile.ts'

/** A profile as the application has it: what stands beside `id` and `name` is its own. */
export type ProfileLike = Profile | (Profile & { readonly [key: string]: unknown })

/**
 * Tells who a request is, or null for nobody in particular. It runs once for each request, before the action; what it
 * throws is answered as the action's own error would be, and there is no socket. With `recheckMs` it runs again while the
 * connection lasts, with the same request.
 */
export type ProfileLoader = (request: FastifyRequest) => ProfileLike | null | Promise<ProfileLike | null>

/** Whether a value can be a profile: an object with an id, and perhaps an expiry, as `Profile` wants them. */
export function isProfile(value: unknown): value is Profile {
  if (typeof value !== 'object' || value === null) return false
  const { id, expiresAt } = value as { id?: unknown; expiresAt?: unknown }
  return isId(id) && (expiresAt === undefined || Number.isFinite(expiresAt))
}

/**
 * The value that a loader gave, once it is known to be a profile or null. A loader that returned nothing is a mistake,
 * not an anonymous user: undefined is refused.
 * @throws FST_CHANNELS_INVALID_PROFILE
 */
export function assertProfile(value: unknown): Profile | null {
  if (value === null || isProfile(value)) return value
  const { id, expiresAt } = Object(value) as { id?: unknown; expiresAt?: unknown }
  const wrong = isId(id) ? `the expiresAt ${shown(expiresAt)}` : `the id ${shown(id)}`
  const got = typeof value === 'object' ? `got ${wrong}` : `got ${shown(value)}`
  throw channelsError('FST_CHANNELS_INVALID_PROFILE', got)
}

/** A lone surrogate has no UTF-8 form, so two ids that differ in one would meet in the same channel name. */
function isId(id: unknown): boolean {
  return typeof id === 'string' && id.length > 0 && id.length <= MAX_PROFILE_ID_LENGTH && !/\p{Cs}/u.test(id)
}

/** Who a request is, and from when on it is nobody any more. */
export interface Identity {
  readonly profile: RegisteredProfile | null
  /** Milliseconds since 1970; null where there is no such time. */
  readonly expiresAt: number | null
}

/** A profile that has expired is nobody's. */
export function identityOf(profile: Profile | null, clock: Clock, until: number | null = null): Identity {
  const own = profile?.expiresAt ?? null
  const expiresAt = own === null || until === null ? (own ?? until) : Math.min(own, until)
  if (profile === null || (expiresAt !== null && expiresAt <= clock.wall())) return NOBODY
  return { profile: profile as RegisteredProfile, expiresAt }
}

const NOBODY: Identity = Object.freeze({ profile: null, expiresAt: null })
