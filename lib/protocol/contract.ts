import type { Static, TSchema } from '@sinclair/typebox'
import type { NameOf, ParamsOf } from './channel-name.ts'
import { compilePattern } from './channel-name.ts'

/** A command that a client may send, and the reply it gets if any. */
export interface CommandDefinition<
  Param extends TSchema = TSchema,
  Reply extends TSchema | undefined = TSchema | undefined
> {
  readonly kind: 'command'
  readonly param: Param
  readonly reply: Reply
}

/** An event that is not kept: at most once, never replayed, for what is worthless a second later. */
export interface EphemeralDefinition<Param extends TSchema = TSchema> {
  readonly kind: 'ephemeral'
  readonly param: Param
}

export type EventDefinitions = Readonly<Record<string, TSchema | EphemeralDefinition>>
export type CommandDefinitions = Readonly<Record<string, CommandDefinition>>

/** One channel pattern with everything that may pass through its channels. */
export interface ChannelDefinition<
  Pattern extends string = string,
  Events extends EventDefinitions = EventDefinitions,
  Commands extends CommandDefinitions = CommandDefinitions,
  Presence extends TSchema | undefined = TSchema | undefined
> {
  readonly pattern: Pattern
  readonly events: Events
  readonly commands: Commands
  /** What presence tells of a member besides the id. */
  readonly presence: Presence
}

/** All channels of an application; `typeof` one is what client and server are typed by. */
export interface ContractDefinition<Channels extends readonly ChannelDefinition[] = readonly ChannelDefinition[]> {
  readonly channels: Channels
}

/** Any definition, for use as a bound: a concrete one is not assignable to the plain default where methods vary. */
// biome-ignore format: one line each
export type AnyChannel = ChannelDefinition<any, any, any, any>

/**
 * Defines a channel pattern.
 * @throws {TypeError} where the pattern is malformed, or a name begins with `$`, which is the protocol's own
 */
export function defineChannel<
  const Pattern extends string,
  const Events extends EventDefinitions = Record<never, never>,
  const Commands extends CommandDefinitions = Record<never, never>,
  const Presence extends TSchema | undefined = undefined
>(
  pattern: Pattern,
  parts: { readonly events?: Events; readonly commands?: Commands; readonly presence?: Presence }
): ChannelDefinition<Pattern, Events, Commands, Presence> {
  compilePattern(pattern)
  for (const name of [...Object.keys(parts.events ?? {}), ...Object.keys(parts.commands ?? {})]) {
    if (name.startsWith('$') || name.length === 0)
      throw new TypeError(`"${name}" of "${pattern}": names may not begin with $`)
  }
  return Object.freeze({
    pattern,
    events: (parts.events ?? {}) as Events,
    commands: (parts.commands ?? {}) as Commands,
    presence: parts.presence as Presence
  })
}

/**
 * Puts channels together.
 * @throws {TypeError} where two patterns could claim one name with equal right
 */
export function defineContract<const Channels extends readonly AnyChannel[]>(
  channels: Channels
): ContractDefinition<Channels> {
  assertDistinct(channels)
  return Object.freeze({ channels })
}

/** @throws {TypeError} where two patterns are the same but for the names of their parameters */
export function assertDistinct(channels: readonly AnyChannel[]): void {
  const seen = new Map<string, string>()
  for (const { pattern } of channels as readonly ChannelDefinition[]) {
    const compiled = compilePattern(pattern)
    const key = compiled.parameters.length === 0 ? `=${pattern}` : `^${pattern.slice(0, compiled.prefixLength)}`
    const other = seen.get(key)
    if (other !== undefined) throw new TypeError(`patterns "${other}" and "${pattern}" claim the same names`)
    seen.set(key, pattern)
  }
}

/** A command: the schema of its param and, with `reply`, of what the handler returns. */
export function command<Param extends TSchema>(param: Param): CommandDefinition<Param, undefined>
export function command<Param extends TSchema, Reply extends TSchema>(
  param: Param,
  options: { readonly reply: Reply }
): CommandDefinition<Param, Reply>
export function command(param: TSchema, options?: { readonly reply: TSchema }): CommandDefinition {
  return Object.freeze({ kind: 'command', param, reply: options?.reply })
}

