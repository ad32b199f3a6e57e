import { expect, test } from 'vitest'
import { type AnomalyState, anomalyDetector, tail } from '../../src/alert/anomaly.ts'
import { seeded } from '../../src/simulate/random.ts'

const IMPOSSIBLE = 1e-12
type Breaker = ReturnType<typeof anomalyDetector>

/** A model that flags this share: what its predictions changed, and at which row, from 1 on. */
function model(seed: number, b: Breaker = anomalyDetector(IMPOSSIBLE)) {
  const random = seeded(seed)
  return {
    b,
    flags(share: number, rows: number) {
      const changes: [change: 'broken' | 'sound' | 'another', row: number][] = []
      for (let row = 1; row <= rows; row++) {
        const change = b.saw(random.uniform() < share)
        if (change) changes.push([change, row])
      }
      return changes
    },
  }
}
const seeds = (count: number) => Array.from({ length: count }, (_, seed) => seed)

/** How many flagged ones in a row it takes. */
function flaggedUntilBroken(b: Breaker): number {
  for (let row = 1; row <= 1000; row++) if (b.saw(true) === 'broken') return row
  throw new Error('never broken')
}

/** P(X >= k) with p = a / b: exact, rounded once at the end. */
function exactTail(k: number, n: number, a: bigint, b: bigint): number {
  let choose = 1n
  let sum = 0n
  for (let i = 0; i <= n; i++) {
    if (i >= k) sum += choose * a ** BigInt(i) * (b - a) ** BigInt(n - i)
    choose = (choose * BigInt(n - i)) / BigInt(i + 1)
  }
  return Number(`${(sum * 10n ** 400n) / b ** BigInt(n)}e-400`)
}

test('the chance is that of exact arithmetic, to 11 digits, down to 1e-300', () => {
  let least = 1
  for (const [a, b] of [
    [1, 500],
    [47, 6767],
    [1, 20],
    [1, 5],
    [1, 2],
    [9, 10],
    [999, 1000],
  ] as const)
    for (const n of [1, 2, 20, 57, 199, 200])
      for (let k = 0; k <= n; k += n < 50 ? 1 : 7) {
        const exact = exactTail(k, n, BigInt(a), BigInt(b))
        if (exact < 1e-300) continue
        least = Math.min(least, exact)
        expect(Math.abs(tail(k, n, a / b) / exact - 1), `${k} of ${n} at ${a}/${b}`).toBeLessThan(1e-11)
      }
  expect(least).toBeLessThan(1e-250)
  expect(tail(200, 200, 0.001)).toBe(0) // 1e-600
})

test.for([
  [0.004, 10_000_000],
  [0.001, 2_000_000],
  [0.01, 2_000_000],
  [0.05, 2_000_000],
  [0.2, 1_000_000],
] as const)('never fires on a model that flags a share of %d, in %d predictions', ([share, rows]) => {
  expect(model(1).flags(share, rows)).toEqual([])
})

test('never fires at the start either, whatever the share is', () => {
  for (const seed of seeds(2000)) {
    const share = [0, 0.001, 0.004, 0.01, 0.05, 0.1, 0.2][seed % 7]!
    expect(model(seed).flags(share, 1000), `seed ${seed}`).toEqual([])
  }
})

test('fires at the 20th prediction when everything was flagged from the start, and not earlier', () => {
  const b = anomalyDetector(IMPOSSIBLE)
  expect(flaggedUntilBroken(b)).toBe(20)
  expect(b.broken()).toBe(true)
  expect(b.figures()).toEqual({ flagged: 20, of: 20, usual: 0.2, chance: expect.closeTo(0.2 ** 20, 25) })
})

test('fires within 100 predictions on a model that flags everything, after any length of history', () => {
  const lengths = [...Array.from({ length: 60 }, (_, i) => i * 7), 700, 1000, 5000, 20_000, 100_000]
  let most = 0
  for (const share of [0.001, 0.004, 0.01, 0.05])
    for (const length of lengths) {
      const { b, flags } = model(length)
      expect(flags(share, length)).toEqual([])
      most = Math.max(most, flaggedUntilBroken(b))
    }
  expect(most).toBeLessThan(100)
})

test('fires within 20 predictions on a model that flags everything, once the usual 0.4 % is well known', () => {
  for (const seed of seeds(50)) {
    const { b, flags } = model(seed)
    flags(0.004, 12_000)
    expect(flaggedUntilBroken(b)).toBeLessThanOrEqual(20)
  }
})

