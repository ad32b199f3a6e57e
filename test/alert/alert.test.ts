import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { type ParsedMail, simpleParser } from 'mailparser'
import { describe, expect, test } from 'vitest'
import { composeAlarm, deservesMail } from '../../src/alert/alert.ts'
import { stringify } from '../../src/json.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { FEATURES, type Prediction, toTransaction } from '../../src/transaction.ts'
import { LONG_CARD, NOTHING, prediction, row, tempDir } from '../rows.ts'

const ADDRESSES = {
  from: 'Fraud desk <fraud@bank.example>',
  to: ['analyst@bank.example', 'Night shift <night@bank.example>'],
}

const fraud = (changes: Partial<Prediction> = {}) => prediction(7, { prediction: 1, score: 0.987, ...changes })
const alarm = (changes: Partial<Prediction> = {}) => composeAlarm(fraud(changes), ADDRESSES)
const read = async (changes: Partial<Prediction> = {}) => simpleParser((await alarm(changes)).raw)
const csvOf = (mail: ParsedMail) => mail.attachments[0]!.content.toString()

/** CSV as RFC 4180 has it. */
function parseCsv(text: string): string[][] {
  const rows: string[][] = [[]]
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n)/g)) {
    rows.at(-1)!.push(quoted?.replaceAll('""', '"') ?? plain!)
    if (end !== ',') rows.push([])
  }
  rows.pop()
  return rows
}
const csvRow = async (changes: Partial<Prediction> = {}) => {
  const [header, row, ...more] = parseCsv(csvOf(await read(changes)))
  expect(more).toEqual([])
  return Object.fromEntries(header!.map((name, i) => [name, row![i]]))
}

test('a prediction of fraud deserves a mail, whatever the producer says', () => {
  expect(deservesMail(prediction(1, { prediction: 1, is_fraud: 0 }))).toBe(true)
  expect(deservesMail(prediction(1, { prediction: 0, is_fraud: 1 }))).toBe(false)
})

describe('the subject', () => {
  test('has the amount, the merchant without fraud_, and the category', async () => {
    const subject = 'Fraud alert: $12,345.60 at Kutch, Hermiston and Farrell (gas_transport)'
    expect((await read({ amt: 12345.6 })).subject).toBe(subject)
    expect((await alarm({ amt: 12345.6 })).subject).toBe(subject)
  })
  test('keeps names in any script', async () => {
    const { subject } = await read({ merchant: 'fraud_Ünsal Gıda 日本 🛒', category: 'épicerie' })
    expect(subject).toBe('Fraud alert: $17.00 at Ünsal Gıda 日本 🛒 (épicerie)')
  })
  test('marks what is simulated', async () => {
    expect((await read({ model: 'simulated' })).subject).toMatch(/^\[simulated\] Fraud alert: \$17\.00 at /)
  })
  test('fits into a header line, however long the names are', async () => {
    const { raw } = await alarm({ merchant: 'x'.repeat(3000), category: 'y'.repeat(3000) })
    expect(
      Math.max(
        ...raw
          .toString('latin1')
          .split('\r\n')
          .map((line) => line.length),
      ),
    ).toBeLessThan(998)
  })
})

