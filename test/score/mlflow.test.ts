import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { FEATURES, NUMERIC_FEATURES } from '../../src/columns.ts'
import { HttpFailure, Outage, Refusal, reason } from '../../src/io/errors.ts'
import { type MlflowOptions, mlflow } from '../../src/score/mlflow.ts'
import { Foreign, Unreadable } from '../../src/score/unreadable.ts'
import type { Transaction } from '../../src/transaction.ts'
import { LONG_CARD, transaction } from '../rows.ts'
import { refusals } from './refusals.ts'
import { byAmount, modelServer, type Saying } from './server.ts'

const never = new AbortController().signal
const secret = { authorization: 'Bearer s3cret-token' }
const one = [transaction(1, { cc_num: LONG_CARD })]

/** A real server that says these things in turn, and a model that asks it. */
async function model(options: Partial<MlflowOptions>, ...sayings: (Saying | (() => Promise<Saying>))[]) {
  const server = await modelServer(async (rows, before) => {
    const saying = sayings[before] ?? byAmount(rows)
    return typeof saying === 'function' ? saying() : saying
  })
  const { judge } = mlflow({
    url: server.url,
    headers: secret,
    features: FEATURES,
    unixTimeUnit: 's',
    threshold: 0.5,
    ...options,
  })
  return {
    ...server,
    judge: (transactions: readonly Transaction[] = one, signal = never) => judge(transactions, signal),
  }
}

/** How a request fails; nothing secret is in the error, however deep one looks. */
async function failure(judging: Promise<unknown>): Promise<Error> {
  const error = await judging.then(
    () => expect.unreachable('the request should have failed'),
    (thrown) => thrown,
  )
  expect(inspect(error, { depth: 20, showHidden: true })).not.toMatch(/s3cret|\d{13}|Kutch/)
  return error
}

const slowly = (ms: number) => async (): Promise<Saying> => {
  await sleep(ms)
  return { predictions: [true] }
}
const slow = [{ prediction: 1, score: null }]
/** Fewer rows may help. */
const TOO_SLOW = { kind: 'timeout' }

test.concurrent('the first answer may take long, a later one not, and the first after a broken connection may again', async () => {
  const deadlines = { first: 20_000, later: 500 }
  await using m = await model({ deadlines }, slowly(750), 'silence', 'silence', 'hang up', slowly(750))
  expect(await m.judge()).toEqual(slow)
  for (const _ of [1, 2]) {
    const error = await failure(m.judge())
    expect(error).toMatchObject(TOO_SLOW)
    expect(reason(error)).toBe('the model is too slow: no whole answer within 0.5 s')
  }
  expect(await failure(m.judge())).not.toMatchObject(TOO_SLOW)
  expect(await m.judge()).toEqual(slow)
})

test.concurrent('asks /invocations with the headers it was given', async () => {
  await using m = await model({})
  expect(await m.judge()).toEqual([{ prediction: 0, score: null }])
  const { request } = m.received[0]!
  expect([request.method, request.url]).toEqual(['POST', '/invocations'])
  expect(request.headers).toMatchObject({ ...secret, 'content-type': 'application/json', accept: 'application/json' })
})

test.concurrent.for([
  ['', '/invocations'],
  ['/', '/invocations'],
  ['/serving-endpoints/x', '/serving-endpoints/x/invocations'],
  ['/serving-endpoints/x/', '/serving-endpoints/x/invocations'],
  ['/a//', '/a/invocations'],
  ['/a?version=7', '/a/invocations?version=7'],
])('keeps the path of MODEL_URL: "%s" becomes "%s"', async ([path, asked]) => {
  await using server = await modelServer(byAmount)
  const url = new URL(`${server.url.origin}${path}`)
  await mlflow({ url, headers: {}, features: ['amt'], unixTimeUnit: 's', threshold: 0.5 }).judge(one, never)
  expect(server.received[0]?.request.url).toBe(asked)
})

const ALL_COLUMNS =
  '"trans_date_trans_time","cc_num","merchant","category","amt","first","last","gender","street","city","state",' +
  '"zip","lat","long","city_pop","job","dob","trans_num","unix_time","merch_lat","merch_long"'
const ALL_VALUES =
  '"2026-01-02 03:04:06",4992346398065154184,"fraud_Kutch, Hermiston and Farrell","gas_transport",11,"Ada","O\'Neil",' +
  '"F","12 Main Street","Springfield","IL",62701,39.7817,-89.6501,114394,"Engineer, civil","1980-02-29","trans-1",' +
  '1767323046,39.9,-89.5'
const NINE_COLUMNS = '"cc_num","amt","zip","lat","long","city_pop","unix_time","merch_lat","merch_long"'
const NINE_VALUES = '4992346398065154184,11,62701,39.7817,-89.6501,114394,1767323046,39.9,-89.5'

