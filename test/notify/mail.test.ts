import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import fc from 'fast-check'
import { type ParsedMail, simpleParser } from 'mailparser'
import { describe, expect, test } from 'vitest'
import { deservesMail, type Notification, notificationKey } from '../../src/alert/notifier.ts'
import { FEATURES } from '../../src/columns.ts'
import { stringify } from '../../src/io/json.ts'
import { compose } from '../../src/notify/mail.ts'
import { idOf } from '../../src/review/reviews.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { type Prediction, toTransaction } from '../../src/transaction.ts'
import { LONG_CARD, NOTHING, prediction, row, tempDir } from '../rows.ts'

const ADDRESSES = {
  from: 'Fraud desk <fraud@bank.example>',
  to: ['analyst@bank.example', 'Night shift <night@bank.example>'],
  operators: ['ops@bank.example'],
}
const AT = Date.UTC(2026, 0, 2, 3, 30)
const NOTICE = {
  subject: 'The model looks broken: 96 % taken for fraud',
  lines: ['It took 192 of the last 200 transactions for fraud.', 'Look at the model server.'],
}

const fraud = (changes: Partial<Prediction> = {}, n = 7) =>
  prediction(n, { prediction: 1, score: 0.987, trans_num: `trans-${n}.`, ...changes })
const alone = (changes: Partial<Prediction> = {}): Notification => ({ at: AT, frauds: [fraud(changes)] })
/** Twelve seconds apart, five a minute, each 1 dollar more. */
const many = (count: number, changes: Partial<Prediction> = {}): Prediction[] =>
  Array.from({ length: count }, (_, n) => fraud({ ...clock(AT - 600_000 + n * 12_000), ...changes }, n))
const clock = (event_time: number) => ({
  event_time,
  trans_date_trans_time: new Date(event_time).toISOString().slice(0, 19).replace('T', ' '),
})
const mailOf = (notification: Notification) => compose(notification, ADDRESSES)
const read = async (notification: Notification) => simpleParser((await mailOf(notification)).raw)
const readAlone = (changes: Partial<Prediction> = {}) => read(alone(changes))
const readMany = (...frauds: Partial<Prediction>[]) =>
  read({ at: AT, frauds: frauds.map((changes, n) => fraud(changes, n)) })
const htmlOf = (mail: ParsedMail) => String(mail.html)
const csvOf = (mail: ParsedMail) => mail.attachments[0]!.content.toString()
const headersOf = (mail: ParsedMail) => mail.headerLines.map(({ key }) => key)
/** All that a person or a program may see of a mail, decoded and raw. */
async function everything(notification: Notification): Promise<string> {
  const mail = await mailOf(notification)
  const { subject, text, html, headerLines, attachments } = await simpleParser(mail.raw)
  const seen = [mail.id, mail.subject, mail.raw.toString(), subject, text, html, ...headerLines.map(({ line }) => line)]
  for (const { content, filename } of attachments) seen.push(content.toString(), filename)
  return seen.join('\n')
}

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
const csvRows = (mail: ParsedMail) => {
  const [header, ...rows] = parseCsv(csvOf(mail))
  return rows.map((values) => Object.fromEntries(header!.map((name, i) => [name, values[i]])))
}
const csvRow = async (changes: Partial<Prediction> = {}) => {
  const [row, ...more] = csvRows(await readAlone(changes))
  expect(more).toEqual([])
  return row
}
/** The transaction numbers as they follow one another. */
const order = (text: string) => text.match(/trans-\d+(?=\.)/g)

test('a prediction of fraud deserves a mail, whatever the producer says', () => {
  expect(deservesMail(prediction(1, { prediction: 1, is_fraud: 0 }))).toBe(true)
  expect(deservesMail(prediction(1, { prediction: 0, is_fraud: 1 }))).toBe(false)
})

