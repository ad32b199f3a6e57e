import fc from 'fast-check'
import { expect, test } from 'vitest'
import { FEATURES, type Feature, NUMERIC_FEATURES } from '../../src/columns.ts'
import { diagnose, refusedColumns } from '../../src/score/diagnose.ts'
import { LONG_CARD } from '../rows.ts'
import { refusals, UNFIT_TO_SHOW } from './refusals.ts'

/** what is sent: not all, without amt, and texts among it */
const SOME = FEATURES.slice(0, 10).filter((column) => column !== 'amt')
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
    foreign: ['age'],
  })
  const optional = refusals
    .wantsMore(signature, 'unix_time')
    .replace("'age': long (required)", "'age': long (optional)")
  expect(refusedColumns(optional)).toMatchObject({ missing: ['unix_time'], foreign: [] })
  expect(diagnose(optional, SOME)).toMatch(/^Model is missing inputs \(unix_time\)/)
  const nothing = { missing: [], unseen: [], mistyped: [], disordered: false, signature: undefined, foreign: [] }
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
  [
    "columns are missing: {'hour', 'amt', 'age'}",
    /2 columns that the worker does not have: let the model make them itself/,
  ],
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
    expect(performance.now() - began).toBeLessThan(10_000) // hours, if each beginning were followed to the end
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
  ['the label', ['is_fraud'], SOME, /label is_fraud.* without the label/],
  ['a name that holds a card', ['4111111111111111 of'], SOME, /1 column that the worker does not have: let/],
  ['columns of ours, when all are sent', ['amt'], FEATURES, /^Model is missing inputs \(amt\).* If the model was not/],
])('recommends no setting that cannot help, where its signature has %s', ([, names, sent, said]) => {
  const found = diagnose(refusals.missingInputs(...names), sent)
  expect(found).toMatch(said)
  expect(found).not.toMatch(/Set MODEL_FEATURES|\d{11}/)
})

test('recommends no numeric columns where only those are sent', () => {
  for (const text of [refusals.unseen(['zip']), refusals.notANumber()])
    expect(diagnose(text, NUMERIC_FEATURES)).not.toMatch(/numeric\)/)
})

const DTYPES = (columns: string) =>
  `DataFrame.dtypes for data must be int, float, bool or category. When categorical type is supplied, the experimental DMatrix parameter\`enable_categorical\` must be set to \`True\`.  Invalid columns:${columns}`
const MISMATCH = (fitted: string[], given: string[]) =>
  `feature_names mismatch: [${fitted.map((c) => `'${c}'`).join(', ')}] [${given.map((c) => `'${c}'`).join(', ')}]`
const NOT_IN_POOL = (column: string) =>
  `catboost/libs/data/model_dataset_compatibility.cpp:72: Feature ${column} is present in model but not in pool.`
const CANNOT =
  'Bad value for num_feature[non_default_doc_idx=0,feature_idx=4]="Kutch": Cannot convert \'Kutch\' to float'
const ALL = FEATURES
const FOREIGN = /columns? that the worker does not have: let the model make/
const INDEX = /index column .*: drop that before the fit/
const LABEL = /label is_fraud.* without the label/

