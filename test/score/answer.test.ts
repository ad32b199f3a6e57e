import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isBug, Refusal } from '../../src/io/errors.ts'
import { type Judgement, openAnswers, Unproven } from '../../src/score/answer.ts'
import { Unreadable } from '../../src/score/unreadable.ts'
import { LONG_CARD } from '../rows.ts'

/** Of a model that has said 0, and so of which 1 is known to mean fraud. */
function readAnswer(text: string, rows: number, threshold: number, fraudValue?: string) {
  const answers = openAnswers({ threshold, fraudValue })
  if (fraudValue === undefined) answers.read('[0]', 1)
  return said(answers.read(text, rows))
}
/** Without what decided. */
const said = (judgements: Judgement[]) => judgements.map(({ threshold, ...judgement }) => judgement)
const certain = (...predictions: (0 | 1)[]): Judgement[] =>
  predictions.map((prediction) => ({ prediction, score: null }))
const scored = (...scores: number[]): Judgement[] =>
  scores.map((score) => ({ prediction: score >= 0.5 ? 1 : 0, score }))

test.for<[what: string, text: string, judgements: Judgement[]]>([
  ['0 and 1', '{"predictions": [0, 1, 0]}', certain(0, 1, 0)],
  ['0.0 and 1.0', '{"predictions": [0.0, 1.0]}', certain(0, 1)],
  ['a bare list', '[0, 1]', certain(0, 1)],
  ['a 1 in a list of its own', '{"predictions": [[0], [1]]}', certain(0, 1)],
  ['probabilities of fraud', '{"predictions": [0.25, 0.75]}', scored(0.25, 0.75)],
  ['probabilities, an exact 0 and 1 among them', '{"predictions": [0, 0.3, 1]}', scored(0, 0.3, 1)],
  ['predict_proba', '{"predictions": [[0.9, 0.1], [0.2, 0.8]]}', scored(0.1, 0.8)],
  ['predict_proba that is sure', '{"predictions": [[1.0, 0.0], [0.0, 1.0]]}', scored(0, 1)],
  ['a Series', '{"predictions": [{"0": 0}, {"0": 1}]}', certain(0, 1)],
  ['a Series of probabilities', '{"predictions": [{"0": 0.1}, {"0": 0.7}]}', scored(0.1, 0.7)],
  ['a frame of predict_proba', '{"predictions": [{"0": 0.9, "1": 0.1}, {"0": 0.0, "1": 1.0}]}', scored(0.1, 1)],
  ['a frame with a probability', '{"predictions": [{"label": 1, "probability": 0.8}]}', scored(0.8)],
  ['a frame with a score', '{"predictions": [{"label": 0, "score": 0.2}]}', scored(0.2)],
  [
    'a verdict above its probability',
    '{"predictions": [{"probability": 0.2, "prediction": 1}]}',
    [{ prediction: 1, score: 0.2 }],
  ],
  ['a verdict below it', '[{"prediction": 0, "probability": 0.99}]', [{ prediction: 0, score: 0.99 }]],
  [
    'a label and its score',
    '[{"label": "LEGIT", "score": 0.97}, {"score": 0.9, "label": "FRAUD"}]',
    [
      { prediction: 0, score: 0.03 },
      { prediction: 1, score: 0.9 },
    ],
  ],
  ['a label and a probability', '[{"label": "legit", "probability": 0.03}]', [{ prediction: 0, score: 0.03 }]],
  ['a class and its confidence', '[{"class": 0, "confidence": 0.97}]', [{ prediction: 0, score: 0.03 }]],
  ['a verdict and what is no probability', '[{"is_fraud": 1, "fraud_score": 97}]', certain(1)],
  ['all labels with scores', '[[{"label": "LABEL_0", "score": 0.2}, {"label": "LABEL_1", "score": 0.8}]]', scored(0.8)],
  [
    'is_fraud and fraud_probability',
    '[{"is_fraud": 0, "fraud_probability": 0.6}, {"is_fraud": true, "fraud_probability": 0.1}]',
    [
      { prediction: 0, score: 0.6 },
      { prediction: 1, score: 0.1 },
    ],
  ],
  ['fraud and fraud_score', '[{"fraud": 1, "fraud_score": 0.3}]', [{ prediction: 1, score: 0.3 }]],
  ['prediction and proba', '[{"prediction": "1.0", "proba": [0.7, 0.3]}]', [{ prediction: 1, score: 0.3 }]],
  [
    'prediction and named probabilities',
    '[{"prediction": 0, "probabilities": {"legit": 0.9, "fraud": 0.1}}]',
    scored(0.1),
  ],
  ['prob_0 and prob_1', '[{"prob_0": 0.1, "prob_1": 0.9}, {"prob_0": 0.9, "prob_1": 0.1}]', scored(0.9, 0.1)],
  ['proba_1 first', '[{"proba_1": 0.9, "proba_0": 0.1}]', scored(0.9)],
  ['p0 and p1', '[{"p0": 0.1, "p1": 0.9}]', scored(0.9)],
  ['of the honest class alone', '[{"legit_probability": 0.9}]', scored(0.1)],
  ['is_fraud as a fraction', '[{"is_fraud": 0.9}, {"is_fraud": 0.2}]', scored(0.9, 0.2)],
  [
    'pairs of a verdict and a probability',
    '[[1, 0.2], [0, 0.3], [1, 0.9]]',
    [
      { prediction: 1, score: 0.2 },
      { prediction: 0, score: 0.3 },
      { prediction: 1, score: 0.9 },
    ],
  ],
  [
    'pairs of a label and its score',
    '[["fraud", 0.9], ["legit", 0.8]]',
    [
      { prediction: 1, score: 0.9 },
      { prediction: 0, score: 0.2 },
    ],
  ],
  [
    'by column',
    '{"predictions": {"prediction": [0, 1], "probability": [0.02, 0.2]}}',
    [
      { prediction: 0, score: 0.02 },
      { prediction: 1, score: 0.2 },
    ],
  ],
  ['by column, without an envelope', '{"is_fraud": [0, 1], "model": "rf/7"}', certain(0, 1)],
  [
    'by column, one row',
    '{"predictions": {"prediction": [1], "probability": [[0.8, 0.2]]}}',
    [{ prediction: 1, score: 0.2 }],
  ],
  [
    'classes once, beside probabilities of as many rows',
    '{"classes": ["legit", "fraud"], "probabilities": [[0.9, 0.1], [0.2, 0.8]]}',
    scored(0.1, 0.8),
  ],
  [
    'classes once, the other way round, and three rows',
    '{"class_names": ["fraud", "legit"], "probs": [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]}',
    scored(0.9, 0.2, 0.6),
  ],
  [
    'classes by number, once, beside verdicts',
    '{"predictions": {"prediction": [1, 0], "classes": [0, 1], "probabilities": [[0.7, 0.3], [0.9, 0.1]]}}',
    [
      { prediction: 1, score: 0.3 },
      { prediction: 0, score: 0.1 },
    ],
  ],
  ['by column and row number', '{"predictions": {"prediction": {"0": 0, "1": 1}}}', certain(0, 1)],
  [
    'pandas split',
    '{"predictions": {"columns": ["prediction", "probability"], "index": [0], "data": [[1, 0.2]]}}',
    [{ prediction: 1, score: 0.2 }],
  ],
  ['predictions within predictions', '{"predictions": {"predictions": [0, 1]}}', certain(0, 1)],
  ['TensorFlow Serving by column', '{"outputs": [[0.2], [0.7]]}', scored(0.2, 0.7)],
  ['KServe', '{"outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 1]}]}', certain(0, 1)],
  [
    'KServe, two columns',
    '{"outputs": [{"name": "p", "shape": [2, 2], "datatype": "FP64", "data": [0.9, 0.1, 0.2, 0.8]}]}',
    scored(0.1, 0.8),
  ],
  [
    'KServe, two outputs',
    '{"outputs": [{"name": "label", "datatype": "INT64", "shape": [1], "data": [1]}, {"name": "probability", "datatype": "FP64", "shape": [1, 2], "data": [0.8, 0.2]}]}',
    [{ prediction: 1, score: 0.2 }],
  ],
  ['Seldon', '{"data": {"names": ["t:0", "t:1"], "ndarray": [[0.1, 0.9]]}}'.replaceAll('t:', 'p'), scored(0.9)],
  [
    'Seldon with the names of classes',
    '{"data": {"names": ["fraud", "legit"], "tensor": {"shape": [2, 2], "values": [0.9, 0.1, 0.2, 0.8]}}, "meta": {}}',
    scored(0.9, 0.2),
  ],
  ['Seldon without', '{"data": {"names": ["t:0", "t:1"], "ndarray": [[0.1, 0.9]]}, "meta": {}}', scored(0.9)],
  ['a Series by row number', '{"predictions": {"0": 0, "1": 1, "2": 0}}', certain(0, 1, 0)],
  ['rows in an envelope beside other fields', '{"outputs": [0, 1], "model_version": "3"}', certain(0, 1)],
  ['records there', '{"data": [{"label": 0}, {"label": 1}], "status": "ok"}', certain(0, 1)],
  [
    'KServe, as many outputs as rows',
    '{"model_name": "m", "outputs": [{"name": "label", "datatype": "INT64", "shape": [2], "data": [1, 0]}, {"name": "probability", "datatype": "FP64", "shape": [2, 2], "data": [0.8, 0.2, 0.9, 0.1]}]}',
    [
      { prediction: 1, score: 0.2 },
      { prediction: 0, score: 0.1 },
    ],
  ],
  [
    'what an ONNX model calls its outputs',
    '[{"output_label": 1, "output_probability": {"0": 0.6, "1": 0.4}}]',
    [{ prediction: 1, score: 0.4 }],
  ],
  [
    "PyCaret's score of its label",
    '[{"prediction_label": 0, "prediction_score": 0.97}]',
    [{ prediction: 0, score: 0.03 }],
  ],
  ...['is_anomaly', 'anomaly', 'Outlier', 'is_suspicious', 'fraud_detected', 'possible_fraud'].map(
    (name): [string, string, Judgement[]] => [
      `the verdict "${name}" before a score`,
      `[{"${name}": true, "score": 0.4}, {"score": 0.9, "${name}": false}]`,
      [
        { prediction: 1, score: 0.4 },
        { prediction: 0, score: 0.9 },
      ],
    ],
  ),
  [
    'that it is honest, as a verdict',
    '[{"is_legit": true, "probability": 0.9}, {"is_legit": false, "probability": 0.2}]',
    [
      { prediction: 0, score: 0.9 },
      { prediction: 1, score: 0.2 },
    ],
  ],
  ['that it is honest, alone', '[{"genuine": true}, {"genuine": false}]', certain(0, 1)],
  ['what rounding has made of 1 and 0', '[[-2.2e-16, 1.0000000000000002], [0.9, 0.1]]', scored(1, 0.1)],
  ['the same in fields', '[{"fraud_probability": 1.0000000000000002}]', scored(1)],
  ['the same alone', '[1.0000000000000002, -1e-17, 0.3]', scored(1, 0, 0.3)],
  ['a single value', '{"predictions": 0}', certain(0)],
  ['a single object', '{"predictions": {"prediction": 1, "probability": 0.2}}', [{ prediction: 1, score: 0.2 }]],
  ['a probability as text', '["0.97", "0.03"]', scored(0.97, 0.03)],
  ['a card number beside the verdict', '[{"prediction": 1, "cc_num": 4992346398065154184}]', certain(1)],
  ['a frame with fraud and legit', '{"predictions": [{"legit": 0.1, "fraud": 0.9}]}', scored(0.9)],
  ['booleans', '{"predictions": [true, false]}', certain(1, 0)],
  ['labels', '{"predictions": ["fraud", "Legit", " NOT_FRAUD ", "non-fraud", "genuine"]}', certain(1, 0, 0, 0, 0)],
  ['numbers as text', '{"predictions": ["0", "1", "0.0", "1.0"]}', certain(0, 1, 0, 1)],
  ['truth as text', '{"predictions": ["true", "False", "yes", "No"]}', certain(1, 0, 1, 0)],
  ['further fields', '{"metadata": {"x": "NaN"}, "predictions": [1]}', certain(1)],
])('reads %s', ([, text, judgements]) => {
  expect(readAnswer(text, judgements.length, 0.5)).toEqual(judgements)
})

