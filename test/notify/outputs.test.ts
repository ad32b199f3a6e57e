import fc from 'fast-check'
import { simpleParser } from 'mailparser'
import { describe, expect, test } from 'vitest'
import type { Notification } from '../../src/alert/notifier.ts'
import { describeLetter } from '../../src/commands/dead-letters.ts'
import { scrub } from '../../src/io/log.ts'
import { compose } from '../../src/notify/mail.ts'
import { webhook } from '../../src/notify/webhook.ts'
import type { Prediction } from '../../src/transaction.ts'
import { httpServer, prediction } from '../rows.ts'

const ADDRESSES = {
  from: 'Fraud desk <fraud@bank.example>',
  to: ['analyst@bank.example'],
  operators: ['ops@bank.example'],
}
const TEXTS = [
  'merchant',
  'category',
  'first',
  'last',
  'street',
  'city',
  'state',
  'job',
  'dob',
  'gender',
  'trans_num',
  'model',
] as const
const never = new AbortController().signal

/** Everything that leaves for a notification, each part decoded: mail, post, log line, and a dead letter's listing. */
async function outputs(notification: Notification): Promise<Record<string, string>> {
  await using hook = await httpServer((_received, response) => response.end('ok'))
  const { said } = await webhook({ url: hook.url }).send(notification, never)
  const { text: body, request } = hook.received[0]!
  const { id, subject, raw } = await compose({ ...notification, by: '1.2.3' }, ADDRESSES)
  const mail = await simpleParser(raw)
  const [record] = notification.frauds
  return {
    headers: mail.headerLines.map(({ line }) => line).join('\n'),
    subject: `${mail.subject}\n${subject}`,
    text: mail.text ?? '',
    html: String(mail.html).replace(/&#(\d+);/g, (_, code) => String.fromCharCode(code)),
    csv: mail.attachments[0]?.content.toString() ?? '',
    file: mail.attachments[0]?.filename ?? '',
    id,
    body,
    said,
    'post headers': JSON.stringify(
      request.rawHeaders.filter((_, i, all) => !/^(host|content-length)$/i.test(all[i - 1] ?? '')),
    ),
    log: JSON.stringify(scrub({ record, [String(record?.merchant)]: [record] })),
    listing: describeLetter('1', { stage: 'record', at: 0, reason: `${record?.job} is no job`, record }),
  }
}
/** What a person could make of it. */
const bare = (text: string) => text.normalize('NFKC').replace(/[^\p{L}\p{N}\n]/gu, '')

const valid = (digits: string) =>
  [...digits].reverse().reduce((sum, sign, i) => {
    const digit = Number(sign) * (i % 2 === 0 ? 1 : 2)
    return sum + (digit > 9 ? digit - 9 : digit)
  }, 0) %
    10 ===
  0
const cards = fc
  .stringMatching(/^[1-9]\d{9,17}$/)
  .map((digits) => [...'0123456789'].map((last) => digits + last).find(valid)!)
const forms = fc.constantFrom<(card: string) => string>(
  (card) => card,
  (card) => card.replace(/.{4}(?=.)/g, '$& '),
  (card) => card.replace(/.{4}(?=.)/g, '$&-'),
  (card) => [...card].join('\u200b'),
  (card) => [...card].join(' '),
  (card) => card.replace(/\d/g, (digit) => String.fromCodePoint(0xff10 + Number(digit))),
  (card) => card.replace(/\d/g, (digit) => String.fromCodePoint(0x1d7ce + Number(digit))),
  (card) => `no. ${card},`,
  (card) => `\r\nBcc: ${card}@evil.example`,
)
const texts = fc.dictionary(fc.constantFrom(...TEXTS), fc.tuple(cards, forms), { minKeys: 1, maxKeys: 4 })

describe('no card number leaves', () => {
  test("whoever's it is, wherever it stands, and however it is written", async () => {
    await fc.assert(
      fc.asyncProperty(texts, fc.constantFrom(1, 3), fc.boolean(), async (placed, count, noticed) => {
        const changes = Object.fromEntries(Object.entries(placed).map(([name, [card, form]]) => [name, form(card)]))
        const frauds = Array.from({ length: count }, (_, n) =>
          prediction(n, { prediction: 1, ...(n === 0 && changes) }),
        )
        const lines = Object.values(changes)
        const notice = { subject: `about ${lines[0]}`, lines }
        const all = await outputs({ at: 0, frauds, ...(noticed && { notice }) })
        for (const [where, text] of Object.entries(all))
          for (const [card] of Object.values(placed)) {
            expect(bare(text), where).not.toContain(card)
            expect(bare(text), where).not.toContain(card.slice(0, -4))
          }
        for (const [where, text] of Object.entries(all)) expect(text, where).not.toMatch(/\d{11}/)
      }),
      { numRuns: 150 },
    )
  })

  test('in pieces that stand side by side neither', async () => {
    const frauds = [
      prediction(1, {
        prediction: 1,
        first: '4992 3463',
        last: '9806 5154',
        street: '184',
        merchant: '4992',
        category: '346398065154',
      }),
    ]
    const { text, html, subject, body } = await outputs({ at: 0, frauds })
    for (const part of [text, html, subject]) expect(bare(part!)).not.toMatch(/4992346398065154/)
    expect(bare(JSON.parse(body!).text)).not.toMatch(/4992346398065154/)
  })

  test('what is no card number is legible', async () => {
    const texts = {
      trans_num: '2703186189652095a1b70c0e5e6c8d4f',
      merchant: 'fraud_Route 66 Diner, No. 12',
      model: 'rf/2026-01-02',
      street: '12345 Main St Apt. 678',
    }
    const { text, csv, body, log } = await outputs({
      at: 0,
      frauds: [prediction(1, { prediction: 1, ...texts, amt: 9_999_999.99 })],
    })
    for (const part of [text, csv, body, log])
      for (const value of [
        '2703186189652095a1b70c0e5e6c8d4f',
        'Route 66 Diner, No. 12',
        'rf/2026-01-02',
        '2026-01-02 03:04:06',
      ])
        expect(part).toContain(value)
    expect(text).toContain('39.9000, -89.5000')
    expect(text).toContain('$9,999,999.99')
    expect(text).toContain('12345 Main St Apt. 678')
  })
})

describe('whatever stands in a row', () => {
  const odd = [
    'a\r\nBcc: evil@example.com\r\n\r\nbody',
    '\r\n.\r\nMAIL FROM:<x>',
    '\u202egnp.exe',
    '\u2066x\u2069',
    '\0',
    '\u001b[31m',
    '\ud800',
    'x\udc00y',
    'x'.repeat(200_000),
    '💳'.repeat(200_000),
    '1 '.repeat(200_000),
    '=1+1',
    '＝1',
    ' \u00a0=1',
    '\ufeff@SUM(1)',
    '<script>',
    '=?utf-8?B?QmNjOiB4?=',
    '\u2028',
    'a, b@example.com',
    '--_boundary',
  ]
  test('a mail keeps its headers, its lines and its size', async () => {
    const plain = (
      await simpleParser((await compose({ at: 0, frauds: [prediction(1)] }, ADDRESSES)).raw)
    ).headerLines.map(({ key }) => key)
    // Each of them comes to stand in each column once.
    const columns = TEXTS.filter((name) => name !== 'trans_num')
    for (const first of odd.keys()) {
      const changes = Object.fromEntries(columns.map((name, i) => [name, odd[(first + i) % odd.length]]))
      const frauds = [prediction(1, { prediction: 1, ...changes } as Partial<Prediction>)]
      if (first % 2) frauds.push(prediction(2))
      const notification = { at: 0, frauds }
      const { raw, subject } = await compose(notification, ADDRESSES)
      expect((await compose(structuredClone(notification), ADDRESSES)).raw.equals(raw)).toBe(true)
      const mail = await simpleParser(raw)
      expect(mail.headerLines.map(({ key }) => key)).toEqual(plain)
      expect([mail.bcc, mail.cc]).toEqual([undefined, undefined])
      expect(raw.length).toBeLessThan(500_000)
      const source = raw.toString('latin1')
      expect(source).not.toMatch(/\r(?!\n)|(?<!\r)\n|(?![\r\n\t])\p{Cc}/u)
      expect(Math.max(...source.split('\r\n').map((line) => line.length))).toBeLessThan(998)
      expect(subject.isWellFormed()).toBe(true)
      expect(`${mail.subject}${mail.text}${mail.html}`).not.toMatch(/[\p{Cf}\u2028]|(?!\n)\p{Cc}/u)
      const csv = mail.attachments[0]!.content.toString()
      expect(csv).not.toMatch(/(?:^|,|\n)"?[\s\ufeff]*[=＝@]/)
    }
  })
  test('a digest of 2,000 with texts that are too long is made in seconds, and no larger than a server takes', async () => {
    const long = {
      merchant: '日'.repeat(1000),
      category: '💳'.repeat(500),
      first: 'x'.repeat(1000),
      street: '1 '.repeat(500),
      job: '=\u202e'.repeat(500),
    }
    const frauds = Array.from({ length: 2000 }, (_, n) =>
      prediction(n, {
        prediction: 1,
        ...long,
        trans_num: `${n}`.padStart(200, '語'),
        model: `m${n}`.padEnd(1000, '型'),
      }),
    )
    const began = performance.now()
    const { raw } = await compose({ at: 0, frauds }, ADDRESSES)
    expect(performance.now() - began).toBeLessThan(20_000)
    expect(raw.length).toBeLessThan(10_000_000) // what Postfix takes as it comes
    await using hook = await httpServer((_received, response) => response.end('ok'))
    await webhook({ url: hook.url }).send({ at: 0, frauds }, never)
    expect(hook.received[0]!.text.length).toBeLessThan(4_000_000)
  })
})
