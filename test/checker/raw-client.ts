// A client written from docs/protocol.md alone: it imports nothing of this package, so that one mistake cannot hide on both sides.
import { WebSocket } from 'ws'
import type { RawLink, RawPlace, RawSend, RawWrong } from './raw-outbox.ts'
import { placeOf, RawOutbox } from './raw-outbox.ts'
import type { Told } from './records.ts'

type Param = Record<string, any>
interface Frame {
  channel?: string
  via?: string
  cmd: string
  param?: any
  id?: number
  ref?: number
  offset?: number
  tag?: string
}

/** What it tells; `place` is where the channel's delivery stands. */
export interface RawEvents {
  welcome(session: string, resumed: boolean): void
  joined(channel: string, param: Param, given: RawPlace | null, asked: number | null): void
  publication(frame: Frame, epoch: string | null): void
  skip(channel: string, epoch: string, offset: number, tag: string): void
  gap(channel: string, param: Param): void
  left(channel: string, reason: string): void
  /** The connection is gone. `stays`: the server wants it not to come back. */
  closed(code: number, reason: string, stays: boolean): void
  /** `before`: what it differs from. */
  wrong(rule: RawWrong, channel: string | undefined, detail: string, before?: Told): void
}

export interface RawOptions {
  readonly url: string
  readonly headers: Record<string, string>
  readonly localAddress: string
  /** Positions of channels that it joins itself ride in the handshake, not in `$join`. */
  readonly early: boolean
  readonly random: () => number
  readonly events: RawEvents
}

const MAX_RESUME = 2048
const SLACK_MS = 1_000

export class RawClient implements RawLink {
  readonly joined = new Set<string>()
  readonly places = new Map<string, RawPlace>()
  /** Who is there, by channel. */
  readonly present = new Map<string, Set<string>>()
  /** Channels that will not have us, until we ask again. */
  readonly refused = new Set<string>()
  connected = false
  #options: RawOptions
  #ws: WebSocket | null = null
  #ended = false
  #session: string | null = null
  #dials = 0
  #attempt = 0
  #retryAfterMs = 0
  #stays = false
  #openedAt = 0
  #heardAt = 0
  #heartbeatMs = 0
  #watch: NodeJS.Timeout | null = null
  #outbox = new RawOutbox(this)
  #ref = 0
  #wanted = new Set<string>()
  #asked = new Map<number, { channel: string; at: number; given: RawPlace | null; answer?: (frame: Frame) => void }>()
  #offered = new Map<string, RawPlace>()

  constructor(options: RawOptions) {
    this.#options = options
    this.#dial()
  }

  want(channel: string): void {
    this.#wanted.add(channel)
    this.refused.delete(channel)
    if (this.connected && !this.joined.has(channel)) this.#join(channel)
  }

  send(channel: string, cmd: string, param: unknown, options: RawSend): void {
    this.#outbox.send(channel, cmd, param, options)
  }

  /** A page of the log; null where it was refused, or the connection ended. */
  history(channel: string, param: object): Promise<Param | null> {
    return new Promise(resolve => {
      if (!this.connected) return resolve(null)
      const ref = ++this.#ref
      const answer = (frame: Frame): void => resolve(frame.cmd === '$ack' ? frame.param.reply : null)
      this.#asked.set(ref, { channel, at: 0, given: null, answer })
      this.write({ channel, cmd: '$history', ref, param })
    })
  }

  /** How it stands, in words. */
  explain(): string {
    return this.#outbox.explain()
  }

  /** Stops reading, or goes on. */
  pause(on: boolean): void {
    if (on) this.#ws?.pause()
    else this.#ws?.resume()
  }

  end(): void {
    this.#ended = true
    this.#ws?.close(1000)
  }

