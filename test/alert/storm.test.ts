import { isDeepStrictEqual } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { type AlertOptions, alertStage } from '../../src/alert/deliver.ts'
import { type Delivery, type Notification, type Notifier, notificationKey } from '../../src/alert/notifier.ts'
import { whereabouts } from '../../src/alert/outbox.ts'
import { openRows } from '../../src/alert/rows.ts'
import type { Condition } from '../../src/alert/trouble.ts'
import { SendFailure } from '../../src/io/errors.ts'
import { stringify } from '../../src/io/json.ts'
import type { StageStatus } from '../../src/run/loop.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Notes } from '../../src/topic/topic.ts'
import { identity, type Prediction } from '../../src/transaction.ts'
import { listeningLog, prediction, tempDir } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'
import { type VirtualClock, virtualClock } from './clock.ts'

afterEach(() => vi.restoreAllMocks())

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** What becomes of a notification: it arrives or not, and the way says so, says otherwise, or does not know. */
type Failing = ConstructorParameters<typeof SendFailure>[1]
type Fate = { arrives?: boolean; error?: Failing; takes?: number }
type Arrival = { notification: Notification; key: string; steady: number; size: number; notice: string | undefined }

/** People, and the way to them. What is under way arrives although the sender has died. */
function post(time: VirtualClock) {
  const arrivals: Arrival[] = []
  const it = {
    arrivals,
    tries: 0,
    fate: (_: Notification): Fate => ({}),
    async send(notification: Notification, signal: AbortSignal): Promise<Delivery> {
      it.tries++
      const { error, arrives = error === undefined, takes = 50 } = it.fate(notification)
      await time.sleep(takes / 2, signal)
      if (signal.aborted) throw new SendFailure('stopped', { scope: 'channel', delivered: 'maybe' })
      if (arrives)
        arrivals.push({
          notification,
          key: notificationKey(notification),
          steady: time.steady(),
          size: notification.frauds.length,
          notice: notification.notice?.subject,
        })
      await time.sleep(takes / 2, signal)
      if (error) throw new SendFailure('refused', error)
      if (signal.aborted) throw new SendFailure('stopped', { scope: 'channel', delivered: 'maybe' })
      return { accepted: ['analyst'], rejected: [], deferred: [], said: 'taken' }
    },
    close() {},
  }
  return it
}

type Options = Partial<Omit<AlertOptions, 'topics' | 'reader' | 'clock' | 'conditions'>>

/** Topics, people and a clock, which outlive the workers. */
async function world(options: Options = {}) {
  const dir = await tempDir()
  const time = virtualClock()
  const path = dir.file('topics.db')
  const open = () => sqliteTopics({ path })
  const people = post(time)
  let topics = await open()
  let count = 0
  let worker: { life: Life; stop: AbortController; ended: Promise<void> } | undefined
  const { log, lines, text } = listeningLog()
  const health: StageStatus = {}

  async function gone() {
    worker = undefined
    await topics.close()
    topics = await open()
  }
  const it = {
    time,
    people,
    lines,
    text,
    health,
    arrivals: people.arrivals,
    conditions: undefined as (() => Promise<Condition[]>) | undefined,
    topics: () => topics,
    async append(prediction: 0 | 1, many = 1): Promise<string[]> {
      const rows = Array.from({ length: many }, () => row(++count, prediction, time.now()))
      await topics.append({ predictions: rows })
      await time.still()
      return rows.map((p) => p.trans_num)
    },
    async start(more: Options = {}) {
      const life = { dead: false }
      const stop = new AbortController()
      const given = { name: 'alert' as const, notifier: people, burst: 5, dailyLimit: 450, ...options, ...more }
      const ended = alertStage(
        { log, stop: stop.signal, health },
        alive(life, topics, time, { ...given, ...(it.conditions && { conditions: it.conditions }) }),
        { afterStop: 1 },
      )
      ended.catch(() => {})
      worker = { life, stop, ended }
      await time.still()
    },
    /** As SIGTERM does. */
    async stop() {
      const ended = worker?.ended
      worker?.stop.abort(new Error('stopped'))
      await ended
      await gone()
    },
    /** As SIGKILL does: nothing more is noted. */
    async kill() {
      worker!.life.dead = true
      worker!.stop.abort(new Error('stopped'))
      await gone()
    },
    noted: async () => openRows('alert/', await topics.state('alert/')),
    lag: () => topics.reader('predictions', 'alert').lag(),
    async [Symbol.asyncDispose]() {
      if (worker) await it.stop()
      await topics.close()
      await dir[Symbol.asyncDispose]()
    },
  }
  return it
}

const BASE = prediction(0)
const row = (n: number, guess: 0 | 1, at: number): Prediction => ({
  ...BASE,
  cc_num: BASE.cc_num + BigInt(n),
  trans_num: n.toString(16).padStart(32, '0'),
  amt: 10 + (n % 1000),
  prediction: guess,
  event_time: at - 500,
  fetched_at: at - 400,
  predicted_at: at,
})

type Life = { dead: boolean; strike?: (life: Life) => void; noted?: (notes: Notes) => void }

type Books = { waiting: Set<string>; total: { frauds: number; mailed: number } }
const kept = new WeakMap<VirtualClock, Map<string, Books>>()
/** What every note of the alarms in a world comes to. */
function booksOf(time: VirtualClock, name: string): Books {
  const books = kept.get(time) ?? new Map<string, Books>()
  kept.set(time, books)
  if (!books.has(name)) books.set(name, { waiting: new Set(), total: { frauds: 0, mailed: 0 } })
  return books.get(name)!
}

/** The world as a process sees it as long as it lives. */
function alive(
  life: Life,
  topics: Topics,
  time: VirtualClock,
  options: Omit<AlertOptions, 'topics' | 'reader' | 'clock'>,
): AlertOptions {
  /** A call that may be the last one: before it has done anything, or after. */
  async function living<T>(act: () => Promise<T>): Promise<T> {
    life.strike?.(life)
    if (life.dead) return new Promise(() => {})
    let outcome: () => T
    try {
      const result = await act()
      outcome = () => result
    } catch (error) {
      outcome = () => {
        throw error
      }
    }
    life.strike?.(life)
    return life.dead ? new Promise(() => {}) : outcome()
  }
  const noting = async (notes: Notes, act: () => Promise<void>) => {
    await living(async () => {
      await act()
      for (const [key, row] of Object.entries(notes))
        if (key.startsWith(`${options.name}/outbox/`)) row === null ? waiting.delete(key) : waiting.add(key)
      const { frauds, mailed } = (notes[`${options.name}/total`] ?? total) as typeof total
      Object.assign(total, { frauds, mailed })
      if (frauds - mailed !== waiting.size)
        throw new TypeError(`${frauds} frauds, ${mailed} mailed and ${waiting.size} that wait`)
      life.noted?.(notes)
    })
  }
  const { name } = options
  const reader = topics.reader('predictions', name)
  const { waiting, total } = booksOf(time, name)
  const { notifier, conditions } = options
  return {
    ...options,
    topics: {
      ...topics,
      append: (writes, notes = {}) => noting(notes, () => topics.append(writes, notes)),
      state: (...args) => living(() => topics.state(...args)),
      lead: (name, stop, work) =>
        topics.lead(name, stop, (lease) => work({ ...lease, note: (notes) => noting(notes, () => lease.note(notes)) })),
    },
    reader: {
      ...reader,
      seekToEnd: (notes) => noting(notes, () => reader.seekToEnd(notes)),
      read: (limit, signal) =>
        living(async () => {
          const batch = await reader.read(limit, signal)
          return {
            ...batch,
            commit: (count, writes, notes) => noting(notes ?? {}, () => batch.commit(count, writes, notes)),
          }
        }),
    },
    notifier: { send: (notification, signal) => living(() => notifier.send(notification, signal)), close() {} },
    ...(conditions && { conditions: () => living(conditions) }),
    clock: {
      now: time.now,
      steady: time.steady,
      sleep: (ms, signal) => living(() => time.sleep(ms, signal)),
    },
  }
}

