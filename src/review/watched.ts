import { DAY, HOUR } from '../io/time.ts'
import { IS_SCORE, type Statement } from './figures.ts'
import type { Measured, Questions } from './reviews.ts'

const YEAR = Math.round(365.2425 * DAY)
/** What is watched for drift: not the hour, which is the worker's own, nor what names a card or a payment. */
const NUMBERS: Record<string, string> = {
  ...{ amt: 'amt', city_pop: 'city_pop', lat: 'lat', long: 'long', merch_lat: 'merch_lat', merch_long: 'merch_long' },
  distance: '111.2 * sqrt(power(merch_lat - lat, 2) + power((merch_long - long) * cos(radians(lat)), 2))',
  age: `event_time / ${YEAR} + 1970 - CAST(substr(CAST(dob AS text), 1, 4) AS integer)`,
  score: `CASE WHEN ${IS_SCORE} THEN score END`,
}
const TEXTS = ['category', 'gender', 'state', 'job']
const [TILES, MOST] = [10, 20]
const RANGE = "coalesce(model, '') = $1 AND event_time >= $2 AND event_time <= $3"

type Row = Record<string, unknown>
type Watched = Pick<Questions, 'firstRows' | 'measured' | 'hours' | 'baselines' | 'noteBaselines'>
export const WATCHED: {
  [N in keyof Watched]: (
    ...given: Parameters<Watched[N]>
  ) => Generator<Statement, Awaited<ReturnType<Watched[N]>>, Row[]>
} = {
  *firstRows(model, count, until) {
    const rows = `SELECT event_time FROM predictions WHERE coalesce(model, '') = $1 AND event_time <= $3
      ORDER BY event_time LIMIT $2`
    const [row] = yield [
      `SELECT min(event_time) AS first, max(event_time) AS last, count(*) AS rows FROM (${rows}) AS found`,
      [model, count, until],
    ]
    return { first: Number(row!.first), last: Number(row!.last), rows: Number(row!.rows) }
  },
  *measured(model, first, last, base) {
    const found: Measured[] = []
    const range = [model, first, last]
    for (const name of [...Object.keys(NUMBERS), ...TEXTS]) {
      const known = base?.find((one) => one.name === name)
      if (base && !known) continue
      const of = `SELECT ${NUMBERS[name] ?? name} AS v FROM predictions WHERE ${RANGE}`
      const cells = known?.cells ?? (yield [name in NUMBERS ? edges(of) : names(of), range]).map(value)
      const holds = cells.map((_, i) => `WHEN v ${name in NUMBERS ? '<=' : '='} $${i + 4} THEN ${i}`).join(' ')
      const cell = `CASE WHEN v IS NULL THEN ${cells.length + 1} ${holds} ELSE ${cells.length} END`
      const rows = yield [
        `SELECT ${cell} AS cell, count(*) AS rows FROM (${of}) AS found GROUP BY 1`,
        [...range, ...cells],
      ]
      const counts = Array<number>(cells.length + 2).fill(0)
      for (const row of rows) counts[Number(row.cell)] = Number(row.rows)
      found.push({ model, name, first, last, cells, counts })
    }
    return found
  },
  *hours({ model, threshold }, since) {
    const rows = yield [
      `SELECT event_time / ${HOUR} AS hour, count(*) AS rows, sum(prediction) AS flagged FROM predictions
        WHERE coalesce(model, '') = $1 AND coalesce(threshold, -1) = $2 AND event_time >= $3 GROUP BY 1 ORDER BY 1`,
      [model ?? '', threshold ?? -1, since],
    ]
    return rows.map((row) => ({ hour: Number(row.hour), rows: Number(row.rows), flagged: Number(row.flagged) }))
  },
  *baselines(since) {
    const rows = yield ["SELECT * FROM baselines WHERE cells <> '' OR first >= $1 ORDER BY first", [since]]
    return rows.map((row) => ({
      ...{ model: String(row.model), name: String(row.name), first: Number(row.first), last: Number(row.last) },
      ...{ cells: row.cells === '' ? [] : JSON.parse(String(row.cells)), counts: JSON.parse(String(row.counts)) },
      base: row.cells !== '',
    }))
  },
  *noteBaselines(measured) {
    for (const { model, name, first, last, base, cells, counts } of measured)
      yield [
        `INSERT INTO baselines (model, name, first, last, cells, counts) VALUES ($1, $2, $3, $4, $5, $6)
          ON CONFLICT (model, name, first) DO NOTHING`,
        [model, name, first, last, base ? JSON.stringify(cells) : '', JSON.stringify(counts)],
      ]
  },
}

/** What is at most the first is the first cell, and so on; what is above the last is one of its own. */
const edges = (of: string) =>
  `SELECT DISTINCT edge AS v FROM (SELECT tile, max(v) AS edge FROM (SELECT v, ntile(${TILES}) OVER (ORDER BY v) AS tile
    FROM (${of}) AS every WHERE v IS NOT NULL) AS tiled GROUP BY tile) AS edges WHERE tile < ${TILES} ORDER BY 1`
const names = (of: string) =>
  `SELECT v, count(*) AS rows FROM (${of}) AS every WHERE v IS NOT NULL GROUP BY v ORDER BY 2 DESC, 1 LIMIT ${MOST}`
const value = ({ v }: Row) => (typeof v === 'bigint' ? Number(v) : (v as string | number))
