import t from 'tap'
import { FanOut } from '../../lib/channel/fan-out.ts'
import { Subscription } from '../../lib/channel/subscription.ts'
import { Connection } from '../../lib/connection/connection.ts'
import { encodeText } from '../../lib/connection/frame.ts'
import { Turn } from '../../lib/connection/turn.ts'
import { ManualClock } from '../fixtures/clock.ts'
import { range } from '../fixtures/rooms.ts'
import { FakeTransport } from '../fixtures/transport.ts'

const noop = (): void => {}
const frame = (cmd: string, fill = ''): Uint8Array => encodeText(JSON.stringify({ cmd, param: fill }))

/** A turn, the connections that it writes to, and channels of them. */
function stage() {
  const clock = new ManualClock()
  const turn = new Turn(clock)
  const slow: Connection[] = []
  const events = { text: noop, control: noop, violated: noop, detached: noop, closed: noop }
  const onSlow = (connection: Connection): void => {
    slow.push(connection)
    connection.abandon(4000, 'slow')
  }
  const host = {
    clock,
    turn,
    outboxBytes: 10_000,
    messageBytes: 5_000,
    closeGraceMs: 100,
    events: { ...events, slow: onSlow }
  }
  /** A link that calls somebody while it is written to, where it is given whom. */
  const connect = (whom?: () => void) => {
    const transport = new FakeTransport()
    if (whom !== undefined) {
      const write = transport.write.bind(transport)
      Object.assign(transport, { quiet: false })
      transport.write = frames => {
        write(frames)
        whom()
      }
    }
    const parts = {
      session: '',
      resumed: false,
      cameWith: null,
      profile: null,
      metadata: {},
      ip: '',
      route: ''
    }
    const connection = new Connection(host, {
      ...parts,
      kind: 'channels.v1',
      transport,
      action: '',
      logger: {} as never
    })
    connection.start()
    return { connection, transport }
  }
  const channel = (peers: ReadonlyArray<{ connection: Connection }>) => {
    const fanOut = new FanOut({ origin: { channel: 'a' }, beforeBatch: noop }, turn)
    const join = ({ connection }: { connection: Connection }): void => {
      fanOut.admit(new Subscription('a', connection, 'server'))
    }
    const leave = (place: number): void => fanOut.dismiss(fanOut.members[place]!)
    for (const peer of peers) join(peer)
    return { fanOut, join, leave }
  }
  return { clock, turn, connect, channel, slow }
}

t.test('a batch that is alone in its turn costs each member one write, with what else waits for it', async t => {
  const { clock, connect, channel } = stage()
  const peers = [connect(), connect(), connect()]
  const [sender, other, third] = peers
  const { fanOut } = channel(peers)
  fanOut.publish(frame('one'))
  fanOut.publish(frame('two'))
  fanOut.reply(sender!.connection, frame('ack'), null)
  other!.connection.sendEncoded(frame('aside'), 1)
  await clock.advance(0)
  t.strictSame(
    peers.map(({ transport }) => transport.commands),
    [
      ['one', 'two', 'ack'],
      ['aside', 'one', 'two'],
      ['one', 'two']
    ]
  )
  t.strictSame(
    peers.map(({ transport }) => transport.writes),
    [1, 1, 1]
  )
  t.equal(fanOut.messagesOut, 6)
  t.match(third!.connection.traffic, { messagesOut: 2, bytesOut: fanOut.bytesOut / 3, messagesIn: 0 })
  t.equal(sender!.connection.traffic.messagesOut, 3)
})

t.test(
  'it is written while its members are walked: before what waits for others, and outboxes are left to who has to wait',
  async t => {
    const { clock, connect, channel } = stage()
    const order: string[] = []
    const named = (name: string) => {
      const peer = connect()
      const write = peer.transport.write.bind(peer.transport)
      peer.transport.write = frames => {
        order.push(name)
        write(frames)
      }
      return peer
    }
    const [stranger, first, waiting, last] = ['stranger', 'first', 'waiting', 'last'].map(named)
    const { fanOut } = channel([first!, waiting!, last!])
    for (const { connection } of [stranger!, waiting!]) connection.sendEncoded(frame('aside'), 1)
    fanOut.publish(frame('one'))
    await clock.advance(0)
    t.strictSame(order, ['first', 'last', 'stranger', 'waiting'])
  }
)

