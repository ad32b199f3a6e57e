import { hash } from 'node:crypto'
import type { Store } from '../record/store.ts'
import { extended } from '../topic/text.ts'
import { identity, type Prediction } from '../transaction.ts'

/**
 * Says of each row with which probability it comes to be looked at: an alarm with 1, any other one if it is drawn, which
 * follows from its identity: the same in every process, again, and by replay.
 */
export function sampler({ perDay, rowsPerDay, secret }: { perDay: number; rowsPerDay: number; secret: string }) {
  const share = Math.min(1, perDay / rowsPerDay)
  return (p: Prediction): number | null => {
    if (p.prediction === 1) return 1
    const drawn = Number.parseInt(hash('sha256', `${secret}\n${identity(p)}`).slice(0, 12), 16) / 2 ** 48
    return drawn < share ? share : null
  }
}

/** The store, into which each row goes with its probability. */
export const sampling = (store: Store, sample: ReturnType<typeof sampler>): Store => ({
  ...store,
  insert: (rows) => store.insert(rows.map((row) => extended(row, { sampled: sample(row) }))),
})
