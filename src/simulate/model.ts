import { FEATURES } from '../columns.ts'
import { type Json, parse, stringify } from '../io/json.ts'
import { type Features, trainClassifier } from './classifier.ts'
import { type Answer, type Loopback, loopback } from './loopback.ts'

const TRAINING_ROWS = 6000
const FRAUD_SHARE = 0.04 // as often as the simulated producer sends one: then 0.5 is the threshold with fewest mistakes

/**
 * Stands in for `mlflow models serve`: trains a classifier on simulated history when it starts (in some 100 ms,
 * in steps of a few ms) and speaks the scoring protocol. `POST {url}/invocations` with `dataframe_split` answers
 * `{"predictions": [[p0, p1], …]}` as predict_proba does, p1 the probability of fraud. As with a signature, all
 * features must be there and further columns are ignored. `auc` is measured on rows it has not learned from.
 */
export async function simulatedModel({
  seed = 2,
} = {}): Promise<Loopback & { auc: number; rows: { trained: number; tested: number } }> {
  const { probability, auc, rows } = await trainClassifier({ seed, rows: TRAINING_ROWS, fraudShare: FRAUD_SHARE })

  function invocations(body: string): Answer {
    try {
      const predictions = dataframe(body).map((row) => {
        const p = probability(row)
        return [1 - p, p]
      })
      return { body: stringify({ predictions }) }
    } catch (error) {
      if (!(error instanceof BadRequest)) throw error
      return { status: 400, body: stringify({ error_code: 'BAD_REQUEST', message: error.message }) }
    }
  }

  const server = await loopback(({ method, path, body }) => {
    if (method === 'POST' && path === '/invocations') return invocations(body)
    if (method !== 'GET') return undefined
    if (path === '/ping' || path === '/health') return { body: '\n' }
    if (path === '/version') return { type: 'text/plain', body: 'simulated' }
    return undefined
  })
  return { ...server, auc, rows }
}

/** What the client must change. The message names columns, never values: they may be card numbers. */
class BadRequest extends Error {}

/** Reads the rows of a request. Throws BadRequest. */
function dataframe(body: string): Features[] {
  const { columns, data } = split(body)
  const missing = FEATURES.filter((feature) => !columns.includes(feature))
  if (missing.length > 0)
    throw new BadRequest(`Model is missing inputs [${missing.map((column) => `'${column}'`).join(', ')}].`)
  return data.map((values) => {
    if (!Array.isArray(values) || values.length !== columns.length)
      throw new BadRequest('dataframe_split has a row that does not fit its columns')
    const row: Features = Object.fromEntries(columns.map((column, i) => [column, values[i]]))
    if (typeof row.amt !== 'number')
      throw new BadRequest('Incompatible input types for column amt. Can not safely convert object to float64.')
    return row
  })
}

function split(body: string): { columns: Json[]; data: Json[] } {
  let document: Json
  try {
    document = parse(body)
  } catch {
    throw new BadRequest('Failed to parse input as JSON')
  }
  const frame = field(document, 'dataframe_split')
  const [columns, data] = [field(frame, 'columns'), field(frame, 'data')]
  if (Array.isArray(columns) && Array.isArray(data)) return { columns, data }
  throw new BadRequest('The input must be a JSON object with dataframe_split: {"columns": [...], "data": [...]}')
}

function field(value: Json | undefined, name: string): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value[name] : undefined
}