type World = Awaited<ReturnType<typeof world>>
const number = (p: Prediction) => Number.parseInt(p.trans_num, 16)
const contents = (arrivals: readonly Arrival[]) => arrivals.map(({ notification }) => notification.frauds.map(number))
const about = (notification: Notification, ...numbers: number[]) =>
  notification.frauds.some((p) => numbers.includes(number(p)))
/** One fraud every `gap` ms for so long. */
async function steadily(w: World, ms: number, gap: number) {
  for (let gone = 0; gone < ms; gone += gap) {
    await w.append(1)
    await w.time.pass(gap)
  }
}
const most24h = (arrivals: readonly { steady: number }[]) =>
  Math.max(
    0,
    ...arrivals.map(({ steady }) => arrivals.filter((a) => a.steady > steady - DAY && a.steady <= steady).length),
  )

describe('a storm', () => {
  test('begins with five notifications at once; the rest is in one a minute, below the first', async () => {
    await using w = await world()
    await w.start()
    const began = w.time.steady()
    await w.append(1, 30)
    await w.time.pass(2 * SECOND)
    expect(contents(w.arrivals)).toEqual([[1], [2], [3], [4], [5]])
    expect(w.arrivals.map(({ notification }) => notification.under)).toEqual([
      undefined,
      undefined,
      undefined,
      undefined,
      undefined,
    ])
    await steadily(w, 3 * MINUTE, 5 * SECOND)
    await w.time.pass(2 * MINUTE)
    const rest = w.arrivals.slice(5)
    expect(rest.map(({ steady }) => Math.round((steady - began) / MINUTE))).toEqual([1, 2, 3])
    expect(rest.map(({ notification }) => notification.under)).toEqual(rest.map(() => w.arrivals[0]!.key))
    expect(contents(rest).flat()).toEqual(Array.from({ length: 61 }, (_, i) => i + 6))
    expect(w.text()).toContain('more than 5 frauds in 60 s (ALERT_BURST), alarms are collected: 25 held back')
  })

  test('ends with a minute that brings no more than five: the next go out one by one, and under nothing', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 10)
    await w.time.pass(MINUTE + 10 * SECOND) // five, and one notification with the rest
    await w.append(1, 3)
    await w.time.pass(10 * MINUTE)
    for (let i = 0; i < 3; i++) {
      await w.append(1)
      await w.time.pass(5 * MINUTE)
    }
    expect(contents(w.arrivals).slice(-3)).toEqual([[14], [15], [16]])
    expect(w.arrivals.slice(-3).map(({ notification }) => notification.under)).toEqual([
      undefined,
      undefined,
      undefined,
    ])
  })

  test('is shown while it lasts: why, since when, until when', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 10)
    await w.time.pass(10 * SECOND)
    const now = w.time.now()
    expect(w.health.held).toMatchObject({ why: 'storm' })
    expect(w.health.held!.since).toBeLessThanOrEqual(now)
    expect(w.health.held!.until).toBeGreaterThan(now)
    expect(w.health.held!.until).toBeLessThanOrEqual(now + MINUTE)
  })

  test('is no reason to hold back a fraud every 20 s', async () => {
    await using w = await world()
    await w.start()
    await steadily(w, 20 * MINUTE, 20 * SECOND)
    expect(contents(w.arrivals)).toEqual(Array.from({ length: 60 }, (_, i) => [i + 1]))
    expect(w.arrivals.filter(({ notification }) => notification.under)).toEqual([])
  })

  test('has 2,000 in a notification at most, and none is left out', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 5000)
    await w.time.pass(5 * MINUTE)
    const sizes = w.arrivals.map(({ size }) => size)
    expect(Math.max(...sizes)).toBe(2000)
    expect(contents(w.arrivals).flat()).toEqual(Array.from({ length: 5000 }, (_, i) => i + 1))
    expect(await w.lag()).toBe(0)
  })

  test('in which the way is down is made up for afterwards', async () => {
    await using w = await world()
    w.people.fate = () => ({ error: { scope: 'channel' } })
    await w.start()
    await w.append(1, 300)
    await w.time.pass(3 * HOUR)
    expect(w.people.tries).toBeLessThan(400)
    w.people.fate = () => ({})
    await w.time.pass(5 * MINUTE)
    expect(new Set(contents(w.arrivals).flat()).size).toBe(300)
    expect(contents(w.arrivals).flat()).toHaveLength(300)
    expect(await w.lag()).toBe(0)
  })

  test('that was there before the start, or came while the way was down, begins with all of it in one notification at once', async () => {
    await using w = await world()
    await w.append(1, 30)
    await w.time.pass(HOUR)
    await w.start()
    await w.time.pass(2 * SECOND)
    expect(contents(w.arrivals).map(({ length }) => length)).toEqual([30])
    await w.time.pass(HOUR)
    await w.append(1)
    await w.time.pass(2 * SECOND)
    expect(contents(w.arrivals).slice(1)).toEqual([[31]])
    w.people.fate = () => ({ error: { scope: 'channel' } })
    await w.append(1, 40)
    await w.time.pass(HOUR)
    w.people.fate = () => ({})
    await w.time.pass(2 * MINUTE)
    expect(contents(w.arrivals).map(({ length }) => length)).toEqual([30, 1, 40])
  })

  test('is none that few frauds before the start are: each has a notification of its own at once', async () => {
    await using w = await world()
    await w.append(1, 5)
    await w.time.pass(HOUR)
    await w.start()
    await w.time.pass(2 * SECOND)
    expect(contents(w.arrivals)).toEqual([[1], [2], [3], [4], [5]])
  })

  test('is not ended by a notice', async () => {
    await using w = await world()
    let wrong: string | undefined
    w.conditions = async () => [{ name: 'the model', wrong, cure: 'look', since: 1 }]
    await w.start()
    for (let minute = 0; minute < 10; minute++) {
      if (minute === 5) wrong = 'down'
      for (let i = 0; i < 12; i++) {
        await w.append(1)
        await w.time.pass(5 * SECOND)
      }
    }
    expect(w.arrivals.filter(({ size, notice }) => size === 1 && !notice)).toHaveLength(5)
  })

  test('is not ended by a single alarm that is sent again late', async () => {
    await using w = await world()
    let down = true
    w.people.fate = (notification) => (down && about(notification, 1) ? { error: { scope: 'message' } } : {})
    await w.start()
    for (let minute = 0; minute < 10; minute++) {
      if (minute === 4) down = false
      for (let i = 0; i < 12; i++) {
        await w.append(1)
        await w.time.pass(5 * SECOND)
      }
    }
    expect(w.arrivals.filter(({ size }) => size === 1).length).toBeLessThanOrEqual(6) // the late one too
  })

  test('stays one thread over a restart', async () => {
    await using w = await world()
    await w.start()
    const minute = async () => {
      for (let i = 0; i < 12; i++) {
        await w.append(1)
        await w.time.pass(5 * SECOND)
      }
    }
    for (let i = 0; i < 3; i++) await minute()
    await w.kill()
    await minute()
    await minute()
    const before = w.arrivals.length
    await w.start()
    await minute()
    expect(w.arrivals.slice(before).map(({ notification }) => notification.under)).toEqual(
      w.arrivals.slice(before).map(() => w.arrivals[0]!.key),
    )
  })

  test('has no part in a lonely fraud hours later', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 100)
    await w.time.pass(5 * HOUR)
    await w.append(1)
    await w.time.pass(MINUTE)
    expect(w.arrivals.at(-1)!.size).toBe(1)
    expect(w.arrivals.at(-1)!.notification.under).toBeUndefined()
  })

  test('is not shown any more when nothing is held back', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 100)
    await w.time.pass(5 * HOUR)
    expect(w.health.held).toBeUndefined()
  })
})

