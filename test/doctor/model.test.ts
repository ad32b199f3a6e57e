import { expect, test } from 'vitest'
import { FEATURES, NUMERIC_FEATURES } from '../../src/columns.ts'
import { simulatedModel } from '../../src/simulate/model.ts'
import { freePort } from '../rows.ts'
import { refusals, UNFIT_TO_SHOW } from '../score/refusals.ts'
import { consultOn } from './consult.ts'
import { type FakeMlflow, fakeMlflow, inferred } from './mlflow-server.ts'

const ALL = FEATURES
const NINE = inferred(NUMERIC_FEATURES)
const NUMERIC = { MODEL_FEATURES: 'numeric' }
/** What is said of a model that behaves so. */
async function examine(fake: FakeMlflow, settings: Record<string, string> = NUMERIC) {
  await using server = await fakeMlflow(fake)
  const said = await consultOn('model', { MODEL_URL: server.model, ...settings })
  expect(said.lines.join('')).not.toMatch(UNFIT_TO_SHOW)
  return { ...said, requests: server.requests, where: new URL(server.model).host }
}

test('a model that judges is well: its version, its rows, its time', async () => {
  const { state, text, all, requests, where } = await examine({
    signature: NINE,
    judge: ({ unix_time }) => (Number(unix_time) > 1e11 ? 1 : 0),
  })
  expect([state, all.length]).toEqual(['ok', 1])
  expect(text).toMatch(
    new RegExp(
      `^${where}: MLflow 3\\.17\\.2, 120 rows in 0\\.\\d s, 0 of 100 honest-looking and 0 of 20 fraudulent-looking ones taken for fraud$`,
    ),
  )
  expect(requests[0]!.columns).toEqual(NUMERIC_FEATURES)
  expect(requests[0]!.rows.some(({ cc_num }) => (cc_num as bigint) > 2n ** 53n)).toBe(true)
  expect(Number(requests[0]!.rows[0]!.unix_time)).toBeGreaterThan(Date.now() / 1000 - 60)
})

test('the simulated model is well', async () => {
  await using model = await simulatedModel()
  const said = await consultOn('model', { MODEL_URL: model.url })
  expect(said.state).toBe('ok')
  expect(said.text).toMatch(/: 120 rows in [\d.]+ s, \d of 100 honest-looking and (1\d|20) of 20 fraudulent-looking/)
})

test('an unset MODEL_URL is worth a note', async () => {
  const said = await consultOn('model', {})
  expect(said.lines).toEqual(['note    model    MODEL_URL is not set: a simulated model judges'])
})

test('asks in requests no larger than the worker does', async () => {
  const { state, requests } = await examine({}, { ...NUMERIC, SCORE_BATCH_SIZE: '50' })
  expect(state).toBe('ok')
  expect(requests.slice(0, 3).map(({ rows }) => rows.length)).toEqual([50, 50, 20])
})

test.for<[string, FakeMlflow, Record<string, string>, RegExp, string]>([
  [
    'nine columns with their signature, asked with fewer',
    { signature: NINE },
    { MODEL_FEATURES: 'amt,zip' },
    /its signature wants 9 columns, MODEL_FEATURES sends 2, missing are cc_num, lat, long, city_pop, unix_time, merch_lat, merch_long$/,
    'numeric',
  ],
  [
    'nine columns without a signature, asked with all',
    {},
    { MODEL_FEATURES: 'all' },
    /MODEL_FEATURES sends 21, it was not fitted on category, first, gender, city, dob, …$/,
    'numeric',
  ],
  [
    'all columns with their signature, asked with nine',
    { fitted: ALL, signature: inferred(ALL) },
    NUMERIC,
    /its signature wants 21 columns, MODEL_FEATURES sends 9, missing are trans_date_trans_time, merchant/,
    'all',
  ],
  [
    'nine columns with their signature, asked with one of them and another',
    { signature: NINE },
    { MODEL_FEATURES: 'merchant,amt' },
    /its signature wants 9 columns, MODEL_FEATURES sends 2, missing are cc_num/,
    'numeric',
  ],
  [
    'all columns, of which it does not tell, asked with nine',
    { fitted: ALL, say: (rows) => ('merchant' in rows[0]! ? undefined : { status: 400, text: refusals.unknown() }) },
    NUMERIC,
    /the model answered 400: BAD_REQUEST, for a reason not known here/,
    'all',
  ],
  [
    'four columns without a signature, asked with all',
    { fitted: ['category', 'amt', 'city', 'job'] },
    { MODEL_FEATURES: 'all' },
    /it was not fitted on/,
    'category,amt,city,job',
  ],
  [
    'four columns without a signature, asked with three others',
    { fitted: ['category', 'amt', 'city', 'job'] },
    { MODEL_FEATURES: 'amt,lat,long' },
    /it was not fitted on lat, long/,
    'category,amt,city,job',
  ],
  [
    'a signature of one that was in it and one that was not sent',
    { fitted: ['amt', 'zip'], signature: { amt: 'double', zip: 'long' } },
    { MODEL_FEATURES: 'amt' },
    /wants 2 columns, MODEL_FEATURES sends 1, missing are zip$/,
    'amt,zip',
  ],
])('finds the MODEL_FEATURES that work: %s', async ([, fake, settings, what, works]) => {
  const { state, text, cure, all } = await examine(fake, settings)
  expect([state, all.length]).toEqual(['wrong', 1])
  expect(text).toMatch(what)
  expect(cure).toBe(`set MODEL_FEATURES=${works}: with that it answers`)
  expect((await examine(fake, { MODEL_FEATURES: works })).state).toBe('ok')
})

