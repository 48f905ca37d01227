import { type Channel, type LoadState, type Position, Socket } from '../../client/index.ts'
import { command, defineChannel, defineContract, ephemeral, Type } from '../../lib/protocol/index.ts'

// Nothing here is run: it compiles, and each line under an `@ts-expect-error` does not compile without it.

const Member = Type.Object({ user_id: Type.String() })
const chatRoom = defineChannel('chat-room-:room', {
  events: { 'user-joined': Member, 'chat-message': Type.Object({ text: Type.String() }), typing: ephemeral(Member) },
  commands: {
    'chat-message': command(Type.Object({ text: Type.String() })),
    count: command(Type.Object({ since: Type.Number() }), { reply: Type.Object({ count: Type.Number() }) })
  },
  presence: Type.Object({ name: Type.String() })
})
const notifications = defineChannel('notifications', { events: { notice: Type.Number() } })
const contract = defineContract([chatRoom, notifications])
type Contract = typeof contract

/** Takes a value of exactly this type. */
function exactly<Wanted>() {
  return <Found>(
    _: Found,
    ..._same: [Found] extends [Wanted] ? ([Wanted] extends [Found] ? [] : [never]) : [never]
  ) => {}
}

export async function typed(): Promise<void> {
  const socket = new Socket<Contract>('/ws/connect', { queue: { count: 10 }, probe: false })
  const room = socket.join('chat-room-:room', { room: '42' })
  const notices = socket.join('notifications')

  room.on('chat-message', (param, message) => {
    exactly<{ text: string }>()(param)
    exactly<{ text: string }>()(message.param)
    exactly<Position | undefined>()(message.position)
  })
  exactly<Position | null>()(room.position)
  const { messages, complete, position } = await room.history({ after: { epoch: 'a', offset: 1, tag: 't' }, limit: 5 })
  exactly<boolean>()(complete)
  exactly<Position>()(position)
  for (const message of messages) {
    exactly<Position | undefined>()(message.position)
    if (message.cmd === 'chat-message') exactly<string>()(message.param.text)
    // @ts-expect-error the channel has no such event
    if (message.cmd === 'notice') exactly<number>()(message.param)
  }
  const loadState: LoadState = ({ position, gap }) =>
    exactly<Position | null | number | undefined>()(gap ? gap.from : position)
  socket.join('chat-room-:room', { room: '42' }, { loadState })
  socket.join('notifications', {}, { loadState: async () => {} })
  room.join({ loadState })
  socket.on('$gap', (channel, gap) => exactly<string>()(channel + gap.reason))
  socket.on('$outbox', () => exactly<'waiting' | 'sent' | undefined>()(socket.outbox[0]?.state))
  void room.send('count', { since: 1 }, { ttlMs: 5, onOffline: 'drop-oldest' })
  new Socket<Contract>('/ws', { onOffline: 'reject', renewCredentials: async () => {} })
  room.on('typing', param => exactly<string>()(param.user_id))
  notices.on('notice', param => exactly<number>()(param))
  room.on('$gap', gap => exactly<number>()(gap.to))
  room.on('$presence', presence => exactly<string | undefined>()(presence.members?.[0]?.info?.name))
  exactly<string | undefined>()(room.members[0]?.info?.name)
  socket.on('$close', ({ final }) => exactly<boolean>()(final))
  const undo: () => void = socket.on('$state', state => state.name === 'waiting' && state.retryInMs)
  undo()

  exactly<undefined>()((await room.send('chat-message', { text: 'hi' })).reply)
  exactly<number>()((await room.send('count', { since: 1 }, { timeoutMs: 5 })).reply.count)
  exactly<{ count: number }>()(await room.request('count', { since: 1 }))
  await socket.send({ channel: 'chat-room-42', cmd: 'chat-message', param: { text: 'hi' } })

  // @ts-expect-error no such pattern
  socket.join('chat-rom-:room', { room: '42' })
  // @ts-expect-error a name is not a pattern
  socket.join('chat-room-42')
  // @ts-expect-error the parameter is missing
  socket.join('chat-room-:room')
  // @ts-expect-error another parameter
  socket.join('chat-room-:room', { rom: '42' })
  // @ts-expect-error a parameter is a string
  socket.join('chat-room-:room', { room: 42 })
  // @ts-expect-error no parameters here
  socket.join('notifications', { room: '42' })
  // @ts-expect-error loadState is an option, and no parameter
  socket.join('notifications', { loadState })
  // @ts-expect-error not one of the three
  room.send('count', { since: 1 }, { onOffline: 'wait' })
  // @ts-expect-error the list is not to be changed
  socket.outbox.pop()
  // @ts-expect-error a position is not an offset
  room.history({ before: 5 })
  // @ts-expect-error no such event
  room.on('chat-mesage', () => {})
  // @ts-expect-error an event of another channel
  room.on('notice', () => {})
  // @ts-expect-error no such lifecycle event
  socket.on('$opened', () => {})
  // @ts-expect-error the event has no such field
  room.on('chat-message', param => param.texts)
  // @ts-expect-error no such command
  room.send('typing', { user_id: '1' })
  // @ts-expect-error the command wants a text
  room.send('chat-message', { text: 1 })
  // @ts-expect-error the param lacks
  room.send('count')
  // @ts-expect-error the channel has no commands
  notices.send('chat-message', { text: 'hi' })
  // @ts-expect-error the reply has a number
  exactly<{ count: string }>()(await room.request('count', { since: 1 }))
  // @ts-expect-error no reply
  ;(await room.send('chat-message', { text: 'hi' })).reply.count
  // @ts-expect-error no channel of that name has it
  socket.send({ channel: 'lobby', cmd: 'chat-message', param: { text: 'hi' } })
  // @ts-expect-error another payload
  socket.send({ channel: 'chat-room-1', cmd: 'count', param: { text: 'hi' } })
  // @ts-expect-error no such option
  new Socket<Contract>('/ws', { retry: true })
}

export async function untyped(): Promise<void> {
  const socket = new Socket('wss://example.org/ws')
  const lobby: Channel = socket.join('lobby')
  socket.join('room-:id', { id: '1' })
  lobby.on('anything', param => exactly<unknown>()(param))
  exactly<unknown>()(await lobby.request('anything', 1))
  await socket.send({ channel: 'c', cmd: 'x', param: null })
  // @ts-expect-error the literal pattern tells its parameter
  socket.join('room-:id', { di: '1' })

  const seed = new Socket(
    true,
    () => {},
    message => exactly<unknown>()(message.param),
    (service, error) => exactly<string>()(service + error),
    '/ws/notifications'
  )
  seed.disconnect()
}
