import { DAY, HOUR } from '../io/time.ts'
import { population, type Row } from './population.ts'
import { seeded } from './random.ts'

/** How busy each hour of the day (UTC) is: honest cards sleep at night, stolen ones are used from 22 to 3. */
const HONEST_HOURS = profile([3, 2, 2, 2, 1, 1, 2, 3, 4, 5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 6, 5, 4, 4, 3])
const FRAUD_HOURS = profile([6, 6, 6, 6, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 6, 6])
const END = Date.UTC(2026, 0, 1)

export type HistoryOptions = {
  rows: number
  /** The same seed gives the same rows. */
  seed: number
  /** ms since 1970; the last row lies just before it. By default a fixed day, so that a seed alone repeats a history. */
  end?: number
  /** How far back the first row lies; 180 by default. */
  days?: number
  /** Share of frauds, 0.02 by default; exact to within one row, so that a small history has enough of them to learn from. */
  fraudShare?: number
}

/** Labelled transactions of the past, oldest first, made one at a time: a million rows need no memory. */
export function* history({ rows, seed, end = END, days = 180, fraudShare = 0.02 }: HistoryOptions): Generator<Row> {
  const world = population(seed)
  const random = seeded(~seed)
  const hours = HONEST_HOURS.map((share, hour) => share * (1 - fraudShare) + FRAUD_HOURS[hour]! * fraudShare)
  const clock = dayClock(hours)
  const from = clock.busy(end - days * DAY)
  const step = (clock.busy(end) - from) / rows
  let due = random.uniform()
  for (let i = 0; i < rows; i++) {
    const time = Math.floor(clock.time(from + (i + random.uniform()) * step))
    const hour = Math.floor((time % DAY) / HOUR)
    due += (FRAUD_HOURS[hour]! * fraudShare) / hours[hour]! // the chance that a transaction of this hour is fraud
    const fraud = due >= 1
    if (fraud) due -= 1
    yield world.transaction(time, fraud)
  }
}

/** Time as the shops see it: a day counts 1, a busy hour more of it than a quiet one. `time` is the inverse of `busy`. */
function dayClock(hours: readonly number[]) {
  const before = hours.map((_, hour) => hours.slice(0, hour).reduce((sum, share) => sum + share, 0))
  return {
    busy(time: number): number {
      const hour = Math.floor((time % DAY) / HOUR)
      return Math.floor(time / DAY) + before[hour]! + hours[hour]! * ((time % HOUR) / HOUR)
    },
    time(busy: number): number {
      const hour = before.findLastIndex((share) => share <= busy % 1)
      return Math.floor(busy) * DAY + (hour + ((busy % 1) - before[hour]!) / hours[hour]!) * HOUR
    },
  }
}

/** Shares that add up to 1. */
function profile(weights: readonly number[]): number[] {
  const sum = weights.reduce((total, weight) => total + weight, 0)
  return weights.map((weight) => weight / sum)
}
