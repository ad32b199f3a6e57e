import { FEATURES, type Feature, NUMERIC_FEATURES, TRAINING_COLUMNS } from '../columns.ts'
import { plural } from '../io/text.ts'

/** The names of our columns that a text holds, in training order: all of it that is safe to show. */
const columnsIn = (text: string) =>
  TRAINING_COLUMNS.filter((column) => new RegExp(`\\b${column}\\b`).test(text)).join(', ') || 'none that we know'

/** What is named as wanted and not sent, by MLflow, scikit-learn, ColumnTransformer, XGBoost, CatBoost (two) and pandas. */
const MISSING_INPUTS = /Model is missing inputs (\[[^\]]{0,4000}\])/
const LACKING = [
  MISSING_INPUTS,
  /Feature names seen at fit time, yet now missing:((?:\n- [^\n"]*)*)/,
  /columns are missing: (\{[^{}]{0,2000}\})/,
  /\nexpected ([^\n"]{1,4000}) in input data/,
  /Feature ([^\n"]{1,100}) is present in model but not in pool/,
  /should be feature with name ([^\n"]{1,100}) \(found /,
  /None of \[Index\((\[[^[\]]{0,4000}\])/,
  /KeyError: \\?"(\[[^[\]]{0,4000}\]) not in index/,
  /'DataFrame' object has no attribute ('\w{1,100}')/,
] as const
/** What is named as sent and not wanted, by scikit-learn and XGBoost. */
const UNSEEN = [
  /Feature names unseen at fit time:((?:\n- [^\n"]*)*)/,
  /\ntraining data did not have the following fields: ([^\n"\\]{1,4000})/,
] as const
const OTHER_ORDER =
  /must be in the same order as they were in fit|feature_names mismatch: \[[^[\]]{0,4000}\] \[[^[\]]{0,4000}\](?!\n(?:expected|training))/
const NOT_CONVERTED = /Failed to convert column (\w+) to type '?(\w+)/
const INCOMPATIBLE = /Incompatible input types for column (\w+)/

const OWN_STEP =
  'let the model make them itself (put that step into its pipeline), then log it again with the signature of the training columns'

/** What MLflow 2.14 to 3.17 and scikit-learn say, what it means, and the setting or the step that cures it. */
const CAUSES: readonly [RegExp, string | ((found: string, sent: readonly Feature[]) => string)][] = [
  [OTHER_ORDER, 'the columns have another order than in fit: list them in that order in MODEL_FEATURES'],
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
    /X has \d+ features, but [\w ]{1,80} is expecting (\d+) features|Feature shape mismatch, expected: (\d+)|same as it was in training data \((\d+)\)|index must be < (\d+)/,
    (wanted, sent) =>
      `the model was fitted on another number of columns: ${
        Number(wanted) > FEATURES.length
          ? `${wanted}, and the worker has ${FEATURES.length}: ${OWN_STEP}`
          : `list in MODEL_FEATURES those it was fitted on, in that order (it sends ${sent.length})`
      }. An index column (Unnamed: 0) or the label is_fraud among them must go: fit it again without`,
  ],
  [
    /DataFrame\.dtypes for data must be int, float, bool or category|pandas dtypes must be int, float or bool|train and valid dataset categorical_feature|Bad value for num_feature|[Cc]annot convert (?:b?['"]|.{0,40}to float)/,
    (_, sent) =>
      hasText(sent)
        ? 'the model gets text where it was fitted on numbers or on categories. If on numbers, MODEL_FEATURES must list those alone (e.g. numeric); ' +
          'if on categories, JSON has none: let its pipeline encode them (an OrdinalEncoder, or astype("category") with fixed categories in predict)'
        : 'the model gets something else than numbers, though MODEL_FEATURES sends numbers only: a column that is empty in every row, or one that ' +
          'it was fitted on as a category (let its pipeline make those with fixed categories in predict)',
  ],
  [
    /Invalid type for cat_feature/,
    'CatBoost gets a fraction or an empty value where it was fitted on a category: let its pipeline fill these and make them text',
  ],
  [
    /Found unknown categor|Found a category not in the training set/,
    'a category that it was not fitted on: let its encoder take that, e.g. OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)',
  ],
  [
    /not found in axis/,
    'its code drops a column that it is not sent (the label, perhaps): drop(columns=…, errors="ignore")',
  ],
  [
    /Can only use \.dt accessor|\.dt accessor|datetime64|to datetime|DTypePromotionError|Timestamp|operand type\(s\) for -: 'str'/,
    'the model wants a time where it gets text: JSON has no times, so let its pipeline begin with pd.to_datetime',
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
    'MLflow handed `params` to predict_proba of a Pipeline, which takes none (MLflow 2.14 does): use a newer MLflow, or a Pipeline whose predict_proba(self, X) has no params',
  ],
  [
    /KeyError: /,
    `its code looks for a name that is not there. If that is a value, let its code take one that it does not know; if it is a column made beside the model: ${OWN_STEP}`,
  ],
  [/contains? NaN|non-finite values|not '?NoneType/, 'a value is empty, and the model does not take that'],
]

const hasText = (sent: readonly Feature[]) => sent.some((column) => !NUMERIC.has(column))
const NUMERIC: ReadonlySet<string> = new Set(NUMERIC_FEATURES)

/** The names in a list of Python's, in lines with dashes, or between commas; scikit-learn ends those with dots. */
const namesIn = (list: string) =>
  [...list.matchAll(/'([^'\n]{1,100})'|"([^"\n]{1,100})"|(?:- |^|, )([^'",[{\n][^,\n]{0,99})/g)]
    .map((found) => (found[1] ?? found[2] ?? found[3])!.trim())
    .filter((name) => name !== '...')
const named = (patterns: readonly RegExp[], message: string) => [
  ...new Set(patterns.flatMap((pattern) => namesIn(pattern.exec(message)?.[1] ?? ''))),
]

const LABEL = /^is_?fraud$/i
const INDEX = /^(?:unnamed[\W_]{0,3}\d[\d.]*|index|level_\d|__index_level_\d__)$/i

/** No setting sends what the worker does not have; these names themselves may be anything, and are not repeated. */
export function foreignColumns(foreign: readonly string[]): { text: string; cure: string } {
  const others = foreign.filter((name) => !LABEL.test(name) && !INDEX.test(name)).length
  const kinds = [
    {
      there: foreign.some((name) => LABEL.test(name)),
      text: 'the label is_fraud, which is never sent to a model',
      cure: 'fit it without the label, and log it again with the signature of the features alone',
    },
    {
      there: foreign.some((name) => INDEX.test(name)),
      text: 'an index column (Unnamed: 0) of the training file, which is no part of a payment',
      cure: 'drop that before the fit (read the file with index_col=0), fit and log the model again',
    },
    { there: others > 0, text: `${plural(others, 'column')} that the worker does not have`, cure: OWN_STEP },
  ].filter(({ there }) => there)
  const all = (part: 'text' | 'cure', between: string) => kinds.map((kind) => kind[part]).join(between)
  return { text: `it asks for ${all('text', ' and for ')}`, cure: all('cure', '; ') }
}

/** Why the columns that were sent are not those that it wants, if it says so. Only what can be sent is cured by a setting. */
function columnsRefused(message: string, sent: readonly Feature[]): string | undefined {
  const { missing, unseen, foreign, disordered } = refusedColumns(message)
  if (foreign.length > 0) {
    const { text, cure } = foreignColumns(foreign)
    return `${text}: ${cure}`
  }
  if (unseen.length > 0)
    return (
      `feature names unseen at fit time (${unseen.join(', ')}, …): MODEL_FEATURES sends columns that the model was not fitted on. ` +
      `Set MODEL_FEATURES to the columns it was fitted on${hasText(sent) ? ' (e.g. numeric)' : ''}; if it then misses inputs, its signature is wrong: ` +
      'log it again with the signature of the columns it was fitted on'
    )
  if (missing.length === 0 || disordered) return undefined
  const columns = missing.join(', ')
  const unsent = missing.some((column) => !sent.includes(column))
  if (MISSING_INPUTS.test(message))
    return (
      `Model is missing inputs (${columns}): its signature asks for columns that MODEL_FEATURES does not send. ` +
      `${unsent ? 'Set MODEL_FEATURES=all, or, if' : 'If'} the model was not fitted on these columns, log it again with the signature of those it was fitted on`
    )
  return unsent
    ? `the model was fitted on columns that MODEL_FEATURES does not send (${columns}): add them to MODEL_FEATURES`
    : `the model was fitted on columns that do not reach it where it looks for them, though they are sent (${columns}): log it again with ` +
        'the signature of all columns it was fitted on; if that has all, list them in the order of the fit in MODEL_FEATURES'
}

/** Of a longer text its beginning and its end, where the cause stands behind rows or a stack trace. */
const bounded = (text: string) => (text.length > 2 * PART ? `${text.slice(0, PART)}\n${text.slice(-PART)}` : text)
const PART = 32_768

/** Why a model refused, from the text of its refusal. Rows, values and the stack trace in it are never repeated. */
export function diagnose(whole: string, sent: readonly Feature[]): string {
  const text = bounded(whole)
  const message = text.replaceAll('\\n', '\n')
  const refused = columnsRefused(message, sent)
  if (refused) return refused
  for (const [pattern, explain] of CAUSES) {
    const found = pattern.exec(message)
    if (!found) continue
    return typeof explain === 'string' ? explain : explain(found.slice(1).find((group) => group) ?? '', sent)
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
  /** the signature: the type of each column in MLflow's words */
  signature: ReadonlyMap<Feature, string> | undefined
  /** what it wants and is none of ours: never to be shown */
  foreign: readonly string[]
}

export function refusedColumns(whole: string): RefusedColumns {
  const message = bounded(whole).replaceAll('\\n', '\n')
  const lacking = named(LACKING, message)
  const ours = (names: readonly string[]) => FEATURES.filter((column) => names.includes(column))
  const schema = /with schema '(\[.*?\])'\. Error: /s.exec(message)?.[1]
  const columns = [...(schema ?? '').matchAll(/'([^']*)': (\w+) \((\w+)/g)]
  const types = new Map(columns.map(([, name, type]) => [name!, type!]))
  const wanted = columns.flatMap(([, name, , need]) => (need === 'required' ? [name!] : []))
  const known = ours([...types.keys()]).map((column) => [column, types.get(column)!] as const)
  return {
    missing: ours(lacking),
    unseen: ours(named(UNSEEN, message)),
    mistyped: ours(named([NOT_CONVERTED, INCOMPATIBLE], message)),
    disordered: OTHER_ORDER.test(message),
    signature: schema === undefined ? undefined : new Map(known),
    foreign: [...new Set([...wanted, ...lacking])].filter((name) => !(FEATURES as readonly string[]).includes(name)),
  }
}
