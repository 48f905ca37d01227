import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * What signs the cookie. In earnest it comes from the environment, the same for all servers. To try the demo, one is made
 * at the first start and kept in a file that git ignores and only its owner may read, so that who was signed in still is
 * after a restart. Not in the folder for temporary files: there another user of the machine could put one first.
 */
export function demoSecret(file = '.demo-secret'): string {
  const { CHANNELS_SECRET, NODE_ENV } = process.env
  if (CHANNELS_SECRET) return CHANNELS_SECRET
  if (NODE_ENV === 'production') throw new Error('CHANNELS_SECRET is not set')
  try {
    writeFileSync(file, randomBytes(32).toString('base64url'), { flag: 'wx', mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
  return readFileSync(file, 'utf8')
}
