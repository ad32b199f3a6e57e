import { plural } from '../stage.ts'
import { FEATURES, type Feature, NUMERIC_FEATURES, TRAINING_COLUMNS } from '../transaction.ts'

/** The names of our columns that a text holds, in training order: all of it that is safe to show. */
const columnsIn = (text: string) =>
  TRAINING_COLUMNS.filter((column) => new RegExp(`\\b${column}\\b`).test(text)).join(', ') || 'none that we know'

const MISSING_INPUTS = /Model is missing inputs (\[[^\]]{0,4000}\])/
const UNSEEN = /Feature names unseen at fit time:((?:\n- [^\n"]*)*)/
const NOW_MISSING = /Feature names seen at fit time, yet now missing:((?:\n- [^\n"]*)*)/
const OTHER_ORDER = /must be in the same order as they were in fit/
const NOT_CONVERTED = /Failed to convert column (\w+) to type '?(\w+)/
const INCOMPATIBLE = /Incompatible input types for column (\w+)/

/** What MLflow 2.14 to 3.17 and scikit-learn say, what it means, and the setting or the step that cures it. */
const CAUSES: readonly [RegExp, (found: string, sent: readonly Feature[]) => string][] = [
  [MISSING_INPUTS, missingInputs],
  [
    UNSEEN,
    (found, sent) =>
      `feature names unseen at fit time (${columnsIn(found)}, …): MODEL_FEATURES sends columns that the model was not fitted on. ` +
      `Set MODEL_FEATURES to the columns it was fitted on${hasText(sent) ? ' (e.g. numeric)' : ''}; if it then misses inputs, its signature is wrong: ` +
      'log it again with the signature of the columns it was fitted on',
  ],
  [
    NOW_MISSING,
    (found) =>
      `the model was fitted on columns that MODEL_FEATURES does not send (${columnsIn(found)}): add them to MODEL_FEATURES`,
  ],
  [OTHER_ORDER, () => 'the columns have another order than in fit: list them in that order in MODEL_FEATURES'],
  [
    NOT_CONVERTED,
    (found) =>
      `wrong type: a value of column ${columnsIn(found)} does not fit the model's signature (an integer column refuses an empty value)`,
  ],
  [
    INCOMPATIBLE,
    (found) =>
      `wrong type: column ${columnsIn(found)} has another type in the model's signature: check UNIX_TIME_UNIT, or log the model again with the types of the training file`,
  ],
  [
    /columns are missing: (\{[^{}]{0,2000}\})/,
    (found) =>
      `the model's ColumnTransformer was fitted on columns that it is not sent (${columnsIn(found)}): add those of the training file to MODEL_FEATURES; ` +
      'what was computed beside the model (hour, age, distance) must be computed in its pipeline',
  ],
  [
    /X has \d+ features, but [\w ]{1,80} is expecting \d+ features|[Ff]eature shape mismatch|number of features in data/,
    () =>
      'the model was fitted on another number of columns: list in MODEL_FEATURES those it was fitted on, in that order (an index column `Unnamed: 0` or the label is_fraud in it must go: fit it again without)',
  ],
  [
    /DataFrame\.dtypes for data must be int, float, bool or category|pandas dtypes must be int, float or bool|train and valid dataset categorical_feature|[Cc]annot convert (?:b?['"]|.{0,40}to float)/,
    () =>
      'the model gets text where it was fitted on categories: JSON has none, so let its pipeline encode them (an OrdinalEncoder, or astype("category") with fixed categories in predict), or send numbers only',
  ],
  [
    /Can only use \.dt accessor|\.dt accessor|datetime64|to datetime|DTypePromotionError|Timestamp/,
    () => 'the model wants a time where it gets text: JSON has no times, so let its pipeline begin with pd.to_datetime',
  ],
  [
    /could not convert string to float/,
    (_, sent) =>
      `wrong type: the model got text where it wants a number. ${
        hasText(sent)
          ? 'If it was fitted on numbers only, MODEL_FEATURES must list those alone (e.g. numeric); otherwise its pipeline must encode the text'
          : 'MODEL_FEATURES sends numbers only, so the text is made in its pipeline'
      }`,
  ],
  [
    /unexpected keyword argument 'params'/,
    () =>
      'MLflow handed `params` to predict_proba of a Pipeline, which takes none (MLflow 2.14 does): use a newer MLflow, or a Pipeline whose predict_proba(self, X) has no params',
  ],
  [/contains? NaN|non-finite values/, () => 'a value is empty, and the model does not take that'],
]

const hasText = (sent: readonly Feature[]) => sent.some((column) => !NUMERIC.has(column))
const NUMERIC: ReadonlySet<string> = new Set(NUMERIC_FEATURES)

/** Only a column that there is, and that is not sent yet, can be cured by a setting. */
function missingInputs(found: string, sent: readonly Feature[]): string {
  const names = [...found.matchAll(/['"]([^'"]{1,100})['"]/g)].map(([, name]) => name!)
  const foreign = names.filter((name) => !(ours as readonly string[]).includes(name))
  if (foreign.some((name) => name === 'is_fraud'))
    return 'the label is_fraud is in its signature, and is never sent to a model: fit it without the label, and log it again with the signature of the features alone'
  if (foreign.some((name) => /^(Unnamed: \d+|index|level_0)?$/.test(name)))
    return 'an index column (Unnamed: 0) is in its signature, which is no part of a payment: read the training file with index_col=0, fit and log the model again'
  if (foreign.length > 0)
    return (
      `its signature asks for ${plural(foreign.length, 'column')} that the worker does not have: ` +
      'let the model make them itself (put that step into its pipeline), then log it again with the signature of the training columns'
    )
  const cure = names.length > 0 && sent.length < ours.length ? 'Set MODEL_FEATURES=all, or, if' : 'If'
  return (
    `Model is missing inputs (${columnsIn(found)}): its signature asks for columns that MODEL_FEATURES does not send. ` +
    `${cure} the model was not fitted on these columns, log it again with the signature of those it was fitted on`
  )
}

/** Of a longer text its beginning and its end, where the cause stands behind rows or a stack trace. */
const bounded = (text: string) => (text.length > 2 * PART ? `${text.slice(0, PART)}\n${text.slice(-PART)}` : text)
const PART = 32_768

/** Why a model refused, from the text of its refusal. Rows, values and the stack trace in it are never repeated. */
export function diagnose(whole: string, sent: readonly Feature[]): string {
  const text = bounded(whole)
  const message = text.replaceAll('\\n', '\n')
  for (const [pattern, explain] of CAUSES) {
    const found = pattern.exec(message)
    if (found) return explain(found[1] ?? '', sent)
  }
  const code = /"error_code"\s*:\s*"([A-Z_]{1,40})"/.exec(text)?.[1]
  return `${code ?? 'no MLflow error'}, for a reason not known here (the model server's log says it; its answer is not repeated, as it may hold the rows)`
}

/** What a refusal says of columns, ours alone, in training order. Scikit-learn names five at most of each kind. */
export type RefusedColumns = {
  /** what the model wants and did not get */
  missing: readonly Feature[]
  /** what it got and was not fitted on */
  unseen: readonly Feature[]
  /** whose values do not have its type */
  mistyped: readonly Feature[]
  /** they are the right ones, in another order */
  disordered: boolean
  /** the signature: the type of each column in MLflow's words; `foreign` of its columns are none of ours */
  signature: ReadonlyMap<Feature, string> | undefined
  foreign: number
}

export function refusedColumns(whole: string): RefusedColumns {
  const message = bounded(whole).replaceAll('\\n', '\n')
  const named = (...patterns: RegExp[]) => {
    const found = patterns.map((pattern) => pattern.exec(message)?.[1] ?? '').join(' ')
    return ours.filter((column) => new RegExp(`\\b${column}\\b`).test(found))
  }
  const schema = /with schema '(\[.*?\])'\. Error: /s.exec(message)?.[1]
  const columns = [...(schema ?? '').matchAll(/'([^']*)': (\w+) \(/g)].map(([, name, type]) => [name!, type!] as const)
  const types = new Map(columns)
  const signature = new Map(ours.filter((column) => types.has(column)).map((column) => [column, types.get(column)!]))
  return {
    missing: named(MISSING_INPUTS, NOW_MISSING),
    unseen: named(UNSEEN),
    mistyped: named(NOT_CONVERTED, INCOMPATIBLE),
    disordered: OTHER_ORDER.test(message),
    signature: schema === undefined ? undefined : signature,
    foreign: types.size - signature.size,
  }
}
const ours = FEATURES as readonly Feature[]
