/** Takes one line of what the socket does, and what it is about. */
export type DebugLogger = (line: string, details?: unknown) => void

/** Tells who asked for it by the option `debug`. */
export function log(debug: boolean | DebugLogger, line: string, details: unknown): void {
  // biome-ignore lint/suspicious/noConsole: a browser has no other log, and only who asked for it gets it
  if (debug) (debug === true ? console.debug : debug)(line, details)
}
