import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openLetters } from '../../src/commands/dead-letters.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Batch, Topics as Contract } from '../../src/topic/topic.ts'
import type { DeadLetter, Prediction, Transaction } from '../../src/transaction.ts'
import { LONG_CARD, prediction, transaction, waitFor } from '../rows.ts'
import { asked, type AskedReader as Reader, type AskedTopics as Topics } from './asked.ts'
import { candidate } from './candidate.ts'

/** Where one worker's topics are kept, empty at first; `open` opens them as the worker does at each start. */
export type Place = AsyncDisposable & { open(): Promise<Contract> }
export type SuiteOptions = {
  /** how many random interleavings are tried */
  seeds?: number
  /** most ms that any test may take */
  timeout?: number
}

const READ_WITHIN = 20_000 // ms; a read that takes longer ends its test with a reason, not with a hanging process

/** What every backend has to pass: the contract in src/topic/topic.ts, and nothing that only one backend can do. */
export function topicSuite(
  backend: string,
  makePlace: () => Promise<Place>,
  { seeds = 40, timeout = 30_000 }: SuiteOptions = {},
) {
  /** Topics in a place of their own, closed when the test is over. */
  async function start() {
    const stack = new AsyncDisposableStack()
    onTestFinished(() => stack.disposeAsync())
    return begin(stack)
  }
  async function begin(stack: AsyncDisposableStack) {
    const place = stack.use(await makePlace())
    let topics = asked(await place.open())
    stack.defer(() => topics.close())
    return {
      get topics() {
        return topics
      },
      /** The worker ends and starts again. */
      async reopen() {
        await topics.close()
        topics = asked(await place.open())
        return topics
      },
    }
  }

  describe(`topics in ${backend}`, { timeout }, () => {
    describe('reading', () => {
      test('hands records out in the order they were appended', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 3) })
        await topics.append({ transactions: transactions(3, 4) })
        await topics.append({ transactions: transactions(4, 10) })
        const reader = topics.reader('transactions', 'score')
        expect(numbers((await take(reader, 10)).records)).toEqual(range(0, 10))
      })

      test('hands a record out exactly as it was appended', async () => {
        const { topics } = await start()
        await topics.append({ transactions: [transaction(1)], predictions: [prediction(2, { score: null })] })
        expect((await take(topics.reader('transactions', 'score'), 1)).records).toEqual([transaction(1)])
        expect((await take(topics.reader('predictions', 'alert'), 1)).records).toEqual([prediction(2, { score: null })])
      })

      test('bounds a batch by bytes too, and loses none over it', async () => {
        const { topics } = await start()
        const count = 30
        const large = Array.from({ length: count }, (_, n) => ({ ...transaction(n), street: 'x'.repeat(700_000) }))
        for (let n = 0; n < count; n += 10) await topics.append({ transactions: large.slice(n, n + 10) })
        const reader = topics.reader('transactions', 'score')
        const sizes: number[] = []
        for (let left = count; left > 0; left -= sizes.at(-1)!) {
          const batch = await reader.read(count, soon())
          sizes.push(batch.records.length)
          await batch.commit(batch.records.length)
        }
        expect(Math.max(...sizes)).toBeLessThanOrEqual(13) // 8 MiB and the one that passes it
        expect(await reader.lag()).toBe(0)
        let scanned = 0
        for await (const { record } of topics.scan('transactions')) scanned += record.street!.length / 700_000
        expect(scanned).toBe(count)
      })

      test('gives every reader every record, at its own pace', async () => {
        const { topics } = await start()
        await topics.append({ predictions: predictions(0, 4) })
        const [alert, record] = [topics.reader('predictions', 'alert'), topics.reader('predictions', 'record')]
        const first = await take(alert, 4)
        await first.commit(4)
        await topics.append({ predictions: predictions(4, 6) })
        expect(numbers((await take(record, 6)).records)).toEqual(range(0, 6))
        expect(numbers((await take(alert, 2)).records)).toEqual([4, 5])
      })

      test('keeps the topics apart', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 2), predictions: predictions(7, 9) })
        await (await take(topics.reader('transactions', 'score'), 2)).commit(2)
        expect(numbers((await take(topics.reader('predictions', 'alert'), 2)).records)).toEqual([7, 8])
      })

      test('hands out no more records at a time than it was asked for, and what waits at once', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 5) })
        const reader = topics.reader('transactions', 'score')
        for (const limit of [1, 2]) {
          const { records } = await reader.read(limit, soon())
          expect(records.length).toBeGreaterThan(0)
          expect(records.length).toBeLessThanOrEqual(limit)
        }
        // Two more wait at least: with a higher limit than that, it does not wait for the rest.
        expect((await reader.read(100, soon())).records.length).toBeGreaterThan(0)
      })

      test('reads on from the last read, not from the position', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 4) })
        const reader = topics.reader('transactions', 'score')
        const first = await take(reader, 2)
        expect(numbers((await take(reader, 1)).records)).toEqual([2])
        await first.commit(1)
        expect(numbers((await take(reader, 1)).records)).toEqual([3])
      })

      test('waits while there is nothing, and wakes at once when there is', async () => {
        const { topics } = await start()
        const [reader, alert] = [topics.reader('transactions', 'score'), topics.reader('predictions', 'alert')]
        const waits: number[] = []
        for (const n of range(0, 3)) {
          let woken = false
          const reading = reader.read(10, soon()).finally(() => {
            woken = true
          })
          await topics.append({ predictions: [prediction(n)] }) // of no concern to this reader
          await take(alert, 1)
          expect(woken).toBe(false)
          await topics.append({ transactions: [transaction(n)] })
          const appended = performance.now()
          expect(numbers((await reading).records)).toEqual([n])
          waits.push(performance.now() - appended)
        }
        expect(Math.min(...waits)).toBeLessThan(500)
      })

      test('wakes every reader that waits', async () => {
        const { topics } = await start()
        const readings = (['alert', 'record'] as const).map((name) =>
          topics.reader('predictions', name).read(9, soon()),
        )
        await topics.append({ predictions: [prediction(5)] })
        for (const batch of await Promise.all(readings)) expect(numbers(batch.records)).toEqual([5])
      })

      test('is woken by records that a commit appends', async () => {
        const { topics } = await start()
        const reading = topics.reader('predictions', 'alert').read(9, soon())
        await topics.append({ transactions: [transaction(1)] })
        const [batch] = (await take(topics.reader('transactions', 'score'), 1)).batches
        await batch!.commit(1, { predictions: [prediction(1)] })
        expect(numbers((await reading).records)).toEqual([1])
      })

      test("ends with the signal's reason when it is aborted, and nothing is skipped", async () => {
        const { topics } = await start()
        const reader = topics.reader('transactions', 'score')
        const reason = new Error('stopped')
        const stop = new AbortController()
        const reading = expect(reader.read(10, stop.signal)).rejects.toBe(reason)
        stop.abort(reason)
        await reading
        await topics.append({ transactions: transactions(0, 2) })
        await expect(reader.read(10, stop.signal)).rejects.toBe(reason)
        expect(numbers((await take(reader, 2)).records)).toEqual([0, 1])
      })

      test('is aborted at once, however long it has waited', async () => {
        const { topics } = await start()
        const [reader, alert] = [topics.reader('transactions', 'score'), topics.reader('predictions', 'alert')]
        const waits: number[] = []
        for (const n of range(0, 3)) {
          const stop = new AbortController()
          const reading = reader.read(10, stop.signal).catch((error) => error)
          await topics.append({ predictions: [prediction(n)] })
          await take(alert, 1)
          const aborted = performance.now()
          stop.abort(new Error('stopped'))
          expect(await reading).toBe(stop.signal.reason)
          waits.push(performance.now() - aborted)
        }
        expect(Math.min(...waits)).toBeLessThan(500)
      })

      test('says how many records are after the position', async () => {
        const { topics, reopen } = await start()
        const reader = topics.reader('predictions', 'alert')
        expect(await reader.lag()).toBe(0)
        await topics.append({ predictions: predictions(0, 5) })
        const taken = await take(reader, 3)
        expect(await reader.lag()).toBe(5)
        await taken.commit(2)
        expect(await reader.lag()).toBe(3)
        const again = await reopen()
        expect(await again.reader('predictions', 'alert').lag()).toBe(3)
        expect(await again.reader('predictions', 'record').lag()).toBe(5)
      })

      test('tells of each record whether it is before it', async () => {
        const { topics, reopen } = await start()
        await topics.append({ predictions: predictions(0, 5) })
        const reader = topics.reader('predictions', 'record')
        const ids = (await all(topics, 'predictions')).map(({ id }) => id)
        const asItWas = await reader.passed()
        await (await take(reader, 4)).commit(2)
        const passed = await reader.passed()
        expect(ids.map(passed)).toEqual([true, true, false, false, false])
        expect(ids.map(asItWas)).toEqual([false, false, false, false, false])
        const again = await (await reopen()).reader('predictions', 'record').passed()
        expect(ids.map(again)).toEqual([true, true, false, false, false])
      })

      test('says when the oldest record after the position was appended', async () => {
        const { topics } = await start()
        const reader = topics.reader('predictions', 'alert')
        expect(await reader.oldest()).toBe(undefined)
        const before = Date.now()
        await topics.append({ predictions: predictions(0, 2) })
        const between = Date.now()
        await sleep(50)
        await topics.append({ predictions: predictions(2, 4) })
        expect(await reader.oldest()).toBeGreaterThanOrEqual(before)
        expect(await reader.oldest()).toBeLessThanOrEqual(between)
        const taken = await take(reader, 4)
        await taken.commit(2)
        expect(await reader.oldest()).toBeGreaterThan(between)
        await taken.commit(2)
        expect(await reader.oldest()).toBe(undefined)
      })
    })

    describe('the position', () => {
      test('is where a reader goes on after a restart', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 5) })
        await (await take(topics.reader('transactions', 'score'), 3)).commit(3)
        expect(numbers((await take((await reopen()).reader('transactions', 'score'), 2)).records)).toEqual([3, 4])
      })

      test('does not move by reading', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 3) })
        await take(topics.reader('transactions', 'score'), 3)
        expect(numbers((await take((await reopen()).reader('transactions', 'score'), 3)).records)).toEqual([0, 1, 2])
      })

      test('moves over part of a batch, and then over the next part', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 6) })
        const taken = await take(topics.reader('transactions', 'score'), 6)
        await taken.commit(1)
        await taken.commit(3)
        expect(numbers((await take((await reopen()).reader('transactions', 'score'), 2)).records)).toEqual([4, 5])
      })

      test('moves over batches in the order they were read', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 6) })
        const reader = topics.reader('transactions', 'score')
        const [first, second] = [await take(reader, 2), await take(reader, 3)]
        await first.commit(1)
        await first.commit(1)
        expect(await reader.lag()).toBe(4)
        await second.commit(2)
        expect(await reader.lag()).toBe(2)
        expect(numbers((await take((await reopen()).reader('transactions', 'score'), 2)).records)).toEqual([4, 5])
      })

      test('is each reader’s own', async () => {
        const { topics, reopen } = await start()
        await topics.append({ predictions: predictions(0, 3) })
        await (await take(topics.reader('predictions', 'alert'), 3)).commit(3)
        await (await take(topics.reader('predictions', 'record'), 1)).commit(1)
        const again = await reopen()
        expect(numbers((await take(again.reader('predictions', 'record'), 2)).records)).toEqual([1, 2])
        expect(await again.reader('predictions', 'alert').lag()).toBe(0)
      })

      test('is where rewind goes back to: what was not committed is repeated, with what came meanwhile', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 4) })
        const reader = topics.reader('transactions', 'score')
        await (await take(reader, 3)).commit(1)
        await topics.append({ transactions: transactions(4, 5) })
        reader.rewind()
        const repeated = await take(reader, 4)
        expect(numbers(repeated.records)).toEqual([1, 2, 3, 4])
        await repeated.commit(2)
        reader.rewind()
        reader.rewind()
        expect(numbers((await take(reader, 2)).records)).toEqual([3, 4])
      })

      test('moves past all that is there, for who wants what comes from then on, and notes that in one', async () => {
        const { topics, reopen } = await start()
        await topics.append({ predictions: predictions(0, 9) })
        const [webhook, record] = [topics.reader('predictions', 'webhook'), topics.reader('predictions', 'record')]
        await webhook.read(2, soon())
        await webhook.seekToEnd({ began: 1 })
        expect([await webhook.lag(), await record.lag(), await topics.noted('began')]).toEqual([0, 9, 1])
        await topics.append({ predictions: predictions(9, 11) })
        expect(numbers((await take(webhook, 2)).records)).toEqual([9, 10])
        const again = await reopen()
        expect(numbers((await take(again.reader('predictions', 'webhook'), 2)).records)).toEqual([9, 10])
      })

      test('rewinds one reader and leaves the others where they are', async () => {
        const { topics } = await start()
        await topics.append({ predictions: predictions(0, 3) })
        const [alert, record] = [topics.reader('predictions', 'alert'), topics.reader('predictions', 'record')]
        await take(alert, 2)
        await take(record, 2)
        alert.rewind()
        expect(numbers((await take(record, 1)).records)).toEqual([2])
        expect(numbers((await take(alert, 3)).records)).toEqual([0, 1, 2])
      })
    })

    describe('appending', () => {
      test('is durable when it resolves', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 2), 'dead-letters': [letter(0)] })
        const again = await reopen()
        expect(numbers((await take(again.reader('transactions', 'score'), 2)).records)).toEqual([0, 1])
        expect((await all(again, 'dead-letters')).map(({ record }) => record)).toEqual([letter(0)])
      })

      test.for<[string, Parameters<Topics['append']>[0]]>([
        ['the second record of a topic', { transactions: [transaction(0), unprintable(1)] }],
        ['a record of the first topic', { transactions: [unprintable(0)], predictions: [prediction(1)] }],
        ['a record of the last topic', { transactions: [transaction(0)], 'dead-letters': [letter(1), unprintable(2)] }],
      ])('appends to several topics all or nothing, when it fails at %s', async ([, writes]) => {
        const { topics, reopen } = await start()
        await expect(topics.append(writes)).rejects.toThrow(Error)
        await topics.append({ transactions: [transaction(7)], predictions: [prediction(8)] })
        const again = await reopen()
        const [score, record] = [again.reader('transactions', 'score'), again.reader('predictions', 'record')]
        expect([await score.lag(), await record.lag()]).toEqual([1, 1])
        expect(numbers((await take(score, 1)).records)).toEqual([7])
        expect(numbers((await take(record, 1)).records)).toEqual([8])
        expect(await all(again, 'dead-letters')).toEqual([])
      })

      test('takes nothing at all as well', async () => {
        const { topics } = await start()
        await topics.append({})
        await topics.append({ transactions: [], predictions: [] })
        expect(await topics.reader('transactions', 'score').lag()).toBe(0)
      })

      test('takes thousands of records in one go', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 2500) })
        const reader = topics.reader('transactions', 'score')
        for (const from of range(0, 5).map((n) => n * 500))
          expect(numbers((await take(reader, 500)).records)).toEqual(range(from, from + 500))
      })
    })

    describe('committing', () => {
      test('hands records, position and notes over together', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 3) })
        const batch = await whole(topics.reader('transactions', 'score'), 3)
        await batch.commit(2, { predictions: predictions(0, 2), 'dead-letters': [letter(9)] }, { count: 2 })
        const again = await reopen()
        const [score, alert] = [again.reader('transactions', 'score'), again.reader('predictions', 'alert')]
        expect([await score.lag(), await alert.lag()]).toEqual([1, 2])
        expect(numbers((await take(alert, 2)).records)).toEqual([0, 1])
        expect((await all(again, 'dead-letters')).map(({ record }) => record)).toEqual([letter(9)])
        expect(await again.noted('count')).toBe(2)
      })

      test('of no record hands over records and notes all the same', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 2) })
        const batch = await whole(topics.reader('transactions', 'score'), 2)
        await batch.commit(0, { predictions: [prediction(5)] }, { count: 0 })
        await batch.commit(1)
        const again = await reopen()
        expect(await again.noted('count')).toBe(0)
        expect(await again.reader('predictions', 'alert').lag()).toBe(1)
        expect(numbers((await take(again.reader('transactions', 'score'), 1)).records)).toEqual([1])
      })

      /** Three transactions, one of them committed; then a commit of the second fails. */
      async function failingCommit() {
        const { topics, reopen } = await start()
        await topics.append({}, { count: 1, name: 'before' })
        await topics.append({ transactions: transactions(0, 3) })
        const reader = topics.reader('transactions', 'score')
        const batch = await whole(reader, 3)
        await batch.commit(1, { predictions: [prediction(0)] })
        const writes = { predictions: [prediction(1)], 'dead-letters': [letter(1), unprintable(1)] }
        await expect(batch.commit(1, writes, { count: 2, name: 'after' })).rejects.toThrow(Error)
        return { topics, reopen, reader, batch }
      }
      async function seen(topics: Topics, score: Reader<Transaction>) {
        const alert = topics.reader('predictions', 'alert')
        score.rewind()
        return {
          lags: [await score.lag(), await alert.lag()],
          waiting: numbers((await take(score, 2)).records),
          predicted: numbers((await take(alert, 1)).records),
          letters: await all(topics, 'dead-letters'),
          notes: [await topics.noted('count'), await topics.noted('name')],
        }
      }
      const nothingMoved = { waiting: [1, 2], predicted: [0], lags: [2, 1], letters: [], notes: [1, 'before'] }

      test('that fails moves nothing: not the position, no record, no note', async () => {
        const { topics, reader } = await failingCommit()
        expect(await seen(topics, reader)).toEqual(nothingMoved)
      })

      test('that fails has moved nothing after a restart either', async () => {
        const { reopen } = await failingCommit()
        const again = await reopen()
        expect(await seen(again, again.reader('transactions', 'score'))).toEqual(nothingMoved)
      })

      test('that fails may be called again, and moves over the same records then', async () => {
        const { batch, reopen } = await failingCommit()
        await batch.commit(1, { predictions: [prediction(1)] }, { count: 2 })
        await batch.commit(1)
        const again = await reopen()
        expect(await again.reader('transactions', 'score').lag()).toBe(0)
        expect(numbers((await take(again.reader('predictions', 'alert'), 2)).records)).toEqual([0, 1])
        expect(await again.noted('count')).toBe(2)
      })
    })

    describe('notes', () => {
      test('are kept over a restart, and the last one wins', async () => {
        const { topics, reopen } = await start()
        expect(await topics.noted('a')).toBe(undefined)
        const value = {
          at: 1_767_323_045_678,
          list: [[1, 2], [], null],
          text: "it's “quoted”\n",
          card: LONG_CARD,
          on: false,
        }
        await topics.append({}, { a: 'first', b: value })
        await topics.append({}, { a: 'second' })
        expect([await topics.noted('a'), await topics.noted('b')]).toEqual(['second', value])
        const again = await reopen()
        expect([await again.noted('a'), await again.noted('b')]).toEqual(['second', value])
        expect(await again.noted('c')).toBe(undefined)
        await again.append({}, { a: 0 })
        expect(await (await reopen()).noted('a')).toBe(0)
      })

      test('of who leads are kept, beside commits and over a restart, and move nothing', async () => {
        const { topics, reopen } = await start()
        const reader = topics.reader('predictions', 'alert')
        await topics.append({ predictions: predictions(0, 3) })
        const lease = await candidate(topics, 'alert').term()
        await lease.note({ a: 1 })
        await lease.prove(lease.note({}))
        expect(await topics.noted('a')).toBe(1)
        let batch = await reader.read(3, soon())
        while (batch.records.length < 3) {
          reader.rewind()
          batch = await reader.read(3, soon())
        }
        await Promise.all([batch.commit(1, {}, { b: 1 }), lease.note({ a: 2 })])
        await Promise.all([batch.commit(1), lease.note({ c: 3 })])
        expect(await reader.lag()).toBe(1)
        const again = await reopen()
        expect(await Promise.all(['a', 'b', 'c'].map((key) => again.noted(key)))).toEqual([2, 1, 3])
        expect(numbers((await take(again.reader('predictions', 'alert'), 1)).records)).toEqual([2])
      })

      test('are told one at a time too, as they are now, whoever has noted them', async () => {
        const { topics: one, reopen } = await start()
        const lone = (topics: Topics, key: string) => topics.state(key, { exact: true }).then((found) => [...found])
        expect(await lone(one, 'it')).toEqual([])
        for (const n of range(0, 3)) {
          await one.append({}, { it: { n }, 'it:more': 'other', more: n })
          expect(await lone(one, 'it')).toEqual([['it', { n }]])
        }
        await one.append({}, { it: null })
        expect([await lone(one, 'it'), await lone(one, 'more')]).toEqual([[], [['more', 2]]])
        await one.append({}, { it: 'again' })
        expect(await lone(await reopen(), 'it')).toEqual([['it', 'again']])
      })

      test('are told all at once by how their keys begin, the last of each, without those that are forgotten', async () => {
        const { topics, reopen } = await start()
        await topics.append({}, { 'it:b': 1, 'it:a': { n: 1n << 60n }, 'it%': 2, 'ít:c': 3, 'it:💳': 7, it: 4 })
        await topics.append({}, { 'it:b': 5, 'it:d': 6 })
        await topics.append({}, { 'it:d': null })
        const known = async ({ state }: Topics) => [...(await state('it:'))].sort()
        const wanted = [
          ['it:a', { n: 1n << 60n }],
          ['it:b', 5],
          ['it:💳', 7],
        ]
        expect(await known(topics)).toEqual(wanted)
        const again = await reopen()
        expect(await known(again)).toEqual(wanted)
        expect([...(await again.state('')).keys()].sort()).toEqual(['it', 'it%', 'it:a', 'it:b', 'it:💳', 'ít:c'])
        expect((await again.state('_')).size).toBe(0)
      })

      test('are forgotten by null', async () => {
        const { topics, reopen } = await start()
        await topics.append({}, { a: 1, b: 2 })
        await topics.append({}, { a: null, b: 3, c: null })
        expect([await topics.noted('a'), await topics.noted('b'), await topics.noted('c')]).toEqual([
          undefined,
          3,
          undefined,
        ])
        const again = await reopen()
        expect([await again.noted('a'), await again.noted('b')]).toEqual([undefined, 3])
      })

      test('are all there or none', async () => {
        const { topics, reopen } = await start()
        await expect(topics.append({}, { a: 1, b: unprintable(0) })).rejects.toThrow(Error)
        expect(await (await reopen()).noted('a')).toBe(undefined)
      })

      test('are there together with the records that they are appended with, or not at all', async () => {
        const { topics, reopen } = await start()
        const row = { transactions: [transaction(0)] }
        await expect(topics.append(row, { a: 1, b: unprintable(0) })).rejects.toThrow(Error)
        await expect(topics.append({ transactions: [unprintable(0)] }, { a: 1 })).rejects.toThrow(Error)
        const again = await reopen()
        expect([await again.noted('a'), (await all(again, 'transactions')).length]).toEqual([undefined, 0])
        await again.append(row, { a: 2 })
        const later = await reopen()
        expect([await later.noted('a'), (await all(later, 'transactions')).length]).toEqual([2, 1])
      })
    })

    describe('scanning', () => {
      test('yields everything, oldest first, with ids that stay', async () => {
        const { topics, reopen } = await start()
        const letters = range(0, 2300).map(letter)
        await topics.append({ 'dead-letters': letters.slice(0, 1500) })
        const early = await all(topics, 'dead-letters')
        await topics.append({ 'dead-letters': letters.slice(1500) })
        const found = await all(topics, 'dead-letters')
        expect(found.map(({ record }) => record)).toEqual(letters)
        expect(found.slice(0, 1500)).toEqual(early)
        expect(new Set(found.map(({ id }) => id)).size).toBe(2300)
        expect(await all(await reopen(), 'dead-letters')).toEqual(found)
      })

      test('does not mind readers, nor they it', async () => {
        const { topics } = await start()
        await topics.append({ transactions: transactions(0, 3) })
        const reader = topics.reader('transactions', 'score')
        await (await take(reader, 2)).commit(1)
        expect(numbers((await all(topics, 'transactions')).map(({ record }) => record))).toEqual([0, 1, 2])
        expect(numbers((await take(reader, 1)).records)).toEqual([2])
      })

      test('yields the fields that are wanted as they were, however odd, across its pages', async () => {
        const { topics } = await start()
        const odd = ['"', '\\', '\\"trans_num":"x', "'; --", '\u001b\n\u2028', '🙂 ж', '0123', '1e3', '{}', 'null']
        const records = range(0, 2300).map((n) =>
          prediction(n, {
            trans_num: `${odd[n % 11] ?? n}`,
            amt: n / 7,
            score: n % 2 ? null : 1 / 3,
            cc_num: LONG_CARD,
          }),
        )
        await topics.append({ predictions: records.slice(0, 1500) })
        await topics.append({ predictions: records.slice(1500) })
        const fields = ['trans_num', 'event_time', 'prediction', 'amt', 'score'] as const
        const brief = await Array.fromAsync(topics.scan('predictions', fields))
        const whole = await all(topics, 'predictions')
        expect(brief.map(({ id }) => id)).toEqual(whole.map(({ id }) => id))
        expect(brief.map(({ record }) => fields.map((field) => record[field]))).toEqual(
          records.map((record) => fields.map((field) => record[field])),
        )
      })

      test('ends at once where there is nothing', async () => {
        const { topics } = await start()
        expect(await all(topics, 'dead-letters')).toEqual([])
      })
    })

    describe('records', () => {
      test('keep every digit of a card number, and it is always a bigint', async () => {
        const { topics, reopen } = await start()
        const cards = [
          10_000_000_000n,
          9_007_199_254_740_991n,
          9_007_199_254_740_993n,
          LONG_CARD,
          9_223_372_036_854_775_807n,
        ]
        await topics.append({ transactions: cards.map((cc_num, n) => transaction(n, { cc_num })) })
        const batch = await whole(topics.reader('transactions', 'score'), cards.length)
        expect(batch.records.map(({ cc_num }) => cc_num)).toEqual(cards)
        await batch.commit(cards.length, { predictions: batch.records.map((t) => ({ ...prediction(1), ...t })) })
        const again = await reopen()
        const handedOver = await take(again.reader('predictions', 'alert'), cards.length)
        expect(handedOver.records.map(({ cc_num }) => cc_num)).toEqual(cards)
        expect((await all(again, 'transactions')).map(({ record }) => record.cc_num)).toEqual(cards)
      })

      test('keep every character', async () => {
        const { topics, reopen } = await start()
        const texts = [
          '',
          ' ',
          "O'Neil",
          '"quoted"',
          'a\\b',
          'two\r\nlines\t',
          'NUL\u0000inside',
          '\u0000',
          'žluťoučký 鯨 🐳 ‮',
          '\ud800',
          '\u2028\ufeff',
          '$1 {} %s ? :name',
        ]
        await topics.append({ transactions: texts.map((merchant, n) => ({ ...transaction(n), merchant })) })
        await topics.append({}, Object.fromEntries(texts.slice(1, 6).map((text) => [text, text])))
        const again = await reopen()
        const { records } = await take(again.reader('transactions', 'score'), texts.length)
        expect(records.map(({ merchant }) => merchant)).toEqual(texts)
        for (const text of texts.slice(1, 6)) expect(await again.noted(text)).toBe(text)
      })

      test('keep numbers as they are', async () => {
        const { topics } = await start()
        const amounts = [0, 0.1, 1e-9, 123_456_789.01, Number.MAX_SAFE_INTEGER, -1.5]
        await topics.append({ transactions: amounts.map((amt, n) => transaction(n, { amt })) })
        const { records } = await take(topics.reader('transactions', 'score'), amounts.length)
        expect(records.map(({ amt }) => amt)).toEqual(amounts)
      })

      test('may be as large as a kept body, every character of it escaped', async () => {
        const { topics, reopen } = await start()
        const body = '\u0001'.repeat(64 * 1024)
        await topics.append({ 'dead-letters': [{ ...letter(0), record: { body, bytes: 70_000 } }, letter(1)] })
        const [first, second] = await all(await reopen(), 'dead-letters')
        expect((first!.record as DeadLetter).record).toEqual({ body, bytes: 70_000 })
        expect(second!.record).toEqual(letter(1))
      })
    })

    describe('trimming', () => {
      const LATER = Date.now() + 86_400_000
      /** Three transactions and predictions: the first two scored and mailed, the first recorded; one dead letter. */
      async function passed() {
        const world = await start()
        const { topics } = world
        await topics.append({
          transactions: transactions(0, 3),
          predictions: predictions(0, 3),
          'dead-letters': [letter(0)],
        })
        await (await take(topics.reader('transactions', 'score'), 3)).commit(2)
        await (await take(topics.reader('predictions', 'alert'), 3)).commit(2)
        await (await take(topics.reader('predictions', 'record'), 3)).commit(1)
        return world
      }
      const kept = async (topics: Topics, topic: 'transactions' | 'predictions') =>
        numbers((await all(topics, topic)).map(({ record }) => record))
      /** Trims until that is all that is kept: an engine may hear of a position a moment later. */
      const trims = (
        topics: Topics,
        topic: 'transactions' | 'predictions',
        left: number[],
        ...how: Parameters<Topics['trim']>
      ) =>
        waitFor(`only ${left} to be kept`, async () => {
          await topics.trim(...how)
          return String(await kept(topics, topic)) === String(left)
        })

      test('removes what is old and every reader has passed, nothing else', async () => {
        const { topics, reopen } = await passed()
        await topics.trim(Date.now() - 86_400_000, ['webhook', 'shadow'])
        expect(await kept(topics, 'transactions')).toEqual([0, 1, 2])
        await trims(topics, 'transactions', [2], LATER, ['webhook', 'shadow'])
        await trims(topics, 'predictions', [1, 2], LATER, ['webhook', 'shadow'])
        expect(await all(topics, 'dead-letters')).toHaveLength(1)
        const again = await reopen()
        expect(numbers((await take(again.reader('predictions', 'record'), 2)).records)).toEqual([1, 2])
        expect(numbers((await take(again.reader('transactions', 'score'), 1)).records)).toEqual([2])
      })

      test('keeps what a reader has not passed, if somebody has a use for it', async () => {
        const { topics } = await passed()
        await trims(topics, 'transactions', [2], LATER, ['shadow'])
        expect(await kept(topics, 'predictions')).toEqual([0, 1, 2])
      })

      test('does not count what is gone as waiting for a reader that nothing was kept for', async () => {
        const { topics } = await passed()
        await trims(topics, 'predictions', [1, 2], LATER, ['webhook', 'shadow'])
        const webhook = topics.reader('predictions', 'webhook')
        expect(await webhook.lag()).toBe(2)
        await topics.append({ predictions: [prediction(3)] })
        for (const name of ['alert', 'record'] as const) {
          const reader = topics.reader('predictions', name)
          const left = await reader.lag()
          await (await take(reader, left)).commit(left)
        }
        await trims(topics, 'predictions', [], LATER, ['webhook', 'shadow'])
        expect([await webhook.lag(), await webhook.oldest()]).toEqual([0, undefined])
        await topics.append({ predictions: [prediction(4)] })
        expect(await webhook.lag()).toBe(1)
      })

      test('keeps the young among the passed', async () => {
        const { topics } = await passed()
        await sleep(20)
        const between = Date.now()
        await sleep(20)
        await topics.append({ transactions: [transaction(3)] })
        await (await take(topics.reader('transactions', 'score'), 2)).commit(2)
        await trims(topics, 'transactions', [3], between, ['webhook', 'shadow'])
      })

      test('removes many at once, and no reader skips a record then', async () => {
        const { topics, reopen } = await start()
        await topics.append({ transactions: transactions(0, 2500) })
        await (await take(topics.reader('transactions', 'score'), 2500)).commit(2500)
        const last = (await all(topics, 'transactions')).at(-1)!.id
        await trims(topics, 'transactions', [], LATER, ['shadow'])
        const again = await reopen()
        await again.append({ transactions: [transaction(9)] })
        expect(numbers((await take(again.reader('transactions', 'score'), 1)).records)).toEqual([9])
        expect((await all(again, 'transactions')).map(({ id }) => Number(id) > Number(last))).toEqual([true])
      })
    })

    if (!backend.startsWith('Kafka'))
      // a log, of which only the beginning can be removed
      test('trimming removes dead letters that were crossed out, with what crosses them out, once that is old', async () => {
        const { topics, reopen } = await start()
        const large = { ...letter(3), record: { body: `{"retried":"1","at":1}${'x'.repeat(300)}` } }
        await topics.append({ 'dead-letters': [letter(0), letter(1), letter(2), large] })
        const ids = (await all(topics, 'dead-letters')).map(({ id }) => id)
        const cross = (id: string) => topics.append({ 'dead-letters': [{ retried: id, at: Date.now() }] })
        await cross(ids[1]!)
        await topics.trim(Date.now() - 60_000)
        expect(await all(topics, 'dead-letters')).toHaveLength(5)
        await sleep(20)
        const between = Date.now()
        await sleep(20)
        await cross(ids[0]!)
        await cross(ids[1]!) // by two people
        await topics.trim(between)
        const left = await all(topics, 'dead-letters')
        expect(left.map(({ id }) => id).slice(0, 3)).toEqual([ids[0], ids[2], ids[3]])
        expect(left).toHaveLength(5)
        const again = await reopen()
        expect([...(await openLetters(again)).keys()]).toEqual([ids[2], ids[3]])
        await again.trim(Date.now() + 60_000)
        expect((await all(again, 'dead-letters')).map(({ id }) => id)).toEqual([ids[2], ids[3]])
        expect([...(await openLetters(again)).keys()]).toEqual([ids[2], ids[3]])
      })

    describe('leading', () => {
      test.for(['fetch', 'alert', 'webhook'] as const)(
        'as %s lasts until it is stopped, once a start',
        async (name) => {
          const { topics, reopen } = await start()
          const first = candidate(topics, name)
          const lease = await first.term()
          expect([lease.lost.aborted, lease.stop.aborted]).toEqual([false, false])
          await lease.note({ by: 'first' })
          await first.end()
          expect([first.leases.length, lease.lost.aborted, lease.stop.aborted]).toEqual([1, false, true])
          await lease.note({ after: 'the stop' }) // what was under way may still be noted
          const again = await reopen()
          const next = await candidate(again, name).term()
          expect([...(await again.state(''))]).toEqual([
            ['after', 'the stop'],
            ['by', 'first'],
          ])
          await next.note({ by: 'next' })
          expect(await again.noted('by')).toBe('next')
        },
      )

      test('ends with its work, whose failure is thrown', async () => {
        const { topics } = await start()
        const { signal } = new AbortController()
        const led: unknown[] = []
        await topics.lead('alert', signal, async (lease) => void led.push(lease.stop.aborted))
        expect(led).toEqual([false])
        const failure = new Error('the work failed')
        await expect(topics.lead('alert', signal, () => Promise.reject(failure))).rejects.toBe(failure)
      })

      test('is not begun after the stop', async () => {
        const { topics } = await start()
        const stop = AbortSignal.abort(new Error('stopped'))
        const work = () => expect.unreachable()
        await expect(topics.lead('fetch', stop, work)).rejects.toBe(stop.reason)
      })
    })

    test('loses, repeats and swaps nothing when everybody works at once', async () => {
      const { topics } = await start()
      const [callers, each] = [4, 40]
      const total = callers * each
      async function append(caller: number) {
        for (const n of range(0, each)) await topics.append({ transactions: [transaction(caller * 1000 + n)] })
      }
      /** Commits batch after batch, and forgets now and then what it has read. */
      async function work<T extends Transaction>(
        reader: Reader<T>,
        seed: number,
        commit: (batch: Batch<T>) => unknown,
      ) {
        const chance = seeded(seed).uniform
        const done: number[] = []
        while (done.length < total) {
          const batch = await reader.read(1 + Math.floor(chance() * 9), soon())
          if (chance() < 0.2) {
            reader.rewind()
            continue
          }
          await commit(batch)
          done.push(...numbers(batch.records))
        }
        return done
      }
      const done = await Promise.all([
        work(topics.reader('transactions', 'score'), 1, (batch) =>
          batch.commit(batch.records.length, { predictions: batch.records.map((t) => ({ ...prediction(0), ...t })) }),
        ),
        work(topics.reader('predictions', 'alert'), 2, (batch) => batch.commit(batch.records.length)),
        work(topics.reader('predictions', 'record'), 3, (batch) => batch.commit(batch.records.length)),
        ...range(0, callers).map((caller) => append(caller).then(() => [])),
      ])
      const [scored, alerted, recorded] = done
      const callersOwn = (caller: number) => scored!.filter((n) => Math.floor(n / 1000) === caller)
      for (const caller of range(0, callers))
        expect(callersOwn(caller)).toEqual(range(caller * 1000, caller * 1000 + each))
      expect(scored!.length).toBe(total)
      expect(alerted).toEqual(scored)
      expect(recorded).toEqual(scored)
    })

    test(`keeps its word in ${seeds} random interleavings of two readers`, { timeout: timeout * 4 }, async () => {
      for (const seed of range(1, seeds + 1)) {
        const trace: string[] = []
        await using stack = new AsyncDisposableStack()
        await interleave(await begin(stack), seed, trace).catch((cause) => {
          throw new Error(`seed ${seed}, after: ${trace.join('; ')}`, { cause })
        })
      }
    })
  })
}

