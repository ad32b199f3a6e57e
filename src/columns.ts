/** `flag`: 0 or 1. `date`: `YYYY-MM-DD`. `time`: UTC, `YYYY-MM-DD HH:MM:SS`. `required`: never empty. */
export type Column = { type: 'text' | 'integer' | 'real' | 'flag' | 'date' | 'time'; required?: true }

/** The columns of the training file, in its order. The table `predictions` begins with them. */
const TRAINING = {
  trans_date_trans_time: { type: 'time', required: true },
  cc_num: { type: 'integer', required: true },
  merchant: { type: 'text' },
  category: { type: 'text' },
  amt: { type: 'real', required: true },
  first: { type: 'text' },
  last: { type: 'text' },
  gender: { type: 'text' },
  street: { type: 'text' },
  city: { type: 'text' },
  state: { type: 'text' },
  zip: { type: 'integer' },
  lat: { type: 'real' },
  long: { type: 'real' },
  city_pop: { type: 'integer' },
  job: { type: 'text' },
  dob: { type: 'date' },
  trans_num: { type: 'text', required: true },
  unix_time: { type: 'integer', required: true }, // seconds since 1970
  merch_lat: { type: 'real' },
  merch_long: { type: 'real' },
  is_fraud: { type: 'flag' },
} as const satisfies Record<string, Column>
const PREDICTED = {
  prediction: { type: 'flag', required: true },
  score: { type: 'real' },
  model: { type: 'text' },
  event_time: { type: 'integer', required: true },
  fetched_at: { type: 'integer', required: true },
  predicted_at: { type: 'integer', required: true },
} as const satisfies Record<string, Column>
/** The reviewer's, null until then. */
const REVIEWED = {
  fraud_confirmed: { type: 'flag' },
  reviewed_at: { type: 'integer' },
  reviewed_by: { type: 'text' },
} as const satisfies Record<string, Column>

/** The probability with which the row came to be looked at: 1 an alarm, less one of the sample, null neither. */
const SAMPLED = { sampled: { type: 'real' } } as const satisfies Record<string, Column>

/** From which score on it was an alarm, where the model gave one. */
const DECIDED = { threshold: { type: 'real' } } as const satisfies Record<string, Column>

/** The table `predictions`, in its order. All else that is said of columns follows from it. */
const ALL = { ...TRAINING, ...PREDICTED, ...REVIEWED, ...SAMPLED, ...DECIDED }
export const TABLE: Record<ColumnName, Column> = ALL
export type ColumnName = keyof typeof ALL
export type TrainingColumn = keyof typeof TRAINING

type Values = { text: string; integer: number; real: number; flag: 0 | 1; date: string; time: string }
/** The values of these columns. `cc_num` has up to 19 digits, more than a number keeps. */
export type Row<N extends ColumnName> = {
  [C in N]: C extends 'cc_num'
    ? bigint
    : Values[(typeof ALL)[C]['type']] | ((typeof ALL)[C] extends { required: true } ? never : null)
}

const namesOf = <T extends object>(columns: T) => Object.keys(columns) as (keyof T)[]
export const TRAINING_COLUMNS = namesOf(TRAINING)
/** What a model has judged. */
export const PREDICTION_COLUMNS = namesOf({ ...TRAINING, ...PREDICTED })
/** What a worker writes. */
export const RECORDED_COLUMNS = namesOf({ ...TRAINING, ...PREDICTED, ...SAMPLED, ...DECIDED })
/** What the table has had from its first version on. */
export const FIRST_COLUMNS = namesOf({ ...TRAINING, ...PREDICTED, ...REVIEWED })
export const COLUMNS = namesOf(TABLE)

/** What a model may see: every training column but the label. */
export type Feature = Exclude<TrainingColumn, 'is_fraud'>
export const FEATURES = TRAINING_COLUMNS.filter((column) => column !== 'is_fraud')
/** The nine numeric features that the first project's trainer fits. */
export const NUMERIC_FEATURES = FEATURES.filter((column) => ['integer', 'real'].includes(TABLE[column].type))
