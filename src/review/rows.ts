import { COLUMNS } from '../columns.ts'
import { utc } from '../io/time.ts'
import { LISTED, type Listed, type Payment, type Review, type Which } from './reviews.ts'

// Rows of the tables, as any engine hands them over.

type Row = Record<string, unknown>

/** Times and days follow from others, or come as text. */
export const SELECTED = COLUMNS.filter((c) => c !== 'trans_date_trans_time')
  .map((c) => (c === 'dob' ? 'CAST(dob AS text) AS dob' : c))
  .join(', ')
export const SELECT = `SELECT ${SELECTED} FROM predictions`
export const KEY = 'trans_num, event_time'
export const named = (rows: Row[]): Which[] =>
  rows.map((row) => ({ trans_num: String(row.trans_num), event_time: Number(row.event_time) }))
export const LIST = `SELECT ${LISTED} FROM predictions`

/** A review of the payment that is meant. */
export const OF_P = 'r.trans_num = p.trans_num AND r.event_time = p.event_time'
/** A page of many begins after the last row of the one before; $1 and $2 are that row's. */
export const AFTER = '(event_time > $1 OR (event_time = $1 AND trans_num > $2))'
export const place = (after: Which | undefined) => [after?.event_time ?? -1, after?.trans_num ?? '']

/** The names of the rows as parameters, and what is among them. */
export const keys = (rows: readonly Which[]) => rows.flatMap(({ trans_num, event_time }) => [trans_num, event_time])
export const among = (rows: readonly Which[]) =>
  `(trans_num, event_time) IN (VALUES ${rows.map((_, i) => `(CAST($${2 * i + 1} AS text), CAST($${2 * i + 2} AS bigint))`).join(', ')})`

export const reviews = (rows: Row[]) =>
  rows.map((row) => ({ ...row, id: Number(row.id), event_time: Number(row.event_time), at: Number(row.at) }) as Review)

/** Whole numbers come as bigint: only a card's has to stay one. */
const read = (row: Row): unknown =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      name === 'cc_num' ? BigInt(value as bigint) : typeof value === 'bigint' ? Number(value) : value,
    ]),
  )
export const listed = (rows: Row[]) => rows.map(read) as Listed[]
export const payments = (rows: Row[]) =>
  rows.map((row) => {
    const payment = read(row) as Payment
    return { ...payment, trans_date_trans_time: utc(payment.event_time) }
  })
