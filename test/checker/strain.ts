import { availableParallelism, loadavg } from 'node:os'

let most = 1

/**
 * How much longer things may take because others use this machine as well: 1 where there are no more processes at work
 * than a run itself has. All bounds of time are of a machine that has nothing else to do.
 */
export function strain(): number {
  const factor = Math.max(1, loadavg()[0]! / (2.5 * availableParallelism()))
  most = Math.max(most, factor)
  return factor
}

/** The most that this process was told. */
export function mostStrain(): number {
  return most
}
