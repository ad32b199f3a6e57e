import type { Counted, Scored } from '../review/reviews.ts'
import { FEW, type Truth, truthOf, weigher } from './board.ts'
import { bootstrap, type Interval, sum } from './statistics.ts'

/** What a threshold would have cost: the frauds below it, and looking at all that is above. Amounts in $. */
export type Curve = {
  costs: readonly { at: number; cost: number }[]
  /** of the threshold that decided */
  present: number
  /** rows by score, in tenths */
  histogram: readonly { from: number; legit: number; fraud: number; unknown: number }[]
  /** the cheapest on even days, and what it would have saved on so many odd ones; it is chosen and judged by other days */
  cheapest?: { at: number; days: number; saving: number; interval?: Interval }
}
export type Prices = { truth: Truth; reviewCost: number }
type Cell = Omit<Counted, 'model' | 'threshold' | 'day'>
const EVEN = 0
/** odd days before a saving has an interval */
const DAYS = 14

/** What is lost when that is no alarm. */
function lossOf(cells: readonly Cell[], truth: Truth) {
  const audited = cells.filter(({ prediction, sampled }) => prediction === 0 && sampled !== null)
  const weight = weigher(
    audited,
    audited.filter(({ verdict }) => verdict === 0 || verdict === 1),
  )
  return (cell: Cell) => {
    if (truthOf(cell, truth) !== 1) return 0
    return cell.amount * (truth === 'producer' || cell.prediction === 1 ? 1 : weight(cell))
  }
}

/** By hundredths of the score. Undefined where too few frauds are known to choose by. */
export function curveOf(scored: readonly Scored[], { truth, reviewCost }: Prices): Curve | undefined {
  const known = (prediction: 0 | 1) =>
    sum(scored.filter((c) => c.prediction === prediction && truthOf(c, truth) === 1).map(({ rows }) => rows))
  if (known(0) < FEW || known(1) < FEW) return undefined
  const loss = lossOf(scored, truth)
  const costOf = (cells: readonly Scored[], isAlarm: (cell: Scored) => boolean) =>
    sum(cells.map((cell) => (isAlarm(cell) ? reviewCost * cell.rows : loss(cell))))
  const curve = (cells: readonly Scored[]) =>
    Array.from({ length: 99 }, (_, i) => ({ at: (i + 1) / 100, cost: costOf(cells, ({ step }) => step >= i + 1) }))
  const even = curve(scored.filter(({ day }) => day === EVEN))
  const cheapest = even.reduce((best, one) => (one.cost < best.cost ? one : best)).at
  const tenth = (i: number) => scored.filter(({ step }) => Math.min(9, Math.floor(step / 10)) === i)
  const rows = (cells: readonly Scored[], is: 0 | 1 | undefined) =>
    sum(cells.filter((cell) => truthOf(cell, truth) === is).map((cell) => cell.rows))
  return {
    costs: curve(scored),
    present: costOf(scored, ({ prediction }) => prediction === 1),
    histogram: Array.from({ length: 10 }, (_, i) => ({
      from: i / 10,
      ...{ legit: rows(tenth(i), 0), fraud: rows(tenth(i), 1), unknown: rows(tenth(i), undefined) },
    })),
    cheapest: { at: cheapest, days: 0, saving: 0 },
  }
}

/** What that threshold (`step` 1: above it) would have saved on the odd days. */
export function savingOf(byDay: readonly Scored[], { truth, reviewCost }: Prices, random: () => number) {
  const loss = lossOf(byDay, truth)
  const odd = Map.groupBy(
    byDay.filter(({ day }) => day % 2 !== EVEN),
    ({ day }) => day,
  )
  const savings = [...odd.values()].map((cells) =>
    sum(cells.map((cell) => (cell.prediction - cell.step) * (reviewCost * cell.rows - loss(cell)))),
  )
  const interval = savings.length >= DAYS ? { interval: bootstrap(savings, random) } : {}
  return { days: savings.length, saving: sum(savings), ...interval }
}
