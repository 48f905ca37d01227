import type { Definition } from '../channel/definition.ts'
import type { CommandHandler } from '../channel/rules.ts'
import { channelsError } from '../errors.ts'
import type { AnyChannel } from '../protocol/contract.ts'
import { Schema } from '../schema.ts'

/** One command of a served channel. */
export interface Command {
  readonly param: Schema
  readonly reply: Schema | null
  readonly handler: CommandHandler<AnyChannel, string>
}

/** The commands of all served channels. */
export class Commands {
  readonly #byDefinition = new Map<Definition, ReadonlyMap<string, Command>>()

  /** @throws FST_CHANNELS_INVALID_CONTRACT where a command has no handler, a handler no command, or a schema is unfit */
  add(definition: Definition): void {
    const { pattern, commands } = definition.channel
    const handlers = new Map(Object.entries(definition.rules.commands ?? {}))
    const table = new Map<string, Command>()
    for (const [name, { param, reply }] of Object.entries(commands)) {
      const handler = handlers.get(name)
      if (typeof handler !== 'function') {
        throw channelsError('FST_CHANNELS_INVALID_CONTRACT', pattern, `command "${name}" has no handler in the rules`)
      }
      const label = `${pattern} command ${name}`
      table.set(name, {
        handler,
        param: new Schema(param, label, true),
        reply: reply === undefined ? null : new Schema(reply, `${label} reply`, false)
      })
    }
    for (const name of handlers.keys()) {
      if (!table.has(name)) {
        throw channelsError(
          'FST_CHANNELS_INVALID_CONTRACT',
          pattern,
          `handler "${name}" has no command in the contract`
        )
      }
    }
    this.#byDefinition.set(definition, table)
  }

  /** Null where the channel has a contract without commands of its own, which leaves its input to `onMessage`. */
  of(definition: Definition): ReadonlyMap<string, Command> | null {
    const table = this.#byDefinition.get(definition)
    return table === undefined || table.size === 0 ? null : table
  }
}
