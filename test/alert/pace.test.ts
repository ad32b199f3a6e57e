import { describe, expect, test } from 'vitest'
import { type Flying, FULL, type Paced, pace } from '../../src/alert/pace.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const NOW = Date.UTC(2026, 4, 5, 12, 0, 30)
const NONE: Flying = { notifications: 0, singles: 0, since: 0 }
const FRESH: Paced = { counted: [] }
type Sent = { at: number; size: number }

/** Lets frauds come, and sends whatever may go, for so long. `broken` from when on. */
function storm(
  {
    burst = 5,
    limit = 1e6,
    noted = FRESH,
    start = NOW,
  }: { burst?: number; limit?: number; noted?: Paced; start?: number },
  frauds: readonly number[],
  { ms, broken = Number.POSITIVE_INFINITY }: { ms: number; broken?: number },
) {
  const paced = pace({ burst, limit }, noted)
  const sent: Sent[] = []
  let waiting = 0
  let come = 0
  for (let now = start; now < start + ms; now += SECOND) {
    for (; come < frauds.length && start + frauds[come]! <= now; come++) waiting++
    for (;;) {
      const { wait, size } = waiting > 0 ? paced.next(waiting, now, NONE, now - start >= broken) : { wait: 1, size: 0 }
      if (wait > 0) break
      paced.sent(size, now)
      sent.push({ at: now - start, size })
      waiting -= size
    }
  }
  return { sent, waiting, paced }
}
const every = (gap: number, ms: number) => Array.from({ length: Math.floor(ms / gap) }, (_, i) => i * gap)
const most24h = (sent: readonly Sent[]) =>
  Math.max(...sent.map(({ at }) => sent.filter((other) => other.at > at - DAY && other.at <= at).length))

describe('frauds', () => {
  test('far apart go out each at once', () => {
    const times = every(20 * SECOND, HOUR)
    expect(storm({}, times, { ms: HOUR }).sent).toEqual(times.map((at) => ({ at, size: 1 })))
  })

  test('of a storm: the first five at once, then one notification a minute with all that came', () => {
    const { sent, waiting } = storm({}, every(SECOND, 5 * MINUTE), { ms: 6 * MINUTE })
    expect(sent.slice(0, 5)).toEqual([0, 1, 2, 3, 4].map((s) => ({ at: s * SECOND, size: 1 })))
    expect(sent.slice(5).map(({ at }) => at / SECOND)).toEqual([64, 124, 184, 244, 304])
    expect(sent.slice(5).map(({ size }) => size)).toEqual([60, 60, 60, 60, 55])
    expect(waiting).toBe(0)
  })

  test('go out one by one again once a minute has brought no more than five', () => {
    const calm = [5, 6, 7].map((minute) => minute * MINUTE)
    const { sent } = storm({}, [...every(SECOND, 2 * MINUTE), 2.2 * MINUTE, ...calm], { ms: 10 * MINUTE })
    expect(sent.slice(-3)).toEqual(calm.map((at) => ({ at, size: 1 })))
  })

  test('without a burst are always collected', () => {
    const { sent } = storm({ burst: 0 }, every(10 * SECOND, 5 * MINUTE), { ms: 6 * MINUTE })
    expect(sent.map(({ at, size }) => [at / SECOND, size])).toEqual([
      [0, 1],
      [60, 6],
      [120, 6],
      [180, 6],
      [240, 6],
      [300, 5],
    ])
  })

  test(`are ${FULL} in a notification at most; a full one waits its minute too`, () => {
    const { sent } = storm({ burst: 0 }, every(10, MINUTE), { ms: 10 * MINUTE })
    expect(sent.map(({ size }) => size)).toEqual([1, 2000, 2000, 1999])
    expect(sent.map(({ at }) => at / MINUTE)).toEqual([0, 1, 2, 3])
  })

  test('of a storm that outlives a restart stay collected', () => {
    const { paced } = storm({}, every(SECOND, 3 * MINUTE), { ms: 3 * MINUTE })
    const noted = JSON.parse(JSON.stringify(paced.noted()))
    const again = pace({ burst: 5, limit: 1e6 }, noted).next(30, NOW + 3 * MINUTE, NONE, false)
    expect(again).toMatchObject({ size: 30, why: 'storm' })
    expect(again.wait).toBeGreaterThan(0)
  })

  test('under way count, before they are sent', () => {
    const paced = pace({ burst: 5, limit: 10 }, FRESH)
    expect(paced.next(1, NOW, { notifications: 4, singles: 4, since: NOW }, false)).toMatchObject({ wait: 0, size: 1 })
    expect(paced.next(3, NOW, { notifications: 5, singles: 5, since: NOW }, false)).toMatchObject({
      wait: MINUTE,
      size: 3,
    })
    expect(paced.next(1, NOW, { notifications: 9, singles: 0, since: NOW }, false).wait).toBe(Number.POSITIVE_INFINITY)
    expect(paced.wait(NOW, { notifications: 9, singles: 0, since: NOW })).toBe(0)
    expect(paced.wait(NOW, { notifications: 10, singles: 0, since: NOW })).toBe(Number.POSITIVE_INFINITY)
  })

  test('wait no longer than a minute because the clock was set back', () => {
    const { paced } = storm({ burst: 0 }, [0], { ms: MINUTE })
    const back = NOW - 2 * HOUR
    expect(paced.next(3, back, NONE, false).wait).toBeLessThanOrEqual(MINUTE)
    expect(paced.next(3, back + MINUTE, NONE, false).wait).toBe(0)
  })
})

