import { expect, test } from 'vitest'
import { Refusal } from '../../src/isolate.ts'
import { type Judgement, readAnswer } from '../../src/score/answer.ts'
import { isBug, Outage } from '../../src/stage.ts'
import { LONG_CARD } from '../rows.ts'

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

test.for<[what: string, text: string, message: RegExp]>([
  ['too few', '{"predictions": [0]}', /^the model answered with 1 predictions, not 2$/],
  ['too many', '{"predictions": [0, 0, 0]}', /^the model answered with 3 predictions, not 2$/],
  ['none', '{"predictions": []}', /^the model answered with 0 predictions, not 2$/],
  ['a bare NaN', '{"predictions": [0.1, NaN]}', /^the model answered NaN, null or nothing/],
  ['a bare NaN in predict_proba', '{"predictions": [[0.9, 0.1], [NaN, NaN]]}', /^the model answered NaN/],
  ['null', '{"predictions": [0, null]}', /^the model answered NaN, null or nothing/],
  ['Infinity', '{"predictions": [0.1, -Infinity]}', /^the model answered NaN/],
  ['an empty list', '{"predictions": [0, []]}', /^the model answered NaN, null or nothing/],
  ['an empty frame', '{"predictions": [0, {}]}', /^the model answered NaN, null or nothing/],
  ['a frame that does not say fraud', '{"predictions": [{"a": 0, "b": 1}, {"a": 0, "b": 1}]}', /nothing/],
  ['three classes', '{"predictions": [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]}', /^the model answered NaN, null or nothing/],
  ['a class beyond 1', '{"predictions": [0, 2]}', /^the model answered 2, which is neither 0 or 1 nor a probability$/],
  ['a negative one', '{"predictions": [-0.1, 0.1]}', /^the model answered -0\.1, which is neither/],
  ['beyond 1', '{"predictions": [1.5, 0.1]}', /^the model answered 1\.5, which is neither/],
  [
    'a list in a list',
    '{"predictions": [[[0.1]], [[0.2]]]}',
    /^the model answered a value of type object, which is neither/,
  ],
  [
    'a label that is not known',
    '{"predictions": ["fraud", "maybe"]}',
    /^the model answered a label that is not known; /,
  ],
  ['a label that every object has', '{"predictions": ["fraud", "constructor"]}', /^the model answered a label/],
])('refuses %s', ([, text, message]) => {
  const read = () => readAnswer(text, 2, 0.5)
  expect(read).toThrow(Refusal)
  expect(read).toThrow(message)
})

test.for<[what: string, text: string]>([
  ['HTML', '<!doctype html><title>Waking up</title>'],
  ['bare text', 'Request processing time exceeded limit'],
  ['nothing', ''],
  ['half an answer', '{"predictions": [0, 1'],
  ['NaN and no JSON', '{"predictions": NaN'],
  ['an object without predictions', '{"status": "ok"}'],
  ['predictions that are no list', '{"predictions": {"0": 1}}'],
  ['null', 'null'],
  ['a number', '17'],
])('takes %s for an outage: it does not come from a model server', ([, text]) => {
  const read = () => readAnswer(text, 2, 0.5)
  expect(read).toThrow(Outage)
  expect(read).toThrow(/^the model answered 200, but no .*: is MODEL_URL an MLflow model server\?$/)
})

test('NaN inside a text stays a text', () => {
  expect(() => readAnswer('{"note": "a \\" NaN", "predictions": ["NaN", NaN]}', 2, 0.5)).toThrow(
    /label that is not known/,
  )
})

test('a model that echoes the card number does not get it into the log: no error repeats it', () => {
  for (const echo of ['4000000000001', String(LONG_CARD), `"${LONG_CARD}"`, `[0, ${LONG_CARD}]`]) {
    const message = /^(?!.*\d{11}).*the model answered/
    expect(() => readAnswer(`{"predictions": [${echo}]}`, 1, 0.5)).toThrow(message)
  }
})

test('no answer is taken for a mistake in the program', () => {
  for (const text of ['', '{', '[{}]', '[[]]', '["x"]', '[1e999]', '{"predictions": [NaN]}', '"\\u0000"'])
    try {
      readAnswer(text, 1, 0.5)
    } catch (error) {
      expect(isBug(error)).toBe(false)
    }
})