t.test('what several channels publish in one turn costs a connection one write', async t => {
  const { clock, connect, channel } = stage()
  const peer = connect()
  const [one, two] = [channel([peer]), channel([peer])]
  one.fanOut.publish(frame('one'))
  two.fanOut.publish(frame('two'))
  one.fanOut.publish(frame('three'))
  await clock.advance(0)
  t.strictSame([peer.transport.commands, peer.transport.writes], [['one', 'three', 'two'], 1])
})

t.test('who comes or goes between a publication and the end of its turn misses and gets nothing wrongly', async t => {
  const { clock, connect, channel } = stage()
  const peers = [connect(), connect(), connect()]
  const { fanOut, join, leave } = channel(peers)
  const late = connect()
  fanOut.publish(frame('one'))
  join(late)
  fanOut.publish(frame('two'))
  leave(0)
  fanOut.publish(frame('three'))
  leave(2)
  fanOut.publish(frame('four'))
  await clock.advance(0)
  t.strictSame(
    [...peers, late].map(({ transport }) => transport.commands.join(' ')),
    ['one two', 'one two three four', 'one two three', 'two three four']
  )
})

t.test('who turns out to be slow while a batch is written is closed when all of it is written', async t => {
  const { clock, connect, channel, slow } = stage()
  const [first, stopped, last] = [connect(), connect(), connect()]
  const { fanOut, leave } = channel([first, stopped, last])
  stopped.transport.stopped = true
  stopped.connection.whenEnded(() => {
    fanOut.publish(frame('end'))
    leave(1)
  })
  for (let n = 0; n < 3; n++) {
    fanOut.publish(frame(`m${n}`, 'x'.repeat(4_000)))
    await clock.advance(0)
    t.equal(stopped.connection.outbox.holds('a'), true)
  }
  await clock.advance(0)
  t.strictSame(slow, [stopped.connection])
  for (const { transport } of [first, last]) t.strictSame(transport.commands, ['m0', 'm1', 'm2', 'end'])
  fanOut.publish(frame('more'))
  await clock.advance(0)
  t.equal(last.transport.commands.at(-1), 'more')
})

t.test('a full link that is still a member is given nothing more', async t => {
  const { clock, connect, channel, slow } = stage()
  const peer = connect()
  const { fanOut } = channel([peer])
  peer.transport.stopped = true
  fanOut.publish(frame('full', 'x'.repeat(11_000)))
  await clock.advance(0)
  t.strictSame(slow, [peer.connection])
  const before = peer.transport.buffered()
  fanOut.publish(frame('more'))
  await clock.advance(0)
  t.equal(peer.transport.buffered(), before)
})

t.test('a link that calls somebody while it is written to is written to when all have what is theirs', async t => {
  const { clock, connect, channel } = stage()
  const called: string[] = []
  const first = connect(() => {
    if (called.push('first') > 1) return
    leave(1)
    last.connection.sendEncoded(frame('left'), 1)
  })
  const [second, last] = [connect(), connect()]
  const { fanOut, leave } = channel([first, second, last])
  fanOut.publish(frame('one'))
  await clock.advance(0)
  await clock.advance(0)
  t.strictSame(
    [first, second, last].map(({ transport }) => transport.commands.join(' ')),
    ['one', 'one', 'one left']
  )
})

