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
