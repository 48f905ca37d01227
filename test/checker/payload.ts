import { crc32 } from 'node:zlib'
import type { Chance } from '../fixtures/chance.ts'

/** What a command bears, and the publication that it makes. */
export interface Payload {
  /** The publisher's number. */
  readonly p: number
  /** Counts the publisher's commands on the channel. */
  readonly n: number
  readonly c: string
  /** CRC-32 of all the other fields of the sender's. */
  readonly k: number
  /** Except the sender. */
  readonly x?: 1
  readonly z: string
  /** Set by the server: which process published it. */
  readonly b?: number
}

/** Text that has broken encoders, scanners or pages somewhere. */
const HOSTILE = [
  '"}{"cmd":"$ack","id":1}',
  '","offset":1,"tag":"AAAAAAAA"}',
  '\\\\\\"\\u0000\\',
  '\u0000\u0001\u001f\u007f\u0085',
  '\u2028\u2029\ufeff\u202e\u200d',
  '\ud83d\ude00\ud83c\udde6\ud83c\uddf9e\u0301',
  '\ud800',
  '\udc00\ud800',
  '</script><script>alert(1)</script>',
  '__proto__',
  '{"__proto__":{"a":1}}',
  '\r\n\r\nHTTP/1.1 200 OK\r\n',
  '%s%n%x{{7*7}}',
  '[[[[[[[[[[[[[[[[[[[[',
  '\ufffd\ufffe\uffff'
]

const FILLER = 'abcdefghijklmnopqrstuvwxyz 0123456789 '.repeat(1400)

/** 20 B to 48 KiB, mostly small; one in a hundred hostile. `heavy` is 8 to 48 KiB. */
export function padding(chance: Chance, heavy: boolean): string {
  if (chance.oneIn(100)) return chance.pick(HOSTILE).repeat(1 + chance.below(20))
  const dice = chance.below(1000)
  const [least, most] = heavy ? [8_192, 49_152] : dice < 900 ? [20, 200] : dice < 993 ? [200, 2_000] : [2_000, 49_152]
  const start = chance.below(38)
  return FILLER.slice(start, start + least + chance.below(most - least))
}

export function payload(p: number, n: number, c: string, z: string, except: boolean): Payload {
  const x = except ? ({ x: 1 } as const) : {}
  return { p, n, c, k: checksum(p, n, c, z, except), ...x, z }
}

/** Whether it is what its sender made. */
export function isIntact({ p, n, c, z, x, k }: Payload): boolean {
  return typeof z === 'string' && checksum(p, n, c, z, x === 1) === k
}

function checksum(p: number, n: number, c: string, z: string, except: boolean): number {
  return crc32(z, crc32(`${p} ${n} ${c} ${except ? 1 : 0} `))
}

/** One more delivery in a rolling hash. */
export function mix(hash: number, offset: number, tag: string, p: number, n: number, crc: number): number {
  let h = Math.imul(hash ^ offset, 0x85ebca6b)
  for (let i = 0; i < tag.length; i++) h = Math.imul(h ^ tag.charCodeAt(i), 0x01000193)
  h = Math.imul(h ^ p, 0xc2b2ae35)
  h = Math.imul(h ^ (h >>> 15) ^ n, 0x27d4eb2f)
  h = Math.imul(h ^ (h >>> 13) ^ crc, 0x165667b1)
  return (h ^ (h >>> 16)) >>> 0
}

/** A `$skip` in a rolling hash: the place is told, the publication is not. */
export function mixSkip(hash: number, offset: number, tag: string): number {
  return mix(hash, offset, tag, -1, -1, -1)
}