describe('the subject', () => {
  test('has the amount, the merchant without fraud_, and the category', async () => {
    const subject = 'Fraud alert: $12,345.60 at Kutch, Hermiston and Farrell (gas_transport)'
    expect((await readAlone({ amt: 12345.6 })).subject).toBe(subject)
    expect((await mailOf(alone({ amt: 12345.6 }))).subject).toBe(subject)
  })
  test('of a digest has the number of payments, their sum, and the largest', async () => {
    const frauds = [{ amt: 1000.5 }, { amt: 1200, merchant: 'fraud_Acme', category: 'misc_net' }, { amt: 1255.5 }]
    expect((await readMany(...frauds, { amt: 1.25 })).subject).toBe(
      'Fraud alert: 4 payments, $3,457.25, largest $1,255.50 at Kutch, Hermiston and Farrell (gas_transport)',
    )
    expect((await readMany(...frauds.slice(0, 2))).subject).toMatch(/largest \$1,200\.00 at Acme \(misc_net\)$/)
  })
  test('of a notice is the one given', async () => {
    const notification = { at: AT, frauds: many(3), notice: NOTICE }
    expect((await read(notification)).subject).toBe(NOTICE.subject)
    expect((await mailOf(notification)).subject).toBe(NOTICE.subject)
  })
  test('keeps names in any script', async () => {
    const { subject } = await readAlone({ merchant: 'fraud_Ünsal Gıda 日本 🛒', category: 'épicerie' })
    expect(subject).toBe('Fraud alert: $17.00 at Ünsal Gıda 日本 🛒 (épicerie)')
  })
  test('marks what is simulated, one payment of many too', async () => {
    expect((await readAlone({ model: 'simulated' })).subject).toMatch(/^\[simulated\] Fraud alert: \$17\.00 at /)
    expect((await readAlone({ model: 'rf/2 (simulated payments)' })).subject).toMatch(/^\[simulated\] Fraud alert: /)
    expect((await readMany({ model: 'simulated' }, {})).subject).toMatch(/^\[simulated\] Fraud alert: 2 payments, /)
  })
  test.for([
    ['of a single alarm', (changes: Partial<Prediction>): Notification => alone(changes)],
    ['of a digest', (changes: Partial<Prediction>): Notification => ({ at: AT, frauds: many(2, changes) })],
    [
      'of a notice',
      ({ merchant }: Partial<Prediction>): Notification => ({
        at: AT,
        frauds: [],
        notice: { ...NOTICE, subject: merchant! },
      }),
    ],
  ] as const)('%s fits into a header line, however long the names are', async ([, notification]) => {
    for (const sign of ['x', '日', '🛒']) {
      const { raw, subject } = await mailOf(
        notification({ merchant: sign.repeat(10_000), category: sign.repeat(3000) }),
      )
      const lines = raw.toString('latin1').split('\r\n')
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(998)
      expect(subject.length).toBeLessThan(300)
      expect(subject).toMatch(/^[^\ufffd]+….*$/)
      expect(subject.isWellFormed()).toBe(true)
    }
  })
})

describe('a single alarm', () => {
  test.for(['text', 'html'] as const)('the %s says when, how much, where, whose, how sure and which', async (part) => {
    const content = String((await readAlone({ amt: 1234.5, cc_num: LONG_CARD }))[part]).replaceAll('&nbsp;', ' ')
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
      '2026-01-02T03:04:12.678Z', // half of what the row is found by
      'Please check it with the card holder',
    ])
      expect(content).toContain(fact)
    expect(content).not.toContain('fraud_')
    expect(content.match(/trans-7/g)).toHaveLength(1)
  })
  test('shows amount and merchant first and big', async () => {
    const html = htmlOf(await readAlone())
    const [first, second] = html.matchAll(/font-size:(\d+)px[^>]*>([^<\n]+)</g)
    expect(first!.slice(1)).toEqual(['30', '$17.00'])
    expect(second!.slice(1)).toEqual(['20', 'Kutch, Hermiston and Farrell'])
    expect(html.match(/\$17|Kutch/g)).toHaveLength(2) // and not again among the facts
    expect(html).toContain('98.7&nbsp;%') // no line break in it
  })
  test('leaves out columns that a producer leaves out', async () => {
    const { subject, text, html } = await readAlone(NOTHING)
    expect(subject).toBe('Fraud alert: $17.00 at unknown merchant (unknown category)')
    expect(text).toContain('the model gives no probability')
    expect(`${text}${html}`).not.toMatch(/null|undefined|NaN|Card holder:|Where|Category/)
    expect(text).toMatch(/Transaction: +trans-7/)
    expect((await readAlone({ ...NOTHING, merch_lat: 1, merch_long: 2 })).text).toMatch(/Where: +1\.0000, 2\.0000$/m)
  })
  test('needs no more than a producer must send', async () => {
    const bare = toTransaction({ cc_num: '60400000001', amt: 5, trans_num: 'x', current_time: row(1).current_time }, 0)
    const mail = await read({ at: AT, frauds: [{ ...bare, prediction: 1, score: null, model: null, predicted_at: 0 }] })
    expect(mail.text).toMatch(/Amount: +\$5\.00/)
  })
})