describe('a notification that is refused for what is in it', () => {
  test('is taken apart until the one fraud that is to blame is alone; the others arrive', async () => {
    await using w = await world({ burst: 0 })
    w.people.fate = (notification) => (about(notification, 13) ? { error: { scope: 'message' } } : {})
    await w.append(1, 100)
    await w.start()
    await w.time.pass(HOUR)
    const arrived = contents(w.arrivals).flat()
    expect(new Set(arrived).size).toBe(99)
    expect(arrived).toHaveLength(99)
    expect(arrived).not.toContain(13)
    w.people.fate = () => ({})
    await w.time.pass(2 * HOUR)
    expect(contents(w.arrivals).at(-1)).toEqual([13])
    expect(await w.lag()).toBe(0)
  })

  test('and has notice and frauds: the notice goes alone', async () => {
    await using w = await world({ impossible: 1e-12, burst: 0 })
    w.people.fate = ({ frauds, notice }) => (notice && frauds.length > 0 ? { error: { scope: 'message' } } : {})
    await w.append(1, 30)
    await w.start()
    await w.time.pass(HOUR)
    expect(w.arrivals.filter(({ notice }) => notice).map(({ size }) => size)).toEqual([0])
    expect(
      contents(w.arrivals)
        .flat()
        .toSorted((a, b) => a - b),
    ).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
  })

  test('for ever slows down no others', async () => {
    await using w = await world()
    w.people.fate = (notification) => (about(notification, 1, 2, 3, 4, 5) ? { error: { scope: 'message' } } : {})
    await w.start()
    await w.append(1, 5)
    await w.time.pass(HOUR)
    for (let i = 0; i < 3; i++) {
      const before = w.time.steady()
      await w.append(1)
      await w.time.pass(10 * SECOND)
      expect(w.arrivals.length).toBe(i + 1)
      expect(w.arrivals.at(-1)!.steady - before).toBeLessThan(5 * SECOND)
      await w.time.pass(10 * SECOND)
    }
  })

  test('holds no part of the limit', async () => {
    await using w = await world({ dailyLimit: 6 })
    w.people.fate = (notification) => (about(notification, 1, 2, 3, 4, 5, 6) ? { error: { scope: 'message' } } : {})
    await w.start()
    for (let i = 0; i < 6; i++) {
      await w.append(1)
      await w.time.pass(2 * MINUTE)
    }
    await w.append(1)
    await w.time.pass(6 * HOUR)
    expect(contents(w.arrivals)).toEqual([[7]])
  })

  test('may be taken into more pieces than the limit has left', async () => {
    await using w = await world({ dailyLimit: 20, burst: 0 })
    w.people.fate = (notification) => (notification.frauds.length > 2 ? { error: { scope: 'message' } } : {})
    await w.append(1, 100)
    await w.start()
    await w.time.pass(2 * DAY)
    expect(w.arrivals.length).toBeGreaterThan(20)
  })

  test('because it is too large gets through in small ones', async () => {
    await using w = await world({ dailyLimit: 1e6 })
    w.people.fate = (notification) => (notification.frauds.length > 10 ? { error: { scope: 'message' } } : {})
    await w.append(1, 3000)
    await w.start()
    await w.time.pass(12 * HOUR)
    expect(new Set(contents(w.arrivals).flat()).size).toBe(3000)
  })
})

describe('the limit', () => {
  test.for([1, 3, 4, 5, 20])('of %i holds in any 24 h of five days of storm, over restarts', async (dailyLimit) => {
    await using w = await world({ dailyLimit })
    await w.start()
    for (let i = 0; i < 60; i++) {
      await w.append(1, 3)
      await w.time.pass(2 * HOUR)
      if (i % 7 === 3) {
        await w.kill()
        await w.start()
      } else if (i % 7 === 5) {
        await w.stop()
        await w.start()
      }
    }
    expect(most24h(w.arrivals)).toBeLessThanOrEqual(dailyLimit >= 5 ? dailyLimit - 1 : dailyLimit)
    expect(w.arrivals.length).toBeGreaterThanOrEqual(4 * Math.min(dailyLimit, 4))
  })

  test('holds although the clock is set back again and again', async () => {
    await using w = await world({ dailyLimit: 6 })
    await w.start()
    for (let i = 0; i < 60; i++) {
      await w.append(1, 3)
      await w.time.pass(2 * HOUR)
      if (i % 5 === 0) w.time.setBack(2 * HOUR)
    }
    expect(most24h(w.arrivals)).toBeLessThanOrEqual(5)
    expect(w.arrivals.length).toBeGreaterThan(10)
  })

  test('of the day is not reached in a whole day of storm; the pauses get longer from 80 % on', async () => {
    await using w = await world()
    await w.start()
    for (let minute = 0; minute < 1440; minute++) {
      await w.append(1, 8)
      await w.time.pass(MINUTE)
    }
    expect(w.arrivals.length).toBeGreaterThan(360)
    expect(w.arrivals.length).toBeLessThan(450)
    const scarce = w.arrivals.slice(361).map(({ steady }, i) => steady - w.arrivals[360 + i]!.steady)
    expect(scarce).toEqual(scarce.toSorted((a, b) => a - b))
    expect(w.text()).toContain('80 % of ALERT_DAILY_LIMIT is used, alarms are collected')
    expect(w.health.held?.why).toBe('scarce')
  })

  test('of five keeps one notification for a notice, which is sent at once', async () => {
    await using w = await world({ dailyLimit: 5 })
    w.conditions = async () => [
      { name: 'the model', wrong: w.time.steady() - began > 2 * HOUR ? 'it is down' : undefined, cure: 'Look.' },
    ]
    const began = w.time.steady()
    await w.start()
    for (let i = 0; i < 4; i++) {
      await w.append(1)
      await w.time.pass(10 * MINUTE)
    }
    await w.append(1, 20)
    await w.time.pass(3 * HOUR)
    expect(w.arrivals.map(({ size, notice }) => (notice ? 'notice' : size))).toEqual([1, 1, 1, 1, 'notice'])
    expect(w.text()).toContain('5 mails in 24 h (ALERT_DAILY_LIMIT): 20 held back')
    const told = w.arrivals.at(-1)!.steady - began
    expect(told).toBeGreaterThan(2 * HOUR + 15 * MINUTE)
    expect(told).toBeLessThan(2 * HOUR + 18 * MINUTE)
    await w.time.pass(DAY)
    expect(contents(w.arrivals).flat()).toHaveLength(24)
  })

  test('counts a notification of which nobody knows whether it has arrived', async () => {
    await using w = await world({ dailyLimit: 4, burst: 100 })
    w.people.fate = (notification) =>
      about(notification, 1, 2) ? { error: { scope: 'message', delivered: 'maybe' } } : {}
    await w.start()
    await w.append(1, 2)
    await w.time.pass(SECOND)
    await w.append(1, 5)
    await w.time.pass(DAY - MINUTE)
    expect(w.people.tries).toBe(4)
  })

  test('counts notifications of an earlier process that are under way again', async () => {
    await using w = await world({ dailyLimit: 4, burst: 100 })
    w.people.fate = () => ({ takes: 60_000 })
    await w.append(1, 4)
    await w.start()
    await w.time.pass(10 * SECOND) // four notifications are under way, and arrive after all or not
    w.people.arrivals.length = 0
    await w.kill()
    w.people.fate = () => ({ takes: 30_000 })
    await w.time.pass(2 * MINUTE)
    w.people.arrivals.length = 0
    await w.append(1, 4)
    await w.start()
    await w.time.pass(HOUR)
    expect(w.arrivals.length).toBeLessThanOrEqual(4)
  })

  test('holds back a notice over a restart', async () => {
    await using w = await world({ dailyLimit: 2 })
    const outage = { name: 'the model', wrong: 'it is down', cure: 'look' }
    w.conditions = async () => [outage]
    await w.start()
    await w.append(1, 2)
    await w.time.pass(HOUR)
    await w.kill()
    await w.start()
    await w.time.pass(2 * DAY)
    expect(w.arrivals.filter(({ notice }) => notice)).toHaveLength(1)
  })

  test('may be none: then nothing is ever scarce', async () => {
    await using w = await world({ dailyLimit: Number.POSITIVE_INFINITY })
    await w.start()
    await w.append(1, 4)
    await w.time.pass(10 * SECOND)
    expect(w.arrivals).toHaveLength(4)
  })

  test('counts an uncertain notification after a restart too', async () => {
    await using w = await world({ dailyLimit: 1 })
    w.people.fate = () => ({ error: { scope: 'message', delivered: 'maybe' }, arrives: true })
    for (let i = 0; i < 3; i++) {
      await w.start()
      if (i === 0) await w.append(1)
      await w.time.pass(SECOND)
      await w.stop()
    }
    expect(w.arrivals).toHaveLength(1)
  })
})

