import { TRAINING_COLUMNS } from '../columns.ts'
import { csvLine } from '../io/csv.ts'
import { toTransaction } from '../transaction.ts'
import { type HistoryOptions, history } from './history.ts'

const ROWS_PER_CHUNK = 500 // about 120 kB

/**
 * A labelled history as the training file has it: a nameless index column first, quotes only where a comma or a quote
 * demands them, `unix_time` in seconds. Yields whole lines, some 500 at a time, so that a pipe sets the pace:
 * `pipeline(csv({ … }), process.stdout)`. Both times come from the worker's own reading of the row.
 */
export function* csv(options: HistoryOptions): Generator<string> {
  let chunk = csvLine(['', ...TRAINING_COLUMNS])
  let index = 0
  for (const row of history(options)) {
    const transaction = toTransaction(row, row.current_time)
    chunk += csvLine([index++, ...TRAINING_COLUMNS.map((column) => transaction[column])])
    if (index % ROWS_PER_CHUNK > 0) continue
    yield chunk
    chunk = ''
  }
  if (chunk) yield chunk
}
