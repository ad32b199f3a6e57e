import { stringify } from '../io/json.ts'

/** The text of a record as it stands in a topic, while it is at hand: it is not printed again. Nobody else sees the property. */
const TEXT = Symbol('text')

export const known = <T extends object>(record: T & { [TEXT]?: string }, value: string): T =>
  record[TEXT] === value ? record : Object.defineProperty(record, TEXT, { value, configurable: true })
export const textOf = (record: object & { [TEXT]?: string }): string => record[TEXT] ?? stringify(record)

/** A record with more fields. Its text is that of the record, and the fields. */
export function extended<T extends object, M extends { [field: string]: number | string | null }>(
  record: T & { [TEXT]?: string },
  more: M,
): T & M {
  const whole = { ...record, ...more }
  const text = record[TEXT]
  for (const field in more) if (text === undefined || field in record) return whole
  return known(whole, `${text!.slice(0, -1)},${JSON.stringify(more).slice(1)}`)
}
