import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { parse as losslessParse } from 'lossless-json'
import { expect, test } from 'vitest'
import { type Json, parse, stringify } from '../../src/io/json.ts'
import { LONG_CARD } from '../rows.ts'

/** What a well-kept library reads, its numbers made what ours promise to be. */
const lossless = (text: string) =>
  losslessParse(text, undefined, {
    parseNumber: (token) =>
      /^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token)) ? BigInt(token) : Number(token),
    onDuplicateKey: ({ newValue }) => newValue,
  })

const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 40 })
const sign = fc.constantFrom('', '-')
const integer = fc.oneof(
  fc.tuple(sign, digits).map(([minus, text]) => minus + (text.replace(/^0+/, '') || '0')),
  // round about ±2^53, where exactness ends
  fc.tuple(sign, fc.bigInt({ min: 2n ** 53n - 3n, max: 2n ** 53n + 3n })).map(([minus, n]) => `${minus}${n}`),
)
const exponent = fc.tuple(fc.constantFrom('e', 'E'), fc.constantFrom('', '+', '-'), fc.integer({ min: 0, max: 330 }))
const number = fc.oneof(
  { weight: 3, arbitrary: integer },
  fc.tuple(integer, digits).map(([whole, fraction]) => `${whole}.${fraction}`),
  fc.tuple(integer, exponent).map(([whole, power]) => whole + power.join('')),
  fc.tuple(integer, digits, exponent).map(([whole, fraction, power]) => `${whole}.${fraction}${power.join('')}`),
)
/** The inside of a string, as it stands in a document. */
const characters = fc
  .array(
    fc.oneof(
      fc.string({ unit: 'binary', maxLength: 5 }).map((text) => JSON.stringify(text).slice(1, -1)),
      integer,
      fc.constantFrom(
        '\\"',
        '\\\\',
        '\\/',
        '\\n',
        '\\u0031',
        '\\ud800',
        ' : ',
        '{',
        '}',
        '[',
        ']',
        ',',
        '-',
        'e',
        'é',
        '\u{1f4b3}',
      ),
    ),
    { maxLength: 4 },
  )
  .map((parts) => `"${parts.join('')}"`)
const key = fc.oneof(
  characters,
  integer.map((text) => `"${text}"`),
  fc.constantFrom('"__proto__"', '"constructor"', '"toString"', '"\\u005f_proto__"', '""', '"a"'),
)
const space = fc.string({ unit: fc.constantFrom(' ', '\t', '\n', '\r'), maxLength: 2 })
const between = (parts: fc.Arbitrary<string>, open: string, close: string) =>
  fc.tuple(space, fc.array(parts, { maxLength: 5 })).map(([gap, items]) => open + gap + items.join(',') + close)

/** The text of any document, with whitespace wherever it may be. */
const { document } = fc.letrec<{ document: string; value: string }>((tie) => ({
  document: fc.tuple(space, tie('value'), space).map((parts) => parts.join('')),
  value: fc.oneof(
    { maxDepth: 5, depthSize: 'small', withCrossShrink: true },
    number,
    characters,
    fc.constantFrom('null', 'true', 'false'),
    between(tie('document'), '[', ']'),
    between(
      fc
        .tuple(space, key, space, tie('document'))
        .map(([before, name, after, value]) => `${before + name + after}:${value}`),
      '{',
      '}',
    ),
  ),
}))

/** Documents with something cut out of them or put into them, here and there. */
const damage = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  cut: fc.nat(3),
  insert: fc.oneof(
    fc.constantFrom(...'"\\-+.,:eE0[]{} \n\0\u00a0\ufeff', '"\\', '//', "'", 'null', '-0', '00', 'x'),
    integer,
    fc.constant(''),
  ),
})
const damaged = fc.tuple(document, fc.array(damage, { minLength: 1, maxLength: 4 })).map(([text, damages]) =>
  damages.reduce((now, { at, cut, insert }) => {
    const place = Math.floor(at * now.length)
    return now.slice(0, place) + insert + now.slice(place + cut)
  }, text),
)

const attempt = (read: (text: string) => unknown, text: string): { value: unknown } | 'refused' => {
  try {
    return { value: read(text) }
  } catch (error) {
    if (error instanceof SyntaxError) return 'refused'
    throw error
  }
}

test('reads every document as a well-kept lossless library does', () => {
  fc.assert(
    fc.property(document, (text) => {
      assert.deepEqual(parse(text), lossless(text))
    }),
    { numRuns: 2000 },
  )
})

test('refuses what JSON.parse refuses, and nothing else', () => {
  fc.assert(
    fc.property(damaged, (text) => {
      const native = attempt(JSON.parse, text)
      assert.deepEqual(attempt(parse, text), native === 'refused' ? native : { value: lossless(text) })
    }),
    { numRuns: 5000 },
  )
})

