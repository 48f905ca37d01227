import type { FastifyRequest } from 'fastify'
import { channelsError, shown } from '../errors.ts'
import type { Profile } from '../protocol/profile.ts'

/** The longest id of a profile, in UTF-16 code units. */
const MAX_PROFILE_ID_LENGTH = 128

export type { Profile } from '../protocol/profile.ts'

/** A profile as the application has it: what stands beside `id` and `name` is its own. */
export type ProfileLike = Profile | (Profile & { readonly [key: string]: unknown })

/**
 * Tells who a request is, or null for nobody in particular. It runs once for each request, before the action; what it
 * throws is answered as the action's own error would be, and there is no socket.
 */
export type ProfileLoader = (request: FastifyRequest) => ProfileLike | null | Promise<ProfileLike | null>

/** Whether a value can be a profile: an object with an id as `Profile` wants it. */
export function isProfile(value: unknown): value is Profile {
  return typeof value === 'object' && value !== null && isId((value as { id?: unknown }).id)
}

/**
 * The value that a loader gave, once it is known to be a profile or null. A loader that returned nothing is a mistake,
 * not an anonymous user: undefined is refused.
 * @throws FST_CHANNELS_INVALID_PROFILE
 */
export function assertProfile(value: unknown): Profile | null {
  if (value === null || isProfile(value)) return value
  const got = typeof value === 'object' ? `got the id ${shown((value as { id?: unknown }).id)}` : `got ${shown(value)}`
  throw channelsError('FST_CHANNELS_INVALID_PROFILE', got)
}

/** A lone surrogate has no UTF-8 form, so two ids that differ in one would meet in the same channel name. */
function isId(id: unknown): boolean {
  return typeof id === 'string' && id.length > 0 && id.length <= MAX_PROFILE_ID_LENGTH && !/\p{Cs}/u.test(id)
}
