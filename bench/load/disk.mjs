import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** What the disk below a folder needs to make one page of an appended file durable, in milliseconds. */
export function fsyncTimes(folder, count = 200) {
  const path = join(folder, 'fsync')
  const file = openSync(path, 'w')
  const page = Buffer.alloc(4096, 1)
  const times = []
  for (let i = 0; i < count; i++) {
    writeSync(file, page)
    const started = performance.now()
    fdatasyncSync(file)
    times.push(performance.now() - started)
  }
  closeSync(file)
  rmSync(path)
  return times
}
