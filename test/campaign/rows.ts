import fc from 'fast-check'
import type { Random } from '../../src/simulate/random.ts'
import { LONG_CARD, row } from '../rows.ts'

export type Row = Record<string, unknown> & { trans_num: string; current_time: number; cc_num: bigint }
export const idOf = ({ trans_num, current_time }: Row) => `${trans_num}@${current_time}`
/** To the model of a campaign. */
export const isFraud = ({ amt }: Record<string, unknown>) => Number(amt) >= 1000

const MERCHANTS = [
  'fraud_Kub, Inc',
  'fraud_=1+1',
  'fraud_O\'Hara "and" <b>Sons</b>',
  'fraud_a\r\nBcc: x@evil.example',
  'fraud_\u202egnp.exe',
  'fraud_日本語',
  '',
]
const hex = (random: Random, digits: number) =>
  Array.from({ length: digits }, () => random.integer(0, 15).toString(16)).join('')

/** One that nobody has sent; a card number of up to 19 digits, texts that are made to break something. */
export function newRow(random: Random, frauds: number): Row {
  const cents = (from: number, to: number) => Math.round(random.uniform(from, to) * 100) / 100
  const fraud = random.uniform() < frauds
  return row(random.integer(0, 1e9), {
    cc_num: random.uniform() < 0.1 ? LONG_CARD + BigInt(random.integer(0, 1e9)) : BigInt(random.integer(6e11, 9e14)),
    amt: fraud ? cents(1000, 9000) : cents(1, 900),
    merchant: random.pick(MERCHANTS),
    city_pop: random.uniform() < 0.1 ? null : random.integer(1, 3e6),
    is_fraud: random.pick([0, 0, 1, null]),
    trans_num: hex(random, 32),
    current_time: Date.now(),
  }) as Row
}

/** Bodies that hold no row, and answers that judge none, of any kind: `[[[…`, half a document, numbers without end. */
export function junk(seed: number, count: number) {
  const cut = fc
    .tuple(fc.json({ maxDepth: 4 }), fc.double({ min: 0, max: 1, noNaN: true }))
    .map(([text, share]) => text.slice(0, Math.floor(text.length * share)))
  const odd = fc.oneof(
    cut,
    fc.string({ unit: 'binary', maxLength: 300 }),
    fc.json({ maxDepth: 6 }).map((text) => `{"error":${text}}`),
    fc.integer({ min: 1, max: 5000 }).map((depth) => '['.repeat(depth)),
    fc.integer({ min: 20, max: 5000 }).map((digits) => `{"columns":["amt"],"data":[[${'9'.repeat(digits)}]]}`),
  )
  const answers = fc.oneof(
    fc.integer({ min: 600, max: 700 }).map((many) => JSON.stringify({ predictions: Array(many).fill(0) })),
    fc.string({ maxLength: 40 }).map((label) => JSON.stringify({ predictions: [`?${label}`] })), // `no` is a verdict
    fc.constantFrom('{"predictions":[NaN]}', '{"predictions":[7]}', '{"predictions":[]}', '', 'null', '<html>'),
    cut.map((text) => `{"predictions":${text}`),
  )
  return { bodies: fc.sample(odd, { seed, numRuns: count }), answers: fc.sample(answers, { seed, numRuns: count }) }
}
