import { expect, test } from 'vitest'
import { readDocument } from '../../src/fetch/document.ts'
import { parse, stringify } from '../../src/json.ts'
import { toTransaction } from '../../src/transaction.ts'
import { body, LONG_CARD, row } from '../rows.ts'

const NOW = 1_770_000_000_000
const KEPT = 64 * 1024
const document = (columns: string[], ...data: unknown[]) => stringify({ columns, index: data.map((_, i) => i), data })

test.for([
  ['one row inside a JSON string', [row(1)], true],
  ['one plain row', [row(1)], false],
  ['many rows inside a JSON string', [row(1), row(2), row(3)], true],
  ['many plain rows', [row(1), row(2), row(3)], false],
] as const)('reads %s', ([, rows, doubled]) => {
  const { transactions, ...others } = readDocument(body(rows, { doubled }), NOW)
  expect(transactions).toEqual(rows.map((r) => toTransaction(r, NOW)))
  expect(others).toEqual({ letters: [] })
})

test('a document without rows holds nothing, and nothing is wrong with it', () => {
  expect(readDocument(body([]), NOW)).toEqual({ transactions: [], letters: [] })
})

test('finds columns by name: reordered, added, left out', () => {
  const { street: _, ...others } = row(1)
  const columns = ['brand_new', ...Object.keys(others).reverse()]
  const values = columns.map((column) => (column === 'brand_new' ? { any: 'thing' } : others[column]))
  const { transactions, letters } = readDocument(document(columns, values), NOW)
  expect(letters).toEqual([])
  expect(transactions).toEqual([{ ...toTransaction(row(1), NOW), street: null }])
})

test.for([
  ['current_time in ms', { current_time: 1767323045678 }, 1767323045678],
  ['current_time as ISO text', { current_time: '2026-01-02T03:04:05.678Z' }, 1767323045678],
  ['current_time as ISO text of another zone', { current_time: '2026-01-02T04:04:05.678+01:00' }, 1767323045678],
  ['unix_time in seconds', { unix_time: 1767323045 }, 1767323045000],
  [
    'the two columns of the training file',
    { trans_date_trans_time: '2026-01-02 03:04:05', unix_time: 1767323045 },
    1767323045000,
  ],
  ['trans_date_trans_time alone', { trans_date_trans_time: '2026-01-02 03:04:05' }, 1767323045000],
] as const)('knows the time from %s', ([, time, event_time]) => {
  const { current_time: _, ...others } = row(1)
  const { transactions, letters } = readDocument(body([{ ...others, ...time }]), NOW)
  expect(letters).toEqual([])
  expect(transactions[0]).toMatchObject({
    event_time,
    unix_time: 1767323045,
    trans_date_trans_time: '2026-01-02 03:04:05',
    fetched_at: NOW,
  })
})

test.for([
  ['as a number, plain', LONG_CARD, false],
  ['as a number, inside a JSON string', LONG_CARD, true],
  ['as a string', String(LONG_CARD), true],
] as const)('keeps all 19 digits of a card number that comes %s', ([, cc_num, doubled]) => {
  expect(readDocument(body([row(1, { cc_num })], { doubled }), NOW).transactions[0]?.cc_num).toBe(LONG_CARD)
})

const BAD_ROWS: [what: string, changes: Record<string, unknown>, reason: RegExp][] = [
  ['an amount that is text', { amt: '12.5O' }, /^amt must be a finite number$/],
  ['an amount that is missing', { amt: null }, /^amt must be a finite number$/],
  ['a card number that is none', { cc_num: '4111-1111' }, /^cc_num must have 11 to 19 digits, the first no 0$/],
  [
    'a card number beyond 64 bits',
    { cc_num: 9_999_999_999_999_999_999n },
    /^cc_num is larger than 9223372036854775807$/,
  ],
  ['a time that is none', { current_time: 'yesterday' }, /^current_time .* is no time$/],
  ['a transaction number that is empty', { trans_num: '' }, /^trans_num must not be empty$/],
  ['two mistakes', { amt: '', trans_num: {} }, /^amt must be a finite number; trans_num must be text$/],
]

test.for(BAD_ROWS)('sets a row aside for %s, and its neighbours go on', ([, changes, reason]) => {
  const bad = row(2, { cc_num: LONG_CARD, ...changes })
  const { transactions, letters, wholeBody } = readDocument(body([row(1), bad, row(3)]), NOW)
  expect(transactions).toEqual([toTransaction(row(1), NOW), toTransaction(row(3), NOW)])
  expect(wholeBody).toBeUndefined()
  expect(letters).toEqual([
    { stage: 'fetch', at: NOW, reason: expect.stringMatching(reason), record: expect.anything() },
  ])
  expect(letters[0]?.record).toEqual({ columns: Object.keys(bad), data: [Object.values(bad)] })
})