t.test('a batch for more than two thousand leaves in slices, and one for as many at once', async t => {
  const { clock, connect, channel } = stage()
  const peers = Array.from({ length: 2_000 }, () => connect())
  const { fanOut, join } = channel(peers)
  const written = (): number => peers.reduce((sum, { transport }) => sum + transport.writes, 0)
  const seen: number[] = []
  const publish = async (): Promise<void> => {
    fanOut.publish(frame('one'))
    // Others' turn comes after ours, and between two slices of it.
    clock.soon(() => {
      seen.push(written())
      clock.soon(() => seen.push(written()))
    })
    await clock.advance(0)
  }
  await publish()
  t.strictSame(seen.splice(0), [2_000, 2_000])
  const other = connect()
  const [member] = peers
  const all = (): number => written() + other.transport.writes
  const press = (turns: number): void => {
    other.connection.sendEncoded(frame('aside'), 1)
    fanOut.publish(frame('one'))
    fanOut.reply(member!.connection, frame('ack'), null)
    const before = all()
    clock.soon(() => {
      seen.push(other.transport.writes)
      t.ok(all() - before <= 2_000)
      if (turns > 1) press(turns - 1)
    })
  }
  press(5)
  await clock.advance(0)
  t.strictSame(seen.splice(0), [1, 2, 3, 4, 5], 'whoever was first is not put off by what comes after, turn by turn')
  t.strictSame(member!.transport.commands.splice(0), ['one', ...Array(5).fill(['one', 'ack']).flat()])
  const before = written()
  peers.push(connect())
  join(peers.at(-1)!)
  await publish()
  t.strictSame(seen, [before + 2_000, before + 2_001])
})

t.test('what could not be written at once leaves in the same turn as long as all of it is a slice', async t => {
  const { clock, connect, channel } = stage()
  const peers = Array.from({ length: 1_500 }, () => connect(noop))
  const { fanOut } = channel(peers)
  const seen: number[] = []
  fanOut.publish(frame('one'))
  clock.soon(() => seen.push(peers.filter(({ transport }) => transport.writes === 1).length))
  await clock.advance(0)
  t.strictSame(seen, [1_500])
})

t.test('a batch that is over the bound by itself is given to no link', async t => {
  const { clock, connect, channel, slow } = stage()
  const peers = [connect(), connect()]
  const { fanOut } = channel(peers)
  for (let n = 0; n < 3; n++) fanOut.publish(frame('m', 'x'.repeat(4_000)))
  await clock.advance(0)
  t.equal(slow.length, 2)
  t.strictSame(
    peers.map(({ transport }) => transport.writes),
    [0, 0]
  )
})

t.test(
  'a link that throws while it is written to, or calls somebody against its word, costs nobody else anything',
  async t => {
    const { clock, connect, channel } = stage()
    const peers = [connect(), connect(), connect(), connect(), connect()]
    const [, bad, third, , last] = peers
    const late = [connect(), connect()]
    const { fanOut, join, leave } = channel(peers)
    const write = bad!.transport.write.bind(bad!.transport)
    bad!.transport.write = () => {
      bad!.transport.write = write
      throw new Error('no')
    }
    fanOut.publish(frame('one'))
    fanOut.reply(last!.connection, frame('ack'), null)
    await t.rejects(clock.advance(0), { message: 'no' })
    await clock.advance(0)
    const take = (): string[] => {
      const all = peers.map(({ transport }) => transport.frames.splice(0).map(({ cmd }) => cmd))
      return all.map(commands => commands.join(' '))
    }
    t.strictSame(take(), ['one', '', 'one', 'one', 'one ack'])
    t.equal(fanOut.messagesOut, 5)
    bad!.transport.write = frames => {
      bad!.transport.write = write
      write(frames)
      leave(0)
      for (const peer of late) join(peer)
      fanOut.reply(third!.connection, frame('left'), null)
      fanOut.publish(frame('three'))
    }
    fanOut.publish(frame('two'))
    await clock.advance(0)
    await clock.advance(0)
    t.strictSame(take(), ['two', 'two three', 'two left three', 'two three', 'two three'])
    for (const { transport } of late) t.strictSame(transport.commands, ['three'])
  }
)

t.test('whoever leaves takes no other member with them, in whatever order they do', async t => {
  const { clock, connect, channel } = stage()
  const peers = range(0, 11).map(() => connect())
  const { fanOut } = channel(peers)
  const members = [...fanOut.members]
  const gone = new Set<number>()
  for (const leaving of [0, 11, 10, 3, 9, 1]) {
    fanOut.dismiss(members[leaving]!)
    gone.add(leaving)
    fanOut.publish(frame(`without ${leaving}`))
    await clock.advance(0)
    const here = members.filter((_, i) => !gone.has(i))
    t.strictSame(new Set(fanOut.members), new Set(here))
    const told = peers.map(({ transport }) => transport.commands.at(-1) === `without ${leaving}`)
    t.strictSame(
      told,
      peers.map((_, i) => !gone.has(i))
    )
  }
})
