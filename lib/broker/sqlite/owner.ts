import { readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'

/** A process, as others on this machine can find it again. */
interface Owner {
  readonly pid: number
  /** Clock ticks from the machine's start to its own: another process may have the number later. */
  readonly started: string
  readonly boot: string
  /** Numbers of processes mean something in one namespace alone. */
  readonly namespace: string
}

/**
 * Whether another process that lives has the file. SQLite's lock alone cannot tell: the kernel lets go of it as soon as
 * anything in the locking process closes that file, which a backup by `copyFile` does (fcntl(2), sqlite.org/howtocorrupt.html
 * §2.2). Where there is no /proc nothing is known, and that lock has to do.
 */
export function isOthers(path: string): boolean {
  try {
    const { pid, ...known } = JSON.parse(readFileSync(ownerPath(path), 'utf8')) as Owner
    const { pid: _, ...now } = ownerOf(pid)
    return pid !== process.pid && JSON.stringify(known) === JSON.stringify(now)
  } catch {
    return false
  }
}

/** Says that the file is this process's. */
export function own(path: string): void {
  try {
    writeFileSync(ownerPath(path), JSON.stringify(ownerOf(process.pid)))
  } catch {
    // On a full disk, or without /proc, the lock has to do.
  }
}

/** Takes that back; what another process has written there since stays. */
export function disown(path: string): void {
  try {
    const said = readFileSync(ownerPath(path), 'utf8')
    if (said === JSON.stringify(ownerOf(process.pid))) rmSync(ownerPath(path))
  } catch {
    // Nothing is there, or it cannot be taken away: it names a process that will have ended.
  }
}

function ownerPath(path: string): string {
  return `${path}-owner`
}

/** @throws where no such process lives, or there is no /proc */
export function ownerOf(pid: number): Owner {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // Behind the name, which may hold spaces and parentheses, the third field is the first (proc(5)).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X')
    throw new Error(`process ${pid} has ended, and nobody has taken note of it`)
  const started = fields[19]!
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return { pid, started, boot, namespace: readlinkSync(`/proc/${pid}/ns/pid`) }
}
