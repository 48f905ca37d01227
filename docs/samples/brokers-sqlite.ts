import { strict as assert } from 'node:assert'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { defineChannel, Type } from 'fastify-channels/protocol'
import { listen, until, WebSocket } from './support/node.js'

const news = defineChannel('news', { events: { told: Type.Object({ text: Type.String() }) } })
const folder = mkdtempSync(join(tmpdir(), 'channels-'))
const path = join(folder, 'channels.db')

// #region sqlite
import fastify from 'fastify'
import channels, { act, sqlite } from 'fastify-channels'

async function start() {
  const app = fastify()
  await app.register(channels, { broker: sqlite({ path }) })
  const handle = app.sockets.serve(news, { log: true, access: () => true })
  app.get(
    '/ws/news',
    act('news', async (app, ps) => {
      await app.sockets.upgrade(ps, 'news')
    })
  )
  return { app, handle }
}
// #endregion

const before = await start()
await before.app.ready()
const { position } = await before.handle.broadcast({}, { cmd: 'told', param: { text: 'one' } })
assert.equal(position?.offset, 1)
await before.app.close()

// The same file, another server: what is published before the client is back waits for it.
const after = await start()
const { epoch, offset, tag } = position!
const p = { news: [epoch, offset, tag] }
const address = await listen(after.app)
await after.handle.broadcast({}, { cmd: 'told', param: { text: 'two' } })
const resume = `resume.${Buffer.from(JSON.stringify({ n: 0, p })).toString('base64url')}`
const again = new WebSocket(`${address}/ws/news`, ['channels.v1', resume])
const frames: any[] = []
again.on('message', data => frames.push(JSON.parse(String(data))))
await until(() => frames.some(({ cmd }) => cmd === 'told'))
assert.deepEqual(frames.find(({ cmd }) => cmd === '$joined').param.outcome, { kind: 'recovered', from: 1, to: 2 })
assert.deepEqual(frames.find(({ cmd }) => cmd === 'told').param, { text: 'two' })
again.close()
await after.app.close()
rmSync(folder, { recursive: true })