describe('a model that flags everything', () => {
  test('is told once, with figures, its name and the frauds that wait; then there is a list every 15 minutes', async () => {
    await using w = await world({ impossible: 1e-12 })
    await w.start()
    for (let i = 0; i < 4; i++) {
      await w.append(0, 100)
      await w.time.pass(MINUTE)
    }
    await steadily(w, 66 * MINUTE, 6 * SECOND)
    const [notice, ...more] = w.arrivals.filter((a) => a.notice)
    expect(more).toEqual([])
    expect(notice!.notice).toMatch(/^The model looks broken: [\d.]+ % taken for fraud$/)
    expect(notice!.notification.notice!.lines[0]).toMatch(
      /^The model rf\/7 took \d+ of the last 200 transactions for fraud/,
    )
    expect(notice!.size).toBeGreaterThan(0)
    expect(notice!.notification.operators).toBeUndefined()
    const after = w.arrivals.slice(w.arrivals.indexOf(notice!))
    expect(after.map(({ steady }) => Math.round((steady - notice!.steady) / MINUTE))).toEqual([0, 15, 30, 45, 60])
    expect(after.slice(1).map(({ notification }) => notification.under)).toEqual(after.slice(1).map(() => notice!.key))
    const all = contents(w.arrivals).flat()
    expect(new Set(all).size).toBe(all.length)
  })

  test('and is plausible again is told once; then alarms go out one by one again', async () => {
    await using w = await world({ impossible: 1e-12 })
    await w.start()
    await w.append(0, 400)
    await w.append(1, 100)
    await w.time.pass(20 * MINUTE)
    await w.append(0, 450)
    await w.time.pass(20 * MINUTE)
    expect(w.arrivals.filter((a) => a.notice).map((a) => a.notice!.slice(0, 22))).toEqual([
      'The model looks broken',
      'The model is plausible',
    ])
    for (let i = 0; i < 3; i++) {
      await w.append(1)
      await w.time.pass(5 * SECOND)
    }
    expect(w.arrivals.slice(-3).map(({ size }) => size)).toEqual([1, 1, 1])
    expect(contents(w.arrivals).flat()).toHaveLength(103)
  })

  test('is not told again after a restart, whose list goes on 15 minutes after the last', async () => {
    await using w = await world({ impossible: 1e-12 })
    await w.start()
    await w.append(0, 400)
    await w.append(1, 100)
    await w.time.pass(MINUTE)
    const notice = w.arrivals.at(-1)!
    expect(notice.notice).toBeDefined()
    for (const end of [w.kill, w.stop]) {
      await end()
      await w.start()
      await steadily(w, MINUTE, 10 * SECOND)
    }
    await w.time.pass(20 * MINUTE)
    expect(w.arrivals.filter((a) => a.notice)).toHaveLength(1)
    expect(Math.round((w.arrivals.at(-1)!.steady - notice.steady) / MINUTE)).toBe(15)
    expect(w.arrivals.at(-1)!.size).toBe(12)
  })

  test('is not what the same few frauds are that are read again after each restart', async () => {
    await using w = await world({ impossible: 1e-12, dailyLimit: 1 })
    await w.start()
    await w.append(1, 18) // no reason yet, and only one of them may be sent
    await w.time.pass(MINUTE)
    for (let i = 0; i < 12; i++) {
      await (i % 2 ? w.kill : w.stop)()
      await w.start()
      await w.time.pass(MINUTE)
    }
    expect(await w.lag()).toBe(0)
    expect((await w.noted()).get('breaker')).toMatchObject({ recent: '1'.repeat(18) })
    expect(w.text()).not.toContain('looks broken')
  })

  test('is believed when that is turned off', async () => {
    await using w = await world()
    await w.start()
    await w.append(1, 500)
    await w.time.pass(3 * MINUTE)
    expect(w.arrivals.filter((a) => a.notice)).toEqual([])
    expect(w.arrivals.map(({ size }) => size)).toEqual([1, 1, 1, 1, 1, 495])
  })

  test('at 200 a second is sent a full notification a minute: nothing waits for 15', async () => {
    await using w = await world({ impossible: 1e-12 })
    await w.start()
    for (let i = 0; i < 30; i++) {
      await w.append(1, 200)
      await w.time.pass(SECOND)
    }
    await w.time.pass(3 * MINUTE)
    expect(w.arrivals.filter(({ size }) => size === 2000).length).toBeGreaterThanOrEqual(2)
  })
})

describe('what is wrong with the worker', () => {
  const trouble = (w: World, ...spans: [from: number, to: number][]) => {
    const began = w.time.steady()
    const minute = () => (w.time.steady() - began) / MINUTE
    w.conditions = async () => [
      {
        name: 'the model',
        wrong: spans.some(([from, to]) => minute() >= from && minute() < to) ? 'it is down' : undefined,
        cure: 'Look.',
      },
    ]
    return () => w.arrivals.filter((a) => a.notice).map((a) => [(a.steady - began) / MINUTE, a.notice!])
  }
  const near = (minute: number) => expect.closeTo(minute, -0.5)

  test('is told those who run it after 15 minutes, and its end after 15 minutes', async () => {
    await using w = await world()
    const told = trouble(w, [10, 60])
    await w.start()
    await w.time.pass(3 * HOUR)
    expect(told()).toEqual([
      [near(25), 'client-predict: trouble with the model since 2026-05-05 12:10 UTC'],
      [near(75), 'client-predict: the model is well again since 2026-05-05 13:00 UTC'],
    ])
    expect(w.arrivals.map(({ notification }) => [notification.operators, notification.frauds])).toEqual([
      [true, []],
      [true, []],
    ])
  })

  test('and comes and goes is one trouble', async () => {
    await using w = await world()
    const told = trouble(w, [0, 5], [7, 12], [20, 40], [50, 55], [60, 61])
    await w.start()
    await w.time.pass(3 * HOUR)
    expect(told().map(([minute]) => minute)).toEqual([near(35), near(76)])
  })

  test.for(['kill', 'stop'] as const)('is told once, with a %s at any time in between', async (end) => {
    await using w = await world()
    const told = trouble(w, [10, 60])
    await w.start()
    for (let i = 0; i < 20; i++) {
      await w.time.pass(7 * MINUTE)
      await w[end]()
      await w.start()
    }
    expect(told().map(([, what]) => String(what).replace(/ since.*/, ''))).toEqual([
      'client-predict: trouble with the model',
      'client-predict: the model is well again',
    ])
  })

  test('is told at once when it has been so for long', async () => {
    await using w = await world()
    const since = w.time.now() - HOUR
    w.conditions = async () => [{ name: 'the backlog of score', wrong: '9 records wait', since, cure: 'Look.' }]
    await w.start()
    await w.time.pass(2 * MINUTE)
    expect(w.arrivals.map(({ notice }) => notice)).toEqual([
      'client-predict: trouble with the backlog of score since 2026-05-05 11:00 UTC',
    ])
  })
})

