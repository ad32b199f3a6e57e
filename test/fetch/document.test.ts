import { describe, expect, test } from 'vitest'
import { readDocument, readInParts } from '../../src/fetch/document.ts'
import { parse, stringify } from '../../src/io/json.ts'
import { toTransaction } from '../../src/transaction.ts'
import { body, LONG_CARD, row } from '../rows.ts'

const NOW = 1_770_000_000_000
const document = (columns: string[], ...data: unknown[]) => stringify({ columns, index: data.map((_, i) => i), data })

test.for([
  ['one row inside a JSON string', [row(1)], true],
  ['one plain row', [row(1)], false],
  ['many rows inside a JSON string', [row(1), row(2), row(3)], true],
  ['many plain rows', [row(1), row(2), row(3)], false],
] as const)('reads %s', ([, rows, doubled]) => {
  const { transactions, ...others } = readDocument(body(rows, { doubled }), NOW)
  expect(transactions).toEqual(rows.map((r) => toTransaction(r, NOW)))
  expect(others).toEqual({ letters: [], bad: 0 })
})

test('a document without rows holds nothing, and nothing is wrong with it', () => {
  expect(readDocument(body([]), NOW)).toEqual({ transactions: [], letters: [], bad: 0 })
})

test('finds columns by name: reordered, added, left out', () => {
  const { street: _, ...others } = row(1)
  const columns = ['brand_new', ...Object.keys(others).reverse()]
  const values = columns.map((column) => (column === 'brand_new' ? { any: 'thing' } : others[column]))
  const { transactions, letters } = readDocument(document(columns, values), NOW)
  expect(letters).toEqual([])
  expect(transactions).toEqual([{ ...toTransaction(row(1), NOW), street: null }])
})

test.for(['split', 'records'])(
  'a name of a fork is told once a body, and each row is read by its own names: %s',
  (form) => {
    const [ours, fork, other] = [
      {},
      { long: 'lon', merch_lat: 'merchant_lat' },
      { long: 'LON', merch_lat: 'Merch_Lat' },
    ].map(
      (names: Record<string, string>) => (n: number) =>
        Object.fromEntries(Object.entries(row(n)).map(([column, value]) => [names[column] ?? column, value])),
    )
    const rows = form === 'split' ? [1, 2, 3].map(fork!) : [fork!(1), fork!(2), other!(3), ours!(4), fork!(5)]
    let told = 0
    for (const part of readInParts(form === 'split' ? body(rows) : stringify(rows), NOW)) {
      told += part.unread?.size ?? 0
      expect(part.letters).toEqual([])
      expect(part.transactions).toEqual(rows.map((_, i) => toTransaction(row(i + 1), NOW)))
      expect([...(part.unread ?? [])]).toEqual([
        ['lon', 'is read as long'],
        ['merchant_lat', 'is read as merch_lat'],
      ])
    }
    expect(told).toBe(2)
  },
)

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
  ['text', 'x', 'the row is not a list'],
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
  ['{"columns":["amt"],"data":[[1]}', 'not valid JSON'],
  ['{"columns":["amt"],"data":[[1]]}]', 'not valid JSON'],
  ['{"columns" ["amt"]}', 'not valid JSON'],
  ['{"amt":1}{"amt":', 'not valid JSON'],
  ['['.repeat(100_000), 'not valid JSON'],
  ['\u0000', 'not valid JSON'],
  ['17', 'it is a number'],
  ['true', 'it is true or false'],
  ['[[1,2]]', 'it is a list of lists, without the names of the columns'],
  ['{"data":[[1,2]]}', 'it is a list of lists, without the names of the columns'],
  ['[1,2]', 'it is a list, but not of objects'],
  ['{"columns":["amt",1],"data":[]}', 'it has no list "columns"'],
  ['{"columns":["amt"]}', 'it has no list "data"'],
  ['{"columns":["amt"],"data":{}}', 'it has no list "data"'],
  [
    '{"cc_num":{"0":1},"amt":{"0":2}}',
    'it is an object of columns (pandas orient "columns" or "list"): orient "split" or "records" is read',
  ],
  [
    '{"cc_num":[1],"amt":[2]}',
    'it is an object of columns (pandas orient "columns" or "list"): orient "split" or "records" is read',
  ],
  ['{"status":"ok","4992346398065154184":1}', 'it is an object with the keys status, …4184, of which none is known'],
])('keeps a body that is no document, as it is, and names its form: %s', ([text, why]) => {
  const letter = {
    stage: 'fetch',
    at: NOW,
    reason: `the body is no document: ${why}`,
    record: { body: text, bytes: Buffer.byteLength(text) },
  }
  expect(readDocument(text, NOW)).toEqual({ transactions: [], letters: [letter], bad: 0, wholeBody: true })
})

