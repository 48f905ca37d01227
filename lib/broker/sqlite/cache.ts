/** Bounds a cache by what was put there first: what is asked for again is read again. */
export function forgetFirst(map: Map<string, unknown>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return
    map.delete(key)
  }
}
