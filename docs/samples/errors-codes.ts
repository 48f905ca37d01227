import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels from 'fastify-channels'

const app = fastify()
await app.register(channels)
await app.ready()
let told = ''

// #region codes
import type { ChannelsError } from 'fastify-channels'
import { errorTable } from 'fastify-channels'

try {
  await app.sockets.broadcast('room 42', { cmd: 'said' })
} catch (error) {
  const { code, statusCode } = error as ChannelsError
  if (code === 'FST_CHANNELS_INVALID_CHANNEL') told = `${statusCode}: ${errorTable[code][1]}`
}
// #endregion
assert.equal(told, '500: Invalid channel name %s: [A-Za-z0-9._~%%-], 1 to 128 bytes')
await app.close()
