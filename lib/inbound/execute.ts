import type { Awaitable } from '../awaitable.ts'
import { chain } from '../awaitable.ts'
import type { Committed, Publication } from '../broker/broker.ts'
import { positionOf } from '../broker/broker.ts'
import type { Channel } from '../channel/channel.ts'
import type { Prepared } from '../channel/publisher.ts'
import type { Collected, CommandContext } from '../channel/rules.ts'
import type { Subscription } from '../channel/subscription.ts'
import { sessionAddress } from '../connection/address.ts'
import type { Connection } from '../connection/connection.ts'
import type { OutgoingMessage } from '../connection/publication.ts'
import { channelsError } from '../errors.ts'
import { isThenable } from '../host-code.ts'
import { receivedParam } from '../protocol/message.ts'
import { ackOf, ackOfKept, replyToKeep } from './ack.ts'
import type { Command } from './commands.ts'
import type { Dispatcher } from './dispatcher.ts'
import type { Inbox } from './inbox.ts'
import { Refusal } from './refusal.ts'
import type { CommandFrame, Result } from './run-command.ts'

/** One run of a command. */
interface Run {
  readonly dispatcher: Dispatcher
  readonly subscription: Subscription
  readonly inbox: Inbox
  readonly frame: CommandFrame
  /** Undefined for a plain client, and for who waits for no answer. */
  readonly id: number | undefined
  readonly channel: Channel
  readonly collected: Collected[]
  /** What is published from now on would come to nobody: its effects have been given out, or it failed. */
  isOver: boolean
}

interface Effect extends Prepared {
  readonly exceptSender?: boolean
}

/** Runs a command's handler and gives its effects out. Does not throw or reject; a promise only where somebody made one. */
export function execute(
  dispatcher: Dispatcher,
  subscription: Subscription,
  inbox: Inbox,
  frame: CommandFrame,
  id: number | undefined
): Awaitable<Result> {
  const { channel } = subscription
  if (channel === null) return new Refusal('not-joined')
  const run: Run = { dispatcher, subscription, inbox, frame, id, channel, collected: [], isOver: false }
  try {
    const definition = channel.resolved?.definition
    const table = definition === undefined ? null : dispatcher.parts.commands.of(definition)
    const command = table === null ? null : checkedCommand(table, frame)
    const answer = command === null ? passMessage(run) : command.handler(frame.param, new Context(run))
    if (isThenable(answer)) {
      return Promise.resolve(answer)
        .then(reply => give(run, command, reply))
        .catch(error => refused(run, error))
    }
    const result = give(run, command, answer)
    return result instanceof Promise ? result.catch(error => refused(run, error)) : result
  } catch (error) {
    return refused(run, error)
  }
}

function refused(run: Run, error: unknown): Refusal {
  run.isOver = true
  return run.dispatcher.refusal(run.subscription.connection, error)
}

function checkedCommand(table: ReadonlyMap<string, Command>, frame: CommandFrame): Command {
  const command = table.get(frame.cmd)
  if (command === undefined) throw new Refusal('unknown-command')
  const violation = command.param.violation(frame.param)
  if (violation !== null) throw new Refusal('invalid-param', `${violation.path}: ${violation.rule}`)
  return command
}

/** A channel without commands of its own leaves its input to `onMessage`. */
function passMessage({ inbox, frame, subscription }: Run): unknown {
  const { connection } = subscription
  if (inbox.onMessage === null) throw new Refusal('unknown-command')
  const from = connection.profile === null ? {} : { from: connection.profile.id }
  return inbox.onMessage({ channel: frame.channel, cmd: frame.cmd, param: frame.param, ...from }, connection)
}

/** What a handler works with; what not every one asks for is made when it does. */
class Context implements CommandContext {
  readonly channel: string
  readonly params: CommandContext['params']
  readonly connection: Connection
  readonly profile: CommandContext['profile']
  readonly #run: Run

  constructor(run: Run) {
    const { channel, subscription } = run
    const { connection } = subscription
    this.channel = channel.name
    this.params = channel.params
    this.connection = connection
    this.profile = connection.profile
    this.#run = run
  }

  /** Bound, as handlers take it out of their context. */
  get publish(): CommandContext['publish'] {
    const run = this.#run
    return (event, options) => collect(run, event as OutgoingMessage, options)
  }

  get relay(): CommandContext['relay'] {
    const run = this.#run
    return (cmd, options) => collect(run, { cmd, param: receivedParam(run.frame.text) ?? undefined }, options)
  }

  get idempotencyKey(): string | null {
    const { id } = this.#run
    return id === undefined ? null : `${this.connection.session}:${id}`
  }