describe('the text and the HTML', () => {
  test.for(['text', 'html'] as const)('the %s says when, how much, where, whose, how sure and which', async (part) => {
    const content = String((await read({ amt: 1234.5, cc_num: LONG_CARD }))[part])
    for (const fact of [
      '2026-01-02 03:04:12 UTC',
      '$1,234.50',
      'Kutch, Hermiston and Farrell',
      'gas_transport',
      '39.9000, -89.5000, 18 km from the card holder',
      'ends in 4184',
      part === 'text'
        ? "Ada O'Neil, 12 Main Street, Springfield, IL"
        : 'Ada O&#39;Neil, 12 Main Street, Springfield, IL',
      '98.7 %',
      'rf/7',
      'trans-7',
    ])
      expect(content).toContain(fact)
    expect(content).not.toContain('fraud_')
  })
  test('values are escaped in HTML', async () => {
    const { html } = await read({ merchant: `<img src=x onerror="alert('1')">&amp;`, trans_num: '</td><script>' })
    expect(html).toContain('&#60;img src=x onerror=&#34;alert(&#39;1&#39;)&#34;&#62;&#38;amp;')
    expect(html).not.toMatch(/<img|<script/)
  })
  test('columns that a producer leaves out are left out', async () => {
    const { subject, text, html } = await read(NOTHING)
    expect(subject).toBe('Fraud alert: $17.00 at unknown merchant (unknown category)')
    expect(text).toContain('the model gives no probability')
    expect(`${text}${html}`).not.toMatch(/null|undefined|NaN|Card holder:|Where|Category/)
    expect(text).toMatch(/Transaction: +trans-7/)
    expect((await read({ ...NOTHING, merch_lat: 1, merch_long: 2 })).text).toMatch(/Where: +1\.0000, 2\.0000$/m)
  })
})

describe('the CSV', () => {
  test('has the row as one line of the training columns, without the label', async () => {
    expect(await csvRow({ merchant: 'fraud_A "B", C\nD' })).toEqual({
      ...Object.fromEntries(FEATURES.map((column) => [column, String(fraud()[column])])),
      cc_num: '****0007',
      merchant: 'A "B", C\nD',
      prediction: '1',
      score: '0.987',
      model: 'rf/7',
    })
    const [attachment, ...more] = (await read()).attachments
    expect(more).toEqual([])
    expect(attachment).toMatchObject({ contentType: 'text/csv', filename: expect.stringMatching(/^\w+\.csv$/) })
  })
  test('leaves nothing for what is missing', async () => {
    expect(await csvRow(NOTHING)).toMatchObject({ merchant: '', lat: '', score: '', model: '', trans_num: 'trans-7' })
  })
  test('a cell that a spreadsheet would run is a text', async () => {
    const changes = {
      street: '=HYPERLINK("http://evil.example")',
      first: '+1',
      last: '-1',
      job: '@SUM(A1)',
      city: '\t=1',
    }
    expect(await csvRow({ ...changes, merchant: 'fraud_=1+1' })).toMatchObject({
      street: `'${changes.street}`,
      first: "'+1",
      last: "'-1",
      job: "'@SUM(A1)",
      city: "'\t=1",
      merchant: "'=1+1",
      long: '-89.6501',
    })
  })
})

test('the card is not in the mail either when a text of the row repeats it', async () => {
  const texts = { merchant: `fraud_Card ${LONG_CARD}`, street: `${LONG_CARD} Main Street`, job: `${LONG_CARD}` }
  const mail = await alarm({ cc_num: LONG_CARD, ...texts })
  const { subject, text, html, attachments } = await simpleParser(mail.raw)
  const csv = attachments[0]!.content.toString()
  expect([mail.subject, subject, text, html, csv].join()).not.toContain(String(LONG_CARD))
  expect(subject).toContain('Card ****4184')
  expect(csv).toContain('****4184 Main Street')
})

test.for([60_400_000_001n, 4_000_123_456_789_012n, LONG_CARD])('card %i is nowhere in the mail', async (cc_num) => {
  const mail = await alarm({ cc_num })
  const { subject, text, html, headerLines, attachments } = await simpleParser(mail.raw)
  const everything = [mail.id, mail.raw.toString(), subject, text, html, ...headerLines.map(({ line }) => line)]
  for (const { content, filename } of attachments) everything.push(content.toString(), filename)
  const digits = String(cc_num)
  const seen = everything.join('\n').replace(/[\s=]+/g, '')
  expect(seen).not.toContain(digits)
  expect(seen).not.toContain(digits.slice(0, -1))
  expect(seen).not.toContain(digits.slice(1))
  expect(text).toContain(`ends in ${digits.slice(-4)}`)
})

