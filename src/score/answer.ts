import { Refusal } from '../isolate.ts'
import { type Json, parse } from '../json.ts'
import { Outage } from '../stage.ts'
import { maskCards } from '../transaction.ts'

/** What the model says of one transaction; `score` is its probability of fraud, where it gives one. */
export type Judgement = { prediction: 0 | 1; score: number | null }

const LABELS: Record<string, 0 | 1> = {
  ...{ 0: 0, '0.0': 0, false: 0, no: 0, legit: 0, legitimate: 0, genuine: 0, honest: 0, normal: 0, valid: 0 },
  ...{ 'not fraud': 0, 'no fraud': 0, 'non fraud': 0, nonfraud: 0 },
  ...{ 1: 1, '1.0': 1, true: 1, yes: 1, fraud: 1, fraudulent: 1 },
}

/**
 * Reads the answer to a batch of `rows` rows, in any form MLflow gives one: `[0,1]`, `[0.1,0.9]`, `[[p0,p1],…]`,
 * `[{"0":1},…]`, labels, booleans; with a bare NaN too. Throws Refusal when it is no judgement for every row, and
 * Outage when it does not come from a model server at all.
 */
export function readAnswer(text: string, rows: number, threshold: number): Judgement[] {
  const answer = parsed(text)
  const predictions =
    answer !== null && typeof answer === 'object' && !Array.isArray(answer) ? answer.predictions : answer
  if (!Array.isArray(predictions))
    throw new Outage('the model answered 200, but no list "predictions": is MODEL_URL an MLflow model server?')
  if (predictions.length !== rows)
    throw new Refusal(`the model answered with ${predictions.length} predictions, not ${rows}`)
  const values = predictions.map(fraudValue)
  // One fraction in the answer makes all of it probabilities: an exact 0 or 1 among them is one too.
  const probabilities = values.some(
    ({ value, certain }) => certain || (typeof value === 'number' && !Number.isInteger(value)),
  )
  return values.map(({ value }) => {
    if (typeof value === 'boolean') return { prediction: value ? 1 : 0, score: null }
    if (typeof value === 'string') return { prediction: fromLabel(value), score: null }
    if (typeof value !== 'number' || !(value >= 0 && value <= 1))
      throw new Refusal(`the model answered ${kind(value)}, which is neither 0 or 1 nor a probability`)
    return { prediction: value >= threshold && value > 0 ? 1 : 0, score: probabilities ? value : null }
  })
}

/** The value that speaks of fraud, and whether its form says that it is a probability. */
function fraudValue(prediction: Json): { value: Json | undefined; certain: boolean } {
  if (prediction === null || typeof prediction !== 'object') return { value: prediction, certain: false }
  const items = Array.isArray(prediction) ? prediction : Object.values(prediction)
  if (items.length === 1) return { value: items[0], certain: false }
  if (Array.isArray(prediction)) return { value: items.length === 2 ? items[1] : undefined, certain: true }
  return { value: prediction['1'] ?? prediction.fraud ?? prediction.probability ?? prediction.score, certain: true }
}

function fromLabel(label: string): 0 | 1 {
  const key = label.trim().toLowerCase().replace(/[_-]/g, ' ')
  if (!Object.hasOwn(LABELS, key))
    throw new Refusal(`the model answered a label that is not known; known are ${Object.keys(LABELS).join(', ')}`)
  return LABELS[key]!
}

const kind = (value: unknown) =>
  value === null || value === undefined
    ? 'NaN, null or nothing'
    : typeof value === 'number'
      ? maskCards(String(value))
      : `a value of type ${typeof value}`

function parsed(text: string): Json {
  try {
    return parse(text)
  } catch {
    throw new Outage('the model answered 200, but no JSON: is MODEL_URL an MLflow model server?')
  }
}