describe('a digest', () => {
  test('has every transaction once, in the text, in the HTML and in the CSV', async () => {
    const mail = await read({ at: AT, frauds: many(40) })
    const all = Array.from({ length: 40 }, (_, n) => `trans-${n}`).sort()
    for (const content of [mail.text!, htmlOf(mail), csvOf(mail)]) expect(order(content)!.toSorted()).toEqual(all)
    expect(mail.attachments).toHaveLength(1)
  })
  test('has the likeliest fraud first, then the largest amount, and the payments of its card with it', async () => {
    const [one, other, third] = [LONG_CARD, LONG_CARD + 10_000n, 4_000_000_000_007n] // two end alike
    const mail = await readMany(
      { score: 0.6, amt: 900, cc_num: third },
      { score: 0.7, amt: 10, cc_num: one },
      { score: 0.99, amt: 5, cc_num: other, first: 'Grace', last: 'Hopper' },
      { score: 0.7, amt: 20, cc_num: other, first: 'Grace', last: 'Hopper' },
      { score: 0.7, amt: 30, cc_num: one },
      { score: null, amt: 1, cc_num: third }, // a model that gives no probability is sure of it
    )
    const expected = ['trans-5', 'trans-0', 'trans-2', 'trans-3', 'trans-4', 'trans-1']
    for (const content of [mail.text!, htmlOf(mail), csvOf(mail)]) expect(order(content)).toEqual(expected)
    const headings = [
      "Card *0007, Ada O'Neil: 2 payments, $901.00",
      'Card *4184, Grace Hopper: 2 payments, $25.00',
      "Card *4184, Ada O'Neil: 2 payments, $40.00",
    ]
    expect(mail.text!.match(/^Card .*$/gm)).toEqual(headings)
    expect(htmlOf(mail).match(/(?<=>)Card [^<]*/g)).toEqual(headings.map((text) => text.replaceAll("'", '&#39;')))
    expect(mail.text).not.toMatch(/Springfield/) // a digest does without the addresses
  })
  test('the text is a table in fixed columns', async () => {
    const names = ['fraud_日本カード', 'fraud_Ünsal 🛒', 'fraud_Ahab', `fraud_${'x'.repeat(80)}`, null]
    const changes = (n: number) => ({ merchant: names[n]!, score: n === 1 ? 1 : n === 2 ? null : 0.0512 })
    const { text } = await readMany(
      ...names.map((_, n) => ({ ...changes(n), trans_num: `trans-${n}.`.padEnd(32, 'a') })),
    )
    expect(text!.split('\n').slice(2)).toEqual([
      'The model takes these card payments for fraud.',
      '',
      'When:         2026-01-02 03:04 UTC',
      'Model:        rf/7',
      '',
      'When   Amount  Merchant                  Category         Score  Event time                Transaction',
      '-----  ------  ------------------------  -------------  -------  ------------------------  --------------------------------',
      '',
      "Card *0002, Ada O'Neil",
      '03:04  $12.00  Ahab                      gas_transport           2026-01-02T03:04:07.678Z  trans-2.aaaaaaaaaaaaaaaaaaaaaaaa',
      '',
      "Card *0001, Ada O'Neil",
      '03:04  $11.00  Ünsal 🛒                  gas_transport  100.0 %  2026-01-02T03:04:06.678Z  trans-1.aaaaaaaaaaaaaaaaaaaaaaaa',
      '',
      "Card *0004, Ada O'Neil",
      '03:04  $14.00  unknown merchant          gas_transport    5.1 %  2026-01-02T03:04:09.678Z  trans-4.aaaaaaaaaaaaaaaaaaaaaaaa',
      '',
      "Card *0003, Ada O'Neil",
      '03:04  $13.00  xxxxxxxxxxxxxxxxxxxxxxx…  gas_transport    5.1 %  2026-01-02T03:04:08.678Z  trans-3.aaaaaaaaaaaaaaaaaaaaaaaa',
      '',
      "Card *0000, Ada O'Neil",
      '03:04  $10.00  日本カード                gas_transport    5.1 %  2026-01-02T03:04:05.678Z  trans-0.aaaaaaaaaaaaaaaaaaaaaaaa',
      '',
      'Please check them with the card holders. All rows are attached as CSV.',
      '',
    ])
  })
  test('the HTML has the same columns', async () => {
    const html = htmlOf(await readMany({ amt: 1234.5, score: 0.5 }, { score: 0.4 })).replaceAll('&nbsp;', ' ')
    const cells = (tag: string, text: string) =>
      [...text.matchAll(new RegExp(`<${tag}[ >][^>]*>(?:<b>)?([^<]*)`, 'g'))].map(([, value]) => value)
    const rows = html
      .slice(html.indexOf('class="rows"'))
      .split('<tr')
      .filter((row) => !row.includes('colspan'))
      .slice(1)
    const columns = ['When', 'Amount', 'Merchant', 'Category', 'Score', 'Event time', 'Transaction']
    expect(cells('th', rows[0]!)).toEqual(columns)
    const first = [
      '03:04',
      '$1,234.50',
      'Kutch, Hermiston and Farrell',
      'gas_transport',
      '50.0 %',
      '2026-01-02T03:04:05.678Z',
      'trans-0.',
    ]
    expect(cells('td', rows[1]!)).toEqual(first)
    expect(rows).toHaveLength(3)
  })
  test('says the day with each time when there is more than one', async () => {
    const mail = await readMany(clock(Date.UTC(2025, 11, 31, 23, 59)), clock(Date.UTC(2026, 0, 1, 0, 1)))
    expect(mail.text).toMatch(/^When: +2025-12-31 23:59 to 2026-01-01 00:01 UTC$/m)
    expect(mail.text).toMatch(/^01-01 00:01 .*trans-1\.$/m)
    expect(mail.text).toMatch(/^12-31 23:59 .*trans-0\.$/m)
    expect((await readMany({}, clock(AT))).text).toMatch(/^When: +2026-01-02 03:04 to 03:30 UTC$/m)
  })
  test('names the models in a column when they differ', async () => {
    const { text } = await readMany({ model: null }, { model: 'rf/8' }, { model: 'rf/7' })
    expect(text).toMatch(/^When +Amount +Merchant +Category +Score +Model +Event time +Transaction$/m)
    expect(text).toMatch(/98\.7 % {2}rf\/8 {3}2026-01-02T03:04:06.678Z {2}trans-1\.$/m)
    expect(text).not.toMatch(/^Model:/m)
  })
  test('does without columns that a producer leaves out', async () => {
    const { text, html } = await readMany(NOTHING, NOTHING)
    expect(text).toContain('unknown merchant')
    expect(`${text}${html}`).not.toMatch(/null|undefined|NaN/)
  })
  test('cuts long values, but no transaction number', async () => {
    const long = { merchant: 'm'.repeat(10_000), category: 'c'.repeat(10_000), model: 'o'.repeat(10_000) }
    const trans_num = '日'.repeat(200)
    const mail = await readMany({ ...long, trans_num }, {})
    for (const content of [mail.text!, htmlOf(mail)]) {
      expect(content.length).toBeLessThan(10_000)
      expect(content).toContain(trans_num)
    }
  })
  test('of 2,000 payments is made in no time and is smaller than 2.5 MB', async () => {
    const frauds = many(2000, { merchant: 'fraud_Schoenherr, Nikolaus and Wehner', category: 'health_fitness' }).map(
      (p, n): Prediction => ({
        ...p,
        cc_num: LONG_CARD - BigInt(n),
        trans_num: `trans-${n}.`.padEnd(32, 'a'),
        model: `model/${n}`,
      }),
    )
    const started = performance.now()
    const { raw } = await mailOf({ at: AT, frauds })
    expect(performance.now() - started).toBeLessThan(3000) // 0.1 s; 7 s if each card were sought in each text
    expect(raw.length).toBeLessThan(2_500_000)
    const mail = await simpleParser(raw)
    for (const content of [mail.text!, csvOf(mail)]) {
      expect(order(content)).toHaveLength(2000)
      expect(new Set(order(content)).size).toBe(2000)
    }
    const html = String(htmlOf(mail))
    expect(Buffer.byteLength(html)).toBeLessThanOrEqual(100_000) // Gmail cuts it off after 102
    const shown = order(html)!.length
    expect(shown).toBeGreaterThan(100)
    expect(html).toContain(`${2000 - shown} more payments, in the CSV alone.`)
  })
  test('stays small enough for a mail server when every value is far too long', async () => {
    const { raw } = await mailOf({
      at: AT,
      frauds: many(500, { merchant: 'm'.repeat(10_000), job: 'j'.repeat(10_000) }),
    })
    expect(raw.length).toBeLessThan(5_000_000)
  })
})