test('says which columns are missing', () => {
  const { amt: _, trans_num: __, ...others } = row(1)
  expect(readDocument(body([others]), NOW).letters.map(({ reason }) => reason)).toEqual([
    'amt is missing; trans_num is missing',
  ])
})

test.for([
  ['too short', [1, 2], 'the row has 2 values for 21 columns'],
  ['too long', [...Object.values(row(2, { cc_num: LONG_CARD })), 1], 'the row has 22 values for 21 columns'],
  ['an object', row(2, { cc_num: LONG_CARD }), 'the row is not a list'],
  ['null', null, 'the row is not a list'],
] as const)('sets a row aside that is %s', ([, bad, reason]) => {
  const columns = Object.keys(row(1))
  const { transactions, letters } = readDocument(document(columns, Object.values(row(1)), bad), NOW)
  expect(transactions).toHaveLength(1)
  expect(letters).toEqual([{ stage: 'fetch', at: NOW, reason, record: { columns, data: [bad] } }])
})

test('a row set aside is a document of its own: put right, it is read again with every digit', () => {
  const [letter] = readDocument(body([row(1, { cc_num: LONG_CARD, amt: '$5' })]), NOW).letters
  const cured = stringify(letter?.record).replace('"$5"', '5')
  expect(readDocument(cured, NOW).transactions).toEqual([toTransaction(row(1, { cc_num: LONG_CARD, amt: 5 }), NOW)])
})

test.for<[string, string]>([
  ['Service is waking up', 'not valid JSON'],
  ['"Service is waking up"', 'not valid JSON'],
  ['{"columns":["amt"],"data":[[1]', 'not valid JSON'],
  ['null', 'it is not an object'],
  ['[[1,2]]', 'it is not an object'],
  ['17', 'it is not an object'],
  ['{"error":"Rate limit exceeded: 5 per 1 minute"}', 'it has no list "columns"'],
  ['{"columns":["amt",1],"data":[]}', 'it has no list "columns"'],
  ['{"columns":["amt"]}', 'it has no list "data"'],
  ['{"columns":["amt"],"data":{}}', 'it has no list "data"'],
])('keeps a body that is no document, as it is: %s', ([text, why]) => {
  expect(readDocument(text, NOW)).toEqual({
    transactions: [],
    letters: [
      {
        stage: 'fetch',
        at: NOW,
        reason: `the body is no document: ${why}`,
        record: { body: text, bytes: Buffer.byteLength(text) },
      },
    ],
    wholeBody: true,
  })
})

test('keeps a body of 64 KiB that is no document whole', () => {
  const text = 'é'.repeat(KEPT / 2)
  expect(readDocument(text, NOW).letters[0]?.record).toEqual({ body: text, bytes: KEPT })
})

test('cuts a longer one at 64 KiB, by bytes, and says how long it was', () => {
  const text = `${'é'.repeat(KEPT / 2)}tail`
  expect(readDocument(text, NOW).letters[0]?.record).toEqual({ body: 'é'.repeat(KEPT / 2), bytes: KEPT + 4 })
})

test('no reason repeats what the row or the body holds', () => {
  const bodies = [
    ...BAD_ROWS.map(([, changes]) => body([row(2, { merchant: 'Secret Shop', ...changes })])),
    `card ${LONG_CARD} at Secret Shop`,
    `{"columns":"Secret Shop","data":[${LONG_CARD}]}`,
  ]
  for (const text of bodies) {
    const [letter] = readDocument(text, NOW).letters
    expect(letter?.reason).not.toMatch(/Secret Shop|4992346398065154184|12\.5O|4111|yesterday/)
  }
})

test('a dead letter survives the topic: printed and parsed it is the same', () => {
  const { letters } = readDocument(body([row(1, { cc_num: LONG_CARD, amt: null })]), NOW)
  expect(parse(stringify(letters[0]))).toEqual(letters[0])
})

test('a row nested too deeply to be printed takes nothing with it', () => {
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`
  const { columns, data } = JSON.parse(body([row(1), row(2, { amt: 'deep' })], { doubled: false }))
  const text = JSON.stringify({ columns, data }).replace('"deep"', deep)
  const { transactions, letters } = readDocument(text, 1)
  expect(transactions.map((t) => t.trans_num)).toEqual(['trans-1'])
  expect(letters).toMatchObject([
    { reason: 'amt must be a finite number', record: { data: ['nested too deeply to be kept'] } },
  ])
})