type World = { readonly topics: Topics; reopen(): Promise<Contract> }

/**
 * Some fifty random steps by two readers of one topic, next to a model of the contract: an array, and for each reader
 * a position and what it has read and not committed.
 */
async function interleave(world: World, seed: number, trace: string[]) {
  const chance = seeded(seed).uniform
  const below = (n: number) => Math.floor(chance() * n)
  const log: number[] = []
  let noted: number | undefined
  let handedOver = 0
  const readers = (['alert', 'record'] as const).map((name) => ({
    name,
    reader: world.topics.reader('predictions', name),
    position: 0,
    open: [] as { batch: Batch<Prediction>; left: number }[],
    get unread() {
      return log.length - this.position - this.open.reduce((sum, { left }) => sum + left, 0)
    },
  }))
  type R = (typeof readers)[number]

  async function append() {
    const fresh = predictions(log.length, log.length + 1 + below(4))
    trace.push(`append ${fresh.length}`)
    await world.topics.append({ predictions: fresh })
    log.push(...numbers(fresh))
  }
  async function failToAppend() {
    trace.push('append, failing')
    await expect(world.topics.append({ predictions: [prediction(-1), unprintable(-2)] })).rejects.toThrow(Error)
  }
  async function read(r: R) {
    if (r.unread === 0) return
    const limit = 1 + below(5)
    trace.push(`${r.name} reads ${limit}`)
    const from = log.length - r.unread
    const batch = await r.reader.read(limit, soon())
    const count = batch.records.length
    expect(count).toBeGreaterThan(0)
    expect(count).toBeLessThanOrEqual(limit)
    expect(numbers(batch.records)).toEqual(log.slice(from, from + count))
    r.open.push({ batch, left: count })
  }
  async function commit(r: R) {
    const [oldest] = r.open
    if (!oldest) return
    const count = Math.min(below(5), oldest.left)
    const [fails, appends, notes] = [below(4) === 0, below(3) === 0, below(3) === 0]
    trace.push(
      `${r.name} commits ${count}${appends ? ', appends 1' : ''}${notes ? ', notes' : ''}${fails ? ', failing' : ''}`,
    )
    const writes = {
      ...(appends && { predictions: [prediction(log.length)] }),
      transactions: [transaction(count), ...(fails ? [unprintable(0)] : [])],
    }
    const done = oldest.batch.commit(count, writes, notes ? { steps: trace.length } : {})
    if (fails) return expect(done).rejects.toThrow(Error)
    await done
    handedOver++
    r.position += count
    oldest.left -= count
    if (oldest.left === 0) r.open.shift()
    if (appends) log.push(log.length)
    if (notes) noted = trace.length
  }
  function rewind(r: R) {
    trace.push(`${r.name} rewinds`)
    r.reader.rewind()
    r.open = []
  }
  async function reopen() {
    trace.push('reopen')
    await world.reopen()
    for (const r of readers) {
      r.reader = world.topics.reader('predictions', r.name)
      r.open = []
    }
  }
  async function look() {
    for (const r of readers) expect(await r.reader.lag()).toBe(log.length - r.position)
    expect(await world.topics.noted('steps')).toBe(noted)
    expect(await world.topics.reader('transactions', 'score').lag()).toBe(handedOver)
  }

  for (let step = 0; step < 50; step++) {
    const r = readers[below(2)]!
    const dice = below(20)
    if (dice < 4) await append()
    else if (dice < 5) await failToAppend()
    else if (dice < 11) await read(r)
    else if (dice < 16) await commit(r)
    else if (dice < 18) rewind(r)
    else if (dice < 19) await reopen()
    else await look()
  }
  await reopen()
  await look()
  for (const r of readers) {
    trace.push(`${r.name} reads the rest`)
    expect(numbers((await take(r.reader, r.unread)).records)).toEqual(log.slice(r.position))
  }
  expect(numbers((await all(world.topics, 'predictions')).map(({ record }) => record))).toEqual(log)
}

