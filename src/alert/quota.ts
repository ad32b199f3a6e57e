const MINUTE = 60_000
const DAY = 24 * 60 * MINUTE

/** Mails counted by the minute they were sent in: at most 1,441 numbers, whatever the limit. */
export type Counted = [minute: number, mails: number][]

/** At most `limit` mails in any 24 h; `counted` is what an earlier process counted. */
export function quota(limit: number, counted: Counted) {
  let minutes = counted
  /** Forgets what is older than a day. What is said to come later was counted before the clock was set back. */
  function left(now: number): number {
    const current = Math.floor(now / MINUTE)
    minutes = minutes
      .map(([minute, mails]): [number, number] => [Math.min(minute, current), mails])
      .filter(([minute]) => (minute + 1) * MINUTE > now - DAY)
    return Math.max(0, limit - minutes.reduce((sum, [, mails]) => sum + mails, 0))
  }
  return {
    count(now: number) {
      const minute = Math.floor(now / MINUTE)
      const last = minutes.at(-1)
      if (last?.[0] === minute) last[1]++
      else minutes.push([minute, 1])
    },
    /** how many mails may be sent now */
    left,
    /** ms until it is worth asking again; 0: a mail may be sent */
    wait: (now: number): number => (left(now) > 0 ? 0 : (minutes[0]![0] + 1) * MINUTE + DAY - now),
    counted: () => minutes,
  }
}
