import { expect, test } from 'vitest'
import { type Condition, type NotedTrouble, troubleRules } from '../../src/alert/trouble.ts'

const MINUTE = 60_000
const NOW = Date.UTC(2026, 4, 5, 12, 0, 30)
const CURE = 'Look at MODEL_URL.'

/** What is told when it is looked at every minute; one notification a minute: `x` is wrong, `.` is fine. */
function told(minutes: string, { p = troubleRules(), from = 0 } = {}) {
  const notices: [minute: number, what: 'trouble' | 'well'][] = []
  for (const [i, sign] of [...minutes].entries()) {
    const condition = { name: 'the model', wrong: sign === 'x' ? 'it does not answer' : undefined, cure: CURE }
    for (const { subject } of p.saw([condition], NOW + (from + i) * MINUTE))
      notices.push([from + i, subject.includes('trouble') ? 'trouble' : 'well'])
  }
  return notices
}
const again = (p: ReturnType<typeof troubleRules>) =>
  troubleRules(JSON.parse(JSON.stringify(p.noted())) as NotedTrouble)
const model = (wrong?: string, since?: number): Condition => ({ name: 'the model', wrong, since, cure: CURE })

test('an outage is told once, after 15 minutes, and its end once, after 15 minutes', () => {
  expect(told(`${'x'.repeat(60)}${'.'.repeat(60)}`)).toEqual([
    [15, 'trouble'],
    [75, 'well'],
  ])
})

test('what is wrong for less than 15 minutes is not told', () => {
  expect(told(`${'x'.repeat(15)}.`.repeat(10))).toEqual([])
})

test('what comes and goes is one outage until it has been fine for 15 minutes', () => {
  const flapping = `${'x'.repeat(20)}${`${'.'.repeat(14)}x`.repeat(5)}${'.'.repeat(20)}`
  expect(told(flapping)).toEqual([
    [15, 'trouble'],
    [110, 'well'],
  ])
})

test('the next outage is told again', () => {
  const once = `${'x'.repeat(20)}${'.'.repeat(20)}`
  expect(told(once + once).map(([, what]) => what)).toEqual(['trouble', 'well', 'trouble', 'well'])
})

test('says since when, what, what to do, and how long it was', () => {
  const p = troubleRules()
  p.saw([model('it does not answer')], NOW)
  expect(p.saw([model('it answers 503')], NOW + 15 * MINUTE)).toEqual([
    {
      subject: 'client-predict: trouble with the model since 2026-05-05 12:00 UTC',
      lines: [
        'it answers 503',
        CURE,
        'Nothing is lost meanwhile. Another mail comes when it has been well again for 15 minutes.',
      ],
    },
  ])
  p.saw([model()], NOW + 60 * MINUTE)
  expect(p.saw([model()], NOW + 75 * MINUTE)).toEqual([
    {
      subject: 'client-predict: the model is well again since 2026-05-05 13:00 UTC',
      lines: ['The trouble with the model began at 2026-05-05 12:00 UTC and ended at 2026-05-05 13:00 UTC.'],
    },
  ])
})

test('what has been wrong for longer than anybody has looked is told at once', () => {
  const p = troubleRules()
  const [notice] = p.saw([model('late', NOW - 20 * MINUTE)], NOW)
  expect(notice?.subject).toContain('since 2026-05-05 11:40 UTC')
  expect(p.saw([model('late', NOW - 5 * MINUTE)], NOW + MINUTE)).toEqual([])
})

test('a time to come is not believed', () => {
  const p = troubleRules()
  p.saw([model('late', NOW + 60 * MINUTE)], NOW)
  expect(p.saw([model('late')], NOW + 15 * MINUTE)).toHaveLength(1)
})

test.for([5, 14, 15, 25, 34])('a restart in minute %i changes nothing', (minute) => {
  const all = `${'x'.repeat(20)}${'.'.repeat(30)}`
  const p = troubleRules()
  const before = told(all.slice(0, minute), { p })
  expect([...before, ...told(all.slice(minute), { p: again(p), from: minute })]).toEqual([
    [15, 'trouble'],
    [35, 'well'],
  ])
})

test('each condition has its own patience', () => {
  const p = troubleRules()
  const saw = (minute: number, ...wrong: string[]) =>
    p
      .saw(
        ['a', 'b'].map((name) => ({ name, wrong: wrong.includes(name) ? 'no' : undefined, cure: CURE })),
        NOW + minute * MINUTE,
      )
      .map(({ subject }) => subject.replace(/ since.*/, ''))
  expect(saw(0, 'a')).toEqual([])
  expect(saw(5, 'a', 'b')).toEqual([])
  expect(saw(15, 'a', 'b')).toEqual(['client-predict: trouble with a'])
  expect(saw(20, 'b')).toEqual(['client-predict: trouble with b'])
  expect(saw(35, 'b')).toEqual(['client-predict: a is well again'])
})

test('a clock that was set back neither tells early nor silences', () => {
  const p = troubleRules()
  p.saw([model('no')], NOW)
  const back = NOW - 120 * MINUTE
  expect(p.saw([model('no')], back)).toEqual([])
  expect(p.saw([model('no')], back + 14 * MINUTE)).toEqual([])
  expect(p.saw([model('no')], back + 15 * MINUTE)).toHaveLength(1)
  p.saw([model()], back + 20 * MINUTE)
  expect(p.saw([model()], back - 60 * MINUTE)).toEqual([])
  expect(p.saw([model()], back - 45 * MINUTE)).toHaveLength(1)
})

test('what is fine leaves nothing behind', () => {
  const p = troubleRules()
  told(`${'x'.repeat(20)}${'.'.repeat(20)}`, { p })
  p.saw([model('no')], NOW + 60 * MINUTE)
  p.saw([model()], NOW + 61 * MINUTE)
  expect(p.noted()).toEqual({})
})
