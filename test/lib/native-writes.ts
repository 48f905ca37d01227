import { once } from 'node:events'
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { connect, createServer } from 'node:net'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import type { NativeSender, NativeTarget } from '../../lib/connection/native-writes.ts'
import { NativeWrites } from '../../lib/connection/native-writes.ts'
import { WebSocketTransport } from '../../lib/connection/websocket.ts'
import type { NativeSender as Exported } from '../../native/index.js'
import { buildNative } from '../fixtures/native.ts'
import { until } from '../fixtures/until.ts'

const OPEN = 1

/** A sender that takes so much of what it is given, and remembers whom it was given for. */
class Recorder implements NativeSender {
  readonly backend = 'recorder'
  readonly calls: Array<{ fds: number[]; text: string }> = []
  takes: (fd: number, bytes: number) => number = (_fd, bytes) => bytes

  send(fds: Int32Array, count: number, data: Uint8Array, taken: Int32Array): boolean {
    const whom = [...fds.subarray(0, count)]
    this.calls.push({ fds: whom, text: Buffer.from(data).toString() })
    for (const [k, fd] of whom.entries()) taken[k] = this.takes(fd, data.byteLength)
    return whom.every((_fd, k) => taken[k] === data.byteLength)
  }
}

/** A link as Node and ws make it, of which nothing is real. */
function link(nativeWrites: NativeWrites, fd: number) {
  const written: string[] = []
  const socket = {
    destroyed: false,
    writable: true,
    writableCorked: 0,
    writableLength: 0,
    encrypted: false,
    _handle: { fd, writeQueueSize: 0 } as object | null,
    write: (data: Uint8Array, done?: () => void) => {
      written.push(Buffer.from(data).toString())
      done?.()
    },
    cork: () => {},
    uncork: () => {}
  }
  const ws = {
    protocol: '',
    readyState: OPEN,
    bufferedAmount: 0,
    on: () => {},
    off: () => {},
    listeners: () => [],
    pause: () => {},
    resume: () => {},
    close: () => written.push('<close>'),
    terminate: () => written.push('<end>')
  }
  return {
    written,
    socket,
    ws,
    transport: new WebSocketTransport(ws as never, socket as never, { deflater: null, nativeWrites })
  }
}

/** What hears of failures where there are none. */
const rethrow = (error: unknown): never => {
  throw error
}

const bytes = (text: string): Uint8Array => Buffer.from(text)

t.test('writes of the same bytes are made in one call, once the turn has collected them', async t => {
  const sender = new Recorder()
  const writes = new NativeWrites(sender, rethrow)
  const [a, b, c] = [link(writes, 7), link(writes, 8), link(writes, 9)]
  const shared = bytes('shared')
  a.transport.write([shared])
  t.strictSame([a.written, sender.calls], [['shared'], []], 'outside of a turn’s writes each is Node’s')
  writes.begin()
  a.transport.write([shared])
  b.transport.write([shared])
  t.equal(a.transport.buffered(), 6, 'what waits counts')
  c.transport.write([bytes('its '), bytes('own')])
  t.strictSame(sender.calls, [{ fds: [7, 8], text: 'shared' }])
  t.equal(a.transport.buffered(), 0)
  writes.end()
  t.strictSame(sender.calls.slice(1), [{ fds: [9], text: 'its own' }])
  writes.end()
  t.equal(sender.calls.length, 2)
  t.strictSame([a.written, b.written, c.written], [['shared'], [], []])
})

t.test('more sockets than one call takes go in several', async t => {
  const sender = new Recorder()
  const writes = new NativeWrites(sender, rethrow)
  const data = bytes('x')
  const target: NativeTarget = { deferred: 0, descriptor: () => 5, writeRest: () => t.fail(), destroy: () => t.fail() }
  writes.begin()
  for (let i = 0; i < 5_000; i++) writes.add(target, data)
  writes.end()
  t.strictSame(
    sender.calls.map(({ fds }) => fds.length),
    [2_048, 2_048, 904]
  )
})

t.test('what a socket does not take at once, or refuses, is Node’s to write', async t => {
  const sender = new Recorder()
  const writes = new NativeWrites(sender, rethrow)
  const links = [1, 2, 3, 4].map(fd => link(writes, fd))
  sender.takes = (fd, all) => [all, 2, -11, -104][fd - 1]!
  writes.begin()
  const data = bytes('abcdef')
  for (const { transport } of links) transport.write([data])
  writes.end()
  t.strictSame(
    links.map(({ written }) => written),
    [[], ['cdef'], ['abcdef'], ['abcdef']]
  )
})

