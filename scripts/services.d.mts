export interface Service {
  readonly name: string
  readonly variable: string
  readonly binaries: readonly string[]
  readonly debian: string
}
export const services: readonly Service[]
export function locate(service: Service): string | undefined
export function missingReason(service: Service): string
export function isCI(): boolean