describe('the clock', () => {
  test('has no sleeper left when the stage has ended, whatever it did', async () => {
    await using w = await world({ impossible: 1e-12, dailyLimit: 10 })
    w.conditions = async () => []
    await w.start()
    await w.stop()
    expect(w.time.sleepers()).toBe(0)
    await w.start()
    await w.append(1)
    await w.time.pass(60) // it has just been sent
    await w.stop()
    expect(w.time.sleepers()).toBe(0)
    await w.start()
    await w.append(1, 3000)
    await w.time.pass(MINUTE + 1)
    await w.stop()
    expect(w.time.sleepers()).toBe(0)
    w.people.fate = () => ({ takes: HOUR })
    await w.start()
    await w.append(0, 3)
    await w.time.pass(MINUTE)
    await w.stop()
    expect(w.time.sleepers()).toBe(0)
  })

  test.for<[string, number, (w: World) => Promise<unknown>]>([
    ['nothing happens', 130, async () => {}],
    ['a storm is held back by the limit', 200, (w) => w.append(1, 1000)],
    ['more waits than is read', 4000, (w) => w.append(1, 4000)],
    [
      'the way is down',
      800,
      (w) => {
        w.people.fate = () => ({ error: { scope: 'channel' } })
        return w.append(1, 100)
      },
    ],
    [
      'some notifications are refused',
      2500,
      (w) => {
        w.people.fate = (notification) => (about(notification, 1, 2, 3) ? { error: { scope: 'message' } } : {})
        return w.append(1, 10)
      },
    ],
  ])('is not asked all the time: %s', async ([, most, happens]) => {
    await using w = await world({ dailyLimit: 6 })
    w.conditions = async () => []
    await w.start()
    await happens(w)
    await w.time.pass(HOUR)
    const before = w.time.slept()
    await w.time.pass(HOUR)
    expect(w.time.slept() - before).toBeLessThan(most)
  })
})

describe('a notification of which nobody knows whether it has arrived', () => {
  test('does not stop the alarms behind it, nor a worker that starts then', async () => {
    await using w = await world({ dailyLimit: 1e6 })
    let down = true
    w.people.fate = (notification) => (down && about(notification, 1) ? { takes: 10 * DAY } : {})
    await w.start()
    for (let minute = 0; minute < 30; minute++) {
      await w.append(1, 600)
      await w.time.pass(MINUTE)
    }
    const live = w.arrivals.reduce((sum, { size }) => sum + size, 0)
    await w.kill()
    down = false
    await w.start()
    await w.time.pass(DAY)
    const all = new Set(contents(w.arrivals).flat()).size
    expect(live).toBeGreaterThan(16_000)
    expect(all).toBe(18_000)
  })

  test('is sent as it was although the way is blocked meanwhile and more frauds come', async () => {
    await using w = await world({ burst: 0 })
    w.people.fate = () => ({ error: { scope: 'message', delivered: 'maybe' }, arrives: true })
    await w.append(1, 10)
    await w.start()
    await w.time.pass(SECOND)
    w.people.fate = () => ({ error: { scope: 'channel' } })
    await w.append(1, 10)
    await w.time.pass(10 * MINUTE)
    w.people.fate = () => ({})
    await w.time.pass(2 * HOUR)
    const [first, again, ...more] = w.arrivals.filter(({ notification }) => about(notification, 1))
    expect(again!.notification).toEqual(first!.notification)
    expect(more).toEqual([])
    expect(new Set(contents(w.arrivals).flat()).size).toBe(20)
    expect(contents(w.arrivals).flat()).toHaveLength(30)
  })

  test('may have thousands behind it that have arrived: the next worker reads on all the same', async () => {
    await using w = await world()
    await w.append(1, 7000)
    const rows: Prediction[] = []
    for await (const { record } of w.topics().scan('predictions')) rows.push(record)
    await w.topics().append({}, { alert: { ahead: rows.slice(1).map(identity), seen: 7000, counted: [] } })
    await w.start()
    await w.time.pass(HOUR)
    expect(contents(w.arrivals)).toEqual([[1]])
    expect(await w.lag()).toBe(0)
  })

  test('is sent as it was after a restart, however late its frauds are read', async () => {
    await using w = await world({ dailyLimit: 3, burst: 0 })
    await w.append(1, 3000)
    const rows: Prediction[] = []
    for await (const { record } of w.topics().scan('predictions')) rows.push(record)
    const of = rows.slice(2500).map(identity)
    const at = w.time.now()
    // An earlier process has used up the limit, and died while the last 500 were under way.
    await w
      .topics()
      .append({}, { alert: { ahead: [], open: [{ at, of }], seen: 3000, counted: [[Math.floor(at / MINUTE), 3]] } })
    await w.start()
    await w.time.pass(2 * DAY)
    const key = notificationKey({ at, frauds: rows.slice(2500) })
    expect(w.arrivals.map(({ size }) => size).toSorted()).toEqual([2000, 500, 500])
    expect(w.arrivals.map((arrival) => arrival.key)).toContain(key)
  })

  test('again and again does not hold up what is collected', async () => {
    await using w = await world()
    w.people.fate = (notification) =>
      about(notification, 1) ? { error: { scope: 'message', delivered: 'maybe' }, arrives: false } : {}
    await w.start()
    await w.append(1, 10)
    for (let i = 0; i < 60; i++) {
      await w.time.pass(MINUTE)
      await w.append(1, 10)
    }
    expect(new Set(contents(w.arrivals).flat()).size).toBeGreaterThan(500)
  })

  test('again and again does not use up the day', async () => {
    await using w = await world()
    w.people.fate = (notification) =>
      about(notification, 1) ? { error: { scope: 'message', delivered: 'maybe' }, arrives: false } : {}
    await w.start()
    await w.append(1)
    await w.time.pass(DAY)
    expect(w.people.tries).toBeLessThan(100)
    await w.append(1)
    await w.time.pass(MINUTE)
    expect(w.arrivals).toHaveLength(1)
  })

  test('costs the notes what changes and no more, however many others wait', async () => {
    await using w = await world({ dailyLimit: 1e6, burst: 1e6 })
    w.people.fate = (notification) =>
      about(notification, 1) ? { error: { scope: 'message', delivered: 'no' } } : { takes: 20 }
    const { reader, lead } = w.topics()
    let [written, most] = [0, 0]
    const note = (notes: Notes = {}) => {
      written += stringify(notes).length
      most = Math.max(most, stringify(notes).length)
    }
    w.topics().reader = (topic, name) => {
      const exact = reader(topic, name)
      return {
        ...exact,
        async read(limit, signal) {
          const batch = await exact.read(limit, signal)
          return { ...batch, commit: (...args) => batch.commit(...args).then(() => note(args[2])) }
        },
      }
    }
    w.topics().lead = (name, stop, work) =>
      lead(name, stop, (lease) => work({ ...lease, note: (notes) => lease.note(notes).then(() => note(notes)) }))
    await w.append(1, 1000)
    await w.start()
    await w.time.pass(10 * MINUTE)
    expect(w.arrivals).toHaveLength(999)
    expect(written).toBeLessThan(2e6) // 0.8 MB of them are the frauds
    expect(most).toBeLessThan(500_000) // 500 of them, which were read at once
  })
})

