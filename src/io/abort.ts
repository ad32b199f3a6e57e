/**
 * Aborted with a signal, or after `ms`: then it is `late`. Freed it leaves no timer behind, which one that is aborted later does
 * for as long as that takes.
 */
export function deadline(signal: AbortSignal, ms: number) {
  const cut = new AbortController()
  let late = false
  const stop = () => cut.abort(signal.reason)
  const timer = setTimeout(() => {
    late = true
    cut.abort()
  }, ms)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  return {
    signal: cut.signal,
    late: () => late,
    [Symbol.dispose]() {
      clearTimeout(timer)
      signal.removeEventListener('abort', stop)
    },
  }
}

/** What a signal follows, for as long as the signal itself is there. */
const sources = new WeakMap<AbortSignal, readonly AbortSignal[]>()

/**
 * Aborted with the first of them. In place of `AbortSignal.any`, which forgets a timeout, or a controller that nobody
 * else holds, whenever nothing listens just then: Node.js 24.16 and later, https://github.com/nodejs/node/issues/65995.
 */
export function anyOf(...signals: AbortSignal[]): AbortSignal {
  const either = AbortSignal.any(signals)
  sources.set(either, signals)
  return either
}
