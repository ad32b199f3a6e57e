import { missedShare, type Rules, type Share, share } from '../care/board.ts'
import { type Comparison, compare, comparisonLines, type Square } from '../care/compare.ts'
import { shareOf } from '../care/words.ts'
import { reason } from '../io/errors.ts'
import { grouped } from '../io/text.ts'
import { DAY } from '../io/time.ts'
import { pages } from '../review/pages.ts'
import type { Before, Paired, Reviews } from '../review/reviews.ts'
import type { Topics } from '../topic/topic.ts'
import { identity, type Prediction } from '../transaction.ts'

/** rows that the database is asked for at a time */
const PAGE = 10_000

/** What it takes to say what rows were, and who was right. */
export type Judging = { reviews: Pick<Reviews, 'rows' | 'judgedBefore'>; rules: Rules }
/** What a model said of rows, by their identity; and the times of the first and the last of them. */
export type Judged = { said: Map<string, 0 | 1>; first: number; last: number }

/**
 * What was judged before, against what is said now: of the database, where people's verdicts are, and of the topic what
 * that has not. Forgets what it has compared.
 */
export async function comparedLines(
  topics: Pick<Topics, 'scan'>,
  { said, first, last }: Judged,
  name: string | null,
  { reviews, rules }: Judging,
): Promise<string[]> {
  const n = { before: 0, same: 0, newly: 0, noLonger: 0 }
  const cells = new Map<string, Paired>()
  function see(before: Before) {
    const now = said.get(identity(before))
    if (now === undefined) return
    said.delete(identity(before))
    n.before++
    if (now === before.prediction) n.same++
    else if (now === 1) n.newly++
    else n.noLonger++
    const { label, verdict, prediction: champion, amount } = before
    const day = Math.floor(before.event_time / DAY)
    const key = `${day} ${label} ${verdict} ${champion} ${now}`
    const cell = cells.get(key)
    if (!cell) cells.set(key, { day, label, verdict, champion, challenger: now, rows: 1, amount })
    else [cell.rows, cell.amount] = [cell.rows + 1, cell.amount + amount]
  }
  const lines: string[] = []
  try {
    for await (const page of pages<Before>(PAGE, (after, size) => reviews.judgedBefore(first, last, after, size))) {
      for (const before of page) see(before)
      if (said.size === 0) break
    }
  } catch (error) {
    lines.push(`verdicts count nowhere here, as the database could not be asked: ${reason(error)}`)
  }
  if (said.size > 0) for await (const { record } of topics.scan('predictions')) see(unjudged(record))
  const others = said.size > 0 ? `; ${grouped(said.size)} were not judged before` : ''
  const compared = compare([...cells.values()], rules, Date.now(), Math.random)
  return [
    `of ${grouped(n.before)}: ${grouped(n.same)} as before, ${grouped(n.newly)} newly fraud, ${grouped(n.noLonger)} no longer fraud${others}`,
    ...lines,
    ...(n.before > 0 ? truthLines(compared, name ?? 'now') : []),
  ]
}
const unjudged = ({ trans_num, event_time, prediction, is_fraud, amt }: Prediction): Before => ({
  ...{ trans_num, event_time, prediction, label: is_fraud, verdict: null, amount: amt },
})

/** Before → now, by what was fraud. */
function truthLines(compared: Comparison, name: string): string[] {
  const { truth, rows, frauds, others } = compared
  const names = { champion: 'before', challenger: name }
  if (rows === 0)
    return ['none of these rows counts yet: what was fraud is not known until TRUTH_DELAY_DAYS have passed']
  const caught = flaggedOf(frauds)
  const alarms = flaggedOf(others)
  const all = frauds.neither + frauds.both + frauds.champion + frauds.challenger
  const missed = { before: all - caught.before, now: all - caught.now }
  const rate = (when: 'before' | 'now') =>
    truth === 'producer' ? missedShare({ caught: caught[when], missed: missed[when] }) : undefined
  const precision = (when: 'before' | 'now') =>
    caught[when] + alarms[when] > 0 ? share(caught[when], caught[when] + alarms[when]) : undefined
  return [
    `by what was fraud (TRUTH=${truth}), before → ${name}:`,
    `  frauds caught  ${change(caught)} of ${grouped(all)}`,
    `  frauds missed  ${change(missed)}${within('missed', rate('before'), rate('now'))}${truth === 'reviewer' ? ' that people know of: of what nobody flagged they know little' : ''}`,
    `  false alarms   ${change(alarms)}${within('precision', precision('before'), precision('now'))}`,
    ...comparisonLines(compared, names).map((line) => `  ${line}`),
  ]
}
const flaggedOf = ({ both, champion, challenger }: Square) => ({ before: both + champion, now: both + challenger })
const change = ({ before, now }: { before: number; now: number }) => `${grouped(before)} → ${grouped(now)}`
const within = (what: string, before: Share | undefined, now: Share | undefined) =>
  before || now ? `, ${what} ${before ? shareOf(before) : 'not known'} → ${now ? shareOf(now) : 'not known'}` : ''
