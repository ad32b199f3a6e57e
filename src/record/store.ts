import type { Key, Prediction } from '../transaction.ts'

/** Where predictions are kept for good: one row for each (`trans_num`, `event_time`). */
export type Store = {
  /**
   * Resolves once all rows are durable; a row that is there already stays as it is. Throws Refusal when the database
   * refuses what is in the rows, any other error when it cannot be asked; none of the rows is there then.
   */
  insert(rows: readonly Prediction[]): Promise<void>
  /** Those of the rows that are not there, by their identity. */
  missing<R extends Key>(rows: readonly R[]): Promise<R[]>
  /** Inserts the row, reads it back as the database has it, and takes it back: nothing stays, and nobody sees it. */
  probe(row: Prediction): Promise<Record<string, unknown>>
  close(): Promise<void>
}