test('fraud begins at the threshold', () => {
  const judged = (threshold: number) =>
    readAnswer('{"predictions": [0.0, 0.19, 0.2, 0.21, 1.0]}', 5, threshold).map(({ prediction }) => prediction)
  expect(judged(0.2)).toEqual([0, 0, 1, 1, 1])
  expect(judged(1)).toEqual([0, 0, 0, 0, 1])
  expect(judged(0)).toEqual([0, 1, 1, 1, 1]) // what is certainly honest never is one
})

test.for(['[0, 1]', '[false, true]', '["legit", "fraud"]'])('no threshold changes what is certain: %s', (text) => {
  for (const threshold of [0, 0.01, 0.99, 1]) expect(readAnswer(text, 2, threshold)).toEqual(certain(0, 1))
})

test.for<[what: string, text: string]>([
  ['a bare NaN', '{"predictions": [0.1, NaN]}'],
  ['a bare NaN in predict_proba', '{"predictions": [[0.9, 0.1], [NaN, NaN]]}'],
  ['null', '{"predictions": [0, null]}'],
  ['Infinity', '{"predictions": [0.1, -Infinity]}'],
  ['NaN as text', '["fraud", "nan"]'],
  ['a verdict that is null', '[{"prediction": 1, "probability": 0.3}, {"prediction": null, "probability": 0.3}]'],
  ['NaN by column', '{"prediction": [NaN, 1]}'],
])('blames the row for %s: the rest of the answer can be read', ([, text]) => {
  const read = () => readAnswer(text, 2, 0.5)
  expect(read).toThrow(Refusal)
  expect(read).toThrow(/^the model answered NaN, null or nothing for 1 row$/)
})

