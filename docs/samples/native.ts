import { strict as assert } from 'node:assert'
import fastify from 'fastify'
import channels from 'fastify-channels'

const app = fastify({ logger: { level: 'warn' } })

// #region native
import { native, reason } from 'fastify-channels-native'

await app.register(channels, { native })
if (native === null) app.log.info(reason)
// #endregion
await app.ready()
assert.equal(native === null, reason !== null)
await app.close()
