import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'

/** More than any run stores. */
const SIZE = '4g'

/** The folder of the server's database: a small file system of its own where this machine lets us have one, so that it can be full. */
export class StoreFolder {
  readonly path: string
  readonly canFill: boolean
  readonly #folder: string
  readonly #copy: string
  /** The server process after whose end the copy was made; null where there is none. */
  copiedAfter: number | null = null

  constructor(folder: string) {
    this.#folder = join(folder, 'store')
    this.#copy = join(folder, 'store-copy')
    mkdirSync(this.#folder)
    this.canFill = mount(this.#folder)
    this.path = join(this.#folder, 'channels.db')
  }

  /** The disk is full until `free`: it is made as small as what is on it, or a little larger where that grows meanwhile. */
  fill(): void {
    for (let spare = 1; ; spare *= 2) {
      const { blocks, bfree, bsize } = statfsSync(this.#folder)
      try {
        remount(this.#folder, `${(blocks - bfree + spare) * bsize}`)
        return
      } catch (error) {
        if (spare > 4_096) throw error
      }
    }
  }

  free(): void {
    remount(this.#folder, SIZE)
  }

  /** Keeps what is stored now; while no server runs. */
  copy(boot: number): void {
    rmSync(this.#copy, { recursive: true, force: true })
    mkdirSync(this.#copy)
    for (const name of this.#files()) cpSync(join(this.#folder, name), join(this.#copy, name))
    this.copiedAfter = boot
  }

  /** Puts the copy in the place of what is stored; while no server runs. */
  restore(): void {
    for (const name of this.#files()) rmSync(join(this.#folder, name))
    for (const name of readdirSync(this.#copy)) cpSync(join(this.#copy, name), join(this.#folder, name))
  }

  remove(): void {
    if (this.canFill) execFileSync('umount', [this.#folder])
  }

  #files(): string[] {
    return readdirSync(this.#folder).filter(name => name.startsWith('channels.db'))
  }
}

function mount(folder: string): boolean {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE}`, 'tmpfs', folder], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function remount(folder: string, size: string): void {
  execFileSync('mount', ['-o', `remount,size=${size}`, folder], { stdio: 'pipe' })
}
