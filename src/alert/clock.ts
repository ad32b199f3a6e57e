/** Two clocks in ms: since 1970, as people may set it, and one that nobody sets back. */
export type Clock = { now(): number; steady(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> }
export const CLOCK: Clock = {
  now: Date.now,
  steady: () => performance.now(),
  // Node's own makes an error with a stack of each that is aborted, many for an alarm.
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', end)
        resolve()
      }
      const timer = setTimeout(end, ms)
      if (signal?.aborted) end()
      else signal?.addEventListener('abort', end)
    }),
}
