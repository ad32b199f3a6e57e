import type { SendFailure } from '../io/errors.ts'
import { backoff } from '../run/loop.ts'

/** So many letters that fail for themselves, none arriving in between, are no chance: it is the way. */
const IN_A_ROW = 5

export type Blockade = ReturnType<typeof blockade>

/**
 * Whether the way is blocked for every letter: by a failure that says so, or by a row of letters that failed for
 * themselves. Then one letter at a time tries it, after pauses that grow from `firstPause` ms. Times are ms of a clock
 * that nobody sets back.
 */
export function blockade(firstPause: number) {
  const inARow = new Set<object>() // letters that failed for themselves since one arrived
  const open = { failures: 0, at: 0, until: 0, byRow: false } // failures in a row, when the last one was
  let state = open
  return {
    blocked: () => state.failures > 0,
    /** By letters that failed for themselves: another one may pass. */
    byRow: () => state.byRow,
    /** when the next letter may try it; in the past when it is not blocked */
    until: () => state.until,
    /** A letter tries it: the next one waits. */
    tries(now: number) {
      if (state.failures > 0) state = { ...state, until: now + backoff(state.failures, firstPause) }
    },
    /** What a letter's failure means for the others; `known`: it was under way when the way was found blocked. */
    failed(
      letter: object,
      started: number,
      { scope, retryAfter }: SendFailure,
      now: number,
    ): 'free' | 'known' | 'blocked' {
      if (scope !== 'channel') inARow.add(letter)
      if (scope === 'message' && inARow.size < IN_A_ROW) return 'free'
      if (started <= state.at) return 'known'
      const failures = state.failures + 1
      const until = now + Math.max(backoff(failures, firstPause), retryAfter)
      state = { failures, at: now, until, byRow: scope === 'message' }
      return 'blocked'
    },
    /** A letter that was started then has arrived: true if that opens the way. */
    arrived(started: number): boolean {
      inARow.clear()
      if (state.failures === 0 || started <= state.at) return false
      state = open
      return true
    },
  }
}
