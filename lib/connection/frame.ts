const TEXT = 0x81
/** The first reserved bit: the message is compressed (RFC 7692 §6). */
const COMPRESSED = 0x40
const PING = 0x89
/** Of a payload below 65,536 bytes. */
const MAX_HEADER = 4

/** Frames of short texts are cut from one piece of memory after the other, as Node's own pool would have it. */
const SLAB_BYTES = 8_192
/** A longer text may take more than a quarter of that, at three bytes for a code unit. */
const MAX_SHORT_TEXT = 680
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
let used = 0

/** Encodes text as one unmasked, final WebSocket frame (RFC 6455 §5.2). */
export function encodeText(text: string): Buffer {
  if (text.length <= MAX_SHORT_TEXT) return encodeShort(text)
  const length = Buffer.byteLength(text)
  const frame = begin(TEXT, length)
  frame.write(text, frame.byteLength - length)
  return frame
}

/** Written before its length is known: to ask first takes longer than to write. */
function encodeShort(text: string): Buffer {
  if (used + MAX_HEADER + 3 * text.length > SLAB_BYTES) {
    slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
    used = 0
  }
  const payload = used + MAX_HEADER
  const length = slab.write(text, payload)
  const start = payload - headerLength(length)
  used = payload + length
  writeHeader(slab, start, TEXT, length)
  return slab.subarray(start, used)
}

/** A text frame whose payload is compressed already. */
export function encodeCompressed(payload: Uint8Array): Buffer {
  const frame = begin(TEXT | COMPRESSED, payload.byteLength)
  frame.set(payload, frame.byteLength - payload.byteLength)
  return frame
}

/** A frame with its header, and room for its payload. */
function begin(first: number, length: number): Buffer {
  const header = headerLength(length)
  const frame = Buffer.allocUnsafe(header + length)
  writeHeader(frame, 0, first, length)
  return frame
}

function writeHeader(to: Buffer, at: number, first: number, length: number): void {
  to[at] = first
  if (length < 126) to[at + 1] = length
  else if (length < 65_536) {
    to[at + 1] = 126
    to.writeUInt16BE(length, at + 2)
  } else {
    to[at + 1] = 127
    to.writeBigUInt64BE(BigInt(length), at + 2)
  }
}

function headerLength(payload: number): number {
  if (payload < 126) return 2
  return payload < 65_536 ? 4 : 10
}

/** Where in a batch of our own frames the payload of the one that begins at `at` lies: from `start` to `end`, exclusive. */
export function payloadAt(batch: Uint8Array, at: number): { readonly start: number; readonly end: number } {
  const length = batch[at + 1]!
  const view = new DataView(batch.buffer, batch.byteOffset)
  if (length < 126) return { start: at + 2, end: at + 2 + length }
  if (length === 126) return { start: at + 4, end: at + 4 + view.getUint16(at + 2) }
  return { start: at + 10, end: at + 10 + Number(view.getBigUint64(at + 2)) }
}

/** An empty ping (RFC 6455 §5.5.2), the same for every connection. */
export const PING_FRAME: Buffer = Buffer.from([PING, 0])
