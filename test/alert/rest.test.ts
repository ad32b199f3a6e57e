import { expect, test } from 'vitest'
import type { Delivery, Notification } from '../../src/alert/notifier.ts'
import { openRests } from '../../src/alert/rest.ts'
import { openRows } from '../../src/alert/rows.ts'
import { SendFailure } from '../../src/io/errors.ts'
import { parse, stringify } from '../../src/io/json.ts'
import { LONG_CARD, listeningLog, prediction } from '../rows.ts'

const HOUR = 3_600_000
const notification = (n: number, count = 1): Notification => ({
  at: n,
  frauds: Array.from({ length: count }, (_, i) => prediction(1000 * n + i, { prediction: 1, cc_num: LONG_CARD })),
})
const LATER: Delivery = { accepted: [], rejected: [], deferred: ['b@x'], said: 'mailed to nobody, later to b@x' }

/** Rests on a clock that passes by sleeping, for so long. */
function world(noted = new Map<string, unknown>()) {
  let time = 0
  const { log, lines } = listeningLog()
  const stop = new AbortController()
  const clock = {
    now: () => time,
    steady: () => time,
    async sleep(ms: number) {
      time += Math.max(ms, 1)
      if (time > until) stop.abort()
    },
  }
  let until = 0
  const rows = openRows('alert/', noted)
  const rests = openRests(rows, { clock, log, pause: 60_000, settle: async () => {} })
  return {
    ...rests,
    changes: rows.changes,
    lines: () => lines.map(({ level, msg }) => `${level} ${msg}`),
    now: () => time,
    async pass(
      ms: number,
      send: (notification: Notification, only: readonly string[]) => Promise<Delivery>,
      blocked = () => 0,
    ) {
      until = time + ms
      await rests.deliver(stop.signal, send, blocked)
    },
  }
}

test('who is always put off is tried after a minute, at least once an hour, and given up after four days', async () => {
  const w = world()
  w.add(notification(1), ['b@x'])
  const tries: number[] = []
  await w.pass(200 * HOUR, async (_, only) => {
    expect(only).toEqual(['b@x'])
    tries.push(w.now())
    return LATER
  })
  expect(tries[0]).toBeLessThan(60_001)
  for (const [i, at] of tries.slice(1).entries()) expect(at - tries[i]!).toBeLessThan(HOUR + 2)
  expect(tries.length).toBeGreaterThan(96)
  expect(tries.at(-1)).toBeLessThan(98 * HOUR)
  expect(w.lines().at(-1)).toBe(
    'warn b@x did not get a mail that others have, and was put off for 96 h: check ALERT_TO',
  )
  expect(w.changes().notes).toEqual({ [Object.keys(w.changes().notes)[0]!]: null })
})

test('an outage costs no notification, and nothing is sent while the way is blocked', async () => {
  const w = world()
  w.add(notification(1), ['b@x', 'c@x'])
  const sent: (readonly string[])[] = []
  await w.pass(
    30 * HOUR,
    async (_, only) => {
      sent.push(only)
      if (sent.length === 1) throw new SendFailure('cannot reach the mail server', { scope: 'channel' })
      if (sent.length === 2) return { accepted: ['c@x'], rejected: [], deferred: ['b@x'], said: 'mailed to c@x' }
      return { accepted: ['b@x'], rejected: [], deferred: [], said: 'mailed to b@x' }
    },
    () => Math.max(0, 10 * HOUR - w.now()),
  )
  expect(sent).toEqual([['b@x', 'c@x'], ['b@x', 'c@x'], ['b@x']])
  expect(w.now()).toBeGreaterThan(10 * HOUR)
})

test('is noted to the digit, with what is still open, but not when it is too long', async () => {
  const w = world()
  w.add(notification(1, 2), ['b@x'])
  w.add(notification(2, 501), ['b@x'])
  const { notes, kept } = w.changes()
  expect(Object.keys(notes)).toHaveLength(1)
  kept()
  expect(w.changes().notes).toEqual({})
  const again = world(new Map(Object.entries(parse(stringify(notes)) as Record<string, unknown>)))
  const sent: Notification[] = []
  await again.pass(HOUR, async (notification) => {
    sent.push(notification)
    return { accepted: ['b@x'], rejected: [], deferred: [], said: 'mailed to b@x' }
  })
  expect(sent).toEqual([notification(1, 2)])
  expect(Object.values(again.changes().notes)).toEqual([null])
})

test('no more than fifty are kept: the oldest goes', () => {
  const w = world()
  for (let n = 1; n <= 60; n++) w.add(notification(n), ['b@x'])
  const rows = Object.values(w.changes().notes)
  expect(rows.filter((row) => row === null)).toHaveLength(10)
  expect(w.lines().filter((line) => line.includes('more than 50 wait'))).toHaveLength(10)
})
