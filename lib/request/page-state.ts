import type {} from '@fastify/websocket'
import type { FastifyRequest } from 'fastify'
import { badRequest, channelsError } from '../errors.ts'
import type { Logger } from '../log.ts'
import type { RegisteredProfile } from '../register.ts'

/** What `act` tells an action of its request. Read-only. */
export interface PageState<Params = Readonly<Record<string, string>>, Query = Readonly<Record<string, unknown>>> {
  /** The action's key, as given to `act`. */
  readonly key: string
  /** Who asks; null for an anonymous request. */
  readonly profile: RegisteredProfile | null
  /** A child of the request's logger, with the action's key as `action`. */
  readonly logger: Logger
  readonly method: string
  readonly url: string
  /** The route's parameters, decoded and, where `act` was given a schema, validated. */
  readonly params: Params
  readonly query: Query
  /** When the action began, in milliseconds since 1970. */
  readonly started: number
  /** `websocket` where the request asks for an upgrade. */
  readonly transport: 'http' | 'websocket'
  /**
   * A parameter of the route, else of the query; an empty string where there is none.
   * @throws FST_CHANNELS_MISSING_PARAMETER (400) where it is required and absent or empty
   * @throws FST_CHANNELS_BAD_REQUEST (400) where it is no single string
   */
  requestString(name: string, required?: boolean): string
}

/** To be sealed by whoever ties it to the request. */
export function buildPageState(
  key: string,
  request: FastifyRequest,
  profile: RegisteredProfile | null,
  started: number
): PageState<never, never> {
  const params = request.params as Readonly<Record<string, unknown>>
  const query = request.query as Readonly<Record<string, unknown>>
  return {
    key,
    profile,
    logger: request.log.child({ action: key }) as Logger,
    method: request.method,
    url: request.url,
    params: params as never,
    query: query as never,
    started,
    transport: request.ws === true ? 'websocket' : 'http',
    requestString(name: string, required = false): string {
      const value = own(params, name) ?? own(query, name) ?? ''
      if (typeof value !== 'string' && typeof value !== 'number')
        throw badRequest(`Parameter "${name}" must be given once`)
      if (required && value === '') throw channelsError('FST_CHANNELS_MISSING_PARAMETER', name)
      return String(value)
    }
  }
}

function own(values: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(values, name) ? values[name] : undefined
}
