import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'
import type { Item } from './records.ts'

/** Writes what a process of a run records, one JSON object a line. */
export class Journal {
  readonly #file: number
  #lines: string[] = []

  constructor(path: string) {
    this.#file = openSync(path, 'a')
  }

  write(item: Item): void {
    if (this.#lines.push(JSON.stringify(item)) > 1000) this.flush()
  }

  flush(): void {
    if (this.#lines.length > 0) writeSync(this.#file, `${this.#lines.join('\n')}\n`)
    this.#lines = []
  }

  close(): void {
    this.flush()
    closeSync(this.#file)
  }
}

export function readJournal(path: string): Item[] {
  const items: Item[] = []
  const bytes = readFileSync(path)
  // Line by line: the whole might be longer than a string may be.
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(10, from)
    items.push(JSON.parse(bytes.toString('utf8', from, end)))
    from = end + 1
  }
  return items
}
