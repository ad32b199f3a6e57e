import { z } from 'zod'

/** The columns of the training file, in its order. The table `predictions` begins with them. */
export const TRAINING_COLUMNS = [
  'trans_date_trans_time',
  'cc_num',
  'merchant',
  'category',
  'amt',
  'first',
  'last',
  'gender',
  'street',
  'city',
  'state',
  'zip',
  'lat',
  'long',
  'city_pop',
  'job',
  'dob',
  'trans_num',
  'unix_time',
  'merch_lat',
  'merch_long',
  'is_fraud',
] as const

/** What a model may see: every training column but the label. */
export const FEATURES = TRAINING_COLUMNS.filter((column) => column !== 'is_fraud')
export type Feature = Exclude<(typeof TRAINING_COLUMNS)[number], 'is_fraud'>

/** The nine numeric features that the first project's trainer fits. */
export const NUMERIC_FEATURES = [
  'cc_num',
  'amt',
  'zip',
  'lat',
  'long',
  'city_pop',
  'unix_time',
  'merch_lat',
  'merch_long',
] as const satisfies readonly Feature[]

const MAX_INT64 = 9_223_372_036_854_775_807n // what BIGINT of SQLite and PostgreSQL, and int64 of pandas, can hold

const cardNumber = z
  .union([z.bigint(), z.int('must be a card number'), z.string()], 'must be a card number')
  .transform((value, ctx) => {
    const digits = String(value).trim()
    const number = /^[1-9]\d{10,18}$/.test(digits) ? BigInt(digits) : undefined
    if (number !== undefined && number <= MAX_INT64) return number
    ctx.addIssue(number ? 'is larger than 9223372036854775807' : 'must have 11 to 19 digits, the first no 0')
    return z.NEVER
  })
const number = z.number({ error: 'must be a finite number' })
const whole = z.int({ error: 'must be a whole number' })
const text = z.string({ error: 'must be text' })
const label = z
  .union([z.literal([0, 1]), z.boolean(), z.literal(['0', '1'])], { error: 'must be 0 or 1' })
  .transform((value) => Number(value) as 0 | 1)
const optional = <T extends z.ZodType>(schema: T) => schema.nullish().transform((value) => value ?? null)

/**
 * One card transaction as the producer sent it, with its times made one: `event_time` in ms since 1970,
 * `unix_time` the same in whole seconds, `trans_date_trans_time` the same as `YYYY-MM-DD HH:MM:SS` in UTC.
 * A column that a fork of the producer leaves out is null; card, amount, number and time it cannot leave out.
 */
const schema = z.object({
  cc_num: cardNumber,
  merchant: optional(text),
  category: optional(text),
  amt: number,
  first: optional(text),
  last: optional(text),
  gender: optional(text),
  street: optional(text),
  city: optional(text),
  state: optional(text),
  zip: optional(whole),
  lat: optional(number),
  long: optional(number),
  city_pop: optional(whole),
  job: optional(text),
  dob: optional(text),
  trans_num: text.min(1, 'must not be empty').max(200, 'is longer than 200 characters'),
  merch_lat: optional(number),
  merch_long: optional(number),
  is_fraud: optional(label),
})

export type Transaction = z.output<typeof schema> & {
  trans_date_trans_time: string
  /** seconds since 1970 */
  unix_time: number
  /** ms since 1970, when the transaction happened, by the producer's clock */
  event_time: number
  /** ms since 1970, when it reached us */
  fetched_at: number
}

export type Prediction = Transaction & {
  /** 1: fraud */
  prediction: 0 | 1
  /** probability of fraud, 0 to 1, if the model gives one */
  score: number | null
  model: string | null
  /** ms since 1970 */
  predicted_at: number
}

/** What can never pass as it is, and why. `record` is the row, transaction, prediction or body as it was. */
export type DeadLetter = { stage: 'fetch' | 'score' | 'record'; at: number; reason: string; record: unknown }

/** Two sightings with the same identity are one transaction. `trans_num` alone repeats within hours. */
export const identity = (t: Pick<Transaction, 'trans_num' | 'event_time'>) => `${t.trans_num}@${t.event_time}`

/** A row of the producer that is no transaction; the message names columns and never repeats a value. */
export class BadRow extends Error {}

/** Reads one row of the producer's document. Throws BadRow with every reason. */
export function toTransaction(row: Record<string, unknown>, fetched_at: number): Transaction {
  const parsed = schema.safeParse(row)
  const event_time = eventTime(row)
  if (!parsed.success || event_time === undefined) {
    const reasons =
      parsed.error?.issues.map(
        (issue) => `${issue.path.join('.')} ${row[String(issue.path[0])] === undefined ? 'is missing' : issue.message}`,
      ) ?? []
    if (event_time === undefined)
      reasons.push('current_time (or unix_time, or trans_date_trans_time) is missing or is no time')
    throw new BadRow(reasons.join('; '))
  }
  const trans_date_trans_time = new Date(event_time).toISOString().slice(0, 19).replace('T', ' ')
  return { ...parsed.data, trans_date_trans_time, unix_time: Math.floor(event_time / 1000), event_time, fetched_at }
}

/** The producer says `current_time` in ms; forks say it as ISO text, or send the two columns of the training file. */
function eventTime(row: Record<string, unknown>): number | undefined {
  for (const value of [row.current_time, row.unix_time, row.trans_date_trans_time]) {
    if (value === undefined || value === null) continue
    const time =
      typeof value === 'string' ? fromText(value) : typeof value === 'number' ? fromNumber(value) : Number.NaN
    // Four-digit years only: trans_date_trans_time has no room for others.
    return time >= 0 && time < 253_402_300_800_000 ? time : undefined
  }
  return undefined
}

/** 10^11 seconds are the year 5138, 10^11 ms are 1973: below it is seconds, from it on ms. */
const fromNumber = (value: number) => Math.round(Math.abs(value) < 1e11 ? value * 1000 : value)

function fromText(value: string): number {
  const trimmed = value.trim()
  if (/^\d+(\.\d+)?$/.test(trimmed)) return fromNumber(Number(trimmed))
  const iso = /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d+)?)?) ?(Z|[+-]\d\d:?\d\d)?$/.exec(trimmed)
  return iso ? Date.parse(`${iso[1]}T${iso[2]}${iso[3] ?? 'Z'}`) : Number.NaN // no zone: UTC, as the producer's clock
}

/** The last four digits: all of a card number that a person may see (PCI DSS 4.0.1, 3.4.1). */
export const lastFour = (cc_num: bigint) => String(cc_num).slice(-4)

/** In one piece, or as printed on a card: 4-4-4-4, 4-4-4-4-3, 4-6-5. First what is none: a transaction's number, in hex. */
const CARD =
  /(?<![a-z\d])(?=\d*[a-f])[\da-f]{32}(?![a-z\d])|\d{11,}|\d{4}([ -])(?:\d{4}\1\d{4}\1\d{1,7}(?:\1\d{1,3})?|\d{6}\1\d{4,5})/g
/** Takes whatever could be a card number out of a text from outside, all but its last four digits. */
export const maskCards = (value: string) =>
  value.replace(CARD, (found) => (/[a-f]/.test(found) ? found : `…${found.replace(/\D/g, '').slice(-4)}`))