test('keeps a body that is no document whole, however long it is', () => {
  const text = 'é'.repeat(5 * 2 ** 20)
  expect(readDocument(text, NOW).letters[0]?.record).toEqual({ body: text, bytes: 10 * 2 ** 20 })
})

test.for([
  ...[
    '[]',
    '{}',
    'null',
    '""',
    ' [ ] ',
    '"[]"',
    '"\\"[]\\""',
    '{"columns":["amt"],"data":[]}',
    '{"columns":[],"data":[]}',
  ],
  ...[
    '{"columns":["amt"],"data":null}',
    '{"data":[]}',
    '{"data":null}',
    '{"transactions":[],"count":0}',
    '{"data":{}}',
    '{"data":[],"message":"none"}',
    '{"error":0,"data":[]}',
  ],
  ...['{"result":[],"error":null}', '{"data":{"columns":["amt"],"index":[],"data":[]}}', '"{\\"data\\": \\"[]\\"}"'],
])('%s delivers nothing, and nothing is wrong with it', (text) => {
  expect(readDocument(text, NOW)).toEqual({ transactions: [], letters: [], bad: 0 })
})

test.for<[string, string]>([
  ['{"error":"Rate limit exceeded: 5 per 1 minute"}', 'Rate limit exceeded: 5 per 1 minute'],
  ['"{\\"error\\": \\"maintenance\\"}"', 'maintenance'],
  ['{"detail":"Not authenticated"}', 'Not authenticated'],
  ['{"detail":[{"loc":["query"],"msg":"field required"}]}', '[{"loc":["query"],"msg":"field required"}]'],
  ['{"success":false,"message":"try\\nlater"}', 'try later'],
  ['{"error":{"code":500}, "data":null}', '{"code":500}'],
  [`{"error":"card ${LONG_CARD}${'!'.repeat(1e6)}"}`, `card …4184${'!'.repeat(190)}…`],
])('%s says what is wrong: no row, and no dead letter', ([text, refused]) => {
  expect(readDocument(text, NOW)).toEqual({ transactions: [], letters: [], bad: 0, refused })
})

const records = (...rows: Record<string, unknown>[]) => stringify(rows)
test.for<[what: string, text: string]>([
  ['a list of objects', records(row(1), row(2, { cc_num: LONG_CARD }))],
  ['a list of objects inside a JSON string', JSON.stringify(records(row(1), row(2, { cc_num: LONG_CARD })))],
  ['one object after the other', `${stringify(row(1))}\n${stringify(row(2, { cc_num: LONG_CARD }))}\n`],
  [
    'a document inside a JSON string inside a JSON string',
    JSON.stringify(body([row(1), row(2, { cc_num: LONG_CARD })])),
  ],
  ...['data', 'transactions', 'result', 'anything'].flatMap((name): [string, string][] => [
    [`a list in "${name}"`, `{"status":"ok","${name}":${records(row(1), row(2, { cc_num: LONG_CARD }))}}`],
    [
      `a document in "${name}"`,
      `{"${name}":${body([row(1), row(2, { cc_num: LONG_CARD })], { doubled: false })},"n":2}`,
    ],
  ]),
  ['a document as text in "data"', `{"data":${body([row(1), row(2, { cc_num: LONG_CARD })])}}`],
  ['pandas orient="table"', `{"schema":{"fields":[]},"data":${records(row(1), row(2, { cc_num: LONG_CARD }))}}`],
  [
    'a document beside a message',
    `{"message":"ok","frame":${body([row(1), row(2, { cc_num: LONG_CARD })], { doubled: false })}}`,
  ],
  ['rows beside an error', `{"error":"the rest is late","batch":${records(row(1), row(2, { cc_num: LONG_CARD }))}}`],
  ['a list beside a message', `{"message":"2 found","found":${records(row(1), row(2, { cc_num: LONG_CARD }))}}`],
  ['objects with blanks', `\ufeff[ ${stringify(row(1))} ,\n ${stringify(row(2, { cc_num: LONG_CARD }))} ]\r\n`],
])('reads %s', ([, text]) => {
  const { transactions, letters } = readDocument(text, NOW)
  expect(letters).toEqual([])
  expect(transactions).toEqual([row(1), row(2, { cc_num: LONG_CARD })].map((r) => toTransaction(r, NOW)))
})

