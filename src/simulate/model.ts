import { FEATURES } from '../columns.ts'
import { z } from '../config/zod.cjs'
import { type Json, parse, stringify } from '../io/json.ts'
import { type Features, probability, rocAuc } from './classifier.ts'
import { type Answer, type Loopback, loopback } from './loopback.ts'

const TESTED = 1500

/**
 * Stands in for `mlflow models serve`, with a fixed formula. `POST {url}/invocations` with `dataframe_split` answers
 * `{"predictions": [[p0, p1], …]}` as predict_proba does, p1 the probability of fraud. As with a signature, all
 * features must be there and further columns are ignored. `auc` is measured at the start, on `tested` rows of history.
 */
export async function simulatedModel(): Promise<Loopback & { auc: number; tested: number }> {
  const server = await loopback(({ method, path, body }) => {
    if (method === 'POST' && path === '/invocations') return invocations(body)
    if (method !== 'GET') return undefined
    if (path === '/ping' || path === '/health') return { body: '\n' }
    if (path === '/version') return { type: 'text/plain', body: 'simulated' }
    return undefined
  })
  return { ...server, auc: rocAuc(TESTED, 2), tested: TESTED }
}

/** What the client must change. The message names columns, never values: they may be card numbers. */
class BadRequest extends Error {}

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

const REQUEST = z.object({
  dataframe_split: z.object({ columns: z.array(z.string()), data: z.array(z.array(z.unknown())) }),
})

/** Reads the rows of a request. Throws BadRequest. */
function dataframe(body: string): Features[] {
  const request = REQUEST.safeParse(parsed(body))
  if (!request.success)
    throw new BadRequest('The input must be a JSON object with dataframe_split: {"columns": [...], "data": [...]}')
  const { columns, data } = request.data.dataframe_split
  const missing = FEATURES.filter((feature) => !columns.includes(feature))
  if (missing.length > 0)
    throw new BadRequest(`Model is missing inputs [${missing.map((column) => `'${column}'`).join(', ')}].`)
  return data.map((values) => {
    if (values.length !== columns.length)
      throw new BadRequest('dataframe_split has a row that does not fit its columns')
    const row = Object.fromEntries(columns.map((column, i) => [column, values[i]]))
    if (typeof row.amt !== 'number')
      throw new BadRequest('Incompatible input types for column amt. Can not safely convert object to float64.')
    return row
  })
}

function parsed(body: string): Json {
  try {
    return parse(body)
  } catch {
    throw new BadRequest('Failed to parse input as JSON')
  }
}
