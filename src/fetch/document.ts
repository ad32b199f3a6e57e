import { type Json, parse, stringify } from '../json.ts'
import { BadRow, columnsAmong, type DeadLetter, type Transaction, toTransaction } from '../transaction.ts'

/** bytes of a body that is no document which are kept */
const KEEP = 64 * 1024

export type Received = { transactions: Transaction[]; letters: DeadLetter[]; wholeBody?: true }

/**
 * Reads a body of the producer: pandas `split`, `{"columns":[…],"data":[[…],…]}`, plain or as a JSON string. Columns
 * are found by name. A row that is no transaction becomes a dead letter, its neighbours do not suffer; a body that is
 * no document becomes one dead letter as it is (`wholeBody`).
 */
export function readDocument(body: string, fetched_at: number): Received {
  let columns: string[]
  let rows: Json[]
  try {
    ;({ columns, rows } = split(body))
  } catch (error) {
    const bytes = Buffer.byteLength(body)
    const kept = bytes > KEEP ? Buffer.from(body).subarray(0, KEEP).toString() : body
    const reason = `the body is no document: ${(error as Error).message}`
    return {
      transactions: [],
      letters: [{ stage: 'fetch', at: fetched_at, reason, record: { body: kept, bytes } }],
      wholeBody: true,
    }
  }
  const received: Received = { transactions: [], letters: [] }
  for (const row of rows) {
    try {
      received.transactions.push(toTransaction(named(columns, row), fetched_at))
    } catch (error) {
      if (!(error instanceof BadRow)) throw error
      const record = { columns, data: [printable(row)] }
      received.letters.push({ stage: 'fetch', at: fetched_at, reason: error.message, record })
    }
  }
  return received
}

/** What is nested thousands deep can be read but not printed, and must not take its neighbours with it. */
function printable(row: Json): Json {
  try {
    stringify(row)
    return row
  } catch {
    return 'nested too deeply to be kept'
  }
}

function split(body: string): { columns: string[]; rows: Json[] } {
  let document = parse(body)
  if (typeof document === 'string') document = parse(document)
  if (document === null || typeof document !== 'object' || Array.isArray(document))
    throw new Error('it is not an object')
  const { columns, data } = document
  if (!Array.isArray(columns) || !columns.every((name) => typeof name === 'string'))
    throw new Error('it has no list "columns"')
  if (!Array.isArray(data)) throw new Error('it has no list "data"')
  return { columns: columns as string[], rows: data }
}

function named(columns: string[], row: Json): Record<string, unknown> {
  if (!Array.isArray(row)) throw new BadRow('the row is not a list')
  if (row.length !== columns.length) throw new BadRow(`the row has ${row.length} values for ${columns.length} columns`)
  return Object.fromEntries([...columnsAmong(columns)].map(([name, i]) => [name, row[i]]))
}