test.for([
  ...[
    '',
    ' ',
    '-',
    '--1',
    '+1',
    '01',
    '-01',
    '1.',
    '.5',
    '1e',
    '1e+',
    '0x1',
    ...[
      'nan',
      '+NaN',
      '--Infinity',
      'NaNa',
      'xNaN',
      '1NaN',
      'NaN1',
      '-',
      'Infinit',
      'NaN NaN',
      '{NaN:1}',
      '[N]',
      '-Infinity-',
    ],
    'undefined',
    "'a'",
    '[1,]',
    '{"a":1,}',
  ],
  ...['12345678901234567.', '12345678901234567e', '012345678901234567', '-012345678901234567', '--12345678901234567'],
  ...['+12345678901234567', '.12345678901234567', '12345678901234567-1', '1-12345678901234567', 'e12345678901234567'],
  ...['12345678901234567n', '12345678901234567 1', '[12345678901234567 12345678901234567]', '12345678901234567"a"'],
  // a number is no key, and what stands for it while it is parsed must not become one
  ...['{12345678901234567:1}', '{12345678901234567 \n:1}', '{"a":1,-12345678901234567:1}', '{12345678901234567}'],
  // strings that do not end, and bring an escape to bear on what comes next
  ...['"\\12345678901234567', '["\\12345678901234567]', '["\\-12345678901234567]', '["a","\\12345678901234567]'],
  ...['"12345678901234567', '"\\', '"\\"', '"12345678901234567\\', '"\n12345678901234567"'],
])('refuses %j', (text) => {
  expect(() => JSON.parse(text)).toThrow(SyntaxError)
  expect(() => parse(text)).toThrow(SyntaxError)
})

test('never repeats the text in an error', () => {
  fc.assert(
    fc.property(damaged, (text) => {
      try {
        parse(text)
      } catch (error) {
        const { message, cause } = error as Error
        expect({ message, cause }).toEqual({ message: 'not valid JSON', cause: undefined })
      }
    }),
  )
})

test.for<[text: string, value: Json]>([
  ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ['9007199254740992', 2n ** 53n],
  ['9007199254740993', 2n ** 53n + 1n],
  ['-9007199254740991', -Number.MAX_SAFE_INTEGER],
  ['-9007199254740993', -(2n ** 53n) - 1n],
  ['4992346398065154184', LONG_CARD],
  ['-123456789012345678901234567890', -123456789012345678901234567890n],
  ['-0', -0],
  ['12345678901234567.0', 12345678901234568],
  ['12345678901234567e0', 12345678901234568],
  ['1e20', 1e20],
  ['1e+12345678901234567', Number.POSITIVE_INFINITY],
  ['1E-12345678901234567', 0],
  ['0.1234567890123456789', 0.12345678901234568],
  ['1.12345678901234567e-5', 0.000011234567890123457],
  ['"4992346398065154184"', '4992346398065154184'],
  ['"\\"4992346398065154184"', '"4992346398065154184'],
  ['"a\\\\"', 'a\\'],
  ['["\\\\",4992346398065154184,"\\\\"]', ['\\', LONG_CARD, '\\']],
])('reads %s', ([text, value]) => {
  expect(parse(text)).toStrictEqual(value)
  expect(parse(`[ ${text}\n]`)).toStrictEqual([value])
})

test('a key may be any text, a long number or __proto__ too', () => {
  const text = '{"__proto__":12345678901234567,"12345678901234567" : {"__proto__":{"a":12345678901234567}}}'
  const object = parse(text) as { [key: string]: Json }
  expect(Object.getPrototypeOf(object)).toBe(Object.prototype)
  expect(Object.entries(object)[0]).toEqual(['__proto__', 12345678901234567n])
  expect(stringify(object)).toBe(text.replace(' : ', ':'))
})

test('a text stays text beside a long number, even one that could stand for a number', () => {
  const texts = [`${randomUUID()}#12345678901234567`, '#1', '12345678901234567', '-12345678901234567']
  expect(parse(`[${LONG_CARD},${JSON.stringify(texts).slice(1)}`)).toEqual([LONG_CARD, ...texts])
})

test('what it reads can be changed like any object', () => {
  const object = parse('{"a":12345678901234567}') as { [key: string]: Json }
  object.a = 1
  expect(stringify(object)).toBe('{"a":1}')
  delete object.a
  expect(object).toEqual({})
})

test('what was printed is read as it was, every number by its own type', () => {
  const beyond = fc.bigInt({ min: 2n ** 53n, max: 10n ** 40n })
  const leaf = fc.oneof(
    beyond,
    beyond.map((n) => -n),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((n) => n + 0), // JSON knows -0, JSON.stringify does not
    fc.maxSafeInteger().map((n) => n * 4096),
    fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value))),
  )
  const objects = fc.dictionary(fc.string(), fc.oneof(leaf, fc.array(leaf)), { noNullPrototype: true })
  fc.assert(
    fc.property(objects, (object) => assert.deepEqual(parse(stringify(object)), object)),
    { numRuns: 1000 },
  )
})

