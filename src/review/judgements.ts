import { DAY } from '../io/time.ts'
import { numbers, type Statement, TOTALS, VERDICT } from './figures.ts'
import type { Judged, Judgements, Paired, Which } from './reviews.ts'
import { named } from './rows.ts'

type Row = Record<string, unknown>
type Work<T> = Generator<Statement, T, Row[]>

const COLUMNS = ['trans_num', 'event_time', 'model', 'prediction', 'score', 'threshold', 'predicted_at'] as const
/** drawn at a time: whoever records waits no longer than for these */
const AT_A_TIME = 500

/** A row `p` that a challenger alone flags. */
export const ONLY_CHALLENGED = `EXISTS (SELECT 1 FROM judgements AS j WHERE j.event_time = p.event_time AND
  j.trans_num = p.trans_num AND j.prediction = 1)`

/** How what challengers say is kept, and asked for, in any engine. */
export const JUDGEMENTS = {
  *keep(judged: readonly Judged[]): Work<void> {
    const places = judged.map((_, i) => `(${COLUMNS.map((_, j) => `$${i * COLUMNS.length + j + 1}`)})`)
    yield [
      `INSERT INTO judgements (${COLUMNS}) VALUES ${places} ON CONFLICT (event_time, trans_num, model) DO NOTHING`,
      judged.flatMap((one) => COLUMNS.map((column) => one[column])),
    ]
  },
  *undrawn(since: number): Work<Which[]> {
    const rows = yield [
      `SELECT p.trans_num, p.event_time FROM (SELECT * FROM judgements WHERE prediction = 1 AND predicted_at > $1
         ORDER BY predicted_at DESC LIMIT ${AT_A_TIME}) AS j
       JOIN predictions AS p ON p.trans_num = j.trans_num AND p.event_time = j.event_time
       WHERE p.prediction = 0 AND coalesce(p.sampled, 0) < 1`,
      [since],
    ]
    return named(rows)
  },
  *paired(champion: string, challenger: string): Work<Paired[]> {
    const said = (model: string) => `CASE WHEN p.model = ${model} THEN p.prediction ELSE j.prediction END`
    const rows = yield [
      `SELECT p.event_time / ${DAY} AS day, ${said('$1')} AS champion, ${said('$2')} AS challenger, is_fraud AS label,
         ${VERDICT} AS verdict, ${TOTALS}
       FROM judgements AS j JOIN predictions AS p ON p.trans_num = j.trans_num AND p.event_time = j.event_time
       WHERE (p.model = $1 AND j.model = $2) OR (p.model = $2 AND j.model = $1) GROUP BY 1, 2, 3, 4, 5`,
      [champion, challenger],
    ]
    return rows.map(numbers) as Paired[]
  },
  *draw(which: readonly Which[]): Work<void> {
    for (const { trans_num, event_time } of which)
      yield ['UPDATE predictions SET sampled = 1 WHERE trans_num = $1 AND event_time = $2', [trans_num, event_time]]
  },
} satisfies {
  [N in keyof Judgements]: (...given: Parameters<Judgements[N]>) => Work<Awaited<ReturnType<Judgements[N]>>>
}
