import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { isFraud, someRows } from '../outside.ts'
import { waitFor } from '../rows.ts'
import type { Row, Saying } from '../score/server.ts'
import { startWorker } from '../worker.ts'
import { challenged, flags } from './world.ts'

test('the challenger judges the same rows, from now on the first time; no prediction and no alarm is another one', async () => {
  const rows = someRows(60)
  const later = rows.slice(30)
  const world = await challenged()
  world.send(rows.slice(0, 30))
  {
    const { end } = await world.start({ STAGES: 'fetch,score,alert,record' })
    await waitFor('the first rows', () => world.recorded().length === 30)
    await end()
  }
  const { end } = await world.start()
  await sleep(500) // it begins where the topic ends now
  world.send(later)
  await waitFor('every judgement', () => world.judged().length === 30)
  await waitFor('every row', () => world.recorded().length === 60)
  expect(world.judged()).toEqual(
    later.map((row) => ({ trans_num: row.trans_num, model: 'rf/8', prediction: isFraud(row) ? 1 : 0 })),
  )
  expect(world.recorded().filter(({ model }) => model !== 'rf/7')).toEqual([])
  await waitFor('all mails', () => rows.filter(isFraud).every((row) => world.mailed(row.trans_num) === 1))
  await end()
  const before = world.asked.flat().length
  const again = await world.start()
  await sleep(500)
  expect(world.asked.flat()).toHaveLength(before) // it goes on from where it was
  await again.end()
})

/** What it says until `well`. */
type Ill = (asked: Row[], well: Promise<unknown>) => Saying | Promise<Saying>
test.for<[string, Ill]>([
  ['stands still', (asked, well) => well.then(() => flags(asked, 500))],
  ['answers 500', () => ({ status: 500, text: '<html>broken</html>' })],
  ['answers in a wrong shape', () => ({ predictions: [[{ a: 1 }]] })],
  ['answers megabytes', () => ({ predictions: Array.from({ length: 300_000 }, () => [0.1, 0.9]) })],
  ['hangs up', () => 'hang up'],
  [
    'takes a second for each row',
    (asked, well) => Promise.race([sleep(asked.length * 1000), well]).then(() => flags(asked, 500)),
  ],
])('a challenger that %s costs the champion nothing, and catches up by itself', async ([, ill]) => {
  const rows = someRows(120)
  const later = rows.slice(60)
  const world = await challenged()
  const { watch } = await world.start()
  world.send(rows.slice(0, 60))
  await waitFor('the first rows', () => world.recorded().length === 60)
  const { promise: well, resolve: heal } = Promise.withResolvers<void>()
  world.state.say = (asked) => ill(asked, well)
  world.send(later)
  await waitFor('all rows', () => world.recorded().length === 120, 20_000)
  await waitFor('all mails', () => rows.filter(isFraud).every((row) => world.mailed(row.trans_num) === 1), 20_000)
  const { ready, rows: stages } = await watch.report()
  expect(ready).toBe(true)
  expect(stages.filter(({ stage, state }) => state !== 'working' && stage !== 'shadow' && stage !== 'fetch')).toEqual(
    [],
  )
  world.state.say = (asked) => flags(asked, 500)
  heal()
  await waitFor('every judgement', () =>
    later.every(({ trans_num }) => world.judged().some((j) => j.trans_num === trans_num)),
  )
  expect(world.letters()).toBe(0)
})

test('a row that the challenger refuses has no judgement, and is no dead letter', async () => {
  const world = await challenged()
  world.state.say = (asked) =>
    asked.some(({ trans_num }) => trans_num === 'trans-7') ? { status: 400, text: 'no' } : flags(asked, 500)
  await world.start()
  await sleep(500)
  world.send(someRows(20))
  await waitFor('every other judgement', () => world.judged().length === 19)
  expect(world.judged().map(({ trans_num }) => trans_num)).not.toContain('trans-7')
  expect(world.recorded()).toHaveLength(20)
  expect(world.text()).toContain('challenger: a row has no judgement: the model answered 400')
})

test('a challenger that says nothing of every second row is asked 20 times a second at most, and fills no log', async () => {
  const world = await challenged()
  const nothingOfHalf = (asked: Row[]) => ({ predictions: asked.map((row) => (isOdd(row) ? null : 0)) })
  world.state.say = nothingOfHalf
  await world.start()
  await sleep(500)
  const began = performance.now()
  world.send(someRows(60))
  await waitFor('all rows', () => world.recorded().length === 60)
  await waitFor('many requests', () => world.asked.length >= 60, 30_000)
  expect(world.asked.length).toBeLessThanOrEqual(1 + (performance.now() - began) / 50)
  expect(
    world.lines.filter(({ level, msg }) => level !== 'debug' && /a row has no judgement/.test(msg)).length,
  ).toBeLessThan(3)
  world.state.say = (asked) => flags(asked, 500)
  await waitFor(
    'a judgement of the last row',
    () => world.judged().some(({ trans_num }) => trans_num === 'trans-59'),
    30_000,
  )
})
const isOdd = ({ trans_num }: Row) => Number(String(trans_num).replace(/\D/g, '')) % 2 === 1

test('what only one of the two flags is put before a person', async () => {
  const world = await challenged({ AUDIT_PER_DAY: '0' })
  world.state.say = (asked) => ({ predictions: asked.map(({ amt }) => (Number(amt) < 12 ? 1 : 0)) })
  await world.start()
  await sleep(500)
  world.send(someRows(20))
  await waitFor('every judgement', () => world.judged().length === 20)
  await waitFor('it to be drawn', () => world.sql('SELECT 1 FROM predictions WHERE sampled = 1').length === 5)
  expect(world.sql('SELECT trans_num FROM predictions WHERE sampled = 1 AND prediction = 0')).toEqual([
    { trans_num: 'trans-1' },
  ])
  await using quality = startWorker(world.dir.path, { ...world.settings, TRUTH: 'producer' }, 'quality')
  expect(await quality.end).toMatchObject({ code: 0 })
  expect(quality.text()).toMatch(/^rf\/8, the challenger, against rf\/7\n {2}20 rows that both have judged, on 1 day/m)
  expect(quality.text()).toMatch(/0 flagged by both, 1 by rf\/8 alone, 4 by rf\/7 alone/)
})