describe('a notice', () => {
  test('says its lines, and nothing of payments when there are none', async () => {
    const mail = await read({ at: AT, frauds: [], notice: NOTICE })
    expect(mail.text).toBe(`${[NOTICE.subject, '', ...NOTICE.lines].join('\n')}\n`)
    for (const line of [NOTICE.subject, ...NOTICE.lines])
      expect(htmlOf(mail).replaceAll('&nbsp;', ' ')).toContain(`>${line}<`)
    expect(htmlOf(mail)).not.toMatch(/check|CSV|card|<table/)
    expect(mail.attachments).toEqual([])
  })
  test.for([1, 8])('with %i payments has them in a table below, and in the CSV', async (count) => {
    const frauds = many(count)
    const mail = await read({ at: AT, frauds, notice: NOTICE })
    for (const content of [mail.text!, htmlOf(mail)]) {
      expect(order(content)).toEqual(order(csvOf(mail)))
      expect(order(content)).toHaveLength(count)
      expect(content.indexOf(NOTICE.lines[1]!)).toBeLessThan(content.indexOf('trans-0'))
      expect(content).not.toContain('The model takes')
      expect(content).toContain(count === 1 ? 'check it with the card holder.' : 'check them with the card holders.')
    }
    expect(mail.text).toMatch(
      count === 1
        ? /^Payments: +1 payment, \$10\.00, largest/m
        : /^Payments: +8 payments, \$108\.00, largest \$17\.00/m,
    )
  })
  test('values in its lines are escaped, in one line each, and no card number', async () => {
    const lines = ['<b>&\n"x"\u202e', `card ${LONG_CARD} failed`, 'or 4111 1111 1111 1111']
    const mail = await read({ at: AT, frauds: [], notice: { subject: `a\r\nBcc: x ${LONG_CARD}`, lines } })
    expect(mail.text).toBe('a Bcc: x …4184\n\n<b>& "x"\ncard …4184 failed\nor …1111\n')
    expect(mail.html).toContain('&#60;b&#62;&#38; &#34;x&#34;<')
    expect(headersOf(mail)).toEqual(headersOf(await read({ at: AT, frauds: [], notice: NOTICE })))
  })
})