test('fires within 200 predictions when 20 % are flagged instead of 0.4 %', () => {
  for (const seed of seeds(300)) {
    const { flags } = model(seed)
    expect(flags(0.004, 12_000)).toEqual([])
    const [first] = flags(0.2, 200)
    expect(first?.[0], `seed ${seed}`).toBe('broken')
  }
})

test('does not fire on a single cluster of frauds: 5 on end among 200, even where there was none before', () => {
  for (const share of [0, 0.001, 0.004]) {
    const { b, flags } = model(7)
    flags(share, 20_000)
    for (let i = 0; i < 200; i++) b.saw(false)
    expect(seeds(5).map(() => b.saw(true))).toEqual(Array(5).fill(undefined))
    expect(b.figures()).toMatchObject({ flagged: 5, of: 200 })
    expect(b.broken()).toBe(false)
  }
})

test('fires the earlier the less impossible it has to be', () => {
  const rows = [1e-4, 1e-12, 1e-40].map((impossible) => {
    const { b, flags } = model(3, anomalyDetector(impossible))
    flags(0, 12_000)
    return flaggedUntilBroken(b)
  })
  expect(rows).toEqual([...rows].sort((a, b) => a - b))
  expect(new Set(rows).size).toBe(3)
})

test('counts the last 200 predictions, and takes those before them for usual', () => {
  const b = anomalyDetector(IMPOSSIBLE)
  for (let i = 0; i < 1000; i++) b.saw(i % 100 === 50)
  expect(b.figures()).toEqual({ flagged: 2, of: 200, usual: 28 / 900, chance: tail(2, 200, 28 / 900) })
})

test('what is usual follows the last 10,000 predictions or so', () => {
  const { b, flags } = model(4)
  flags(0.05, 40_000)
  expect(b.figures().usual).toBeCloseTo(0.05, 2)
  flags(0.001, 7000)
  expect(b.figures().usual).toBeGreaterThan(0.01)
  flags(0.001, 23_000)
  expect(b.figures().usual).toBeLessThan(0.01)
})

test('a share that creeps up is no break, but becomes usual', () => {
  const { b, flags } = model(5)
  for (let share = 0.004; share < 0.05; share += 0.002) expect(flags(share, 10_000)).toEqual([])
  expect(b.figures().usual).toBeGreaterThan(0.04)
})

test('is sound again once, within 450 predictions after the model is', () => {
  for (const seed of seeds(200)) {
    const { b, flags } = model(seed)
    flags(0.004, seed % 2 ? 12_000 : 300)
    expect(flags(seed % 3 ? 1 : 0.5, 1000)).toEqual([['broken', expect.any(Number)]])
    const changes = flags(0.004, 30_000)
    expect(changes, `seed ${seed}`).toEqual([['sound', expect.any(Number)]])
    expect(changes[0]![1]).toBeGreaterThan(200) // not before the last of the flood has left
    if (seed < 20) expect(changes[0]![1]).toBeLessThan(450)
    expect(b.broken()).toBe(false)
  }
})

test('does not flap while the model recovers slowly', () => {
  for (const seed of seeds(100)) {
    const { b, flags } = model(seed)
    flags(0.004, 12_000)
    const changes = flags(1, 100)
    for (let share = 1; share > 0.004; share *= 0.9) changes.push(...flags(share, 100))
    changes.push(...flags(0.004, 10_000))
    expect(
      changes.map(([change]) => change),
      `seed ${seed}`,
    ).toEqual(['broken', 'sound'])
    expect(b.figures().usual).toBeLessThan(0.015)
  }
})

test('hardly flaps on a share between usual and impossible', () => {
  const counts = new Map<number, number>()
  for (const share of [0.03, 0.04, 0.05, 0.07])
    for (const seed of seeds(40)) {
      const { flags } = model(seed)
      flags(0.004, 12_000)
      const changes = flags(share, 30_000).length
      counts.set(changes, (counts.get(changes) ?? 0) + 1)
    }
  expect(Math.max(...counts.keys())).toBeLessThanOrEqual(4)
  expect(counts.get(4) ?? 0).toBeLessThan(10)
})

test('what came while it was broken never counts as usual', () => {
  const { b, flags } = model(6)
  flags(0.004, 12_000)
  const before = b.figures().usual
  flags(1, 8000)
  expect(b.figures().usual).toBeCloseTo(before, 3)
  flags(0.004, 2000)
  expect(b.broken()).toBe(false)
  expect(b.figures().usual).toBeLessThan(0.01)
})

