/** The longest channel name, in bytes (its characters are all ASCII). */
export const MAX_CHANNEL_BYTES = 128

const NAME = /^[A-Za-z0-9._~%-]{1,128}$/
const PARAMETER = /:([A-Za-z][A-Za-z0-9_]*)/g

/** Whether a text can be the name of a channel: `[A-Za-z0-9._~%-]`, 1 to 128 bytes. */
export function isChannelName(text: string): boolean {
  return NAME.test(text)
}

/** Percent-encodes a parameter for use in a channel name; `also` is one more character to encode. */
export function encodeSegment(value: string, also = ''): string {
  let text = encodeURIComponent(value).replace(/[!'()*]/g, percent)
  if (also !== '') text = text.replaceAll(also, percent)
  return text
}

/** The channel of one user's own messages. */
export function userChannel(userId: string): string {
  return `user-${encodeSegment(userId)}`
}

function percent(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/** A pattern such as `chat-room-:room`, compiled. */
export interface ChannelPattern {
  readonly pattern: string
  readonly parameters: readonly string[]
  /** Length of the literal text before the first parameter: the longer, the more particular. */
  readonly prefixLength: number
  /** The parameters of a name, decoded; null where the name is not of this pattern or not in its canonical spelling. */
  match(name: string): Record<string, string> | null
  /**
   * The name for these parameters.
   * @throws {TypeError} where one is missing, empty, no string, not well-formed Unicode, or the name would be over 128 bytes
   */
  name(params: Readonly<Record<string, string>>): string
}

/**
 * Compiles a pattern. A parameter ends where the next literal character begins, and that character is percent-encoded
 * inside the parameter, so that no two sets of parameters share a name.
 * @throws {TypeError} where the pattern has a character no name may have, repeats a parameter, or puts two side by side
 */
export function compilePattern(pattern: string): ChannelPattern {
  const found = [...pattern.matchAll(PARAMETER)]
  const parameters = found.map(m => m[1]!)
  const literals = pattern.split(/:[A-Za-z][A-Za-z0-9_]*/)
  if (new Set(parameters).size !== parameters.length) throw new TypeError(`pattern "${pattern}" repeats a parameter`)
  if (literals.slice(1, -1).includes('')) throw new TypeError(`pattern "${pattern}" has two parameters side by side`)
  const text = literals.join('')
  if (pattern.length === 0 || (text !== '' && !isChannelName(text)) || text.includes('%')) {
    throw new TypeError(`pattern "${pattern}" may have [A-Za-z0-9._~-] and :parameters only, 1 to 128 characters`)
  }
  const stops = parameters.map((_, i) => literals[i + 1]!.charAt(0))
  const regexp = new RegExp(`^${literals.map((literal, i) => escapeLiteral(literal) + segment(stops[i])).join('')}$`)

  const name = (params: Readonly<Record<string, string>>): string => {
    let result = literals[0]!
    parameters.forEach((key, i) => {
      const value = params[key]
      if (typeof value !== 'string' || value === '')
        throw new TypeError(`"${key}" of "${pattern}" must be a non-empty string`)
      if (!isWellFormed(value)) throw new TypeError(`"${key}" of "${pattern}" is not well-formed Unicode`)
      result += encodeSegment(value, stops[i]) + literals[i + 1]!
    })
    if (result.length > MAX_CHANNEL_BYTES)
      throw new TypeError(`a name of "${pattern}" is over ${MAX_CHANNEL_BYTES} bytes`)
    return result
  }

  const match = (candidate: string): Record<string, string> | null => {
    if (candidate.length > MAX_CHANNEL_BYTES) return null
    const groups = regexp.exec(candidate)
    if (groups === null) return null
    const params: Record<string, string> = Object.create(null)
    try {
      parameters.forEach((key, i) => {
        params[key] = decodeURIComponent(groups[i + 1]!)
      })
      return name(params) === candidate ? params : null
    } catch {
      return null
    }
  }

  return { pattern, parameters, prefixLength: literals[0]!.length, match, name }
}

/** What a parameter may look like in a name: any of a name's characters but the one that ends it. */
function segment(stop: string | undefined): string {
  if (stop === undefined) return ''
  const punctuation = ['.', '~', '-'].filter(character => character !== stop).join('')
  return `([A-Za-z0-9_%${punctuation}]+)`
}

function escapeLiteral(literal: string): string {
  return literal.replace(/[.~-]/g, '\\$&')
}

/** A lone surrogate has no UTF-8 form; encodeURIComponent throws on one. */
function isWellFormed(value: string): boolean {
  try {
    encodeURIComponent(value)
    return true
  } catch {
    return false
  }
}

/** Names in which each `:parameter` stands for any text: `NameOf<'chat-room-:room'>` is `chat-room-${string}`. */
export type NameOf<P extends string> = string extends P
  ? string
  : P extends `${infer Head}:${infer Tail}`
    ? `${Head}${string}${NameOf<AfterParameter<Tail>>}`
    : P

/** The parameters of a pattern: `ParamsOf<'chat-room-:room'>` is `{ room: string }`. */
export type ParamsOf<P extends string> = string extends P
  ? Record<string, string>
  : { readonly [K in ParameterNames<P>]: string }

type ParameterNames<P extends string> = P extends `${string}:${infer Tail}`
  ? ParameterName<Tail> | ParameterNames<AfterParameter<Tail>>
  : never

type ParameterName<T extends string> = T extends `${infer C}${infer Rest}`
  ? C extends Word
    ? `${C}${ParameterName<Rest>}`
    : ''
  : ''

type AfterParameter<T extends string> = T extends `${infer C}${infer Rest}`
  ? C extends Word
    ? AfterParameter<Rest>
    : T
  : ''

type Lower =
  | ('a' | 'b' | 'c' | 'd' | 'e' | 'f' | 'g' | 'h' | 'i' | 'j' | 'k' | 'l' | 'm')
  | ('n' | 'o' | 'p' | 'q' | 'r' | 's' | 't' | 'u' | 'v' | 'w' | 'x' | 'y' | 'z')
type Word = Lower | Uppercase<Lower> | '0' | '1' | '2' | '3' | '4' | '5' | '6' | '7' | '8' | '9' | '_'
