import type { Chance, Net, World } from 'fastify-channels/testing'

/** Who speaks the protocol on its own behalf, and claims what is not its own. */
export const STRANGER = 'mallory'

/** Numbers of its commands: nobody else uses them. */
const FIRST_NUMBER = 1_000_000

/** The number that it sends again with: a command that was not run the first time is run then. */
const AGAIN = FIRST_NUMBER

/** Its ids are those of others' commands. */
const IDS = 8

/** Milliseconds after which it is gone again. */
const STAYS_MS = 2_000

interface Claim {
  readonly position: { readonly epoch: string; readonly offset: number; readonly tag: string }
  /** Whether it fits another log, or none. */
  readonly forged: boolean
}

/** One connection of somebody who has heard of others' sessions, ids and positions. */
export class Stranger {
  readonly #simulation: Net | World
  readonly #chance: Chance
  readonly #complain: (what: string) => void
  /** As it stands in the trace, another one at each visit. */
  readonly names: string[] = []

  constructor(simulation: Net | World, complain: (what: string) => void) {
    this.#simulation = simulation
    this.#chance = simulation.chance
    this.#complain = complain
  }

  come(channel: string, elsewhere: string): void {
    const visit = this.names.push(`${STRANGER}${this.names.length + 1}`)
    const simulation = this.#simulation
    const session = this.#chance.pick([...this.#chance.pick(simulation.clients).sessions, 'A'.repeat(22)])
    const resume = { s: session, n: 1_000_000, p: {} }
    const ws = simulation.dial(undefined, {
      name: this.names.at(-1)!,
      profile: { id: STRANGER },
      protocols: ['channels.v1', `resume.${Buffer.from(JSON.stringify(resume)).toString('base64url')}`]
    })
    const claim = this.#claim(channel, elsewhere)
    let left = false
    const mine = new Set<number>()
    const say = (frame: object): void => ws.send(JSON.stringify({ channel, ...frame }))
    const wrong = (what: string, frame: object): void => this.#complain(`${what}: ${JSON.stringify(frame)}`)
    ws.onmessage = ({ data }) => {
      const frame = JSON.parse(data as string)
      const { cmd, ref, param } = frame
      if (cmd === '$welcome') {
        if (param.resumed) wrong('session-of-another', frame)
        say({ cmd: '$history', ref: 1, param: { limit: 50 } })
        say({ cmd: '$join', ref: 2, ...(claim === null ? {} : { param: { position: claim.position } }) })
      }
      if (cmd === '$ack' && ref === 1) wrong('history-to-a-stranger', frame)
      if (cmd === '$joined' && ref === 2) {
        if (claim?.forged && param.outcome.kind !== 'gap') wrong('forged-position', frame)
        for (let id = 1; id <= IDS; id++) {
          const n = FIRST_NUMBER + visit * IDS + id
          mine.add(n)
          say({ cmd: 'say', id, param: { n } })
        }
      }
      if (cmd === '$left' && ref === 3) {
        left = true
        say({ cmd: '$join', ref: 4, channel: elsewhere })
      }
      // Who has left is told what became of its commands, and no reply, whatever channel it names.
      if (cmd === '$joined' && ref === 4) {
        for (let id = 1; id <= IDS; id++) {
          for (const name of [channel, elsewhere]) say({ cmd: 'say', id, channel: name, param: { n: AGAIN } })
        }
      }
      if (cmd !== '$ack' || frame.id === undefined) return
      if (left && param.reply !== undefined && param.reply.n !== AGAIN) wrong('reply-to-who-left', frame)
      if (!left && !mine.has(param.reply?.n)) wrong('answer-of-another', frame)
    }
    simulation.clock.after(STAYS_MS / 2, () => ws.readyState === 1 && say({ cmd: '$leave', ref: 3 }))
    simulation.clock.after(STAYS_MS, () => ws.close(1000))
  }

  /** A position that was given out, or one that never was: of another log, from the future, with another tag or epoch. */
  #claim(channel: string, elsewhere: string): Claim | null {
    const real = this.#simulation.stored(channel).at(-1 - this.#chance.below(3))
    const other = this.#simulation.stored(elsewhere).at(-1)
    if (real === undefined) return null
    const { epoch, offset, tag } = real
    return this.#chance.pick<Claim>([
      { position: { epoch, offset, tag }, forged: false },
      { position: { epoch, offset: offset + 1_000, tag }, forged: true },
      { position: { epoch, offset, tag: 'AAAAAAAA' }, forged: true },
      { position: { epoch: 'AAAAAAAAAAAA', offset, tag }, forged: true },
      { position: { epoch, offset, tag: other?.tag ?? 'BBBBBBBB' }, forged: true }
    ])
  }
}