test.for<[what: string, text: string]>([
  ['a line that is cut', `${stringify(row(1))}\n${stringify(row(2)).slice(0, 90)}\n${stringify(row(3))}\r\n`],
  ['a last line that is cut', `${stringify(row(1))}\n${stringify(row(3))}\n${stringify(row(2)).slice(0, 90)}`],
  ['a line that is no JSON', `${stringify(row(1))}\n\n# comment\n${stringify(row(3))}`],
  ['a line that is null', `${stringify(row(1))}\nnull\n${stringify(row(3))}\n`],
])('one row a line: %s is set aside, and its neighbours do not suffer', ([, text]) => {
  const { transactions, letters } = readDocument(text, NOW)
  expect(transactions).toEqual([row(1), row(3)].map((r) => toTransaction(r, NOW)))
  expect(letters).toHaveLength(1)
})

test.for<[what: string, text: string, reason: RegExp]>([
  [
    'rows in two places beside an error',
    `{"error":"x","a":[${stringify(row(1))}],"b":[${stringify(row(2))}]}`,
    /the keys/,
  ],
  ['an error about a row that is in it', `{"error":{"why":"late","payment":${stringify(row(1))}}}`, /the keys error/],
  ['two members with one name', `{"columns":["amt"],"data":[[1]],"data":[]}`, /two members with one name/],
  [
    'several documents, one after the other',
    `${body([row(1)], { doubled: false })}\n${body([row(2)], { doubled: false })}`,
    /several documents/,
  ],
])('keeps %s whole, and names the form', ([, text, reason]) => {
  const { transactions, letters, wholeBody } = readDocument(text, NOW)
  expect([transactions, wholeBody]).toEqual([[], true])
  expect(letters).toMatchObject([{ reason: expect.stringMatching(reason), record: { body: text } }])
})

test('reads one object', () => {
  for (const text of [stringify(row(1)), `{"data":${stringify(row(1))}}`, JSON.stringify(stringify(row(1)))])
    expect(readDocument(text, NOW).transactions).toEqual([toTransaction(row(1), NOW)])
})

test('sets an object aside that is no transaction, as a document that can be read again', () => {
  const bad = { cc_num: LONG_CARD, body: 'x', data: [1] }
  const { transactions, letters } = readDocument(records(row(1), bad, row(3)), NOW)
  expect(transactions).toHaveLength(2)
  expect(letters).toMatchObject([{ record: { columns: Object.keys(bad), data: [Object.values(bad)] } }])
  const again = readDocument(stringify(letters[0]!.record), NOW)
  expect(again.letters).toEqual(letters)
})

test.for(['NaN', 'Infinity', '-Infinity'])('a bare %s is null, and its neighbours do not suffer', (bare) => {
  for (const doubled of [false, true]) {
    const text = body([row(1), row(2, { merch_lat: 1234.5 }), row(3, { amt: 1234.5 })], { doubled }).replaceAll(
      '1234.5',
      bare,
    )
    const { transactions, letters } = readDocument(text, NOW)
    expect(transactions).toEqual([toTransaction(row(1), NOW), toTransaction(row(2, { merch_lat: null }), NOW)])
    expect(letters).toMatchObject([{ reason: 'amt must be a finite number' }])
  }
  expect(readDocument(body([row(1, { merchant: bare })]), NOW).transactions[0]?.merchant).toBe(bare)
})

