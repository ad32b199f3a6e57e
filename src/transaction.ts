import { type Row, TRAINING_COLUMNS, type TrainingColumn } from './columns.ts'
import { utc } from './io/time.ts'

/** Names of forks for these columns. */
const ALIASES = new Map(
  Object.entries({
    lat: ['latitude'],
    long: ['lon', 'lng', 'longitude'],
    merch_lat: ['merch_latitude', 'merchant_lat', 'merchant_latitude'],
    merch_long: ['merch_lon', 'merch_lng', 'merch_longitude', 'merchant_lon', 'merchant_long', 'merchant_longitude'],
  }).flatMap(([column, names]) => names.map((name) => [name, column] as const)),
)
const TIMES = ['current_time', 'unix_time', 'trans_date_trans_time'] as const
const COLUMNS = new Set<string>([...TRAINING_COLUMNS, ...TIMES])

/** Where each column that we know stands among these names; letter case and blanks around do not count, unless both are there. */
export function columnsAmong(names: readonly string[]): Map<string, number> {
  const exact = new Map<string, number>()
  const alike = new Map<string, number>()
  for (const [i, name] of names.entries()) {
    if (COLUMNS.has(name)) exact.set(name, i)
    if (name.length > 40) continue
    const plain = name.trim().toLowerCase()
    const column = ALIASES.get(plain) ?? plain
    if (COLUMNS.has(column)) alike.set(column, i)
  }
  return new Map([...alike, ...exact])
}

/** An object's columns that we know, by the names that we have for them. */
export function renamed(row: Record<string, unknown>): Record<string, unknown> {
  const names = Object.keys(row)
  return Object.fromEntries([...columnsAmong(names)].map(([column, i]) => [column, row[names[i]!]]))
}

/**
 * One card transaction: the training columns, when it happened by the producer's clock (`event_time`), and when it reached
 * us, both in ms since 1970. A column that a fork leaves out, or that cannot be read, is null.
 */
export type Transaction = Row<TrainingColumn> & { event_time: number; fetched_at: number }

/**
 * `prediction` 1: fraud. `score`: its probability, 0 to 1, if the model gives one. `predicted_at`: ms since 1970. `sampled`: with
 * which probability a person gets to see it, once it is recorded. `threshold`: from which score on it is fraud.
 */
export type Prediction = Transaction &
  Row<'prediction' | 'score' | 'model' | 'predicted_at'> & { sampled?: number | null; threshold?: number | null }

/** What can never pass as it is, and why. `record` is the row, transaction, prediction or body as it was. */
export type DeadLetter = {
  stage: 'fetch' | 'score' | 'record'
  at: number
  reason: string
  record: unknown
  /** a message of another program, in Kafka */
  foreign?: true
}

/** Two sightings with the same identity are one transaction. `trans_num` alone repeats within hours. */
export type Key = Pick<Transaction, 'trans_num' | 'event_time'>
export const identity = (t: Key) => `${t.trans_num}@${t.event_time}`

/** A row of the producer that is no transaction; the message names columns and never repeats a value. */
export class BadRow extends Error {}

/** Is told of a column that could not be read as it came, and what is wrong with it, without its value. */
export type Unread = (column: string, what: string) => void

/** Reads one row, as readRow does. Throws BadRow, with every reason, when it is no transaction. */
export function toTransaction(row: Record<string, unknown>, fetched_at: number, unread?: Unread): Transaction {
  const found = readRow(row, fetched_at, unread)
  if (typeof found === 'string') throw new BadRow(found)
  return found
}

/**
 * Reads one row of the producer. What it is answered with is why it is no transaction, every reason, when it lacks what
 * no alarm can do without: card, amount, number and time. What else cannot be read becomes null, and `unread` is told.
 * Nothing is left for a database to interpret, or to refuse. (An Error for each of millions of rows would take minutes.)
 */
