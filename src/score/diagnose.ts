import { TRAINING_COLUMNS } from '../transaction.ts'

/** The names of our columns that a text holds, in training order: all of it that is safe to show. */
const columnsIn = (text: string) =>
  TRAINING_COLUMNS.filter((column) => new RegExp(`\\b${column}\\b`).test(text)).join(', ') || 'none that we know'

/** What MLflow 2.14 to 3.17 and scikit-learn say, what it means, and the setting or the step that cures it. */
const CAUSES: readonly [RegExp, (found: string) => string][] = [
  [
    /Model is missing inputs (\[[^\]]*\])/,
    (found) =>
      `Model is missing inputs (${columnsIn(found)}): its signature asks for columns that MODEL_FEATURES does not send. ` +
      'Set MODEL_FEATURES=all, or, if the model was not fitted on these columns, log it again with the signature of those it was fitted on',
  ],
  [
    /Feature names unseen at fit time:((?:\n- [^\n"]*)*)/,
    (found) =>
      `feature names unseen at fit time (${columnsIn(found)}, …): MODEL_FEATURES sends columns that the model was not fitted on. ` +
      'Set MODEL_FEATURES to the columns it was fitted on (e.g. numeric); if it then misses inputs, its signature is wrong: ' +
      'log it again with the signature of the columns it was fitted on',
  ],
  [
    /Feature names seen at fit time, yet now missing:((?:\n- [^\n"]*)*)/,
    (found) =>
      `the model was fitted on columns that MODEL_FEATURES does not send (${columnsIn(found)}): add them to MODEL_FEATURES`,
  ],
  [
    /must be in the same order as they were in fit/,
    () => 'the columns have another order than in fit: list them in that order in MODEL_FEATURES',
  ],
  [
    /Failed to convert column (\w+) to type '?(\w+)/,
    (found) =>
      `wrong type: a value of column ${columnsIn(found)} does not fit the model's signature (an integer column refuses an empty value)`,
  ],
  [
    /Incompatible input types for column (\w+)/,
    (found) =>
      `wrong type: column ${columnsIn(found)} has another type in the model's signature: check UNIX_TIME_UNIT, or log the model again with the types of the training file`,
  ],
  [
    /could not convert string to float/,
    () =>
      'wrong type: the model got text where it wants a number. If it was fitted on numbers only, set MODEL_FEATURES=numeric',
  ],
  [
    /unexpected keyword argument 'params'/,
    () =>
      'MLflow handed `params` to predict_proba of a Pipeline, which takes none (MLflow 2.14 does): use a newer MLflow, or a Pipeline whose predict_proba(self, X) has no params',
  ],
  [/contains? NaN|non-finite values/, () => 'a value is empty, and the model does not take that'],
]

/** Why a model refused, from the text of its refusal. Rows, values and the stack trace in it are never repeated. */
export function diagnose(text: string): string {
  const message = text.replaceAll('\\n', '\n')
  for (const [pattern, explain] of CAUSES) {
    const found = pattern.exec(message)
    if (found) return explain(found[1] ?? '')
  }
  const code = /"error_code"\s*:\s*"([A-Z_]{1,40})"/.exec(text)?.[1]
  return `${code ?? 'no MLflow error'}, for a reason not known here (the model server's log says it; its answer is not repeated, as it may hold the rows)`
}
