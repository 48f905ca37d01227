import type { FastifyInstance } from 'fastify'
import t from 'tap'
import type { Broker, BrokerFactory } from '../../lib/broker/broker.ts'
import { MemoryBroker, MemoryStore, memory } from '../../lib/broker/memory.ts'
import { Expiry } from '../../lib/connection/expiry.ts'
import { Revocations } from '../../lib/connection/revocations.ts'
import { command, defineChannel, Type } from '../../lib/protocol/index.ts'
import type { Position } from '../../lib/protocol/position.ts'
import { Rechecks } from '../../lib/request/recheck.ts'
import { Refusals } from '../../lib/stats.ts'
import { act, type ChannelHandle, type Connection, type ProfileLoader, type Sockets } from '../../plugins/index.ts'
import { authoriseStory, Tally } from '../fixtures/authorisation.ts'
import { ManualClock, settle } from '../fixtures/clock.ts'
import type { RawClient } from '../fixtures/raw-client.ts'
import { connect, refused } from '../fixtures/raw-client.ts'
import { as, headerProfile, type ServerOptions, serve, type Teardown } from '../fixtures/server.ts'
import { SteppedClock } from '../fixtures/stepped-clock.ts'
import { until } from '../fixtures/until.ts'

const secret = 'a secret that is long enough for a cookie'
const room = defineChannel('room-:room', {
  events: { said: Type.Object({ text: Type.String() }) },
  commands: { list: command(Type.Null(), { reply: Type.Array(Type.String()) }) }
})

/** Something that a test holds up until it says go. */
class Gate {
  /** How often somebody came to it. */
  came = 0
  #open = true
  #waiting: Array<() => void> = []

  close(): void {
    this.#open = false
  }

