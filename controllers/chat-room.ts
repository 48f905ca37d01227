import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import type {
  AccessRequest,
  ChannelRules,
  CommandContext,
  JoinEvent,
  LeaveEvent,
  RulesFor
} from '../lib/channel/rules.ts'
import { badRequest, channelsError, shown } from '../lib/errors.ts'
import { assertKeys } from '../lib/options.ts'
import { command, compilePattern, defineChannel, ephemeral, Type } from '../lib/protocol/index.ts'
import type { RegisteredProfile } from '../lib/register.ts'
import { act } from '../lib/request/act.ts'
import type { ChannelHandle } from '../plugins/sockets.ts'
import { fn, log as logOption, path, signedIn, Timestamp, timestamp } from './common.ts'

const PATTERN = 'chat-room-:room'
const TEXT_LENGTH = 4_000
const MAX_TEXT_LENGTH = 1_000_000
const VALID_ROOM = /^[A-Za-z0-9_-]{1,64}$/

const user = { user_id: Type.String(), username: Type.String() }
const Member = Type.Object({ ...user, timestamp: Timestamp })
const ChatMessage = Type.Object({ ...user, text: Type.String(), timestamp: Timestamp })
const Typing = Type.Object({ ...user, typing: Type.Boolean() })

/**
 * A chat room. `user-joined` and `user-left` tell of a user's first and last connection to the room, however many there
 * are between; `typing` reaches everybody but the connection that sent it.
 */
export const chatRoomChannel = withTextLength(TEXT_LENGTH)

/** As strict as the server is, so that AsyncAPI and the contract's hash tell the truth. */
function withTextLength(maxLength: number) {
  return defineChannel(PATTERN, {
    events: { 'user-joined': Member, 'user-left': Member, 'chat-message': ChatMessage, typing: ephemeral(Typing) },
    commands: {
      'chat-message': command(Type.Object({ text: Type.String({ minLength: 1, maxLength }) })),
      typing: command(Type.Object({ typing: Type.Boolean() }))
    },
    presence: Type.Object({ name: Type.String() })
  })
}

type ChatRoom = typeof chatRoomChannel
type Rooms = ChannelHandle<ChatRoom>

/** How somebody wants into a room: `via` is `route` before a handshake and `client` for a `$join`. */
export type RoomRequest = Pick<AccessRequest<ChatRoom>, 'via' | 'connection' | 'ip' | 'signal'>

/** Options of `chatRooms`. Unknown ones are refused. */
export interface ChatRoomsOptions {
  /**
   * Whether this profile may be in this room; false answers 403 or nacks `forbidden`, and a throw is as one of an
   * `access` rule. Required: a registration without it is refused with FST_CHANNELS_INVALID_OPTION.
   */
  readonly hasRoomAccess: (profile: RegisteredProfile, room: string, request: RoomRequest) => boolean | Promise<boolean>
  /** The same for requests without a profile, which may then read and not write. Default: they get 401. */
  readonly hasAnonymousAccess?: (room: string, request: RoomRequest) => boolean | Promise<boolean>
  /** Where the socket is, below the prefix; the room is its parameter `room`, or that of the query. Default `/chat/:room`. */
  readonly path?: string
  /**
   * What the whole of a room's id must match before any hook sees it; other ids get 400. Default
   * `/^[A-Za-z0-9_-]{1,64}$/`. Whatever it allows, percent-encoded `chat-room-<id>` may have 128 bytes at most.
   */
  readonly validRoom?: RegExp
  /** Longest text of a message from a client, in UTF-16 code units. Default 4,000; 1 to 1,000,000. */
  readonly textLength?: number
  /**
   * Runs before a message is published, for each connection one after another. A string that it returns is published in
   * the text's place. `forbidden()` and the other refusals nack the message; anything else thrown is a failure.
   */
  readonly onChatMessage?: (
    profile: RegisteredProfile,
    room: string,
    text: string,
    context: CommandContext<ChatRoom>
    // biome-ignore lint/suspicious/noConfusingVoidType: a hook that alters nothing need not return
  ) => string | void | Promise<string | void>
  /** How messages, comings and goings are kept for who was away. Default `DEFAULT_LOG`; false keeps nothing. */
  readonly log?: ChannelRules<ChatRoom>['log']
  /** Runs after a connection has joined and the room was told. A throw closes 1011. */
  readonly onJoin?: (event: JoinEvent<ChatRoom>) => void | Promise<void>
  /** Runs after a connection has left and the room was told. A throw is logged. */
  readonly onLeave?: (event: LeaveEvent<ChatRoom>) => void | Promise<void>
}

