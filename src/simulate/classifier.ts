import { setImmediate as breathe } from 'node:timers/promises'
import { toTransaction } from '../transaction.ts'
import { type HistoryOptions, history } from './history.ts'
import { fitLogistic, rocAuc, scale } from './regression.ts'

/** A row by column name, features only. What is missing or of an unexpected type counts as unknown. */
export type Features = Record<string, unknown>

const ROWS_AT_ONCE = 200 // a few ms of work, then the event loop has its turn

/**
 * Trains a fraud classifier on a simulated history: the older three quarters to learn from, the newest quarter held
 * out to measure the area under the ROC curve. `probability` needs nothing but the feature columns of a row.
 */
export async function trainClassifier(options: HistoryOptions) {
  const rows: (Features & { is_fraud: 0 | 1 })[] = []
  for (const row of history(options)) {
    const { is_fraud, ...features } = toTransaction(row, row.current_time)
    rows.push({ ...features, is_fraud: row.is_fraud })
    if (rows.length % ROWS_AT_ONCE === 0) await breathe()
  }
  const cut = Math.floor(rows.length * 0.75)
  const [known, heldOut] = [rows.slice(0, cut), rows.slice(cut)]
  const vector = vectors(known.filter((row) => row.is_fraud === 0))
  const samples = known.map(vector)
  await breathe()
  const fitted = await fitLogistic(
    samples,
    known.map((row) => row.is_fraud),
  )
  const probability = (row: Features) => fitted(vector(row))
  return {
    probability,
    auc: rocAuc(
      heldOut.map(probability),
      heldOut.map((row) => row.is_fraud),
    ),
    rows: { trained: known.length, tested: heldOut.length },
  }
}

/** Engineered features: how large, how unusual for its category, which category, what hour, how far from home. */
function vectors(honest: readonly Features[]) {
  const amounts = Map.groupBy(honest, (row) => row.category)
  const usual = new Map([...amounts].map(([category, rows]) => [category, scale(rows.map(logAmount))]))
  const categories = [...usual.keys()]
  return (row: Features): number[] => {
    const angle = (2 * Math.PI * (seconds(row.unix_time) % 86_400)) / 86_400
    const unusual = usual.get(row.category)?.(logAmount(row)) ?? Number.NaN
    return [
      unusual,
      // In each category another amount is suspicious: a weight and a threshold of its own.
      ...categories.flatMap((category) => (row.category === category ? [1, unusual] : [0, 0])),
      Math.cos(angle), // the hours are a circle: 23 is next to 0
      Math.sin(angle),
      Math.hypot(number(row.lat) - number(row.merch_lat), number(row.long) - number(row.merch_long)),
    ]
  }
}

const number = (value: unknown) => (typeof value === 'number' ? value : Number.NaN)
const logAmount = (row: Features) => Math.log(Math.max(0.01, number(row.amt)))

/** Clients send seconds, or ms: from 10^11 on it is ms (seconds reach that in the year 5138). */
function seconds(time: unknown): number {
  return number(time) < 1e11 ? number(time) : number(time) / 1000
}
