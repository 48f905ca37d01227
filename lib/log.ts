/** The part of a Fastify logger that we use. */
export interface Logger {
  error(details: object, message: string): void
  warn(details: object, message: string): void
  info(details: object, message: string): void
  debug(details: object, message: string): void
  child(bindings: Record<string, unknown>): Logger
}

/** C0 and C1 controls, line and paragraph separators, and what turns the direction of text: all that can forge a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it looks for
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g

/** Text of a stranger as a log line may hold it: no control or direction characters, at most 256 characters. */
export function loggable(text: string): string {
  const clean = text.slice(0, 257).replace(UNSAFE, '\ufffd')
  return clean.length > 256 ? `${clean.slice(0, 255)}…` : clean
}
