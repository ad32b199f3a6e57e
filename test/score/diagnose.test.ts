import { expect, test } from 'vitest'
import { diagnose, refusedColumns } from '../../src/score/diagnose.ts'
import { FEATURES, type Feature, NUMERIC_FEATURES } from '../../src/transaction.ts'
import { LONG_CARD } from '../rows.ts'
import { refusals, UNFIT_TO_SHOW } from './refusals.ts'

/** what is sent: not all, and texts among it */
const SOME = FEATURES.slice(0, 10)
const textual = FEATURES.filter((column) => !(NUMERIC_FEATURES as readonly string[]).includes(column))

test.for<[what: string, text: string, said: RegExp]>([
  [
    'missing inputs',
    refusals.missingInputs(...textual),
    new RegExp(
      `^Model is missing inputs \\(${textual.join(', ')}\\): its signature asks for .* MODEL_FEATURES=all, or, .* log it again with the signature`,
    ),
  ],
  ['one missing input', refusals.missingInputs('amt'), /^Model is missing inputs \(amt\): .* MODEL_FEATURES=all/],
  [
    'unseen feature names',
    refusals.unseen(['category', 'city', 'dob', 'first', 'gender', '...']),
    /^feature names unseen at fit time \(category, first, gender, city, dob, …\): .* Set MODEL_FEATURES to the columns it was fitted on \(e\.g\. numeric\)/,
  ],
  [
    'unseen feature names beside missing ones',
    refusals.unseen(['category', 'merchant'], ['amt', 'zip']),
    /^feature names unseen at fit time \(merchant, category, …\): /,
  ],
  [
    'feature names now missing',
    refusals.nowMissing('amt', 'merch_lat'),
    /does not send \(amt, merch_lat\): add them to MODEL_FEATURES$/,
  ],
  ['another order', refusals.otherOrder(), /another order than in fit: list them in that order in MODEL_FEATURES$/],
  ['an empty value in an integer column', refusals.notConverted('city_pop'), /^wrong type: .* column city_pop /],
  [
    'another type in the signature',
    refusals.incompatibleTypes('unix_time'),
    /^wrong type: column unix_time .* check UNIX_TIME_UNIT, or log the model again/,
  ],
  [
    'text where a number belongs',
    refusals.notANumber(),
    /^wrong type: .* text .* MODEL_FEATURES must list those alone \(e\.g\. numeric\); otherwise/,
  ],
  ['params handed over', refusals.paramsHandedOver(), /^MLflow handed `params` .*: use a newer MLflow, or a Pipeline/],
  ['an empty value', refusals.empty(), /^a value is empty/],
  [
    'a request that is no JSON',
    refusals.notJson(`{"data":[[${LONG_CARD}`),
    /^BAD_REQUEST, for a reason not known here/,
  ],
  ['anything else', refusals.unknown(), /^BAD_REQUEST, for a reason not known here/],
  ['a page', `<!doctype html><title>500 ${LONG_CARD}</title>`, /^no MLflow error, for a reason not known here/],
  ['nothing', '', /^no MLflow error, for a reason not known here/],
])('says why a model refused: %s; and repeats no row, value or stack trace', ([, text, said]) => {
  const diagnosis = diagnose(text, SOME)
  expect(diagnosis).toMatch(said)
  expect(diagnosis).not.toMatch(UNFIT_TO_SHOW)
})

