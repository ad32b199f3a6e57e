import { utc } from '../io/time.ts'
import type { Notice } from './notifier.ts'

/** ms that something has to be wrong before people are told, and fine again before they are told that */
const PATIENCE = 15 * 60_000

/**
 * Something that can be wrong. `wrong`: that it is, in a line, with the reason; undefined: it is not. `since`: from when
 * on, in ms since 1970, where that is known better than from when it was first seen. `subjects` of its mails, where others fit.
 */
export type Condition = {
  name: string
  wrong: string | undefined
  since?: number | undefined
  cure: string
  subjects?: readonly [begins: string, over: string]
}
/** What outlives the process, by the name of the condition; JSON. `fine`: since when it is fine again. */
export type NotedTrouble = { [name: string]: { since: number; told?: boolean; fine?: number } }

/** Tells once when something has been wrong for 15 min, and once when it has been fine again for 15 min. */
export function troubleRules(noted: NotedTrouble = {}) {
  const known = new Map(Object.entries(noted))

  function saw({ name, wrong, since, cure, subjects }: Condition, now: number): Notice | undefined {
    const before = known.get(name)
    if (wrong !== undefined) {
      const state = { since: Math.min(before?.since ?? since ?? now, now), told: before?.told ?? false }
      known.set(name, state)
      if (state.told || now - state.since < PATIENCE) return undefined
      state.told = true
      return {
        subject: `client-predict: ${subjects?.[0] ?? `trouble with ${name}`} since ${clock(state.since)}`,
        lines: [
          wrong,
          cure,
          'Nothing is lost meanwhile. Another mail comes when it has been well again for 15 minutes.',
        ],
      }
    }
    if (!before?.told) {
      known.delete(name)
      return undefined
    }
    const fine = Math.min(before.fine ?? now, now)
    known.set(name, { ...before, fine })
    if (now - fine < PATIENCE) return undefined
    known.delete(name)
    return {
      subject: `client-predict: ${subjects?.[1] ?? `${name} is well again`} since ${clock(fine)}`,
      lines: [`The trouble with ${name} began at ${clock(before.since)} and ended at ${clock(fine)}.`],
    }
  }
  return {
    /** To be called again and again; with what is to be told now. */
    saw: (conditions: readonly Condition[], now: number): Notice[] =>
      conditions.flatMap((condition) => saw(condition, now) ?? []),
    noted: (): NotedTrouble => Object.fromEntries(known),
  }
}

const clock = (ms: number) => `${utc(ms, 16)} UTC`
