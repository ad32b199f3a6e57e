import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parse, stringify } from '../src/json.ts'
import { decode } from '../src/topic/topic.ts'
import {
  BadRow,
  FEATURES,
  identity,
  lastFour,
  maskCards,
  NUMERIC_FEATURES,
  TRAINING_COLUMNS,
  toTransaction,
} from '../src/transaction.ts'
import { LONG_CARD, row, transaction } from './rows.ts'

const NOW = 1_767_400_000_000
const TIME = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const TIMELESS = { current_time: undefined }

/** Why a row is no transaction; fails when it is one. */
function reasonOf(changes: Record<string, unknown>): string {
  try {
    toTransaction(row(1, changes), NOW)
  } catch (error) {
    expect(error).toBeInstanceOf(BadRow)
    return (error as Error).message
  }
  throw new Error('it was taken for a transaction')
}

test('the columns are those of the training file, in its order', () => {
  expect(TRAINING_COLUMNS.join()).toBe(
    'trans_date_trans_time,cc_num,merchant,category,amt,first,last,gender,street,city,state,zip,lat,long,city_pop,job,dob,' +
      'trans_num,unix_time,merch_lat,merch_long,is_fraud',
  )
  expect(FEATURES.join()).toBe(TRAINING_COLUMNS.slice(0, -1).join())
  expect(NUMERIC_FEATURES.join()).toBe('cc_num,amt,zip,lat,long,city_pop,unix_time,merch_lat,merch_long')
})

test("reads a row of the producer, with the times it implies and without the producer's own", () => {
  const { current_time, ...columns } = row(1, { cc_num: LONG_CARD })
  expect(toTransaction(row(1, { cc_num: LONG_CARD }), NOW)).toEqual({
    ...columns,
    trans_date_trans_time: '2026-01-02 03:04:06',
    unix_time: 1_767_323_046,
    event_time: 1_767_323_046_678,
    fetched_at: NOW,
  })
})

test.for<[what: string, cc_num: unknown, digits: string]>([
  ['a number of 11 digits', 10_000_000_000, '10000000000'],
  ['a number of 16 digits', 4_000_123_412_341_234, '4000123412341234'],
  ['a bigint of 11 digits', 10_000_000_000n, '10000000000'],
  ['a bigint of 19 digits', LONG_CARD, '4992346398065154184'],
  ['the largest that a database holds', 2n ** 63n - 1n, '9223372036854775807'],
  ['a text of 11 digits', '10000000000', '10000000000'],
  ['a text of 19 digits', '4992346398065154184', '4992346398065154184'],
  ['a text with spaces around it', ' 4992346398065154184\n', '4992346398065154184'],
])('the card number may be %s', ([, cc_num, digits]) => {
  const { cc_num: read } = toTransaction(row(1, { cc_num }), NOW)
  expect(typeof read).toBe('bigint')
  expect(String(read)).toBe(digits)
})

test('every card number has the same digits when it comes out of the topic, long or short, number or text', () => {
  const card = fc.oneof(
    fc.bigInt({ min: 10n ** 10n, max: 2n ** 63n - 1n }),
    fc.bigInt({ min: 10n ** 10n, max: 10n ** 12n }),
  )
  fc.assert(
    fc.property(card, fc.boolean(), (cc_num, asText) => {
      const sent = stringify(row(1, { cc_num: asText ? String(cc_num) : cc_num }))
      const taken = toTransaction(parse(sent) as Record<string, unknown>, NOW)
      const stored = stringify(taken)
      expect(stored).toContain(`"cc_num":${cc_num},`)
      expect(decode<'transactions'>(stored)).toEqual({ ...taken, cc_num })
    }),
  )
})

