/** Values by key, any number for each. A key with one value, as most have, needs no set for it. */
export class MultiMap<K, V extends object> {
  readonly #byKey = new Map<K, V | Set<V>>()

  /** How many keys have a value. */
  get size(): number {
    return this.#byKey.size
  }

  add(key: K, value: V): void {
    const known = this.#byKey.get(key)
    if (known instanceof Set) known.add(value)
    else if (known !== value) this.#byKey.set(key, known === undefined ? value : new Set([known, value]))
  }

  delete(key: K, value: V): void {
    const known = this.#byKey.get(key)
    if (known instanceof Set) known.delete(value)
    if (known === value || (known instanceof Set && known.size === 0)) this.#byKey.delete(key)
  }

  /** Those of a key as they are now, in the order in which they were added. */
  get(key: K): readonly V[] {
    const known = this.#byKey.get(key)
    if (known instanceof Set) return [...known]
    return known === undefined ? [] : [known]
  }

  count(key: K): number {
    const known = this.#byKey.get(key)
    if (known instanceof Set) return known.size
    return known === undefined ? 0 : 1
  }
}
