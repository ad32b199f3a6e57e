import { DAY } from '../io/time.ts'
import { OPEN, REVIEWED } from '../record/schema.ts'
import type { Days, Grown, Sum } from './reviews.ts'

/** As in work.ts, which knows this file. */
type Work<T> = Generator<readonly [text: string, values: readonly number[]], T, Record<string, unknown>[]>

/** What is asked for the morning's mail, and for how fast the table grows. */
export const DAILY = {
  *days(from: number, to: number): Work<Days> {
    const within = 'predicted_at > $1 AND predicted_at <= $2 AND event_time > $3'
    const [judged] = yield [
      `SELECT count(*) AS rows, ${sum('alarms', 'prediction = 1')}, ${sum('unseen', 'prediction = 0 AND is_fraud = 1')}
        FROM predictions WHERE ${within}`,
      [from, to, from - DAY],
    ]
    const [said] = yield [
      `SELECT ${sum('fraud', 'prediction = 1 AND fraud_confirmed = 1')}, ${sum('legit', 'prediction = 1 AND fraud_confirmed = 0')},
        ${sum('missed', 'prediction = 0 AND fraud_confirmed = 1')}
        FROM predictions WHERE ${REVIEWED} AND coalesce(reviewed_at, 0) > $1 AND coalesce(reviewed_at, 0) <= $2`,
      [from, to],
    ]
    const [open] = yield [
      `SELECT ${sum('day', 'event_time > $1')}, ${sum('week', 'event_time <= $1 AND event_time > $2')},
        ${sum('older', 'event_time <= $2')}, min(event_time) AS oldest FROM predictions WHERE prediction = 1 AND ${OPEN}`,
      [to - DAY, to - 7 * DAY],
    ]
    const read =
      ({ ...row }: Record<string, unknown>) =>
      (name: string): Sum => ({
        count: Number(row[name]),
        amount: Number(row[`${name}_amount`]),
      })
    const [j, s, o] = [read(judged!), read(said!), read(open!)]
    return {
      rows: Number(judged!.rows),
      alarms: j('alarms'),
      unseen: j('unseen'),
      said: { fraud: s('fraud'), legit: s('legit'), missed: s('missed') },
      open: { day: o('day'), week: o('week'), older: o('older') },
      oldest: open!.oldest === null ? undefined : Number(open!.oldest),
    }
  },
  *grown(since: number): Work<Grown> {
    const [row] = yield [
      `SELECT (SELECT count(*) FROM predictions) AS rows, (SELECT min(event_time) FROM predictions) AS first,
        (SELECT count(*) FROM predictions WHERE event_time > $1) AS recent`,
      [since],
    ]
    const { rows, first, recent } = row!
    return { rows: Number(rows), recent: Number(recent), first: first === null ? undefined : Number(first) }
  },
}

const sum = (name: string, which: string) =>
  `count(*) FILTER (WHERE ${which}) AS ${name}, coalesce(sum(amt) FILTER (WHERE ${which}), 0) AS ${name}_amount`