describe('the CSV', () => {
  test('has the row as one line of the training columns, without the label', async () => {
    expect(await csvRow({ merchant: 'fraud_A "B", C\nD' })).toEqual({
      ...Object.fromEntries(FEATURES.map((column) => [column, String(fraud()[column])])),
      cc_num: '****0007',
      event_time: '2026-01-02T03:04:12.678Z',
      merchant: 'A "B", C\nD',
      prediction: '1',
      score: '0.987',
      model: 'rf/7',
    })
    const [attachment, ...more] = (await readAlone()).attachments
    expect(more).toEqual([])
    expect(attachment).toMatchObject({ contentType: 'text/csv', filename: expect.stringMatching(/^\w+\.csv$/) })
  })
  test('leaves nothing for what is missing', async () => {
    expect(await csvRow(NOTHING)).toMatchObject({ merchant: '', lat: '', score: '', model: '', trans_num: 'trans-7.' })
  })
  test('has a long value whole', async () => {
    expect(await csvRow({ job: 'j'.repeat(10_000) })).toMatchObject({ job: 'j'.repeat(10_000) })
  })
  test('a cell that a spreadsheet would run is a text', async () => {
    const changes = {
      street: '=HYPERLINK("http://evil.example")',
      first: '+1',
      last: '-1',
      job: '@SUM(A1)',
      city: '\t=1',
    }
    const expected = {
      street: `'${changes.street}`,
      first: "'+1",
      last: "'-1",
      job: "'@SUM(A1)",
      city: "'\t=1",
      merchant: "'=1+1",
      long: '-89.6501',
    }
    expect(await csvRow({ ...changes, merchant: 'fraud_=1+1' })).toMatchObject(expected)
    const rows = csvRows(await readMany({}, { ...changes, merchant: 'fraud_=1+1' }))
    expect(rows[0]).toMatchObject(expected)
  })
})

describe('no card number leaves', () => {
  test.for([60_400_000_001n, 4_000_123_456_789_012n, LONG_CARD])('card %i is nowhere in a mail', async (cc_num) => {
    const digits = String(cc_num)
    for (const notification of [alone({ cc_num }), { at: AT, frauds: [fraud(), fraud({ cc_num }, 8)] }]) {
      const seen = (await everything(notification)).replace(/[\s=]+/g, '')
      expect(seen).not.toContain(digits)
      expect(seen).not.toContain(digits.slice(0, -1))
      expect(seen).not.toContain(digits.slice(1))
    }
    expect((await readAlone({ cc_num })).text).toContain(`ends in ${digits.slice(-4)}`)
  })
  test('when a text of the row repeats it', async () => {
    const texts = { merchant: `fraud_Card ${LONG_CARD}`, street: `${LONG_CARD} Main Street`, job: `${LONG_CARD}` }
    const notification = alone({ cc_num: LONG_CARD, ...texts, trans_num: `t${LONG_CARD}`, model: `m${LONG_CARD}` })
    expect(await everything(notification)).not.toContain(String(LONG_CARD))
    const mail = await read(notification)
    expect(mail.subject).toContain('Card …4184')
    expect(csvOf(mail)).toContain('…4184 Main Street')
    expect(mail.text).toMatch(/Transaction: +t…4184$/m)
  })
  test('when a text, or a number, of another row repeats it', async () => {
    const other = 4_000_123_456_789_012n
    const columns = ['merchant', 'category', 'first', 'street', 'job', 'dob', 'trans_num', 'model'] as const
    for (const column of columns) {
      const frauds = [fraud({ cc_num: LONG_CARD, [column]: `x${other}y` }), fraud({ cc_num: other }, 8), fraud({}, 9)]
      expect(await everything({ at: AT, frauds })).not.toContain(String(other))
      expect(await everything({ at: AT, frauds, notice: NOTICE })).not.toContain(String(other))
    }
    const frauds = [fraud({ zip: Number(other), lat: Number(other) }), fraud({ cc_num: other }, 8)]
    expect(await everything({ at: AT, frauds })).not.toContain(String(other))
    expect(csvRows(await read({ at: AT, frauds }))[1]).toMatchObject({ zip: '…9012', lat: '…9012' })
  })
  test.for([
    ['in groups', '4992 3463 9806 5154 184'],
    ['with signs between', '4992-3463.9806/5154 - 184'],
    ['with what cannot be seen between', '4992\u200b3463\u202e9806\u00ad5154\u0000184'],
    ['next to another card', `${LONG_CARD}${LONG_CARD}`],
    ['within more digits', `77${LONG_CARD}77`],
  ] as const)('%s', async ([, written]) => {
    for (const notification of [
      alone({ cc_num: LONG_CARD, merchant: written, street: written }),
      { at: AT, frauds: [fraud({ merchant: written, street: written }), fraud({ cc_num: LONG_CARD }, 8)] },
    ])
      expect((await everything(notification)).replace(/[^\p{L}\p{N}]/gu, '')).not.toContain(String(LONG_CARD))
  })
  test('not in part either, where a long text is cut', async () => {
    const merchant = `${'x'.repeat(87)}${LONG_CARD}`
    for (const notification of [
      alone({ cc_num: LONG_CARD, merchant }),
      { at: AT, frauds: many(2, { cc_num: LONG_CARD, merchant }) },
    ])
      expect(await everything(notification)).not.toContain(String(LONG_CARD).slice(0, 8))
  })
  test('other digits stay', async () => {
    const trans_num = '2703186189652095a1b70c0e5e6c8d4f'
    expect((await readAlone({ trans_num, merchant: 'Tel. +1 555 123 4567' })).text).toMatch(
      /Tel\. \+1 555 123 4567[\s\S]*2703186189652095a1b70c0e5e6c8d4f/,
    )
  })
})

