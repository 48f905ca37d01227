import { strict as assert } from 'node:assert'
// #region names

import { compilePattern, encodeSegment, isChannelName, userChannel } from 'fastify-channels/protocol'

const rooms = compilePattern('chat-room-:room')
rooms.name({ room: 'a b' }) // 'chat-room-a%20b'
rooms.match('chat-room-a%20b') // { room: 'a b' }
rooms.match('lobby') // null
encodeSegment('50 %') // '50%20%25'
userChannel('ann@example.com') // 'user-ann%40example.com'
isChannelName('chat room') // false: a space is in no name
// #endregion
assert.equal(rooms.name({ room: 'a b' }), 'chat-room-a%20b')
assert.equal(rooms.match('chat-room-a%20b')?.room, 'a b')
assert.equal(rooms.match('lobby'), null)
assert.equal(encodeSegment('50 %'), '50%20%25')
assert.equal(userChannel('ann@example.com'), 'user-ann%40example.com')
assert.equal(isChannelName('chat room'), false)