test('a notification of an earlier release goes as it was, though not all of it was passed, or without what was removed', async () => {
  await using w = await world()
  const [first, second] = await w.append(1, 2)
  const of = [identity(row(1, 1, w.time.now())), identity(row(2, 1, w.time.now())), 'removed@0']
  expect(of.join()).toContain(`${first}@`)
  expect(of.join()).toContain(`${second}@`)
  const open = [
    { at: 1, of: of.slice(1) },
    { at: 2, of: of.slice(0, 1) },
    { at: 3, of: of.slice(2), notice: { subject: 'look', lines: [] } },
  ]
  await w.topics().append({}, { alert: { ahead: [], counted: [], open } })
  await w.start()
  await w.time.pass(MINUTE)
  expect(contents(w.arrivals)).toEqual([[1], [], [2]])
  expect(w.arrivals.map(({ notice, notification }) => [notice, notification.at])).toEqual([
    [undefined, 2],
    ['look', 3],
    [undefined, expect.any(Number)],
  ])
})
test('a webhook hears of each fraud from then on', async () => {
  await using w = await world({ name: 'webhook', start: 'latest' })
  await w.append(1, 3)
  await w.start()
  await w.time.pass(MINUTE)
  await w.append(1, 2)
  await w.time.pass(MINUTE)
  expect(contents(w.arrivals)).toEqual([[4], [5]])
})
test('a webhook begins when the topics can be asked, if they cannot at first', async () => {
  await using w = await world({ name: 'webhook', start: 'latest' })
  await w.append(1, 3)
  const { reader } = w.topics()
  let failures = 0
  w.topics().reader = (topic, name) => {
    const read = reader(topic, name)
    const seekToEnd = async (notes: Notes) => {
      if (failures++ < 2) throw new Error('the server is away')
      return read.seekToEnd(notes)
    }
    return { ...read, seekToEnd }
  }
  await w.start()
  await vi.waitFor(() => expect(failures).toBe(3), 10_000)
  await w.time.pass(MINUTE)
  await w.append(1)
  await w.time.pass(MINUTE)
  expect(contents(w.arrivals)).toEqual([[4]])
})
test('a webhook hears of each fraud although the clock was set back', async () => {
  await using w = await world({ name: 'webhook', start: 'latest' })
  await w.append(1, 3)
  await w.start()
  await w.time.pass(MINUTE)
  await w.append(1)
  await w.time.pass(MINUTE)
  w.time.setBack(HOUR)
  await w.append(1)
  await w.time.pass(MINUTE)
  expect(contents(w.arrivals)).toEqual([[4], [5]])
})

describe('the totals', () => {
  const totals = async (w: World) => (await w.noted()).get('total')

  test('count each fraud once where it is passed and once where it is mailed, over restarts', async () => {
    await using w = await world()
    await w.start()
    for (const end of [w.kill, w.stop]) {
      w.people.fate = (notification) => (about(notification, 1, 12) ? { error: { scope: 'message' } } : {})
      await w.append(0, 10)
      await w.append(1, 10)
      await w.time.pass(10 * MINUTE)
      await end()
      await w.start()
      w.people.fate = () => ({})
      await w.time.pass(2 * HOUR)
    }
    expect(await totals(w)).toEqual({ frauds: 20, mailed: 20 })
  })

  test('begin with what an earlier release has noted', async () => {
    await using w = await world()
    await w.append(1, 3)
    const rows = (await Array.fromAsync(w.topics().scan('predictions'))).map(({ record }) => record)
    const noted = { ahead: [identity(rows[1]!), identity(rows[2]!)], carried: [rows[2]], seen: 3, counted: [] }
    await w.topics().append({}, { alert: noted })
    await w.start()
    await w.time.pass(MINUTE)
    expect(contents(w.arrivals).toSorted()).toEqual([[1], [3]])
    expect(await totals(w)).toEqual({ frauds: 4, mailed: 4 }) // one was there to begin with
    await w.append(1)
    await w.time.pass(MINUTE)
    expect(await totals(w)).toEqual({ frauds: 5, mailed: 5 })
  })

  test('count a transaction that comes again once, and it is mailed once', async () => {
    await using w = await world()
    w.people.fate = (notification) => (about(notification, 1) ? { error: { scope: 'message' } } : {})
    const rows = [1, 2, 2].map((n) => row(n, 1, w.time.now()))
    await w.topics().append({ predictions: rows })
    await w.start()
    await w.time.pass(MINUTE)
    for (let i = 0; i < 2; i++) {
      await w.kill()
      await w.start()
      await w.time.pass(MINUTE)
    }
    expect(contents(w.arrivals)).toEqual([[2]])
    w.people.fate = () => ({})
    await w.time.pass(2 * HOUR)
    expect(contents(w.arrivals)).toEqual([[2], [1]])
    expect(await totals(w)).toEqual({ frauds: 2, mailed: 2 })
    await w.topics().append({ predictions: [...rows, ...rows] })
    await w.append(0)
    await w.time.pass(HOUR)
    await w.stop()
    await w.topics().append({ predictions: rows })
    await w.start()
    await w.time.pass(HOUR)
    expect(contents(w.arrivals)).toEqual([[2], [1]])
    expect(await totals(w)).toEqual({ frauds: 2, mailed: 2 })
    expect(await w.lag()).toBe(0)
  })

  test('end a notification that an earlier release had under way, in which one fraud stands twice', async () => {
    await using w = await world({ burst: 0 })
    const rows = [1, 2, 2, 3].map((n) => row(n, 1, w.time.now()))
    await w.topics().append({ predictions: rows })
    const of = rows.map(identity)
    const total = { frauds: 0, mailed: 0 }
    await w.topics().append({}, { alert: { ahead: [], open: [{ at: 1, of }], seen: 4, counted: [], total } })
    await w.start()
    await w.time.pass(2 * MINUTE)
    expect(contents(w.arrivals)).toEqual([[1, 2, 2, 3]]) // as it was, to the byte
    expect([await totals(w), await w.lag()]).toEqual([{ frauds: 3, mailed: 3 }, 0])
  })

  test('end a notification that was under way at a stop or a kill, whose frauds came again, before it and after', async () => {
    for (const end of ['stop', 'kill'] as const) {
      await using w = await world({ burst: 0 })
      w.people.fate = () => ({ takes: 10 * DAY })
      const rows = [1, 2, 1, 3, 3].map((n) => row(n, 1, w.time.now()))
      await w.topics().append({ predictions: rows })
      await w.start()
      await w.time.pass(2 * MINUTE)
      await w.topics().append({ predictions: rows })
      await w.time.pass(MINUTE)
      await w[end]()
      w.people.fate = () => ({})
      await w.topics().append({ predictions: rows })
      await w.start()
      await w.time.pass(HOUR)
      expect(contents(w.arrivals)).toEqual([[1, 2, 3]])
      expect([await totals(w), await w.lag()]).toEqual([{ frauds: 3, mailed: 3 }, 0])
    }
  })

  test('begin with what comes to a webhook, over restarts', async () => {
    await using w = await world({ name: 'webhook', start: 'latest' })
    const now = w.time.now()
    await w.topics().append({ predictions: [row(101, 1, now + HOUR), row(102, 1, now), row(103, 1, now)] })
    await w.start()
    await w.time.pass(MINUTE)
    for (let i = 1; i < 4; i++) {
      await w.kill()
      await w.start()
      await w.append(1)
      await w.time.pass(MINUTE)
      expect(await w.topics().noted('webhook/total')).toEqual({ frauds: i, mailed: i })
    }
    expect(contents(w.arrivals)).toEqual([[1], [2], [3]])
  })

  test('keep what an earlier release has noted of frauds that are not read again, repeated ones too', async () => {
    await using w = await world()
    await w.topics().append({}, { alert: { ahead: ['a@1', 'b@2', 'a@1'], carried: [row(1, 1, 1)], counted: [] } })
    await w.start()
    await w.time.pass(MINUTE)
    expect(contents(w.arrivals)).toEqual([[1]])
    const { wasSent, total, waiting } = whereabouts(await w.noted())
    expect(['a@1', 'b@2', identity(row(1, 1, 1)), 'c@3'].map(wasSent)).toEqual([true, true, true, false])
    expect([total, waiting.size]).toEqual([{ frauds: 4, mailed: 4 }, 0])
    expect(await w.topics().noted('alert')).toBeUndefined()
  })
})

