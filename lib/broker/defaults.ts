import { Type } from '@sinclair/typebox'

/** A bound, of which each is at least 1. */
export const bound = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER })

/** Options over their defaults; one that is given as undefined is not given. */
export function withDefaults<D extends object, O extends object>(defaults: D, options: O): D & O {
  return {
    ...defaults,
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
  } as D & O
}
