import type {} from '@fastify/websocket'
import type { FastifyRequest } from 'fastify'
import type { Rendezvous } from '../connection/rendezvous.ts'
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

/** Where a page state bears what it was made with, which nothing then holds any longer. */
const MADE_WITH: unique symbol = Symbol('fastify-channels.page-state')

type Borne = { readonly [MADE_WITH]?: MadeWith } | null | undefined

class MadeWith {
  readonly rendezvous: Rendezvous
  #logger: Logger | null = null

  constructor(rendezvous: Rendezvous) {
    this.rendezvous = rendezvous
  }

  /** Made for who asks for it: most actions log nothing. */
  get logger(): Logger {
    const { action, logger } = this.rendezvous
    this.#logger ??= logger.child({ action })
    return this.#logger
  }
}

/** One function for all of them, so that they share their hidden class; its own, so that a copy has the logger. */
const LOGGER: PropertyDescriptor = {
  enumerable: true,
  get(this: Borne) {
    return this?.[MADE_WITH]?.logger
  }
}

/** The page state of one request, frozen. */
export function buildPageState(
  request: FastifyRequest,
  rendezvous: Rendezvous,
  started: number
): PageState<never, never> {
  const params = request.params as Readonly<Record<string, unknown>>
  const query = request.query as Readonly<Record<string, unknown>>
  const pageState = {
    key: rendezvous.action,
    profile: rendezvous.profile,
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
  Object.defineProperty(pageState, MADE_WITH, { value: new MadeWith(rendezvous) })
  return Object.freeze(Object.defineProperty(pageState, 'logger', LOGGER)) as PageState<never, never>
}

/** What the upgrade of a page state needs; undefined where `act` did not build it. */
export function rendezvousOf(pageState: object): Rendezvous | undefined {
  return (pageState as Borne)?.[MADE_WITH]?.rendezvous
}

function own(values: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(values, name) ? values[name] : undefined
}
