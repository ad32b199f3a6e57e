import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { exportRows, openExport } from '../../src/commands/export.ts'
import { stringify } from '../../src/io/json.ts'
import { toTransaction } from '../../src/transaction.ts'
import { openRows } from '../desk/place.ts'
import type { Environment } from './environment.ts'
import { run } from './environment.ts'

export type Held = {
  rows: number
  equal: boolean
  difference: string[] | null
  /** of the training file, the export, and both */
  dtypes: Record<string, [string, string, string]>
  beyond: number
  empty: number
}

/**
 * Exports rows as a producer sends them, each judged as it says itself, into `folder`; holds the file against what pandas
 * makes of the same rows, and writes both.csv: the training file with the export behind it.
 */
export async function holdExport(
  env: Environment,
  produced: readonly Record<string, unknown>[],
  training: string,
  folder: string,
): Promise<Held> {
  mkdirSync(folder, { recursive: true })
  const [sent, exported, both] = ['produced.jsonl', 'export.csv', 'both.csv'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ]
  writeFileSync(sent, produced.map((row) => `${stringify(row)}\n`).join(''))
  const rows = produced.map((row, n) => ({
    ...toTransaction(row, Number(row.current_time)),
    ...{ prediction: n % 2 === 0 ? (1 as const) : (0 as const), score: null, model: null, predicted_at: 1 },
  }))
  const { reviews } = await openRows(rows)
  await reviews.say(
    rows.map(({ trans_num, event_time, is_fraud }) => ({
      ...{ trans_num, event_time, note: null, reviewer: 'anna', via: 'page', at: 1 },
      verdict: is_fraud === 1 ? 'fraud' : 'legit',
    })),
  )
  const wanted = { kind: 'validated', from: 0, to: Number.MAX_SAFE_INTEGER } as const
  const own = { topics: { engine: 'sqlite', path: '' }, database: { engine: 'sqlite', path: '' } } as const
  await using output = await openExport(exported, own)
  await exportRows(reviews, wanted, exported, output)
  const script = join(import.meta.dirname, 'export.py')
  return JSON.parse(await run(env.python, script, sent, exported, training, both))
}
