import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Patch } from './patch.ts'
import { applyPatch, compiled } from './patch.ts'

/**
 * An application's folder beside what the repository has installed, in which `fastify-channels` is a copy of what was
 * built, with patches. Programs that run in it import the package by its name; `remove` takes it away.
 * @throws where nothing was built, or a patch does not fit
 */
export function installBuilt(root: string, patches: readonly Patch[] = []): { folder: string; remove: () => void } {
  if (!existsSync(join(root, 'dist/plugins/index.js'))) throw new Error('nothing is built: npm run build')
  const cache = join(root, 'node_modules', '.cache')
  mkdirSync(cache, { recursive: true })
  const folder = mkdtempSync(join(cache, 'checker-'))
  const remove = (): void => rmSync(folder, { recursive: true, force: true })
  try {
    const target = join(folder, 'node_modules', 'fastify-channels')
    mkdirSync(target, { recursive: true })
    cpSync(join(root, 'package.json'), join(target, 'package.json'))
    cpSync(join(root, 'dist'), join(target, 'dist'), { recursive: true })
    for (const patch of patches) {
      const path = join(target, 'dist', compiled(patch.file))
      writeFileSync(path, applyPatch(readFileSync(path, 'utf8'), patch))
    }
    writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }\n')
    return { folder, remove }
  } catch (error) {
    remove()
    throw error
  }
}