/** Each of them alone makes a native write wrong: what is different, and what then becomes of the write. */
const CONDITIONS: Record<string, { ws?: object; socket?: object; handle?: object; written: string[] }> = {
  'bytes of Node’s or ws’s still wait': { ws: { bufferedAmount: 1 }, written: ['data'] },
  'bytes still wait in libuv': { handle: { writeQueueSize: 1 }, written: ['data'] },
  'nobody knows whether bytes wait in libuv': { handle: { writeQueueSize: undefined }, written: ['data'] },
  'the stream is corked': { socket: { writableCorked: 1 }, written: ['data'] },
  'the link is encrypted': { socket: { encrypted: true }, written: ['data'] },
  'the stream has no descriptor': { handle: { fd: undefined }, written: ['data'] },
  'the stream has no handle': { socket: { _handle: null }, written: ['data'] },
  'the socket is destroyed': { socket: { destroyed: true }, written: ['data'] },
  'the socket has ended': { socket: { writable: false }, written: [] },
  'the WebSocket is closing': { ws: { readyState: 2 }, written: [] }
}

t.test('no write is native where one of these is so, though it came after the write was taken', async t => {
  for (const [what, { ws, socket, handle, written }] of Object.entries(CONDITIONS)) {
    const sender = new Recorder()
    const writes = new NativeWrites(sender, rethrow)
    const [spoilt, sound] = [link(writes, 7), link(writes, 8)]
    const data = bytes('data')
    writes.begin()
    spoilt.transport.write([data])
    sound.transport.write([data])
    Object.assign(spoilt.ws, ws)
    Object.assign(spoilt.socket._handle!, handle)
    Object.assign(spoilt.socket, socket)
    writes.end()
    t.strictSame(sender.calls, [{ fds: [8], text: 'data' }], what)
    t.strictSame(spoilt.written, written, what)
  }
})

t.test('what is done with a link comes after what was written to it before', async t => {
  const deeds: Record<string, (transport: WebSocketTransport) => void> = {
    'another write': transport => transport.write([bytes('later'), bytes('x'.repeat(20_000))]),
    'a close': transport => transport.end(1000, ''),
    'an end': transport => transport.destroy(),
    'a wait for what was written': transport => transport.whenDrained(() => {})
  }
  for (const [what, deed] of Object.entries(deeds)) {
    const sender = new Recorder()
    sender.takes = () => 1
    const writes = new NativeWrites(sender, rethrow)
    const { transport, written } = link(writes, 7)
    writes.begin()
    transport.write([bytes('first')])
    deed(transport)
    t.equal(sender.calls.length, 1, what)
    t.equal(written[0], 'irst', what)
    writes.end()
  }
})

t.test('a write that waited for a link which is gone goes nowhere', async t => {
  const writes = new NativeWrites(new Recorder(), rethrow)
  const { transport, ws, socket, written } = link(writes, 7)
  writes.begin()
  transport.write([bytes('data')])
  ws.readyState = 3
  socket.writable = false
  writes.end()
  t.strictSame(written, [])
  transport.write([bytes('more')])
  t.strictSame(written, [])
})

t.test('a sender that throws is not asked again, and links of which nobody knows what went out are ended', async t => {
  const faults: unknown[] = []
  const sender = new Recorder()
  const writes = new NativeWrites(sender, error => faults.push(error))
  const [a, b, c] = [link(writes, 7), link(writes, 8), link(writes, 9)]
  sender.takes = () => {
    throw new Error('broke down')
  }
  writes.begin()
  a.transport.write([bytes('data')])
  // Another piece of data: the first is made meanwhile.
  b.transport.write([bytes('more')])
  c.transport.write([bytes('last')])
  writes.end()
  t.strictSame([a.written, b.written, c.written], [['<end>'], ['more'], ['last']])
  t.match(faults, [{ message: 'broke down' }])
  writes.begin()
  b.transport.write([bytes('later')])
  writes.end()
  t.strictSame(b.written, ['more', 'later'])
  t.equal(sender.calls.length, 1)
})

t.test('whoever’s code runs while a rest is written, every other link keeps its order', async t => {
  for (const fd of [8, -1]) {
    const sender = new Recorder()
    sender.takes = fd => (fd === 9 ? 4 : 2)
    const writes = new NativeWrites(sender, rethrow)
    const [a, b, c] = [link(writes, 7), link(writes, fd), link(writes, 9)]
    const { write } = a.socket
    a.socket.write = data => {
      write(data)
      b.transport.end(1000, '')
      c.transport.write([bytes('x'), bytes('y'.repeat(20_000))])
    }
    const data = bytes('data')
    writes.begin()
    for (const { transport } of [a, b, c]) transport.write([data])
    writes.end()
    t.strictSame(a.written, ['ta'])
    t.strictSame(b.written, [fd < 0 ? 'data' : 'ta', '<close>'])
    t.equal(c.written[0], 'x')
    t.strictSame(
      [a, b, c].map(({ transport }) => transport.deferred),
      [0, 0, 0]
    )
  }
})

