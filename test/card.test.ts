import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { lastFour, maskCards, maskedStart } from '../src/card.ts'
import { LONG_CARD } from './rows.ts'

/** Digits with the check digit that a card has (ISO/IEC 7812-1). */
function card(digits: string): string {
  const sum = [...digits].reverse().reduce((sum, sign, i) => {
    const digit = Number(sign) * (i % 2 === 0 ? 2 : 1)
    return sum + (digit > 9 ? digit - 9 : digit)
  }, 0)
  return `${digits}${(10 - (sum % 10)) % 10}`
}
const cards = fc.stringMatching(/^[1-9]\d{9,17}$/).map(card)
/** The digits of a text in every form that the mask knows, and nothing else of it. */
const bare = (text: string) =>
  text
    .replace(/&#(\d+);?/g, (_, code) => String.fromCodePoint(Number(code)))
    .replace(/&#x([\da-f]+);|%([0-3][\da-f])|\\u([\da-f]{4})/gi, (_, ...codes) =>
      String.fromCodePoint(Number.parseInt(codes.slice(0, 3).find(Boolean), 16)),
    )
    .replace(/&[a-z]+;|\\[nrt]/gi, ' ')
    .normalize('NFKC')
    .replace(/[٠-٩]/g, (digit) => String(digit.charCodeAt(0) - 0x660))
    .replace(/[^\p{L}\p{N}]/gu, '')

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
  ['4992 3463-9806.5154', '…5154'], // whatever the check digit says
  ['4 9 9 2 3 4 6 3 9 8 0 6 5 1 5 4', '…5154'],
  ['No. 5: 4111 1111 1111 1111 of Ada', 'No. 5: …1111 of Ada'],
  ['4111 11111111 1111', '…1111'], // a valid one in odd groups
  ['x4992346398065154184x', 'x…4184x'],
  ['a4111111111111111', 'a…1111'],
  ['cafe4111111111111111', 'cafe…1111'],
  ['49923463980651541844992346398065154184', '…4184'],
  ['4992346398065154184abcdef012345', '…4184abcdef012345'],
  ['{"cc_num":4992346398065154184}', '{"cc_num":…4184}'],
  ['$4,111,111,111,111,111.00', '$…1100'],
  ['4.111111111111111111', '4.111111…'],
])('masks the card number in %s', ([text, masked]) => {
  expect(maskCards(text)).toBe(masked)
})

test.for([
  '',
  'no digits',
  '1234567890',
  '2026-01-02 03:04:05',
  '2026-01-02T03:04:05.678Z',
  '02/01/2026 03:04:12 to 02.01.2026 03:05:12',
  '39.7817, -89.6501, 18 km from 36.0112931, -82.0483151',
  '[62701,38.1154,-24.1518,2253914]',
  '$1,234.56, $999,999,999.99',
  'connect ECONNREFUSED 10.244.101.113:5432 and 192.168.100.200',
  'transaction 8a6f929443574835541dc4c9542f5f1b is no card',
  'outbox/2026-01-02T03_04_05.678Z_fa07f929443574835541dc4c9542f5f1.eml',
  '550e8400-e29b-41d4-a716-446655440000',
  '+1 555 123 4567',
])('leaves %o as it is', (text) => {
  expect(maskCards(text)).toBe(text)
})

test('of a number with more digits than anybody reads some are left', () => {
  expect(maskCards('-81.17809999999999, 0.9712345678901234')).toBe('-81.178099…, 0.971234…')
})

