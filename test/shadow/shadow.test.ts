import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { readConfig } from '../../src/config/read.ts'
import { openPipeline } from '../../src/pipeline.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { disposable, isFraud, outside, someRows } from '../outside.ts'
import { body, httpServer, listeningLog, tempDir, waitFor } from '../rows.ts'
import { modelServer, type Row, type Saying } from '../score/server.ts'

/** The whole flow in this process, with a challenger that says what the test tells it. */
async function challenged(env = {}) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const world = stack.use(await outside([], dir.path))
  const waiting: Record<string, unknown>[] = []
  const producer = stack.use(
    await httpServer(async (_, response) => {
      await waitFor('a row', () => waiting.length > 0 || response.closed).catch(() => {})
      const next = waiting.splice(0, 10)
      response.end(next.length > 0 ? body(next) : undefined)
    }),
  )
  const state: { say: (rows: Row[]) => Saying | Promise<Saying> } = { say: (asked) => flags(asked, 500) }
  const challenger = stack.use(await modelServer((asked) => state.say(asked)))
  const { log, text } = listeningLog()
  const PRODUCER_URL = `${producer.url.href}current-transactions`
  const settings = { ...world.env, PRODUCER_URL, CHALLENGER_URL: challenger.url.href, CHALLENGER_NAME: 'rf/8', ...env }
  const sql = (statement: string) => {
    using db = disposable(new DatabaseSync(dir.file('fraud.db'), { readOnly: true }))
    return db.prepare(statement).all()
  }
  return {
    ...{ ...world, state, text, sql, asked: challenger.asked },
    send: (rows: readonly Record<string, unknown>[]) => void waiting.push(...rows),
    judged: () => sql('SELECT trans_num, model, prediction FROM judgements ORDER BY event_time'),
    letters: () => text().match(/set aside/g)?.length ?? 0,
    /** Starts it, as often as one likes. */
    async start(more = {}) {
      const stop = new AbortController()
      const config = readConfig({ ...settings, ...more })
      const watch = openMonitor(config.STAGES)
      const pipeline = await openPipeline(config, log, stop.signal, watch)
      const ended = pipeline.run(stop.signal)
      const end = async () => {
        if (stop.signal.aborted) return
        stop.abort(new Error('stopped'))
        await ended
        await pipeline[Symbol.asyncDispose]()
      }
      stack.defer(end)
      return { watch, end }
    },
  }
}
const flags = (asked: Row[], from: number): Saying => ({
  predictions: asked.map(({ amt }) => (Number(amt) >= from ? 1 : 0)),
})

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
  expect(world.text()).toContain('challenger: a record is set aside')
})

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
})
