/** Logs an object and a sentence, or a sentence alone. */
export interface LogFunction {
  (details: object, message?: string): void
  (message: string): void
}

/** The part of a Fastify logger that every logger of Fastify's has. */
export interface Logger {
  readonly error: LogFunction
  readonly warn: LogFunction
  readonly info: LogFunction
  readonly debug: LogFunction
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
