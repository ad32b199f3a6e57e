import { DAY } from '../io/time.ts'
import type { Counted } from '../review/reviews.ts'
import { bootstrap, type Estimate, fayFeuer, type Interval, jeffreys, shareOfBoth, sum } from './statistics.ts'

/** Whose word counts where no person has said anything: the producer's, or nobody's. */
export type Truth = 'producer' | 'reviewer'
export type Rules = { truth?: Truth | undefined; delayDays?: number | undefined; reviewCost: number }
/** A share that was counted, or estimated from a sample; there is none without its interval. */
export type Share = { value: number; interval: Interval }
/** What is known of a model at a threshold, on the days that are ripe. Amounts in $. */
export type Board = {
  model: string | null
  threshold: number | null
  /** days since 1970; `ripe`: how many of them count */
  first: number
  last: number
  ripe: number
  rows: number
  /** later rows, that count nowhere yet */
  unripe: number
  /** rows of which nobody knows whether they were fraud */
  unknown: number
  caught: number
  missed: number
  falseAlarms: number
  /** alarms that nobody has judged */
  open: number
  flagged: Share
  /** `worst`: whatever the alarms without a verdict turn out to be */
  precision?: Share & { worst: Interval }
  falseNegativeRate?: Share
  /** where people alone tell: rows of the sample, those with a verdict, and how many it takes for ±10 points */
  audit?: { drawn: number; judged: number; wanted: number }
  money: { caught: number; missed: number; reviews: number; spent: number; net?: Interval }
  days: Day[]
}
export type Day = { day: number; rows: number; flagged: number; caught: number; missed: number; falseAlarms: number }

/** fewer frauds say nothing of a share of them */
export const FEW = 5
/** days before a week's rhythm is in them twice */
const DAYS_FOR_NET = 14
/** days until what is unknown is known, as a rule */
const DELAY: Record<Truth, number> = { producer: 0, reviewer: 7 }

/** What is fraud of all that is counted alike; undefined: nobody knows. A person's word beats the producer's. */
export const truthOf = ({ verdict, label }: Pick<Counted, 'verdict' | 'label'>, truth: Truth) =>
  verdict === 0 || verdict === 1 ? verdict : verdict === 2 || truth === 'reviewer' ? undefined : (label ?? undefined)

/** Unless it is set: the producer's word counts once it has called anything fraud. */
export const truthIn = (counted: readonly Counted[], { truth }: Rules): Truth =>
  truth ?? (counted.some(({ label }) => label === 1) ? 'producer' : 'reviewer')
/** The first day that does not count yet. */
export const ripeUntil = (now: number, truth: Truth, { delayDays = DELAY[truth] }: Rules) =>
  Math.floor(now / DAY) + 1 - delayDays - (delayDays > 0 ? 1 : 0)

/** For each model and threshold, those that judged last first. `random` is for the bootstrap: in 0 to 1. */
export function boards(counted: readonly Counted[], rules: Rules, now: number, random: () => number): Board[] {
  const truth = truthIn(counted, rules)
  const until = ripeUntil(now, truth, rules)
  const groups = Map.groupBy(counted, ({ model, threshold }) => JSON.stringify([model, threshold]))
  return [...groups.values()]
    .map((cells) => boardOf(cells, { truth, until, reviewCost: rules.reviewCost, random }))
    .sort((a, b) => Math.min(b.last, until) - Math.min(a.last, until) || b.rows - a.rows) // no clock that is ahead counts
}

type Reading = { truth: Truth; until: number; reviewCost: number; random: () => number }
function boardOf(all: readonly Counted[], { truth, until, reviewCost, random }: Reading): Board {
  const cells = all.filter(({ day }) => day < until)
  const rowsOf = (which: (cell: Counted) => boolean) => sum(cells.filter(which).map(({ rows }) => rows))
  const was = (cell: Counted) => truthOf(cell, truth)
  const audited = cells.filter(({ prediction, sampled }) => prediction === 0 && sampled !== null)
  const judged = audited.filter(({ verdict }) => verdict === 0 || verdict === 1)
  const weight = weigher(audited, judged)
  const days = daysOf(cells, was, truth, weight)
  const found = {
    caught: rowsOf((cell) => cell.prediction === 1 && was(cell) === 1),
    missed: rowsOf((cell) => cell.prediction === 0 && was(cell) === 1),
    falseAlarms: rowsOf((cell) => cell.prediction === 1 && was(cell) === 0),
    open: rowsOf((cell) => cell.prediction === 1 && was(cell) === undefined && cell.verdict !== 2),
  }
  const rows = rowsOf(() => true)
  const flagged = rowsOf(({ prediction }) => prediction === 1)
  const seen = flagged + sum(judged.map((cell) => cell.rows))
  const spent = seen * reviewCost
  const money = {
    caught: sum(days.map((day) => day.caughtAmount)),
    missed: sum(days.map((day) => day.missedAmount)),
    ...{ reviews: seen, spent },
  }
  const net = days.map((day) => day.caughtAmount - day.seen * reviewCost)
  const rate = truth === 'producer' ? missedShare(found) : estimated(found, judged, weight)
  const precision = precisionOf(found, flagged)
  return {
    ...{ model: all[0]!.model, threshold: all[0]!.threshold, ripe: days.length, rows, ...found },
    first: Math.min(...all.map(({ day }) => day)),
    last: Math.max(...all.map(({ day }) => day)),
    unripe: sum(all.map((cell) => cell.rows)) - rows,
    unknown: rowsOf((cell) => was(cell) === undefined),
    flagged: share(flagged, rows),
    ...(precision && { precision }),
    ...(rate && { falseNegativeRate: rate }),
    ...(truth === 'reviewer' && {
      audit: {
        ...{ drawn: sum(audited.map((c) => c.rows)), judged: sum(judged.map((c) => c.rows)) },
        wanted: wanted(found.caught, rows - flagged),
      },
    }),
    money: { ...money, ...(days.length >= DAYS_FOR_NET && { net: bootstrap(net, random) }) },
    days: days.map(({ caughtAmount, missedAmount, seen, ...day }) => day),
  }
}

