import { grouped, percent, plural } from '../io/text.ts'
import type { Paired } from '../review/reviews.ts'
import { type Rules, ripeUntil, type Truth, truthIn, truthOf } from './board.ts'
import { bootstrap, type Interval, mcNemar, mcNemarEvidence } from './statistics.ts'
import { wholeDollars } from './words.ts'

/** Evidence from which on one model is the better one: of two equal ones, one pair in 20 ever gets there. */
const ENOUGH = 20
/** days of a week's rhythm, before which nothing is said; and before it is in them twice */
const LEAST_DAYS = 7
const DAYS_FOR_MONEY = 14
/** days that are thought ahead */
const YEAR = 365

type Names = { champion: string; challenger: string }
/** Two models, as people call them, and as rows name them. */
export type Pair = { names: Names; stamped: Names }
/** What both flag, each alone, or neither. */
export type Square = { both: number; champion: number; challenger: number; neither: number }
/** Two models on the same rows, of ripe days. Money in $: caught less reviews, the challenger's more than the champion's. */
export type Comparison = {
  truth: Truth
  rows: number
  unknown: number
  days: number
  frauds: Square
  others: Square
  /** by frauds that one alone catches; `chance`: of so much by chance alone */
  evidence: number
  chance: number
  better: 'champion' | 'challenger' | undefined
  /** days until it is known, at this rate; undefined: more than a year */
  moreDays: number | undefined
  money: { more: number; interval?: Interval }
}

/** `random` is for the bootstrap: in 0 to 1. */
export function compare(paired: readonly Paired[], rules: Rules, now: number, random: () => number): Comparison {
  const truth = truthIn(
    paired.map((pair) => ({ ...pair, model: null, threshold: null, prediction: 0, sampled: null })),
    rules,
  )
  const ripe = paired.filter(({ day }) => day < ripeUntil(now, truth, rules))
  const count = (which: (pair: Paired) => boolean) => ripe.reduce((sum, pair) => sum + (which(pair) ? pair.rows : 0), 0)
  const square = (is: 0 | 1): Square => {
    const of = (champion: 0 | 1, challenger: 0 | 1) =>
      count((pair) => pair.champion === champion && pair.challenger === challenger && truthOf(pair, truth) === is)
    return { both: of(1, 1), champion: of(1, 0), challenger: of(0, 1), neither: of(0, 0) }
  }
  const frauds = square(1)
  const { champion: one, challenger: other } = frauds
  const evidence = mcNemarEvidence(one, other)
  const byDay = [...Map.groupBy(ripe, ({ day }) => day).values()].map((day) =>
    day.reduce((sum, pair) => sum + (pair.challenger - pair.champion) * worth(pair, truthOf(pair, truth), rules), 0),
  )
  const days = byDay.length
  const more = byDay.reduce((sum, day) => sum + day, 0)
  const interval = days >= DAYS_FOR_MONEY ? bootstrap(byDay, random) : undefined
  return {
    ...{
      truth,
      rows: count(() => true),
      unknown: count((pair) => truthOf(pair, truth) === undefined),
      days,
      frauds,
      evidence,
    },
    others: square(0),
    chance: mcNemar(one, other),
    better: evidence < ENOUGH || days < LEAST_DAYS ? undefined : other > one ? 'challenger' : 'champion',
    moreDays: daysUntil(one / days, other / days, days),
    money: { more, ...(interval && { interval }) },
  }
}

/** What flagging it brings: its amount, if it is fraud, less the cost of a review. */
const worth = ({ amount, rows }: Paired, was: 0 | 1 | undefined, { reviewCost }: Rules) =>
  (was === 1 ? amount : 0) - rows * reviewCost

function daysUntil(one: number, other: number, days: number): number | undefined {
  for (let more = Math.max(0, LEAST_DAYS - days); more <= YEAR; more++)
    if (mcNemarEvidence(one * (days + more), other * (days + more)) >= ENOUGH) return more
  return undefined
}

/** As sentences, with the names of the two. */
export function comparisonLines(
  { rows, unknown, days, frauds, others, evidence, chance, better, moreDays, money }: Comparison,
  names: Names,
): string[] {
  const { champion, challenger } = names
  if (rows === 0) return [`${champion} and ${challenger} have judged no row both that counts yet`]
  const sum = (square: Square) => square.both + square.champion + square.challenger + square.neither
  const shares = ({ both, champion: one, challenger: other }: Square, what: string) =>
    `${grouped(both)} ${what} by both, ${grouped(other)} by ${challenger} alone, ${grouped(one)} by ${champion} alone`
  const until =
    moreDays === undefined ? 'more than a year at this rate' : `about ${plural(moreDays, 'more day')} at this rate`
  const found = `evidence ${evidence < 100 ? evidence.toPrecision(2) : grouped(Math.min(Math.round(evidence), 1e9))} of ${ENOUGH}, McNemar p ${chance < 0.001 ? 'below 0.001' : chance.toFixed(3)}`
  const within = money.interval
    ? `; ${money.interval.map(wholeDollars).join(' to ')} in 95 of 100 such times`
    : `; how sure that is can be said from ${DAYS_FOR_MONEY} days on`
  return [
    `${grouped(rows)} rows that both have judged, on ${plural(days, 'day')}${unknown > 0 ? `; of ${grouped(unknown)} nobody knows what they were` : ''}`,
    `${grouped(sum(frauds))} frauds: ${shares(frauds, 'caught')}, ${grouped(frauds.neither)} by neither`,
    `${grouped(sum(others))} others: ${shares(others, 'flagged')}`,
    better
      ? `${names[better]} catches more frauds (${found})`
      : `too early to say which one catches more frauds (${found}): ${until}`,
    `caught less reviews, ${challenger} against ${champion}: ${wholeDollars(money.more)}${within}`,
    ...(others.challenger + others.both > 5 * Math.max(1, others.champion + others.both)
      ? [
          `careful: ${challenger} flags ${percent((others.challenger + others.both) / sum(others), 2)} of what is no fraud, more than five times as much`,
        ]
      : []),
  ]
}