test.concurrent.for<[what: string, options: Partial<MlflowOptions>, columns: string, values: string]>([
  ['all', {}, ALL_COLUMNS, ALL_VALUES],
  ['numeric', { features: NUMERIC_FEATURES }, NINE_COLUMNS, NINE_VALUES],
  [
    'a list, in its order',
    { features: ['zip', 'amt', 'cc_num'] },
    '"zip","amt","cc_num"',
    '62701,11,4992346398065154184',
  ],
  ['unix_time in seconds', { features: ['unix_time'] }, '"unix_time"', '1767323046'],
  ['unix_time in ms', { features: ['unix_time'], unixTimeUnit: 'ms' }, '"unix_time"', '1767323046678'],
])('sends exactly the columns asked for, every digit, and never is_fraud: %s', async ([, options, columns, values]) => {
  await using m = await model(options)
  await m.judge([transaction(1, { cc_num: LONG_CARD, is_fraud: 1 })])
  expect(m.received[0]?.text).toBe(`{"dataframe_split":{"columns":[${columns}],"data":[[${values}]]}}`)
})

test.concurrent('sends one row for each transaction, in order, and null for what is not known', async () => {
  await using m = await model({ features: ['trans_num', 'city_pop', 'cc_num'] })
  await m.judge([transaction(1, { city_pop: null }), transaction(2), transaction(3, { cc_num: '9007199254740993' })])
  expect(m.received[0]?.text).toBe(
    '{"dataframe_split":{"columns":["trans_num","city_pop","cc_num"],"data":' +
      '[["trans-1",null,4000000000001],["trans-2",114394,4000000000002],["trans-3",114394,9007199254740993]]}}',
  )
})

test.concurrent('sends text of any alphabet', async () => {
  await using m = await model({ features: ['merchant', 'amt'] })
  await m.judge([transaction(1, { merchant: 'Bäckerei "Süß" 🥨' })])
  expect(m.asked[0]?.[0]?.merchant).toBe('Bäckerei "Süß" 🥨')
})

test.concurrent('judges by the threshold', async () => {
  await using m = await model({ threshold: 0.2 }, { predictions: [[0.75, 0.25]] }, { predictions: [[0.85, 0.15]] })
  expect(await m.judge()).toEqual([{ prediction: 1, score: 0.25, threshold: 0.2 }])
  expect(await m.judge()).toEqual([{ prediction: 0, score: 0.15, threshold: 0.2 }])
})

const HTML = { type: 'text/html; charset=utf-8' }
type Kind = abstract new (...args: never[]) => Error
test.concurrent.for<[what: string, saying: Saying, kind: Kind, message: RegExp, wait?: number]>([
  [
    '400',
    { status: 400, text: refusals.missingInputs('amt') },
    Refusal,
    /^the model answered 400: Model is missing inputs/,
  ],
  ['413', { status: 413, text: 'too large' }, Refusal, /^the model answered 413: no MLflow error/],
  ['422', { status: 422, text: refusals.notANumber() }, Refusal, /^the model answered 422: wrong type/],
  ['424', { status: 424, text: '{"message": "model failure"}' }, Refusal, /^the model answered 424: no MLflow error/],
  ['500', { status: 500, text: '<title>500</title>', ...HTML }, Refusal, /^the model answered 500: no MLflow error/],
  ['a wrong length', { predictions: [0, 1] }, Unreadable, /^the model answered with 2 predictions, not 1: /],
  ['NaN', { status: 200, text: '{"predictions": [NaN]}' }, Refusal, /^the model answered NaN/],
  [
    '401',
    { status: 401, text: '{}' },
    HttpFailure,
    /^the model answered 401 \(application\/json\): check MODEL_HEADERS$/,
  ],
  [
    '403',
    { status: 403, text: 'no', type: 'text/plain' },
    HttpFailure,
    /^the model answered 403 .*: check MODEL_HEADERS$/,
  ],
  [
    '404',
    { status: 404, text: '<title>Not Found</title>', ...HTML },
    HttpFailure,
    /404 \(an HTML page "Not Found"\): MODEL_URL is not/,
  ],
  ['415', { status: 415, text: 'Types', type: 'text/plain' }, HttpFailure, /^the model answered 415 \(text\/plain\)$/],
  ['429', { status: 429, text: '{}', headers: { 'retry-after': '3' } }, HttpFailure, /^the model answered 429/, 3000],
  ['503', { status: 503, text: '', headers: { 'retry-after': '4' } }, HttpFailure, /^the model answered 503/, 4000],
  ['502', { status: 502, text: '<html>', ...HTML }, HttpFailure, /^the model answered 502 \(an HTML page\)$/],
  [
    '504',
    { status: 504, text: 'Request processing time exceeded limit' },
    HttpFailure,
    /answered 504, it is too slow$/,
  ],
  ['504 with Retry-After', { status: 504, text: '', headers: { 'retry-after': '5' } }, HttpFailure, /504/, 5000],
  [
    'a redirect',
    { status: 307, text: '', headers: { location: '/elsewhere' } },
    HttpFailure,
    /^the model answered 307/,
  ],
  [
    'HTML with 200',
    { status: 200, text: '<!doctype html>', ...HTML },
    Foreign,
    /is MODEL_URL an MLflow model server\?$/,
  ],
  [
    'no predictions',
    { status: 200, text: '{"status":"ok"}' },
    Unreadable,
    /for each row the fields status, none of which is known/,
  ],
])('fails on %s, and a good answer after it is taken', async ([, saying, kind, message, wait]) => {
  await using m = await model({}, saying)
  const error = await failure(m.judge())
  expect(error.constructor).toBe(kind)
  expect(error.message).toMatch(message)
  expect(error instanceof Outage ? error.wait : undefined).toBe(wait ?? (error instanceof Outage ? 0 : undefined))
  expect(await m.judge()).toEqual([{ prediction: 0, score: null }])
  expect(m.received.map(({ request }) => request.url)).toEqual(['/invocations', '/invocations'])
})

