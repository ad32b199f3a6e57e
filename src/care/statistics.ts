// Pure numbers: no row, no clock, no chance but what is given. Checked against SciPy's in test/care/statistics.test.ts.

/** From a low to a high bound, of 95 % unless another level is given. */
export type Interval = readonly [low: number, high: number]
export const sum = (numbers: readonly number[]) => numbers.reduce((all, one) => all + one, 0)

/** What Stirling's formula for ln Γ(z) leaves out; keeps its digits where differences of ln Γ would not. */
function stirlingError(z: number): number {
  let [error, at] = [0, z]
  for (; at < 16; at++) error += (at + 0.5) * Math.log1p(1 / at) - 1
  const square = 1 / (at * at)
  return error + (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188)))) / at
}
const lnGamma = (z: number) => (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + stirlingError(z)
const lnBeta = (a: number, b: number) => lnGamma(a) + lnGamma(b) - lnGamma(a + b)

/** 1/(1 + a₁/(1 + a₂/(1 + …))) and its like, by Lentz: `term(i)` gives numerator and denominator. */
function fraction(term: (i: number) => readonly [numerator: number, denominator: number]): number {
  let [value, c, d] = [1e-300, 1e-300, 0]
  for (let i = 1; i < 100_000; i++) {
    const [a, b] = term(i)
    d = 1 / (b + a * d || 1e-300)
    c = b + a / c || 1e-300
    value *= c * d
    if (Math.abs(c * d - 1) < 1e-16) break
  }
  return value
}

/** The regularised incomplete beta function: the chance that a Beta(a, b) is below x. */
export function beta(x: number, a: number, b: number): number {
  if (x <= 0) return 0
  if (x >= 1) return 1
  if (x > (a + 1) / (a + b + 2)) return 1 - beta(1 - x, b, a)
  const [n, mean] = [a + b, a / (a + b)]
  const power = a * Math.log1p((x - mean) / mean) + b * Math.log1p((mean - x) / (1 - mean))
  const scale = Math.exp(power + stirlingError(n) - stirlingError(a) - stirlingError(b))
  const rest = fraction((i) => {
    const m = Math.floor((i - 1) / 2)
    if (i === 1) return [1, 1]
    if (i % 2 === 1) return [(m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m)), 1]
    return [(-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1)), 1]
  })
  return (Math.sqrt((a * b) / (2 * Math.PI * n)) * scale * rest) / a
}

/** The chance that a Gamma(a, 1) is above x. */
export function gammaTail(x: number, a: number): number {
  if (x <= 0) return 1
  const scale = Math.sqrt(a / (2 * Math.PI)) * Math.exp(a * Math.log1p((x - a) / a) - (x - a) - stirlingError(a))
  if (x >= a + 1) return scale * fraction((i) => [i === 1 ? 1 : -(i - 1) * (i - 1 - a), x + 2 * i - 1 - a])
  let [term, series] = [1 / a, 1 / a]
  for (let i = 1; term > series * 1e-17; i++) {
    term *= x / (a + i)
    series += term
  }
  return 1 - scale * series
}
export const chiSquareTail = (x: number, freedom: number) => gammaTail(x / 2, freedom / 2)

/** Where a rising function reaches `aim`, between two bounds. */
function reached(rising: (x: number) => number, aim: number, [low, high]: Interval): number {
  for (;;) {
    const middle = (low + high) / 2
    if (middle <= low || middle >= high || high - low < 1e-15 * middle) return middle
    if (rising(middle) < aim) low = middle
    else high = middle
  }
}
export const betaQuantile = (p: number, a: number, b: number) => reached((x) => beta(x, a, b), p, [0, 1])
export const gammaQuantile = (p: number, a: number) =>
  reached((x) => -gammaTail(x, a), p - 1, [0, a + 40 * Math.sqrt(a) + 1000])

/** A share, by `hits` out of `of`. */
export function jeffreys(hits: number, of: number, level = 0.95): Interval {
  const [out, a, b] = [(1 - level) / 2, hits + 0.5, of - hits + 0.5]
  return [hits === 0 ? 0 : betaQuantile(out, a, b), hits === of ? 1 : betaQuantile(1 - out, a, b)]
}

/** The number of which some were found, each standing for `weight` of its kind; none stands for more than `largest`. */
export function fayFeuer(found: readonly number[], largest: number, level = 0.95): Interval {
  const out = (1 - level) / 2
  const at = (p: number, m: number, v: number) => (v / m) * gammaQuantile(p, (m * m) / v)
  const [mean, variance] = [sum(found), sum(found.map((weight) => weight * weight))]
  return [mean === 0 ? 0 : at(out, mean, variance), at(1 - out, mean + largest, variance + largest * largest)]
}