/** What may be wrong with a way, as the ways there are tell it. */
const FAILURES = [
  { scope: 'channel' },
  { scope: 'message' },
  { scope: 'either' },
  { scope: 'message', delivered: 'maybe' },
  { scope: 'either', delivered: 'maybe' },
] as const

type Figures = {
  rows: number
  frauds: number
  notifications: number
  tries: number
  crashes: number
  stops: number
  days: number
  note: number
}

/** A few days of a world in which everything goes wrong that may, and what is left of it. */
async function account(seed: number, rows: number): Promise<Figures> {
  const random = seeded(seed)
  const luck = seeded(-seed)
  vi.spyOn(Math, 'random').mockImplementation(() => luck.uniform())
  await using dir = await tempDir()
  const time = virtualClock()
  const path = dir.file('topics.db')
  const open = () => sqliteTopics({ path })
  const { log } = listeningLog('error')
  const chance = (share: number) => random.uniform() < share
  const dailyLimit = random.pick([5, 20, 100, 450])
  const burst = random.pick([0, 1, 5, 5])
  const impossible = chance(0.8) ? 1e-12 : undefined
  const tooMany = random.pick([chance(0.1) ? 1 : 10, 100, 700, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY])
  const poison = random.pick([0, 0.001, 0.02])
  const flaky = random.pick([0, 0.02, 0.2])
  const deadly = random.pick([0, 1e-3, 1e-2, 3e-2])
  const said = `seed ${seed}: limit ${dailyLimit}, burst ${burst}, breaker ${impossible}, ${tooMany} at most, poison ${poison}, flaky ${flaky}, deadly ${deadly}`
  let [begun, count] = [false, 0]
  let [healed, downUntil, crashes, stops, fed, most] = [false, 0, 0, 0, 0, 0]
  const frauds = new Map<string, Prediction>()
  const bad = new Set<string>()

  /** Deaf to a notification once, it is deaf to it as long as it is not mended; what it has taken it takes again. */
  const fate = (notification: Notification): Fate => {
    const takes = chance(0.02) ? random.integer(100, 20_000) : random.integer(2, 400)
    if (healed) return { takes }
    if (time.steady() < downUntil) return { error: { scope: 'channel' }, takes }
    if (notification.frauds.length > tooMany || notification.frauds.some((p) => bad.has(identity(p))))
      return { error: { scope: 'message' }, takes }
    if (!chance(flaky)) return { takes }
    const error: Failing = random.pick(FAILURES)
    const maybe = error.delivered === 'maybe'
    if (!maybe && error.scope === 'message') return { takes } // that is only said for what is in it
    return { error, arrives: maybe && chance(0.5), takes }
  }
  const names = ['alert', 'webhook'] as const
  const people = { alert: post(time), webhook: post(time) }
  for (const name of names) people[name].fate = fate
  /** Notifications that have arrived or may have, and whether a note says so. */
  const counted: { steady: number; noted: boolean }[] = []
  let unnoted: { steady: number; noted: boolean }[] = []
  const counting: Notifier = {
    async send(notification, signal) {
      const mine = life!
      const heard = () => {
        if (mine.dead) return // it could not note it
        const entry = { steady: time.steady(), noted: false }
        unnoted.push(entry)
        counted.push(entry)
      }
      try {
        const answer = await people.alert.send(notification, signal)
        heard()
        return answer
      } catch (error) {
        if ((error as SendFailure).delivered === 'maybe') heard()
        throw error
      }
    },
    close() {},
  }

  let topics = await open()
  let life: Life | undefined
  let stop = new AbortController()
  let ended: Promise<unknown> = Promise.resolve()
  let broke: unknown
  function start() {
    stop = new AbortController()
    unnoted = []
    const mine: Life = {
      dead: false,
      strike: (it) => {
        if (begun && !healed && chance(deadly)) it.dead = true
      },
      noted: (notes) => {
        if (count++ % 16 === 0) most = Math.max(most, stringify(notes).length) // it grows slowly
        const keys = Object.keys(notes)
        if (keys.some((key) => key.startsWith('webhook'))) begun = true // from now on it hears of each fraud
        if (!keys.some((key) => key.startsWith('alert'))) return
        for (const entry of unnoted) entry.noted = true
        unnoted = []
      },
    }
    life = mine
    const common = { burst, impossible }
    const alerts = alive(mine, topics, time, { ...common, name: 'alert', notifier: counting, dailyLimit })
    const posts = alive(mine, topics, time, {
      ...common,
      name: 'webhook',
      notifier: people.webhook,
      dailyLimit: 1e9,
      start: 'latest',
    })
    const stage = { log, stop: stop.signal }
    ended = Promise.all([alertStage(stage, alerts, { afterStop: 1 }), alertStage(stage, posts, { afterStop: 1 })])
    ended.catch((error) => {
      broke ??= error
    })
  }
  async function bury() {
    if (life) life.dead = true
    life = undefined
    stop.abort(new Error('stopped'))
    await topics.close()
    topics = await open()
  }
  start()
  await time.still()

  /** Frauds that the producer sends once more, most of them soon: they are in notifications that are under way. */
  function again(many: number): Prediction[] {
    const known = [...frauds.values()]
    const one = () => known[Math.max(0, known.length - 1 - Math.floor(random.uniform() ** 4 * known.length))]!
    return known.length === 0 ? [] : Array.from({ length: random.integer(1, Math.max(1, many)) }, one)
  }
  const began = time.steady()
  let phase = { until: 0, rate: 1, share: 0 }
  while (fed < rows) {
    if (time.steady() >= phase.until) {
      const rate = 100 ** random.uniform(-1.2, 1) // a second
      const share = random.weighted([
        { share: 8, is: 0.004 },
        { share: 2, is: 0.03 },
        { share: 1, is: 0.3 },
        { share: 1, is: 1 },
      ]).is
      phase = {
        until: time.steady() + Math.min(HOUR, (random.uniform(50, share < 0.1 ? 5000 : 2500) / rate) * SECOND),
        rate,
        share,
      }
    }
    const gap = Math.max(SECOND, (random.integer(1, 40) / phase.rate) * SECOND)
    const many = Math.min(rows - fed, Math.max(1, Math.round((phase.rate * gap) / SECOND)))
    const batch = Array.from({ length: many }, () => {
      const p = row(++fed, chance(phase.share) ? 1 : 0, time.now())
      if (p.prediction === 1) {
        frauds.set(identity(p), p)
        if (chance(poison)) bad.add(identity(p))
      }
      return p
    })
    if (chance(0.3)) batch.push(...again(batch.length))
    await topics.append({ predictions: batch })
    await time.pass(gap)
    if (broke) throw broke
    if (life?.dead) {
      crashes++
      await bury()
      if (chance(0.3)) await time.pass(random.uniform(0, 30 * MINUTE))
      start()
    } else if (chance(0.01)) {
      stops++
      life!.strike = () => {} // or the end would not come
      stop.abort(new Error('stopped'))
      await ended
      await bury()
      start()
    }
    if (chance(0.02)) downUntil = time.steady() + 10 ** random.uniform(1, 4) * SECOND
    if (chance(0.01)) {
      const ms = Math.round(random.uniform(0, 2 * HOUR))
      time.setBack(ms)
    }
  }
  if (chance(0.5)) await time.pass(random.uniform(0, 6 * HOUR))
  healed = true // before the last start, or it would be killed in that
  if (life?.dead) {
    await bury()
    start()
  }
  const lag = async () =>
    (await topics.reader('predictions', 'alert').lag()) + (await topics.reader('predictions', 'webhook').lag())
  const waits = () => names.some((name) => booksOf(time, name).waiting.size > 0)
  const patience = time.steady() + 60 * DAY
  while ((await lag()) > 0 || waits()) {
    if (time.steady() > patience) throw new Error(`${said}: ${await lag()} are left after 60 days, ${waits()}`)
    if (broke) throw broke
    await time.pass(10 * MINUTE)
  }
  await time.pass(HOUR)
  stop.abort(new Error('stopped'))
  await ended
  expect(time.sleepers(), said).toBe(0)

  for (const name of names) {
    const keys = new Map<string, string>()
    const notifications = new Map<string, Notification>()
    for (const { notification, key } of people[name].arrivals) {
      const first = notifications.get(key)
      if (!first) notifications.set(key, notification)
      else if (!isDeepStrictEqual(first, notification)) throw new Error(`${said}: ${name}: two contents of ${key}`)
      if (notification.frauds.length > 2000) throw new Error(`${said}: ${name}: ${notification.frauds.length} in one`)
      for (const p of notification.frauds) {
        const id = identity(p)
        if (!frauds.has(id)) throw new Error(`${said}: ${name}: ${id} is none`)
        if (stringify(frauds.get(id)) !== stringify(p)) throw new Error(`${said}: ${name}: ${id} has changed`)
        const other = keys.get(id)
        if (other !== undefined && other !== key) throw new Error(`${said}: ${name}: ${id} is in two notifications`)
        keys.set(id, key)
      }
    }
    const missing = [...frauds.keys()].filter((id) => !keys.has(id))
    if (missing.length > 0) throw new Error(`${said}: ${name}: ${missing.length} of ${frauds.size} never arrived`)
    const { total, waiting } = whereabouts(openRows(`${name}/`, await topics.state(`${name}/`)))
    expect(waiting.size, `${said}: ${name}`).toBe(0)
    expect(total, `${said}: ${name}`).toEqual({ frauds: frauds.size, mailed: frauds.size })
  }
  // A notification whose count was never noted, as the process died first, may be one too many: five for each death at most.
  const strict = counted.filter(({ noted }) => noted)
  for (const [i, { steady }] of strict.entries()) {
    const before = strict[i - dailyLimit]
    if (before && steady - before.steady < DAY)
      throw new Error(
        `${said}: ${dailyLimit + 1} notifications within ${((steady - before.steady) / HOUR).toFixed(1)} h`,
      )
  }
  if (most > 900_000) throw new Error(`${said}: a note of ${most}`)
  await topics.close()
  return {
    rows: fed,
    frauds: frauds.size,
    notifications: people.alert.arrivals.length + people.webhook.arrivals.length,
    tries: people.alert.tries + people.webhook.tries,
    crashes,
    stops,
    days: Math.round((time.steady() - began) / DAY),
    note: most,
  }
}