test.for([
  [1e20, '1e+20'],
  [2 ** 53, '9.007199254740992e+15'],
  [-(2 ** 53), '-9.007199254740992e+15'],
  [2 ** 53 - 1, '9007199254740991'],
  [1e300, '1e+300'],
  [10n ** 20n, '100000000000000000000'],
  [-LONG_CARD, '-4992346398065154184'],
  [5n, '5'],
] as const)('prints %s as %s', ([value, text]) => {
  expect(stringify([value, { value }])).toBe(`[${text},{"value":${text}}]`)
})

test('what was read is printed with every digit of every integer', () => {
  const digitsOf = (text: string) => (text.match(/(?<![\d.eE+-])-?\d+(?![\d.eE])/g) ?? []).sort()
  const plain = fc.array(fc.oneof(integer, fc.constantFrom('null', '"a"', '0.5')), { minLength: 1, maxLength: 20 })
  fc.assert(
    fc.property(plain, (values) => {
      const text = `[${values.map((value, i) => `{"k${i}":${value}}`).join(' , ')}]`
      expect(digitsOf(stringify(parse(text)))).toEqual(digitsOf(text.replace(/(?<=:)-0(?=\})/g, '0')))
    }),
  )
})

test('leaves out, and makes null, what JSON.stringify does', () => {
  const value = { a: undefined, b: [undefined, Number.NaN, Number.POSITIVE_INFINITY], c: new Date(0) }
  expect(stringify(value)).toBe(JSON.stringify(value))
})

// Documents of a size that stops a careless reader: each takes milliseconds here.

test('reads 10,000 strings in a row, and the long number behind them', () => {
  const strings = Array.from({ length: 10_000 }, (_, i) => `text "${i}", \\`)
  expect(parse(stringify([...strings, LONG_CARD]))).toEqual([...strings, LONG_CARD])
})

test('reads a string of five million escapes', () => {
  expect(parse(`["${'\\"'.repeat(5_000_000)}",12345678901234567]`)).toEqual(['"'.repeat(5_000_000), 12345678901234567n])
})

test('refuses a long document that was cut off inside a string, at once', () => {
  // as a body is that holds a document in a string and lost its end
  expect(() => parse(`"${'\\"a\\",1,'.repeat(50_000)}`)).toThrow('not valid JSON')
})

test('reads long numbers below 1,000 brackets, prints them again, and refuses more', () => {
  const nested = (depth: number) => '[{"a":'.repeat(depth / 2) + LONG_CARD + '}]'.repeat(depth / 2)
  expect(stringify(parse(nested(1000)))).toBe(nested(1000))
  expect(() => parse(nested(1002))).toThrow(new SyntaxError('nested more than 1000 deep'))
  expect(attempt(parse, '['.repeat(9_000_000))).toBe('refused')
  expect(parse(`[${'[],'.repeat(100_000)}1]`)).toHaveLength(100_001)
})

test('refuses an integer of a million digits, of which a bigint would take long, and reads a fraction of as many', () => {
  const nines = '9'.repeat(1_000_000)
  expect(() => parse(`[${nines}]`)).toThrow(new SyntaxError('not a number: it has more than 1000 digits'))
  expect(attempt(parse, `[0${nines}]`)).toBe('refused')
  expect(parse(`[0.${nines},${nines}.5,${'9'.repeat(1000)}]`)).toEqual([1, Infinity, BigInt('9'.repeat(1000))])
})

test.for<[string, Json]>([
  ['NaN', null],
  ['[NaN,-Infinity , Infinity]', [null, null, null]],
  ['{"a":NaN,"b":[ -NaN ]}', { a: null, b: [null] }],
  [`[${LONG_CARD},NaN,${LONG_CARD}]`, [LONG_CARD, null, LONG_CARD]],
  ['["NaN","-Infinity","a\\"NaN",{"NaN":NaN,"Infinity":1}]', ['NaN', '-Infinity', 'a"NaN', { NaN: null, Infinity: 1 }]],
])('reads what Python prints for no number as null: %s', ([text, value]) => {
  expect(parse(text)).toStrictEqual(value)
})

test('reads any document in which values were made NaN or Infinity as if they were null', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.constantFrom('NaN', 'Infinity', '-Infinity'), (value, bare) => {
      const text = JSON.stringify({ value, texts: ['null', 'NaN, Infinity'] })
      const python = text.replace(/"(?:[^"\\]|\\.)*"|null/g, (token) => (token === 'null' ? bare : token))
      assert.deepEqual(parse(python), parse(text))
    }),
  )
})

test('reads 300,000 bare NaN, and refuses as many unfinished ones, in linear time', () => {
  expect(parse(`[${'NaN,'.repeat(300_000)}1]`)).toHaveLength(300_001)
  expect(attempt(parse, `[${'-Na,Infinit,'.repeat(150_000)}1]`)).toBe('refused')
})