  open(): void {
    this.#open = true
    for (const go of this.#waiting.splice(0)) go()
  }

  pass(): Promise<void> {
    this.came++
    return this.#open ? Promise.resolve() : new Promise(resolve => this.#waiting.push(resolve))
  }
}

interface House {
  readonly app: FastifyInstance
  readonly url: string
  readonly sockets: Sockets<unknown>
  readonly handle: ChannelHandle<typeof room>
  /** Whom the rule lets in: `<user> <channel>`. What it finds is found before it waits at the gate. */
  readonly banned: Set<string>
  readonly gates: { readonly access: Gate; readonly action: Gate; readonly list: Gate; readonly read: Gate }
}

async function house(t: Teardown, options: ServerOptions = {}): Promise<House> {
  const banned = new Set<string>()
  const gates = { access: new Gate(), action: new Gate(), list: new Gate(), read: new Gate() }
  let handle: ChannelHandle<typeof room> | undefined
  const { app, url } = await serve(t, { broker: gated(gates.read), ...options }, app => {
    handle = app.sockets.serve(room, {
      access: async ({ channel, profile }) => {
        const allowed = !banned.has(`${profile?.id} ${channel}`)
        await gates.access.pass()
        return allowed
      },
      presence: true,
      log: true,
      commands: {
        list: async () => {
          await gates.list.pass()
          return ['a secret']
        }
      }
    }) as ChannelHandle<typeof room>
    app.get(
      '/ws/:channel',
      act('enter', async (app, ps) => {
        await gates.action.pass()
        await app.sockets.upgrade(ps, ps.requestString('channel', true))
      })
    )
  })
  return { app, url, sockets: app.sockets as Sockets<unknown>, handle: handle!, banned, gates }
}

/** A memory broker whose readings wait at a gate. */
function gated(gate: Gate): BrokerFactory {
  return async context => {
    const inner = await memory()(context)
    return new Proxy(inner, {
      get(target, key: keyof Broker) {
        const value = target[key]
        if (typeof value !== 'function') return value
        if (key !== 'read') return value.bind(target)
        return async (...args: Parameters<Broker['read']>) => {
          await gate.pass()
          return target.read(...args)
        }
      }
    })
  }
}

const say = (text: string) => ({ cmd: 'said', param: { text } })

/** What a client heard of one channel. */
const heard = (client: RawClient, channel = 'room-1') =>
  client.received.filter(frame => frame.channel === channel).map(frame => frame.cmd)

t.test('a revocation from a channel ends the user’s memberships there, and nothing else', async t => {
  const { url, sockets, handle, banned } = await house(t)
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  const ann2 = await connect(`${url}/ws/lobby`, as('ann'))
  const bob = await connect(`${url}/ws/room-1`, as('bob'))
  const plain = await connect(`${url}/ws/room-1`, { v1: false, ...as('ann') })
  await ann.next('$joined')
  await ann2.next('$joined')
  await bob.next('$joined')
  ann2.send({ cmd: '$join', channel: 'room-1', ref: 1 })
  await ann2.next('$joined')
  await until('all are members', () => sockets.stats().perChannel['room-1']?.connections === 4)
  banned.add('ann room-1')
  void sockets.broadcast('room-1', say('in this very turn'))
  t.equal(await handle.revoke('ann', { room: '1' }), 3, 'it tells how many memberships it ended')
  await sockets.broadcast('room-1', say('later'))
  await sockets.sendToUser('ann', { cmd: 'end' })
  for (const client of [ann, ann2]) {
    t.match(await client.next('$left'), { channel: 'room-1', param: { reason: 'revoked' } })
    t.match(await client.next('end'), { channel: 'user-ann' }, 'its other channels go on')
    t.strictSame(heard(client).slice(-1), ['$left'], 'nothing follows')
    t.notOk(heard(client).includes('said'), 'nor came what was on its way')
  }
  await plain.next('end')
  t.strictSame(heard(plain), [], 'a plain client leaves silently')
  t.match((await bob.next('said')).param, { text: 'in this very turn' })
  t.match((await bob.next('said')).param, { text: 'later' })
  t.strictSame(await sockets.members('room-1'), [{ id: 'bob', info: { name: 'BOB' } }])
  t.equal(await sockets.revoke('ann', 'room-1'), 0)

  t.match(await ann2.request('$join', 'room-1'), { cmd: '$nack', param: { code: 'forbidden' } })
  banned.clear()
  t.match(await ann2.request('$join', 'room-1'), { cmd: '$joined' }, 'a later join passes the rule as usual')
  await sockets.broadcast('room-1', say('again'))
  t.match((await ann2.next('said')).param, { text: 'again' })
})

t.test('what waits for a member that has just left is taken back too', async t => {
  const { url, sockets } = await house(t)
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  await ann.next('$joined')
  void sockets.broadcast('room-1', say('before it left'))
  void sockets.leave({ user: 'ann' }, 'room-1')
  t.equal(await sockets.revoke('ann', 'room-1'), 0)
  await sockets.sendToUser('ann', { cmd: 'end' })
  await ann.next('end')
  t.ok(heard(ann).includes('$left'))
  t.notOk(heard(ann).includes('said'))
})

t.test('who and what is revoked has to be named', async t => {
  const { sockets } = await house(t)
  t.throws(() => sockets.revoke(''), { code: 'FST_CHANNELS_INVALID_OPTION' })
  t.throws(() => sockets.revoke({ user: 'ann' } as never), { code: 'FST_CHANNELS_INVALID_OPTION' })
  t.throws(() => sockets.revoke('ann', 'room 1'), { code: 'FST_CHANNELS_INVALID_CHANNEL' })
})

t.test('a $join that a revocation overtakes is decided anew, and refused where that goes on', async t => {
  const { url, sockets, banned, gates } = await house(t)
  const ann = await connect(`${url}/ws/lobby`, as('ann'))
  await ann.next('$joined')
  const ask = async (ref: number): Promise<void> => {
    gates.access.close()
    gates.access.came = 0
    ann.send({ cmd: '$join', channel: 'room-1', ref })
    await until('the rule is asked', () => gates.access.came === 1)
  }
  await ask(1)
  banned.add('ann room-1')
  t.equal(await sockets.revoke('ann', 'room-1'), 0)
  gates.access.open()
  t.match(
    await ann.next('$nack'),
    { ref: 1, param: { code: 'forbidden' } },
    'what the rule found before does not count'
  )
  banned.clear()
  await ask(2)
  await sockets.revoke('ann', 'room-1')
  gates.access.open()
  t.match(await ann.next('$joined'), { ref: 2 }, 'it was asked once more')
  t.equal(gates.access.came, 2)
  t.match(await ann.request('$leave', 'room-1'), { cmd: '$left' })
  await ask(3)
  for (let asked = 1; asked <= 3; asked++) {
    await until('the rule is asked again', () => gates.access.came === asked)
    await sockets.revoke('ann', 'room-1')
    gates.access.open()
    gates.access.close()
  }
  t.match(await ann.next('$nack'), { ref: 3, param: { code: 'forbidden' } })
  t.equal(gates.access.came, 3, 'there is an end to it')
  gates.access.open()
})

t.test('a join that is reading its past is refused where access is taken back meanwhile', async t => {
  const { url, sockets, banned, gates } = await house(t)
  const first = await connect(`${url}/ws/room-1`, as('ann'))
  const { position } = (await first.next('$joined')).param as { position: Position }
  for (let i = 0; i < 10; i++) await sockets.broadcast('room-1', say('x'.repeat(20_000)))
  await until('all has come', () => heard(first).length >= 11)
  await first.close()
  const ann = await connect(`${url}/ws/lobby`, as('ann'))
  await ann.next('$joined')
  gates.read.close()
  gates.read.came = 0
  ann.send({ cmd: '$join', channel: 'room-1', ref: 1, param: { position } })
  await until('the log is read', () => gates.read.came === 1)
  banned.add('ann room-1')
  await sockets.revoke('ann', 'room-1')
  gates.read.open()
  t.match(await ann.next('$nack'), { ref: 1, param: { code: 'forbidden' } })
  t.strictSame(heard(ann), ['$nack'])

  // Between two pages of it the same.
  banned.clear()
  gates.read.came = 0
  ann.send({ cmd: '$join', channel: 'room-1', ref: 2, param: { position } })
  t.match(await ann.next('$joined'), { ref: 2, param: { outcome: { kind: 'recovered' } } })
  const [connection] = sockets.connections() as [Connection]
  await sockets.leave(connection, 'room-1')
  await ann.next('$left')
  gates.read.came = 0
  gates.read.close()
  ann.send({ cmd: '$join', channel: 'room-1', ref: 3, param: { position } })
  await until('the first page is read', () => gates.read.came === 1)
  gates.read.open()
  gates.read.close()
  await until('the second page is read', () => gates.read.came === 2)
  t.equal(await sockets.revoke('ann', 'room-1'), 1)
  gates.read.open()
  await sockets.sendToUser('ann', { cmd: 'end' })
  await ann.next('end')
  const line = heard(ann)
  t.strictSame(line.slice(line.lastIndexOf('$left')), ['$left'], 'the rest does not come')
  t.ok(line.slice(line.lastIndexOf('$joined')).filter(cmd => cmd === 'said').length < 10)
})

t.test('a $history under way is refused, and a command under way is acked without its reply', async t => {
  const { url, sockets, banned, gates } = await house(t)
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  await ann.next('$joined')
  await sockets.broadcast('room-1', say('hello'))
  gates.read.close()
  gates.list.close()
  ann.send({ cmd: '$history', channel: 'room-1', ref: 1, param: { limit: 10 } })
  await until('the log is read', () => gates.read.came === 1)
  ann.send({ cmd: 'list', channel: 'room-1', param: null, id: 1 })
  await until('both have come', () => sockets.connections()[0]!.traffic.messagesIn === 2)
  banned.add('ann room-1')
  await sockets.revoke('ann', 'room-1')
  await ann.next('$left')
  gates.read.open()
  t.match(await ann.next('$nack'), { ref: 1, param: { code: 'not-joined' } })
  t.match(await ann.next('$nack'), { id: 1, param: { code: 'not-joined' } }, 'a command that waited does not run')

  banned.clear()
  t.match(await ann.request('$join', 'room-1'), { cmd: '$joined' })
  ann.send({ cmd: 'list', channel: 'room-1', param: null, id: 2 })
  await until('the command runs', () => gates.list.came === 1)
  await sockets.revoke('ann', 'room-1')
  gates.list.open()
  t.strictSame(await ann.next('$ack'), { channel: 'room-1', cmd: '$ack', id: 2, param: { stored: 'none' } })
  ann.send({ cmd: 'list', channel: 'room-1', param: null, id: 2 })
  t.strictSame((await ann.next('$ack')).param, { stored: 'none' }, 'asking again does not give it either')
  ann.send({ cmd: '$join', channel: 'room-1', ref: 2 })
  await ann.next('$joined')
  ann.send({ cmd: 'list', channel: 'room-1', param: null, id: 2 })
  t.match((await ann.next('$ack')).param, { reply: ['a secret'] }, 'a member gets the kept answer')
})

t.test(
  'a route that a revocation overtakes is decided anew where there is a rule, and refused where there is none',
  async t => {
    const { url, sockets, banned, gates } = await house(t)
    gates.access.close()
    let opening = connect(`${url}/ws/room-1`, as('ann'))
    await until('the rule is asked', () => gates.access.came === 1)
    await sockets.revoke('ann', 'room-1')
    gates.access.open()
    const ann = await opening
    await ann.next('$joined')
    t.equal(gates.access.came, 2)

    gates.access.close()
    let refusal = refused(connect(`${url}/ws/room-1`, as('bob')))
    await until('the rule is asked', () => gates.access.came === 3)
    banned.add('bob room-1')
    await sockets.revoke('bob', 'room-1')
    gates.access.open()
    t.match(await refusal, { statusCode: 403, body: { code: 'FST_CHANNELS_FORBIDDEN' } })

    gates.action.close()
    gates.action.came = 0
    refusal = refused(connect(`${url}/ws/lobby`, as('bob')))
    opening = connect(`${url}/ws/lobby`, as('cy'))
    await until('both actions run', () => gates.action.came === 2)
    await sockets.revoke('bob', 'lobby')
    gates.action.open()
    t.match(await refusal, { statusCode: 403 }, 'what the action found cannot be asked again')
    t.match(await (await opening).next('$joined'), { channel: 'lobby' }, 'another user is not concerned')
  }
)

t.test('a revocation from everything closes the user’s connections, refuses handshakes and ends sessions', async t => {
  const loading = new Gate()
  const gone = new Set<string>()
  const profile: ProfileLoader = async request => {
    const found = gone.has(String(request.headers['x-user'])) ? null : headerProfile(request)
    await loading.pass()
    return found
  }
  const { url, sockets, gates } = await house(t, { profile })
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  const { session } = (await ann.next('$welcome')).param as { session: string }
  await ann.next('$joined')
  const plain = await connect(`${url}/ws/lobby`, { v1: false, ...as('ann') })
  const bob = await connect(`${url}/ws/room-1`, as('bob'))
  await until('all are here', () => sockets.connections().length === 3)
  gates.action.close()
  gates.action.came = 0
  const acting = refused(connect(`${url}/ws/lobby`, as('ann')))
  await until('the action runs', () => gates.action.came === 1)
  loading.close()
  loading.came = 0
  const loaded = refused(connect(`${url}/ws/lobby`, as('ann')))
  await until('the profile is loading', () => loading.came === 1)
  void sockets.broadcast('room-1', say('too late'))
  t.equal(await sockets.revoke('ann'), 2)
  t.strictSame(await ann.closed, { code: 4502, reason: 'revoked' })
  t.equal((await plain.closed).code, 4502)
  t.notOk(heard(ann).includes('said'), 'what was queued is thrown away')
  loading.open()
  gates.action.open()
  t.equal((await acting).statusCode, 403)
  t.equal((await loaded).statusCode, 403, 'who was loaded before is not believed')
  t.match((await bob.next('said')).param, { text: 'too late' })

  const back = await connect(`${url}/ws/lobby`, { ...as('ann'), protocols: ['channels.v1', resume({ s: session })] })
  t.match((await back.next('$welcome')).param, { resumed: false }, 'the session has ended')
  t.equal(await sockets.revoke('nobody'), 0)
})

t.test('what a slow link holds is waited for, and thrown away with the link where that takes too long', async t => {
  const { url, sockets } = await house(t, {
    closeGraceMs: 200,
    limits: { outboxBytes: 64 * 1024 * 1024, messageBytes: 1024 * 1024 }
  })
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  const other = await connect(`${url}/ws/lobby`, as('ann'))
  await ann.next('$joined')
  await other.next('$joined')
  ann.ws.pause()
  const [slow] = sockets.connections() as [Connection]
  const text = 'x'.repeat(900_000)
  await until('the kernel takes no more', async () => {
    await sockets.broadcast('room-1', say(text))
    return slow.transport.buffered() > 2_000_000
  })
  t.equal(await sockets.revoke('ann', 'room-1'), 1)
  ann.ws.resume()
  t.equal((await ann.closed).code, 1006, 'the link is gone')
  t.notOk(heard(ann).includes('$left'))
  await until('it is known here', () => !slow.open)
  t.equal(other.ws.readyState, other.ws.OPEN, 'a link that holds nothing of the channel is left alone')
})

t.test('a slow link that reads on in time stays', async t => {
  const { url, sockets } = await house(t, { limits: { outboxBytes: 64 * 1024 * 1024, messageBytes: 1024 * 1024 } })
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  await ann.next('$joined')
  ann.ws.pause()
  const [slow] = sockets.connections() as [Connection]
  await until('the kernel takes no more', async () => {
    await sockets.broadcast('room-1', say('x'.repeat(900_000)))
    return slow.transport.buffered() > 1_000_000
  })
  let revoked = false
  const revoking = sockets.revoke('ann', 'room-1').then(() => {
    revoked = true
  })
  await new Promise(resolve => setImmediate(resolve))
  t.notOk(revoked)
  ann.ws.resume()
  await revoking
  t.ok(slow.open)
  t.match(await ann.next('$left'), { param: { reason: 'revoked' } })
})

t.test('a hook that revokes in the turn of the handshake is obeyed', async t => {
  const { url, sockets } = await house(t, {
    onOpen: connection => void sockets.revoke('ann', connection.route)
  })
  const ann = await connect(`${url}/ws/room-1`, as('ann'))
  t.match(await ann.next('$left'), { channel: 'room-1', param: { reason: 'revoked' } })
  t.match(await ann.next('$joined'), { channel: 'user-ann' })
  t.strictSame(heard(ann), ['$left'])
})

t.test('other nodes hear of a revocation', async t => {
  const store = new MemoryStore()
  const broker: BrokerFactory = context => new MemoryBroker(context, store)
  const here = await house(t, { broker })
  const there = await house(t, { broker })
  const ann = await connect(`${there.url}/ws/room-1`, as('ann'))
  await ann.next('$joined')
  t.equal(await here.sockets.revoke('ann', 'room-1'), 0, 'the number is of this node')
  t.match(await ann.next('$left'), { param: { reason: 'revoked' } })
  await here.sockets.revoke('ann')
  t.equal((await ann.closed).code, 4502)
})

t.test('revocations are remembered for as long as somebody may have been overtaken', async t => {
  const revocations = new Revocations()
  revocations.add('ann', 'a')
  t.equal(revocations.size, 0, 'nobody is being checked')
  const first = revocations.take()
  t.notOk(revocations.has(first, 'ann', 'a'))
  revocations.add('ann', 'a')
  const second = revocations.take()
  revocations.add('bob', null)
  t.strictSame(
    [revocations.has(first, 'ann', 'a'), revocations.has(first, 'ann', null), revocations.has(first, 'bob', null)],
    [true, false, true]
  )
  t.strictSame([revocations.has(second, 'ann', 'a'), revocations.has(second, 'bob', null)], [false, true])
  revocations.giveBack(first)
  t.equal(revocations.size, 1)
  revocations.renew(second)
  t.equal(revocations.size, 0)
  t.notOk(revocations.has(second, 'bob', null))
  revocations.giveBack(second)
  revocations.renew(second)
  revocations.add('bob', null)
  t.equal(revocations.size, 0)
})

t.test(
  'a cookie that expires closes the connection 4003; with a new one the client has its session and its past',
  async t => {
    const clock = new SteppedClock({ wall: Date.now() })
    const { app, url } = await serve(
      t,
      { cookie: { secret, maxAgeSeconds: 30 * 86_400 }, clock, heartbeatMs: 1_000_000_000, userChannel: false },
      app => {
        app.sockets.serve(room, { log: { ageMs: 7 * 86_400_000 }, commands: { list: () => [] } })
        app.get(
          '/ws',
          act('enter', async (app, ps) => void (await app.sockets.upgrade(ps, 'room-1')))
        )
        app.post('/login', async (_request, reply) => {
          app.sockets.signIn(reply, { id: 'ann' })
          return {}
        })
      }
    )
    const sockets = app.sockets as Sockets<unknown>
    const login = async (): Promise<string> => {
      const { cookies } = await app.inject({ method: 'POST', url: '/login' })
      return `${cookies[0]!.name}=${cookies[0]!.value}`
    }
    const cookie = await login()
    const ann = await connect(`${url}/ws`, { headers: { cookie }, origin: url })
    const { session } = (await ann.next('$welcome')).param as { session: string }
    const { position } = (await ann.next('$joined')).param as { position: Position }
    await sockets.broadcast('room-1', say('before'))
    await ann.next('said')
    // Half of it by a jump that no timer sees, the rest but for a moment on the clock of the timers.
    clock.jumpWall(29 * 86_400_000)
    await clock.advance(86_400_000 - 70_000)
    t.equal(ann.ws.readyState, ann.ws.OPEN)
    const renewed = await login()
    await clock.advance(71_000)
    t.strictSame(await ann.closed, { code: 4003, reason: 'renew credentials' })
    await sockets.broadcast('room-1', say('meanwhile'))
    const stale = await connect(`${url}/ws`, { headers: { cookie }, origin: url })
    await stale.next('$welcome')
    t.equal(sockets.connections()[0]!.profile, null, 'with the old one it is nobody')
    await stale.close()
    const { epoch, tag } = position
    const protocols = ['channels.v1', resume({ s: session, n: 1, p: { 'room-1': [epoch, 0, tag] } })]
    const back = await connect(`${url}/ws`, { headers: { cookie: renewed }, origin: url, protocols })
    t.match((await back.next('$welcome')).param, { resumed: true, session })
    t.match((await back.next('$joined')).param.outcome, { kind: 'recovered', from: 0, to: 2 })
    await back.close()
    await app.close()
    t.equal(clock.pending, 0)
  }
)

t.test('a profile may say itself when it expires', async t => {
  const { url, sockets } = await house(t, {
    profile: request => ({ id: 'ann', expiresAt: Number(request.headers['x-until']) })
  })
  const until = (ms: number) => ({ headers: { 'x-until': String(Date.now() + ms) } })
  const ann = await connect(`${url}/ws/lobby`, until(60_000))
  await ann.next('$joined')
  const brief = await connect(`${url}/ws/lobby`, until(150))
  t.equal((await brief.closed).code, 4003)
  const late = await connect(`${url}/ws/lobby`, until(-1))
  await late.next('$joined')
  t.strictSame(
    sockets.connections().map(({ profile }) => profile?.id),
    ['ann', undefined],
    'one that has expired is nobody’s'
  )
  t.equal(ann.ws.readyState, ann.ws.OPEN)
  const wrong = await refused(connect(`${url}/ws/lobby`, { headers: { 'x-until': 'soon' } }))
  t.match(wrong, { statusCode: 500, body: { code: 'FST_CHANNELS_INVALID_PROFILE' } })
})

/** As much of a connection as what watches over its end needs. */
function fakeConnection(id = 'ann') {
  const ends: Array<() => void> = []
  const fake = {
    open: true,
    profile: { id },
    renew: () => {},
    code: null as number | null,
    close(code: number) {
      if (!fake.open) return
      fake.open = false
      fake.code = code
      for (const task of ends) task()
    },
    abandon: (code: number) => fake.close(code),
    whenEnded: (task: () => void) => void ends.push(task)
  }
  return fake as typeof fake & Connection
}

t.test('an expiry keeps to the wall clock, however far it is and however that jumps', async t => {
  const clock = new ManualClock()
  const far = fakeConnection()
  const at = clock.wall() + 40 * 86_400_000
  new Expiry(clock, far).set(at)
  clock.jumpWall(40 * 86_400_000 - 100_000)
  await clock.advance(90_000)
  t.ok(far.open)
  clock.jumpWall(-3_600_000)
  await clock.advance(3_600_000)
  t.ok(far.open, 'the clock was put back')
  await clock.advance(10_000)
  t.equal(far.code, 4003)
  t.equal(clock.wall() >= at && clock.wall() < at + 60_000, true)
  const jumped = fakeConnection()
  const expiry = new Expiry(clock, jumped)
  expiry.set(clock.wall() + 3_600_000)
  clock.jumpWall(3_600_000)
  await clock.advance(60_000)
  t.equal(jumped.code, 4003, 'a jump forward is seen within a minute')
  const kept = fakeConnection()
  const longer = new Expiry(clock, kept)
  longer.set(clock.wall() + 1000)
  longer.set(null)
  await clock.advance(10_000)
  t.ok(kept.open)
  longer.set(clock.wall() + 1000)
  kept.close(1000)
  longer.set(clock.wall() + 1000)
  t.equal(clock.pending, 0, 'nothing is left of those that are closed')
})

t.test(
  'the profile loader is asked again: nobody closes 4502, somebody else 4003, and a failure tells nothing',
  async t => {
    const errors: unknown[] = []
    const profiles = new Map<string, { id: string; expiresAt?: number } | Error | null>()
    const { url, sockets } = await house(t, {
      recheckMs: 20,
      onError: error => void errors.push(error),
      profile: request => {
        const key = String(request.headers['x-user'])
        const found = profiles.get(key)
        if (found instanceof Error) throw found
        return found === undefined ? { id: key } : found
      }
    })
    const enter = async (user: string): Promise<RawClient> => {
      const client = await connect(`${url}/ws/lobby`, as(user))
      await client.next('$joined')
      return client
    }
    const [ann, bob, cy, dan, eve] = await Promise.all(['ann', 'bob', 'cy', 'dan', 'eve'].map(enter))
    profiles.set('ann', null)
    profiles.set('bob', { id: 'robert' })
    profiles.set('cy', new Error('the store is down'))
    profiles.set('eve', { id: 'eve', expiresAt: Date.now() + 200 })
    t.strictSame(await ann!.closed, { code: 4502, reason: 'revoked' })
    t.equal((await bob!.closed).code, 4003)
    t.equal((await eve!.closed).code, 4003, 'a check may bring an expiry')
    await until('it has failed more than once', () => (sockets.stats().refusals['recheck-failed'] ?? 0) > 2)
    t.equal(errors.length, 1, 'of failures in a row the host hears once')
    t.equal(cy!.ws.readyState, cy!.ws.OPEN)
    profiles.set('cy', null)
    t.equal((await cy!.closed).code, 4502, 'and it is asked again')
    t.equal(dan!.ws.readyState, dan!.ws.OPEN)
  }
)

t.test('what a re-check brings of the same user is what access rules and handlers are told from then on', async t => {
  let role = 'guest'
  const profile: ProfileLoader = request => ({ id: String(request.headers['x-user']), role })
  const vault = defineChannel('vault-:vault', {
    commands: { who: command(Type.Null(), { reply: Type.Array(Type.Any()) }) }
  })
  const { app, url } = await serve(t, { recheckMs: 20, profile }, app => {
    app.sockets.serve(vault, {
      access: ({ profile }) => (profile as { role?: string } | null)?.role === 'staff',
      commands: { who: (_param, { profile }) => [profile] }
    })
    app.get(
      '/ws',
      act('lobby', async (app, ps) => {
        await app.sockets.upgrade(ps, 'lobby')
      })
    )
  })
  const ann = await connect(`${url}/ws`, as('ann'))
  await ann.next('$joined')
  ann.send({ cmd: '$join', channel: 'vault-1', ref: 1 })
  t.match(await ann.next('$nack'), { param: { code: 'forbidden' } })
  role = 'staff'
  const [connection] = app.sockets.connections()
  await until('the loader has been asked again', () => (connection?.profile as { role?: string })?.role === 'staff')
  ann.send({ cmd: '$join', channel: 'vault-1', ref: 2 })
  t.match(await ann.next('$joined'), { channel: 'vault-1' })
  ann.send({ cmd: 'who', channel: 'vault-1', id: 1, param: null })
  t.match(await ann.next('$ack'), { param: { reply: [{ id: 'ann', role: 'staff' }] } })
})

t.test('nobody is asked again where there is no profile, and never where recheckMs is 0', async t => {
  let asked = 0
  const loader: ProfileLoader = request => {
    asked++
    return headerProfile(request)
  }
  const clock = new SteppedClock()
  const never = await house(t, { clock, profile: loader, recheckMs: 0 })
  const ann = await connect(`${never.url}/ws/lobby`, as('ann'))
  await ann.next('$joined')
  const other = new SteppedClock()
  const { url, app } = await house(t, { clock: other, profile: loader, heartbeatMs: 1_000_000 })
  const nobody = await connect(`${url}/ws/lobby`)
  await nobody.next('$joined')
  asked = 0
  await clock.advance(20_000)
  await other.advance(90_000)
  t.equal(asked, 0)
  const bob = await connect(`${url}/ws/lobby`, as('bob'))
  await bob.next('$joined')
  asked = 0
  await other.advance(47_000)
  t.equal(asked, 0)
  await other.advance(26_000)
  t.equal(asked, 1, 'a minute later, give or take a fifth')
  await Promise.all([ann, nobody, bob].map(client => client.close()))
  await never.app.close()
  await app.close()
  t.strictSame([clock.pending, other.pending], [0, 0])
})

t.test('few re-checks run at once, each ends in time, and nothing is left of a connection that is gone', async t => {
  const clock = new ManualClock()
  const refusals = new Refusals()
  const failures: unknown[] = []
  const answers = new Map<unknown, (profile: { id: string } | null) => void>()
  let running = 0
  let most = 0
  const rechecks = new Rechecks({
    clock,
    refusals,
    everyMs: 1000,
    timeoutMs: 500,
    failed: error => void failures.push(error),
    load: request =>
      new Promise(resolve => {
        most = Math.max(most, ++running)
        answers.set(request, profile => {
          running--
          answers.delete(request)
          resolve(profile)
        })
      })
  })
  const connections = Array.from({ length: 40 }, (_, i) => fakeConnection(`u${i}`))
  for (const connection of connections) rechecks.watch(connection, connection as never, new Expiry(clock, connection))
  await clock.advance(1200)
  t.equal(running, 16)
  for (const [request, answer] of answers) answer({ id: (request as Connection).profile!.id })
  await settle()
  t.equal(running, 16, 'the next come to their turn')
  const [hanging] = answers.keys() as unknown as [Connection]
  const late = answers.get(hanging)!
  for (const connection of connections) if (connection !== hanging) connection.close(1000)
  await settle()
  await clock.advance(500)
  t.strictSame([refusals.toJSON(), failures.length, hanging.open], [{ 'recheck-failed': 1 }, 1, true])
  late(null)
  await settle()
  t.ok(hanging.open, 'an answer that came too late is none')
  await clock.advance(1200)
  answers.get(hanging)!(null)
  await settle()
  t.notOk(hanging.open)
  t.equal(most <= 40, true)
  t.equal(clock.pending, 0)
})

/** The same stories in every run; `SEED=…` plays one, `FIRST=… RUNS=…` others and more of them. */
const { SEED, FIRST = '1', RUNS = '200' } = process.env

t.test('whatever else is under way, nothing of a channel reaches who was revoked from it', async t => {
  const first = Number(SEED ?? FIRST)
  const runs = SEED === undefined ? Number(RUNS) : 1
  const complaints: string[] = []
  const tally = new Tally()
  let seed = first
  const unhandled = (error: unknown): void => void complaints.push(`SEED=${seed} unhandled: ${error}`)
  process.on('unhandledRejection', unhandled)
  t.teardown(() => process.off('unhandledRejection', unhandled))
  for (; seed < first + runs; seed++) {
    const complain = (what: string): void => void complaints.push(`SEED=${seed} ${what}`)
    await authoriseStory(seed, complain, tally).catch(error => complain(String(error)))
    await new Promise(resolve => setImmediate(resolve))
  }
  t.comment(`seeds ${first} to ${seed - 1}`, { ...tally })
  t.strictSame(complaints.slice(0, 5), [])
  if (runs < 200) return
  for (const [what, count] of Object.entries(tally)) t.ok(count > 2, `the stories are about ${what}`)
})

/** What a client comes back with, as a subprotocol. */
function resume(value: object): string {
  return `resume.${Buffer.from(JSON.stringify({ n: 1, p: {}, ...value })).toString('base64url')}`
}
