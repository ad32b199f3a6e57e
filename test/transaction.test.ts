import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FEATURES, NUMERIC_FEATURES, TRAINING_COLUMNS } from '../src/columns.ts'
import { parse, stringify } from '../src/io/json.ts'
import { decode } from '../src/topic/topic.ts'
import {
  BadRow,
  columnsAmong,
  identity,
  isSimulated,
  stamp,
  type Transaction,
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
  ['a text of a float, as pandas writes it', '4000123412341234.0', '4000123412341234'],
  ['a text of a float with an exponent', '4.000123412341234e15', '4000123412341234'],
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
  ['4.9923463980651541e18', 'must have 11 to 19 digits, the first no 0'], // its last digits are lost already
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
  ['2026-01-02 03:04:05.678123456', TIME],
  ['2026-01-02 03:04:05,678', TIME],
  ['2026-01-02 03:04:05.678+00', TIME],
  ['2026-01-02T03:04:05.678+0000', TIME],
  ['2026-01-01 22:04:05.678-05', TIME],
  ['2026-01-02 03:04:05.678 UTC', TIME],
  ['2026-01-02 03:04:05.678 GMT', TIME],
  ['2026-01-02t03:04:05.678z', TIME],
  ['2024-02-29 00:00:00', Date.UTC(2024, 1, 29)],
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
    '2026-02-30T03:04:05Z', // JavaScript takes it for 2 March
    '2023-02-29 03:04:05',
    '0000-01-01T00:00:00Z',
    '2026-01-02T03:04:05+99:00',
    '2026-01-02T03:04:05 CET',
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

test.for(['', ' ', 'NaT', 'nan', 'None', 'null', '<NA>', 'soon', '0000-00-00 00:00:00', -1, Infinity, true, {}, []])(
  '%o in one time column does not hide the next one',
  (none) => {
    const t = { unix_time: 1_767_323_045 }
    const told: string[] = []
    const read = (times: Record<string, unknown>) =>
      toTransaction(row(1, times), NOW, (column) => told.push(column)).event_time
    expect(read({ current_time: none, ...t })).toBe(TIME - 678)
    expect(read({ current_time: none, unix_time: none, trans_date_trans_time: '2026-01-02 03:04:05' })).toBe(TIME - 678)
    expect(read({ current_time: TIME, unix_time: none })).toBe(TIME)
    const empty = typeof none === 'string' && none !== 'soon' && !none.startsWith('0')
    expect(told).toEqual(empty ? [] : ['current_time', 'current_time', 'unix_time'])
  },
)

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

/** What is read of a value in a column, and what is said of it. */
function readIn(column: string, value: unknown) {
  const told: string[] = []
  const t = toTransaction(row(1, { [column]: value }), NOW, (name, what) => told.push(`${name} ${what}`))
  return { read: t[column as keyof Transaction], told, t }
}

test.for<[column: string, value: unknown, read: unknown]>([
  ...[0, false, '0', '0.0', 'False', ' false ', 'no', 'F', '00'].map(
    (v) => ['is_fraud', v, 0] as [string, unknown, number],
  ),
  ...[1, true, '1', '1.0', 'True', 'TRUE', 'yes', 'y', '1e0'].map(
    (v) => ['is_fraud', v, 1] as [string, unknown, number],
  ),
  ['amt', '2060.16', 2060.16],
  ['amt', ' 12 ', 12],
  ['amt', '1e3', 1000],
  ['amt', '-0.5', -0.5],
  ['amt', '+7', 7],
  ['amt', '.5', 0.5],
  ['amt', '12.', 12],
  ['amt', '0012.50', 12.5],
  ['zip', '02134', 2134],
  ['zip', '62701.0', 62701],
  ['city_pop', '114394', 114394],
  ['lat', '39.7817', 39.7817],
  ['long', '-89.6501', -89.6501],
  ['merch_lat', '0', 0],
  ['trans_num', 42, '42'],
  ['trans_num', LONG_CARD, String(LONG_CARD)],
  ['trans_num', '042', '042'],
  ['merchant', 7, '7'],
  ['street', LONG_CARD, String(LONG_CARD)],
  ['last', 'Null', 'Null'],
  ['city', '', ''],
  ['dob', '1980-02-29', '1980-02-29'],
  ['dob', ' 0001-01-01 ', '0001-01-01'],
  ['dob', '1980-02-29T00:00:00', '1980-02-29'],
  ['dob', '1980-02-29 00:00:00.000000', '1980-02-29'],
  ...['is_fraud', 'zip', 'lat', 'merch_long', 'dob'].flatMap((column) =>
    ['', ' ', 'nan', 'NaN', 'None', 'null', 'NaT', null].map((v) => [column, v, null] as [string, unknown, null]),
  ),
])('%s = %o is %o, and nothing is wrong with it', ([column, value, wanted]) => {
  const { read, told } = readIn(column, value)
  expect(read).toBe(wanted)
  expect(told).toEqual([])
})

test.for<[column: string, value: unknown]>([
  ...[2, -1, 0.5, 'maybe', {}, [], '2', LONG_CARD, 'x'.repeat(1e6)].map(
    (value) => ['is_fraud', value] as [string, unknown],
  ),
  ...['K1A 0B1', '02134-1234', 62701.5, LONG_CARD, 1e20, true, {}, '1,000', '9'.repeat(50)].map(
    (value) => ['zip', value] as [string, unknown],
  ),
  ...['39,78', '39.78 N', '0x10', '1_000', '٣٩', 'Infinity', '1e400', Infinity, [1], '1'.repeat(1e6)].map(
    (value) => ['lat', value] as [string, unknown],
  ),
  ...[{}, [], true, 1.5, 1e20].map((value) => ['merchant', value] as [string, unknown]),
  ...[
    '03/04/1980',
    '29/02/1980',
    '1980-02-30',
    '1981-02-29',
    '0000-00-00',
    '0000-01-01',
    '12345-01-01',
    '80-01-01',
  ].map((value) => ['dob', value] as [string, unknown]),
  ...[
    'infinity',
    'epoch',
    'now',
    'today',
    'yesterday',
    'allballs',
    '1980-01-01 BC',
    '1980-01-01T12:00:00',
    '19800101',
    'J2451187',
  ].map((value) => ['dob', value] as [string, unknown]),
  ...['1980-1-1', '1980.01.01', 'Jan 1 1980', '1980-001', 320716800000, ['1980-02-29'], '1980-01-01\n; x'].map(
    (value) => ['dob', value] as [string, unknown],
  ),
])('%s = %o cannot be read, which stops nothing: it is null, and named without its value', ([column, value]) => {
  const { read, told, t } = readIn(column, value)
  expect(t).toEqual({ ...toTransaction(row(1), NOW), [column]: null })
  expect(read).toBeNull()
  expect(told).toEqual([expect.stringMatching(new RegExp(`^${column} is not [\\w ]+( like 1980-12-31)?$`))])
})

test('a text is kept as every database takes it: 1,000 characters, no NUL, no half of a pair', () => {
  expect(readIn('job', 'x'.repeat(1000)).told).toEqual([])
  expect(readIn('job', `${'x'.repeat(999)}💳💳`)).toMatchObject({
    read: 'x'.repeat(999),
    told: ['job is longer than 1000 characters and is cut'],
  })
  const replaced = 'has characters that no database takes, which are replaced'
  expect(readIn('city', 'a\0b\ud800c\udc00')).toMatchObject({
    read: 'a\ufffdb\ufffdc\ufffd',
    told: [`city ${replaced}`],
  })
  expect(readIn('trans_num', 'a\0')).toMatchObject({ read: 'a\ufffd', told: [`trans_num ${replaced}`] })
  expect(readIn('last', 'Müller 💳 日本')).toMatchObject({ read: 'Müller 💳 日本', told: [] })
})

test.for<[column: string, value: unknown, reason: string]>([
  ...[
    '12.5O',
    '',
    'nan',
    '1,234.56',
    '$12',
    '0x10',
    '1e400',
    '٣',
    '12 34',
    '1'.repeat(1e6),
    String(LONG_CARD),
    true,
    [],
    {},
  ].map((value) => ['amt', value, 'must be a finite number'] as [string, unknown, string]),
  ['amt', null, 'must be a finite number'],
  ['amt', Number.NaN, 'must be a finite number'],
  ['amt', Number.POSITIVE_INFINITY, 'must be a finite number'],
  ['amt', LONG_CARD, 'must be a finite number'],
  ['amt', undefined, 'is missing'],
  ['trans_num', undefined, 'is missing'],
  ['trans_num', null, 'must be text'],
  ['trans_num', 4.2, 'must be text'],
  ['trans_num', 1e20, 'must be text'],
  ['trans_num', true, 'must be text'],
  ['trans_num', '', 'must not be empty'],
  ['trans_num', 'x'.repeat(201), 'is longer than 200 characters'],
])('%s = %o is refused', ([column, value, reason]) => {
  expect(reasonOf({ [column]: value })).toBe(`${column} ${reason}`)
})

test.for<[names: Record<string, string>]>([
  [{ long: 'lon', merch_long: 'merch_lon' }],
  [{ long: 'lng', lat: 'latitude', merch_long: 'merch_lng' }],
  [{ long: 'Longitude', merch_lat: 'Merch_Latitude' }],
  [{ cc_num: 'CC_NUM', amt: ' Amt ', trans_num: 'Trans_Num\t', current_time: 'Current_Time', zip: 'ZIP' }],
])('a fork may name columns so: %o', ([names]) => {
  const columns = Object.keys(row(1))
  const places = columnsAmong(columns.map((column) => names[column] ?? column))
  expect(new Set(places)).toEqual(new Set(columns.map((column, i) => [column, i])))
})

test('a column by its own name counts before another that is like it, and the last of two', () => {
  const places = columnsAmong(['AMT', 'amt', 'lon', 'amt', 'Amt', '__proto__', 'constructor', `${'x'.repeat(1e6)}amt`])
  expect([...places]).toEqual([
    ['amt', 3],
    ['long', 2],
  ])
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
  const columns = fc.uniqueArray(fc.constantFrom(...REQUIRED, 'current_time'), { minLength: 1 })
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

describe('the stamp of a row', () => {
  test.for<[string | undefined, boolean, boolean, string | null, boolean]>([
    ['fraud/2', false, false, 'fraud/2', false],
    [undefined, false, false, null, false],
    ['fraud/2', false, true, 'fraud/2 (simulated payments)', true],
    [undefined, false, true, 'simulated payments', true],
    ['fraud/2', true, false, 'simulated', true],
    [undefined, true, true, 'simulated', true],
  ])('of model %s, which is simulated: %s, with payments that are: %s', ([name, model, payments, said, simulated]) => {
    expect(stamp(name, { model, payments })).toBe(said)
    expect(isSimulated(said)).toBe(simulated)
  })
  test('does not take a name for simulated that only speaks of it', () => {
    for (const name of ['simulated-data-rf', 'not simulated', 'simulated payments/3', 'rf (simulated)'])
      expect(isSimulated(name)).toBe(false)
  })
})