describe('of a broken model', () => {
  test('what it flags is collected for 15 minutes', () => {
    const { sent } = storm({}, every(2 * SECOND, HOUR), { ms: 70 * MINUTE, broken: 0 })
    expect(sent.map(({ at, size }) => [at / MINUTE, size])).toEqual([
      [0, 1],
      [15, 450],
      [30, 450],
      [45, 450],
      [60, 449],
    ])
  })

  test('a full notification waits for a minute only', () => {
    const { sent } = storm({}, every(10, 2 * MINUTE), { ms: 10 * MINUTE, broken: 0 })
    expect(sent.map(({ at, size }) => [Math.floor(at / MINUTE), size])).toEqual([
      [0, 1],
      [1, 2000],
      [2, 2000],
      [3, 2000],
      [4, 2000],
      [5, 2000],
      // less than a full one waits for its 15 minutes
    ])
  })

  test('the first alarms after it go out one by one', () => {
    const paced = pace({ burst: 5, limit: 1e6 }, FRESH)
    expect(paced.next(3, NOW, NONE, true)).toMatchObject({ size: 3, why: 'broken' })
    paced.sent(3, NOW)
    expect(paced.next(1, NOW + MINUTE, NONE, true)).toMatchObject({ wait: 14 * MINUTE, why: 'broken' })
    expect(paced.next(1, NOW + MINUTE, NONE, false)).toEqual({ wait: 0, size: 1, why: undefined })
  })
})