test.for<[what: string, text: string, message: RegExp]>([
  ['too few', '{"predictions": [0]}', /^the model answered with 1 predictions, not 2: /],
  ['too many', '{"predictions": [0, 0, 0]}', /^the model answered with 3 predictions, not 2: /],
  ['none', '{"predictions": []}', /^the model answered with 0 predictions, not 2: /],
  [
    'too few by column',
    '{"predictions": {"prediction": [0], "p": [0]}}',
    /by column \(prediction, p\), with 1 values and not 2/,
  ],
  ['an empty list', '{"predictions": [0, []]}', /a list of 0 for a row/],
  ['an empty object', '{"predictions": [0, {}]}', /for each row the fields no fields/],
  ['fields that are not known', '[{"a": 0, "b": 1}, {"a": 0, "b": 1}]', /the fields a, b, none of which is known/],
  ['three classes', '[[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]', /a list of 3 for a row \(more than two classes\?\)/],
  ['a class beyond 1', '{"predictions": [0, 2]}', /^the model answered 2, which is neither .* MODEL_FRAUD_VALUE/],
  ["an outlier detector's", '[1, -1]', /^the model answered -1, .* MODEL_FRAUD_VALUE .*-1 for an outlier detector/],
  ['a margin', '{"predictions": [-0.1, 0.1]}', /^the model answered -0\.1, which is neither/],
  ['percent', '{"predictions": [97, 0.7]}', /^the model answered 97, which is neither/],
  ['two margins', '[[-0.3, 0.3], [1.2, -1.2]]', /-0\.3 and 0\.3 for a row, which are neither/],
  ['a probability of 1.5', '[{"fraud_probability": 1.5}, {"fraud_probability": 0.5}]', /1\.5, which is no probability/],
  ['a list in a list', '[[[0.1, 0.2]], [[0.2, 0.3]]]', /^the model answered/],
  [
    'a label that is not known',
    '["fraud", "suspicious"]',
    /^the model answered the label "suspicious", .* MODEL_FRAUD_VALUE/,
  ],
  ['a label that every object has', '["fraud", "constructor"]', /the label "constructor"/],
  ['labels and numbers', '["fraud", 0]', /in mixed forms/],
  ['numbers and lists', '[0, [0.1, 0.9]]', /in mixed forms/],
  ['booleans and numbers', '[true, 0]', /in mixed forms/],
  [
    'two verdicts',
    '[{"is_fraud": 0, "prediction": 1}, {"is_fraud": 0, "prediction": 0}]',
    /contradict each other|mixed/,
  ],
  ['NaN beside what cannot be read', '[NaN, "maybe"]', /the label "maybe"/],
  ['half an answer', '{"predictions": [0, 1', /200, but no JSON: is MODEL_URL an MLflow model server\?$/],
  ['HTML', '<!doctype html><title>Waking up</title>', /200, but no JSON: /],
  ['nothing', '', /200, but no JSON: /],
  ['an object without predictions', '{"status": "ok"}', /200, but with status and no "predictions": is MODEL_URL/],
  ['null', 'null', /200, but null and no "predictions"/],
  ['a number', '17', /17 and no "predictions"/],
])('blames the model, not a row, for %s', ([, text, message]) => {
  const read = () => readAnswer(text, 2, 0.5)
  expect(read).toThrow(Unreadable)
  expect(read).toThrow(message)
})

