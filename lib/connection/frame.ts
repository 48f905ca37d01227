const TEXT = 0x81
const PING = 0x89

/** Encodes text as one unmasked, final WebSocket frame (RFC 6455 §5.2). */
export function encodeText(text: string): Buffer {
  const length = Buffer.byteLength(text)
  const header = headerLength(length)
  const frame = Buffer.allocUnsafe(header + length)
  frame[0] = TEXT
  if (header === 2) frame[1] = length
  else if (header === 4) {
    frame[1] = 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.write(text, header)
  return frame
}

function headerLength(payload: number): number {
  if (payload < 126) return 2
  return payload < 65_536 ? 4 : 10
}

/** An empty ping (RFC 6455 §5.5.2), the same for every connection. */
export const PING_FRAME: Buffer = Buffer.from([PING, 0])