describe('values from outside', () => {
  const EVIL = 'A\r\nBcc: thief@evil.example\r\n\r\nHello\u2028B\u0085C\u0000D'
  const COLUMNS = ['merchant', 'category', 'trans_num', 'first', 'model'] as const
  test.for(COLUMNS)('%s adds no header and no line', async (column) => {
    const mail = await readAlone({ [column]: EVIL })
    expect(headersOf(mail)).toEqual(headersOf(await readAlone()))
    expect(mail.bcc).toBeUndefined()
    expect(mail.text).toContain('A Bcc: thief@evil.example Hello B C D')
    expect(mail.text?.split('\n')).toHaveLength((await readAlone()).text!.split('\n').length)
    const two = await readMany({ model: 'x' }, { [column]: EVIL })
    expect(headersOf(two)).toEqual(headersOf(await readMany({}, {})))
    expect(two.text?.split('\n')).toHaveLength((await readMany({ model: 'x' }, {})).text!.split('\n').length)
  })
  test('turn no text around and hide nothing', async () => {
    const hostile = { merchant: 'fraud_nomel\u202egnp.exe\u200b\u2066x', category: 'a\u202eb' }
    for (const { subject, text, html } of [await readAlone(hostile), await readMany(hostile, hostile)]) {
      expect(subject).toContain('at nomel gnp.exe x (a b)')
      expect(`${subject}${text}${html}`).not.toMatch(/\p{Cf}/u)
    }
  })
  test('are escaped in HTML, in the facts and in the table', async () => {
    const hostile = { merchant: `<img src=x onerror="alert('1')">&amp;`, trans_num: '</td><script>' }
    for (const { html } of [await readAlone(hostile), await readMany(hostile, {})]) {
      expect(html).toContain('&#60;img src=x onerror=&#34;alert(&#39;1&#39;)&#34;&#62;&#38;amp;')
      expect(html).not.toMatch(/<img|<script/)
    }
  })
  test('whatever they are, the HTML keeps its tags', async () => {
    const tags = async (notification: Notification) => htmlOf(await read(notification)).match(/<[^>]*>|["']/g)
    const text = fc
      .oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('<b>', '"', "'>", '&lt;', '</table>'))
      .map((text) => `a${text}`)
    const values = fc.record({ merchant: text, category: text, model: text, job: text, last: text, trans_num: text })
    const plain = { alone: await tags(alone()), many: await tags({ at: AT, frauds: [fraud(), fraud({ model: 'x' })] }) }
    await fc.assert(
      fc.asyncProperty(values, async (changes) => {
        expect(await tags(alone(changes))).toEqual(plain.alone)
        const frauds = [fraud(changes), fraud({ model: `not ${changes.model}` })]
        expect(await tags({ at: AT, frauds })).toEqual(plain.many)
      }),
      { numRuns: 60 },
    )
  })
})

describe('the HTML', () => {
  const notifications: [string, Notification][] = [
    ['a single alarm', alone()],
    ['a digest', { at: AT, frauds: many(12) }],
    ['a notice', { at: AT, frauds: many(3), notice: NOTICE }],
    ['a notice without payments', { at: AT, frauds: [], notice: NOTICE }],
  ]
  test.for(notifications)('of %s fetches nothing and leads nowhere', async ([, notification]) => {
    expect(htmlOf(await read(notification))).not.toMatch(/http|src=|href|url\(|@import|<img|<link|<script|<a /i)
  })
  test.for(notifications)('of %s leaves colours to the program, for dark mode', async ([, notification]) => {
    const html = htmlOf(await read(notification))
    expect(html).toContain('<meta name="color-scheme" content="light dark">')
    expect(html).toContain(':root{color-scheme:light dark}')
    expect(html).not.toMatch(/background|bgcolor|[;" {]color:/)
  })
  test('stacks the cells of a row where style sheets are stripped, and makes columns of them where there is room', async () => {
    const html = htmlOf(await read({ at: AT, frauds: many(2) }))
    const grid = html.slice(html.indexOf('class="rows"'))
    for (const [tag] of grid.matchAll(/<(?:td|th|tr)[ >][^>]*/g)) expect(tag).toMatch(/style="display:(block|inline)/)
    expect(html).toMatch(/@media \(min-width:\d+px\)[^@]*\.rows tr\{display:table-row!important\}/)
  })
})

describe('the headers', () => {
  const HEADERS = {
    'auto-submitted': 'auto-generated',
    precedence: 'bulk',
    'x-auto-response-suppress': 'OOF, AutoReply',
  }
  const header = (mail: ParsedMail, name: string) => mail.headerLines.find(({ key }) => key === name)?.line
  const notifications: [string, Notification][] = [
    ['a single alarm', alone()],
    ['a digest', { at: AT, frauds: many(2) }],
    ['a notice', { at: AT, frauds: [], notice: NOTICE }],
  ]
  test('say which version has decided on the notification', async () => {
    expect(header(await read({ ...alone(), by: '1.2.3' }), 'x-mailer')).toBe('X-Mailer: client-predict 1.2.3')
    expect(header(await read(alone()), 'x-mailer')).toBeUndefined() // by one that did not say so, and its repeats neither
  })
  test.for(notifications)('of %s keep automatic replies away and name the list', async ([, notification]) => {
    const mail = await read(notification)
    for (const [name, value] of Object.entries(HEADERS)) expect(header(mail, name)?.replace(/^.*?: /, '')).toBe(value)
    expect(header(mail, 'list-id')).toBe('List-ID: <fraud-alerts.bank.example>')
  })
  test('of a notification for operators name them and another list', async () => {
    const notification = { at: AT, frauds: [], notice: NOTICE, operators: true }
    const mail = await read(notification)
    expect((await mailOf(notification)).to).toEqual(['ops@bank.example'])
    expect([mail.to].flat()[0]?.text).toBe('ops@bank.example')
    expect(header(mail, 'list-id')).toBe('List-ID: <fraud-operators.bank.example>')
  })
  test('of a notification in a thread name the first one of it', async () => {
    const first = alone()
    const { messageId, inReplyTo, references } = await read(first)
    expect([inReplyTo, references]).toEqual([undefined, undefined])
    const second = await read({ at: AT, frauds: many(2), under: notificationKey(first) })
    expect([second.inReplyTo, second.references]).toEqual([messageId, messageId])
    expect(second.messageId).not.toBe(messageId)
  })
  test('have the Message-ID of the notification, and the time of the payment or of the decision', async () => {
    const single = alone()
    const digest = { at: AT, frauds: many(2) }
    const notice = { at: AT, frauds: [fraud()], notice: NOTICE }
    for (const notification of [single, digest, notice])
      expect((await read(notification)).messageId).toBe(`<${notificationKey(notification)}@bank.example>`)
    expect((await read(single)).date?.getTime()).toBe(Math.floor(fraud().event_time / 1000) * 1000)
    expect((await read(digest)).date?.getTime()).toBe(AT)
    expect((await read(notice)).date?.getTime()).toBe(AT)
  })
  test('of a single alarm, Message-ID and Date follow from the transaction alone', async () => {
    const { messageId, date } = await readAlone()
    expect(messageId).toMatch(/^<[\da-f]{32}@bank\.example>$/)
    const again = await read({ ...alone({ score: 0.5, model: 'other', predicted_at: 1, amt: 9 }), at: AT + 5 })
    expect([again.messageId, again.date]).toEqual([messageId, date])
    expect((await readAlone({ trans_num: 'trans-8' })).messageId).not.toBe(messageId)
    expect((await readAlone({ event_time: fraud().event_time + 1 })).messageId).not.toBe(messageId) // drawn again
  })
  test.for([
    ['"Desk, Fraud" <fraud@bank.example>', 'Desk, Fraud'],
    ['Desk, Fraud <fraud@bank.example>', 'Desk, Fraud'],
    ['Desk: night; day <fraud@bank.example>', 'Desk: night; day'],
    ['"a \\"b\\" c" <fraud@bank.example>', 'a "b" c'],
    ['"a@b.example, d" <fraud@bank.example>', 'a@b.example, d'],
    ['Ünï 💳 <fraud@bank.example>', 'Ünï 💳'],
    ['<fraud@bank.example>', ''],
  ])('the name in %s is a name', async ([written, name]) => {
    const mail = await compose(alone(), { ...ADDRESSES, from: written!, to: [written!, 'b@bank.example'] })
    const { from, to } = await simpleParser(mail.raw)
    expect(from?.value).toEqual([{ name, address: 'fraud@bank.example' }])
    expect([to].flat()[0]?.value.map(({ address }) => address)).toEqual(['fraud@bank.example', 'b@bank.example'])
    expect([mail.from, ...mail.to]).toEqual(['fraud@bank.example', 'fraud@bank.example', 'b@bank.example'])
  })
  test.for([
    ['"a@b" <fraud@bank.example>', 'bank.example'],
    ['fraud@bücher.example', 'xn--bcher-kva.example'],
  ])('take the domain from %s', async ([from, domain]) => {
    const mail = await simpleParser((await compose(alone(), { ...ADDRESSES, from: from! })).raw)
    expect(mail.messageId).toMatch(new RegExp(`@${domain}>$`))
    expect(header(mail, 'list-id')).toBe(`List-ID: <fraud-alerts.${domain}>`)
  })
  test('are addressed to everybody, and every line ends as the wire wants it', async () => {
    for (const notification of [alone(), { at: AT, frauds: many(12), notice: NOTICE }]) {
      const mail = await mailOf(notification)
      const { from, to } = await simpleParser(mail.raw)
      expect(from?.text).toBe('"Fraud desk" <fraud@bank.example>')
      expect([to].flat()[0]?.value.map(({ address }) => address)).toEqual([
        'analyst@bank.example',
        'night@bank.example',
      ])
      expect([mail.from, ...mail.to]).toEqual(['fraud@bank.example', 'analyst@bank.example', 'night@bank.example'])
      expect(mail.raw.toString('latin1')).not.toMatch(/\r(?!\n)|(?<!\r)\n/)
    }
  })
})

test('the name for people says when, and differs from notification to notification', async () => {
  const notifications: Notification[] = [
    alone(),
    { at: AT, frauds: many(2) },
    { at: AT, frauds: many(3) },
    { at: AT, frauds: [], notice: NOTICE },
  ]
  const ids = await Promise.all(notifications.map(async (notification) => (await mailOf(notification)).id))
  expect(ids[0]).toBe('2026-01-02T03:04:12.678Z_trans-7.')
  for (const id of ids.slice(1)) expect(id).toMatch(/^2026-01-02T03:30:00\.000Z_\w+$/)
  expect(new Set(ids).size).toBe(4)
})

describe('composed again it is the same mail, to the byte', () => {
  const subject = fraud({ cc_num: LONG_CARD, merchant: 'fraud_日本, "x"', amt: 1234.5 })
  const frauds = [...many(5), subject, ...many(5, { merchant: 'Ünsal', amt: 1234.5 })]
  const notifications: [string, Notification][] = [
    ['a single alarm', { at: AT, frauds: [subject] }],
    ['a digest', { at: AT, frauds, under: notificationKey(alone()) }],
    ['a notice', { at: AT, frauds, notice: NOTICE, operators: true }],
  ]

  test.for(notifications)('%s in the same process, and the notification is left as it is', async ([, notification]) => {
    const copy = structuredClone(notification)
    const { raw } = await mailOf(notification)
    expect(notification).toEqual(copy)
    expect((await mailOf(copy)).raw).toEqual(raw)
  })

  test('a single alarm after its way through a topic', async () => {
    await using dir = await tempDir()
    const topics = await sqliteTopics({ path: dir.file('topics.db') })
    try {
      await topics.append({ predictions: [subject] })
      const { records } = await topics.reader('predictions', 'alert').read(1, new AbortController().signal)
      expect((await mailOf({ at: AT, frauds: records })).raw).toEqual((await mailOf(notifications[0]![1])).raw)
    } finally {
      await topics.close()
    }
  })

  test.for(notifications)('%s in another process, in another place and language', async ([, notification]) => {
    const script = `
      const { compose } = await import('${new URL('../../src/notify/mail.ts', import.meta.url)}')
      const { parse } = await import('${new URL('../../src/io/json.ts', import.meta.url)}')
      const { notification, addresses } = parse(process.argv[1])
      process.stdout.write((await compose(notification, addresses)).raw.toString('base64'))`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--input-type=module', '--eval', script, stringify({ notification, addresses: ADDRESSES })],
      { env: { ...process.env, TZ: 'Asia/Kolkata', LANG: 'de_DE.UTF-8', LC_ALL: 'de_DE.UTF-8' } },
    )
    expect(Buffer.from(stdout, 'base64')).toEqual((await mailOf(notification)).raw)
  })
})

describe('a link to the desk', () => {
  const link = (of: Prediction, at: number) => `https://desk.example/desk/${idOf(of)}?key=k.${at.toString(36)}`
  const linked = { ...ADDRESSES, link }
  const alone = { at: AT, frauds: [fraud({ cc_num: LONG_CARD }, 1)] }

  test('stands in the mail of a fraud, in both parts, and follows from the notification alone', async () => {
    const { raw } = await compose(alone, linked)
    expect((await compose(alone, linked)).raw.equals(raw)).toBe(true)
    const { text, html } = await simpleParser(raw)
    const url = link(alone.frauds[0]!, AT)
    expect(text).toContain(`Say what it was: ${url}`)
    expect(html).toContain(`<a href="${url.replaceAll('&', '&#38;')}"`)
    expect(url).not.toMatch(/\d{11}|trans-/)
  })
  test('stands beside each row of a digest, and in none without DESK_URL', async () => {
    const frauds = [fraud({}, 1), fraud({}, 2), fraud({}, 3)]
    const { text, html } = await simpleParser((await compose({ at: AT, frauds }, linked)).raw)
    for (const one of frauds) {
      expect(text).toContain(`${one.trans_num}\n  ${link(one, AT)}\n`)
      expect(html).toContain(`<a href="${link(one, AT)}"`)
    }
    for (const given of [alone, { at: AT, frauds }]) {
      const without = await simpleParser((await compose(given, ADDRESSES)).raw)
      expect(`${without.text}${without.html}`).not.toMatch(/<a |desk/)
    }
  })
  test.for(['x', '&', '"', '日', '💳'])(
    'leaves the HTML below 100 kB, however many rows there are and however long they are: %s',
    async (sign) => {
      const long = sign.repeat(2000)
      const texts = { merchant: long, category: long, first: long, last: long, street: long, model: long }
      for (const count of [1, 60, 400]) {
        const frauds = many(count, texts).map((p, n) => ({
          ...p,
          trans_num: `trans-${n}.`.padEnd(200, sign),
          cc_num: LONG_CARD - BigInt(n % 700),
          model: `${n}${long}`,
        }))
        const notice = { subject: long, lines: Array.from({ length: 8 }, () => long) }
        const html = htmlOf(await simpleParser((await compose({ at: AT, frauds, notice }, linked)).raw))
        expect(Buffer.byteLength(html)).toBeLessThan(100_000)
        const shown = order(html)!.length
        expect(html.match(/href="/g)).toHaveLength(shown)
        expect(html.includes(`${count - shown} more payment`)).toBe(shown < count)
      }
    },
  )
})
