import { type Json, parse } from '../io/json.ts'
import { Foreign, names, shown, Unreadable } from './unreadable.ts'

type Fields = { [key: string]: Json }

/** Where servers put what the model returned: MLflow, TensorFlow Serving, KServe, Seldon, and wrappers of one's own. */
const ENVELOPES = ['predictions', 'outputs', 'dataframe_split', 'dataframe_records', 'data', 'results', 'result']
const DEEPEST = 5

const isFields = (value: Json | undefined): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/**
 * What the model says of each of `rows` rows: a value, a list, or fields by name. Rows or columns, with or without an
 * envelope, as pandas, MLflow, KServe, Seldon and TensorFlow Serving print them.
 */
export function tableOf(text: string, rows: number): Json[] {
  let value = parsed(text)
  for (let depth = 0; depth < DEEPEST; depth++) {
    const table = depth === 0 && !isBox(value) ? undefined : read(value, rows) // a bare 1 is nobody's answer
    if (table) {
      if (table.length === rows) return table
      throw new Unreadable(`with ${table.length} predictions, not ${rows}`, 'let it answer one for each row, in order')
    }
    const key = isFields(value) && ENVELOPES.find((name) => Object.hasOwn(value as Fields, name))
    if (!key) break
    value = (value as Fields)[key]!
  }
  throw new Foreign(
    `200, but ${isFields(value) ? `with ${names(Object.keys(value))}` : shown(value)} and no "predictions"`,
  )
}

function parsed(text: string): Json {
  try {
    return parse(text) // a bare NaN is null, and nothing is nested deeper than can be walked
  } catch {
    throw new Foreign('200, but no JSON')
  }
}

function read(value: Json, rows: number): Json[] | undefined {
  if (Array.isArray(value)) return tensors(value, rows) ?? value
  if (!isFields(value)) return rows === 1 && value !== null ? [value] : undefined
  const { columns, names: heads, data, ndarray, tensor } = value
  if (Array.isArray(columns) && Array.isArray(data)) return named(columns, data)
  if (Array.isArray(ndarray)) return named(heads, ndarray)
  if (isFields(tensor)) return named(heads, chunks(tensor.values, tensor.shape) ?? [])
  // A wrapper may return its columns under such a name, beside others: {"result": [0], "probability": [0.1]}.
  const wrapped = ENVELOPES.some((name) => Object.hasOwn(value, name) && isBox(value[name]))
  if (wrapped && (Object.hasOwn(value, 'predictions') || lists(value).length < 2)) return undefined
  const series = byNumber(value)
  return (
    byColumn(value, rows) ??
    (rows > 1 && series?.length === rows ? series : undefined) ??
    (rows === 1 && Object.values(value).some((v) => !isBox(v)) ? [value] : undefined)
  )
}
const isBox = (value: Json | undefined) => typeof value === 'object' && value !== null

/** What may be columns: a list of values for each name, or an object of them by row number, as pandas prints a frame. */
type Column = readonly [name: string, values: Json[]]
const lists = (value: Fields): Column[] =>
  Object.entries(value).flatMap(([name, column]) => {
    const list = Array.isArray(column) ? column : isFields(column) ? byNumber(column) : undefined
    return list ? [[name, list] as const] : []
  })

const CLASSES = /^(classes|class_?(names|labels)|categories)$/i

/** The classes of the model may stand there once, beside the probabilities of them for each row: a column for each then. */
function unfolded(columns: Column[], rows: number): Column[] {
  const classes = columns.find(([name]) => CLASSES.test(name))
  const shares = columns.find(
    ([, list]) => list.length === rows && list.every((row) => Array.isArray(row) && row.length === classes?.[1].length),
  )
  if (!classes || !shares) return columns
  const of = classes[1].map((name, i): Column => [String(name), shares[1].map((row) => (row as Json[])[i]!)])
  return [...columns.filter((column) => column !== classes && column !== shares), ...of]
}

function byColumn(value: Fields, rows: number): Json[] | undefined {
  const columns = unfolded(lists(value), rows)
  if (columns.length === 0 || (rows === 1 && columns.length < Object.keys(value).length)) return undefined
  const odd = columns.find(([, list]) => list.length !== rows)
  if (odd) {
    throw new Unreadable(
      `by column (${names(columns.map(([name]) => name))}), with ${odd[1].length} values and not ${rows}`,
      'let it answer one for each row, in order',
    )
  }
  return Array.from({ length: rows }, (_, i) => Object.fromEntries(columns.map(([name, list]) => [name, list[i]!])))
}

function byNumber(column: Fields): Json[] | undefined {
  const keys = Object.keys(column)
  return keys.length > 0 && keys.every((key, i) => key === String(i)) ? Object.values(column) : undefined
}

/** Rows of values under the names of their columns, if these have any: `t:0` is what Seldon calls one without. */
function named(heads: Json | undefined, data: readonly Json[]): Json[] {
  if (!Array.isArray(heads) || heads.every((head) => /^t:\d+$/.test(String(head)))) return [...data]
  return data.map((row) =>
    Array.isArray(row) ? Object.fromEntries(heads.map((head, i) => [String(head), row[i] ?? null])) : row,
  )
}

/** KServe's protocol 2: each output is a tensor with a name, its values in one flat list. */
function tensors(list: readonly Json[], rows: number): Json[] | undefined {
  if (!list.every((item) => isFields(item) && 'datatype' in item && Array.isArray(item.data))) return undefined
  if (list.length === 0) return undefined
  const columns = (list as Fields[]).map(({ name, shape, data }) => [String(name), chunks(data, shape) ?? []] as const)
  return columns.length === 1 ? [...columns[0]![1]] : byColumn(Object.fromEntries(columns), rows)
}

function chunks(values: Json | undefined, shape: Json | undefined): Json[] | undefined {
  if (!Array.isArray(values)) return undefined
  const width = Array.isArray(shape) && shape.length === 2 ? Number(shape[1]) : 1
  if (!(width > 1) || Array.isArray(values[0])) return values
  return Array.from({ length: Math.ceil(values.length / width) }, (_, i) => values.slice(i * width, (i + 1) * width))
}
