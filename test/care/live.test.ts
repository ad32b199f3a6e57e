import { expect, test } from 'vitest'
import { boards } from '../../src/care/board.ts'
import { openCare, type Quality } from '../../src/care/care.ts'
import { liveMetrics } from '../../src/care/live.ts'
import { openTracking } from '../../src/registry/tracking.ts'
import type { Counted } from '../../src/review/reviews.ts'
import { openRows } from '../desk/place.ts'
import { httpServer, listeningLog, prediction } from '../rows.ts'

const DAY = 86_400_000
const AT = 20_500 * DAY + 3_600_000
const cell = (changes: Partial<Counted>): Counted => ({
  ...{
    model: 'fraud/7',
    threshold: 0.5,
    day: 20_499,
    prediction: 0,
    label: 0,
    verdict: null,
    sampled: null,
    rows: 900,
    amount: 9,
  },
  ...changes,
})
const COUNTED = [
  cell({}),
  cell({ prediction: 1, label: 1, rows: 30, amount: 6000 }),
  cell({ label: 1, rows: 10, amount: 500 }),
  cell({ model: null }),
]
const quality = (counted: Counted[], at = AT): Quality => ({
  ...{ at, truth: 'producer' },
  boards: boards(counted, { reviewCost: 2 }, at, () => 0.5),
})

type Call = { path: string; given: Record<string, unknown> }
type Kept = { key: string; value: number; step: number }
/** The tracking server's API, as far as it is asked; `knows`: a registry with fraud/7 in it. */
async function tracking({ knows = false } = {}) {
  const calls: Call[] = []
  const state = { status: 200 }
  const runs = new Map<string, { info: object; data: { metrics: Kept[] } }>()
  const answers: Record<string, (given: Record<string, unknown>) => unknown> = {
    'experiments/get-by-name': () => undefined,
    'experiments/create': () => ({ experiment_id: '5' }),
    'model-versions/get': () => (knows ? { model_version: { run_id: 'trained' } } : undefined),
    'runs/get': () => ({ run: { info: { run_id: 'trained', experiment_id: '3' } } }),
    'runs/search': () => ({ runs: [...runs.values()] }),
    'runs/create': ({ experiment_id }) => {
      const run = { info: { run_id: 'live', experiment_id }, data: { metrics: [] as Kept[] } }
      runs.set('live', run)
      return { run }
    },
    'runs/log-batch': ({ metrics }) => {
      runs.get('live')!.data.metrics = metrics as Kept[]
      return {}
    },
    'runs/update': () => ({}),
  }
  const server = await httpServer(({ request, text }, response) => {
    const url = new URL(request.url!, 'http://x')
    const path = url.pathname.replace('/api/2.0/mlflow/', '')
    const given = text ? JSON.parse(text) : Object.fromEntries(url.searchParams)
    calls.push({ path, given })
    const answer = state.status === 200 ? answers[path]?.(given) : undefined
    response
      .writeHead(state.status !== 200 ? state.status : answer === undefined ? 404 : 200)
      .end(JSON.stringify(answer ?? { error_code: 'RESOURCE_DOES_NOT_EXIST' }))
  })
  return Object.assign(server, { calls, state, runs })
}
const of = (calls: Call[], path: string) => calls.filter((call) => call.path === path).map(({ given }) => given)

test('each figure and its bounds are written once a day, into a run of its own below the one of the training', async () => {
  await using server = await tracking({ knows: true })
  const write = liveMetrics(openTracking(server.url))
  await write(quality(COUNTED))
  await write(quality(COUNTED, AT + 3_600_000))
  const [run] = of(server.calls, 'runs/create')
  expect(run).toMatchObject({ experiment_id: '3', run_name: 'client-predict live' })
  expect(run!.tags).toContainEqual({ key: 'mlflow.parentRunId', value: 'trained' })
  const written = of(server.calls, 'runs/log-batch') as { metrics: Kept[] }[]
  expect(written).toHaveLength(1)
  const value = (key: string) => written[0]!.metrics.find((metric) => metric.key === `live/${key}`)
  expect(value('false_neg_rate')).toEqual({ key: 'live/false_neg_rate', value: 0.25, timestamp: AT, step: 20_500 })
  expect(value('false_neg_rate_low')!.value).toBeLessThan(0.25)
  expect(value('false_neg_rate_high')!.value).toBeGreaterThan(0.25)
  expect(value('precision')!.value).toBe(1)
  expect(value('missed')!.value).toBe(500)
  await write(quality([...COUNTED, cell({ day: 20_500 })], AT + DAY))
  expect(of(server.calls, 'runs/log-batch')).toHaveLength(2)
  expect(of(server.calls, 'runs/create')).toHaveLength(1)
})

test('without a registry it has an experiment of its own, and what cannot be known is not written', async () => {
  await using server = await tracking()
  await liveMetrics(openTracking(server.url))(quality([cell({}), cell({ prediction: 1, label: 1, rows: 3 })]))
  expect(of(server.calls, 'runs/create')).toMatchObject([{ experiment_id: '5' }])
  const [{ metrics }] = of(server.calls, 'runs/log-batch') as [{ metrics: Kept[] }]
  expect(metrics.map(({ key }) => key)).not.toContain('live/false_neg_rate')
  expect(metrics.map(({ key }) => key)).toContain('live/flagged_share')
})

test('an MLflow that fails is said in one line, and drift is looked for all the same', async () => {
  await using server = await tracking()
  server.state.status = 503
  const { reviews } = await openRows([prediction(1)])
  const { log, text } = listeningLog()
  const now = () => prediction(1).event_time + 3_600_000
  const care = openCare({
    reviews,
    rules: { truth: 'producer', reviewCost: 2 },
    publish: liveMetrics(openTracking(server.url)),
    log,
    now,
  })
  await care.look()
  await care.look()
  expect(text().match(/not written to MLflow: MLflow answered 503/g)).toHaveLength(1)
  expect(care.conditions()).toHaveLength(2)
})
