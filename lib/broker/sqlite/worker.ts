// What the thread of an SQLite broker runs.
import { parentPort, workerData } from 'node:worker_threads'
import { serve } from './serve.ts'

if (parentPort !== null) void serve(parentPort, workerData)