test('a new share that holds for 10,000 predictions becomes usual', () => {
  for (const share of [0.08, 0.1, 0.15]) {
    const { b, flags } = model(8)
    flags(0.004, 12_000)
    const changes = flags(share, 60_000)
    expect(changes.map(([change]) => change)).toEqual(['broken', 'sound'])
    expect(changes[1]![1] - changes[0]![1]).toBeGreaterThanOrEqual(10_000)
    expect(changes[1]![1] - changes[0]![1]).toBeLessThan(10_500)
    expect(b.figures().usual).toBeCloseTo(share, 1)
    expect(flaggedUntilBroken(b)).toBeLessThan(100)
  }
})

test('a share above 20 % never becomes usual', () => {
  for (const share of [0.25, 0.5, 1]) {
    const { b, flags } = model(9)
    flags(0.004, 12_000)
    expect(flags(share, 100_000)).toEqual([['broken', expect.any(Number)]])
    expect(b.figures().usual).toBeLessThan(0.01)
  }
})

test('a share that did not hold is not made usual', () => {
  const { b, flags } = model(10)
  flags(0.004, 12_000)
  flags(1, 1100)
  expect(flags(0.08, 10_500)).toEqual([]) // after 10,000: 18 % of all since it broke, but 8 % now
  expect(b.broken()).toBe(true)
  expect(flags(0.08, 10_000)).toEqual([['sound', expect.any(Number)]])
  expect(b.figures().usual).toBeCloseTo(0.08, 2)
})

test('a share that is about to break again is not made usual', () => {
  const { b, flags } = model(11)
  flags(0.004, 12_000)
  expect(flags(0.08, 9900)).toEqual([['broken', expect.any(Number)]])
  expect(flags(0.5, 700)).toEqual([])
  expect(b.broken()).toBe(true)
})

test('goes on with its state at any point, through JSON, as if never interrupted', () => {
  const random = seeded(12)
  const shares = [0.004, 0.004, 1, 0.1, 0.1, 0.004]
  const whole = anomalyDetector(IMPOSSIBLE)
  let parts = anomalyDetector(IMPOSSIBLE)
  let changes = 0
  for (let row = 0; row < 36_000; row++) {
    const flagged = random.uniform() < shares[Math.floor(row / 6000)]!
    if (random.uniform() < 0.02 || row < 300) {
      const text = JSON.stringify(parts.state())
      expect(text.length).toBeLessThan(400)
      parts = anomalyDetector(IMPOSSIBLE, JSON.parse(text) as AnomalyState)
    }
    const change = whole.saw(flagged)
    if (change) changes++
    if (parts.saw(flagged) !== change || parts.broken() !== whole.broken()) expect.unreachable(`row ${row}`)
    if (row % 100 === 0 || change) {
      expect(parts.figures()).toEqual(whole.figures())
      expect(parts.state()).toEqual(whole.state())
    }
  }
  expect(changes).toBeGreaterThanOrEqual(2)
})

test('a state that was given out or taken in does not change afterwards', () => {
  const { b, flags } = model(13)
  flags(0.004, 500)
  flags(1, 300)
  const state = b.state()
  const before = structuredClone(state)
  const other = anomalyDetector(IMPOSSIBLE, state)
  for (let i = 0; i < 500; i++) {
    b.saw(false)
    other.saw(false)
  }
  expect(state).toEqual(before)
})

test('the state is whole numbers and a short text', () => {
  const { b, flags } = model(14)
  flags(0.05, 50_000)
  flags(1, 100)
  flags(0.5, 30_000)
  const { recent, usual, broken } = b.state()
  expect(recent).toMatch(/^[01]{200}$/)
  expect([...usual, ...broken!.since, broken!.calm].every(Number.isInteger)).toBe(true)
})

test('another model begins anew: what was usual of the one before says nothing of it, and that one is broken no longer', () => {
  const b = anomalyDetector(1e-12)
  for (let i = 0; i < 300; i++) b.saw(i % 100 === 0, 'rf/7')
  const before = b.state()
  expect(before.model).toBe('rf/7')
  for (let i = 0; i < 15; i++) expect(b.saw(true, 'rf/8')).toBeUndefined() // of rf/7 that would be impossible
  expect(b.state()).toMatchObject({ recent: '1'.repeat(15), usual: [0, 0], model: 'rf/8' })
  while (b.saw(true, 'rf/8') !== 'broken');
  expect(anomalyDetector(1e-12, b.state()).saw(false, 'rf/7')).toBe('another')
  expect(b.saw(false, 'rf/7')).toBe('another')
  expect(b.broken()).toBe(false)
  const old = anomalyDetector(1e-12, { recent: '0'.repeat(200), usual: [9, 900] }) // noted before models were
  expect(old.saw(false, 'rf/7')).toBeUndefined()
  expect(old.state().recent).toHaveLength(200)
})
