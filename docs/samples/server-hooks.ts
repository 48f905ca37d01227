import { strict as assert } from 'node:assert'
import { listen, until, WebSocket } from './support/node.js'

const lines: string[] = []
const record = (line: string): unknown => lines.push(line)

// #region hooks

import { channel } from 'node:diagnostics_channel'
import fastify from 'fastify'
import channels, { act } from 'fastify-channels'

const app = fastify()
await app.register(channels, {
  onOpen: connection => void record(`open ${connection.route}`),
  onClose: (_connection, { code, willReturn }) =>
    void record(`close ${code}, ${willReturn ? 'returns' : 'stays away'}`),
  onError: error => void record(`failed: ${(error as Error).message}`),
  onAction: ({ key, result }) => void record(`action ${key} ${result}`)
})
channel('fastify-channels:join').subscribe(event => {
  record(`join ${(event as { channel: string }).channel}`)
})
// #endregion
app.get(
  '/ws',
  act('connect', async (app, ps) => void (await app.sockets.upgrade(ps, 'lobby')))
)
const ws = new WebSocket(`${await listen(app)}/ws`)
await new Promise(resolve => ws.once('open', resolve))
await until(() => lines.length === 3)
ws.close(1000)
await until(() => lines.length === 4)
assert.deepEqual(lines, ['open lobby', 'join lobby', 'action connect upgraded', 'close 1000, stays away'])
await app.close()
