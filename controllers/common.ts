import type { FastifyInstance } from 'fastify'
import { unauthorized } from '../lib/errors.ts'
import { Type } from '../lib/protocol/index.ts'
import type { RegisteredProfile } from '../lib/register.ts'

/** What the controllers' options are held against. */
export const fn = Type.Function([], Type.Unknown())
export const flag = Type.Boolean()
export const log = Type.Union([Type.Boolean(), Type.Object({})])
export const path = Type.String({ pattern: '^/' })

/** An instant in the text of RFC 3339, as `Date.prototype.toISOString` writes it. */
export const Timestamp = Type.String({
  pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}(\\.\\d+)?(Z|[+-]\\d{2}:\\d{2})$'
})

/** Something that users are told; `type` is the application's own, such as `info` or `warning`. */
export const Notification = Type.Object({
  id: Type.String(),
  type: Type.String(),
  title: Type.String(),
  message: Type.String(),
  timestamp: Timestamp
})

/** Any JSON object. */
export const AnyObject = Type.Record(Type.String(), Type.Unknown())

/** The service's time as a `Timestamp`. */
export function timestamp(app: FastifyInstance): string {
  return new Date(app.sockets.now()).toISOString()
}

/** @throws FST_CHANNELS_UNAUTHORIZED (401; nack `unauthorized`) where there is no profile */
export function signedIn(profile: RegisteredProfile | null): RegisteredProfile {
  if (profile === null) throw unauthorized()
  return profile
}
