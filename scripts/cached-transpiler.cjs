// How tap's loader gets JavaScript from TypeScript: the compiler's own output, kept by what it was made from. Without it
// every test file compiles every source anew, which is two seconds of a core for each.
const { createHash } = require('node:crypto')
const { mkdirSync, readFileSync, renameSync, writeFileSync } = require('node:fs')
const { join } = require('node:path')

const folder = join(__dirname, '..', 'node_modules', '.cache', 'transpiled')

/**
 * @param {{ service: { config: { options: object } }, nodeModuleEmitKind?: 'nodecjs' | 'nodeesm' }} context what ts-node
 * gives to a transpiler
 */
exports.create = ({ service, nodeModuleEmitKind }) => {
  // A single file does not know of which kind its package is.
  const module = nodeModuleEmitKind === 'nodecjs' ? 'commonjs' : 'esnext'
  const { configFilePath: _, ...options } = service.config.options
  const compilerOptions = { ...options, module, moduleResolution: 'bundler' }
  const { version } = require('typescript/package.json')
  const salt = JSON.stringify([version, compilerOptions])
  mkdirSync(folder, { recursive: true })
  return {
    /** @param {string} code @param {{ fileName: string }} options */
    transpile(code, { fileName }) {
      const hash = createHash('sha256')
        .update(JSON.stringify([salt, fileName, code]))
        .digest('hex')
      const path = join(folder, `${hash}.json`)
      const known = read(path)
      if (known !== null) return known
      const { outputText, sourceMapText, diagnostics } = require('typescript').transpileModule(code, {
        fileName,
        compilerOptions,
        reportDiagnostics: true
      })
      const made = { outputText, sourceMapText, diagnostics }
      if (diagnostics.length > 0) return made
      // Two files are tested side by side: neither may read what the other has half written.
      const part = `${path}.${process.pid}`
      writeFileSync(part, JSON.stringify(made))
      renameSync(part, path)
      return made
    }
  }
}

/** @param {string} path */
function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return null
  }
}
