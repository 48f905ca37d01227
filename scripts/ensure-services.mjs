// Makes sure that the programs in services.mjs are there: the variable that names one, else its binary on PATH, else
// apt-get where this is root on Debian and NO_APT is unset. What is still missing is said loudly, and the tests that
// need it are skipped with that reason; with CI set it is an error, so that no silent skip passes for a success.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { isCI, locate, missingReason, services } from './services.mjs'

/** @returns {boolean} whether the run may go on */
export function ensureServices() {
  const absent = services.filter(service => locate(service) === undefined)
  if (absent.length > 0 && canInstall()) install(absent.map(service => service.debian))

  let complete = true
  for (const service of services) {
    const where = locate(service)
    if (where === undefined) complete = false
    console.log(where === undefined ? `*** ${missingReason(service)} ***` : `${service.name}: ${where}`)
  }
  return complete || !isCI()
}

function canInstall() {
  return process.getuid?.() === 0 && existsSync('/etc/debian_version') && !process.env.NO_APT
}

/** @param {string[]} packages */
function install(packages) {
  console.log(`installing ${packages.join(', ')} with apt-get (set NO_APT=1 to forbid it)`)
  const wait = ['-o', 'DPkg::Lock::Timeout=300', '-q', '-y']
  apt([...wait, 'update'])
  apt([...wait, 'install', '--no-install-recommends', ...packages])
}

/** @param {string[]} args */
function apt(args) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  const result = spawnSync('apt-get', args, { env, encoding: 'utf8' })
  if (result.status !== 0) console.error(`apt-get ${args.join(' ')} failed\n${result.stdout}${result.stderr}`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  process.exitCode = ensureServices() ? 0 : 1
}
