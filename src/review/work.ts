import { DAY } from '../io/time.ts'
import { OPEN, REVIEWED } from '../record/schema.ts'
import { AGED } from './aged.ts'
import { DAILY } from './daily.ts'
import { FIGURES, type Statement } from './figures.ts'
import { JUDGEMENTS, ONLY_CHALLENGED } from './judgements.ts'
import {
  type Counts,
  type Exported,
  idOf,
  LISTED,
  type Past,
  type Questions,
  type Queued,
  type Review,
  type Tab,
  type Which,
} from './reviews.ts'
import { AFTER, KEY, LIST, listed, named, OF_P, payments, place, reviews, SELECT, SELECTED } from './rows.ts'
import { SAYING } from './saying.ts'
import { WATCHED } from './watched.ts'

type Row = Record<string, unknown>
/** Asks one statement after the other, and is answered with the rows; what changes something is one transaction. */
type Work<T> = Generator<Statement, T, Row[]>

/** How each question is answered, whichever engine is asked. */
export const WORK: {
  [N in keyof Questions]: (...given: Parameters<Questions[N]>) => Work<Awaited<ReturnType<Questions[N]>>>
} = {
  ...AGED,
  ...DAILY,
  ...FIGURES,
  ...WATCHED,
  *queue(tab, limit) {
    const text = `SELECT ${LISTED}, coalesce((SELECT max(id) FROM reviews AS r WHERE ${OF_P}), 0) AS said
      FROM predictions AS p WHERE ${WHERE[tab]} ORDER BY ${ORDER[tab]} LIMIT $1`
    return listed(yield [text, [limit]]) as Queued[]
  },
  *order(tab, limit) {
    return named(
      yield [`SELECT ${KEY} FROM predictions AS p WHERE ${WHERE[tab]} ORDER BY ${ORDER[tab]} LIMIT $1`, [limit]],
    )
  },
  *counts() {
    const counted = Object.entries(WHERE).map(
      ([tab, where]) => `(SELECT count(*) FROM predictions AS p WHERE ${where}) AS ${tab}`,
    )
    const [row] = yield [
      `SELECT ${counted}, (SELECT coalesce(sum(amt), 0) FROM predictions WHERE ${WHERE.alarms}) AS sum`,
    ]
    return Object.fromEntries(Object.entries(row!).map(([name, value]) => [name, Number(value)])) as Counts
  },
  *find(id) {
    const found = payments(yield [`${SELECT} WHERE event_time = $1`, [timeIn(id)]]).find(
      (payment) => idOf(payment) === id,
    )
    return found && { payment: found, trail: yield* trail(found) }
  },
  *chosen(ids) {
    const times = ids.map((_, i) => `$${i + 1}`)
    const found = ids.length > 0 ? listed(yield [`${LIST} WHERE event_time IN (${times})`, ids.map(timeIn)]) : []
    const byId = new Map(found.map((one) => [idOf(one), one]))
    return ids.map((id) => byId.get(id))
  },
  *card({ cc_num, event_time }) {
    const order = 'ORDER BY event_time DESC, trans_num LIMIT'
    return {
      last: listed(yield [`${LIST} WHERE cc_num = $1 ${order} 20`, [cc_num]]),
      before: listed(
        yield [
          `SELECT event_time, amt, merch_lat, merch_long FROM predictions WHERE cc_num = $1 AND event_time < $2 ${order} 500`,
          [cc_num, event_time],
        ],
      ) as unknown as Past[],
    }
  },
  *search(words, limit) {
    const order = `ORDER BY event_time DESC LIMIT ${limit}`
    const exact = listed(yield [`${LIST} WHERE trans_num = $1 ${order}`, [words]])
    if (exact.length > 0) return exact
    if (/^\d{4}$/.test(words)) return listed(yield [`${LIST} WHERE cc_num % 10000 = $1 ${order}`, [Number(words)]])
    const like = `%${words.toLowerCase().replace(/[\\%_]/g, '\\$&')}%`
    // Of what is searched through no more is read than the name, or it takes twice as long.
    const newest = `(SELECT merchant, trans_num, event_time FROM predictions WHERE event_time > $2
      ORDER BY event_time DESC LIMIT ${MOST_SEARCHED}) AS newest`
    const found = `SELECT trans_num, event_time FROM ${newest} WHERE lower(merchant) LIKE $1 ESCAPE '\\' ${order}`
    return listed(yield [`${LIST} WHERE (trans_num, event_time) IN (${found}) ${order}`, [like, Date.now() - 90 * DAY]])
  },
  *recent(limit) {
    return listed(yield [`${LIST} ORDER BY event_time DESC LIMIT $1`, [limit]])
  },
  *usual(limit) {
    const last = `(${SELECT} ORDER BY event_time DESC LIMIT ${MOST_USUAL}) AS last`
    const numbered = `(SELECT *, row_number() OVER (ORDER BY event_time DESC) AS n, count(*) OVER () AS among FROM ${last}
      WHERE prediction = 0 AND coalesce(fraud_confirmed, 0) <> 1 AND coalesce(is_fraud, 0) <> 1) AS numbered`
    const apart = `CASE WHEN among < ${limit} THEN 1 ELSE among / ${limit} END`
    return payments(
      yield [`SELECT ${SELECTED} FROM ${numbered} WHERE (n - 1) % (${apart}) = 0 ORDER BY n LIMIT ${limit}`],
    )
  },
  *sightings(trans_nums) {
    const wanted = trans_nums.map((_, i) => `$${i + 1}`)
    return named(
      yield [`SELECT ${KEY} FROM predictions WHERE trans_num IN (${wanted}) ORDER BY event_time`, trans_nums],
    )
  },
  *reviews(after, limit) {
    return reviews(yield ['SELECT * FROM reviews WHERE id > $1 ORDER BY id LIMIT $2', [after, limit]])
  },
  *setBySql(after, limit) {
    const last = `SELECT max(id) FROM reviews AS r WHERE ${OF_P}`
    return payments(
      yield [
        `${SELECT} AS p WHERE ${REVIEWED} AND ${AFTER} AND NOT EXISTS (SELECT 1 FROM reviews WHERE id = (${last}) AND
          at = p.reviewed_at AND coalesce(p.fraud_confirmed, 2) = CASE verdict WHEN 'fraud' THEN 1 WHEN 'legit' THEN 0 ELSE 2 END)
          ORDER BY event_time, trans_num LIMIT $3`,
        [...place(after), limit],
      ],
    )
  },
  *rows({ kind, from, to, since, until }, after, limit) {
    const known = {
      validated: 'fraud_confirmed IS NOT NULL',
      truth: 'coalesce(fraud_confirmed, is_fraud) IS NOT NULL',
      all: 'event_time IS NOT NULL',
    }[kind]
    const later = since
      ? `AND (EXISTS (SELECT 1 FROM reviews AS r WHERE ${OF_P} AND r.id > $6) OR reviewed_at IS NULL OR reviewed_at > $7)`
      : ''
    const before =
      until === undefined ? '' : `AND NOT EXISTS (SELECT 1 FROM reviews AS r WHERE ${OF_P} AND r.id > ${until})`
    return payments(
      yield [
        `${SELECT} AS p WHERE ${known} AND ${AFTER} AND event_time >= $4 AND event_time < $5 ${later} ${before}
          ORDER BY event_time, trans_num LIMIT $3`,
        [
          ...place(after),
          limit,
          Math.max(from, after?.event_time ?? from),
          to,
          ...(since ? [since.review, since.at] : []),
        ],
      ],
    )
  },
  *missed(labelled, limit) {
    // What waits to be audited is nobody's to know.
    const known = `(fraud_confirmed = 1${labelled ? ` OR (is_fraud = 1 AND sampled IS NULL AND ${OPEN})` : ''})`
    return listed(yield [`${LIST} WHERE prediction = 0 AND ${known} ORDER BY event_time DESC LIMIT $1`, [limit]])
  },
  *lastExport() {
    const [row] = yield ["SELECT * FROM exports WHERE kind <> 'part' ORDER BY id DESC LIMIT 1"]
    return (
      row && ({ ...row, at: Number(row.at), exported: Number(row.exported), review: Number(row.review) } as Exported)
    )
  },
  *lastReview() {
    const [row] = yield ['SELECT coalesce(max(id), 0) AS id FROM reviews']
    return Number(row!.id)
  },
  *noteExport({ at, kind, exported, review }) {
    yield ['INSERT INTO exports (at, kind, exported, review) VALUES ($1, $2, $3, $4)', [at, kind, exported, review]]
  },
  ...JUDGEMENTS,
  ...SAYING,
}
/** Those that change something. */
export const WRITES: readonly (keyof Questions)[] = [
  'say',
  'noteExport',
  'noteBaselines',
  'keep',
  'draw',
  'forget',
  'putBack',
]

