/** A command, from its sending to its one end. */
export interface Deed {
  readonly client: string
  readonly channel: string
  readonly cmd: string
  readonly n: number
  /** How often it has ended. */
  ends: number
  end: 'acked' | 'unknown' | 'refused' | null
  code: string
  position: { readonly offset: number; readonly epoch: string; readonly tag: string } | null
  reply: unknown
  /** What the ack said of how it is kept. */
  stored: string
  /** Whether its sender waited no longer. */
  late: boolean
}

export interface Published {
  readonly n: number
  readonly cmd: string
  stored: boolean
}

export interface Page {
  readonly client: string
  readonly user: string
  readonly channel: string
  readonly messages: readonly any[]
}

/** What was done in a story, and what came of it. */
export class Deeds {
  readonly commands: Deed[] = []
  readonly publications = new Map<number, Published>()
  readonly pages: Page[] = []
  readonly counts: Record<string, number> = {}

  /** `isLate`: whether its sender would have waited no longer. */
  sent(client: string, channel: string, cmd: string, n: number, sending: Promise<any>, isLate: () => boolean): void {
    const deed: Deed = {
      client,
      channel,
      cmd,
      n,
      ends: 0,
      end: null,
      code: '',
      position: null,
      reply: undefined,
      stored: '',
      late: false
    }
    this.commands.push(deed)
    const settle = (end: 'acked' | 'unknown' | 'refused', details: Partial<Deed>): void => {
      deed.ends++
      Object.assign(deed, { end, ...details })
      this.count(end)
    }
    sending.then(
      ({ position, reply, stored }) => settle('acked', { position, reply, stored }),
      error => settle(error.code === 'unknown' ? 'unknown' : 'refused', { code: error.code, late: isLate() })
    )
  }

  published(n: number, cmd: string, publishing: Promise<unknown>): void {
    const publication: Published = { n, cmd, stored: false }
    this.publications.set(n, publication)
    publishing.then(
      () => {
        publication.stored = cmd !== 'typing'
        this.count('published')
      },
      () => this.count('not published')
    )
  }

  asked(client: string, user: string, channel: string, asking: Promise<any>): void {
    asking.then(
      ({ messages }) => {
        this.pages.push({ client, user, channel, messages })
        this.count('pages')
      },
      error => this.count(`page ${error.code}`)
    )
  }

  revoking(revoking: Promise<unknown>, done: () => void): void {
    revoking.then(() => {
      done()
      this.count('revoked')
    })
  }

  count(what: string): void {
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}