/** More by hand: STORM_SEEDS=11-400, STORM_ROWS=25000; then each tells its figures. */
const { STORM_SEEDS, STORM_ROWS = '5000' } = process.env
const seeds = (STORM_SEEDS ?? '1-10').split(',').flatMap((part) => {
  const [from, to = from] = part.split('-').map(Number)
  return Array.from({ length: to! - from! + 1 }, (_, i) => from! + i)
})
test.for(seeds)('each fraud is in exactly one notification, whatever happens: seed %i', async (seed) => {
  const began = performance.now()
  const figures = await account(seed, Number(STORM_ROWS))
  if (STORM_SEEDS) console.log(seed, JSON.stringify(figures), Math.round(performance.now() - began))
})

describe('the summary of a day', () => {
  const daily = {
    time: '07:30',
    zone: 'Europe/Paris',
    make: async (from: number, to: number) => ({ subject: `of ${(to - from) / HOUR} h`, lines: ['none'] }),
  }
  const subjects = (w: World) => w.arrivals.map(({ notification }) => notification.notice?.subject)

  test('comes once each morning, over restarts and kills, and once for all days without a worker', async () => {
    await using w = await world({ daily })
    await w.start() // 14:00 there
    expect(w.arrivals).toEqual([])
    await w.time.until('the morning', () => w.arrivals.length > 0)
    expect(subjects(w)).toEqual([expect.stringMatching(/^of 17\.[45]\d* h$/)])
    await w.time.pass(MINUTE) // that it was taken is noted
    await w.kill()
    await w.start()
    await w.time.pass(HOUR)
    await w.stop()
    await w.start()
    await w.time.pass(22 * HOUR)
    expect(w.arrivals).toHaveLength(1)
    await w.time.until('the next one', () => w.arrivals.length > 1)
    await w.time.pass(MINUTE)
    await w.stop()
    await w.time.pass(72 * HOUR)
    await w.start()
    await w.time.pass(12 * HOUR)
    expect(subjects(w)).toHaveLength(3)
    expect(subjects(w)[2]).toMatch(/^of 72/)
  })

  test('is another mail than the alarms that wait, and holds up none', async () => {
    await using w = await world({ daily, dailyLimit: 3 })
    await w.start()
    await w.time.pass(17 * HOUR)
    const frauds = await w.append(1, 2)
    await w.time.until('all of it', () => w.arrivals.length >= 3)
    expect(contents(w.arrivals).flat()).toHaveLength(frauds.length)
    const notices = w.arrivals.filter(({ notification }) => notification.notice)
    expect(notices.map(({ notification }) => notification.frauds)).toEqual([[]])
    expect(notices[0]!.notification.operators).toBe(undefined)
  })

  test('that is killed before its mail is taken comes after the start, the same to the byte', async () => {
    await using w = await world({ daily })
    await w.start()
    w.people.fate = () => ({ error: { scope: 'channel' } })
    await w.time.pass(18 * HOUR)
    await w.kill()
    expect(w.arrivals).toEqual([])
    w.people.fate = () => ({})
    await w.start()
    await w.time.until('the mail', () => w.arrivals.length > 0)
    await w.time.pass(HOUR)
    expect(subjects(w)).toEqual([expect.stringMatching(/^of 17\.[45]\d* h$/)])
  })
})