  #dial(): void {
    const { url, headers, localAddress } = this.#options
    const protocols = ['channels.v1']
    this.#offered.clear()
    if (this.#session !== null) protocols.push(`resume.${this.#resume()}`)
    const ws = new WebSocket(url, protocols, { headers, localAddress, handshakeTimeout: 5_000, maxPayload: 1 << 24 })
    this.#ws = ws
    this.#stays = false
    ws.on('open', () => ws.protocol === 'channels.v1' || ws.terminate())
    ws.on('message', data => {
      this.#heardAt = performance.now()
      this.#read(String(data))
    })
    ws.on('error', () => {})
    ws.on('close', (code, reason) => this.#closed(ws, code, String(reason)))
  }

  /** Session, dial and positions, in base64url. Channels that it joins itself are the first to be left out. */
  #resume(): string {
    const own = this.#wanted
    const list = [...this.places].filter(([channel]) => this.#options.early || !own.has(channel))
    list.sort(([a], [b]) => Number(own.has(a)) - Number(own.has(b)))
    const n = ++this.#dials
    for (;;) {
      const more =
        list.length < this.places.size && [...this.places.keys()].some(c => !own.has(c) && !list.some(([l]) => l === c))
      const text = JSON.stringify({ s: this.#session, n, p: Object.fromEntries(list), ...(more ? { more } : {}) })
      const encoded = Buffer.from(text).toString('base64url')
      if (encoded.length + 7 <= MAX_RESUME || list.length === 0) {
        for (const [channel, place] of list) this.#offered.set(channel, place)
        return encoded
      }
      list.pop()
    }
  }

  #closed(ws: WebSocket, code: number, reason: string): void {
    if (ws !== this.#ws) return
    const { events, random } = this.#options
    const was = this.connected
    this.connected = false
    if (this.#watch !== null) clearInterval(this.#watch)
    const asked = [...this.#asked.values()]
    this.#asked.clear()
    for (const { answer } of asked) answer?.({ cmd: '$nack' })
    this.joined.clear()
    const returns =
      code === 1001 || code === 1005 || code === 1006 || (code >= 1011 && code <= 1014) || (code >= 4000 && code < 4500)
    const stays = this.#stays || !returns
    this.#outbox.linkLost()
    if (was || stays) events.closed(code, reason, stays && !this.#ended)
    if (this.#ended || stays) return
    if (was && performance.now() - this.#openedAt > 5_000) this.#attempt = 0
    const waitMs = this.#retryAfterMs + random() * Math.min(2_000, 100 * 2 ** this.#attempt++)
    this.#retryAfterMs = 0
    setTimeout(() => this.#ended || this.#dial(), waitMs)
  }

  #read(text: string): void {
    const frame = JSON.parse(text) as Frame
    const { cmd, channel = '', id, ref, param, offset = 0, tag = '' } = frame
    if (!cmd.startsWith('$')) this.#publication(frame)
    else if (cmd === '$welcome' && !this.connected) this.#welcome(param)
    else if (cmd === '$welcome') this.wrong('bad-frame', channel, 'a second $welcome')
    else if (!this.connected) this.wrong('bad-frame', channel, `${cmd} before $welcome`)
    else if (cmd === '$ping') this.write('{"cmd":"$pong"}')
    else if (cmd === '$closing') {
      this.#stays = param.reason === 'closed-by-server'
      this.#retryAfterMs = Math.min(10_000, param.retryAfterMs ?? 0)
    } else if (cmd === '$joined') this.#joined(channel, frame)
    else if (cmd === '$left') this.#left(channel, frame)
    else if (cmd === '$skip') this.#skip(channel, offset, tag)
    else if (cmd === '$gap') {
      this.places.set(channel, placeOf(param.position)!)
      this.#options.events.gap(channel, param)
    } else if (cmd === '$presence') this.#presence(channel, param)
    else if (id !== undefined) this.#outbox.answered(id, channel, cmd === '$ack', param)
    else if (ref !== undefined) this.#answer(frame)
    else if (cmd === '$nack') this.wrong('bad-frame', channel, `refused without an id: ${text.slice(0, 200)}`)
  }

  #welcome({ session, resumed, heartbeatMs }: Param): void {
    this.connected = true
    this.#openedAt = performance.now()
    this.#heartbeatMs = heartbeatMs
    this.#watch = setInterval(() => this.#listen(), 500)
    if (!resumed) {
      this.#session = session
      this.#dials = 0
      this.#outbox.begin()
    } else if (session !== this.#session) this.wrong('bad-frame', undefined, 'resumed another session')
    this.#options.events.welcome(session, resumed)
    this.refused.clear()
    for (const channel of this.#wanted) this.#join(channel)
    this.#outbox.flush()
  }

  #listen(): void {
    if (performance.now() - this.#heardAt > this.#heartbeatMs + SLACK_MS) this.#ws!.terminate()
  }

  #join(channel: string): void {
    const ref = ++this.#ref
    const place = this.places.get(channel)
    const early = this.#offered.get(channel)
    const given = early ?? place ?? null
    this.#asked.set(ref, { channel, at: Number(process.hrtime.bigint()) / 1e6, given })
    const [epoch, offset, tag] = early === undefined && place !== undefined ? place : []
    this.write({
      channel,
      cmd: '$join',
      ref,
      ...(epoch === undefined ? {} : { param: { position: { epoch, offset, tag } } })
    })
  }

  #joined(channel: string, { ref, param }: Frame): void {
    const asked = ref === undefined ? undefined : this.#asked.get(ref)
    if (ref !== undefined) this.#asked.delete(ref)
    // A member that asks again is told where it stands, whatever it gave while it was none.
    const stands = this.joined.has(channel) ? (this.places.get(channel) ?? null) : undefined
    const given = stands ?? (asked === undefined ? (this.#offered.get(channel) ?? null) : asked.given)
    this.#offered.delete(channel)
    this.joined.add(channel)
    const place = placeOf(param.position)
    if (place !== null) this.places.set(channel, place)
    this.#options.events.joined(channel, param, given, asked?.at ?? null)
    if (param.presence) this.#present(channel, param.presence.members)
    this.#outbox.flush()
  }

  #left(channel: string, { ref, param }: Frame): void {
    if (ref !== undefined) this.#asked.delete(ref)
    this.joined.delete(channel)
    this.present.delete(channel)
    this.refused.add(channel)
    this.#options.events.left(channel, param.reason)
    this.#outbox.flush()
  }

  #answer({ ref, cmd, param, channel }: Frame): void {
    const asked = this.#asked.get(ref!)
    this.#asked.delete(ref!)
    if (asked?.answer !== undefined) asked.answer({ cmd, param })
    else if (asked !== undefined && cmd === '$nack') {
      if (param.retry)
        return void setTimeout(() => this.connected && this.#join(asked.channel), param.retryAfterMs ?? 200)
      this.refused.add(asked.channel)
      this.#outbox.flush()
    } else if (asked === undefined) this.wrong('bad-frame', channel, `an answer to request ${ref}, which was not asked`)
  }

  #publication(frame: Frame): void {
    const through = frame.via ?? frame.channel ?? ''
    const place = this.places.get(through)
    const { offset, tag } = frame
    if (offset !== undefined && place === undefined) {
      this.wrong('bad-frame', through, `offset ${offset} where no position was told`)
      return
    }
    if (offset !== undefined) this.places.set(through, [place![0], offset, tag!])
    this.#options.events.publication(frame, offset === undefined ? null : place![0])
  }

  #skip(channel: string, offset: number, tag: string): void {
    const place = this.places.get(channel)
    if (place === undefined) this.wrong('bad-frame', channel, `$skip ${offset} where no position was told`)
    else {
      this.places.set(channel, [place[0], offset, tag])
      this.#options.events.skip(channel, place[0], offset, tag)
    }
  }

  #present(channel: string, members: ReadonlyArray<{ id: string }> | undefined): void {
    if (members === undefined) this.present.delete(channel)
    else this.present.set(channel, new Set(members.map(({ id }) => id)))
  }

  #presence(channel: string, { joins, leaves }: Param): void {
    const there = this.present.get(channel)
    for (const { id } of leaves) there?.delete(id)
    for (const { id } of joins) there?.add(id)
  }

  write(frame: object | string): void {
    this.#ws!.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  wrong(rule: RawWrong, channel: string | undefined, detail: string, before?: Told): void {
    this.#options.events.wrong(rule, channel, detail, before)
  }
}
