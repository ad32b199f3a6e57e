import { isDeepStrictEqual } from 'node:util'
import { COLUMNS } from '../columns.ts'
import { OPEN } from '../record/schema.ts'
import { numbers, type Statement } from './figures.ts'
import type { Aged, Forgotten, Judged, Payment, Review, Which } from './reviews.ts'
import { AFTER, among, keys, payments, place, reviews, SELECT } from './rows.ts'

type Row = Record<string, unknown>
type Work<T> = Generator<Statement, T, Row[]>

const nameOf = ({ trans_num, event_time }: Which) => `${event_time}@${trans_num}`
const strip = <T extends Which>({ trans_num: _, event_time: __, ...rest }: T) => rest

/** Old rows: see Ageing of reviews.ts. */
export const AGED = {
  *aged(before: number, after: Which | undefined, limit: number): Work<Aged[]> {
    const [any] = yield ['SELECT * FROM predictions LIMIT 1']
    const strange = Object.keys(any ?? {}).filter((name) => !(COLUMNS as string[]).includes(name))
    if (strange.length > 0)
      throw new Error(`predictions has columns of yours (${strange.join(', ')}), which an archive has no place for`)
    return yield* whole(
      payments(
        yield [
          `${SELECT} WHERE ${AFTER} AND event_time < $3 AND predicted_at < $3 AND NOT (prediction = 1 AND ${OPEN})
            ORDER BY event_time, trans_num LIMIT $4`,
          [...place(after), before, limit],
        ],
      ),
    )
  },
  *forget(rows: readonly Aged[]): Work<Forgotten[]> {
    if (rows.length === 0) return []
    const found = yield* whole(payments(yield [`${SELECT} WHERE ${among(rows)} FOR UPDATE`, keys(rows)]))
    const there = new Map(found.map((row) => [nameOf(row), row]))
    const became = rows.map((row): Forgotten => {
      const now = there.get(nameOf(row))
      return now === undefined ? 'gone' : isDeepStrictEqual(now, row) ? 'done' : 'other'
    })
    const done = rows.filter((_, i) => became[i] === 'done')
    if (done.length > 0)
      for (const table of ['predictions', 'judgements']) yield [`DELETE FROM ${table} WHERE ${among(done)}`, keys(done)]
    return became
  },
  *putBack(rows: readonly Aged[]): Work<number> {
    let count = 0
    for (const row of rows) {
      const values = COLUMNS.map((name) => (name === 'trans_date_trans_time' ? timeOf(row) : row[name]))
      const put = yield [`${insert('predictions', COLUMNS)} RETURNING event_time`, values]
      if (put.length === 0) continue
      count++
      const said = reviews(yield [`SELECT * FROM reviews WHERE ${among([row])} ORDER BY id`, keys([row])])
      const has = (one: Omit<Review, keyof Which>) =>
        said.some(
          ({ at, verdict, reviewer, note }) =>
            at === one.at && verdict === one.verdict && reviewer === one.reviewer && note === one.note,
        )
      for (const { verdict, note, reviewer, via, at } of row.reviews.filter((one) => !has(one)))
        yield [
          `INSERT INTO reviews (trans_num, event_time, verdict, note, reviewer, via, at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
          [row.trans_num, row.event_time, verdict, note, reviewer, via, at],
        ]
      for (const { model, prediction, score, threshold, predicted_at } of row.judgements)
        yield [
          insert('judgements', JUDGED),
          [row.trans_num, row.event_time, model, prediction, score, threshold, predicted_at],
        ]
    }
    return count
  },
}

const JUDGED = ['trans_num', 'event_time', 'model', 'prediction', 'score', 'threshold', 'predicted_at']
const insert = (table: string, columns: readonly string[]) =>
  `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map((_, i) => `$${i + 1}`).join(', ')}) ON CONFLICT DO NOTHING`
/** rows up to which they are asked for by name */
const FEW = 1000
/** Each engine writes a time in its own way. */
const timeOf = ({ event_time }: Payment) => new Date(Math.floor(event_time / 1000) * 1000)

/** With all that there is of them, which are in the order of time. */
function* whole(rows: readonly Payment[]): Work<Aged[]> {
  if (rows.length === 0) return []
  const many = rows.length > FEW
  const where = many ? 'event_time >= $1 AND event_time <= $2' : among(rows)
  const values = many ? [rows[0]!.event_time, rows.at(-1)!.event_time] : keys(rows)
  const said = Map.groupBy(reviews(yield [`SELECT * FROM reviews WHERE ${where} ORDER BY id`, values]), nameOf)
  const found = yield [`SELECT ${JUDGED} FROM judgements WHERE ${where} ORDER BY model`, values]
  const judged = Map.groupBy(found.map(numbers) as unknown as Judged[], nameOf)
  return rows.map((row) => ({
    ...row,
    reviews: (said.get(nameOf(row)) ?? []).map(strip),
    judgements: (judged.get(nameOf(row)) ?? []).map(strip),
  }))
}
