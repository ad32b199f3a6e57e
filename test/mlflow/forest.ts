import { writeFileSync } from 'node:fs'
import { NUMERIC_FEATURES, TRAINING_COLUMNS } from '../../src/columns.ts'
import { csvLine } from '../../src/io/csv.ts'
import { type Model, mlflow } from '../../src/score/mlflow.ts'
import { history } from '../../src/simulate/history.ts'
import { type Prediction, type Transaction, toTransaction } from '../../src/transaction.ts'

/** A labelled history: one row in so many is for training, and the others are what the model has not seen. */
export function split(options: { rows: number; seed: number; days: number }, isTraining: (n: number) => boolean) {
  const all = [...history(options)].map((row) => toTransaction(row, Number(row.current_time)))
  return { training: all.filter((_, n) => isTraining(n)), live: all.filter((_, n) => !isTraining(n)) }
}

/** Writes rows as a training file. */
export function trainingFile(path: string, rows: readonly Transaction[]): string {
  const lines = rows.map((row, n) => csvLine([n, ...TRAINING_COLUMNS.map((column) => row[column])]))
  writeFileSync(path, [csvLine(['', ...TRAINING_COLUMNS]), ...lines].join(''))
  return path
}

/** What is asked of a served forest, which was fitted on the nine numeric columns. */
export const clientOf = (url: string, threshold = 0.5) =>
  mlflow({ url: new URL(url), headers: {}, features: NUMERIC_FEATURES, unixTimeUnit: 's', threshold })

export async function judged(model: Model, rows: readonly Transaction[]): Promise<Prediction[]> {
  const found: Prediction[] = []
  for (let i = 0; i < rows.length; i += 500) {
    const some = rows.slice(i, i + 500)
    const said = await model.judge(some, new AbortController().signal)
    found.push(...some.map((row, n) => ({ ...row, ...said[n]!, model: 'rf/7', predicted_at: row.event_time })))
  }
  return found
}