/** rows among which a merchant's name is searched for, and usual ones */
const [MOST_SEARCHED, MOST_USUAL] = [100_000, 400]
const WHERE: Record<Tab, string> = {
  alarms: `prediction = 1 AND ${OPEN}`,
  disagreements: `prediction = 0 AND sampled IS NOT NULL AND ${OPEN} AND sampled = 1 AND ${ONLY_CHALLENGED}`,
  audit: `prediction = 0 AND sampled IS NOT NULL AND ${OPEN} AND NOT (sampled = 1 AND ${ONLY_CHALLENGED})`,
  unsure: `${REVIEWED} AND fraud_confirmed IS NULL`,
  done: `${REVIEWED} AND fraud_confirmed IS NOT NULL`,
}
const LATEST = 'coalesce(reviewed_at, 0) DESC'
const ORDER: Record<Tab, string> = {
  alarms: 'amt DESC, event_time DESC',
  disagreements: 'amt DESC, event_time DESC',
  audit: 'event_time DESC',
  unsure: LATEST,
  done: LATEST,
}
/** When the payment happened that an id stands for; -1: it stands for none. */
function timeIn(id: string): number {
  const [time = '', hash] = id.split('-')
  return /^[0-9a-z]{1,9}$/.test(time) && hash ? Number.parseInt(time, 36) : -1
}

function* trail({ trans_num, event_time }: Which): Work<Review[]> {
  return reviews(
    yield ['SELECT * FROM reviews WHERE trans_num = $1 AND event_time = $2 ORDER BY id', [trans_num, event_time]],
  )
}
