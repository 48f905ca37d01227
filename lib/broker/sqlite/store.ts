import type { Commit } from '../broker.ts'
import type { Driver, Statement } from './driver.ts'
import { closeFile, type FileOptions, openFile, watchFile } from './file.ts'
import { position } from './log-head.ts'
import { LogReader } from './log-reader.ts'
import { LogTable } from './log-table.ts'
import { disown } from './owner.ts'
import type { Answers, CommitAnswer, Moment, Place, Reply, Request } from './request.ts'
import { SessionTable } from './session-table.ts'
import { StoreError, toFailure } from './store-error.ts'

/** How much a file may hold in all. */
export interface Bounds {
  readonly channels: number
  readonly bytes: number
  readonly sessions: number
  readonly results: number
  readonly replyCharacters: number
}

export interface StoreOptions extends Omit<FileOptions, 'epoch' | 'now'> {
  readonly bounds: Bounds
}

type Answer = Answers[keyof Answers]

const MOVED = 'the file was moved, removed or replaced while it was open'

interface Opened {
  readonly logs: LogTable
  readonly reader: LogReader
  readonly sessions: SessionTable
  readonly begin: () => void
  readonly commit: () => void
  readonly rollback: () => void
  /** Whether another file, or none, lies where it was. */
  readonly moved: ReturnType<typeof watchFile>
  readonly close: () => boolean
}

/** A file that answers groups of requests, each of which costs one write to the disk. */
export class Store {
  /** Where a damaged file was moved when the store was opened. */
  readonly movedTo: string | null
  readonly #driver: Driver
  readonly #options: StoreOptions
  #file: Opened
  /** Not where a file that had to be closed could not be opened again. */
  #isOpen = true
  #writing = false
  /** Whether a transaction failed since the file was last known to take another. */
  #failed = false

  /** @throws FST_CHANNELS_STORE_… */
  constructor(driver: Driver, options: StoreOptions, moment: Moment) {
    this.#driver = driver
    this.#options = options
    const { opened, movedTo } = this.#open(options, moment)
    this.#file = opened
    this.movedTo = movedTo
  }

  #open(options: StoreOptions, { now, chance }: Moment): { opened: Opened; movedTo: string | null } {
    const { database, epoch, movedTo } = openFile(this.#driver, { ...options, epoch: chance, now })
    const [begin, commit, rollback] = ['BEGIN IMMEDIATE', 'COMMIT', 'ROLLBACK'].map(sql => database.prepare(sql)) as [
      Statement,
      Statement,
      Statement
    ]
    const moved = watchFile(options.path)
    moved('')
    const opened = {
      logs: new LogTable(database, epoch, options.bounds),
      reader: new LogReader(database),
      sessions: new SessionTable(database, options.bounds),
      begin: () => void begin.run(),
      commit: () => void commit.run(),
      rollback: () => void rollback.run(),
      moved,
      close: () => closeFile(database, moved('') ? 'moved' : 'whole')
    }
    return { opened, movedTo }
  }

