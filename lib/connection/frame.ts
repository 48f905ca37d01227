const TEXT = 0x81
/** The first reserved bit: the message is compressed (RFC 7692 §6). */
const COMPRESSED = 0x40
const PING = 0x89

/** Encodes text as one unmasked, final WebSocket frame (RFC 6455 §5.2). */
export function encodeText(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const frame = begin(TEXT, length)
  frame.write(text, frame.byteLength - length)
  return frame
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
  frame[0] = first
  if (header === 2) frame[1] = length
  else if (header === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  return frame
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
