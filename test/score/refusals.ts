import { LONG_CARD } from '../rows.ts'

/** How pandas prints the rows that MLflow repeats in its refusals: whole card numbers among them. */
const ROWS = `                cc_num                            merchant    amt  ... merch_lat merch_long
0        4000000000001  fraud_Kutch, Hermiston and Farrell  11.00  ...      39.9      -89.5
1  ${LONG_CARD}  fraud_Kutch, Hermiston and Farrell  12.00  ...      39.9      -89.5`

const TRACE = `Traceback (most recent call last):
  File "/opt/mlflow/pyfunc/scoring_server/__init__.py", line 367, in invocations
    raw_predictions = model.predict(data, params=params)
  File "/opt/sklearn/utils/validation.py", line 2750, in _check_feature_names
    raise ValueError(message)  # the first or last of a long row
`
const MISMATCH = 'The feature names should match those that were passed during fit.\n'
const lines = (names: readonly string[]) => names.map((name) => `- ${name}\n`).join('')

/** MLflow itself refuses: no stack trace, the rows in the message. */
const enforced = (
  error: string,
  signature: Record<string, string> = { trans_date_trans_time: 'string', cc_num: 'long', amt: 'double' },
) =>
  JSON.stringify({
    error_code: 'INVALID_PARAMETER_VALUE',
    message: `Failed to predict data '${ROWS}'. \nError: Failed to enforce schema of data '${ROWS}' with schema '[${Object.entries(
      signature,
    )
      .map(([name, type]) => `'${name}': ${type} (required)`)
      .join(', ')}]'. Error: ${error}`,
    sqlstate: 'KAM01',
    error_class: 'SCHEMA_ENFORCEMENT_FAILED',
  })
const incompatible = (error: string) =>
  JSON.stringify({
    error_code: 'BAD_REQUEST',
    message: `Invalid input. Data is not compatible with model signature. ${error}`,
  })
/** The model raises: the cause is only at the end of the stack trace. */
const raised = (error: string) =>
  JSON.stringify({
    error_code: 'BAD_REQUEST',
    message:
      'Encountered an unexpected error while evaluating the model. Verify that the serialized input Dataframe is compatible with the model for inference.',
    sqlstate: 'KAM00',
    error_class: 'INVALID_PARAMETER_VALUE',
    stack_trace: `${TRACE}ValueError: ${error}\n`,
  })

/** What MLflow 2.14 and 3.17 answer, with their status 400. */
export const refusals = {
  missingInputs: (...names: string[]) =>
    enforced(`Model is missing inputs [${names.map((name) => `'${name}'`).join(', ')}].`),
  wantsMore: (signature: Record<string, string>, ...names: string[]) =>
    enforced(`Model is missing inputs [${names.map((name) => `'${name}'`).join(', ')}].`, signature),
  incompatibleTypes: (column: string, signature?: Record<string, string>) =>
    enforced(`Incompatible input types for column ${column}. Can not safely convert int64 to int32.`, signature),
  unseen: (names: string[], missing: string[] = []) =>
    raised(
      `${MISMATCH}Feature names unseen at fit time:\n${lines(names)}${missing.length > 0 ? `Feature names seen at fit time, yet now missing:\n${lines(missing)}` : ''}`,
    ),
  nowMissing: (...names: string[]) =>
    raised(`${MISMATCH}Feature names seen at fit time, yet now missing:\n${lines(names)}`),
  otherOrder: () => raised(`${MISMATCH}Feature names must be in the same order as they were in fit.\n`),
  notConverted: (column: string) =>
    incompatible(
      `Failed to convert column ${column} to type 'int64'. Error: 'IntCastingNaNError('Cannot convert non-finite values (NA or inf) to integer')'`,
    ),
  notANumber: () => raised("could not convert string to float: 'fraud_Kutch, Hermiston and Farrell'"),
  empty: () => raised('Input X contains NaN.\nRandomForestClassifier does not accept missing values'),
  paramsHandedOver: () => raised("ForestClassifier.predict_proba() got an unexpected keyword argument 'params'"),
  notJson: (body: string) =>
    JSON.stringify({
      error_code: 'BAD_REQUEST',
      message: `Invalid input. Ensure that input is a valid JSON formatted string. Error: 'JSONDecodeError('Expecting value: line 1 column 20 (char 19)')'\nInput: \n${body}\n`,
    }),
  unknown: () => raised(`cannot judge card ${LONG_CARD}`),
}

/** What of a request or of a stack trace must never be shown. */
export const UNFIT_TO_SHOW = /\d{11,}|Kutch|Traceback|File "|raise ValueError|raw_predictions|\n/
