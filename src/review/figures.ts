import { DAY } from '../io/time.ts'
import type { Before, Counted, Questions, Scored } from './reviews.ts'

/** A statement for any engine, with its values: $1 is the first. */
export type Statement = readonly [text: string, values?: readonly (string | number | bigint | Date | null)[]]

/** What the columns hold of what people said: 0, 1, 2 unsure, or nothing. */
export const VERDICT =
  'CASE WHEN fraud_confirmed IS NOT NULL THEN fraud_confirmed WHEN reviewed_at IS NOT NULL THEN 2 END'
const ALIKE = `prediction, is_fraud AS label, ${VERDICT} AS verdict, sampled`
export const TOTALS = 'count(*) AS rows, coalesce(sum(amt), 0) AS amount'
/** models that are counted, each at a threshold: those that judged last, so that no number of names fills the memory */
const MOST_MODELS = 50
/** What SQL may have put there instead, infinity say, is no score. */
export const IS_SCORE = 'score BETWEEN 0 AND 1'
const OF_MODEL = "coalesce(model, '') = $1 AND coalesce(threshold, -1) = $2"

type Row = Record<string, unknown>
type Figures = Pick<Questions, 'counted' | 'scored' | 'judgedBefore'>
/** How it is counted: the first two read the whole table once, so that whoever asks keeps the answer for a while. */
export const FIGURES: {
  [N in keyof Figures]: (
    ...given: Parameters<Figures[N]>
  ) => Generator<Statement, Awaited<ReturnType<Figures[N]>>, Row[]>
} = {
  *counted() {
    const cells = `SELECT model, threshold, event_time / ${DAY} AS day, ${ALIKE}, ${TOTALS} FROM predictions GROUP BY 1, 2, 3, 4, 5, 6, 7`
    const dated = `SELECT *, max(day) OVER (PARTITION BY model, threshold) AS latest FROM (${cells}) AS cells`
    const placed = `SELECT *, dense_rank() OVER (ORDER BY latest DESC, model, threshold) AS place FROM (${dated}) AS dated`
    const rows = yield [
      `SELECT model, threshold, day, prediction, label, verdict, sampled, rows, amount FROM (${placed}) AS placed
        WHERE place <= ${MOST_MODELS}`,
    ]
    return rows.map(numbers) as Counted[]
  },
  *scored({ model, threshold }, until, cut) {
    const [day, step] =
      cut === undefined
        ? [`event_time / ${DAY} % 2`, 'CAST(floor(score * 100 + 1e-9) AS integer)']
        : [`event_time / ${DAY}`, 'CASE WHEN score >= $4 - 1e-11 THEN 1 ELSE 0 END']
    const rows = yield [
      `SELECT ${day} AS day, ${step} AS step, ${ALIKE}, ${TOTALS} FROM predictions
        WHERE ${OF_MODEL} AND event_time < $3 AND ${IS_SCORE} GROUP BY 1, 2, 3, 4, 5, 6`,
      [model ?? '', threshold ?? -1, until * DAY, ...(cut === undefined ? [] : [cut])],
    ]
    return rows.map(numbers) as Scored[]
  },
  *judgedBefore(from, to, after, limit) {
    const rows = yield [
      `SELECT trans_num, event_time, prediction, is_fraud AS label, ${VERDICT} AS verdict, amt AS amount FROM predictions
        WHERE event_time >= $1 AND event_time <= $2 AND (event_time > $1 OR trans_num > $3)
        ORDER BY event_time, trans_num LIMIT $4`,
      [after?.event_time ?? from, to, after?.trans_num ?? '', limit],
    ]
    return rows.map(numbers) as Before[]
  },
}
export function numbers(row: Row) {
  const read = { ...row }
  for (const name in read) if (typeof read[name] === 'bigint') read[name] = Number(read[name])
  return read
}