test.for(['1', '0', 'true', '0.7', '"fraud"'])(
  'takes a bare %s for no answer, though one row was asked about',
  (text) => {
    expect(() => readAnswer(text, 1, 0.5)).toThrow(/and no "predictions"/)
  },
)

test('a message stays short and in one line, whatever came', () => {
  const long = 'x\n'.repeat(100_000)
  for (const answer of [[long], [{ [long]: 1, [`${long}2`]: 2 }], { [long]: long }, [[long, long, long]]])
    try {
      readAnswer(JSON.stringify(answer), 1, 0.5)
      expect.unreachable()
    } catch (error) {
      expect((error as Error).message).toMatch(/^.{20,400}$/)
    }
})

test.for<[value: string, text: string, judgements: Judgement[]]>([
  ['-1', '[1, -1, -1.0]', certain(0, 1, 1)],
  ['2', '[1, 2, 2.0]', certain(0, 1, 1)],
  ['1', '[1, 1, 1]', certain(1, 1, 1)],
  ['0', '[0, 1, 7]', certain(1, 0, 0)],
  [' Suspicious ', '["legit", "suspicious", "SUSPICIOUS "]', certain(0, 1, 1)],
  ['high-risk', '["Low risk", "High Risk", "high_risk"]', certain(0, 1, 1)],
  [
    '-1',
    '[{"prediction": -1, "score": 0.2}, {"prediction": 1, "score": 0.2}]',
    [
      { prediction: 1, score: 0.2 },
      { prediction: 0, score: 0.2 },
    ],
  ],
  ['-1', '[{"-1": 0.9, "1": 0.1}]', scored(0.9)],
  ['suspicious', '[{"ok": 0.1, "suspicious": 0.9}]', scored(0.9)],
  ['true', '[true, false]', certain(1, 0)],
  ['true', '[1, 0]', certain(1, 0)],
  ['1', '[true, false]', certain(1, 0)],
  ['1', '[{"is_fraud": 1}, {"is_fraud": 0}]', certain(1, 0)],
  ['1', '["True", "False"]', certain(1, 0)],
  ['-1', '[{"anomaly": -1}, {"anomaly": 1}]', certain(1, 0)],
])('with MODEL_FRAUD_VALUE=%s reads %s', ([value, text, judgements]) => {
  expect(readAnswer(text, judgements.length, 0.5, value)).toEqual(judgements)
})

