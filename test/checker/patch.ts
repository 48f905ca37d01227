/** A change of one place in one source, in words that are the same in TypeScript and in what the compiler makes of it. */
export interface Patch {
  /** The source's path from the repository's root, with the ending of TypeScript. */
  readonly file: string
  /** Found exactly once. Any white space, or none, stands for any; types and semicolons do not occur in it. */
  readonly search: string
  readonly replace: string
}

/** A deliberate mistake, which the checks must find. */
export interface Sabotage {
  readonly name: string
  /** What is wrong then. */
  readonly about: string
  readonly patches: readonly Patch[]
  /** The rules by which the black box may find it; any of them will do. Of none: what it breaks does not show there. */
  readonly finds: readonly string[]
  /** How soon a simulation finds it, if at all: within a few hundred stories, unless it says otherwise. */
  readonly simulated?: 'slowly' | 'never'
  /** Brokers with which it makes a difference. Default: both. */
  readonly brokers?: ReadonlyArray<'memory' | 'sqlite'>
}

/**
 * The text with the patch applied.
 * @throws where what is searched for does not stand there exactly once
 */
export function applyPatch(text: string, { file, search, replace }: Patch): string {
  const pattern = new RegExp(searchPattern(search), 'g')
  const found = [...text.matchAll(pattern)]
  if (found.length !== 1) throw new Error(`${file}: found ${found.length} times instead of once: ${search}`)
  const [match] = found
  return text.slice(0, match!.index) + replace + text.slice(match!.index + match![0].length)
}

/** Where formatters and compilers differ: white space, and semicolons at the ends of lines. */
function searchPattern(search: string): string {
  return search
    .trim()
    .split(/\s+/)
    .map(word => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[\\s;]*')
}

/** The path of what the compiler makes of a source, from the folder that it writes to. */
export function compiled(file: string): string {
  return file.replace(/\.ts$/, '.js')
}
