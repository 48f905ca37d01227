/** An entry, between the one that was set before it and the one after it. */
class Entry<K, V> {
  readonly key: K
  value: V
  older: Entry<K, V> | null = null
  newer: Entry<K, V> | null = null

  constructor(key: K, value: V) {
    this.key = key
    this.value = value
  }
}

/**
 * A map that knows which of its entries was set first, whatever came and went before. A Map has the same order and would have to look for it: V8 leaves the
 * places of deleted entries in its table until it makes a new one, so that with 100,000 entries a step of a queue takes 20 µs.
 */
export class AgedMap<K, V> {
  readonly #entries = new Map<K, Entry<K, V>>()
  #oldest: Entry<K, V> | null = null
  #newest: Entry<K, V> | null = null

  get size(): number {
    return this.#entries.size
  }

  get oldest(): { readonly key: K; readonly value: V } | null {
    return this.#oldest
  }

  has(key: K): boolean {
    return this.#entries.has(key)
  }

  get(key: K): V | undefined {
    return this.#entries.get(key)?.value
  }

  /** The newest from now on, also where it was there before. */
  set(key: K, value: V): void {
    let entry = this.#entries.get(key)
    if (entry === undefined) {
      entry = new Entry(key, value)
      this.#entries.set(key, entry)
    } else {
      // Not a new one: what the table keeps of the old ones would have to be kept by the next collections.
      this.#unlink(entry)
      entry.value = value
    }
    entry.older = this.#newest
    if (this.#newest === null) this.#oldest = entry
    else this.#newest.newer = entry
    this.#newest = entry
  }

  delete(key: K): boolean {
    const entry = this.#entries.get(key)
    if (entry === undefined) return false
    this.#entries.delete(key)
    this.#unlink(entry)
    return true
  }

  #unlink(entry: Entry<K, V>): void {
    const { older, newer } = entry
    if (older === null) this.#oldest = newer
    else older.newer = newer
    if (newer === null) this.#newest = older
    else newer.older = older
    // Whoever still holds it must not hold all that came after it.
    entry.older = entry.newer = null
  }

  clear(): void {
    this.#entries.clear()
    this.#oldest = null
    this.#newest = null
  }
}