/** As XGBoost 3.2, LightGBM 4.7, CatBoost 1.2, scikit-learn 1.9 and pandas 2 and 3 say it. */
test.for<[text: string, sent: readonly Feature[], said: RegExp]>([
  [`${MISMATCH(['amt', 'hour'], ['amt'])}\nexpected hour in input data`, ALL, FOREIGN],
  [`${MISMATCH(['Unnamed: 0', 'amt'], ['amt'])}\nexpected Unnamed: 0 in input data`, NUMERIC_FEATURES, INDEX],
  [`${MISMATCH(['amt', 'is_fraud'], ['amt'])}\nexpected is_fraud in input data`, ALL, LABEL],
  [`${MISMATCH(['amt', 'lat'], ['amt'])}\nexpected lat in input data`, ['amt'], /\(lat\): add them to MODEL_FEATURES/],
  [
    `${MISMATCH(['amt'], ['amt', 'zip'])}\ntraining data did not have the following fields: zip`,
    ALL,
    /unseen at fit time \(zip, …\).*\(e\.g\. numeric\)/,
  ],
  [MISMATCH(['amt', 'zip'], ['zip', 'amt']), ['zip', 'amt'], /another order/],
  [DTYPES('category: str, gender: str'), ALL, /e\.g\. numeric.*categories/],
  [DTYPES('amt: object'), NUMERIC_FEATURES, /empty in every row/],
  ['pandas dtypes must be int, float or bool.\nFields with bad pandas dtypes: amt: object', ALL, /e\.g\. numeric/],
  ['train and valid dataset categorical_feature do not match.', ALL, /fixed categories/],
  ['The number of features in data (21) is not the same as it was in training data (9).', ALL, /sends 21/],
  [
    'The number of features in data (21) is not the same as it was in training data (24).',
    ALL,
    /24, and .* has 21: let/,
  ],
  ['Feature shape mismatch, expected: 22, got 21', ALL, /22, and the worker has 21: let.*index.*label/],
  [NOT_IN_POOL('lat'), ['amt'], /\(lat\): add them to MODEL_FEATURES/],
  [NOT_IN_POOL('is_fraud'), ALL, LABEL],
  [NOT_IN_POOL('Unnamed: 0.1'), ALL, INDEX],
  [NOT_IN_POOL('age in years'), ALL, FOREIGN],
  ['At position 0 should be feature with name Unnamed: 0 (found amt).', ALL, INDEX],
  ['At position 0 should be feature with name amt (found zip).', ALL, /though they are sent \(amt\).*order of the fit/],
  [CANNOT, ALL, /e\.g\. numeric/],
  [CANNOT.replace("'Kutch'", "'b'Kutch''"), ALL, /e\.g\. numeric/],
  ['Invalid type for cat_feature[non-default value idx=0,feature_idx=4]=nan : cat_features must be', ALL, /fill these/],
  ["Found unknown categories ['Kutch'] in column 0 during transform", ALL, /handle_unknown/],
  ['Found a category not in the training set for the 4th (0-based) column: `Kutch`', ALL, /handle_unknown/],
  ["columns are missing: {'zip'}", ['amt'], /\(zip\): add them to MODEL_FEATURES/],
  ["columns are missing: {'zip'}", ALL, /though they are sent \(zip\): log it again/],
  [
    "Model is missing inputs ['is_fraud', 'Unnamed: 0', 'hour'].",
    ALL,
    /is_fraud.* and for an index.* and for 1 column/,
  ],
  [`KeyError: "None of [Index(['hour', 'age'], dtype='object')] are in the [columns]"`, ALL, FOREIGN],
  [`KeyError: "['hour'] not in index"`, ALL, FOREIGN],
  [`KeyError: "['is_fraud'] not found in axis"`, ALL, /errors="ignore"/],
  ["KeyError: 'Kutch'", ALL, /name that is not there/],
  ["'DataFrame' object has no attribute 'hour'", ALL, FOREIGN],
  ["unsupported operand type(s) for -: 'str' and 'str'", ALL, /pd\.to_datetime/],
  ["unsupported operand type(s) for -: 'Timestamp' and 'str'", ALL, /pd\.to_datetime/],
  ["TypeError: float() argument must be a string or a real number, not 'NoneType'", ALL, /a value is empty/],
])('reads what usual models refuse, and cures it with what can help: %s', ([text, sent, said]) => {
  const trace = `Traceback (most recent call last):\n  File "/opt/model.py", line 1, in predict\nValueError: ${text}\n`
  const found = diagnose(JSON.stringify({ error_code: 'BAD_REQUEST', stack_trace: trace }), sent)
  expect(found).toMatch(said)
  expect(found).not.toMatch(UNFIT_TO_SHOW)
  if (sent === ALL) expect(found).not.toMatch(/MODEL_FEATURES=all|add them to MODEL_FEATURES/)
  if (sent === NUMERIC_FEATURES) expect(found).not.toMatch(/numeric\)/)
})

test('repeats no name of a column that is none of ours, and recommends no setting for it, whatever it is', () => {
  const name = fc
    .string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 60 })
    .map((text) => `Kutch${text.replace(/["'\\\n,[\]{}]/g, '')}`)
  fc.assert(
    fc.property(fc.array(name, { minLength: 1, maxLength: 4 }), fc.subarray([...ALL]), (names, sent) => {
      const [quoted, dashed] = [names.map((n) => `'${n}'`).join(', '), names.map((n) => `\n- ${n}`).join('')]
      for (const text of [
        `Model is missing inputs [${quoted}].`,
        `columns are missing: {${quoted}}`,
        `Feature names unseen at fit time:\n- zip\nFeature names seen at fit time, yet now missing:${dashed}\n`,
        `mismatch\nexpected ${names.join(', ')} in input data\ntraining data did not have the following fields: zip`,
        NOT_IN_POOL(names[0]!),
      ]) {
        const found = diagnose(JSON.stringify({ stack_trace: text }), sent)
        expect(found).toMatch(/does not have/)
        expect(found).not.toMatch(/Kutch|MODEL_FEATURES/)
      }
    }),
  )
})
