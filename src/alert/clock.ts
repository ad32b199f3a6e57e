import { setTimeout as sleep } from 'node:timers/promises'

/** Two clocks in ms: since 1970, as people may set it, and one that nobody sets back. */
export type Clock = { now(): number; steady(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> }
export const CLOCK: Clock = {
  now: Date.now,
  steady: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal && { signal }).catch(() => {}),
}
