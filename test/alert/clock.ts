import { setImmediate } from 'node:timers/promises'
import type { Clock } from '../../src/alert/clock.ts'

/** What a wait of no time takes, as with a real timer. */
const LEAST = 1

/**
 * A clock that nobody waits for: once nothing moves any more it jumps to the next moment somebody sleeps until. Only
 * what sleeps on it, and what is done by then without a real timer, may be part of the world it drives.
 */
export function virtualClock(start = Date.UTC(2026, 4, 5, 12, 0, 30)) {
  type Sleeper = { at: number; wake: () => void }
  const sleepers = new Set<Sleeper>() // a dozen at a time: the next one is looked for
  let steady = 1_000_000
  let ahead = start - steady
  let slept = 0

  const clock: Clock = {
    now: () => steady + ahead,
    steady: () => steady,
    sleep: (ms, signal) =>
      new Promise((resolve) => {
        slept++
        const wake = () => {
          sleepers.delete(sleeper)
          signal?.removeEventListener('abort', wake)
          resolve()
        }
        const sleeper = { at: steady + Math.max(LEAST, Math.ceil(ms)), wake }
        if (signal?.aborted) return resolve()
        sleepers.add(sleeper)
        signal?.addEventListener('abort', wake)
      }),
  }
  /** Lets everything happen that happens at this moment. */
  async function still() {
    for (let turn = 0; turn < 3; turn++) await setImmediate()
  }
  /** Wakes who sleeps until the next moment, if that is not after `end`. */
  async function step(end = Number.POSITIVE_INFINITY): Promise<boolean> {
    await still()
    let next = Number.POSITIVE_INFINITY
    for (const { at } of sleepers) next = Math.min(next, at)
    if (next > end || next === Number.POSITIVE_INFINITY) return false
    steady = next
    for (const { at, wake } of [...sleepers]) if (at <= steady) wake()
    return true
  }
  return {
    ...clock,
    still,
    step,
    /** Lets so much time pass. */
    async pass(ms: number) {
      const end = steady + Math.ceil(ms)
      while (await step(end));
      steady = end
      await still()
    },
    /** Lets time pass until it is so; throws when that takes longer than `ms`. */
    async until(what: string, so: () => boolean, ms = 86_400_000) {
      const end = steady + Math.ceil(ms)
      for (await still(); !so(); ) if (!(await step(end))) throw new Error(`waited ${ms} virtual ms for ${what}`)
    },
    /** As an operator does, or a time server. */
    setBack(ms: number) {
      ahead -= ms
    },
    sleepers: () => sleepers.size,
    /** how often anybody went to sleep */
    slept: () => slept,
  }
}
export type VirtualClock = ReturnType<typeof virtualClock>