  /** One reply to each. What writes is done first and in order, all of it or nothing; what reads sees it done. */
  run(requests: readonly Request[], moment: Moment): Reply[] {
    try {
      if (this.#failed) this.#recover(moment)
    } catch (error) {
      const failure = toFailure(error)
      return requests.map(() => ({ failure }))
    }
    const replies = new Array<Reply>(requests.length)
    const writes = requests.flatMap((request, i) => (isWrite(request) ? [i] : []))
    try {
      const answers = writes.map(i => this.#write(requests[i]!, moment))
      this.#finish(moment)
      for (const [n, i] of writes.entries()) replies[i] = { value: answers[n]! }
    } catch (error) {
      this.#undo()
      const failure = toFailure(error)
      for (const i of writes) replies[i] = { failure }
    }
    for (const [i, request] of requests.entries()) if (!isWrite(request)) replies[i] = this.#answer(request, moment)
    this.#file.logs.uncache()
    this.#file.sessions.uncache()
    return replies
  }

  /** After a failure: what could be neither ended nor undone stands in the way of all that follows, unless it is opened anew. */
  #recover(moment: Moment): void {
    if (!this.#isOpen || !this.#isUsable()) this.#reopen(moment)
    this.#failed = false
  }

  #isUsable(): boolean {
    quietly(this.#file.rollback)
    try {
      this.#assertThere()
      this.#file.begin()
      this.#file.rollback()
      return true
    } catch {
      return false
    }
  }

  #reopen(moment: Moment): void {
    // One that lies elsewhere stands in nobody's way, and may come back.
    if (!this.#file.moved('')) this.#close()
    try {
      const { opened } = this.#open({ ...this.#options, onDamaged: 'refuse' }, moment)
      this.#close()
      this.#file = opened
      this.#isOpen = true
    } catch (error) {
      // Whatever it is: this is no longer the opening, at which each has a remedy of its own.
      throw new StoreError('FST_CHANNELS_STORE_FAILED', [(error as Error).message], (error as Error).cause ?? error)
    }
  }

  /** Begins a transaction where there is none: what turns out to store nothing needs no disk. */
  #begin(): void {
    if (this.#writing) return
    this.#file.begin()
    this.#writing = true
  }

  #finish(moment: Moment): void {
    if (!this.#writing) return
    const { logs, sessions } = this.#file
    logs.settle(moment)
    sessions.settle(moment.now)
    this.#assertThere()
    this.#file.commit()
    this.#assertThere()
    this.#writing = false
    logs.committed()
    sessions.committed()
  }

  /** Before a commit, which is then undone; and after it, so that what is acknowledged was not written where nobody looks. */
  #assertThere(): void {
    const { moved } = this.#file
    if (moved('') || moved('-wal'))
      throw new StoreError('FST_CHANNELS_STORE_FAILED', [`${this.#options.path}: ${MOVED}`])
  }

  #undo(): void {
    this.#failed = true
    this.#writing = false
    const { logs, sessions, rollback } = this.#file
    // SQLite has undone it by itself after some failures, and refuses to do so again.
    quietly(rollback)
    logs.rolledBack()
    sessions.rolledBack()
  }

  #write(request: Request, moment: Moment): Answer {
    const { sessions } = this.#file
    if (request[0] === 'commit') return this.#commit(request[1], request[2], moment)
    const [kind, session, fence] = request as Extract<Request, readonly ['open' | 'end', ...unknown[]]>
    const known = sessions.record(session)
    if (known === null) return null
    const isNewer = kind === 'open' ? fence > known.fence : fence >= known.fence
    if (isNewer) {
      this.#begin()
      if (kind === 'open') sessions.fence(session, fence)
      else sessions.end(session)
    }
    return kind === 'open' ? known : null
  }

  #commit({ publications, command }: Commit, tags: readonly string[], moment: Moment): CommitAnswer {
    const { logs, sessions } = this.#file
    const refusal = command === null ? null : sessions.refusal(command)
    if (refusal !== null) return refusal
    if (publications.length === 0 && command === null) return { kind: 'stored', places: [] }
    this.#begin()
    const places = publications.map((publication, i): Place => logs.append(publication, tags[i]!, moment.now))
    const last = publications.at(-1)
    if (command !== null)
      sessions.add(command, last === undefined ? null : position(logs.head(last.channel)), moment.now)
    return { kind: 'stored', places }
  }

  #answer(request: Request, moment: Moment): Reply {
    try {
      return { value: this.#read(request, moment) }
    } catch (error) {
      return { failure: toFailure(error) }
    }
  }

  #read(request: Request, { now }: Moment): Answer {
    const { logs, reader, sessions } = this.#file
    if (request[0] === 'heads') return request[1].map(channel => position(logs.head(channel)))
    if (request[0] === 'read') return reader.read(logs.head(request[1]), request[2], request[3], now)
    const [, session, id] = request as Extract<Request, readonly ['result', ...unknown[]]>
    return sessions.result(session, id)
  }

  close(): void {
    this.#close()
    disown(this.#options.path)
  }

  #close(): void {
    if (this.#isOpen) this.#isOpen = !this.#file.close()
  }
}

function isWrite([kind]: Request): boolean {
  return kind === 'commit' || kind === 'open' || kind === 'end'
}

function quietly(task: () => void): void {
  try {
    task()
  } catch {
    // What matters of it was told already, or is told by what comes next.
  }
}
