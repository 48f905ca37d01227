/** Takes one line of what the socket does, and what it is about. */
export type DebugLogger = (line: string, details?: unknown) => void

/** The logger that the option `debug` means. */
export function debugLogger(debug: boolean | DebugLogger): DebugLogger {
  if (typeof debug === 'function') return debug
  // biome-ignore lint/suspicious/noConsole: a browser has no other log, and only who asked for it gets it
  return debug ? (line, details) => console.debug(`[channels] ${line}`, details ?? '') : () => {}
}
