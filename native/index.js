import { createRequire } from 'node:module'

const { sender, fault } = load()

/** Hand it to fastify-channels as its option `native`. Null where it cannot be used; `reason` says why. */
export const native = sender

/** Why `native` is null; null where it is not. */
export const reason = fault

function load() {
  try {
    const { open } = createRequire(import.meta.url)('./send.node')
    // Each has tried itself by then. Many containers forbid io_uring.
    const sender = open(true) ?? open(false)
    return sender === null
      ? { sender, fault: 'neither io_uring nor send works here as it should' }
      : { sender, fault: null }
  } catch (error) {
    return { sender: null, fault: `it was not built for this machine: ${error.message}` }
  }
}