const soon = () => AbortSignal.timeout(READ_WITHIN)
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i)
const transactions = (from: number, to: number) => range(from, to).map((n) => transaction(n))
const predictions = (from: number, to: number) => range(from, to).map((n) => prediction(n))
const numbers = (records: readonly Transaction[]) => records.map((t) => Number(t.trans_num.slice('trans-'.length)))
const letter = (n: number): DeadLetter => ({ stage: 'fetch', at: n, reason: `reason ${n}`, record: { n } })

/** A record that cannot be stored, whatever the backend: printing it throws. Fits every topic. */
function unprintable(n: number): Prediction & DeadLetter {
  return {
    ...prediction(n),
    ...letter(n),
    get merchant(): string {
      throw new Error('this record cannot be printed')
    },
  }
}

async function all<T extends Parameters<Topics['scan']>[0]>(topics: Topics, topic: T) {
  return Array.fromAsync(topics.scan(topic))
}

/** One batch that holds `count` records. A backend may hand out fewer at first; rewind makes it whole in the end. */
async function whole<T>(reader: Reader<T>, count: number): Promise<Batch<T>> {
  for (;;) {
    const batch = await reader.read(count, soon())
    if (batch.records.length === count) return batch
    reader.rewind()
  }
}

/** Reads until there are `count` records; a backend may hand them out in any number of batches. */
async function take<T>(reader: Reader<T>, count: number) {
  const batches: Batch<T>[] = []
  let found = 0
  while (found < count) {
    const batch = await reader.read(count - found, soon())
    expect(batch.records.length).toBeGreaterThan(0)
    expect(batch.records.length).toBeLessThanOrEqual(count - found)
    batches.push(batch)
    found += batch.records.length
  }
  const open = batches.map((batch) => ({ batch, left: batch.records.length }))
  return {
    batches,
    records: batches.flatMap(({ records }) => records),
    /** Commits the next `n` of these records. */
    async commit(n: number) {
      for (let left = n; left > 0; ) {
        const part = Math.min(left, open[0]!.left)
        await open[0]!.batch.commit(part)
        open[0]!.left -= part
        if (open[0]!.left === 0) open.shift()
        left -= part
      }
    },
  }
}