test.for([
  '01',
  '+1',
  '1_000',
  'None',
  "'a'",
  '"\\x"',
  '"\t"',
  '9'.repeat(1e6),
  '['.repeat(1e5) + ']'.repeat(1e5),
  '[1}',
])('what is no JSON in one value, as %j, takes no neighbour with it, and is kept as it came', (value) => {
  const text = body([row(1), row(2, { amt: 1234.5 }), row(3)], { doubled: false }).replace('1234.5', value)
  const { transactions, letters, wholeBody } = readDocument(text, NOW)
  expect(transactions.map(({ trans_num }) => trans_num)).toEqual(['trans-1', 'trans-3'])
  expect(wholeBody).toBeUndefined()
  expect(letters).toMatchObject([{ reason: expect.stringMatching(/^the row cannot be read: n/) }])
  const kept = (letters[0]!.record as { body: string }).body
  expect(kept).toContain(`${value},`)
  const [cured] = readDocument(kept.replace(`${value},`, '1234.5,'), NOW).transactions
  expect(cured).toEqual(toTransaction(row(2, { amt: 1234.5 }), NOW))
})

describe('many bad rows', () => {
  const most = (text: string) => 2 * Buffer.byteLength(text) + 4096
  const kept = (letters: readonly unknown[]) =>
    letters.reduce<number>((sum, l) => sum + Buffer.byteLength(stringify(l)), 0)
  const long = 'x'.repeat(50_000)
  test.for<[what: string, text: string, count: number]>([
    ['under a long header', `{"columns":["${long}"],"data":[${'[],'.repeat(16_000)}[1,2]]}`, 16_001],
    ['of a few bytes each', `{"columns":["a"],"data":[${'1,'.repeat(300_000)}1]}`, 300_001],
    ['of nothing', `{"columns":["a"],"data":[${','.repeat(300_000)}]}`, 300_001],
    ['as objects', `[${'{"amt":1},'.repeat(100_000)}{}]`, 100_001],
    ['as lines', '{"amt":1}\n'.repeat(100_000), 100_000],
    [
      'between good ones',
      body(
        Array.from({ length: 3000 }, (_, i) => row(i, i % 2 ? { amt: 'x' } : {})),
        { doubled: false },
      ),
      1500,
    ],
    ['inside a JSON string', body(Array.from({ length: 3000 }, (_, i) => row(i, { amt: 'x' }))), 3000],
    ['in a small body', body([row(1, { amt: 'x' }), row(2, { amt: 'x' }), row(3, { amt: 'x' })]), 3],
  ])('%s are kept in no more than twice the body, and each is read again', ([, text, count]) => {
    const { letters, bad } = readDocument(text, NOW)
    expect(bad).toBe(count)
    expect(kept(letters)).toBeLessThan(most(text))
    let again = 0
    for (const { record, reason } of letters) {
      expect(reason).toMatch(/^(\d+ rows, the first: )?(the row |cc_num |amt )/)
      const { body: document } = record as { body?: string }
      again += readDocument(document ?? stringify(record), NOW).bad
    }
    expect(again).toBe(count)
  })

  test('no step takes long, and once stopped the rest is set aside unread', () => {
    const good = Array.from({ length: 20_000 }, (_, i) => row(i))
    const stop = new AbortController()
    stop.abort()
    const parts = readInParts(body(good), NOW, stop.signal)
    let [transactions, letters, steps] = [0, 0, 0]
    for (const { transactions: some, letters: others } of parts) {
      const until = performance.now() + (steps++ === 0 ? 2100 : 0)
      while (performance.now() < until); // the topics take their time
      transactions += some.length
      for (const { record, reason } of others) {
        expect(reason).toBe('not read, as the worker was stopping')
        letters += readDocument((record as { body: string }).body, NOW).transactions.length
      }
    }
    expect(steps).toBeGreaterThan(1)
    expect(letters).toBeGreaterThan(0)
    expect(transactions + letters).toBe(20_000)
  })
})

test('no reason repeats what the row or the body holds', () => {
  const bodies = [
    ...BAD_ROWS.map(([, changes]) => body([row(2, { merchant: 'Secret Shop', ...changes })])),
    `card ${LONG_CARD} at Secret Shop`,
    `{"columns":"Secret Shop","data":[${LONG_CARD}]}`,
    `[[${LONG_CARD},"Secret Shop"]]`,
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
