/** Bounds a cache by what was put there first: what is asked for again is read again. */
export function forgetFirst(map: Map<string, unknown>, most: number): void {
  if (map.size <= most) return
  // A few at once: to find the first, what was deleted before it is walked over.
  const excess = map.size - most + Math.floor(most / 16)
  for (const key of [...map.keys()].slice(0, excess)) map.delete(key)
}
