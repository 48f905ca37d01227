import { once } from 'node:events'
import type { Socket } from 'node:net'
import { constants, inflateRawSync } from 'node:zlib'
import t from 'tap'
import type { ClientOptions } from 'ws'
import { WebSocket } from 'ws'
import { DEFLATE_BYTES, Deflater } from '../../lib/connection/deflate.ts'
import { encodeText, payloadAt } from '../../lib/connection/frame.ts'
import type { ChannelsOptions } from '../../plugins/index.ts'
import { act } from '../../plugins/index.ts'
import { ManualClock } from '../fixtures/clock.ts'
import type { Teardown } from '../fixtures/server.ts'
import { serve } from '../fixtures/server.ts'
import { until } from '../fixtures/until.ts'

const LARGE = 'wörter und wörter '.repeat(400)

async function room(t: Teardown, options: ChannelsOptions) {
  const said: unknown[] = []
  const onMessage = (message: { param: unknown }) => void said.push(message.param)
  const { app, url } = await serve(t, { onMessage, ...options }, app => {
    app.get(
      '/ws',
      act('room', async (app, ps) => void (await app.sockets.upgrade(ps, 'room')))
    )
  })
  const dial = async (options: ClientOptions = {}) => {
    const ws = new WebSocket(`${url.replace('http', 'ws')}/ws`, 'channels.v1', options)
    const texts: string[] = []
    let socket: Socket | null = null
    ws.on('upgrade', response => {
      socket = response.socket
    })
    ws.on('message', data => texts.push(JSON.parse(String(data)).param?.text ?? ''))
    await once(ws, 'open')
    await until('it has joined', () => texts.length === 2)
    return { ws, extensions: ws.extensions, texts: () => texts.slice(2), received: () => socket!.bytesRead }
  }
  const broadcast = (text: string) => app.sockets.broadcast('room', { cmd: 'said', param: { text } })
  return { dial, broadcast, said }
}

t.test('nothing is compressed unless it is asked for', async t => {
  const { dial } = await room(t, {})
  const client = await dial({ perMessageDeflate: true })
  t.equal(client.extensions, '')
  client.ws.terminate()
})

t.test(
  'with compression: who offers it is sent large messages compressed, others as they are, all in order',
  async t => {
    const { dial, broadcast } = await room(t, { compression: true })
    const packed = await dial({ perMessageDeflate: true })
    const plain = await dial({ perMessageDeflate: false })
    t.strictSame([packed.extensions, plain.extensions], ['permessage-deflate', ''])
    const before = packed.received()
    for (const text of ['small', LARGE, 'ü', `${LARGE}!`]) void broadcast(text)
    await until('all has come', () => packed.texts().length === 4 && plain.texts().length === 4)
    t.strictSame(packed.texts(), ['small', LARGE, 'ü', `${LARGE}!`])
    t.strictSame(plain.texts(), packed.texts())
    t.ok(packed.received() - before < 2_000, `${packed.received() - before} bytes instead of ${2 * LARGE.length}`)
    for (const { ws } of [packed, plain]) ws.terminate()
  }
)

t.test('a client may compress what it sends, within the same bound', async t => {
  const { dial, said } = await room(t, { compression: true, limits: { payloadBytes: 65_536 } })
  const { ws } = await dial({ perMessageDeflate: { threshold: 0 } })
  ws.send(JSON.stringify({ channel: 'room', cmd: 'say', id: 1, param: { text: LARGE } }))
  await until('it is heard', () => said.length === 1)
  t.strictSame(said, [{ text: LARGE }])
  ws.send(JSON.stringify({ channel: 'room', cmd: 'say', id: 2, param: { text: 'x'.repeat(1_000_000) } }))
  const [code] = await once(ws, 'close')
  t.equal(code, 1009, 'a thousand bytes that become a million are too many')
})

t.test('a client that allows only a smaller window is sent everything as it is', async t => {
  const { dial, broadcast } = await room(t, { compression: true })
  const client = await dial({ perMessageDeflate: { serverMaxWindowBits: 9 } })
  t.equal(client.extensions, '')
  void broadcast(LARGE)
  await until('it has come', () => client.texts().length === 1)
  t.equal(client.texts()[0], LARGE)
  client.ws.terminate()
})

t.test('a batch is compressed once in a turn, however many are sent it', async t => {
  const clock = new ManualClock()
  const deflater = new Deflater(clock)
  const batch = Buffer.concat([encodeText('a'), encodeText(LARGE), encodeText('b'.repeat(70_000))])
  const packed = deflater.frames(batch)
  t.equal(deflater.frames(batch), packed)
  await clock.advance(0)
  t.not(deflater.frames(batch), packed, 'and not kept')
  t.strictSame(Buffer.from(packed.subarray(0, 3)), encodeText('a'))
  t.equal(packed[3], 0xc1, 'final, compressed, text')
  const { start, end } = payloadAt(packed, 3)
  const text = inflateRawSync(packed.subarray(start, end), { finishFlush: constants.Z_SYNC_FLUSH })
  t.equal(text.toString(), LARGE)
})

t.test('what is small stays as it is, and no more than so many batches are remembered', async t => {
  const deflater = new Deflater(new ManualClock())
  const small = encodeText('x'.repeat(DEFLATE_BYTES - 1))
  t.equal(deflater.frames(small), small)
  const batches = Array.from({ length: 1_025 }, (_, n) => encodeText(`${n} `.repeat(600)))
  const packed = batches.map(batch => deflater.frames(batch))
  t.equal(deflater.frames(batches.at(-1)!), packed.at(-1), 'the latest are remembered')
  t.equal(deflater.frames(batches[1]!), packed[1])
  t.not(deflater.frames(batches[0]!), packed[0])
})
