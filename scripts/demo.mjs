// Builds examples/demo and runs it, on any supported Node. Expects `npm run build` to have run: the demo imports this
// package by its name, as an application would.
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { buildDemo } from './build-demo.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const server = await buildDemo(join(root, 'dist-examples', 'demo'))
if (!process.argv.includes('--build-only')) await import(pathToFileURL(server).href)
