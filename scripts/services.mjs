import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/**
 * The programs that some tests need and that npm does not install.
 *
 * @typedef {object} Service
 * @property {string} name
 * @property {string} variable the environment variable that names it, and goes before everything else
 * @property {readonly string[]} binaries what it may be called on PATH
 * @property {string} debian the Debian package that holds it
 */

/** @type {readonly Service[]} */
export const services = [
  {
    name: 'chromium',
    variable: 'CHROMIUM_PATH',
    binaries: ['chromium', 'chromium-browser', 'google-chrome-stable', 'google-chrome'],
    debian: 'chromium'
  },
  { name: 'g++', variable: 'CXX', binaries: ['g++'], debian: 'g++' }
]

/**
 * What the service's variable says, else the path of its binary, else undefined.
 *
 * @param {Service} service
 * @returns {string | undefined}
 */
export function locate(service) {
  const named = process.env[service.variable]
  if (named) return named
  const folders = (process.env.PATH ?? '').split(delimiter).filter(folder => folder !== '')
  return folders.flatMap(folder => service.binaries.map(binary => join(folder, binary))).find(isExecutable)
}

/** @param {Service} service */
export function missingReason(service) {
  return `NOT TESTED: ${service.binaries[0]} is missing and ${service.variable} is not set`
}

/** Whether this is continuous integration, where what cannot be tested is a failure. */
export function isCI() {
  return !['', '0', 'false'].includes(process.env.CI ?? '')
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
