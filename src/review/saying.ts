import { identity } from '../transaction.ts'
import type { Statement } from './figures.ts'
import { type Case, isSetBySql, type Review, type Said, type Saying, seenOf, verdictOf, type Which } from './reviews.ts'
import { among, keys, OF_P, payments, reviews, SELECT } from './rows.ts'

type Work<T> = Generator<Statement, T, Record<string, unknown>[]>
type Added = Omit<Review, 'id'>

/** sayings of which each step is one statement */
const AT_A_TIME = 500
const COLUMNS = ['trans_num', 'event_time', 'verdict', 'note', 'reviewer', 'via', 'at'] as const

/** How what people say is kept. */
export const SAYING = {
  *say(sayings: readonly Saying[]): Work<Said[]> {
    const said: Said[] = []
    for (const some of apart(sayings)) said.push(...(yield* sayAll(some)))
    return said
  },
}

/** In their order, in lists that name no payment twice: what is said of it again is said after the first. */
function* apart(sayings: readonly Saying[]): Generator<Saying[]> {
  let some = new Map<string, Saying>()
  for (const saying of sayings) {
    if (some.size === AT_A_TIME || some.has(identity(saying))) {
      yield [...some.values()]
      some = new Map()
    }
    some.set(identity(saying), saying)
  }
  if (some.size > 0) yield [...some.values()]
}

function* sayAll(sayings: readonly Saying[]): Work<Said[]> {
  const rows = payments(yield [`${SELECT} WHERE ${among(sayings)} FOR UPDATE`, keys(sayings)])
  const said = reviews(yield [`SELECT * FROM reviews WHERE ${among(sayings)} ORDER BY id`, keys(sayings)])
  const trails = Map.groupBy(said, identity)
  const cases = new Map(
    rows.map((payment) => [identity(payment), { payment, trail: trails.get(identity(payment)) ?? [] }]),
  )
  const added: Added[] = []
  const settled: Which[] = []
  const outcomes = sayings.map(({ seen, ...saying }): Said | Added => {
    const { trans_num, event_time } = saying
    const found = cases.get(identity(saying))
    if (!found) return { missing: { trans_num, event_time } }
    const again = saidBefore(found, saying, seen)
    if (again) {
      if (seen === undefined && verdictOf(found.payment) === undefined) settled.push(saying) // the row is a new one
      return { review: again }
    }
    if (seen !== undefined && seen !== seenOf(found)) return { stale: found }
    added.push(saying)
    settled.push(saying)
    return saying
  })
  const ids = added.length > 0 ? (yield insert(added)).map(({ id }) => Number(id)).sort((a, b) => a - b) : []
  if (settled.length > 0) yield settle(settled)
  let next = 0
  return outcomes.map((one) => ('verdict' in one ? { review: { ...one, id: ids[next++]! } } : one))
}

/** What is there already of what is said now: anywhere, or as the last word, which it follows unseen. */
function saidBefore(found: Case, { at, verdict, reviewer, note }: Added, seen: string | undefined) {
  const isSame = (r: Review) => r.verdict === verdict && r.reviewer === reviewer && r.note === note
  if (seen === undefined) return found.trail.find((r) => r.at === at && isSame(r))
  const last = found.trail.at(-1)
  return last && seen !== seenOf(found) && !isSetBySql(found) && isSame(last) ? last : undefined
}

/** Numbers are given in the order of the rows, and may come back in any. */
const insert = (added: readonly Added[]): Statement => [
  `INSERT INTO reviews (${COLUMNS}) VALUES ${added.map((_, i) => places(i))} RETURNING id`,
  added.flatMap((one) => COLUMNS.map((column) => one[column])),
]
const places = (row: number) => `(${COLUMNS.map((_, i) => `$${row * COLUMNS.length + i + 1}`)})`

/** The columns of these payments follow what was said last. By FROM (VALUES …) SQLite takes ten times as long. */
const settle = (which: readonly Which[]): Statement => [
  `UPDATE predictions AS p SET (fraud_confirmed, reviewed_at, reviewed_by) =
      (SELECT CASE verdict WHEN 'fraud' THEN 1 WHEN 'legit' THEN 0 END, CASE WHEN verdict <> 'withdrawn' THEN at END,
         CASE WHEN verdict <> 'withdrawn' THEN reviewer END
       FROM reviews AS r WHERE ${OF_P} ORDER BY id DESC LIMIT 1)
    WHERE ${among(which)}`,
  keys(which),
]
