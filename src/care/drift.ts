import { grouped, percent } from '../io/text.ts'
import { DAY, HOUR } from '../io/time.ts'
import type { Hour, Measured } from '../review/reviews.ts'
import { detect, evidenceOf, excessPsi, holm, homogeneity, type Interval, jeffreys, NO_EVIDENCE } from './statistics.ts'

/** rows that a model's base has, and a window at least, in whole days */
export const [BASE, WINDOW] = [20_000, 5000]
/** the chance of a false alarm on a day that is taken, and how far off it has to be, beyond what chance makes */
const [A_DAY, FAR] = [1 / 365, 0.1]
/** days on end, for it to begin and to be over */
const RUNNING = 2
/** steps of an hour without a change until it is taken for one, on average at least */
const TWO_YEARS = (2 * 365 * DAY) / HOUR

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

/** The share of alarms, by its hours after the base; in a drift it is over after two days in which it is as in the base. */
export function shareDrift(hours: readonly Hour[], base: { flagged: number; rows: number }): Drift | undefined {
  const usual = jeffreys(base.flagged, base.rows)
  let evidence = NO_EVIDENCE
  let drift: { since: number; rows: number; flagged: number } | undefined
  let recent: Hour[] = []
  let calm = 0
  for (const hour of hours) {
    if (!drift) {
      evidence = detect(evidence, hour.flagged, hour.rows, usual)
      recent = [...recent, hour].filter((one) => hour.hour - one.hour < 24)
      if (evidenceOf(evidence) < TWO_YEARS) continue
      const sum = (of: (one: Hour) => number) => recent.reduce((all, one) => all + of(one), 0)
      drift = { since: hour.hour * HOUR, rows: sum((one) => one.rows), flagged: sum((one) => one.flagged) }
      recent = []
      continue
    }
    if (recent.length > 0 && hour.hour - recent[0]!.hour >= 24) {
      calm = isUsual(recent, usual) ? calm + 1 : 0
      recent = []
      if (calm >= RUNNING) [drift, evidence, calm] = [undefined, NO_EVIDENCE, 0]
    }
    recent.push(hour)
  }
  if (!drift) return undefined
  const now = drift.flagged / drift.rows
  const way = now > base.flagged / base.rows ? 'more' : 'fewer'
  const said = `${way} payments are alarms: ${percent(base.flagged / base.rows, 2)} before, ${percent(now, 2)} now`
  return { name: 'flagged', since: drift.since, text: said }
}
function isUsual(hours: readonly Hour[], [low, high]: Interval): boolean {
  const rows = hours.reduce((sum, one) => sum + one.rows, 0)
  const [least, most] = jeffreys(
    hours.reduce((sum, one) => sum + one.flagged, 0),
    rows,
  )
  return least <= high && most >= low
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
  const all = (counts: readonly number[]) => counts.reduce((sum, one) => sum + one, 0)
  const share = (counts: readonly number[], from: number, to: number) => all(counts.slice(from, to)) / all(counts)
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