describe('values from outside', () => {
  const EVIL = 'A\r\nBcc: thief@evil.example\r\n\r\nHello\u2028B\u0085C\u0000D'
  test.for(['merchant', 'category', 'trans_num', 'first', 'model'] as const)('%s adds no header', async (column) => {
    const names = (mail: ParsedMail) => mail.headerLines.map(({ key }) => key)
    const mail = await read({ [column]: EVIL })
    expect(names(mail)).toEqual(names(await read()))
    expect(mail.bcc).toBeUndefined()
    expect(mail.text).toContain('A Bcc: thief@evil.example Hello B C D')
    expect(mail.text?.split('\n')).toHaveLength((await read()).text!.split('\n').length)
  })
  test('turn no text around and hide nothing', async () => {
    const { subject, text, html } = await read({
      merchant: 'fraud_nomel\u202egnp.exe\u200b\u2066x',
      category: 'a\u202eb',
    })
    expect(subject).toContain('at nomel gnp.exe x (a b)')
    expect(`${subject}${text}${html}`).not.toMatch(/\p{Cf}/u)
  })
})

describe('composed again it is the same mail, to the byte', () => {
  const subject = fraud({ cc_num: LONG_CARD, merchant: 'fraud_日本, "x"', amt: 1234.5 })

  test('in the same process, and after its way through a topic', async () => {
    const { raw } = await composeAlarm(subject, ADDRESSES)
    expect((await composeAlarm({ ...subject }, ADDRESSES)).raw).toEqual(raw)
    await using dir = await tempDir()
    const topics = await sqliteTopics({ path: dir.file('topics.db') })
    try {
      await topics.append({ predictions: [subject] })
      const batch = await topics.reader('predictions', 'alert').read(1, new AbortController().signal)
      expect((await composeAlarm(batch.records[0]!, ADDRESSES)).raw).toEqual(raw)
    } finally {
      await topics.close()
    }
  })

  test('in another process, in another place and language', async () => {
    const script = `
      const { composeAlarm } = await import('${new URL('../../src/alert/alert.ts', import.meta.url)}')
      const { parse } = await import('${new URL('../../src/json.ts', import.meta.url)}')
      const { subject, addresses } = parse(process.argv[1])
      process.stdout.write((await composeAlarm(subject, addresses)).raw.toString('base64'))`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', script, stringify({ subject, addresses: ADDRESSES })],
      { env: { ...process.env, TZ: 'Asia/Kolkata', LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' } },
    )
    expect(Buffer.from(stdout, 'base64')).toEqual((await composeAlarm(subject, ADDRESSES)).raw)
  })

  test('its Message-ID and Date follow from the transaction alone', async () => {
    const { messageId, date } = await read()
    expect(messageId).toMatch(/^<[\da-f]{32}@bank\.example>$/)
    expect(date?.getTime()).toBe(Math.floor(fraud().event_time / 1000) * 1000)
    expect((await read({ score: 0.5, model: 'other', predicted_at: 1, amt: 9 })).messageId).toBe(messageId)
    expect((await read({ trans_num: 'trans-8' })).messageId).not.toBe(messageId)
    expect((await read({ event_time: fraud().event_time + 1 })).messageId).not.toBe(messageId) // drawn again
  })
})

test('is addressed to everybody, and ends every line as the wire wants it', async () => {
  const mail = await alarm()
  const { from, to } = await simpleParser(mail.raw)
  expect(from?.text).toBe('"Fraud desk" <fraud@bank.example>')
  expect([to].flat()[0]?.value.map(({ address }) => address)).toEqual(['analyst@bank.example', 'night@bank.example'])
  expect(mail.raw.toString('latin1')).not.toMatch(/\r(?!\n)|(?<!\r)\n/)
})

test('a row as the producer sends it is enough', async () => {
  const bare = toTransaction({ cc_num: '60400000001', amt: 5, trans_num: 'x', current_time: row(1).current_time }, 0)
  const mail = await composeAlarm({ ...bare, prediction: 1, score: null, model: null, predicted_at: 0 }, ADDRESSES)
  expect((await simpleParser(mail.raw)).text).toMatch(/Amount: +\$5\.00/)
})