/** A count that is known to within bounds. */
export type Estimate = { value: number; interval: Interval }
/** The share that one of two counts has in both, by what is known of each (Donner and Zou's MOVER of a ratio). */
export function shareOfBoth(one: Estimate, other: Estimate): Interval {
  // How often the lower bound of `a` is there for each of `b`; no count is divided by, so that both may be 0.
  const least = (a: Estimate, b: Estimate) => {
    const [low, high] = [a.interval[0], b.interval[1]]
    const [product, left] = [a.value * b.value, low * (2 * a.value - low)]
    const ratio = left / (product + Math.sqrt(Math.max(0, product * product - left * high * (2 * b.value - high))))
    return left > 0 ? ratio : 0
  }
  const [low, high] = [least(one, other), least(other, one)]
  return [low / (1 + low), 1 / (1 + high)]
}

/** p-values as they count when the smallest of them all is what one looks at (Holm). */
export function holm(p: readonly number[]): number[] {
  const adjusted = Array<number>(p.length)
  let most = 0
  for (const [rank, i] of [...p.keys()].sort((i, j) => p[i]! - p[j]!).entries()) {
    most = Math.max(most, Math.min(1, p[i]! * (p.length - rank)))
    adjusted[i] = most
  }
  return adjusted
}

/** The chance that two samples in cells differ so much, or more; cells where less than 5 are expected are one. */
export function homogeneity(before: readonly number[], now: readonly number[]): number {
  const [n, m] = [sum(before), sum(now)]
  const share = Math.min(n, m) / (n + m)
  const cells = before.map((count, i) => [count, now[i]!] as const).sort((a, b) => a[0] + a[1] - b[0] - b[1])
  let [pooled, kept] = [[0, 0] as readonly [number, number], 0]
  while (kept < cells.length && (sum(pooled) > 0 ? sum(pooled) : sum(cells[kept]!)) * share < 5)
    pooled = [pooled[0] + cells[kept]![0], pooled[1] + cells[kept++]![1]]
  const counted = [...(sum(pooled) > 0 ? [pooled] : []), ...cells.slice(kept)]
  if (counted.length < 2) return 1
  const off = (count: number, expected: number) => (count - expected) ** 2 / expected
  const square = counted.map(([a, b]) => off(a, ((a + b) * n) / (n + m)) + off(b, ((a + b) * m) / (n + m)))
  return chiSquareTail(sum(square), counted.length - 1)
}

/** The population stability index, less what it is by chance alone. */
export function excessPsi(before: readonly number[], now: readonly number[]): number {
  const cells = before.length
  const [n, m] = [sum(before) + cells / 2, sum(now) + cells / 2]
  const parts = before.map((count, i) => {
    const [was, is] = [(count + 0.5) / n, (now[i]! + 0.5) / m]
    return (is - was) * Math.log(is / was)
  })
  return sum(parts) - (cells - 1) * (1 / n + 1 / m)
}

/** How many standard deviations a share, by `hits` out of `of`, is away from another one: the root of its likelihood ratio. */
export function deviation(hits: number, of: number, share: number): number {
  const off = (part: number, chance: number) => (part > 0 ? part * Math.log(part / of / chance) : 0)
  return Math.sqrt(Math.max(0, 2 * (off(hits, share) + off(of - hits, 1 - share))))
}

/** Two models on the same rows: the chance that one alone is right so often more, when both are equal (exact). */
export const mcNemar = (onlyOne: number, onlyOther: number) =>
  Math.min(1, 2 * beta(0.5, Math.max(onlyOne, onlyOther), Math.min(onlyOne, onlyOther) + 1))
/** The same, to be looked at as often as one likes: of equal models at most one in 20 ever reaches 20. */
export const mcNemarEvidence = (onlyOne: number, onlyOther: number, prior = 1) =>
  Math.exp(lnBeta(onlyOne + prior, onlyOther + prior) - lnBeta(prior, prior) + (onlyOne + onlyOther) * Math.LN2)

/** days at most that are drawn one by one; of more several on end are one */
const DRAWN = 200
/** The total of so many days, each of which could have come never, once, or several times; `random` is in 0 to 1. */
export function bootstrap(all: readonly number[], random: () => number, draws = 2000, level = 0.95): Interval {
  const size = Math.ceil(all.length / DRAWN)
  const days = Array.from({ length: Math.ceil(all.length / size) }, (_, i) => sum(all.slice(i * size, (i + 1) * size)))
  const totals = Array.from({ length: draws }, () => {
    let [total, drawn] = [0, 0]
    for (const day of days) {
      let [times, chance] = [0, Math.exp(-1)]
      for (let left = random() - chance; left > 0 && times < 20; left -= chance) chance /= ++times
      total += times * day
      drawn += times
    }
    return drawn === 0 ? 0 : (total / drawn) * days.length
  }).sort((a, b) => a - b)
  const at = (p: number) => totals[Math.round(p * (draws - 1))]!
  return [at((1 - level) / 2), at((1 + level) / 2)]
}