  get signal(): AbortSignal {
    return this.#run.subscription.signal
  }

  get logger(): CommandContext['logger'] {
    return this.connection.logger
  }
}

/** @throws FST_CHANNELS_PUBLISH_TOO_LATE */
function collect(run: Run, message: OutgoingMessage, options: Parameters<CommandContext['publish']>[1]): void {
  const { profile } = run.subscription.connection
  if (run.isOver) throw channelsError('FST_CHANNELS_PUBLISH_TOO_LATE', String(message?.cmd), run.frame.cmd)
  run.collected.push({
    message: profile === null ? message : { ...message, from: profile.id },
    exceptSender: options?.exceptSender === true
  })
}

/** All that can fail comes before the first publication: half a command's effects must not go out. */
function give(run: Run, command: Command | null, reply: unknown): Awaitable<Result> {
  const { dispatcher, channel, collected } = run
  run.isOver = true
  const text = replyText(run, command, reply)
  const { publisher } = dispatcher.parts
  const effects = collected.map(({ message, exceptSender }): Effect => {
    const prepared = publisher.prepare(channel.name, message)
    return exceptSender ? { ...prepared, exceptSender } : prepared
  })
  return effects.some(({ log }) => log !== null) ? store(run, effects, text) : send(run, effects, text)
}

function replyText({ frame, id }: Run, command: Command | null, reply: unknown): string {
  const violation = command?.reply?.violation(reply) ?? null
  if (violation !== null) throw channelsError('FST_CHANNELS_INVALID_REPLY', frame.cmd, violation.path, violation.rule)
  if (reply === undefined || id === undefined) return ''
  try {
    const text: string | undefined = JSON.stringify(reply)
    if (text !== undefined) return text
    throw new TypeError(`a ${typeof reply} has no JSON form`)
  } catch (error) {
    throw channelsError('FST_CHANNELS_UNSERIALISABLE', frame.cmd, (error as Error).message)
  }
}

/** Nothing of it is kept: it goes to fan-out, and the answer is ours to remember. */
function send(run: Run, effects: readonly Effect[], reply: string): Result {
  const { dispatcher, frame, id } = run
  sendEach(run, effects)
  if (id === undefined) return { ack: null, kept: true }
  return { ack: ackOf(dispatcher, frame.channel, id, { reply, position: null }), kept: false }
}

function sendEach({ dispatcher, subscription }: Run, effects: readonly Effect[]): void {
  for (const effect of effects) {
    const audience = effect.exceptSender ? { except: new Set([subscription.connection]) } : undefined
    dispatcher.parts.publisher.send(effect, audience)
  }
}

/** What is kept is stored in one step with the answer; the rest goes out once that is done. */
function store(run: Run, effects: readonly Effect[], reply: string): Awaitable<Result> {
  const { dispatcher, inbox, id, subscription, frame } = run
  const { session } = inbox
  const publications: Publication[] = []
  for (const { channel, text, log, exceptSender } of effects) {
    const except = exceptSender ? [sessionAddress(subscription.connection.session)] : []
    if (log !== null) publications.push({ channel, text, log, except })
  }
  if (id !== undefined) session.sequence.storing(id)
  const command =
    id === undefined
      ? null
      : {
          ...{ session: session.key, fence: session.fence, id, progress: session.sequence.after(id) },
          reply: replyToKeep(frame.channel, reply)
        }
  const { publisher, observer } = dispatcher.parts
  const answer = (committed: Committed & { kind: 'stored' | 'earlier' }): Result => {
    if (committed.kind === 'stored') {
      sendEach(
        run,
        effects.filter(({ log }) => log === null)
      )
    }
    if (id === undefined) return { ack: null, kept: true }
    if (committed.kind === 'earlier') return { ack: ackOfKept(dispatcher, id, committed.result), kept: true }
    return { ack: ackOf(dispatcher, frame.channel, id, { reply, position: positionOf(committed) }), kept: true }
  }
  const settle = (committed: Committed): Awaitable<Result> => {
    if (committed.kind === 'fenced') return 'fenced'
    if (committed.kind === 'expired') throw new Refusal('result-expired')
    return chain(publisher.delivered(subscription.name, positionOf(committed)), () => answer(committed))
  }
  const fail = (error: unknown): Refusal => {
    observer.failed(error, subscription.connection)
    return new Refusal('unavailable')
  }
  try {
    const committing = publisher.commit(subscription.name, publications, command)
    return committing instanceof Promise ? committing.then(settle, fail) : chain(committing, settle)
  } catch (error) {
    return error instanceof Refusal ? error : fail(error)
  }
}