t.test('a stream that throws harms nobody but its link', async t => {
  const faults: unknown[] = []
  const writes = new NativeWrites(new Recorder(), error => faults.push(error))
  const [a, b] = [link(writes, -1), link(writes, -1)]
  a.socket.write = () => {
    throw new Error('no stream')
  }
  writes.begin()
  const data = bytes('data')
  for (const { transport } of [a, b]) transport.write([data])
  writes.end()
  t.strictSame([a.written, b.written], [['<end>'], ['data']])
  t.match(faults, [{ message: 'no stream' }])
})

const native = buildNative(t)

/** Pairs of a server's socket and its client's, and the descriptor of the former. */
async function pairs(t: { teardown(task: () => unknown): void }, count: number) {
  const server = createServer()
  const taken: Socket[] = []
  server.on('connection', socket => taken.push(socket.on('error', () => {})))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const clients = Array.from({ length: count }, () => connect((server.address() as AddressInfo).port, '127.0.0.1'))
  await until('all have come', () => taken.length === count)
  t.teardown(() => {
    for (const socket of [...clients, ...taken]) socket.destroy()
    server.close()
  })
  const byPort = new Map(taken.map(socket => [socket.remotePort, socket]))
  return clients.map(client => {
    const socket = byPort.get((client.address() as AddressInfo).port)!
    return { client, socket, fd: (socket as Socket & { _handle: { fd: number } })._handle.fd }
  })
}

for (const uring of native === null ? [] : [false, true]) {
  const name = uring ? 'io_uring' : 'send'
  t.test(`${name}: every socket gets what it has room for, and it is told how much that was`, async t => {
    const sender = native!.open(uring)
    if (sender === null) {
      t.ok(uring, 'a kernel may forbid io_uring; send works everywhere')
      return
    }
    t.equal(sender.backend, name)
    const [a, b, slow] = await pairs(t, 3)
    const heard = [a!, b!].map(({ client }) => {
      const chunks: Buffer[] = []
      client.on('data', chunk => chunks.push(chunk))
      return () => Buffer.concat(chunks).toString()
    })
    // More than one submission holds, and the same sockets again and again.
    const many = Int32Array.from({ length: 3_001 }, (_, k) => (k % 2 === 0 ? a!.fd : b!.fd))
    const taken = new Int32Array(3_001).fill(-1)
    t.equal(sender.send(many, 3_001, bytes('seven b'), taken), true)
    t.ok(taken.every(count => count === 7))
    await until('all of it has come', () => heard[0]!().length === 7 * 1_501 && heard[1]!().length === 7 * 1_500)
    t.equal(heard[0]!(), 'seven b'.repeat(1_501))
    t.equal(sender.send(many, 0, bytes('x'), taken), true, 'to nobody')

    slow!.client.pause()
    const fds = Int32Array.of(a!.fd, slow!.fd, -1, b!.fd, slow!.fd, 1_000_000)
    const much = new Uint8Array(8 * 1024 * 1024)
    let partly = 0
    for (let i = 0; i < 4; i++) {
      sender.send(Int32Array.of(slow!.fd), 1, much, taken)
      if (taken[0]! > 0 && taken[0]! < much.byteLength) partly++
    }
    t.ok(partly > 0, 'a part of it fits')
    t.equal(sender.send(fds, 6, bytes('end'), taken), false)
    const { EAGAIN, EBADF } = constants.errno
    const expected = [3, -EAGAIN, -EBADF, 3, -EAGAIN, -EBADF]
    t.strictSame([...taken.subarray(0, 6)], expected, 'and the others get it all the same')
    await until('the others have it', () => heard.every(text => text().endsWith('end')))
    t.throws(() => sender.send(new Int32Array(1), 2, bytes('x'), taken), TypeError)
    t.throws(() => sender.send(new Int32Array(9), 9, bytes('x'), new Int32Array(8)), TypeError)
    t.throws(() => sender.send(fds, 1, bytes(''), taken), TypeError)
    t.throws(() => sender.send([1] as never, 1, bytes('x'), taken), TypeError)
    t.throws(() => sender.send(fds, 1, new Int32Array(1) as never, taken), TypeError)
    t.throws(() => (sender.send as unknown as () => void)(), TypeError)
  })
}

t.test('the package says why it cannot be used, and what it exports fits the option', async t => {
  const fits: (sender: Exported) => NativeSender = sender => sender
  t.type(fits, 'function')
  const folder = mkdtempSync(join(tmpdir(), 'native-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  for (const file of ['index.js', 'package.json']) {
    cpSync(join(import.meta.dirname, '../../native', file), join(folder, file))
  }
  const { native, reason } = await import(join(folder, 'index.js'))
  t.equal(native, null)
  t.match(reason, /not built for this machine/)
})
