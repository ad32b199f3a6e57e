import { type Feature, NUMERIC_FEATURES } from '../../src/columns.ts'
import { type Json, parse } from '../../src/io/json.ts'
import { httpServer } from '../rows.ts'
import { refusals } from '../score/refusals.ts'

type Row = { [column: string]: Json }
export type FakeMlflow = {
  /** what scikit-learn was fitted on, in this order */
  fitted?: readonly string[]
  /** columns and types of the signature, if it was logged with one */
  signature?: Record<string, string>
  version?: string
  /** path of the base URL */
  base?: string
  /** Has the last word on a request. */
  say?: (rows: Row[]) => { status?: number; type?: string; text: string } | 'silence' | undefined
  judge?: (row: Row) => Json
  ping?: number
}

/** A server that does as `mlflow models serve` 2.14 and 3.17 do with a scikit-learn model, refusals included. */
export async function fakeMlflow({
  fitted = NUMERIC_FEATURES,
  signature,
  version = '3.17.2',
  base = '',
  say = () => undefined,
  judge = ({ amt }) => (Number(amt) > 250 ? 1 : 0),
  ping = 200,
}: FakeMlflow = {}) {
  const requests: { columns: string[]; rows: Row[] }[] = []
  const server = await httpServer(({ request, text }, response) => {
    const answer = (status: number, type: string, body: string) =>
      response.writeHead(status, { 'content-type': type }).end(body)
    const json = (status: number, body: string) => answer(status, 'application/json', body)
    if (request.method === 'GET' && request.url === `${base}/ping`) return json(ping, '\n')
    if (request.method === 'GET' && request.url === `${base}/version`) return json(200, version)
    if (request.method !== 'POST' || request.url !== `${base}/invocations`)
      return answer(404, 'text/html', '<!doctype html>\n<title>404 Not Found</title>')
    const { columns, data } = (parse(text) as { dataframe_split: { columns: string[]; data: Json[][] } })
      .dataframe_split
    const rows = data.map((values): Row => Object.fromEntries(columns.map((column, i) => [column, values[i]!])))
    requests.push({ columns, rows })
    const said = say(rows)
    if (said === 'silence') return undefined
    if (said) return answer(said.status ?? 200, said.type ?? 'application/json', said.text)
    const refusal = refused(columns)
    if (refusal) return json(400, refusal)
    return json(200, JSON.stringify({ predictions: rows.map(judge) }))
  })

  function refused(columns: readonly string[]): string | undefined {
    const missing = Object.keys(signature ?? {}).filter((column) => !columns.includes(column))
    if (signature && missing.length > 0) return refusals.wantsMore(signature, ...missing)
    const given = signature ? Object.keys(signature) : columns
    const unseen = given.filter((column) => !fitted.includes(column)).toSorted()
    const lacking = fitted.filter((column) => !given.includes(column)).toSorted()
    const five = (names: string[]) => (names.length > 5 ? [...names.slice(0, 5), '...'] : names)
    if (unseen.length > 0) return refusals.unseen(five(unseen), five(lacking))
    if (lacking.length > 0) return refusals.nowMissing(...five(lacking))
    return given.join() === fitted.join() ? undefined : refusals.otherOrder()
  }
  return { ...server, requests, model: new URL(`${server.url.origin}${base}`).href }
}

const DOUBLES = ['amt', 'lat', 'long', 'merch_lat', 'merch_long']
/** A signature as infer_signature makes it of these columns of the training file. */
export const inferred = (columns: readonly Feature[], changes: Record<string, string> = {}) =>
  Object.fromEntries(
    columns.map((column) => [
      column,
      changes[column] ??
        (DOUBLES.includes(column)
          ? 'double'
          : (NUMERIC_FEATURES as readonly string[]).includes(column)
            ? 'long'
            : 'string'),
    ]),
  )
