import { statSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { TABLE, TRAINING_COLUMNS } from '../columns.ts'
import { csvLine } from '../io/csv.ts'
import { grouped, percent, plural } from '../io/text.ts'
import { DAY } from '../io/time.ts'
import { pages } from '../review/pages.ts'
import type { Payment, Reviews, Wanted } from '../review/reviews.ts'
import { type Own, refuseOwn } from './output.ts'

const PAGE = 5000
/** What the trainer makes numbers of: SMOTE refuses a row that lacks one. */
const NUMBERS = TRAINING_COLUMNS.filter((c) => TABLE[c].type === 'integer' || TABLE[c].type === 'real')
/** The share of frauds in the training file, and when that ends. */
const [USUAL, TRAINED_UNTIL] = [0.0038, Date.UTC(2021, 0, 1)]

/**
 * Writes the payments that somebody's word is there for as the trainer reads them: the training file's columns to the
 * byte, `is_fraud` from the verdict. Resolves with lines for a person: how many, and what a model would make of them.
 */
export async function exportRows(
  reviews: Reviews,
  wanted: Wanted,
  into: string,
  { write, done }: Output,
): Promise<string[]> {
  const count = { rows: 0, frauds: 0, audited: 0, incomplete: 0, first: Number.POSITIVE_INFINITY }
  const review = await reviews.lastReview()
  const at = Date.now()
  await write(csvLine(['', ...TRAINING_COLUMNS]))
  // What is said meanwhile is in the next one: in this one too, it would count twice.
  const all = { ...wanted, until: review }
  for await (const page of pages<Payment>(PAGE, (after, size) => reviews.rows(all, after, size))) {
    const whole = page.filter((row) => NUMBERS.every((column) => row[column] !== null))
    count.incomplete += page.length - whole.length
    for (const row of whole) {
      count.rows++
      count.frauds += truth(row)
      if (row.prediction === 0 && row.sampled !== null) count.audited++
      count.first = Math.min(count.first, row.event_time)
    }
    await write(whole.map(line).join(''))
  }
  await done()
  const whole = wanted.from === 0 && wanted.to === Number.MAX_SAFE_INTEGER
  await reviews.noteExport({ at, kind: whole ? wanted.kind : 'part', exported: count.rows, review })
  return said(count, into)
}

const truth = ({ fraud_confirmed, is_fraud }: Payment) => fraud_confirmed ?? is_fraud ?? 0
/** No value is changed, not even one that a spreadsheet would take for a formula: this is for pandas. */
const line = (row: Payment) =>
  csvLine(['', ...TRAINING_COLUMNS.map((column) => (column === 'is_fraud' ? truth(row) : number(column, row[column])))])
/** As pandas writes a float: 10.0, not 10. */
const number = (column: (typeof TRAINING_COLUMNS)[number], value: Payment[typeof column]) =>
  TABLE[column].type === 'real' && typeof value === 'number' ? float(value) : value
function float(value: number): string {
  const size = Math.abs(value)
  if (size !== 0 && (size < 1e-4 || size >= 1e16)) return value.toExponential().replace(/e([+-])(\d)$/, 'e$10$2')
  return Number.isInteger(value) ? `${BigInt(value)}.0` : String(value)
}

type Count = { rows: number; frauds: number; audited: number; incomplete: number; first: number }
function said({ rows, frauds, audited, incomplete, first }: Count, into: string): string[] {
  const lines = [
    `${into}: ${plural(rows, 'row')}, ${grouped(frauds)} of fraud${rows > 0 ? ` (${percent(frauds / rows, 2)}; in the training file ${percent(USUAL, 2)})` : ''}, ${grouped(audited)} audited`,
  ]
  if (incomplete > 0) lines.push(`${plural(incomplete, 'row')} left out, as a number is missing there`)
  if (rows > 0 && first > TRAINED_UNTIL)
    lines.push(
      `warning: all of it is ${plural(Math.ceil((first - TRAINED_UNTIL) / (365 * DAY)), 'year')} or so after the training file. A model that is fitted on both tells them apart by unix_time, and takes each live payment for one of these: few rows made one flag 70 % of what was live. Train without unix_time and cc_num (MODEL_FEATURES), or add audited rows (AUDIT_PER_DAY) until the shares are alike`,
    )
  if (rows > 0 && audited === 0)
    lines.push(
      'warning: none of it is audited: what no model has flagged is missing, and so is each fraud that was missed',
    )
  return lines
}

type Output = { write(text: string): Promise<void>; done(): Promise<void> }
/** A file for its owner alone, there as a whole or not at all; `-` is the standard output. */
export async function openExport(into: string, own: Own): Promise<Output & AsyncDisposable> {
  if (into === '-') {
    const write = (text: string) =>
      new Promise<void>((resolve, reject) => process.stdout.write(text, (error) => (error ? reject(error) : resolve())))
    return { write, done: async () => {}, async [Symbol.asyncDispose]() {} }
  }
  refuseOwn(into, own)
  if (statSync(into, { throwIfNoEntry: false })?.isDirectory())
    throw new Error(`--into: ${into} is a folder, wants a file in it`)
  const part = `${into}.part`
  const file = await open(part, 'w', 0o600).catch((cause) => {
    throw new Error(`--into: cannot write ${into}`, { cause })
  })
  await file.chmod(0o600) // it may be there, of an export that was interrupted
  return {
    write: async (text: string) => void (await file.appendFile(text)),
    async done() {
      await file.sync()
      await file.close()
      await rename(part, into)
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      await rm(part, { force: true })
    },
  }
}
