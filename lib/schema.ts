import type { TSchema } from '@sinclair/typebox'
import { FormatRegistry, TransformKind } from '@sinclair/typebox'
import type { TypeCheck } from '@sinclair/typebox/compiler'
import { TypeCompiler } from '@sinclair/typebox/compiler'
import { channelsError } from './errors.ts'

/** Where a value breaks its schema. */
export interface Violation {
  /** A JSON pointer (RFC 6901); `/` is the value itself. */
  readonly path: string
  readonly rule: string
}

/** A schema of a contract, compiled. */
export class Schema {
  readonly #check: TypeCheck<TSchema>

  /**
   * `closed` refuses properties that an object schema does not declare, unless it says otherwise itself.
   * @throws FST_CHANNELS_INVALID_CONTRACT where validation would change a value (`Transform`, `default`), a format is not
   * registered with TypeBox, or the schema does not compile
   */
  constructor(schema: TSchema, label: string, closed: boolean) {
    try {
      assertPlain(schema as unknown as Node)
      this.#check = TypeCompiler.Compile(closed ? close(schema as unknown as Node) : schema)
    } catch (error) {
      throw channelsError('FST_CHANNELS_INVALID_CONTRACT', label, (error as Error).message)
    }
  }

  /** Null where the value keeps the schema. */
  violation(value: unknown): Violation | null {
    if (this.#check.Check(value)) return null
    const first = this.#check.Errors(value).First()!
    return { path: first.path === '' ? '/' : first.path, rule: first.message }
  }
}

type Node = Record<string | symbol, unknown>

/** Keywords whose value is a map of schemas, a list of schemas or one schema. */
const MAPS = ['properties', 'patternProperties', '$defs']
const LISTS = ['anyOf', 'allOf', 'oneOf', 'items']
const ONES = [
  'items',
  'not',
  'additionalProperties',
  'unevaluatedProperties',
  'contains',
  'propertyNames',
  'additionalItems'
]

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The schema with `change` applied to each schema inside it. */
function map(schema: Node, change: (inner: Node, keyword: string) => Node): Node {
  const copy: Node = { ...schema }
  for (const key of MAPS) {
    const inner = schema[key]
    if (isNode(inner))
      copy[key] = Object.fromEntries(Object.entries(inner).map(([k, v]) => [k, change(v as Node, key)]))
  }
  for (const key of LISTS) {
    const inner = schema[key]
    if (Array.isArray(inner)) copy[key] = inner.map(v => change(v as Node, key))
  }
  for (const key of ONES) {
    const inner = schema[key]
    if (isNode(inner)) copy[key] = change(inner, key)
  }
  return copy
}

function assertPlain(schema: Node): void {
  if (TransformKind in schema) throw new TypeError('a Transform would change the value')
  if ('default' in schema) throw new TypeError('a default would change the value')
  const format = schema.format
  if (typeof format === 'string' && !FormatRegistry.Has(format)) {
    throw new TypeError(`format "${format}" is not registered: FormatRegistry.Set("${format}", …) first`)
  }
  for (const name of Object.keys((schema.properties as Node | undefined) ?? {})) {
    // `{}` has these by inheritance, so that a required one would pass where it is absent.
    if (name in Object.prototype) throw new TypeError(`property "${name}" is a name that every object inherits`)
  }
  map(schema, inner => {
    assertPlain(inner)
    return inner
  })
}

function close(schema: Node): TSchema {
  // The parts of an intersection must not each refuse what the others declare.
  const intersection = Array.isArray(schema.allOf)
  const copy = map(schema, (inner, keyword) => (keyword === 'allOf' ? inner : (close(inner) as unknown as Node)))
  if (intersection) copy.unevaluatedProperties ??= false
  else if (schema.type === 'object') copy.additionalProperties ??= false
  return copy as unknown as TSchema
}
