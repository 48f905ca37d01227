// How tests run from TypeScript: `node --import ./scripts/typescript.mjs` makes JavaScript of what is imported, by the compiler itself. What it
// made is kept by what it was made from; a process that finds everything there never loads the compiler, which is a second of a core for each.
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire, register } from 'node:module'
import { fileURLToPath } from 'node:url'

const require = createRequire(import.meta.url)
const folder = fileURLToPath(new URL('../node_modules/.cache/transpiled/', import.meta.url))
const { version } = require('typescript/package.json')
const compilerOptions = { target: 'es2022', module: 'esnext', inlineSourceMap: true, verbatimModuleSyntax: true }
const salt = JSON.stringify([version, compilerOptions])

// This file is also what is registered: there it has nothing to register.
if (!import.meta.url.endsWith('?hooks')) {
  mkdirSync(folder, { recursive: true })
  register(`${import.meta.url}?hooks`)
}

/** @type {import('node:module').LoadHook} */
export async function load(url, context, next) {
  if (!url.startsWith('file:') || !/\.ts(\?|$)/.test(url)) return next(url, context)
  return { format: 'module', source: transpile(fileURLToPath(url)), shortCircuit: true }
}

/** @param {string} fileName */
function transpile(fileName) {
  const code = readFileSync(fileName, 'utf8')
  const hash = createHash('sha256').update(salt).update(fileName).update('\0').update(code).digest('hex')
  const path = `${folder}${hash}.js`
  try {
    return readFileSync(path, 'utf8')
  } catch {
    const ts = require('typescript')
    const { outputText, diagnostics } = ts.transpileModule(code, { fileName, compilerOptions, reportDiagnostics: true })
    if (diagnostics.length > 0) throw new SyntaxError(ts.formatDiagnostics(diagnostics, ts.createCompilerHost({})))
    // Two files are tested side by side: neither may read what the other has half written.
    const part = `${path}.${process.pid}`
    writeFileSync(part, outputText)
    renameSync(part, path)
    return outputText
  }
}
