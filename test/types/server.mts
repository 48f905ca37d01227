// What must compile of the server's side, and what must not.
import type { ChannelHandle, ChannelRules, CommandContext, Sockets } from 'fastify-channels'
import type { NameOf, ParamsOf } from 'fastify-channels/protocol'
import { command, defineChannel, defineContract, ephemeral, Type } from 'fastify-channels/protocol'

const document = defineChannel('doc-:team-:page', {
  events: { edited: Type.Object({ by: Type.String() }), cursor: ephemeral(Type.Object({ line: Type.Integer() })) },
  commands: {
    edit: command(Type.Object({ text: Type.String() })),
    count: command(Type.Null(), { reply: Type.Integer() })
  },
  presence: Type.Object({ name: Type.String() })
})
const system = defineChannel('system', { events: { 'system-update': Type.Object({ version: Type.Integer() }) } })
const contract = defineContract([document, system])

declare const sockets: Sockets<typeof contract>
declare const untyped: Sockets<unknown>
declare const handle: ChannelHandle<typeof document>

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const equal = <T extends true>(_proof?: T): void => {}

export async function program(): Promise<void> {
  equal<Equal<NameOf<'doc-:team-:page'>, `doc-${string}-${string}`>>()
  equal<Equal<keyof ParamsOf<'doc-:team-:page'>, 'team' | 'page'>>()
  equal<Equal<NameOf<'system'>, 'system'>>()
  equal<Equal<keyof ParamsOf<'system'>, never>>()

  // A channel.
  await sockets.broadcast('system', { cmd: 'system-update', param: { version: 1 } })
  await sockets.broadcast('doc-a-b', { cmd: 'edited', param: { by: 'ann' } })
  // @ts-expect-error: the contract has no such channel
  await sockets.broadcast('elsewhere', { cmd: 'system-update', param: { version: 1 } })
  // @ts-expect-error: nor one that fits no pattern
  await sockets.broadcast('doc-a', { cmd: 'edited', param: { by: 'ann' } })

  // An event.
  // @ts-expect-error: the channel has no such event
  await sockets.broadcast('system', { cmd: 'edited', param: { by: 'ann' } })
  // @ts-expect-error: an event is not a command
  await handle.broadcast({ team: 'a', page: 'b' }, { cmd: 'edit', param: { text: '' } })

  // A payload.
  // @ts-expect-error: the version is a number
  await sockets.broadcast('system', { cmd: 'system-update', param: { version: '1' } })
  // @ts-expect-error: the param is missing
  await handle.broadcast({ team: 'a', page: 'b' }, { cmd: 'cursor' })
  // @ts-expect-error: the param of another event
  await handle.broadcast({ team: 'a', page: 'b' }, { cmd: 'cursor', param: { by: 'ann' } })

  // Another channel's message through this one.
  await sockets.sendToChannel('doc-a-b', { channel: 'system', cmd: 'system-update', param: { version: 1 } })
  // @ts-expect-error: the event is not the named channel's
  await sockets.sendToChannel('doc-a-b', { channel: 'system', cmd: 'edited', param: { by: 'ann' } })

  // A user's own channel is one of the contract's, or carries another's message.
  await sockets.sendToUser('7', { channel: 'system', cmd: 'system-update', param: { version: 1 } })
  // @ts-expect-error: the contract has no such event for a user
  await sockets.sendToUser('7', { cmd: 'invoice-paid', param: {} })
  await untyped.sendToUser('7', { cmd: 'invoice-paid', param: {} })

  // A parameter.
  handle.name({ team: 'a', page: 'b' })
  // @ts-expect-error: one is missing
  handle.name({ team: 'a' })
  // @ts-expect-error: one is not of the pattern
  handle.name({ team: 'a', page: 'b', room: 'c' })
  // @ts-expect-error: one is no string
  await handle.members({ team: 1, page: 'b' })

  // A member's info.
  const [member] = await handle.members({ team: 'a', page: 'b' })
  member?.info?.name.toUpperCase()
  // @ts-expect-error: presence tells no such thing
  member?.info?.age

  // Rules.
  sockets.serve(document, {
    access: ({ params }) => params.team === 'a',
    presence: profile => ({ name: profile.id }),
    commands: {
      edit: (param, context) => {
        // @ts-expect-error: an event with another param
        context.relay('edited')
        // @ts-expect-error: the channel has no such event
        context.relay('edit')
        equal<Equal<typeof param, { text: string }>>()
        context.publish({ cmd: 'edited', param: { by: context.profile?.id ?? '' } })
        // @ts-expect-error: the channel has no such event
        context.publish({ cmd: 'system-update', param: { version: 1 } })
        // @ts-expect-error: a wrong payload
        context.publish({ cmd: 'edited', param: { by: 4 } })
      },
      count: async () => 3
    }
  })
  const line = Type.Object({ line: Type.Integer() })
  const parts = {
    events: { at: line, cursor: ephemeral(line) },
    commands: { move: command(line), stop: command(Type.Null()) }
  }
  sockets.serve(defineChannel('moves', parts), {
    commands: {
      move(_param, { relay }) {
        relay('at', { exceptSender: true })
        relay('cursor')
      },
      // @ts-expect-error: no event has what this command has
      stop: (_param, { relay }) => relay('at')
    }
  })
  // @ts-expect-error: a channel with commands needs their handlers
  sockets.serve(document, { access: () => true })
  // @ts-expect-error: all of them
  sockets.serve(document, { commands: { edit: () => {} } })
  // A reply.
  // @ts-expect-error: the reply is a number
  sockets.serve(document, { commands: { edit: () => {}, count: () => 'three' } })
  // @ts-expect-error: presence tells a name
  const rules: ChannelRules<typeof document> = { presence: () => ({ age: 4 }) }
  void rules
  const whole: ChannelRules<typeof document> = { commands: { edit: () => {}, count: () => 3 } }
  sockets.serve(document, whole)
  sockets.serve(system, {})

  // Without a contract every name and every message goes.
  await untyped.broadcast('anything', { cmd: 'goes', param: { at: 'all' } })
  // @ts-expect-error: but a message has a cmd
  await untyped.broadcast('anything', { param: 1 })
}

export function handler(context: CommandContext<typeof document>): string {
  // @ts-expect-error: not every command of the channel has what this event has
  context.relay('edited')
  // @ts-expect-error: no such parameter
  void context.params.room
  return context.params.page
}
