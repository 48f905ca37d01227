// The load generator: built where g++ is, run against a server, and read.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

const source = join(import.meta.dirname, 'wsload.cpp')
const folder = join(import.meta.dirname, '../.build')
const program = join(folder, 'wsload')

function build() {
  if (existsSync(program) && statSync(program).mtimeMs > statSync(source).mtimeMs) return
  mkdirSync(folder, { recursive: true })
  try {
    execFileSync(process.env.CXX || 'g++', ['-O2', '-std=c++20', '-o', program, source], { stdio: 'inherit' })
  } catch (error) {
    throw new Error('the load generator is one C++ file and needs g++ (apt-get install g++)', { cause: error })
  }
}

/**
 * Runs the load generator; an option that is an array is given several times, one that is `true` alone.
 * @param {Record<string, string | number | true | readonly string[]>} options
 * @param {string[]} [pin] a command before it, such as taskset
 */
export async function load(options, pin = []) {
  build()
  const args = Object.entries(options).flatMap(([key, value]) =>
    [value].flat().flatMap(one => (one === true ? [`--${key}`] : [`--${key}`, String(one)]))
  )
  const [command, ...before] = [...pin, program]
  const child = spawn(command, [...before, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  for await (const part of child.stdout) text += part
  return JSON.parse(text)
}
