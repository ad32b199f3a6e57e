import { type Prediction, TRAINING_COLUMNS } from '../transaction.ts'

/** The columns of the table `predictions`, in its order; the last three are the reviewer's, null until then. */
export const PREDICTION_COLUMNS = [
  ...TRAINING_COLUMNS,
  'prediction',
  'score',
  'model',
  'event_time',
  'fetched_at',
  'predicted_at',
] as const
export const REVIEW_COLUMNS = ['fraud_confirmed', 'reviewed_at', 'reviewed_by'] as const
export const COLUMNS = [...PREDICTION_COLUMNS, ...REVIEW_COLUMNS] as const

/** What they hold, where it is not text, and which are never empty. */
export const INTEGERS: readonly string[] = [
  'cc_num',
  'zip',
  'city_pop',
  'unix_time',
  'is_fraud',
  'prediction',
  'event_time',
  'fetched_at',
  'predicted_at',
  'fraud_confirmed',
  'reviewed_at',
]
export const REALS: readonly string[] = ['amt', 'lat', 'long', 'merch_lat', 'merch_long', 'score']
export const REQUIRED: readonly string[] = [
  'trans_date_trans_time',
  'cc_num',
  'amt',
  'trans_num',
  'unix_time',
  'prediction',
  'event_time',
  'fetched_at',
  'predicted_at',
]

/** Where predictions are kept for good: one row for each (`trans_num`, `event_time`). */
export type Store = {
  /**
   * Resolves once all rows are durable; a row that is there already stays as it is. Throws Refusal when the database
   * refuses what is in the rows, any other error when it cannot be asked; none of the rows is there then.
   */
  insert(rows: readonly Prediction[]): Promise<void>
  /** Those of the rows that are not there, by their identity. */
  missing(rows: readonly Prediction[]): Promise<Prediction[]>
  /** Inserts the row, reads it back as the database has it, and takes it back: nothing stays, and nobody sees it. */
  probe(row: Prediction): Promise<Record<string, unknown>>
  close(): Promise<void>
}