const hex = (n: number, length: number) => createHash('sha256').update(`${n}`).digest('hex').slice(0, length)
describe('ids in hex stay, whatever digits are in them', () => {
  test.for([24, 32, 40, 64])('of %i digits', (length) => {
    for (let n = 0; n < 2000; n++) {
      const id = hex(n, length)
      expect(maskCards(`a ${id}, ${id.toUpperCase()}.`)).toBe(`a ${id}, ${id.toUpperCase()}.`)
    }
  })
  test('with dashes', () => {
    for (let n = 0; n < 5000; n++) {
      const id = hex(n, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-')
      expect(maskCards(`a ${id}.`)).toBe(`a ${id}.`)
    }
  })
})

test('whatever the text around it, five digits of a card in a row are never left', () => {
  const digits = fc.bigInt({ min: 10n ** 10n, max: 2n ** 63n - 1n }).map(String)
  fc.assert(
    fc.property(fc.string(), digits, fc.string(), (before, digits, after) => {
      const masked = maskCards(`${before} ${digits} ${after}`)
      expect(masked).not.toContain(digits)
      expect(masked).not.toContain(digits.slice(0, -4))
    }),
    { numRuns: 1000 },
  )
})

describe('however a card is written, no more than its last four digits are left', () => {
  const each = (form: (digit: string) => string) => (card: string) => [...card].map(form).join('')
  const joined = (sign: string, length: number) => (card: string) =>
    card.replace(new RegExp(`.{${length}}(?=.)`, 'g'), `$&${sign}`)
  const SIGNS = [
    ' ',
    '-',
    '.',
    '/',
    '_',
    ',',
    ':',
    '·',
    '•',
    '|',
    '\t',
    '\n',
    ' - ',
    '  ',
    ' / ',
    ', ',
    '\u00a0',
    '\u2009',
  ]
  SIGNS.push(
    '\u202f',
    '\u3000',
    '\u2011',
    '–',
    '—',
    '−',
    '\u200b',
    '\u00ad',
    '\u2060',
    '\ufeff',
    '\u202e',
    '\u3164',
    '\0',
  )
  SIGNS.push(
    '&nbsp;',
    '&#160;',
    '&#xa0;',
    '&ndash;',
    '&zwnj;',
    '%20',
    '%2D',
    '\\n',
    '\\u00a0',
    '\\\\t',
    '\u0301',
    '\ufe0f\u20e3',
  )
  const from = (zero: number) => each((digit) => String.fromCodePoint(zero + Number(digit)))
  const forms = fc.oneof(
    fc
      .tuple(fc.constantFrom(...SIGNS), fc.constantFrom(1, 2, 3, 4, 5, 6))
      .map(([sign, length]) => joined(sign, length)),
    fc.constantFrom(0xff10, 0x660, 0x966, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e950).map(from),
    fc.constant(each((digit) => (digit === '0' ? '⓪' : String.fromCodePoint(0x2460 + Number(digit) - 1)))),
    fc.constant(each((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]!)),
    fc.constant(each((digit) => (digit === '0' ? '⓿' : String.fromCodePoint(0x2776 + Number(digit) - 1)))),
    fc.constant(each((digit) => `&#${digit.charCodeAt(0)};`)),
    fc.constant(each((digit) => `&#x${digit.charCodeAt(0).toString(16)};`)),
    fc.constant(each((digit) => `&#${digit.charCodeAt(0)}`)),
    fc.constant(joined(' '.repeat(20), 4)),
    fc.constant(joined('\n\n\t  \r\n', 4)),
    fc.constant(joined('------------', 4)),
    fc.constant(each((digit) => `%3${digit}`)),
    fc.constant(each((digit) => `\\u003${digit}`)),
  )
  const around = fc.constantFrom('', 'x', ' ', 'Card no. ', '(', '"', 'né ', 'fraud_', '\u202e', '#', '日本', ' a ')
  test('in one form', () => {
    fc.assert(
      fc.property(cards, forms, around, around, (card, form, before, after) => {
        const masked = maskCards(`${before}${form(card)}${after}`)
        expect(bare(masked)).toBe(bare(`${before}${card.slice(-4)}${after}`))
      }),
      { numRuns: 3000 },
    )
  })
  test('with another sign between each two groups', () => {
    const gaps = fc.array(fc.constantFrom('', ...SIGNS), { minLength: 5, maxLength: 5 })
    fc.assert(
      fc.property(cards, gaps, (card, gaps) => {
        const masked = maskCards(card.replace(/.{4}(?=.)/g, (group, at) => `${group}${gaps[at / 4]}`))
        expect(bare(masked)).toBe(card.slice(-4))
      }),
      { numRuns: 3000 },
    )
  })
  test('among other numbers', () => {
    const words = fc.array(fc.constantFrom('5', '12/29', '123', '$17.00', '2026-01-02', 'x', '03:04', '7 of 9'), {
      maxLength: 3,
    })
    fc.assert(
      fc.property(cards, words, words, (card, before, after) => {
        const masked = maskCards([...before, joined(' ', 4)(card), ...after].join(' '))
        expect(bare(masked)).not.toContain(card.slice(-9))
        expect(bare(masked)).not.toContain(card.slice(0, 9))
      }),
      { numRuns: 3000 },
    )
  })
})

test('no part of a number is left where a text is cut', () => {
  for (let n = 0; n < 90; n++) {
    const start = maskedStart(`${'x'.repeat(n)}${LONG_CARD}${'y'.repeat(200)}`, 80)
    expect(start.length).toBeLessThan(82)
    expect(start).not.toContain(String(LONG_CARD).slice(0, 2))
  }
  expect(maskedStart('short 4111 1111 1111 1111', 80)).toBe('short …1111')
})

test('a text without end is cut, not in a number, and costs no more than its length', () => {
  const parts = [
    '1 ',
    '1',
    '\\',
    '&',
    '1a',
    '%3',
    '12 345 ',
    '1.1.',
    '1,111,',
    '12:34:',
    '\u200b1',
    'abcdef12-',
    '&#49;',
    '1.123456',
  ]
  for (const part of [...parts, String(LONG_CARD), 'x', '👩‍👩‍👧']) {
    const began = performance.now()
    const masked = maskCards(`${part.repeat(5_000_000 / part.length)}`)
    expect(performance.now() - began).toBeLessThan(3000)
    expect(masked.length).toBeLessThan(101_000)
    expect(masked).toMatch(/\(\d+ characters\)$/)
    expect(masked.isWellFormed()).toBe(true)
  }
  for (let n = 99_970; n < 100_010; n++)
    expect(maskCards(`${'x'.repeat(n)}${LONG_CARD}${'y'.repeat(50_000)}`)).not.toContain(String(LONG_CARD).slice(0, 5))
})
