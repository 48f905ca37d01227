import type { Complain, Stored } from './judge.ts'
import { HELD_BYTES } from './story.ts'

interface Place {
  epoch: string
  offset: number
}

/** What one link has shown of the protocol, frame by frame, whatever the client makes of it. */
class Link {
  readonly joined = new Map<string, Place | null>()
  welcomed = false
  /** Until when its client did not read. */
  heldUntil = -1
  /** Characters that came then of channels that access had been taken back from: the connection held them. */
  held = 0
}

/** Reads a trace and holds every frame that a client was sent against the protocol and the store. */
export class Wire {
  readonly #complain: Complain
  readonly #users: ReadonlyMap<string, string>
  readonly #byTag: ReadonlyMap<string, Stored>
  readonly #prompt: boolean
  readonly #links = new Map<string, Link>()
  readonly #sessions = new Map<string, string>()
  /** When access was taken back, by user and channel; until it is given again. */
  readonly #revoked = new Map<string, number>()
  readonly #granted = new Map<string, number>()

  constructor(
    users: ReadonlyMap<string, string>,
    byTag: ReadonlyMap<string, Stored>,
    prompt: boolean,
    complain: Complain
  ) {
    this.#users = users
    this.#byTag = byTag
    this.#prompt = prompt
    this.#complain = complain
  }

  read(trace: string): void {
    for (const line of trace.split('\n')) {
      const match = /^ *([\d.]+) (\S+) +(.*)$/.exec(line)
      if (match === null) continue
      const [, at, who, what] = match as unknown as [string, string, string, string]
      if (who === 'story') this.#right(what, Number(at))
      else if (this.#users.has(who)) this.#of(who, what, Number(at), line)
    }
  }

  #right(what: string, at: number): void {
    const [done, user, channel] = what.split(' ')
    if (done === 'revoked') this.#revoked.set(`${user} ${channel}`, at)
    else this.#granted.set(`${user} ${channel}`, at)
  }

  #of(who: string, what: string, at: number, line: string): void {
    if (what.startsWith('dials')) this.#links.set(who, new Link())
    if (what === 'fault: stops reading') this.#links.get(who)!.heldUntil = Number.POSITIVE_INFINITY
    if (what === 'fault: reads again') this.#links.get(who)!.heldUntil = at
    if (!what.startsWith('< ')) return
    let frame: any
    try {
      frame = JSON.parse(what.slice(2))
    } catch {
      // Shortened in the trace.
      return
    }
    const link = this.#links.get(who)!
    const say = (rule: string): void => this.#complain(`${rule}: ${line.trim()}`)
    if (frame.cmd === '$welcome') {
      if (link.welcomed) say('second-welcome')
      link.welcomed = true
      this.#sessions.set(who, frame.param.session)
    } else if (!link.welcomed) say('before-welcome')
    else this.#frame(who, link, frame, what.slice(2), at, say)
  }

  #frame(who: string, link: Link, frame: any, text: string, at: number, say: (rule: string) => void): void {
    const { channel, cmd, param } = frame
    if (cmd === '$joined') this.#joined(who, link, frame, at, say)
    else if (cmd === '$left') link.joined.delete(channel)
    else if (cmd === '$ack') this.#ack(who, link, frame, say)
    else if (cmd === '$gap') this.#gap(link, channel, param, say)
    else if (cmd === '$skip') this.#place(link, frame, say)
    else if (!cmd.startsWith('$') && channel.startsWith('room-')) this.#publication(who, link, frame, text, at, say)
  }

  #joined(who: string, link: Link, { channel, param }: any, at: number, say: (rule: string) => void): void {
    const { outcome, position = null } = param
    const before = link.joined.get(channel)
    if (before && position && before.offset !== position.offset) say('joined-elsewhere')
    if (outcome.kind === 'recovered' && outcome.from !== position?.offset) say('outcome')
    link.joined.set(channel, position === null ? null : { epoch: position.epoch, offset: position.offset })
    this.#entered(`${this.#users.get(who)} ${channel}`, at, link.heldUntil, say)
  }

  /** Nobody is let in between a revocation and the moment at which access was given again. */
  #entered(right: string, at: number, heldUntil: number, say: (rule: string) => void): void {
    const since = this.#revoked.get(right)
    if (this.#prompt && since !== undefined && at > since && at > heldUntil && (this.#granted.get(right) ?? 0) < since)
      say('in-after-revoke')
    if ((this.#granted.get(right) ?? 0) >= (since ?? 0)) this.#revoked.delete(right)
  }

  #ack(who: string, link: Link, { channel, id, param }: any, say: (rule: string) => void): void {
    // Whose access was taken back hears that it was done, and nothing of what that was.
    if (this.#revoked.has(`${this.#users.get(who)} ${channel}`)) return
    const place = link.joined.get(channel)
    if (id === undefined || !place || param.position?.epoch !== place.epoch) return
    if (param.position.offset > place.offset) say('early-ack')
  }

  #gap(link: Link, channel: string, { from, position }: any, say: (rule: string) => void): void {
    const place = link.joined.get(channel)
    const since = place?.epoch === position.epoch ? place?.offset : undefined
    if (from !== since) say('gap-from')
    link.joined.set(channel, { epoch: position.epoch, offset: position.offset })
  }

  #place(link: Link, { channel, offset }: any, say: (rule: string) => void): void {
    const place = link.joined.get(channel)
    if (!place) say('not-joined')
    else {
      if (offset <= place.offset) say('repeat')
      else if (offset > place.offset + 1) say('hole')
      place.offset = offset
    }
  }

  #publication(who: string, link: Link, frame: any, text: string, at: number, say: (rule: string) => void): void {
    const { channel, cmd, offset } = frame
    const user = this.#users.get(who)!
    const since = this.#revoked.get(`${user} ${channel}`)
    if (this.#prompt && since !== undefined && at > since && !this.#held(link, text, at)) say('after-revoke')
    if (!link.joined.has(channel)) say('not-joined')
    else if (offset !== undefined) this.#kept(who, user, link, frame, text, say)
    else if (cmd !== 'typing') say('no-place')
  }

  /** What a connection holds that is not read from cannot be taken back. */
  #held(link: Link, text: string, at: number): boolean {
    if (at > link.heldUntil) return false
    link.held += text.length
    return link.held <= HELD_BYTES
  }

  #kept(who: string, user: string, link: Link, frame: any, text: string, say: (rule: string) => void): void {
    const { channel, cmd, tag } = frame
    if (cmd === 'typing') say('kept-ephemeral')
    this.#place(link, frame, say)
    const stored = this.#byTag.get(tag)
    if (stored === undefined) {
      say('invented')
      return
    }
    if (stored.channel !== channel || !text.startsWith(stored.text.slice(0, -1))) say('altered')
    const addresses = [`u:${user}`, `s:${this.#sessions.get(who)}`]
    if (addresses.some(address => stored.except.includes(address))) say('excepted-told')
  }
}
