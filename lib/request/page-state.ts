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

/** The page state of one request, frozen; it bears the request's rendezvous, which nothing then holds any longer. */
export class RequestPage implements PageState {
  readonly key: string
  readonly profile: RegisteredProfile | null
  readonly method: string
  readonly url: string
  readonly params: Readonly<Record<string, string>>
  readonly query: Readonly<Record<string, unknown>>
  readonly started: number
  readonly transport: 'http' | 'websocket'
  readonly #rendezvous: Rendezvous
  #logger: Logger | null = null

  constructor(request: FastifyRequest, rendezvous: Rendezvous, started: number) {
    this.key = rendezvous.action
    this.profile = rendezvous.profile
    this.method = request.method
    this.url = request.url
    this.params = request.params as Readonly<Record<string, string>>
    this.query = request.query as Readonly<Record<string, unknown>>
    this.started = started
    this.transport = request.ws === true ? 'websocket' : 'http'
    this.#rendezvous = rendezvous
    Object.freeze(this)
  }

  /** What the upgrade of this page state needs; undefined where `act` did not build it. */
  static rendezvousOf(pageState: unknown): Rendezvous | undefined {
    const isOurs = typeof pageState === 'object' && pageState !== null && #rendezvous in pageState
    return isOurs ? (pageState as RequestPage).#rendezvous : undefined
  }

  /** Made for who asks for it: most actions log nothing. */
  get logger(): Logger {
    this.#logger ??= this.#rendezvous.logger.child({ action: this.key })
    return this.#logger
  }

  /** An own property: it may be taken out of its page state. */
  readonly requestString = (name: string, required = false): string => {
    const value = own(this.params, name) ?? own(this.query, name) ?? ''
    if (typeof value !== 'string' && typeof value !== 'number') {
      throw badRequest(`Parameter "${name}" must be given once`)
    }
    if (required && value === '') throw channelsError('FST_CHANNELS_MISSING_PARAMETER', name)
    return String(value)
  }
}

function own(values: Readonly<Record<string, unknown>>, name: string): unknown {
  return Object.hasOwn(values, name) ? values[name] : undefined
}
