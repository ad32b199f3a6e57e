import type { Logger } from 'pino'

/** ms after which a failure that goes on is said again, and for which one is remembered that has not come again */
const [SAY_AGAIN, REMEMBERED] = [60_000, 600_000]
/** failures that are told apart; of more, the oldest is forgotten */
const MOST = 20

type Told = Map<string, { times: number; since: number; said: number; last: number }>
const byLog = new WeakMap<Logger, Told>() // every stage has a log of its own

/**
 * Says a failure that comes again and again: in full once, then once a minute in short how often it came. The level debug
 * has each. `next`: what is done about it. Is true if a line at warn was written. Failures with one `key` are the same:
 * by default those whose texts differ in their digits alone.
 */
export function sayFailure(log: Logger, what: string, next: string, key = what.replace(/\d/g, '#')): boolean {
  const told = byLog.get(log) ?? new Map()
  byLog.set(log, told)
  const now = Date.now()
  const known = told.get(key)
  if (!known || now - known.last > REMEMBERED) {
    told.delete(key)
    if (told.size >= MOST) told.delete(told.keys().next().value!)
    told.set(key, { times: 1, since: now, said: now, last: now })
    log.warn(`${what}; ${next}`)
    return true
  }
  known.times++
  known.last = now
  if (now - known.said < SAY_AGAIN) {
    log.debug(`${what}; ${next}`)
    return false
  }
  known.said = now
  const short = what.length > 160 ? `${what.slice(0, 160)}…` : what
  log.warn(`still: ${short}, ${known.times} times since ${clock(known.since)}; npm run doctor says more`)
  return true
}

const clock = (at: number) => new Date(at).toTimeString().slice(0, 5)
