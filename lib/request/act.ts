import type { Static, TSchema } from '@sinclair/typebox'
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod } from 'fastify'
import { channelsError } from '../errors.ts'
import type { PageState } from './page-state.ts'

/** What an action may need beside its PageState. After `upgrade` the reply is not the action's any more. */
export interface ActionContext {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** Aborts when the client leaves, the handshake takes too long or the server closes; never for an ordinary request. */
  readonly signal: AbortSignal
}

/**
 * What a controller route runs. What it returns is the answer of an ordinary request; what it throws is an ordinary
 * Fastify error, until `upgrade` has been called: after that it closes the connection with 1011.
 */
export type Action<Params = Readonly<Record<string, string>>, Query = Readonly<Record<string, unknown>>> = (
  app: FastifyInstance,
  pageState: PageState<Params, Query>,
  context: ActionContext
) => unknown

/** Schemas that the request is held against before the action runs; what breaks them is answered 400. */
export interface ActionSchemas<
  Params extends TSchema | undefined = TSchema,
  Query extends TSchema | undefined = TSchema
> {
  readonly params?: Params
  readonly query?: Query
}

/** What our onRoute hook finds behind a handler that `act` made. */
export interface MarkedAction {
  readonly key: string
  readonly schemas: ActionSchemas
  readonly run: Action<never, never>
}

const marked = new WeakMap<RouteHandlerMethod, MarkedAction>()

type Typed<S extends TSchema | undefined, Default> = S extends TSchema ? Static<S> : Default

/**
 * Makes an action the handler of a route. On a route whose sole method is GET it may `upgrade`; there it serves upgrade
 * requests and ordinary ones alike. `key` names it in logs and hooks.
 */
export function act(key: string, run: Action): RouteHandlerMethod
export function act<Params extends TSchema | undefined = undefined, Query extends TSchema | undefined = undefined>(
  key: string,
  schemas: ActionSchemas<Params, Query>,
  run: Action<Typed<Params, Readonly<Record<string, string>>>, Typed<Query, Readonly<Record<string, unknown>>>>
): RouteHandlerMethod
export function act(key: string, first: Action | ActionSchemas, second?: Action<never, never>): RouteHandlerMethod {
  const run = (typeof first === 'function' ? first : second) as Action<never, never>
  const schemas = typeof first === 'function' ? {} : first
  if (typeof key !== 'string' || key === '') {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', 'key of act', 'a non-empty string', String(key))
  }
  if (typeof run !== 'function')
    throw channelsError('FST_CHANNELS_INVALID_OPTION', `act("${key}")`, 'a function', typeof run)
  // Replaced when the route is declared; what is left of it runs where the plugin was not there to do so.
  const handler: RouteHandlerMethod = () => {
    throw channelsError('FST_CHANNELS_NOT_REGISTERED', key)
  }
  marked.set(handler, { key, schemas, run })
  return handler
}

/** The action behind a handler; undefined where `act` did not make it. */
export function actionOf(handler: RouteHandlerMethod): MarkedAction | undefined {
  return marked.get(handler)
}