export function readRow(row: Record<string, unknown>, fetched_at: number, unread?: Unread): Transaction | string {
  const [cc_num, amt, trans_num, event_time] = [card(row.cc_num), number(row.amt), transNum(row), eventTime(row)]
  if (typeof cc_num === 'string' || amt === undefined || trans_num.wrong || event_time === undefined) {
    const needed = {
      cc_num: typeof cc_num === 'string' && cc_num,
      amt: amt === undefined && 'must be a finite number',
      trans_num: trans_num.wrong,
    }
    const reasons = Object.entries(needed).flatMap(([column, wrong]) =>
      wrong ? [`${column} ${row[column] === undefined ? 'is missing' : wrong}`] : [],
    )
    if (event_time === undefined) reasons.push(`current_time (or unix_time, or trans_date_trans_time) ${NO_TIME}`)
    return reasons.join('; ')
  }

  function optional<T>(column: string, read: (value: unknown) => T | undefined, wanted: string): T | null {
    const value = row[column]
    if (value === undefined || value === null) return null
    const found = read(value)
    if (found === value) return found as T
    if (found !== undefined) {
      if (read === text && typeof value === 'string')
        unread?.(column, value.length > MOST_TEXT ? `is longer than ${MOST_TEXT} characters and is cut` : REPLACED)
      return found
    }
    if (!isEmpty(value)) unread?.(column, `is not ${wanted}`)
    return null
  }
  const texts = (column: string) => optional(column, text, 'text')
  const numbers = (column: string) => optional(column, number, 'a finite number')
  const wholes = (column: string) => optional(column, whole, 'a whole number')

  if (typeof row.trans_num === 'string' && row.trans_num !== trans_num.text) unread?.('trans_num', REPLACED)
  for (const column of TIMES) {
    if (timeOf(row[column]) === event_time) break
    if (!isEmpty(row[column])) unread?.(column, 'is no time, the next one counts')
  }
  return {
    cc_num,
    merchant: texts('merchant'),
    category: texts('category'),
    amt,
    first: texts('first'),
    last: texts('last'),
    gender: texts('gender'),
    street: texts('street'),
    city: texts('city'),
    state: texts('state'),
    zip: wholes('zip'),
    lat: numbers('lat'),
    long: numbers('long'),
    city_pop: wholes('city_pop'),
    job: texts('job'),
    dob: optional('dob', date, 'a date like 1980-12-31'),
    trans_num: trans_num.text,
    merch_lat: numbers('merch_lat'),
    merch_long: numbers('merch_long'),
    is_fraud: optional('is_fraud', label, '0 or 1'),
    trans_date_trans_time: utc(event_time),
    unix_time: Math.floor(event_time / 1000),
    event_time,
    fetched_at,
  }
}

const NO_TIME = 'is missing or is no time'
const REPLACED = 'has characters that no database takes, which are replaced'

/** What Python, pandas and SQL write where there is no value. */
const EMPTY = ['', 'nan', 'nat', 'none', 'null', 'na', 'n/a', '<na>']
const isEmpty = (value: unknown) =>
  value === undefined || value === null || (typeof value === 'string' && EMPTY.includes(brief(value).toLowerCase()))

/** No number, date or time is longer: so no pattern meets more. */
const brief = (value: string) => (value.length <= 100 ? value.trim() : 'too long')

const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i
/** A text that is exactly a number is that number. */
function number(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) ? value : undefined
  if (typeof value !== 'string' || !NUMBER.test(brief(value))) return undefined
  const found = Number(value)
  const exact = Number.isSafeInteger(found) || /[.e]/i.test(value)
  return exact && Number.isFinite(found) ? found : undefined
}
function whole(value: unknown): number | undefined {
  const found = number(value)
  return Number.isSafeInteger(found) ? found : undefined
}

/** What is longer is no name, no street and no job: it is cut. */
const MOST_TEXT = 1000
function text(value: unknown): string | undefined {
  if (typeof value === 'bigint' || Number.isSafeInteger(value)) return String(value).slice(0, MOST_TEXT)
  if (typeof value !== 'string') return undefined
  return storable(value.slice(0, MOST_TEXT).replace(/[\ud800-\udbff]$/, ''))
}
/** PostgreSQL has no NUL in a text, and no database half a surrogate pair. */
const storable = (value: string) => value.toWellFormed().replaceAll('\0', '\ufffd')