test.for([
  [
    'numeric',
    'MODEL_FEATURES sends 9, missing are trans_date_trans_time, merchant, category, first, last, gender, street, city, state, job, dob, trans_num',
  ],
  ['all', 'MODEL_FEATURES sends 21'],
])('a model of nine columns with a signature of 21: no setting cures that (%s)', async ([features, sends]) => {
  const { state, text, cure } = await examine({ signature: inferred(ALL) }, { MODEL_FEATURES: features! })
  expect(state).toBe('wrong')
  expect(text).toContain(
    `refuses: its signature wants 21 columns, ${sends}; yet it was not fitted on category, first, gender, city, dob, …, so it refuses whatever is sent, and no setting cures that`,
  )
  expect(cure).toMatch(/^log it again with .*: .*infer_signature\(X\[numeric\], pipeline\.predict\(X\[numeric\]\)\)/)
})

const OWN_STEP = /^let the model make them itself/
test.for<[what: string, server: FakeMlflow, said: RegExp, cure: RegExp]>([
  [
    'made beside the model, in the signature',
    { signature: { amt: 'double', age_of_Kutch: 'long' } },
    /asks for 1 column that the worker does not have$/,
    OWN_STEP,
  ],
  [
    'made beside the model, without a signature',
    { fitted: ['amt', 'hour', 'Kutch km'] },
    /asks for 2 columns that the worker does not have$/,
    OWN_STEP,
  ],
  [
    'made beside the model, behind five that are missing too',
    { fitted: [...ALL.toReversed(), 'zzz_hour'] },
    /asks for 1 column that the worker does not have$/,
    OWN_STEP,
  ],
  [
    'the index',
    { fitted: ['Unnamed: 0', ...NUMERIC_FEATURES] },
    /asks for an index column \(Unnamed: 0\)/,
    /^drop that before the fit/,
  ],
  [
    'the label',
    { signature: { ...NINE, is_fraud: 'long' } },
    /asks for the label is_fraud/,
    /^fit it without the label/,
  ],
])('columns that are none of ours: %s', async ([, server, said, expected]) => {
  for (const MODEL_FEATURES of ['all', 'numeric', 'amt,zip']) {
    const { state, text, cure } = await examine(server, { MODEL_FEATURES })
    expect(state).toBe('wrong')
    expect(text).toMatch(said)
    expect(cure).toMatch(expected)
    expect(text + cure).not.toMatch(/Kutch|MODEL_FEATURES/)
  }
})

test('text where a number belongs, from a model that was fitted without names', async () => {
  const { text, cure } = await examine(
    { say: (rows) => ('merchant' in rows[0]! ? { status: 400, text: refusals.notANumber() } : undefined) },
    { MODEL_FEATURES: 'all' },
  )
  expect(text).toMatch(/: the model answered 400: wrong type: the model got text where it wants a number\./)
  expect(cure).toBe('set MODEL_FEATURES=numeric: with that it answers')
})

test('columns in another order', async () => {
  const { text, cure } = await examine({ fitted: ['zip', 'amt', 'lat'] }, { MODEL_FEATURES: 'all' })
  expect(text).toMatch(/it was fitted on amt, zip, lat, in another order$/)
  expect(cure).toBe('list them in the order of the fit in MODEL_FEATURES')
})

test('another type in the signature', async () => {
  const signature = inferred(NUMERIC_FEATURES, { zip: 'integer' })
  const { text, cure } = await examine({
    signature,
    say: (rows) =>
      rows[0]!.zip === undefined ? undefined : { status: 400, text: refusals.incompatibleTypes('zip', signature) },
  })
  expect(text).toMatch(/wrong type: its signature has zip as integer, and the training file has long$/)
  expect(cure).toMatch(/types of the training file/)
})