test.concurrent.for<[what: string, say: (amt: number) => unknown, judged: unknown]>([
  ['0 and 1', (amt) => (amt >= 1000 ? 1 : 0), [{ prediction: 1, score: null }]],
  ['probabilities', (amt) => 1 - 1 / (1 + amt / 500), [{ prediction: 1, score: 0.8 }]],
  ["an outlier detector's", (amt) => (amt >= 1e5 ? -1 : 1), /^the model answered -1, .*MODEL_FRAUD_VALUE/],
  ['classes 1 and 2', (amt) => (amt >= 5000 ? 2 : 1), /^the model answered 2, .*MODEL_FRAUD_VALUE/],
  ['margins', (amt) => (amt - 1500) / 1000, /^the model answered -?\d.*, which is neither 0 or 1 nor a probability/],
  ['1 for all, as of one class', () => [1], /^the model answered 1 for every row so far, and nothing shows/],
])('before the first fraud is believed other amounts tell what numbers mean: %s', async ([, say, judged]) => {
  await using server = await modelServer((rows) => ({ predictions: rows.map(({ amt }) => say(Number(amt))) }))
  const { judge } = mlflow({ url: server.url, headers: {}, features: ['amt'], unixTimeUnit: 's', threshold: 0.5 })
  const first = [transaction(1, { amt: 2000 })]
  for (const _ of [1, 2])
    if (judged instanceof RegExp) await expect(judge(first, never)).rejects.toThrow(judged)
    else expect(await judge(first, never)).toMatchObject(judged as object)
  if (!(judged instanceof RegExp)) expect(server.asked).toHaveLength(3)
})

test.concurrent('a connection that breaks is an outage, neither a refusal nor slowness', async () => {
  await using m = await model({}, 'hang up')
  const error = await failure(m.judge())
  expect(error.message).toBe('cannot reach the model')
  expect(error).not.toBeInstanceOf(Refusal)
  expect(error).not.toMatchObject(TOO_SLOW)
})

test.concurrent('a gateway that lost its server waits for a new one, which may take long again', async () => {
  const deadlines = { first: 20_000, later: 100 }
  await using m = await model({ deadlines }, { predictions: [0] }, { status: 502, text: '' }, slowly(400))
  await m.judge()
  await failure(m.judge())
  expect(await m.judge()).toEqual(slow)
})

test.concurrent('a server that has only refused so far may still take long', async () => {
  await using m = await model({ deadlines: { first: 20_000, later: 100 } }, { status: 503, text: '' }, slowly(400))
  await failure(m.judge())
  expect(await m.judge()).toEqual(slow)
})

test.concurrent('the first answer has a deadline too', async () => {
  await using m = await model({ deadlines: { first: 200, later: 20_000 } }, 'silence')
  expect(await failure(m.judge())).toMatchObject(TOO_SLOW)
})

test.concurrent('an aborted request ends at once, with the reason of the signal', async () => {
  const stop = new AbortController()
  await using m = await model({}, async () => {
    stop.abort(new Error('stopped'))
    return 'silence'
  })
  await expect(m.judge(one, stop.signal)).rejects.toThrow('stopped')
})

// Alone, as it keeps the processor busy.
test('an answer beyond 64 MiB is not taken', async () => {
  await using m = await model({}, { status: 200, text: '{"predictions":[0]}'.padEnd(64 * 1024 * 1024 + 1) })
  expect(reason(await failure(m.judge()))).toMatch(/^cannot reach the model: the answer is larger than 64 MiB$/)
})
