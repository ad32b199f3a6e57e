import { expect, test } from 'vitest'
import { dayBegun, openDaily } from '../../src/alert/daily.ts'
import { openRows } from '../../src/alert/rows.ts'

const MINUTE = 60_000
const DAY = 1440 * MINUTE
const at = (text: string) => Date.parse(text)

/** What is told from then on for so long, asked once a minute: when, by the clock of the zone, and of which time. */
async function told(zone: string, time: string, from: string, ms: number) {
  let now = at(from)
  const clock = { now: () => now, steady: () => 0, sleep: async () => {} }
  const found: string[] = []
  const make = async (since: number, to: number) => {
    found.push(new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' }).format(to))
    return { subject: 'x', lines: [`${(to - since) / 3_600_000} h`] }
  }
  const daily = openDaily(openRows('alert/', new Map()), { time, zone, make }, clock)
  const hours: string[] = []
  for (const end = now + ms; now < end; now += MINUTE) hours.push(...((await daily.due()).notice?.lines ?? []))
  return { found, hours }
}

test.for<[string, string, string, string, string[], string[]]>([
  [
    'an hour that is left out',
    'Europe/Paris',
    '02:30',
    '2026-03-27T12:00Z',
    ['2026-03-28 02:30', '2026-03-29 03:00', '2026-03-30 02:30'],
    ['23.5 h', '23.5 h'],
  ],
  [
    'an hour that comes twice',
    'Europe/Paris',
    '02:30',
    '2026-10-23T12:00Z',
    ['2026-10-24 02:30', '2026-10-25 02:30', '2026-10-26 02:30'],
    ['24 h', '25 h'],
  ],
  [
    'a midnight that is left out',
    'Africa/Cairo',
    '00:00',
    '2026-04-22T12:00Z',
    ['2026-04-23 00:00', '2026-04-24 01:00', '2026-04-25 00:00'],
    ['24 h', '23 h'],
  ],
  [
    'a quarter of an hour',
    'Asia/Kathmandu',
    '07:30',
    '2026-05-01T12:00Z',
    ['2026-05-02 07:30', '2026-05-03 07:30', '2026-05-04 07:30'],
    ['24 h', '24 h'],
  ],
])('once a day of the calendar, with %s', async ([, zone, time, from, when, apart]) => {
  const { found, hours } = await told(zone, time, from, 3 * DAY)
  expect(found).toEqual(when)
  expect(hours.slice(1)).toEqual(apart)
})

test.for(['UTC', 'America/New_York', 'Australia/Lord_Howe', 'America/Santiago', 'Pacific/Apia'])(
  'a year in %s has a mail for each of its days',
  (zone) => {
    const clock = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short' })
    for (const time of ['00:00', '01:59', '02:30', '23:59']) {
      const dayOf = dayBegun(time, zone)
      const days: string[] = []
      let last = dayOf(at('2026-01-01T12:00Z'))
      for (let now = at('2026-01-01T12:00Z'); now < at('2027-01-01T12:00Z'); now += 10 * MINUTE) {
        const day = dayOf(now)
        if (day <= last) continue
        last = day
        days.push(day)
        expect(clock.format(now) >= day).toBe(true)
      }
      expect(days).toHaveLength(365)
      expect(new Set(days).size).toBe(365)
    }
  },
)

test('a clock that was a year ahead for a while keeps nothing back for a year', async () => {
  let now = at('2026-05-01T06:00Z')
  const clock = { now: () => now, steady: () => 0, sleep: async () => {} }
  const told: [number, number][] = []
  const make = async (from: number, to: number) => {
    told.push([from, to])
    return { subject: 'x', lines: [] }
  }
  const daily = openDaily(openRows('alert/', new Map()), { time: '07:30', zone: 'UTC', make }, clock)
  const go = async (text: string) => {
    now = at(text)
    await daily.due()
    return told.length
  }
  expect(await go('2026-05-01T06:00Z')).toBe(0)
  expect(await go('2027-05-01T08:00Z')).toBe(1)
  expect(await go('2026-05-01T08:00Z')).toBe(2)
  expect(told[1]![0]).toBeLessThan(told[1]![1])
  expect(await go('2026-05-01T09:00Z')).toBe(2)
  expect(await go('2026-05-01T07:00Z')).toBe(2) // an hour back is no other day
  expect(await go('2026-05-02T07:30Z')).toBe(3)
})
