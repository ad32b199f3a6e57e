import type { ServerResponse } from 'node:http'
import { type Json, parse } from '../../src/io/json.ts'
import { httpServer } from '../rows.ts'

export type Row = { [column: string]: Json }
/** What the model says: the body of a 200, a whole answer, or nothing it can be held to: it never answers, or hangs up. */
export type Saying =
  | { predictions: unknown }
  | { status: number; text: string; type?: string; headers?: Record<string, string> }
  | 'silence'
  | 'hang up'

/** A model server on the wire. `say` is given the rows of a request, and how many requests came before it. */
export async function modelServer(say: (rows: Row[], before: number) => Saying | Promise<Saying>) {
  const asked: Row[][] = []
  const server = await httpServer(async ({ text }, response) => {
    const { columns, data } = (parse(text) as { dataframe_split: { columns: string[]; data: Json[][] } })
      .dataframe_split
    const rows = data.map((values): Row => Object.fromEntries(columns.map((column, i) => [column, values[i]!])))
    asked.push(rows)
    answer(response, await say(rows, asked.length - 1))
  })
  return { ...server, asked }
}

function answer(response: ServerResponse, saying: Saying) {
  if (saying === 'silence') return
  if (saying === 'hang up') response.socket?.destroy()
  else if ('status' in saying)
    response
      .writeHead(saying.status, { 'content-type': saying.type ?? 'application/json', ...saying.headers })
      .end(saying.text)
  else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(saying))
}

/** A model that takes every amount from 1000 on for fraud. */
export const byAmount = (rows: Row[]) => ({ predictions: rows.map(({ amt }) => (Number(amt) >= 1000 ? 1 : 0)) })

export const refused = (text: string): Saying => ({ status: 400, text })