test.for<[unknown, string]>([
  [9_999_999_999, 'must have 11 to 19 digits, the first no 0'],
  [0, 'must have 11 to 19 digits, the first no 0'],
  ['04000000000000001', 'must have 11 to 19 digits, the first no 0'],
  ['4000', 'must have 11 to 19 digits, the first no 0'],
  [10n ** 19n, 'must have 11 to 19 digits, the first no 0'],
  ['10000000000000000000', 'must have 11 to 19 digits, the first no 0'],
  [-4_000_123_412_341_234, 'must have 11 to 19 digits, the first no 0'],
  [-LONG_CARD, 'must have 11 to 19 digits, the first no 0'],
  ['', 'must have 11 to 19 digits, the first no 0'],
  ['4992 3463 9806 5154', 'must have 11 to 19 digits, the first no 0'],
  ['4.000123412341234e15', 'must have 11 to 19 digits, the first no 0'],
  ['0x10000000000', 'must have 11 to 19 digits, the first no 0'],
  [2n ** 63n, 'is larger than 9223372036854775807'],
  ['9999999999999999999', 'is larger than 9223372036854775807'],
  [Number(LONG_CARD), 'must be a card number'], // its last digits are lost already
  [4_000_123_412.5, 'must be a card number'],
  [null, 'must be a card number'],
  [true, 'must be a card number'],
  [['4000123412341234'], 'must be a card number'],
  [undefined, 'is missing'],
])('the card number %o is refused', ([cc_num, reason]) => {
  expect(reasonOf({ cc_num })).toBe(`cc_num ${reason}`)
})

test.for<[unknown, number]>([
  [TIME, TIME],
  [TIME / 1000, TIME],
  [TIME + 0.4, TIME],
  ['1767323045.6783', TIME],
  [Math.floor(TIME / 1000), TIME - 678],
  [String(TIME), TIME],
  [` ${TIME / 1000} `, TIME],
  ['2026-01-02T03:04:05.678Z', TIME],
  ['2026-01-02T03:04:05.678', TIME],
  ['2026-01-02 03:04:05.678', TIME],
  [' 2026-01-02 03:04:05.678 ', TIME],
  ['2026-01-02T03:04:05.678901', TIME],
  ['2026-01-02T03:04:05.678901+00:00', TIME],
  ['2026-01-02 03:04:05', TIME - 678],
  ['2026-01-02T03:04', TIME - 5678],
  ['2026-01-02T04:34:05.678+01:30', TIME],
  ['2026-01-02T04:34:05.678+0130', TIME],
  ['2026-01-01 22:04:05.678 -05:00', TIME],
  [0, 0],
  [99_999_999_999, 99_999_999_999_000], // seconds up to here, ms from the next one on
  [100_000_000_000, 100_000_000_000],
  [253_402_300_799_999, 253_402_300_799_999], // the end of the year 9999
])('current_time may be %o', ([current_time, event_time]) => {
  const t = toTransaction(row(1, { current_time }), NOW)
  const iso = new Date(event_time).toISOString()
  expect(t).toMatchObject({
    event_time,
    unix_time: Math.floor(event_time / 1000),
    trans_date_trans_time: `${iso.slice(0, 10)} ${iso.slice(11, 19)}`,
  })
})

test('a time without a zone is UTC, wherever the worker runs', () => {
  const { TZ } = process.env
  try {
    process.env.TZ = 'America/New_York'
    expect(new Date(TIME).getTimezoneOffset()).toBe(300)
    for (const current_time of ['2026-01-02T03:04:05.678', '2026-01-02 03:04:05.678', '2026-01-02T03:04:05.678Z'])
      expect(toTransaction(row(1, { current_time }), NOW)).toMatchObject({
        event_time: TIME,
        trans_date_trans_time: '2026-01-02 03:04:05',
      })
  } finally {
    if (TZ === undefined) delete process.env.TZ
    else process.env.TZ = TZ
  }
})

test.for<[what: string, times: Record<string, unknown>, event_time: number]>([
  ['unix_time in seconds', { unix_time: 1_767_323_045, trans_date_trans_time: '2026-01-02 03:04:05' }, TIME - 678],
  ['unix_time in ms', { unix_time: TIME, trans_date_trans_time: '2026-01-02 03:04:05' }, TIME],
  ['trans_date_trans_time alone', { trans_date_trans_time: '2026-01-02 03:04:05' }, TIME - 678],
  ['an empty current_time', { current_time: null, unix_time: 1_767_323_045 }, TIME - 678],
  ['all three, where current_time counts', { current_time: TIME, unix_time: 1, trans_date_trans_time: 'x' }, TIME],
])('a fork may send %s', ([, times, event_time]) => {
  expect(toTransaction(row(1, { ...TIMELESS, ...times }), NOW)).toMatchObject({
    event_time,
    unix_time: 1_767_323_045,
    trans_date_trans_time: '2026-01-02 03:04:05',
  })
})