const OPTIONS = {
  path,
  validRoom: Type.Unknown(),
  textLength: Type.Integer({ minimum: 1, maximum: MAX_TEXT_LENGTH }),
  hasRoomAccess: fn,
  hasAnonymousAccess: fn,
  onChatMessage: fn,
  log: logOption,
  onJoin: fn,
  onLeave: fn
}

const plugin: FastifyPluginAsync<ChatRoomsOptions> = async (app, options) => {
  assertKeys('', options, OPTIONS)
  if (options.hasRoomAccess === undefined) {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', 'hasRoomAccess', 'a function', 'undefined')
  }
  const assertRoom = roomCheck(options.validRoom ?? VALID_ROOM)
  const { textLength = TEXT_LENGTH } = options
  const channel = textLength === TEXT_LENGTH ? chatRoomChannel : withTextLength(textLength)
  const rooms: Rooms = app.sockets.serve(
    channel,
    rulesOf(app, options, assertRoom, () => rooms)
  )
  app.get(
    options.path ?? '/chat/:room',
    act('channels.chat-room', async (app, ps) => {
      const room = ps.requestString('room', true)
      assertRoom(room)
      const { user_id = null, username = null } = ps.profile === null ? {} : userOf(ps.profile)
      await app.sockets.upgradeWithMetadata(ps, rooms.name({ room }), { room_id: room, user_id, username })
    })
  )
}

function rulesOf(
  app: FastifyInstance,
  { hasRoomAccess, hasAnonymousAccess, onChatMessage, log = true, onJoin, onLeave }: ChatRoomsOptions,
  assertRoom: (room: string) => void,
  rooms: () => Rooms
): RulesFor<ChatRoom> {
  const tell = (cmd: 'user-joined' | 'user-left', { params, connection }: JoinEvent<ChatRoom> | LeaveEvent<ChatRoom>) =>
    rooms().broadcast(params, { cmd, param: { ...userOf(connection.profile!), timestamp: timestamp(app) } })
  return {
    access({ profile, params: { room }, via, connection, ip, signal }) {
      assertRoom(room)
      const request = { via, connection, ip, signal }
      if (profile === null && hasAnonymousAccess !== undefined) return hasAnonymousAccess(room, request)
      return hasRoomAccess(signedIn(profile), room, request)
    },
    log,
    presence: profile => ({ name: userOf(profile).username }),
    commands: {
      async 'chat-message'({ text }, context) {
        const profile = signedIn(context.profile)
        const altered = await onChatMessage?.(profile, context.params.room, text, context)
        const param = { ...userOf(profile), text: altered ?? text, timestamp: timestamp(app) }
        context.publish({ cmd: 'chat-message', param })
      },
      typing({ typing }, context) {
        const param = { ...userOf(signedIn(context.profile)), typing }
        context.publish({ cmd: 'typing', param }, { exceptSender: true })
      }
    },
    async onJoin(event) {
      if (event.first) await tell('user-joined', event)
      await onJoin?.(event)
    },
    async onLeave(event) {
      if (event.last) await tell('user-left', event)
      await onLeave?.(event)
    }
  }
}

function userOf({ id, name }: RegisteredProfile): { user_id: string; username: string } {
  return { user_id: id, username: name ?? id }
}

/** @throws FST_CHANNELS_INVALID_OPTION; what it returns throws FST_CHANNELS_BAD_REQUEST (400; nack `bad-request`) */
function roomCheck(valid: unknown): (room: string) => void {
  if (!(valid instanceof RegExp)) {
    throw channelsError('FST_CHANNELS_INVALID_OPTION', 'validRoom', 'a RegExp', shown(valid))
  }
  // The whole id, always: `g` and `y` would begin where the last match ended, and `m` would be content with one line.
  const whole = new RegExp(`^(?:${valid.source})$`, valid.flags.replace(/[gmy]/g, ''))
  const { name } = compilePattern(PATTERN)
  return room => {
    if (!whole.test(room) || !hasName(name, room)) throw badRequest('Malformed room id')
  }
}

function hasName(name: (params: { room: string }) => string, room: string): boolean {
  try {
    return name({ room }) !== ''
  } catch {
    return false
  }
}

/** One socket route for chat rooms, and the rules of their channels. */
export const chatRooms = fp(plugin, {
  name: 'fastify-channels/chat-rooms',
  fastify: '5.x',
  encapsulate: true,
  dependencies: ['fastify-channels']
})
