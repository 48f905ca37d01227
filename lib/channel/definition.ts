import { createHash } from 'node:crypto'
import type { LogPolicy } from '../broker/broker.ts'
import { channelsError } from '../errors.ts'
import type { ChannelPattern } from '../protocol/channel-name.ts'
import { compilePattern } from '../protocol/channel-name.ts'
import type { AnyChannel, ChannelDefinition, ContractDefinition } from '../protocol/contract.ts'
import { assertDistinct, canonicalContract, eventSchema, isEphemeral } from '../protocol/contract.ts'
import { ReceivedValue } from '../protocol/message.ts'
import { Schema } from '../schema.ts'
import type { ChannelRules } from './rules.ts'
import { assertRules, logPolicyOf } from './rules.ts'

/** A channel pattern with its rules, compiled. */
export class Definition {
  readonly channel: ChannelDefinition
  readonly pattern: ChannelPattern
  readonly rules: ChannelRules
  /** Null where nothing is kept. */
  readonly log: LogPolicy | null
  readonly #ephemeral = new Set<string>()
  readonly #events = new Map<string, Schema>()
  readonly #presence: Schema | null

  /** @throws FST_CHANNELS_INVALID_CONTRACT, FST_CHANNELS_UNKNOWN_OPTION, FST_CHANNELS_INVALID_OPTION */
  constructor(channel: ChannelDefinition, rules: ChannelRules) {
    assertRules(rules)
    this.channel = channel
    this.pattern = compilePattern(channel.pattern)
    this.rules = rules
    this.log = logPolicyOf(rules)
    const { presence } = channel
    this.#presence = presence === undefined ? null : new Schema(presence, `${channel.pattern} presence`, false)
    for (const [name, definition] of Object.entries(channel.events)) {
      if (isEphemeral(definition)) this.#ephemeral.add(name)
      this.#events.set(name, new Schema(eventSchema(definition), `${channel.pattern} event ${name}`, false))
    }
  }

  /** Whether the event of that name is delivered at most once and never kept. */
  isEphemeral(cmd: string): boolean {
    return this.#ephemeral.has(cmd)
  }

  /** @throws FST_CHANNELS_INVALID_EVENT */
  assertPresence(info: unknown): void {
    const violation = this.#presence?.violation(info) ?? null
    if (violation === null) return
    throw channelsError('FST_CHANNELS_INVALID_EVENT', 'presence', this.channel.pattern, violation.path, violation.rule)
  }

  /** @throws FST_CHANNELS_UNKNOWN_EVENT, FST_CHANNELS_INVALID_EVENT */
  assertEvent(cmd: string, param: unknown): void {
    const schema = this.#events.get(cmd)
    if (schema === undefined) throw channelsError('FST_CHANNELS_UNKNOWN_EVENT', this.channel.pattern, cmd)
    const violation = schema.violation(param instanceof ReceivedValue ? param.value : param)
    if (violation !== null) {
      throw channelsError('FST_CHANNELS_INVALID_EVENT', cmd, this.channel.pattern, violation.path, violation.rule)
    }
  }
}

/** What a name was found to be. */
export interface Resolved {
  readonly definition: Definition
  readonly params: Readonly<Record<string, string>>
}

const NO_PARAMS: Readonly<Record<string, string>> = Object.freeze({})

/** All patterns known to a service: an exact name goes before a pattern, a longer literal prefix before a shorter. */
export class Definitions {
  readonly #exact = new Map<string, Definition>()
  #patterns: Definition[] = []

  /** @throws FST_CHANNELS_ALREADY_SERVED, FST_CHANNELS_INVALID_CONTRACT */
  add(channel: AnyChannel, rules: ChannelRules): Definition {
    const taken = this.all().map(known => known.channel)
    try {
      assertDistinct([...taken, channel])
    } catch (error) {
      throw channelsError('FST_CHANNELS_ALREADY_SERVED', channel.pattern, (error as Error).message)
    }
    const definition = new Definition(channel, rules)
    if (definition.pattern.parameters.length === 0) this.#exact.set(channel.pattern, definition)
    else {
      this.#patterns.push(definition)
      this.#patterns.sort((a, b) => b.pattern.prefixLength - a.pattern.prefixLength)
    }
    return definition
  }

  resolve(name: string): Resolved | null {
    const exact = this.#exact.get(name)
    if (exact !== undefined) return { definition: exact, params: NO_PARAMS }
    for (const definition of this.#patterns) {
      const params = definition.pattern.match(name)
      if (params !== null) return { definition, params }
    }
    return null
  }

  all(): Definition[] {
    return [...this.#exact.values(), ...this.#patterns]
  }

  /** Adds what else the contract holds, beside the served channels. Gives the hash of the whole. */
  complete(contract: ContractDefinition | null): string {
    const served = new Set(this.all().map(definition => definition.channel.pattern))
    for (const channel of contract?.channels ?? []) if (!served.has(channel.pattern)) this.add(channel, {})
    const canonical = canonicalContract(this.all().map(definition => definition.channel))
    return createHash('sha256').update(canonical).digest('hex').slice(0, 16)
  }
}
