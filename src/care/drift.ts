import { grouped, percent } from '../io/text.ts'
import { HOUR } from '../io/time.ts'
import type { Hour, Measured } from '../review/reviews.ts'
import { deviation, excessPsi, holm, homogeneity, type Interval, jeffreys, sum } from './statistics.ts'

/** rows that a model's base has, and a window at least, in whole days */
export const [BASE, WINDOW] = [20_000, 5000]
/** the chance of a false alarm on a day that is taken, and how far off it has to be, beyond what chance makes */
const [A_DAY, FAR] = [1 / 365, 0.1]
/** days on end, for it to begin and to be over */
const RUNNING = 2
/**
 * Hours together of which the share of alarms is looked at, each hour anew, and from how many standard deviations beyond the
 * base's bounds on it has changed: a false alarm in two years, and a doubled share at 29 alarms a day within three days.
 */
const [SPANS, TOO_FAR] = [[24, 48, 66], 3.35]
/** standard deviations beyond the bounds within which it is as before: two days of few alarms are seldom quite within them */
const NEAR = 1

/** What has become another than it was in the base; `since` in ms since 1970. */
export type Drift = { name: string; since: number; text: string }

/** Of a column the window in which its drift began, if there is one in the end; `off`: whether it is off, window by window. */
function began(off: readonly boolean[]): number | undefined {
  let since: number | undefined
  for (let i = RUNNING - 1; i < off.length; i++) {
    const last = off.slice(i - RUNNING + 1, i + 1)
    if (since === undefined && last.every(Boolean)) since = i - RUNNING + 1
    else if (!last.some(Boolean)) since = undefined
  }
  return since
}

/** The columns that have drifted: of one model the base, and its windows in order, each measured by the same columns. */
export function columnDrifts(base: readonly Measured[], windows: readonly (readonly Measured[])[]): Drift[] {
  const off = windows.map((window) => {
    const pairs = window.map((now) => ({ now, before: base.find(({ name }) => name === now.name)! }))
    const p = holm(pairs.map(({ now, before }) => homogeneity(before.counts, now.counts)))
    return pairs.flatMap(({ now, before }, i) =>
      p[i]! < A_DAY && excessPsi(before.counts, now.counts) >= FAR ? now.name : [],
    )
  })
  return base.flatMap((before) => {
    const start = began(off.map((names) => names.includes(before.name)))
    if (start === undefined) return []
    const now = windows.at(-1)!.find(({ name }) => name === before.name)!
    return { name: before.name, since: windows[start]![0]!.first, text: saidOf(before, now) }
  })
}

type Total = Omit<Hour, 'hour'>
const totalOf = (hours: readonly Hour[]): Total => ({
  rows: sum(hours.map(({ rows }) => rows)),
  flagged: sum(hours.map(({ flagged }) => flagged)),
})
const shareOf = ({ flagged, rows }: Total) => flagged / rows

/**
 * The share of alarms, by its hours after the base: after each of them the drift that is on, if one is. It begins when the
 * last day, two or nearly three are too far beyond the bounds of the base, and is over after two days of which the share is near them.
 */
export function* shareDrifts(hours: readonly Hour[], base: Total): Generator<Drift | undefined> {
  const usual = jeffreys(base.flagged, base.rows)
  let drift: Drift | undefined
  let recent: Hour[] = []
  for (const hour of hours) {
    if (drift && recent.length > 0 && hour.hour - recent[0]!.hour >= RUNNING * 24) {
      if (beyond(totalOf(recent), usual) < NEAR) drift = undefined
      recent = drift ? recent.filter((one) => hour.hour - one.hour < (RUNNING - 1) * 24) : []
    }
    recent.push(hour)
    if (!drift) {
      while (hour.hour - recent[0]!.hour >= SPANS.at(-1)!) recent.shift()
      const off = offIn(recent, usual)
      if (off) {
        const way = shareOf(off) > shareOf(base) ? 'more' : 'fewer'
        const [before, now] = [base, off].map((total) => percent(shareOf(total), 2))
        const text = `${way} payments are alarms: ${before} before, ${now} now`
        drift = { name: 'flagged', since: hour.hour * HOUR, text }
        recent = []
      }
    }
    yield drift
  }
}
export const shareDrift = (...given: Parameters<typeof shareDrifts>) => [...shareDrifts(...given)].at(-1)

/** The last hours that are too far off, the fewest first. */
function offIn(hours: readonly Hour[], usual: Interval): Total | undefined {
  let [rows, flagged, i] = [0, 0, hours.length]
  for (const span of SPANS) {
    for (; i > 0 && hours.at(-1)!.hour - hours[i - 1]!.hour < span; i--) {
      rows += hours[i - 1]!.rows
      flagged += hours[i - 1]!.flagged
    }
    if (beyond({ rows, flagged }, usual) >= TOO_FAR) return { rows, flagged }
  }
  return undefined
}
/** Standard deviations beyond the bounds. */
function beyond({ flagged, rows }: Total, [low, high]: Interval): number {
  const share = flagged / rows
  return share >= low && share <= high ? 0 : deviation(flagged, rows, share > high ? high : low)
}

const TITLES: Record<string, string> = {
  amt: 'amounts in $',
  distance: 'km from home to the merchant',
  age: 'ages of card holders',
  city_pop: 'populations of cities',
  lat: 'latitudes of homes',
  long: 'longitudes of homes',
  merch_lat: 'latitudes of merchants',
  merch_long: 'longitudes of merchants',
  score: 'scores',
}

/** The cell that has changed most, with those beyond it, in words: `amounts over 180: 10 % before, 24 % now`. */
export function saidOf({ name, cells, counts: before }: Measured, { counts: now }: Measured): string {
  const share = (counts: readonly number[], from: number, to: number) => sum(counts.slice(from, to)) / sum(counts)
  const title = TITLES[name] ?? name
  const none = before.length - 1
  const isNumber = typeof cells[0] === 'number'
  // Of numbers each edge divides those below from those above; of texts each is alone.
  const parts: [words: string, from: number, to: number][] = isNumber
    ? cells.map((edge, i) => [`${title} over ${short(Number(edge))}`, i + 1, none])
    : [
        ...cells.map((cell, i): [string, number, number] => [`${title} ${cell}`, i, i + 1]),
        [`other ${title}`, none - 1, none],
      ]
  parts.push([`no ${title}`, none, none + 1])
  const [words, from, to] = parts.reduce((most, part) => (changed(part) > changed(most) ? part : most))
  function changed([, from, to]: (typeof parts)[number]): number {
    return Math.abs(share(now, from, to) - share(before, from, to))
  }
  return `${words}: ${percent(share(before, from, to), 2)} before, ${percent(share(now, from, to), 2)} now`
}
const short = (value: number) =>
  Math.abs(value) >= 1000 ? grouped(Math.round(value)) : String(Number(value.toPrecision(3)))