test.for([
  ['fraud', '[0, 1]'],
  ['1', '["legit", "fraud"]'],
  ['-1', '["inlier", "outlier"]'],
  ['yes', '[true, false]'],
])('MODEL_FRAUD_VALUE=%s is for answers of its kind: with %s all would be honest', ([value, text]) => {
  expect(() => readAnswer(text!, 2, 0.5, value)).toThrow(/^the model answered .*, and MODEL_FRAUD_VALUE is a/)
})

test('MODEL_FRAUD_VALUE says nothing of probabilities without names', () => {
  expect(() => readAnswer('[0.3]', 1, 0.5, '-1')).toThrow(/MODEL_FRAUD_VALUE is for classes/)
  expect(() => readAnswer('[[0.3, 0.7]]', 1, 0.5, '-1')).toThrow(/not which of them/)
  expect(readAnswer('[[0.3, 0.7]]', 1, 0.5, '2')).toEqual(scored(0.7))
})

test('a 1 is no fraud before the model has said 0', () => {
  for (const text of [
    '[1]',
    '[1.0]',
    '[[1.0]]',
    '{"predictions": [{"0": 1}]}',
    '[{"prediction": 1, "probability": 0.9}]',
  ]) {
    const answers = openAnswers({ threshold: 0.5 })
    expect(() => answers.read(text, 1)).toThrow(Unproven)
    answers.learn('[1, 1, 1]', 3)
    expect(() => answers.read(text, 1)).toThrow(/nothing shows that 1 means fraud/)
    answers.learn('[0, 1, 1]', 3)
    expect(answers.read(text, 1)[0]!.prediction).toBe(1)
  }
})