test.for([
  ...[undefined, null, '', 'yesterday', true, [], {}, -1, -1_767_323_045_678, BigInt(TIME)],
  ...[
    '2026-13-02T03:04:05Z',
    '2026-01-02',
    '2026-01-02T25:04:05Z',
    '02/01/2026 03:04',
    '20260102T030405Z',
    '-5',
    '1e12',
  ],
  ...[253_402_300_800_000, 1e18, '253402300800000', '+010000-01-01T00:00:00Z'],
])('%o is no time', (current_time) => {
  const reason = 'current_time (or unix_time, or trans_date_trans_time) is missing or is no time'
  expect(reasonOf({ current_time })).toBe(reason)
})

test('a wrong current_time is not made good by another column', () => {
  expect(reasonOf({ current_time: 'soon', unix_time: 1_767_323_045 })).toMatch(/^current_time .* is no time$/)
})

const REQUIRED = ['cc_num', 'amt', 'trans_num']
const OPTIONAL = Object.keys(row(1)).filter((column) => column !== 'current_time' && !REQUIRED.includes(column))

test.for(OPTIONAL)('a fork may leave out %s, or leave it empty', (column) => {
  const others = transaction(1)
  for (const empty of [undefined, null])
    expect(toTransaction(row(1, { [column]: empty }), others.fetched_at)).toEqual({ ...others, [column]: null })
  const { [column]: _, ...without } = row(1)
  expect(toTransaction(without, others.fetched_at)).toEqual({ ...others, [column]: null })
})

test('a fork may leave out everything but card, amount, number and time', () => {
  const { cc_num, amt, trans_num, current_time } = row(1)
  const t = toTransaction({ cc_num, amt, trans_num, current_time }, NOW)
  expect(t).toMatchObject({ amt, trans_num, event_time: current_time })
  expect(Object.keys(t).sort()).toEqual(Object.keys(transaction(1)).sort())
})

test('a fork may add columns and send them in any order; what we do not know is left out', () => {
  const more = { ...row(1), device: 'phone', constructor: 1, ['__proto__']: 2, fetched_at: 3, event_time: 4 }
  const shuffled = Object.fromEntries(Object.entries(more).reverse())
  expect(toTransaction(shuffled, transaction(1).fetched_at)).toEqual(transaction(1))
})

test.for([
  [0, 0],
  [1, 1],
  [false, 0],
  [true, 1],
  ['0', 0],
  ['1', 1],
])('is_fraud may be %o', ([is_fraud, label]) => {
  expect(toTransaction(row(1, { is_fraud }), NOW).is_fraud).toBe(label)
})

test.for<[column: string, value: unknown, reason: string]>([
  ['amt', '12.50', 'must be a finite number'],
  ['amt', null, 'must be a finite number'],
  ['amt', Number.NaN, 'must be a finite number'],
  ['amt', Number.POSITIVE_INFINITY, 'must be a finite number'],
  ['amt', LONG_CARD, 'must be a finite number'],
  ['amt', undefined, 'is missing'],
  ['trans_num', undefined, 'is missing'],
  ['trans_num', null, 'must be text'],
  ['trans_num', 42, 'must be text'],
  ['trans_num', '', 'must not be empty'],
  ['trans_num', 'x'.repeat(201), 'is longer than 200 characters'],
  ['zip', '62701', 'must be a whole number'],
  ['zip', 62701.5, 'must be a whole number'],
  ['city_pop', LONG_CARD, 'must be a whole number'],
  ['city_pop', 1e20, 'must be a whole number'],
  ['lat', '39.78', 'must be a finite number'],
  ['merch_long', true, 'must be a finite number'],
  ['merchant', 7, 'must be text'],
  ['dob', ['1980-02-29'], 'must be text'],
  ['is_fraud', 2, 'must be 0 or 1'],
  ['is_fraud', 'yes', 'must be 0 or 1'],
])('%s = %o is refused', ([column, value, reason]) => {
  expect(reasonOf({ [column]: value })).toBe(`${column} ${reason}`)
})

test('a transaction number may have 200 characters', () => {
  expect(toTransaction(row(1, { trans_num: 'x'.repeat(200) }), NOW).trans_num).toHaveLength(200)
})

