import { SETTINGS } from '../config/settings.ts'
import { percent, plural } from '../io/text.ts'
import type { Judgement } from '../score/answer.ts'
import { type Finding, note, wrong } from './check.ts'
import { type Probe, signatureOf } from './probe.ts'

export const flaggedOf = (said: readonly Judgement[]) => said.filter(({ prediction }) => prediction === 1).length

/** `other`: with unix_time in the other unit. */
export function allFraud(
  { where, threshold, unit }: Probe,
  said: readonly Judgement[],
  other: readonly Judgement[] | undefined,
): Finding {
  const flagged = flaggedOf(said)
  const scores = said.flatMap(({ score }) => score ?? [])
  const [least, most] = [Math.min(...scores), Math.max(...scores)]
  const between = scores.length > 0 ? `; its probabilities are ${percent(least, 3)} to ${percent(most, 3)}` : ''
  const everything = flagged === said.length
  const found = (cure: string) =>
    (everything ? wrong : note)(
      `${where}: takes ${everything ? `all ${flagged}` : `${flagged} of ${said.length}`} honest-looking rows for fraud${between}`,
      cure,
    )
  if (other && flaggedOf(other) < flagged / 2)
    return found(`set UNIX_TIME_UNIT=${unit === 's' ? 'ms' : 's'}: with that it takes ${flaggedOf(other)} for fraud`)
  const low = scores.length > 0 && threshold < 0.5 ? `FRAUD_THRESHOLD=${threshold} is low; ` : ''
  return found(
    `${low}is it the right version, does 1 mean fraud in it (MODEL_FRAUD_VALUE says what does), and was it trained on columns and units as in the training file?`,
  )
}

/** A threshold is for probabilities. */
export function classesOnly({ where, threshold }: Probe, said: readonly Judgement[]): Finding[] {
  if (threshold === DEFAULT_THRESHOLD || said.some(({ score }) => score !== null)) return []
  return [
    note(
      `${where}: answers classes and no probability, so FRAUD_THRESHOLD=${threshold} has no effect and there is no score`,
      'log it with its probabilities: mlflow.sklearn.log_model(…, pyfunc_predict_fn="predict_proba")',
    ),
  ]
}
const DEFAULT_THRESHOLD = Number(SETTINGS.FRAUD_THRESHOLD.default)

/** Nothing to be cured as long as the model is as good as it was tested. */
export function sameInBothUnits(
  { where, rows }: Probe,
  said: readonly Judgement[],
  other: readonly Judgement[] | undefined,
): Finding[] {
  if (!other || JSON.stringify(said) !== JSON.stringify(other)) return []
  return [
    note(
      `${where}: answers ${plural(rows.length, 'row')} the same with unix_time in s and in ms, so UNIX_TIME_UNIT makes no difference: it does not use the column, or today is beyond all times that it was trained on`,
    ),
  ]
}

/** MLflow fits what it gets into these types, without a word. */
export async function narrowTypes(probe: Probe): Promise<Finding[]> {
  const { where, unit } = probe
  const { signature } = await signatureOf(probe)
  const [card, time] = [signature?.get('cc_num'), signature?.get('unix_time')]
  const narrow = (as: string, forWhat: string, cure: string) =>
    wrong(`${where}: its signature has ${as} (32 bits), too small for ${forWhat}: ${CUT}`, cure)
  const found: Finding[] = []
  if (card === 'integer' || card === 'float')
    found.push(
      narrow(
        `cc_num as ${card}`,
        "a card's number",
        "log it again with cc_num as long: infer_signature(X.astype({'cc_num': 'int64'}), …)",
      ),
    )
  if (time === 'integer' && unit === 'ms')
    found.push(narrow('unix_time as integer', 'ms', 'set UNIX_TIME_UNIT=s, or log it again with unix_time as long'))
  return found
}
const CUT = 'the model gets other numbers than it was sent'
