import type { Condition } from '../alert/trouble.ts'
import { grouped } from '../io/text.ts'
import { DAY, HOUR, utc } from '../io/time.ts'
import type { Counted, Measured, Noted, Reviews } from '../review/reviews.ts'
import { type Board, missedShare } from './board.ts'
import { BASE, columnDrifts, type Drift, shareDrift, WINDOW } from './drift.ts'
import { otherModel, otherModelCondition } from './fingerprint.ts'
import { sum } from './statistics.ts'
import { shareOf } from './words.ts'

/** How far back it is looked, ms; how late a row of a day may come; how long ago a model that is watched has judged. */
const [BACK, LATE, ACTIVE] = [40 * DAY, 2 * HOUR, 7 * DAY]

/** Of a model: how many rows its base has of those that it takes, and what has drifted since. */
export type Watched = {
  model: string
  rows: number
  windows: number
  drifts: readonly Drift[]
  accuracy?: string
  other?: number
}
export type Source = Pick<Reviews, 'counted' | 'firstRows' | 'measured' | 'hours' | 'baselines'>
type Looking = { reviews: Source; note?: Reviews['noteBaselines']; boards: readonly Board[]; now: number }

/** Looks at every model that has judged lately. What is noted of the days before is not counted again. */
export async function lookForDrift({ reviews, note = async () => {}, boards, now }: Looking): Promise<Watched[]> {
  const [noted, counted] = [await reviews.baselines(now - BACK), await reviews.counted()]
  const active = counted.filter(({ day }) => day * DAY > now - ACTIVE)
  const found: Watched[] = []
  for (const model of new Set(active.map((cell) => cell.model))) {
    const mine = counted.filter((cell) => cell.model === model && cell.day * DAY <= now) // a clock that is ahead makes no base
    const thresholds = new Set(active.filter((cell) => cell.model === model).map(({ threshold }) => threshold))
    const name = model ?? ''
    const looking = { reviews, note, now, noted: noted.filter((one) => one.model === name) }
    const { windows, drifts } = await columns(name, mine, looking)
    const shares: Drift[] = []
    for (const threshold of thresholds) shares.push(...(await share({ model, threshold }, looking)))
    const all = [...drifts, ...shares]
    const accuracy = all.length > 0 ? moved(boards, model, Math.min(...all.map(({ since }) => since))) : undefined
    const other = otherModel(noted, name)
    const known = { ...(accuracy && { accuracy }), ...(other !== undefined && { other }) }
    found.push({ model: name, rows: rowsOf(mine), windows, drifts: all, ...known })
  }
  return found
}

type One = { reviews: Source; note: Reviews['noteBaselines']; noted: readonly Noted[]; now: number }
async function columns(model: string, counted: readonly Counted[], { reviews, note, noted, now }: One) {
  let base: Measured[] = noted.filter((one) => one.base && isColumn(one))
  if (base.length === 0) {
    if (rowsOf(counted) < BASE) return { windows: 0, drifts: [] }
    const { first, last } = await reviews.firstRows(model, BASE, now)
    base = await reviews.measured(model, first, last)
    await note(base.map((one) => ({ ...one, base: true })))
  }
  const windows = [
    ...Map.groupBy(
      noted.filter((one) => !one.base),
      ({ first }) => first,
    ).values(),
  ] as Measured[][]
  const after = Math.max(windows.at(-1)?.[0]?.last ?? base[0]!.last, now - BACK)
  for (const [first, last] of windowsAfter(after, counted, now)) {
    const window = await reviews.measured(model, first, last, base)
    await note(window.map((one) => ({ ...one, base: false })))
    windows.push(window)
  }
  return { windows: windows.length, drifts: windows.length > 0 ? columnDrifts(base, windows) : [] }
}

/** Whole days after a time, so many at a time that a window has the rows that it needs. */
function windowsAfter(after: number, counted: readonly Counted[], now: number): [first: number, last: number][] {
  const windows: [number, number][] = []
  let [from, rows] = [Math.floor(after / DAY) + 1, 0]
  for (let day = from; (day + 1) * DAY + LATE <= now; day++) {
    rows += rowsOf(counted.filter((cell) => cell.day === day))
    if (rows < WINDOW) continue
    windows.push([from * DAY, (day + 1) * DAY - 1])
    ;[from, rows] = [day + 1, 0]
  }
  return windows
}

const FLAGGED = 'flagged'
const isColumn = ({ counts }: Noted) => counts.length > 2
async function share(of: Pick<Board, 'model' | 'threshold'>, { reviews, note, noted, now }: One): Promise<Drift[]> {
  const name = `${FLAGGED} ${of.threshold ?? ''}`
  const known = noted.find((one) => one.base && one.name === name)
  const until = Math.floor((now - LATE) / HOUR)
  const hours = (await reviews.hours(of, known ? Math.max(known.last + 1, now - BACK) : 0)).filter(
    (h) => h.hour < until,
  )
  if (known) return [shareDrift(hours, { flagged: known.counts[0]!, rows: known.counts[1]! }) ?? []].flat()
  let [flagged, rows] = [0, 0]
  for (const [i, hour] of hours.entries()) {
    flagged += hour.flagged
    rows += hour.rows
    if (rows < BASE) continue
    const times = { first: hours[0]!.hour * HOUR, last: (hour.hour + 1) * HOUR - 1 }
    await note([{ model: of.model ?? '', name, ...times, cells: [], counts: [flagged, rows], base: true }])
    return [shareDrift(hours.slice(i + 1), { flagged, rows }) ?? []].flat()
  }
  return []
}

const rowsOf = (counted: readonly Counted[]) => sum(counted.map(({ rows }) => rows))

/** Whether the model misses more since then, or fewer, as far as that can be told. */
function moved(boards: readonly Board[], model: string | null, since: number): string {
  const days = boards.filter((board) => board.model === model && !board.audit).flatMap((board) => board.days)
  const rate = (some: readonly { caught: number; missed: number }[]) =>
    missedShare({ caught: sum(some.map((day) => day.caught)), missed: sum(some.map((day) => day.missed)) })
  const [before, now] = [
    rate(days.filter(({ day }) => day * DAY < since)),
    rate(days.filter(({ day }) => day * DAY >= since)),
  ]
  if (!before || !now) return 'Whether more frauds are missed cannot be told yet.'
  const apart = now.interval[0] > before.interval[1] || now.interval[1] < before.interval[0]
  const word = !apart ? 'About as many' : now.value > before.value ? 'More' : 'Fewer'
  return `${word} frauds are missed since then: ${shareOf(now)} of them, ${shareOf(before)} before.`
}

/** For the mails about trouble: one when it begins, one when it is over. */
export const driftConditions = (watched: readonly Watched[]): Condition[] =>
  watched.flatMap(({ model, drifts, accuracy, other }) => {
    const name = model || 'the model'
    const drift: Condition = {
      name: `the drift of ${name}`,
      wrong:
        drifts.length > 0
          ? `Not as in its first ${grouped(BASE)} rows: ${drifts.map((drift) => `${drift.text} (since ${utc(drift.since, 10)})`).join('; ')}. ${accuracy}`
          : undefined,
      ...(drifts.length > 0 && { since: Math.min(...drifts.map(({ since }) => since)) }),
      cure: 'Look at /desk/models: has the producer changed, or what people buy? A model that is trained anew learns it.',
      subjects: [`${name} judges other payments than at first`, `what ${name} judges is as at first again`],
    }
    return [drift, otherModelCondition(name, other)]
  })