const LABELS = new Map(Object.entries({ true: 1, t: 1, yes: 1, y: 1, false: 0, f: 0, no: 0, n: 0 } as const))
function label(value: unknown): 0 | 1 | undefined {
  if (typeof value === 'boolean') return value ? 1 : 0
  const found = number(value)
  if (found === 0 || found === 1) return found
  return typeof value === 'string' ? LABELS.get(brief(value).toLowerCase()) : undefined
}

const MAX_INT64 = 9_223_372_036_854_775_807n // what BIGINT of SQLite and PostgreSQL, and int64 of pandas, can hold
/** The number, or what is wrong with it. */
function card(value: unknown): bigint | string {
  if (typeof value !== 'bigint' && typeof value !== 'string' && !Number.isSafeInteger(value))
    return 'must be a card number'
  const plain = typeof value === 'string' ? brief(value) : String(value).slice(0, 100)
  const digits = /^\d+$/.test(plain) ? plain : String(whole(plain))
  if (!/^[1-9]\d{10,18}$/.test(digits)) return 'must have 11 to 19 digits, the first no 0'
  return BigInt(digits) <= MAX_INT64 ? BigInt(digits) : `is larger than ${MAX_INT64}`
}

function transNum({ trans_num: value }: Record<string, unknown>): { text: string; wrong?: string } {
  const plain = typeof value === 'bigint' || Number.isSafeInteger(value) ? String(value) : value
  if (typeof plain !== 'string') return { text: '', wrong: 'must be text' }
  if (plain === '') return { text: '', wrong: 'must not be empty' }
  if (plain.length > 200) return { text: '', wrong: 'is longer than 200 characters' }
  return { text: storable(plain) }
}

/** The producer says `current_time` in ms; forks say it as ISO text, or send the two columns of the training file. */
const eventTime = (row: Record<string, unknown>) =>
  TIMES.map((column) => timeOf(row[column])).find((time) => time !== undefined)

function timeOf(value: unknown): number | undefined {
  const time = typeof value === 'string' ? fromText(brief(value)) : typeof value === 'number' ? fromNumber(value) : -1
  // Four-digit years only: trans_date_trans_time has no room for others.
  return time >= 0 && time < 253_402_300_800_000 ? time : undefined
}

/** 10^11 seconds are the year 5138, 10^11 ms are 1973: below it is seconds, from it on ms. */
const fromNumber = (value: number) => Math.round(Math.abs(value) < 1e11 ? value * 1000 : value)

const TIME = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))? ?(?:Z|UTC|GMT|([+-]\d\d):?(\d\d)?)?$/i
function fromText(value: string): number {
  if (/^\d+(\.\d+)?$/.test(value)) return fromNumber(Number(value))
  const [, day, clock, decimals = '0', hours = '+00', minutes = '00'] = TIME.exec(value) ?? []
  if (!day || !isDay(day)) return Number.NaN
  const seconds = clock!.length === 5 ? ':00' : ''
  return Date.parse(`${day}T${clock}${seconds}.${decimals}${hours}:${minutes}`) // no zone: UTC, as the producer's clock
}

/** A day of the calendar: JavaScript takes 30 February for 1 March, and no database has a year 0. */
function isDay(day: string): boolean {
  const time = Date.parse(`${day}T00:00Z`)
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(day) && !day.startsWith('0000')
}

const DATE = /^(\d{4}-\d\d-\d\d)(?:[T ]00:00(?::00(?:\.0+)?)?(?:Z|[+]00:?00)?)?$/
function date(value: unknown): string | undefined {
  const day = typeof value === 'string' ? DATE.exec(brief(value))?.[1] : undefined
  return day !== undefined && isDay(day) ? day : undefined
}

/** What is stamped on a row: the model's name, and that a stand-in had a hand in it. */
export function stamp(name: string | undefined, simulated: { model: boolean; payments: boolean }): string | null {
  if (simulated.model) return 'simulated'
  if (!simulated.payments) return name ?? null
  return name === undefined ? 'simulated payments' : `${name} (simulated payments)`
}
/** Had a stand-in a hand in a row with this stamp? */
export const isSimulated = (model: string | null) =>
  model !== null && /^simulated( payments)?$| \(simulated payments\)$/.test(model)
