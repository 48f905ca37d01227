/** What applications send and see. */
export interface Message<Param = unknown> {
  /** The channel that the message is about. */
  readonly channel: string
  /** The event or command; names that begin with `$` are the protocol's own. */
  readonly cmd: string
  readonly param: Param
  /** The sender's profile id, set by the server and never taken from a client. */
  readonly from?: string
}

/** One JSON object on the wire (docs/protocol.md). Which fields stand depends on `cmd`. */
export interface Frame {
  readonly channel?: string
  /** The channel that a message was delivered through, where it names another one. */
  readonly via?: string
  readonly cmd: string
  readonly param?: unknown
  readonly from?: string
  /** Numbers a command within its session: 1, 2, 3 … over all channels. */
  readonly id?: number
  /** Numbers a request (`$join`, `$leave`, `$presence`), chosen by the client. */
  readonly ref?: number
  /** Place in the channel's log; only in channels that have one. */
  readonly offset?: number
  readonly tag?: string
}

/** A frame as it came. */
export interface ReceivedFrame extends Frame {
  /** What it was read from. */
  readonly text: string
}

/** A value that is sent as it was received: its text goes out again, byte for byte. */
export class ReceivedValue {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }

  get value(): unknown {
    return JSON.parse(this.text)
  }
}

/** Why a text is no frame. `message` is safe to show to the peer. */
export class FrameError extends Error {
  readonly code = 'bad-frame'
  /** The frame's id, where that much of it could be read: its sender waits for an answer. */
  id?: number
}

/** Fields that a client may send; the last four are the server's to set and are ignored. */
const KNOWN_FIELDS = new Set(['channel', 'cmd', 'param', 'id', 'ref', 'from', 'via', 'offset', 'tag'])

export interface DecodeOptions {
  /** Deepest nesting of objects and arrays, the frame itself being 1. */
  readonly maxDepth: number
  /** Refuse top-level fields that the protocol does not know, and numbers that it does not count by. */
  readonly strict: boolean
}

/**
 * Reads a client's frame.
 * @throws {FrameError} where the text is not one JSON object, nests deeper than `maxDepth`, repeats a key, or holds the
 * key `__proto__`; and where a field is of the wrong type
 */
export function decodeFrame(text: string, options: DecodeOptions): ReceivedFrame {
  const value = parse(text)
  try {
    if (countKeys(value, options.maxDepth) !== countColons(text)) throw flawOf(text, options.maxDepth)
    return frameOf(text, value, options.strict)
  } catch (error) {
    if (error instanceof FrameError && isCount(value.id)) error.id = value.id
    throw error
  }
}

function frameOf(text: string, value: Record<string, unknown>, strict: boolean): ReceivedFrame {
  const { channel, cmd, param, id, ref } = value
  const known = count(channel) + count(cmd) + count(param) + count(id) + count(ref)
  // Most have no other field, and need not be looked through.
  const keys = strict ? Object.keys(value) : []
  const unknown = keys.length > known ? keys.find(key => !KNOWN_FIELDS.has(key)) : undefined
  if (unknown !== undefined) throw new FrameError(`unknown field ${JSON.stringify(unknown.slice(0, 32))}`)
  if (typeof cmd !== 'string' || cmd.length === 0 || cmd.length > 128) {
    throw new FrameError('cmd must be a string of 1 to 128 characters')
  }
  if (channel !== undefined && typeof channel !== 'string') throw new FrameError('channel must be a string')
  if (strict && id !== undefined && !isCount(id)) throw new FrameError('id must be a positive integer')
  if (strict && ref !== undefined && !isCount(ref)) throw new FrameError('ref must be a positive integer')
  const frame: { -readonly [K in keyof ReceivedFrame]: ReceivedFrame[K] } = { cmd, text }
  if (param !== undefined) frame.param = param
  if (channel !== undefined) frame.channel = channel
  if (isCount(id)) frame.id = id
  if (isCount(ref)) frame.ref = ref
  return frame
}

function count(field: unknown): number {
  return field === undefined ? 0 : 1
}

/**
 * Writes a frame; fields that are undefined are left out.
 * @throws {TypeError | RangeError} as JSON.stringify does: cycles, BigInt, nesting too deep; also for a function or a symbol
 */
export function encodeFrame(frame: { readonly [K in keyof Frame]: Frame[K] | undefined }): string {
  let text = '{'
  if (frame.channel !== undefined) text += `"channel":${quoted(frame.channel)},`
  if (frame.via !== undefined) text += `"via":${quoted(frame.via)},`
  text += `"cmd":${quoted(frame.cmd!)}`
  if (frame.id !== undefined) text += `,"id":${frame.id}`
  if (frame.ref !== undefined) text += `,"ref":${frame.ref}`
  if (frame.param !== undefined) text += `,"param":${stringify(frame.param)}`
  if (frame.from !== undefined) text += `,"from":${JSON.stringify(frame.from)}`
  return `${text}}`
}

