import { connect as dial } from 'node:net'
import { WebSocket } from 'ws'
import { Chance } from '../fixtures/chance.ts'
import { mutantFrame, mutantRequest, mutantText } from '../fixtures/mutants.ts'
import { clientFrame, upgradeRequest } from '../fixtures/raw-socket.ts'

type Frame = { channel?: string; cmd: string; param?: any; id?: number; ref?: number; offset?: number; tag?: string }
type Found = (detail: string) => void

/** A link that speaks to the server in frames of its choice, and never minds how it ends. */
class Stranger {
  readonly #ws: WebSocket
  #frames: Frame[] = []
  #wake: (() => void) | null = null
  #over = false
  /** Of a refused handshake. */
  status: number | null = null

  constructor(port: number, user: string | null, protocols: string[]) {
    const headers = user === null ? {} : { 'x-user': user }
    this.#ws = new WebSocket(`ws://127.0.0.1:${port}/ws`, protocols, {
      headers,
      localAddress: '127.0.9.9',
      handshakeTimeout: 3_000
    })
    this.#ws.on('message', data => {
      this.#frames.push(JSON.parse(String(data)))
      this.#wake?.()
    })
    this.#ws.on('error', () => {})
    this.#ws.on('unexpected-response', (_request, response) => {
      this.status = response.statusCode ?? null
      this.#end()
    })
    this.#ws.on('close', () => this.#end())
  }

  send(frame: object): void {
    if (this.#ws.readyState === WebSocket.OPEN) this.#ws.send(JSON.stringify(frame))
  }

  /** The next frame that fits; null where none comes in time, or the link ends. */
  async next(fits: (frame: Frame) => boolean, ms = 3_000): Promise<Frame | null> {
    const deadline = performance.now() + ms
    for (;;) {
      const index = this.#frames.findIndex(fits)
      if (index >= 0) return this.#frames.splice(index, 1)[0]!
      const left = deadline - performance.now()
      if (this.#over || left <= 0) return null
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
  }

  ask(frame: Frame): Promise<Frame | null> {
    this.send(frame)
    return this.next(({ ref, id }) =>
      frame.ref === undefined ? id !== undefined && id === frame.id : ref === frame.ref
    )
  }

  close(): void {
    this.#ws.terminate()
  }

  #end(): void {
    this.#over = true
    this.#wake?.()
  }
}

/** Bytes, frames and requests that no client would send, beside the load; then requests for what is not the asker's. */
export async function garbage(port: number, log: boolean, seed: number, ms: number, found: Found): Promise<number> {
  const chance = new Chance(seed)
  const end = performance.now() + ms
  let tried = 0
  while (performance.now() < end) {
    const link = dial({ port, host: '127.0.0.1', localAddress: '127.0.9.8' })
    link.on('error', () => {})
    if (chance.oneIn(3)) link.write(mutantRequest(chance))
    else {
      link.write(upgradeRequest('/ws', { 'Sec-WebSocket-Protocol': 'channels.v1', 'X-User': 'garbage' }))
      for (let i = 0; i < 8; i++) link.write(chance.oneIn(2) ? mutantFrame(chance) : clientFrame(mutantText(chance)))
    }
    tried += 8
    await new Promise(resolve => setTimeout(resolve, 20))
    link.destroy()
  }
  tried += await pointed(port, log, found)
  return tried
}

const V1 = ['channels.v1']
const FORGED = { epoch: 'forged', offset: 5, tag: 'AAAAAAAA' }

async function pointed(port: number, log: boolean, found: Found): Promise<number> {
  const strangers = [new Stranger(port, 'garbage1', V1), new Stranger(port, null, V1)]
  const [known, nobody] = strangers as [Stranger, Stranger]
  try {
    const welcome = await known.next(({ cmd }) => cmd === '$welcome')
    if (welcome === null) return 0
    const tried = (await withoutAccess(nobody, known, found)) + (await idsGoBack(known, log, found))
    if (!log) return tried
    const other = new Stranger(port, 'garbage2', ['channels.v1', resume({ s: welcome.param.session, n: 1, p: {} })])
    strangers.push(other)
    const answer = await other.next(({ cmd }) => cmd === '$welcome')
    if (answer?.param.resumed) found('a session was resumed by another user')
    return (
      tried + 1 + (await malformedResumes(port, found)) + (await positions(known, found)) + (await pages(known, found))
    )
  } finally {
    for (const stranger of strangers) stranger.close()
  }
}

/** Who is nobody is not let in; and who is no member of a channel learns nothing of it. */
async function withoutAccess(nobody: Stranger, known: Stranger, found: Found): Promise<number> {
  const welcome = await nobody.next(({ cmd }) => cmd === '$welcome', 500)
  if (welcome !== null) found('who is nobody was let in')
  const channel = 'heavy-0'
  const requests = [
    { channel, cmd: '$presence', ref: 1 },
    { channel, cmd: '$history', ref: 2, param: { limit: 10 } }
  ]
  for (const request of requests) {
    const answer = await known.ask(request)
    if (answer !== null && answer.cmd !== '$nack')
      found(`${request.cmd} without membership: ${JSON.stringify(answer).slice(0, 200)}`)
  }
  return requests.length + 1
}

/** An id that was used gets what it got, whatever it bears now. */
async function idsGoBack(known: Stranger, log: boolean, found: Found): Promise<number> {
  const channel = 'lobby'
  const first = await known.ask({ channel, cmd: 'fail', id: 1, param: { p: 0 } })
  await known.ask({ channel, cmd: 'fail', id: 2, param: { p: 0 } })
  const again = await known.ask({ channel, cmd: 'say', id: 1, param: { p: -1 } })
  const ahead = await known.ask({ channel, cmd: 'say', id: 99, param: { p: -1 } })
  const code = (frame: Frame | null): string => frame?.param?.code ?? frame?.cmd ?? 'none'
  const fits = again === null || code(again) === 'result-expired' || (log && code(again) === code(first))
  if (!fits) found(`an id that was used: first ${code(first)}, then ${code(again)}`)
  if (ahead !== null && code(ahead) !== 'resend-from') found(`an id that skips numbers: ${code(ahead)}`)
  return 4 + (await repliesAfterLeaving(known, found))
}

/** A reply is of its channel: nobody who has left is told it, by whatever name; of what is stored, and of what is not. */
async function repliesAfterLeaving(known: Stranger, found: Found): Promise<number> {
  const channel = 'deep-99'
  const param = { p: -1, n: 1, c: channel, k: 0, z: '' }
  const commands = [
    { cmd: 'say', id: 3, param },
    { cmd: 'nudge', id: 4, param }
  ]
  await known.ask({ channel, cmd: '$join', ref: 300 })
  for (const command of commands) await known.ask({ ...command, channel })
  await known.ask({ channel, cmd: '$leave', ref: 301 })
  for (const name of ['lobby', channel]) {
    for (const command of commands) {
      const late = await known.ask({ ...command, channel: name })
      if (late?.param?.reply !== undefined) found(`a reply after leaving, by ${name}: ${JSON.stringify(late)}`)
    }
  }
  return 4
}

async function malformedResumes(port: number, found: Found): Promise<number> {
  const texts = [
    'resume.',
    'resume.e30',
    `resume.${'A'.repeat(3_000)}`,
    resume({ n: -1, p: {} }),
    resume({ s: 1, n: 1, p: [] })
  ]
  for (const text of texts) {
    const stranger = new Stranger(port, 'garbage1', ['channels.v1', text])
    await stranger.next(({ cmd }) => cmd === '$welcome', 1_000)
    const { status } = stranger
    stranger.close()
    if (status !== null && status !== 400 && status !== 429 && status !== 503)
      found(`${text.slice(0, 60)}: status ${status}`)
  }
  return texts.length
}

/** Positions that the log cannot vouch for: a gap, or a refusal, and never `recovered`. */
async function positions(known: Stranger, found: Found): Promise<number> {
  let ref = 100
  const join = (channel: string, position?: object): Promise<Frame | null> =>
    known.ask({ channel, cmd: '$join', ref: ++ref, ...(position === undefined ? {} : { param: { position } }) })
  const leave = (channel: string): Promise<Frame | null> => known.ask({ channel, cmd: '$leave', ref: ++ref })
  const [here, there] = [await join('heavy-0'), await join('shallow-2')]
  const [head, foreign] = [here?.param?.position, there?.param?.position]
  if (head === undefined || foreign === undefined) return 0
  const forged = [
    FORGED,
    { ...head, offset: head.offset + 1_000 },
    { ...head, tag: 'AAAAAAAA' },
    ...(foreign.tag === '' || foreign.tag === head.tag ? [] : [foreign]),
    { epoch: head.epoch, offset: -1, tag: 'x' },
    { epoch: '', offset: 1e300, tag: {} }
  ]
  for (const position of forged) {
    await leave('heavy-0')
    const answer = await join('heavy-0', position)
    const kind = answer?.param?.outcome?.kind
    if (kind !== undefined && kind !== 'gap')
      found(`a forged position ${JSON.stringify(position)} of ${JSON.stringify(head)}: ${kind}`)
  }
  await leave('heavy-0')
  await leave('shallow-2')
  return forged.length
}

async function pages(known: Stranger, found: Found): Promise<number> {
  const params = [
    { limit: 1e9 },
    { limit: -1 },
    { limit: 'x' },
    {},
    { limit: 5, before: FORGED, after: FORGED },
    { limit: 5, after: FORGED }
  ]
  let ref = 200
  for (const param of params) {
    const answer = await known.ask({ channel: 'lobby', cmd: '$history', ref: ++ref, param })
    if (answer?.cmd === '$ack') found(`$history ${JSON.stringify(param)}: ${JSON.stringify(answer).slice(0, 200)}`)
  }
  return params.length
}

function resume(value: object): string {
  return `resume.${Buffer.from(JSON.stringify(value)).toString('base64url')}`
}
