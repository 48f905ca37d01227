/**
 * Runs code of the host's, which may be asynchronous whatever its type says; whatever it throws or rejects with goes to
 * `fail`. Undefined where it was done in this turn.
 */
export function attempt(task: () => unknown, fail: (error: unknown) => void): Promise<void> | undefined {
  try {
    const result = task()
    if (isThenable(result)) return Promise.resolve(result).then(() => {}, fail)
  } catch (error) {
    fail(error)
  }
  return undefined
}

/** Throws what a getter named `then` throws. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}
