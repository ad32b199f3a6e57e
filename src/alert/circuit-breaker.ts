import type { SendFailure } from '../io/errors.ts'
import { backoff } from '../run/loop.ts'

/** So many notifications that fail for themselves, none arriving in between, are no chance: it is the channel. */
const IN_A_ROW = 5

export type CircuitBreaker = ReturnType<typeof circuitBreaker>

/**
 * Whether the channel is blocked for every notification: by a failure that says so, or by a row of notifications that failed for
 * themselves. Then one notification at a time tries it, after pauses that grow from `firstPause` ms. Times are ms of a clock
 * that nobody sets back.
 */
export function circuitBreaker(firstPause: number) {
  const inARow = new Set<object>() // notifications that failed for themselves since one arrived
  const open = { failures: 0, at: 0, until: 0, byRow: false } // failures in a row, when the last one was
  let state = open
  return {
    blocked: () => state.failures > 0,
    /** By notifications that failed for themselves: another one may pass. */
    byRow: () => state.byRow,
    /** when the next notification may try it; in the past when it is not blocked */
    until: () => state.until,
    /** A notification tries it: the next one waits. */
    tries(now: number) {
      if (state.failures > 0) state = { ...state, until: now + backoff(state.failures, firstPause) }
    },
    /** What a notification's failure means for the others; `known`: it was under way when the channel was found blocked. */
    failed(
      notification: object,
      started: number,
      { scope, retryAfter }: SendFailure,
      now: number,
    ): 'free' | 'known' | 'blocked' {
      if (scope !== 'channel') inARow.add(notification)
      if (scope === 'message' && inARow.size < IN_A_ROW) return 'free'
      if (started <= state.at) return 'known'
      const failures = state.failures + 1
      const until = now + Math.max(backoff(failures, firstPause), retryAfter)
      state = { failures, at: now, until, byRow: scope === 'message' }
      return 'blocked'
    },
    /** A notification that was started then has arrived: true if that closes the circuit. */
    arrived(started: number): boolean {
      inARow.clear()
      if (state.failures === 0 || started <= state.at) return false
      state = open
      return true
    },
  }
}
