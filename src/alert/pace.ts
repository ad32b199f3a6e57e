import { DAY, MINUTE } from '../io/time.ts'
import { type Counted, rateLimit } from './rate-limit.ts'

const SECOND = 1000
/** frauds in one notification at most: some 2 MB as a mail */
export const FULL = 2000
/** ms between notifications while the model looks broken: nobody can check what it says, but all of it is there */
const BROKEN = 15 * MINUTE
/** With less than this share of the day's notifications left, they are stretched. */
const SCARCE = 0.2
/** A limit of at least so many keeps one notification for notices: a broken model, an outage. */
const WORTH_A_RESERVE = 5

/** What outlives the process; JSON. `last`: when a notification went out last, in ms since 1970. */
export type Paced = { counted: Counted; singles?: Counted; last?: number; collecting?: boolean }
/** Notifications that are decided and may go out at any moment; `since`: when the newest of them was, in ms since 1970. */
export type Flying = { notifications: number; singles: number; since: number }
export type Why = 'limit' | 'scarce' | 'broken' | 'storm' | undefined
/**
 * The next notification may be decided in `wait` ms (Infinity: not before one under way has gone), and takes
 * `size` frauds of those that wait; `period` is between notifications, where they are collected. */
export type Next = { wait: number; size: number; why: Why; period?: number }

const NOTHING: Next = { wait: Number.POSITIVE_INFINITY, size: 0, why: undefined }

export type Pace = ReturnType<typeof pace>

/**
 * When the next notification goes out, and with how many frauds: each at once in a notification of its own, until more than `burst`
 * come within 60 s. From then on what comes is collected into one notification a minute, until a minute brings no more than
 * `burst`. With 80 % of the day's `limit` used, notifications are put ever further apart: a day over what is left. While the
 * model looks broken there is one every 15 minutes.
 */
export function pace({ burst, limit }: { burst: number; limit: number }, noted: Paced) {
  const daily = rateLimit(limit, noted.counted)
  const singles = rateLimit(burst, noted.singles ?? [], { span: MINUTE, unit: SECOND })
  let last = noted.last ?? 0
  let collecting = noted.collecting ?? false
  let limited = false // it collects for the limit's sake: not after a restart, which may raise it
  let began: number | undefined // what came before is not known until it is read
  const reserve = limit >= WORTH_A_RESERVE ? 1 : 0

  return {
    /** So many wait, and waited before anything could go out: more than a burst begin with a digest, at once. */
    backlog(waiting: number) {
      if (waiting > burst) collecting = true
    },
    /** For a notification with frauds, of which so many wait. */
    next(waiting: number, now: number, flying: Flying, broken: boolean): Next {
      if (waiting === 0 && !collecting) return NOTHING
      const wait = daily.wait(now, reserve)
      if (wait > 0) {
        if (waiting === 0) return NOTHING
        if (!collecting) limited = true
        collecting = true // the notification that is free then takes all that waits
        return { wait, size: 0, why: 'limit' }
      }
      limited = false
      const left = daily.left(now) - flying.notifications
      if (left <= reserve) return NOTHING
      const scarce = limit - left >= limit * (1 - SCARCE)
      const single = singles.left(now) - flying.singles > 0
      if (waiting > 0 && !single && !scarce && !broken) collecting = true
      if (!collecting && !scarce && !broken) return { wait: 0, size: 1, why: undefined }
      const period = Math.max(
        MINUTE,
        broken && waiting < FULL ? BROKEN : 0, // a full notification waits for nothing more
        scarce ? DAY / (left - reserve) : 0,
      )
      last = Math.min(last, now) // the clock may have been set back
      began = Math.min(began ?? now, now)
      const since = Math.max(last, Math.min(flying.since, now), waiting > 0 ? 0 : began)
      const rest = Math.max(0, since + period - now)
      if (rest === 0 && waiting <= burst) collecting = false // the minute has brought no more
      if (rest === 0 && waiting === 0) return NOTHING
      return { wait: rest, size: Math.min(waiting, FULL), why: scarce ? 'scarce' : broken ? 'broken' : 'storm', period }
    },
    /** ms until a notification that is decided already, or a notice, may go out; Infinity: not before one that is under way */
    wait: (now: number, flying: Flying): number =>
      daily.left(now) - flying.notifications > 0 ? 0 : daily.wait(now) || Number.POSITIVE_INFINITY,
    /** A notification with so many frauds went out, or may have; `again`: and may have before. */
    sent(size: number, now: number, again = false) {
      daily.count(now)
      if (size === 1 && !collecting) singles.count(now)
      if (size > 0 && !again) last = now
    },
    noted: (): Paced => ({
      counted: daily.counted(),
      singles: singles.counted(),
      last,
      collecting: collecting && !limited,
    }),
  }
}