export const share = (hits: number, of: number): Share => ({
  value: of === 0 ? 0 : hits / of,
  interval: jeffreys(hits, of),
})

type Sampled = Pick<Counted, 'sampled' | 'rows'>
/** How many rows one of the sample stands for: those that were drawn and not judged yet are as those that were. */
export function weigher(audited: readonly Sampled[], judged: readonly Sampled[]) {
  const answered = sum(audited.map(({ rows }) => rows)) / Math.max(1, sum(judged.map(({ rows }) => rows)))
  return ({ sampled }: Sampled) => (sampled === null ? 0 : answered / sampled)
}

type Found = Pick<Board, 'caught' | 'missed' | 'falseAlarms' | 'open'>
/** Where each row has its truth: missed among all frauds. */
export function missedShare({ caught, missed }: Pick<Found, 'caught' | 'missed'>): Share | undefined {
  return caught + missed < FEW ? undefined : share(missed, caught + missed)
}

/**
 * Where people alone tell: what was missed follows from the sample, each row by its weight. Alarms say nothing of it:
 * without a judged sample there is no rate. An alarm without a verdict may be either; what is known to be missed is.
 */
function estimated(
  { caught, missed, falseAlarms, open }: Found,
  judged: readonly Counted[],
  weight: (cell: Counted) => number,
): Share | undefined {
  const frauds = judged.filter(({ verdict }) => verdict === 1)
  const found = frauds.flatMap((cell) => Array<number>(cell.rows).fill(weight(cell)))
  if (judged.length === 0 || caught + found.length < FEW) return undefined
  const [low, high] = fayFeuer(
    found,
    judged.reduce((most, cell) => Math.max(most, weight(cell)), 0),
  )
  const known = Math.max(sum(found), missed)
  const all: Estimate = { value: known, interval: [Math.max(low, missed), Math.max(high, missed)] }
  const caughtInAll = caught + (open * caught) / Math.max(1, caught + falseAlarms)
  return {
    value: known / Math.max(1, known + caughtInAll),
    interval: [shareOfBoth(all, counted(caught + open))[0], shareOfBoth(all, counted(caught))[1]],
  }
}

/** What has been counted could have come more or less often. */
const counted = (value: number): Estimate => ({ value, interval: fayFeuer(Array<number>(value).fill(1), 1) })

/** Rows of the sample to judge until the rate is known to ±10 points, if one fraud in five is missed. */
function wanted(caught: number, honest: number): number {
  const [rate, within] = [0.2, 0.1]
  if (caught === 0) return 0
  const missed = (caught * rate) / (1 - rate)
  const largest = ((within / 1.96) * caught) ** 2 / ((1 - rate) ** 4 * missed)
  return Math.ceil(honest / Math.max(1, largest))
}

function precisionOf({ caught, falseAlarms, open }: Found, flagged: number) {
  if (caught + falseAlarms === 0) return undefined
  const worst: Interval = [jeffreys(caught, flagged)[0], jeffreys(caught + open, caught + falseAlarms + open)[1]]
  return { ...share(caught, caught + falseAlarms), worst }
}

function daysOf(
  cells: readonly Counted[],
  was: (cell: Counted) => 0 | 1 | undefined,
  truth: Truth,
  weight: (cell: Counted) => number,
) {
  const days = [...Map.groupBy(cells, ({ day }) => day)].sort(([a], [b]) => a - b)
  return days.map(([day, of]) => {
    const of1 = of.filter((cell) => cell.prediction === 1)
    const frauds = of.filter((cell) => was(cell) === 1)
    const missed = frauds.filter((cell) => cell.prediction === 0)
    const total = (found: readonly Counted[], of: (cell: Counted) => number) => sum(found.map(of))
    const rows = ({ rows }: Counted) => rows
    const judged = of.filter((c) => c.prediction === 0 && c.sampled !== null && (c.verdict === 0 || c.verdict === 1))
    return {
      ...{ day, rows: total(of, rows), flagged: total(of1, rows) },
      caught: total(frauds, rows) - total(missed, rows),
      missed: total(missed, rows),
      falseAlarms: total(
        of1.filter((cell) => was(cell) === 0),
        rows,
      ),
      caughtAmount: total(
        frauds.filter((cell) => cell.prediction === 1),
        ({ amount }) => amount,
      ),
      missedAmount: total(missed, (cell) => cell.amount * (truth === 'producer' ? 1 : weight(cell))),
      seen: total(of1, rows) + total(judged, rows),
    }
  })
}