/** Text in which JSON escapes nothing. */
const PLAIN = /^[ !#-[\]-~]*$/

/** As JSON.stringify, which takes longer to begin than most names take to be looked through. */
function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text)
}

/** The text of a frame with its place in the log, which is not stored with it. */
export function withPlace(text: string, offset: number, tag: string): string {
  return `${text.slice(0, -1)},"offset":${offset},"tag":"${tag}"}`
}

/** The param of a frame as its sender wrote it; null where there is none. */
export function receivedParam(text: string): ReceivedValue | null {
  let depth = 0
  let start = -1
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) {
      const end = endOfString(text, i)
      const colon = depth === 1 && start < 0 && stringAt(text, i, end) === 'param' ? text.indexOf(':', end) : -1
      // A value of the same text is followed by a comma or a brace.
      if (colon > 0 && text.slice(end + 1, colon).trim() === '') start = colon + 1
      i = end
    } else if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++
    else if (code === CLOSE_BRACE || code === CLOSE_BRACKET) depth--
    const ends = depth === 0 || (depth === 1 && code === COMMA)
    if (ends && start >= 0) return new ReceivedValue(text.slice(start, i).trim())
  }
  return null
}

function stringify(param: unknown): string {
  if (param instanceof ReceivedValue) return param.text
  const text: string | undefined = JSON.stringify(param)
  if (text === undefined) throw new TypeError(`a ${typeof param} has no JSON form`)
  return text
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0
}

function parse(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw new FrameError('the frame is not JSON')
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FrameError('the frame is not a JSON object')
  }
  return value as Record<string, unknown>
}

/**
 * The keys of a value and of all within it; not a number where it nests deeper than `depth`, or holds the key `__proto__`. Each key in a text is followed by
 * a colon, so that a text has more of them where one of two equal keys was lost.
 */
function countKeys(value: object, depth: number): number {
  if (depth === 0) return Number.NaN
  let count = 0
  if (Array.isArray(value)) {
    for (const item of value) if (typeof item === 'object' && item !== null) count += countKeys(item, depth - 1)
    return count
  }
  const keys = Object.keys(value)
  for (const key of keys) {
    if (key === '__proto__') return Number.NaN
    const item = (value as Record<string, unknown>)[key]
    if (typeof item === 'object' && item !== null) count += countKeys(item, depth - 1)
  }
  return count + keys.length
}

function countColons(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === QUOTE) i = endOfString(text, i)
    else if (code === COLON) count++
  }
  return count
}

const QUOTE = 0x22
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const COMMA = 0x2c

/**
 * What is wrong with an object's text that JSON.parse accepted, where something is. JSON.parse alone would let the last of two equal keys win in silence,
 * where another reader might take the first; and it takes any depth, at which JSON.stringify later throws.
 */
function flawOf(text: string, maxDepth: number): FrameError {
  const keys: Array<Set<string> | null> = []
  let expectsKey = false
  let flaw: FrameError | null = null
  for (let i = 0; flaw === null; i++) {
    switch (text.charCodeAt(i)) {
      case QUOTE: {
        const end = endOfString(text, i)
        if (expectsKey) flaw = flawOfKey(text, i, end, keys[keys.length - 1]!)
        expectsKey = false
        i = end
        break
      }
      case OPEN_BRACE:
      case OPEN_BRACKET:
        expectsKey = text.charCodeAt(i) === OPEN_BRACE
        keys.push(expectsKey ? new Set() : null)
        if (keys.length > maxDepth) flaw = new FrameError(`the frame nests deeper than ${maxDepth}`)
        break
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        keys.pop()
        if (keys.length === 0) flaw = new FrameError('the frame has keys that cannot be told apart')
        expectsKey = false
        break
      case COMMA:
        expectsKey = keys[keys.length - 1] !== null
        break
    }
  }
  return flaw
}

/** The index of the quote that ends the string which begins at `from`. */
function endOfString(text: string, from: number): number {
  let end = from
  for (;;) {
    end = text.indexOf('"', end + 1)
    let back = end - 1
    while (text.charCodeAt(back) === BACKSLASH) back--
    if ((end - back) % 2 === 1) return end
  }
}

/** The string whose quotes are there. */
function stringAt(text: string, from: number, end: number): string {
  const raw = text.slice(from + 1, end)
  return raw.includes('\\') ? JSON.parse(text.slice(from, end + 1)) : raw
}

function flawOfKey(text: string, from: number, end: number, seen: Set<string>): FrameError | null {
  const key = stringAt(text, from, end)
  if (key === '__proto__') return new FrameError('the key __proto__ is not allowed')
  if (seen.has(key)) return new FrameError(`the key ${JSON.stringify(key.slice(0, 32))} is repeated`)
  seen.add(key)
  return null
}