/** An event that is delivered at most once and never replayed. */
export function ephemeral<Param extends TSchema>(param: Param): EphemeralDefinition<Param> {
  return Object.freeze({ kind: 'ephemeral', param })
}

/** The schema of an event's param. */
export function eventSchema(definition: TSchema | EphemeralDefinition): TSchema {
  return isEphemeral(definition) ? definition.param : definition
}

/** Whether an event is never kept. */
export function isEphemeral(definition: TSchema | EphemeralDefinition): definition is EphemeralDefinition {
  return (definition as EphemeralDefinition).kind === 'ephemeral'
}

/** One text for one meaning, whatever the order in which channels and keys were written: what the contract's hash is made of. */
export function canonicalContract(channels: readonly AnyChannel[]): string {
  const sorted = [...(channels as readonly ChannelDefinition[])].sort((a, b) => (a.pattern < b.pattern ? -1 : 1))
  return JSON.stringify(sorted.map(canonical))
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, inner]): [string, unknown] => [
    key,
    // JSON Schema reads this list as a set.
    key === 'required' && Array.isArray(inner) ? [...inner].sort() : canonical(inner)
  ])
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
}

// What follows is types only.

type Schema<T> = T extends EphemeralDefinition<infer P> ? Static<P> : T extends TSchema ? Static<T> : never

/** Of a contract or of one channel: its channel definitions, as a union. */
export type ChannelsOf<C> = C extends ContractDefinition<infer Channels> ? Channels[number] : never
export type PatternsOf<C> = ChannelsOf<C>['pattern']
/** Every channel name that the contract allows, as template-literal types. */
export type ChannelNames<C> = NameOf<PatternsOf<C>>
export type ChannelOfPattern<C, P extends string> = Extract<ChannelsOf<C>, { readonly pattern: P }>
/** The definition that a name belongs to: the exact one, else every pattern that fits. */
export type ChannelOfName<C, N extends string> = [Extract<ChannelsOf<C>, { readonly pattern: N }>] extends [never]
  ? Fitting<ChannelsOf<C>, N>
  : Extract<ChannelsOf<C>, { readonly pattern: N }>
type Fitting<D, N extends string> = D extends { readonly pattern: infer P extends string }
  ? N extends NameOf<P>
    ? D
    : never
  : never

export type EventNames<D> = D extends { readonly events: infer E } ? keyof E & string : never
export type EventParam<D, K extends string> = D extends { readonly events: infer E }
  ? K extends keyof E
    ? EventParams<E>[K]
    : never
  : never
// By way of a map: with K open, the conditional type itself would be gone through without end.
type EventParams<E> = { readonly [K in keyof E]: Schema<E[K]> }
export type CommandNames<D> = D extends { readonly commands: infer E } ? keyof E & string : never
export type CommandParam<D, K extends string> = D extends { readonly commands: infer E }
  ? K extends keyof E
    ? E[K] extends CommandDefinition<infer P, any>
      ? Static<P>
      : never
    : never
  : never
/** What a command's handler returns and its sender gets; `undefined` where it has no reply. */
export type CommandReply<D, K extends string> = D extends { readonly commands: infer E }
  ? K extends keyof E
    ? E[K] extends CommandDefinition<any, infer R>
      ? R extends TSchema
        ? Static<R>
        : undefined
      : never
    : never
  : never
export type PresenceInfo<D> = D extends { readonly presence: infer P }
  ? P extends TSchema
    ? Static<P>
    : unknown
  : unknown

/** The events that a command's param may be published as. */
export type RelayedBy<D, K extends string> = {
  [E in EventNames<D>]: CommandParam<D, K> extends EventParam<D, E> ? E : never
}[EventNames<D>]
/** An event of a channel, as `broadcast` takes it. */
export type EventOf<D> = D extends AnyChannel
  ? { [K in EventNames<D>]: { readonly cmd: K; readonly param: EventParam<D, K> } }[EventNames<D>]
  : never
export type ParamsOfChannel<D> = D extends { readonly pattern: infer P extends string } ? ParamsOf<P> : never