test('names nothing that only stands behind the list of columns', () => {
  const behind = ', "note": "first and last of a state"'
  expect(diagnose(refusals.missingInputs('amt') + behind, SOME)).toMatch(/^Model is missing inputs \(amt\)/)
  expect(diagnose(refusals.unseen(['city']) + behind, SOME)).toMatch(/unseen at fit time \(city, …\)/)
  expect(diagnose(refusals.unseen(['city']).replace(/\\n\\n"}$/, `"${behind}`), SOME)).toMatch(/fit time \(city, …\)/)
  expect(diagnose(refusals.nowMissing('amt') + behind, SOME)).toMatch(/does not send \(amt\)/)
})

test('names that are none of ours are not repeated: they may be anything', () => {
  for (const text of [
    refusals.missingInputs('age', 'Marilyn'),
    refusals.nowMissing('age', 'Marilyn'),
    refusals.notConverted('Marilyn'),
  ]) {
    const diagnosis = diagnose(text, SOME)
    expect(diagnosis).toMatch(/none that we know|columns that the worker does not have/)
    expect(diagnosis).not.toMatch(/age,|Marilyn/)
  }
})

test('reads which columns were refused, and the signature with its types', () => {
  const signature = { cc_num: 'integer', amt: 'double', age: 'long', unix_time: 'long' }
  expect(refusedColumns(refusals.wantsMore(signature, 'unix_time', 'age'))).toEqual({
    missing: ['unix_time'],
    unseen: [],
    mistyped: [],
    disordered: false,
    signature: new Map([
      ['cc_num', 'integer'],
      ['amt', 'double'],
      ['unix_time', 'long'],
    ]),
    foreign: 1,
  })
  const nothing = { missing: [], unseen: [], mistyped: [], disordered: false, signature: undefined, foreign: 0 }
  expect(refusedColumns(refusals.unseen(['job', 'city', '...'], ['zip', 'amt']))).toEqual({
    ...nothing,
    missing: ['amt', 'zip'],
    unseen: ['city', 'job'],
  })
  expect(refusedColumns(refusals.notConverted('city_pop'))).toEqual({ ...nothing, mistyped: ['city_pop'] })
  expect(refusedColumns(refusals.incompatibleTypes('zip'))).toMatchObject({ mistyped: ['zip'], missing: [] })
  expect(refusedColumns(refusals.otherOrder())).toEqual({ ...nothing, disordered: true })
  expect(refusedColumns(refusals.unknown())).toEqual(nothing)
  expect(refusedColumns('')).toEqual(nothing)
})

test.for<[text: string, said: RegExp]>([
  ["columns are missing: {'hour', 'amt', 'age'}", /ColumnTransformer .* \(amt\): .* computed in its pipeline/],
  ['X has 21 features, but RandomForestClassifier is expecting 9 features as input.', /another number of columns/],
  ['DataFrame.dtypes for data must be int, float, bool or category. When categorical type is supplied', /categories/],
  ['pandas dtypes must be int, float or bool.', /categories/],
  ['Can only use .dt accessor with datetimelike values', /begin with pd\.to_datetime/],
])('names what usual pipelines refuse: %s', ([text, said]) => {
  expect(diagnose(JSON.stringify({ error_code: 'BAD_REQUEST', stack_trace: `ValueError: ${text}\n` }), SOME)).toMatch(
    said,
  )
})

test('takes no longer for a refusal of megabytes', () => {
  for (const text of ['Model is missing inputs [', 'columns are missing: {', "with schema '[", '"error_code" ']) {
    const began = performance.now()
    diagnose(text.repeat(400_000), SOME)
    refusedColumns(text.repeat(400_000))
    expect(performance.now() - began).toBeLessThan(1000)
  }
})

test.for<[what: string, names: readonly string[], sent: readonly Feature[], said: RegExp]>([
  [
    'columns that nobody sends',
    ['hour', 'distance_km', 'age'],
    SOME,
    /3 columns that the worker does not have: let the model make them/,
  ],
  ['an index column', ['Unnamed: 0', 'amt'], SOME, /index column .* index_col=0/],
  ['the label', ['is_fraud'], SOME, /label is_fraud .* without the label/],
  ['a name that holds a card', ['4111111111111111 of'], SOME, /1 column that the worker does not have: let/],
  [
    'columns of ours, when all are sent',
    ['amt'],
    FEATURES as readonly Feature[],
    /^Model is missing inputs \(amt\).* If the model was not/,
  ],
])('recommends no setting that cannot help, where its signature has %s', ([, names, sent, said]) => {
  const found = diagnose(refusals.missingInputs(...names), sent)
  expect(found).toMatch(said)
  expect(found).not.toMatch(/Set MODEL_FEATURES|\d{11}/)
})

test('recommends no numeric columns where only those are sent', () => {
  for (const text of [refusals.unseen(['zip']), refusals.notANumber()])
    expect(diagnose(text, NUMERIC_FEATURES)).not.toMatch(/numeric\)/)
})
