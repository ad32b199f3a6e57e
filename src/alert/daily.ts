import { clockIn, DAY } from '../io/time.ts'
import type { Clock } from './clock.ts'
import type { Notice } from './notifier.ts'
import type { Rows } from './rows.ts'

/** What is told once a day: from when on (`07:30`, of that time zone), and of which time. */
export type Daily = { time: string; zone: string; make(from: number, to: number): Promise<Notice> }
/** What was told last, or when it was begun: of which day, and when (ms since 1970). */
type Noted = { day: string; at: number }

/**
 * What is due, once for each day of the calendar, however often the clock shows its time, and at the first moment after it
 * where the clock leaves it out; after days without a worker once for all of them. The first day only begins.
 */
export function openDaily(rows: Rows, { time, zone, make }: Daily, clock: Clock) {
  const dayOf = dayBegun(time, zone)
  let noted = rows.get('daily') as Noted | undefined
  return {
    /** `changed`: it is to be noted, together with the notice. */
    async due(): Promise<{ changed: boolean; notice?: Notice }> {
      const now = clock.now()
      const day = dayOf(now)
      const before = noted
      // A day that is long over can be before the one that was noted by a clock that went wrong.
      if (before && (day === before.day || (day < before.day && now > before.at - 2 * DAY))) return { changed: false }
      const notice = before && (await make(Math.min(before.at, now - DAY / 2), now))
      noted = { day, at: now }
      return { changed: true, ...(notice && { notice }) }
    },
    keep: () => rows.keep('daily', noted),
  }
}

/** The last day whose `time` has come, as `2026-01-31`. */
export function dayBegun(time: string, zone: string): (at: number) => string {
  const clock = clockIn(zone)
  return (at) => {
    const [day = '', now = ''] = clock(at).split(' ')
    return now >= time ? day : new Date(Date.parse(day) - DAY).toISOString().slice(0, 10)
  }
}