test('a unix_time whose unit does not fit its type: the unit that works', async () => {
  const { text, cure } = await examine(
    {
      signature: NINE,
      say: (rows) =>
        Number(rows[0]!.unix_time) > 1e11 ? { status: 400, text: refusals.incompatibleTypes('unix_time') } : undefined,
    },
    { ...NUMERIC, UNIX_TIME_UNIT: 'ms' },
  )
  expect(text).toMatch(/of another type is unix_time; unix_time is sent in ms$/)
  expect(cure).toBe('set UNIX_TIME_UNIT=s: with that it answers')
})

test.for<[string, Record<string, string>, Record<string, string>, RegExp | undefined]>([
  ['a card as integer', { cc_num: 'integer' }, NUMERIC, /cc_num as integer \(32 bits\), too small for a card's number/],
  [
    'unix_time as integer, sent in ms',
    { unix_time: 'integer' },
    { ...NUMERIC, UNIX_TIME_UNIT: 'ms' },
    /unix_time as integer \(32 bits\), too small for ms/,
  ],
  ['unix_time as integer, sent in s', { unix_time: 'integer' }, NUMERIC, undefined],
])('a type of the signature that cuts numbers without a word: %s', async ([, types, settings, said]) => {
  const { all } = await examine(
    {
      signature: inferred(NUMERIC_FEATURES, types),
      judge: ({ unix_time }) => (Number(unix_time) % 7 < 2 ? 1 : 0),
    },
    settings,
  )
  const wrong = all.filter(({ state }) => state === 'wrong')
  expect(wrong.map(({ text }) => text)).toEqual(said ? [expect.stringMatching(said)] : [])
  if (said) expect(wrong[0]!.cure).toMatch(/log it again with (cc_num|unix_time) as long/)
})

test('a refusal of an unknown reason says so and repeats no row', async () => {
  const { text, cure } = await examine({ say: () => ({ status: 400, text: refusals.unknown() }) })
  expect(text).toMatch(/the model answered 400: BAD_REQUEST, for a reason not known here/)
  expect(cure).toMatch(/no other MODEL_FEATURES helps/)
})

test('a model that takes every honest-looking row for fraud', async () => {
  const { state, text, cure, all } = await examine({ judge: () => 1 })
  expect([state, all.length]).toEqual(['wrong', 1])
  expect(text).toMatch(/takes all 100 honest-looking rows for fraud$/)
  expect(cure).toMatch(/^is it the right version, does 1 mean fraud in it/)
})

test('the same, because of the unit of unix_time: the one with which it does not', async () => {
  const { state, cure } = await examine(
    { judge: ({ unix_time, amt }) => (Number(unix_time) > 1e11 || Number(amt) > 250 ? 1 : 0) },
    { ...NUMERIC, UNIX_TIME_UNIT: 'ms' },
  )
  expect(state).toBe('wrong')
  expect(cure).toMatch(/^set UNIX_TIME_UNIT=s: with that it takes \d for fraud$/)
})

test('the same, because of the threshold', async () => {
  const { text, cure } = await examine(
    { judge: ({ amt }) => (Number(amt) > 250 ? [0.1, 0.9] : [0.8, 0.2]) },
    { ...NUMERIC, FRAUD_THRESHOLD: '0.1' },
  )
  expect(text).toMatch(/takes all 100 .*; its probabilities are 20 % to 90 %$/)
  expect(cure).toMatch(/^FRAUD_THRESHOLD=0\.1 is low; /)
})

test('a threshold that a model of classes does not know', async () => {
  const { lines } = await examine(
    { judge: ({ amt }) => Number(Number(amt) > 250) },
    { ...NUMERIC, FRAUD_THRESHOLD: '0.2' },
  )
  expect(lines.join('\n')).toMatch(/^note .*FRAUD_THRESHOLD=0\.2 has no effect .*pyfunc_predict_fn="predict_proba"/m)
  const scored = await examine(
    { judge: ({ amt }) => (Number(amt) > 250 ? [0.1, 0.9] : [0.9, 0.1]) },
    { ...NUMERIC, FRAUD_THRESHOLD: '0.2' },
  )
  expect(scored.lines.join('\n')).not.toMatch(/FRAUD_THRESHOLD/)
})

test("an outlier detector's answers, and the setting that cures them", async () => {
  const outlier: FakeMlflow = { judge: ({ amt }) => (Number(amt) > 250 ? -1 : 1) }
  const { state, text, cure } = await examine(outlier)
  expect([state, text]).toEqual(['wrong', expect.stringMatching(/the model answered -1, which is neither 0 or 1/)])
  expect(cure).toMatch(/^set MODEL_FRAUD_VALUE .*-1 for an outlier detector/)
  expect((await examine(outlier, { ...NUMERIC, MODEL_FRAUD_VALUE: '-1' })).state).toBe('ok')
})

test('a model that takes most, not all of them for fraud is worth a note', async () => {
  const { state, text } = await examine({
    judge: ({ merch_lat }) => (Math.floor(Number(merch_lat) * 1000) % 5 === 0 ? 0 : 1),
  })
  expect(state).toBe('note')
  expect(text).toMatch(/takes [78]\d of 100 honest-looking rows for fraud$/)
})

test('a model to which unix_time is the same in s and in ms is worth a note', async () => {
  const { all } = await examine({ judge: ({ amt }) => [1 - Number(amt) / 1e5, Number(amt) / 1e5] })
  expect(all.map(({ state }) => state)).toEqual(['ok', 'note'])
  expect(all[1]!.text).toMatch(
    /answers 120 rows the same with unix_time in s and in ms, so UNIX_TIME_UNIT makes no difference/,
  )
  expect((await examine({ fitted: ['amt'] }, { MODEL_FEATURES: 'amt' })).all).toHaveLength(1)
})

test.for<[string, { status?: number; type?: string; text: string }, RegExp, RegExp]>([
  [
    'a list too short',
    { text: '{"predictions":[0]}' },
    /answered with 1 predictions, not 120$/,
    /^let it answer one for each row/,
  ],
  [
    'labels that nobody knows',
    { text: JSON.stringify({ predictions: Array(120).fill('maybe') }) },
    /the label "maybe", which is not known/,
    /^set MODEL_FRAUD_VALUE/,
  ],
  [
    'no list',
    { text: '{"status":"x"}' },
    /answered 200, but with status and no "predictions"$/,
    /^MODEL_URL must be the base URL/,
  ],
  [
    'a page',
    { type: 'text/html', text: '<!doctype html><title>MLflow</title>' },
    /answered 200, but no JSON$/,
    /^MODEL_URL must be/,
  ],
  ['401', { status: 401, text: '{}' }, /answered 401 \(application\/json\)$/, /^it wants a login: set MODEL_HEADERS/],
  ['a redirect', { status: 301, text: '' }, /answered 301/, /^set MODEL_URL to the new address/],
  ['503', { status: 503, text: '' }, /answered 503/, /^it is there and not ready/],
  ['504', { status: 504, text: '' }, /too slow$/, /^120 rows should take less than a second/],
])('an answer that is no judgement: %s', async ([, answer, what, how]) => {
  const { state, text, cure, all } = await examine({ say: () => answer })
  expect([state, all.length]).toEqual(['wrong', 1])
  expect(text).toMatch(what)
  expect(cure).toMatch(how)
})

test('a token that is not accepted is not shown', async () => {
  const { lines, cure } = await examine(
    { say: () => ({ status: 403, text: '{}' }) },
    { ...NUMERIC, MODEL_HEADERS: '{"Authorization":"Bearer sesame"}' },
  )
  expect(cure).toBe('MODEL_HEADERS is not accepted: check the token in it')
  expect(lines.join()).not.toMatch(/sesame/)
})

test.for(['/invocations', '/invocations/', '/ping', '/v1/model'])(
  'a MODEL_URL that ends with %s: the one that works',
  async (end) => {
    for (const base of ['', '/behind/a-proxy']) {
      await using server = await fakeMlflow({ base })
      const { state, cure } = await consultOn('model', { MODEL_URL: `${server.url.origin}${base}${end}`, ...NUMERIC })
      expect(state).toBe('wrong')
      expect(cure).toBe(`set MODEL_URL=${server.url.origin}${base}: there a model server answers`)
    }
  },
)

test('another server is no model server', async () => {
  await using server = await fakeMlflow({ base: '/elsewhere' })
  const { state, text, cure } = await consultOn('model', { MODEL_URL: server.url.href, ...NUMERIC })
  expect(state).toBe('wrong')
  expect(text).toMatch(/^127\.0\.0\.1:\d+: the model answered 404 \(an HTML page "404 Not Found"\)$/)
  expect(cure).toMatch(/^MODEL_URL must be the base URL of an MLflow model server/)
})

test('a server without /ping is well if it judges', async () => {
  const { state } = await examine({ ping: 404 })
  expect(state).toBe('ok')
})

test('nobody there', async () => {
  const { lines } = await consultOn('model', {
    MODEL_URL: `http://user:sesame@127.0.0.1:${await freePort()}/model?key=sesame`,
  })
  expect(lines).toEqual([
    expect.stringMatching(
      /^WRONG {3}model {4}127\.0\.0\.1:\d+\/model: cannot reach the model: connect ECONNREFUSED .* → nothing listens there: is it up\? Check host and port in MODEL_URL$/,
    ),
  ])
})

test('a model that never answers has a deadline', async () => {
  await using server = await fakeMlflow({ say: () => 'silence' })
  const { state, text } = await consultOn('model', { MODEL_URL: server.model }, { within: 500 })
  expect([state, text]).toEqual(['wrong', 'it is not known how it is after 0.5 s'])
})