describe('the limit', () => {
  test('is never passed in any 24 h, in three days of storm, and lets notifications through to the end', () => {
    const { sent } = storm({ limit: 50 }, every(30 * SECOND, 3 * DAY), { ms: 3 * DAY })
    expect(most24h(sent)).toBeLessThanOrEqual(49) // one is kept for a notice
    const gaps = sent.slice(1).map(({ at }, i) => at - sent[i]!.at)
    expect(Math.max(...gaps)).toBeLessThan(DAY)
    expect(sent.filter(({ at }) => at > 2 * DAY).length).toBeGreaterThan(5)
  })

  test('from 80 % of it on makes the pauses longer and longer', () => {
    const { sent } = storm({ limit: 50 }, every(10 * SECOND, DAY), { ms: DAY })
    const gaps = sent.slice(1).map(({ at }, i) => at - sent[i]!.at)
    expect(gaps.slice(5, 39).every((gap) => gap === MINUTE)).toBe(true)
    const scarce = gaps.slice(39)
    expect(scarce.length).toBeGreaterThan(3)
    expect(scarce).toEqual(scarce.toSorted((a, b) => a - b))
    expect(new Set(scarce).size).toBe(scarce.length)
    expect(scarce[0]).toBeGreaterThan(2 * HOUR)
  })

  test('keeps one notification for a notice, and sends that at once', () => {
    const { paced } = storm({ limit: 5, burst: 100 }, every(MINUTE, 10 * DAY), { ms: 3 * DAY })
    const now = NOW + 3 * DAY
    expect(paced.wait(now, NONE)).toBe(0)
    paced.sent(0, now)
    expect(paced.wait(now, NONE)).toBeGreaterThan(0)
  })

  test.for([1, 2, 3, 4])('of %i keeps nothing back, and is never scarce', (limit) => {
    const { sent } = storm({ limit, burst: 100 }, every(MINUTE, HOUR), { ms: HOUR })
    expect(sent).toEqual(every(MINUTE, limit * MINUTE).map((at) => ({ at, size: 1 })))
  })

  test('that is far again lets alarms go out one by one again', () => {
    const { paced } = storm({ limit: 20 }, every(30 * SECOND, HOUR), { ms: 2 * HOUR })
    expect(paced.next(1, NOW + 3 * HOUR, NONE, false).why).toBe('scarce')
    expect(paced.next(1, NOW + 3 * DAY, NONE, false)).toEqual({ wait: 0, size: 1, why: undefined })
  })

  test('holds over a restart and over a clock that was set back', () => {
    const { paced } = storm({ limit: 6, burst: 100 }, every(MINUTE, HOUR), { ms: HOUR })
    const noted = JSON.parse(JSON.stringify(paced.noted()))
    const again = pace({ burst: 100, limit: 6 }, noted)
    for (const now of [NOW + HOUR, NOW - 2 * HOUR]) {
      const { wait, why } = again.next(1, now, NONE, false)
      expect([wait > 0, why === 'limit' || why === 'scarce']).toEqual([true, true])
    }
  })
})

describe('a backlog', () => {
  test.for([
    [1, 1],
    [5, 1],
    [6, 6],
    [300, 300],
    [FULL + 1, FULL],
  ] as const)('of %i begins at once, with %i in the first notification', ([waiting, size]) => {
    const paced = pace({ burst: 5, limit: 450 }, FRESH)
    paced.backlog(waiting)
    expect(paced.next(waiting, NOW, NONE, false)).toMatchObject({ wait: 0, size })
  })

  test('is followed by single alarms again', () => {
    const paced = pace({ burst: 5, limit: 450 }, FRESH)
    paced.backlog(6)
    paced.next(6, NOW, NONE, false)
    paced.sent(6, NOW)
    paced.next(0, NOW + MINUTE, NONE, false)
    expect(paced.next(1, NOW + 2 * MINUTE, NONE, false)).toEqual({ wait: 0, size: 1, why: undefined })
  })

  test('comes within a minute of the notification before it no earlier: a restart does not hurry a storm', () => {
    const paced = pace({ burst: 5, limit: 450 }, { counted: [], last: NOW - 10 * SECOND })
    paced.backlog(6)
    expect(paced.next(6, NOW, NONE, false)).toMatchObject({ wait: 50 * SECOND, size: 6 })
  })
})

test('what is noted stays small, and is JSON', () => {
  const { paced } = storm({ limit: 1e6 }, every(SECOND, 2 * HOUR), { ms: 2 * DAY })
  expect(JSON.parse(JSON.stringify(paced.noted()))).toEqual(paced.noted())
  expect(JSON.stringify(paced.noted()).length).toBeLessThan(30_000)
})
