import { DAY, MINUTE } from '../io/time.ts'

/** How many in which unit of time; JSON. */
export type Counted = [unit: number, count: number][]

/**
 * At most `limit` in any `span` ms. Counted by the `unit` ms, a minute of a day unless told otherwise: so at most
 * span / unit + 1 numbers, whatever the limit. `counted` is what an earlier process counted.
 */
export function rateLimit(limit: number, counted: Counted, { span = DAY, unit = MINUTE } = {}) {
  let units = counted
  /** Forgets what is older than the span. What is said to come later was counted before the clock was set back. */
  function left(now: number): number {
    const current = Math.floor(now / unit)
    units = units
      .map(([at, count]): [number, number] => [Math.min(at, current), count])
      .filter(([at]) => (at + 1) * unit > now - span)
    return Math.max(0, limit - units.reduce((sum, [, count]) => sum + count, 0))
  }
  return {
    count(now: number) {
      const at = Math.floor(now / unit)
      const last = units.at(-1)
      if (last?.[0] === at) last[1]++
      else units.push([at, 1])
    },
    /** how many may go now */
    left,
    /** ms until it is worth asking again whether more than `reserve` are left; 0: they are; Infinity: never */
    wait(now: number, reserve = 0): number {
      let free = left(now)
      if (free > reserve) return 0
      const past = units.find(([, count]) => {
        free += count
        return free > reserve
      })
      return past ? (past[0] + 1) * unit + span - now : Number.POSITIVE_INFINITY
    },
    counted: () => units,
  }
}