test('names every column that is wrong, in one line, and repeats no value', () => {
  const wrong = fc.constantFrom<[unknown, string]>(
    [{ secret: 4_000_123_412_341_234 }, '4000123412341234'],
    [['4000123412341234'], '4000123412341234'],
    [Symbol('4000123412341234'), '4000123412341234'],
  )
  const columns = fc.uniqueArray(fc.constantFrom(...REQUIRED, ...OPTIONAL, 'current_time'), { minLength: 1 })
  fc.assert(
    fc.property(columns, wrong, (names, [value, shown]) => {
      const reason = reasonOf(Object.fromEntries(names.map((name) => [name, value])))
      const named = reason.split('; ').map((part) => part.split(' ')[0])
      expect(named.sort()).toEqual([...names].sort())
      expect(reason).not.toContain(shown)
      expect(reason).not.toMatch(/\n|undefined|Invalid/)
    }),
  )
})

test('whatever a row holds, it is a transaction that can be stored, or a bad row', () => {
  const value = fc.oneof(fc.jsonValue(), fc.bigInt(), fc.constantFrom(undefined, LONG_CARD, 1e20))
  fc.assert(
    fc.property(fc.uniqueArray(fc.constantFrom(...Object.keys(row(1)))), fc.array(value), (names, values) => {
      let t: ReturnType<typeof toTransaction>
      try {
        t = toTransaction(row(1, Object.fromEntries(names.map((name, i) => [name, values[i]]))), NOW)
      } catch (error) {
        expect(error).toBeInstanceOf(BadRow)
        return
      }
      for (const item of Object.values(t)) expect(['string', 'number', 'bigint', 'object']).toContain(typeof item)
      expect(stringify(decode<'transactions'>(stringify(t)))).toBe(stringify(t))
    }),
    { numRuns: 1000 },
  )
})

test('an amount beyond 2^53 is still a number after the topic', () => {
  const t = transaction(1, { amt: 1e20, merch_lat: -1e17 })
  expect(decode<'transactions'>(stringify(t))).toEqual(t)
})

test('two draws of the same row at different times are two transactions', () => {
  expect(identity(transaction(1))).toBe(identity(transaction(1, { amt: 99 })))
  expect(identity(transaction(1))).not.toBe(identity(transaction(1, { current_time: TIME + 60_000 })))
  expect(identity(transaction(1))).not.toBe(identity(transaction(1, { trans_num: 'another' })))
})

test('shows four digits of a card', () => {
  expect(lastFour(LONG_CARD)).toBe('4184')
  expect(lastFour(40_000_000_001n)).toBe('0001')
})

test.for<[text: string, masked: string]>([
  ['4992346398065154184', '…4184'],
  ['10000001234', '…1234'], // 11 digits
  ['card 4992346398065154184, again "4992346398065154184"', 'card …4184, again "…4184"'],
  ['4992 3463 9806 5154', '…5154'],
  ['4992-3463-9806-5154', '…5154'],
  ['4992 3463 9806 5154 184', '…4184'], // 19 digits
  ['4992-3463-9806-5154-184 was refused', '…4184 was refused'],
  ['3782 822463 10005', '…0005'], // 15 digits
  ['3056-930902-5904', '…5904'], // 14 digits
  ['x4992346398065154184x', 'x…4184x'],
  ['49923463980651541844992346398065154184', '…4184'],
  ['4992346398065154184abcdef012345', '…4184abcdef012345'], // too short for a transaction's number
  ['{"cc_num":4992346398065154184}', '{"cc_num":…4184}'],
])('masks the card number in %s', ([text, masked]) => {
  expect(maskCards(text)).toBe(masked)
})

test.for([
  '',
  'no digits',
  '1234567890',
  '2026-01-02 03:04:05',
  '2026-01-02T03:04:05.678Z',
  '39.7817, -89.6501',
  '$1,234.56',
  'transaction 8a6f929443574835541dc4c9542f5f1b is no card',
  'outbox/2026-01-02T03_04_05.678Z_fa07f929443574835541dc4c9542f5f1.eml',
])('leaves %o as it is', (text) => {
  expect(maskCards(text)).toBe(text)
})

test('whatever the text around it, five digits of a card in a row are never left', () => {
  const card = fc.bigInt({ min: 10n ** 10n, max: 2n ** 63n - 1n }).map(String)
  fc.assert(
    fc.property(fc.string(), card, fc.string(), (before, digits, after) => {
      const masked = maskCards(`${before} ${digits} ${after}`)
      expect(masked).not.toContain(digits)
      expect(masked).not.toContain(digits.slice(0, -4))
    }),
  )
})
