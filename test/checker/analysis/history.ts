import type {
  Anomaly,
  Boot,
  Command,
  Entry,
  Fault,
  Final,
  Gap,
  Item,
  Join,
  Left,
  Revocation,
  Rule,
  Run,
  Stand,
  Subscriber,
  Told,
  Unlogged
} from '../records.ts'

export type View = Join | Run | Gap | Left | Stand

/** What is known of a run besides its records. */
export interface Setting {
  readonly broker: 'memory' | 'sqlite'
  readonly log: boolean
  /** Whether a channel keeps all that a run stores. */
  readonly deep: (channel: string) => boolean
}

/** All records of a run, sorted by what they are about. */
export class History {
  readonly setting: Setting
  readonly commands: Command[] = []
  readonly subscribers = new Map<string, Subscriber>()
  /** What each subscriber saw, in its order. */
  readonly views = new Map<string, View[]>()
  readonly entries: Entry[] = []
  readonly finals = new Map<string, Final>()
  readonly boots: Boot[] = []
  readonly revocations: Revocation[] = []
  readonly faults: Fault[] = []
  readonly unlogged: Unlogged[] = []
  anomalies: Anomaly[] = []
  /** Commands by `publisher n channel`. */
  readonly byName = new Map<string, Command>()

  constructor(setting: Setting, items: Iterable<Item>) {
    this.setting = setting
    for (const item of items) this.#add(item)
    this.boots.sort((a, b) => a.boot - b.boot)
    this.anomalies = this.anomalies.filter(anomaly => !this.#isExcused(anomaly))
  }

  found(rule: Rule, c: string, detail: string, s?: string, around: readonly string[] = []): void {
    this.anomalies.push({ k: 'anomaly', rule, c, ...(s === undefined ? {} : { s }), detail, around })
  }

  command(p: number, n: number, c: string): Command | undefined {
    return this.byName.get(`${p} ${n} ${c}`)
  }

  /**
   * Whether what was stored by one server process is still there for a later one: a memory does not outlive its process,
   * and a store that was put back to an earlier state has lost what came after that.
   */
  survives(boot: number, later: number): boolean {
    if (boot === later) return true
    if (this.setting.broker === 'memory') return false
    return this.boots.every(
      ({ boot: b, restored }) => restored === undefined || b <= boot || b > later || boot <= restored
    )
  }

  /** Whether what was stored by one server process is there at a time after that. */
  knownAt(boot: number, at: number): boolean {
    const later = this.boots.findLast(({ at: began }) => began < at)
    return later === undefined || later.boot <= boot || this.survives(boot, later.boot)
  }

  /** Whether another server process began while the command waited for its answer. */
  restarted({ at, done }: Command): boolean {
    return this.boots.some(boot => at < boot.at && boot.at < done)
  }

  /**
   * A store that was put back has forgotten answers that it gave after the copy. Who was revoked is told that a command of
   * theirs has run, and not what came of it: the publication is taken back, and the end of the membership follows.
   *
   * Without sessions nobody takes a connection over: what waits in one that its client has given up may still take effect,
   * after commands of the next one.
   */
  #isExcused({ rule, of, c = '', before, at = 0, s = '' }: Anomaly): boolean {
    if (rule === 'early-ack') {
      const next = this.views.get(s)?.find(view => view.k !== 'run' && view.at > at)
      return next?.k === 'left' && next.reason === 'revoked' && next.at - at < 5_000
    }
    if (rule === 'answer-changed' && before !== undefined) return this.boots.some(boot => forgot(boot, before, at))
    if (this.setting.log || rule !== 'reorder' || of === undefined) return false
    return this.command(of[0], of[1], c)?.end === 'unknown'
  }

  #add(item: Item): void {
    switch (item.k) {
      case 'command':
        this.commands.push(item)
        this.byName.set(`${item.p} ${item.n} ${item.c}`, item)
        break
      case 'subscriber':
        this.subscribers.set(item.s, item)
        this.views.set(item.s, [])
        break
      case 'join':
      case 'run':
      case 'gap':
      case 'left':
      case 'stand':
        this.views.get(item.s)!.push(item)
        break
      case 'entry':
        this.entries.push(item)
        break
      case 'final':
        this.finals.set(item.c, item)
        break
      case 'boot':
        this.boots.push(item)
        break
      case 'revocation':
        this.revocations.push(item)
        break
      case 'fault':
        this.faults.push(item)
        break
      case 'unlogged':
        this.unlogged.push(item)
        break
      case 'anomaly':
        this.anomalies.push(item)
    }
  }
}

/** Whether this process began with an older store between an answer and that time. An answer may come late, long after its process has ended. */
function forgot({ restored, boot, at: began }: Boot, before: Told, at: number): boolean {
  if (restored === undefined || began > at) return false
  return before.boot === undefined ? before.at < began : before.boot < boot
}
