import { maskedStart } from '../card.ts'
import { Outage } from '../io/errors.ts'

/** The model answered, and not with judgements: its own fault, not that of the rows. */
export class Unreadable extends Outage {
  constructor(what: string, cure: string, { alone = false } = {}) {
    super(`the model answered ${what}`, { cure, alone })
  }
}

/** It may not come from a model server at all. */
export class Foreign extends Unreadable {
  constructor(what: string) {
    super(what, 'is MODEL_URL an MLflow model server?')
  }
}

const LONGEST = 40
const MOST_NAMES = 8

/** A value, short. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `"${maskedStart(value, LONGEST)}"`
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === 'object' && value !== null) return `an object with ${names(Object.keys(value))}`
  return maskedStart(String(value), LONGEST)
}

/** Names of fields, so many that a person knows which they are. */
export const names = (keys: readonly string[]) => {
  const first = keys.slice(0, MOST_NAMES).map((key) => maskedStart(key, LONGEST))
  return keys.length === 0 ? 'no fields' : `${first.join(', ')}${keys.length > MOST_NAMES ? ', …' : ''}`
}
