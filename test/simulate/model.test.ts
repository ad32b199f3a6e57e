import { afterAll, beforeAll, expect, test } from 'vitest'
import { FEATURES, NUMERIC_FEATURES } from '../../src/columns.ts'
import { stringify } from '../../src/io/json.ts'
import { simulatedModel } from '../../src/simulate/model.ts'
import { population, type Row } from '../../src/simulate/population.ts'
import { toTransaction } from '../../src/transaction.ts'

let model: Awaited<ReturnType<typeof simulatedModel>>
beforeAll(async () => {
  model = await simulatedModel()
})
afterAll(() => model[Symbol.asyncDispose]())

const post = (body: string) => fetch(`${model.url}/invocations`, { method: 'POST', body })
const frame = (columns: readonly string[], data: unknown[][]) => stringify({ dataframe_split: { columns, data } })
const invoke = (rows: readonly object[], columns: readonly string[] = FEATURES) =>
  post(
    frame(
      columns,
      rows.map((row) => columns.map((column) => (row as Record<string, unknown>)[column])),
    ),
  )
const features = (row: Row) => toTransaction(row, row.current_time)
/** Probabilities of fraud. */
async function score(rows: readonly object[]): Promise<number[]> {
  const { predictions } = (await (await invoke(rows)).json()) as { predictions: [number, number][] }
  for (const [p0, p1] of predictions) expect(p0 + p1).toBeCloseTo(1, 9)
  return predictions.map(([, p1]) => p1)
}
const world = population(77)
const rows = (hour: number, count: number, fraud: boolean) =>
  Array.from({ length: count }, () => features(world.transaction(Date.UTC(2026, 4, 5, hour), fraud)))

test('separates fraud from honesty on simulated history, and says how well', () => {
  expect(model.auc).toBeGreaterThan(0.95)
  expect(model.auc).toBeLessThanOrEqual(1)
  expect(model.tested).toBe(1500)
})

test.for([3, 13])('catches nearly every fraud of the hour %i with few false alarms', async (hour) => {
  const [stolen, honest] = [await score(rows(hour, 400, true)), await score(rows(hour, 4000, false))]
  const caught = stolen.filter((p) => p >= 0.5).length / 400
  const falseAlarms = honest.filter((p) => p >= 0.5).length / 4000
  expect(caught).toBeGreaterThan(0.85)
  expect(falseAlarms).toBeLessThan(0.006)
})

test('flags the first fraud of any simulated producer, and not a small purchase', async () => {
  const sample = rows(13, 300, true).filter((row) => row.amt >= 900)
  expect((await score(sample)).every((p) => p >= 0.5)).toBe(true)
  const small = rows(13, 3000, false).filter((row) => row.amt < 50)
  expect((await score(small)).every((p) => p < 0.5)).toBe(true)
})

test('unix_time may be in seconds or in ms', async () => {
  const sample = rows(3, 50, true)
  expect(await score(sample.map((row) => ({ ...row, unix_time: row.event_time })))).toEqual(await score(sample))
})

test('takes the columns in any order, ignores further ones, answers nothing for no rows', async () => {
  const sample = rows(13, 3, false)
  const answers = [FEATURES, FEATURES.toReversed(), [...FEATURES, 'is_fraud']].map(async (columns) =>
    (await invoke(sample, columns)).json(),
  )
  const [first, ...others] = await Promise.all(answers)
  for (const other of others) expect(other).toEqual(first)
  expect(await score([])).toEqual([])
})

test('a row with unknown features still gets a probability', async () => {
  const blank = { ...Object.fromEntries(FEATURES.map((column) => [column, null])), amt: 12 }
  const [p, other] = await score([blank, { ...rows(13, 1, false)[0], category: 'never seen' }])
  expect(p).toBeLessThan(0.5)
  expect(other).toBeLessThan(0.5)
})

test('refuses what a signature refuses, without repeating a value', async () => {
  const [row] = rows(13, 1, false)
  const without = FEATURES.filter((column) => column !== 'amt')
  const refusals = [
    [await invoke([row!], without), "Model is missing inputs ['amt']."],
    [await invoke([row!], NUMERIC_FEATURES), "Model is missing inputs ['trans_date_trans_time', 'merchant', "],
    [await invoke([row!, { ...row, amt: null }]), 'Incompatible input types for column amt.'],
    [await invoke([{ ...row, amt: '12.50' }]), 'Incompatible input types for column amt.'],
    [await post(frame(FEATURES, [[1, 2]])), 'dataframe_split has a row that does not fit its columns'],
    [await post('{"dataframe_split": '), 'Failed to parse input as JSON'],
    [await post('{"instances": [[1]]}'), 'The input must be a JSON object with dataframe_split'],
  ] as const
  for (const [response, message] of refusals) {
    expect(response.status).toBe(400)
    const text = await response.text()
    expect(JSON.parse(text)).toEqual({ error_code: 'BAD_REQUEST', message: expect.stringContaining(message) })
    expect(text).not.toContain(String(row!.cc_num))
  }
})

test('answers the health checks of a model server, and 404 elsewhere', async () => {
  for (const path of ['/ping', '/health']) {
    const response = await fetch(model.url + path)
    expect([response.status, await response.text()]).toEqual([200, '\n'])
  }
  expect((await fetch(`${model.url}/version`)).status).toBe(200)
  expect((await fetch(`${model.url}/invocations`)).status).toBe(404)
  expect((await fetch(`${model.url}/elsewhere`)).status).toBe(404)
})
