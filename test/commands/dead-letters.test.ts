import { DatabaseSync } from 'node:sqlite'
import { describe, expect, test } from 'vitest'
import { describeLetter, discardLetters, openLetters, retryLetters } from '../../src/commands/dead-letters.ts'
import { readDocument } from '../../src/fetch/document.ts'
import { stringify } from '../../src/io/json.ts'
import { sqliteStore } from '../../src/record/sqlite.ts'
import type { DeadLetter, Transaction } from '../../src/transaction.ts'
import { body, LONG_CARD, prediction, row, tempDir, transaction } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'
import { startWorker } from '../worker.ts'

const AT = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const letter = (stage: DeadLetter['stage'], record: unknown, reason = 'no reason'): DeadLetter => ({
  stage,
  at: AT,
  reason,
  record,
})
/** What fetch sets aside of a body. */
const fetched = (text: string) => readDocument(text, AT).letters
const BAD_ROW = fetched(body([row(1, { amt: 'much', cc_num: LONG_CARD })]))[0]!
/** It lacks a column that is required: no retry can help. */
const HOPELESS = fetched(body([row(1, { trans_num: '' })]))[0]!

/** A worker's topics and database, with these letters, and a look into both. */
async function place(letters: readonly DeadLetter[], { exclusive = false } = {}) {
  const dir = await tempDir()
  const files = { topicsFile: dir.file('topics.db'), storeFile: dir.file('fraud.db') }
  const topics = await sqliteTopics({ path: files.topicsFile, exclusive })
  const store = sqliteStore(files.storeFile)
  await topics.append({ 'dead-letters': letters })
  return {
    ...files,
    dir: dir.path,
    topics,
    store,
    retry: (...ids: string[]) => retryLetters(topics, store, ids),
    open: async () => [...(await openLetters(topics)).keys()],
    transactions: async () => (await Array.fromAsync(topics.scan('transactions'))).map(({ record }) => record),
    recorded() {
      using db = new DatabaseSync(files.storeFile)
      const select = db.prepare('SELECT trans_num, cc_num FROM predictions ORDER BY event_time')
      select.setReadBigInts(true)
      return select.all().map((found) => ({ ...found }))
    },
    async [Symbol.asyncDispose]() {
      await topics.close()
      await store.close()
      await dir[Symbol.asyncDispose]()
    },
  }
}
const scored = (n: number) => letter('score', transaction(n))
const recorded = (n: number) => letter('record', prediction(n, { prediction: 1, cc_num: LONG_CARD }))
const read = (topics: Topics) => topics.reader('transactions', 'score').read(10, AbortSignal.timeout(10_000))