test('a fraction is no probability before other rows have shown none outside 0 to 1', () => {
  const margins = openAnswers({ threshold: 0.5 })
  expect(() => margins.read('[0.7]', 1)).toThrow(Unproven)
  expect(() => margins.learn('[0.7, 3.1]', 2)).toThrow(/3\.1, which is neither/)
  expect(() => margins.read('[0.7]', 1)).toThrow(Unreadable)
  const probabilities = openAnswers({ threshold: 0.5 })
  expect(() => probabilities.read('[0.7]', 1)).toThrow(Unproven)
  probabilities.learn('[0.1, 1, 0.3]', 3)
  expect(said(probabilities.read('[0.7]', 1))).toEqual(scored(0.7))
})

test('what says of itself that it is fraud needs no proof', () => {
  for (const text of ['[true]', '["fraud"]', '[{"is_fraud": 1}]', '[[0.1, 0.9]]', '[{"fraud_probability": 1}]'])
    expect(openAnswers({ threshold: 0.5 }).read(text, 1)[0]!.prediction).toBe(1)
})

test('a number outside 0 and 1 makes every 1 unknown, until the same rows are answered otherwise', () => {
  const answers = openAnswers({ threshold: 0.5 })
  expect(said(answers.read('[0, 1]', 2))).toEqual(certain(0, 1))
  expect(() => answers.read('[0, 1, 2]', 3)).toThrow(Unreadable)
  expect(() => answers.read('[1]', 1)).toThrow(/^the model answered 2, /)
  expect(() => answers.read('[0, 1]', 2)).toThrow(/^the model answered 2, /)
  expect(() => answers.read('[1, 1, 1]', 3)).toThrow(/^the model answered 2, /)
  expect(said(answers.read('[0, 1, 1]', 3))).toEqual(certain(0, 1, 1))
})

test('NaN inside a text stays a text', () => {
  expect(() => readAnswer('{"note": "a \\" NaN", "predictions": ["a NaN", NaN]}', 2, 0.5)).toThrow(
    /the label "a NaN", which is not known/,
  )
})

test('a model that echoes the card number does not get it into the log: no error repeats it', () => {
  for (const echo of ['4000000000001', String(LONG_CARD), `"${LONG_CARD}"`, `[0, ${LONG_CARD}]`]) {
    const message = /^(?!.*\d{11}).*the model answered/
    expect(() => readAnswer(`{"predictions": [${echo}]}`, 1, 0.5)).toThrow(message)
  }
})

test('no answer is taken for a mistake in the program', () => {
  const deep = (open: string, close: string) => `{"predictions": [${open.repeat(50_000)}1${close.repeat(50_000)}]}`
  const nested = [
    deep('[', ']'),
    deep('{"prediction":', '}'),
    deep('{"0":', '}'),
    deep('{"probability":{"fraud":', '}}'),
    `[[${'['.repeat(50_000)}1${']'.repeat(50_000)},0.5]]`,
  ]
  for (const text of [...nested, '', '{', '[{}]', '[[]]', '["x"]', '[1e999]', '{"predictions": [NaN]}', '"\\u0000"'])
    try {
      readAnswer(text, 1, 0.5)
    } catch (error) {
      expect(isBug(error)).toBe(false)
    }
})

