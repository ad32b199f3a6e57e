export type Random = ReturnType<typeof seeded>

/**
 * Random numbers that repeat: the same seed gives the same sequence, on every machine. `seed` is any number.
 * Mulberry32: 32 bits of state are plenty for a few million simulated rows, and nothing here is a secret.
 */
export function seeded(seed: number) {
  let state = seed | 0

  /** A whole number from 0 to 2^32 - 1. */
  function bits() {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  /** From `from` (reached) to `to` (never reached). */
  const uniform = (from = 0, to = 1) => from + (bits() / 2 ** 32) * (to - from)
  /** A whole number from `from` to `to`, both reached. */
  const integer = (from: number, to: number) => Math.floor(uniform(from, to + 1))

  return {
    bits,
    uniform,
    integer,
    pick: <T>(list: readonly T[]) => list[integer(0, list.length - 1)] as T,
    /** One of the list, each as often as its `share` says; shares need not add up to anything. */
    weighted<T extends { share: number }>(list: readonly T[]): T {
      let left = uniform(
        0,
        list.reduce((sum, { share }) => sum + share, 0),
      )
      return (
        list.find(({ share }) => {
          left -= share
          return left < 0
        }) ?? (list.at(-1) as T)
      )
    },
    /** Normal, mean 0, standard deviation 1 (Box-Muller); 1 - uniform because log(0) is no number. */
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(uniform(0, 2 * Math.PI)),
  }
}
