import { command, defineChannel, defineContract, ephemeral, Type } from 'fastify-channels/protocol'

const Text = Type.String({ minLength: 1, maxLength: 4000 })

export const chatRoom = defineChannel('chat-room-:room', {
  events: {
    said: Type.Object({ text: Text, at: Type.Integer() }),
    typing: ephemeral(Type.Object({ name: Type.String() }))
  },
  commands: {
    say: command(Type.Object({ text: Text }), { reply: Type.Object({ at: Type.Integer() }) }),
    typing: command(Type.Object({}))
  },
  presence: Type.Object({ name: Type.String() })
})

export const system = defineChannel('system', {
  events: { 'system-update': Type.Object({ version: Type.String() }) }
})

export const user = defineChannel('user-:id', {
  events: { notification: Type.Object({ title: Type.String() }) }
})

export const contract = defineContract([chatRoom, system, user])
export type Contract = typeof contract
