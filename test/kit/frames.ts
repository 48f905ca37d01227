/** Reads the frames of one side of a WebSocket from its bytes (RFC 6455 §5.2). */
export class FrameReader {
  #rest: Buffer = Buffer.alloc(0)
  #parts: Buffer[] = []
  readonly #take: (opcode: number, payload: Buffer) => void

  constructor(take: (opcode: number, payload: Buffer) => void) {
    this.#take = take
  }

  read(bytes: Buffer): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (this.#one()) {}
  }

  #one(): boolean {
    const data = this.#rest
    if (data.length < 2) return false
    const opcode = data[0]! & 0x0f
    const short = data[1]! & 0x7f
    const header = short < 126 ? 2 : short === 126 ? 4 : 10
    if (data.length < header) return false
    const length = short < 126 ? short : short === 126 ? data.readUInt16BE(2) : Number(data.readBigUInt64BE(2))
    if (data.length < header + length) return false
    const payload = data.subarray(header, header + length)
    this.#rest = data.subarray(header + length)
    if (opcode >= 8) this.#take(opcode, payload)
    else {
      this.#parts.push(payload)
      if ((data[0]! & 0x80) === 0) return true
      const whole = this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts)
      this.#parts = []
      // Continuations carry no opcode of their own; everything that a server of ours sends is text.
      this.#take(1, whole)
    }
    return true
  }
}

/** One masked frame, as a client sends it. */
export function maskedFrame(opcode: number, payload: Uint8Array, mask: Uint8Array): Buffer {
  const { length } = payload
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.alloc(header + 4 + length)
  frame[0] = 0x80 | opcode
  if (header === 2) frame[1] = 0x80 | length
  else if (header === 4) {
    frame[1] = 0x80 | 126
    frame.writeUInt16BE(length, 2)
  } else {
    frame[1] = 0x80 | 127
    frame.writeBigUInt64BE(BigInt(length), 2)
  }
  frame.set(mask, header)
  for (let i = 0; i < length; i++) frame[header + 4 + i] = payload[i]! ^ mask[i & 3]!
  return frame
}