describe('the list', () => {
  test('has every letter that was not put back, oldest first', async () => {
    await using p = await place([scored(1), scored(2), scored(3)])
    expect(await p.open()).toEqual(['1', '2', '3'])
    await p.retry('2')
    await p.topics.append({ 'dead-letters': [scored(4)] })
    expect(await p.open()).toEqual(['1', '3', '5'])
    const letters = [...(await openLetters(p.topics)).values()]
    expect(letters.map(({ record }) => (record as Transaction).trans_num)).toEqual(['trans-1', 'trans-3', 'trans-4'])
  })
  test('says of each which, when, where and why, on one line, and on the next what it was', () => {
    const [first, second, ...more] = describeLetter('12', BAD_ROW).split('\n')
    expect(first).toBe('12     2026-01-02 03:04:05 UTC  fetch  amt must be a finite number')
    expect(second).toMatch(/^ {7}\[…4184,"fraud_Kutch, Hermiston and Farrell","gas_transport","much",/)
    expect(second!.length).toBeLessThanOrEqual(167)
    expect(more).toEqual([])
  })
  test('shows the beginning of a body as one line', () => {
    const [page] = fetched('<html>\r\n\u001b[31m<title>Application Error</title>')
    expect(describeLetter('1', page!).split('\n')[1]).toBe(
      '       "<html>\\r\\n\\u001b[31m<title>Application Error</title>"',
    )
  })
  test('shows nothing that a terminal obeys, or that turns the line round', () => {
    const [odd] = fetched(body([row(1, { amt: 'x', merchant: 'a\u202eb\u2066c\u009b31m' })]))
    expect(describeLetter('1', odd!)).toContain('a\ufffdb\ufffdc\ufffd31m')
  })
  test.for<[string, DeadLetter]>([
    ['a row', BAD_ROW],
    ['a transaction', letter('score', transaction(1, { cc_num: LONG_CARD }))],
    ['a prediction', letter('record', prediction(1, { cc_num: LONG_CARD }))],
    ['a body', letter('fetch', { body: `<html>${LONG_CARD}`, bytes: 25 })],
    ['a reason', letter('score', {}, `the model answered 400: cannot use ${LONG_CARD}`)],
  ])('shows no card number of %s', ([, dead]) => {
    const text = describeLetter('1', dead)
    expect(text).toContain('…4184')
    expect(text).not.toContain(String(LONG_CARD).slice(0, 8))
  })
  test('shows no part of a card number where it cuts', () => {
    for (let before = 120; before < 160; before++) {
      const text = describeLetter('1', letter('fetch', { body: `${'x'.repeat(before)}${LONG_CARD}`, bytes: 1 }))
      expect(text).not.toMatch(/\d{5}/)
    }
  })
})

describe('put back', () => {
  test('a transaction that the model refused is scored again, every digit of it', async () => {
    const before = transaction(1, { cc_num: LONG_CARD })
    await using p = await place([letter('score', before), letter('score', transaction(2, { cc_num: '60400000001' }))])
    expect(await p.retry()).toEqual({ lines: ['1      put back', '2      put back'], stuck: 0 })
    expect((await read(p.topics)).records).toEqual([before, transaction(2, { cc_num: 60_400_000_001 })])
    expect(await p.open()).toEqual([])
  })
  test('a row that the fetch refused is read again, and scored', async () => {
    // The row was right: an earlier release could not read it.
    const { columns, data } = JSON.parse(body([row(1)], { doubled: false }))
    await using p = await place([letter('fetch', { columns, data: [data[0].with(0, LONG_CARD)] })])
    expect(await p.retry()).toEqual({ lines: ['1      put back'], stuck: 0 })
    const [again, ...more] = await p.transactions()
    expect(more).toEqual([])
    expect(again).toEqual({ ...transaction(1, { cc_num: LONG_CARD }), fetched_at: expect.any(Number) })
    expect(Math.abs(again!.fetched_at - Date.now())).toBeLessThan(60_000)
    expect(await p.open()).toEqual([])
  })
  test('a whole body is read again, and its rows are scored', async () => {
    const text = body([row(1, { cc_num: LONG_CARD }), row(2)])
    await using p = await place([letter('fetch', { body: text, bytes: text.length })])
    expect(await p.retry()).toEqual({ lines: ['1      put back'], stuck: 0 })
    expect(await p.transactions()).toMatchObject([
      { trans_num: 'trans-1', cc_num: LONG_CARD },
      { trans_num: 'trans-2' },
    ])
  })
  test('a prediction that the database refused goes to the database, and is not mailed again', async () => {
    await using p = await place([recorded(1), letter('record', prediction(2))])
    expect(await p.retry()).toEqual({ lines: ['1      put back', '2      put back'], stuck: 0 })
    expect(p.recorded()).toEqual([
      { trans_num: 'trans-1', cc_num: LONG_CARD },
      { trans_num: 'trans-2', cc_num: 4_000_000_000_002n },
    ])
    expect(await p.topics.reader('predictions', 'alert').lag()).toBe(0)
    expect(await p.transactions()).toEqual([])
    expect(await p.open()).toEqual([])
  })
  test('only those that are named are', async () => {
    await using p = await place([scored(1), scored(2), scored(3)])
    expect(await p.retry('3', '1')).toEqual({ lines: ['3      put back', '1      put back'], stuck: 0 })
    expect(await p.open()).toEqual(['2'])
    expect(await p.transactions()).toMatchObject([{ trans_num: 'trans-3' }, { trans_num: 'trans-1' }])
  })
  test('each is once, however often it is named', async () => {
    await using p = await place([scored(1), recorded(2)])
    await p.retry('1', '2', '1')
    const gone = 'stays: there is no such dead letter, or it was put back already'
    expect(await p.retry('1', '7', '2')).toEqual({
      lines: [`1      ${gone}`, `7      ${gone}`, `2      ${gone}`],
      stuck: 3,
    })
    expect(await p.transactions()).toHaveLength(1)
    expect(await p.retry()).toEqual({ lines: [], stuck: 0 })
  })
})

describe('what is discarded', () => {
  test('is crossed out for good: these, or all', async () => {
    await using p = await place([scored(1), scored(2), scored(3)])
    expect(await discardLetters(p.topics, ['2', '2', '9'])).toEqual({
      lines: ['2      discarded', '9      there is no such dead letter, or it was put back already'],
      stuck: 1,
    })
    expect(await p.open()).toEqual(['1', '3'])
    expect(await discardLetters(p.topics, ['all'])).toMatchObject({ stuck: 0 })
    expect(await p.open()).toEqual([])
    expect(await p.transactions()).toEqual([])
  })
})

describe('a message of another program', () => {
  test.for([
    ['by its field', { foreign: true, reason: 'whatever is said of it' }],
    ['of a time without the field', { reason: 'a foreign message in the topic transactions: x' }],
  ] as const)('is put back as what it says, once that can be read: told %s', async ([, told]) => {
    const foreign = (body: string) => ({ ...letter('fetch', { body, bytes: 9 }), ...told })
    const { event_time, fetched_at: _, ...row } = transaction(1)
    await using p = await place([foreign(stringify({ ...row, event_time })), foreign('{"amt":1}'), foreign('[')])
    expect(await p.retry()).toEqual({
      lines: [
        '1      put back',
        expect.stringMatching(/^2 {6}stays: cc_num is missing/),
        '3      stays: it is no JSON',
      ],
      stuck: 2,
    })
    expect(await p.transactions()).toMatchObject([{ trans_num: 'trans-1', event_time }])
  })
})

describe('what cannot pass still', () => {
  test('stays, with the reason, and holds up no other', async () => {
    const page = fetched(`<html>${LONG_CARD}`)[0]!
    const refused = letter('record', prediction(3, { zip: 'none' as unknown as number }))
    await using p = await place([HOPELESS, page, refused, scored(4)])
    expect(await p.retry()).toEqual({
      lines: [
        '1      stays: trans_num must not be empty',
        '2      stays: the body is no document: not valid JSON',
        '3      stays: the database refused the row: cannot store TEXT value in INTEGER column predictions.zip',
        '4      put back',
      ],
      stuck: 3,
    })
    expect(await p.open()).toEqual(['1', '2', '3'])
    expect(await p.transactions()).toMatchObject([{ trans_num: 'trans-4' }])
    expect(p.recorded()).toEqual([])
  })
  test('of a body with bad rows those are set aside anew, and the others are put back, once', async () => {
    const text = body([row(1), row(2, { amt: null }), row(3, { amt: 'x' })])
    await using p = await place([letter('fetch', { body: text, bytes: text.length })])
    expect(await p.retry()).toEqual({
      lines: ['1      1 row put back, 2 set aside anew: amt must be a finite number'],
      stuck: 1,
    })
    expect(await p.open()).toEqual(['2', '3'])
    expect(await p.transactions()).toMatchObject([{ trans_num: 'trans-1' }])
    expect(await p.retry()).toMatchObject({ stuck: 2 })
    expect(await p.transactions()).toHaveLength(1)
  })
  test('rows that were set aside together are listed, and put back when they can be read', async () => {
    const bad = Array.from({ length: 2000 }, (_, n) => row(n, { cc_num: LONG_CARD, amt: 'none' }))
    const letters = fetched(body(bad))
    expect(letters.length).toBeLessThan(10)
    expect(describeLetter('1', letters[0]!)).toMatch(/fetch {2}\d+ rows, the first: amt must be a finite number\n/)
    expect(describeLetter('1', letters[0]!)).not.toContain('4992')
    const cured = letters.map((l) => ({
      ...l,
      record: { body: (l.record as { body: string }).body.replaceAll('"none"', '1.5') },
    }))
    await using p = await place(cured)
    expect(await p.retry()).toMatchObject({ stuck: 0 })
    expect(new Set((await p.transactions()).map(({ trans_num }) => trans_num)).size).toBe(2000)
  })
  test('letters of earlier releases can be put back: a column that stopped a row no longer does', async () => {
    const old = (record: unknown, why: string) => letter('fetch', record, why)
    const { columns, data } = JSON.parse(
      body([row(1, { is_fraud: 'True', zip: '02134', amt: '5.5' })], { doubled: false }),
    )
    await using p = await place([
      old({ columns, data }, 'amt must be a finite number; zip must be a whole number; is_fraud must be 0 or 1'),
      old({ body: '[]', bytes: 2 }, 'the body is no document: it is not an object'),
      old({ body: stringify([row(2)]), bytes: 400 }, 'the body is no document: it is not an object'),
      old({ body: body([row(3)]).replace('39.9,', 'NaN,'), bytes: 400 }, 'the body is no document: not valid JSON'),
      old({ body: '{"error":"x"}', bytes: 13 }, 'the body is no document: it has no list "columns"'),
      old({ columns, data: ['nested too deeply to be kept'] }, 'job must be text'),
    ])
    expect(await p.retry()).toEqual({
      lines: [1, 2, 3, 4]
        .map((n) => `${n}      put back`)
        .concat('5      stays: x', '6      stays: the row is not a list'),
      stuck: 2,
    })
    expect(await p.transactions()).toMatchObject([
      { zip: 2134, is_fraud: 1, amt: 5.5 },
      { trans_num: 'trans-2' },
      { merch_lat: null },
    ])
  })
  test('stays when the database is away', async () => {
    await using p = await place([recorded(1)])
    using db = new DatabaseSync(p.storeFile)
    db.exec('DROP TABLE predictions')
    const { lines, stuck } = await p.retry()
    expect([lines, stuck]).toEqual([[expect.stringMatching(/^1 {6}stays: cannot record in .*: no such table/)], 1])
    expect(await p.open()).toEqual(['1'])
  })
})

test('beside a running worker: the command lists, puts back, and the worker goes on with it', async () => {
  await using p = await place([scored(1), recorded(2), HOPELESS], { exclusive: true })
  const reading = read(p.topics)
  const command = async (...args: string[]) => {
    const settings = { TOPICS_URL: `sqlite:${p.topicsFile}`, DATABASE_URL: `sqlite:${p.storeFile}` }
    await using process = startWorker(p.dir, settings, 'dead-letters', ...args)
    const { code } = await process.end
    return { code, lines: process.text().trimEnd().split('\n') }
  }
  const list = await command()
  expect(list.code).toBe(0)
  expect(list.lines).toHaveLength(7)
  expect(list.lines.at(-1)).toBe('3 dead letters; npm run dead-letters -- retry puts back what can pass by now')
  expect(list.lines.join('\n')).not.toContain(String(LONG_CARD).slice(0, 8))
  expect(await command('retry')).toEqual({
    code: 1,
    lines: ['1      put back', '2      put back', '3      stays: trans_num must not be empty'],
  })
  expect((await reading).records).toMatchObject([{ trans_num: 'trans-1' }])
  expect(p.recorded()).toMatchObject([{ trans_num: 'trans-2' }])
  expect((await command()).lines.at(-1)).toBe(
    '1 dead letter; npm run dead-letters -- retry puts back what can pass by now',
  )
})