describe('an answer with a clear reading, whatever its form', () => {
  type Row = { fraud: boolean; chance: number }
  const pick = (row: Row, fraud: unknown, honest: unknown) => (row.fraud ? fraud : honest)
  /** How one row is said: its verdict, with a probability that may say otherwise. */
  const CELLS: ((row: Row) => unknown)[] = [
    (r) => pick(r, 1, 0),
    (r) => pick(r, '1.0', '0'),
    (r) => pick(r, true, false),
    (r) => pick(r, 'Fraud', 'not_fraud'),
    (r) => [pick(r, 1, 0)],
    (r) => ({ prediction: pick(r, 1, 0), probability: r.chance }),
    (r) => ({ score: r.chance, label: pick(r, 'FRAUD', 'LEGIT') }),
    (r) => ({ fraud_probability: r.chance, is_fraud: pick(r, 1, 0), id: 'x' }),
    (r) => ({ class: pick(r, 1, 0), confidence: r.chance }),
    (r) => [pick(r, 'fraud', 'legit'), r.chance],
    (r) => pick(r, 0.5 + r.chance / 2, 0.25 * r.chance),
    (r) => pick(r, [0.1, 0.9], [0.8, 0.2]),
    (r) => ({ prob_1: pick(r, 0.9, 0.2), prob_0: pick(r, 0.1, 0.8) }),
    (r) => ({ '0': pick(r, 0.1, 0.8), '1': pick(r, 0.9, 0.2) }),
  ]
  const WHOLES: ((cells: unknown[]) => unknown)[] = [
    (cells) => cells,
    (cells) => ({ predictions: cells }),
    (cells) => ({ predictions: { predictions: cells }, model: 'rf' }),
    (cells) => ({ outputs: cells }),
    (cells) => ({ data: { ndarray: cells } }),
    (cells) => {
      const fields = cells.every((cell) => typeof cell === 'object' && !Array.isArray(cell))
      if (!fields) return { predictions: { prediction: cells } }
      const columns = Object.keys(cells[0] as object).map((key) => [key, cells.map((c) => (c as never)[key])])
      return { predictions: Object.fromEntries(columns) }
    },
  ]
  const rows = fc.array(
    fc.record({ fraud: fc.boolean(), chance: fc.double({ min: 0.001, max: 0.999, noNaN: true }) }),
    { minLength: 1, maxLength: 8 },
  )

  test('no fraud is honest, and no honest one is fraud', () => {
    fc.assert(
      fc.property(rows, fc.constantFrom(...CELLS), fc.constantFrom(...WHOLES), (rows, cell, whole) => {
        const answers = openAnswers({ threshold: 0.5 })
        answers.learn('[0, 0.5]', 2)
        const text = JSON.stringify(whole(rows.map(cell)))
        expect(answers.read(text, rows.length).map(({ prediction }) => prediction)).toEqual(
          rows.map(({ fraud }) => (fraud ? 1 : 0)),
        )
      }),
      { numRuns: 2000 },
    )
  })

  test('anything else is either read or refused, and never a mistake in the program', () => {
    fc.assert(
      fc.property(
        fc.json({ maxDepth: 5 }),
        fc.integer({ min: 1, max: 3 }),
        fc.option(fc.string()),
        (text, rows, value) => {
          try {
            const read = openAnswers({ threshold: 0.5, fraudValue: value ?? undefined }).read(text, rows)
            expect(read).toHaveLength(rows)
          } catch (error) {
            expect(isBug(error), text).toBe(false)
          }
        },
      ),
      { numRuns: 3000 },
    )
  })
})

test('what decided is said: the threshold where there was a probability alone', () => {
  const answers = openAnswers({ threshold: 0.3 })
  answers.read('[0]', 1)
  expect(answers.read('[[0.6, 0.4]]', 1)).toEqual([{ prediction: 1, score: 0.4, threshold: 0.3 }])
  expect(answers.read('[{"label": 1, "probability": 0.2}]', 1)).toEqual([{ prediction: 1, score: 0.2 }])
})
