/** A value that is there at once, or later: what answers in the same turn costs the hot paths no wait. */
export type Awaitable<T> = T | Promise<T>

/** Goes on with a value in the turn in which it is there. */
export function chain<T, R>(value: Awaitable<T>, next: (value: T) => Awaitable<R>): Awaitable<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
