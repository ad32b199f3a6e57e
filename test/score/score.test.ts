import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FEATURES } from '../../src/columns.ts'
import { type Model, mlflow } from '../../src/score/mlflow.ts'
import { scoreStage } from '../../src/score/score.ts'
import type { DeadLetter, Transaction } from '../../src/transaction.ts'
import { held, LONG_CARD, listeningLog, tempDir, transaction, waitFor } from '../rows.ts'
import { type AskedReader as Reader, sqliteTopics } from '../topic/asked.ts'
import { refusals, UNFIT_TO_SHOW } from './refusals.ts'
import { byAmount, modelServer, type Row, refused, type Saying } from './server.ts'

/** The stage between real topics and a real model server that says this. */
async function world(say: (rows: Row[], before: number) => Saying | Promise<Saying> = byAmount) {
  await using opening = new AsyncDisposableStack()
  const dir = opening.use(await tempDir())
  const server = opening.use(await modelServer(say))
  const open = () => sqliteTopics({ path: dir.file('topics.db') })
  let topics = await open()
  opening.defer(() => topics.close())
  const opened = opening.move()
  const { log, lines, text } = listeningLog()

  return {
    lines,
    text,
    /** the numbers of the transactions of each request */
    asked: () => server.asked.map((rows) => rows.map(number)),
    append: (...transactions: Transaction[]) => topics.append({ transactions }),
    /** Starts the stage; `stop` resolves when it has ended, with the time that took. */
    start({ batchSize = 500, name = null, later = 20_000, over }: Partial<Start> = {}) {
      const asking = new AbortController()
      const model = mlflow({
        url: server.url,
        headers: { authorization: 'Bearer s3cret-token' },
        features: FEATURES,
        unixTimeUnit: 's',
        threshold: 0.5,
        deadlines: { first: 20_000, later },
      })
      const read = topics.reader('transactions', 'score')
      const ended = scoreStage(
        { log, stop: asking.signal },
        {
          reader: over?.(read) ?? read,
          judge: async () => ({ model, name }),
          batchSize,
          features: ['amt', 'city_pop', 'long'],
        },
      )
      const stop = async () => {
        const since = performance.now()
        asking.abort(new Error('stopped'))
        await ended
        return performance.now() - since
      }
      opened.defer(async () => void (await stop()))
      return stop
    },
    /** Runs the stage with a model that is none; resolves when it has ended. */
    startWith: (model: Model) =>
      scoreStage(
        { log, stop: new AbortController().signal },
        { reader: topics.reader('transactions', 'score'), judge: async () => ({ model, name: null }), batchSize: 1 },
      ),
    async reopened() {
      await topics.close()
      topics = await open()
    },
    scored: async () => (await held(topics, 'predictions')).map(number),
    predictions: () => held(topics, 'predictions'),
    letters: async () => (await held(topics, 'dead-letters')) as DeadLetter[],
    lag: () => topics.reader('transactions', 'score').lag(),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}
type World = Awaited<ReturnType<typeof world>>
type Start = {
  batchSize: number
  name: string | null
  later: number
  over: (reader: Reader<Transaction>) => Reader<Transaction>
}

const number = ({ trans_num }: Row | { trans_num: string }) => Number(String(trans_num).slice('trans-'.length))
const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const some = (n: number) => upTo(n).map((i) => transaction(i))
const drained = (w: World) => waitFor('everything to be scored', async () => (await w.lag()) === 0)
const line = (w: World, pattern: RegExp) => waitFor(`the line ${pattern}`, () => pattern.test(w.text()))
const bad =
  (...ns: number[]) =>
  (rows: Row[]): Saying =>
    rows.some((row) => ns.includes(number(row))) ? refused(refusals.notConverted('city_pop')) : byAmount(rows)

// The longest of them comes first: the others run beside it.
test.concurrent('a model that does not finish in time gets half as many rows, and more again when it does', async () => {
  let most = 2
  await using w = await world((rows, before) => (before > 0 && rows.length > most ? 'silence' : byAmount(rows)))
  await w.append(transaction(1))
  w.start({ batchSize: 8, later: 300 })
  await drained(w) // it is known from now on
  await w.append(
    ...upTo(9)
      .slice(1)
      .map((i) => transaction(i)),
  )
  await drained(w)
  expect(w.asked().slice(1, 4)).toEqual([
    [2, 3, 4, 5, 6, 7, 8, 9],
    [2, 3, 4, 5],
    [2, 3],
  ])
  expect(w.text()).toMatch(/^the model is too slow: no whole answer within 0\.3 s; retrying in/m)
  expect(await w.scored()).toEqual(upTo(9))
  most = 8
  await w.append(
    ...upTo(41)
      .slice(9)
      .map((i) => transaction(i)),
  )
  await drained(w)
  expect(w.asked().some((rows) => rows[0]! > 9 && rows.length === 8)).toBe(true)
  expect(await w.scored()).toEqual(upTo(41))
})

test.concurrent('a prediction is the transaction, to the digit, with what the model said, its name and the time', async () => {
  await using w = await world()
  const before = Date.now()
  const transactions = [
    transaction(1, { cc_num: LONG_CARD, is_fraud: 1 }),
    transaction(2, { amt: 2000 }),
    transaction(3),
  ]
  await w.append(...transactions)
  w.start({ name: 'rf/7' })
  await drained(w)
  const predictions = await w.predictions()
  expect(predictions).toEqual(
    transactions.map((t, i) => ({
      ...t,
      prediction: i === 1 ? 1 : 0,
      score: null,
      model: 'rf/7',
      predicted_at: expect.any(Number),
    })),
  )
  for (const { predicted_at } of predictions) expect(predicted_at).toBeGreaterThanOrEqual(before)
  expect(w.text()).toBe('scored 3 transactions, 1 fraud')
})

test.concurrent('sends what waits at once, no more than the batch size, and one that comes alone at once too', async () => {
  await using w = await world()
  await w.append(...some(7))
  w.start({ batchSize: 3 })
  await drained(w)
  await w.append(transaction(8))
  await drained(w)
  expect(w.asked().sort(([a], [b]) => a! - b!)).toEqual([[1, 2, 3], [4, 5, 6], [7], [8]]) // two are in flight
  expect(await w.scored()).toEqual(upTo(8))
})

test.concurrent('has two requests in flight, and hands their answers over in order whichever comes first', async () => {
  const both = Promise.withResolvers<void>()
  let arrived = 0
  await using w = await world(async (rows) => {
    const first = rows.some((row) => number(row) === 3) // those before are the first of all, which go alone
    if (!first && !rows.some((row) => number(row) === 5)) return byAmount(rows)
    if (++arrived === 2) both.resolve()
    await both.promise // one that waited for the other's answer would wait for ever
    if (first) await sleep(50)
    return byAmount(rows)
  })
  await w.append(...some(20))
  w.start({ batchSize: 2 })
  await drained(w)
  expect(await w.scored()).toEqual(upTo(20))
  expect(
    w
      .asked()
      .flat()
      .sort((a, b) => a - b),
  ).toEqual(upTo(20))
})

test.concurrent('asks again, in its turn, about rows that the model failed on while others were before them', async () => {
  let fails = 3
  await using w = await world((rows) => {
    if (rows.some((row) => number(row) === 5) && fails-- > 0)
      return fails === 2 ? { status: 503, text: 'down' } : refused('{"error_code":"BAD_REQUEST"}')
    return byAmount(rows)
  })
  await w.append(...some(9))
  w.start({ batchSize: 2 })
  await drained(w)
  expect(await w.scored()).toEqual(upTo(9))
  expect(await w.letters()).toEqual([])
})

test.concurrent('probabilities become scores, no model name stays null', async () => {
  await using w = await world((rows) => ({
    predictions: rows.map((row) => [1 - Number(row.amt) / 100, Number(row.amt) / 100]),
  }))
  await w.append(transaction(1, { amt: 10 }), transaction(2, { amt: 50 }))
  w.start()
  await drained(w)
  expect(await w.predictions()).toMatchObject([
    { prediction: 0, score: 0.1, model: null },
    { prediction: 1, score: 0.5, model: null },
  ])
})

test.concurrent('hands predictions and position over together, or neither', async () => {
  await using w = await world()
  await w.append(...some(3))
  let failures = 2
  const stop = w.start({
    over: (reader) => ({
      ...reader,
      async read(limit, signal) {
        const batch = await reader.read(limit, signal)
        return {
          ...batch,
          async commit(...args) {
            if (failures-- > 0) throw new Error('cannot write the topics')
            await batch.commit(...args)
          },
        }
      },
    }),
  })
  await line(w, /cannot write the topics; retrying in/)
  expect([await w.lag(), await w.scored()]).toEqual([3, []])
  await drained(w)
  await stop()
  await w.reopened()
  expect([await w.lag(), await w.scored()]).toEqual([0, upTo(3)])
})

test.concurrent('goes on after a restart where it was', async () => {
  await using w = await world()
  await w.append(...some(2))
  const stop = w.start()
  await drained(w)
  await stop()
  await w.reopened()
  await w.append(transaction(3))
  w.start()
  await drained(w)
  expect(w.asked()).toEqual([[1, 2], [3]])
  expect(await w.scored()).toEqual(upTo(3))
})

test.concurrent('a code that is not 0 or 1 is not forgotten by a restart: its row comes first again', async () => {
  const codes = [0, 1, 0, 1, 2, 0, 1]
  await using w = await world((rows) => ({ predictions: rows.map((row) => codes[(number(row) - 1) % 7]!) }))
  await w.append(...some(7))
  for (const starts of upTo(3)) {
    const before = w.asked().length
    const stop = w.start()
    await waitFor('two requests', () => w.asked().length >= before + 2)
    await stop()
    await w.reopened()
    await w.append(transaction(7 + starts))
  }
  expect(w.asked().every((rows) => rows[0] === 1 && rows.includes(5))).toBe(true)
  expect(w.text()).toMatch(/^the model answered 2, which is neither 0 or 1 nor a probability: set MODEL_FRAUD_VALUE/m)
  expect([await w.scored(), await w.letters()]).toEqual([[], []])
})

test.concurrent('a refused batch is taken apart: the bad row is set aside with the reason, the others go on in order', async () => {
  await using w = await world(bad(5))
  const transactions = some(8)
  transactions[4] = transaction(5, { cc_num: LONG_CARD })
  await w.append(...transactions)
  w.start()
  await drained(w)
  expect(await w.scored()).toEqual([1, 2, 3, 4, 6, 7, 8])
  expect(await w.letters()).toEqual([
    {
      stage: 'score',
      at: expect.any(Number),
      reason: expect.stringMatching(/^the model answered 400: wrong type: a value of column city_pop /),
      record: transactions[4],
    },
  ])
})

test.concurrent('NaN for one row sets that row aside', async () => {
  await using w = await world((rows) => {
    const text = rows.map((row) => (number(row) === 2 ? 'NaN' : '0.25')).join(', ')
    return { status: 200, text: `{"predictions": [${text}]}` }
  })
  await w.append(...some(3))
  w.start()
  await drained(w)
  expect(await w.scored()).toEqual([1, 3])
  expect((await w.letters())[0]?.reason).toMatch(/^the model answered NaN/)
})

test.concurrent('an outage in the middle costs only the part in hand', async () => {
  let down = 2
  const accepted: number[] = []
  await using w = await world((rows, before) => {
    if (before >= 3 && down-- > 0) return { status: 503, text: '' }
    const saying = bad(6)(rows)
    if ('predictions' in (saying as object)) accepted.push(...rows.map(number))
    return saying
  })
  await w.append(...some(8))
  w.start()
  await drained(w)
  expect(await w.scored()).toEqual([1, 2, 3, 4, 5, 7, 8])
  const again = accepted.filter((n, i) => accepted.indexOf(n) < i)
  expect(accepted.filter((n, i) => accepted.indexOf(n) === i)).toEqual([1, 2, 3, 4, 5, 7, 8])
  expect(new Set(again)).toEqual(new Set([8])) // the good one, beside which the bad one is tried
  expect(w.lines.filter(({ msg }) => /^the model answered 503 .*; retrying in/.test(msg))).toHaveLength(2)
})

test.concurrent.for<[what: string, text: string, said: RegExp]>([
  [
    'missing inputs',
    refusals.missingInputs('merchant', 'category'),
    /Model is missing inputs \(merchant, category\).*log it again with the signature/,
  ],
  [
    'unseen feature names',
    refusals.unseen(['category', 'city', '...']),
    /unseen at fit time \(category, city, …\).*Set MODEL_FEATURES/,
  ],
  ['a wrong type', refusals.notANumber(), /wrong type.*(MODEL_FEATURES must list|MODEL_FEATURES sends numbers)/],
  [
    'a wrong type in the signature',
    refusals.incompatibleTypes('unix_time'),
    /wrong type: column unix_time.*UNIX_TIME_UNIT/,
  ],
])('everything is refused for %s: waits, sets nothing aside, says which setting is wrong', async ([, text, said]) => {
  let right = false
  await using w = await world((rows) => (right ? byAmount(rows) : refused(text)))
  await w.append(...some(6).map((t) => ({ ...t, cc_num: LONG_CARD })))
  w.start()
  const refusing = () =>
    w.lines.filter(({ msg }) => /^the model refuses everything: the model answered 400: /.test(msg))
  await waitFor('the second refusal', () => refusing().length >= 2)
  expect(refusing()[0]!.level).toBe('warn')
  for (const { msg } of refusing()) {
    expect(msg).toMatch(said)
    expect(msg).toMatch(/; retrying in [\d.]+ s$/)
  }
  for (const { msg } of w.lines) expect(msg).not.toMatch(UNFIT_TO_SHOW)
  expect([await w.lag(), await w.letters(), await w.scored()]).toEqual([6, [], []])
  right = true
  await drained(w)
  expect([await w.letters(), await w.scored()]).toEqual([[], upTo(6)])
})

test.concurrent('a model too slow for one row is asked for one again and again', async () => {
  let slow = true
  await using w = await world(() => (slow ? { status: 504, text: 'too slow' } : { predictions: [0] }))
  await w.append(...some(2))
  w.start()
  await waitFor('the third request', () => w.asked().length >= 3)
  expect(w.asked().slice(0, 3)).toEqual([[1, 2], [1], [1]])
  expect([await w.lag(), await w.letters()]).toEqual([2, []])
  slow = false
  await waitFor('the first to be scored', async () => (await w.scored()).length >= 1)
})

test.concurrent.for<[what: string, saying: Saying, said: RegExp]>([
  ['a 503', { status: 503, text: '' }, /^the model answered 503/],
  ['a 401', { status: 401, text: '' }, /^the model answered 401 .*: check MODEL_HEADERS/],
  ['a 404', { status: 404, text: '' }, /^the model answered 404 .*: MODEL_URL is not/],
  ['HTML with 200', { status: 200, text: '<html>' }, /^the model answered 200, but no JSON: is MODEL_URL/],
  ['a broken connection', 'hang up', /^cannot reach the model: /],
])('after %s it asks for the same rows again, and nothing is lost', async ([, saying, said]) => {
  await using w = await world((rows, before) => (before === 0 ? saying : byAmount(rows)))
  await w.append(...some(2))
  w.start()
  await drained(w)
  expect(w.asked()).toEqual([upTo(2), upTo(2)])
  expect(await w.scored()).toEqual(upTo(2))
  expect(w.lines[0]?.msg).toMatch(new RegExp(`${said.source}.*; retrying in [\\d.]+ s$`))
})

test.concurrent('stays away as long as Retry-After says', async () => {
  const times: number[] = []
  await using w = await world((rows) => {
    times.push(Date.now())
    return times.length === 1 ? { status: 503, text: '', headers: { 'retry-after': '1' } } : byAmount(rows)
  })
  await w.append(transaction(1))
  w.start()
  await drained(w)
  expect(times[1]! - times[0]!).toBeGreaterThanOrEqual(998)
})

test.concurrent('stopped in the middle of a request it ends at once and loses nothing', async () => {
  let silent = true
  await using w = await world((rows) => (silent ? 'silence' : byAmount(rows)))
  await w.append(...some(3))
  const stop = w.start()
  await waitFor('the request', () => w.asked().length === 1)
  expect(await stop()).toBeLessThan(2000)
  expect(w.text()).toBe('')
  await w.reopened()
  expect([await w.lag(), await w.scored()]).toEqual([3, []])
  silent = false
  w.start()
  await drained(w)
  expect(await w.scored()).toEqual(upTo(3))
})

test.concurrent('stopped in a pause, or while nothing waits, it ends at once', async () => {
  await using failing = await world(() => ({ status: 503, text: '', headers: { 'retry-after': '3600' } }))
  await using idle = await world()
  await failing.append(transaction(1))
  const stops = [failing.start(), idle.start()]
  await line(failing, /retrying in 3600 s/)
  for (const stop of stops) expect(await stop()).toBeLessThan(2000)
  expect(await failing.lag()).toBe(1)
})

test.concurrent('a mistake in the program ends the stage with its error, and the position stays', async () => {
  await using w = await world()
  await w.append(transaction(1))
  const model: Model = { judge: () => Promise.reject(new TypeError('nobody expected this')) }
  await expect(w.startWith(model)).rejects.toThrow('nobody expected this')
  expect(await w.lag()).toBe(1)
})

test.concurrent('no log line holds a card number, a name, a header or a token', async () => {
  await using w = await world((rows, before) =>
    before === 0 ? 'hang up' : before === 1 ? { status: 403, text: refusals.unknown() } : bad(2)(rows),
  )
  await w.append(transaction(1, { cc_num: LONG_CARD }), transaction(2, { cc_num: LONG_CARD }), transaction(3))
  w.start()
  await drained(w)
  expect(w.lines.length).toBeGreaterThanOrEqual(4)
  for (const logged of w.lines) {
    expect(Object.keys(logged).sort()).toEqual(['level', 'msg', 'time'])
    expect(logged.msg).not.toMatch(UNFIT_TO_SHOW)
    expect(logged.msg).not.toMatch(/s3cret|authorization|O'Neil|http:/i)
  }
})

test.concurrent('with one row a request, a bad first row waits for another one beside it, and is set aside then', async () => {
  await using w = await world(bad(1))
  await w.append(...some(1))
  w.start({ batchSize: 1 })
  await waitFor('a refusal', () => w.text().includes('the model refuses everything'))
  await w.append(...some(3).slice(1))
  await drained(w)
  expect(await w.letters()).toMatchObject([{ record: { trans_num: 'trans-1' } }])
  expect(await w.scored()).toEqual([2, 3])
})

test('warns once of a column that is sent and was empty in all of the first rows', async () => {
  await using w = await world()
  await w.append(...[0, 1, 2, 3].map((n) => transaction(n, { city_pop: null, ...(n > 0 && { long: null }) })))
  w.start({ batchSize: 2 })
  await waitFor('all are scored', async () => (await w.scored()).length === 4)
  const said = w.lines.filter(({ msg }) => /empty in all/.test(String(msg)))
  expect(said.map(({ level, msg }) => [level, msg])).toEqual([
    ['warn', expect.stringMatching(/^city_pop was empty in all of the first 4 rows: /)],
  ])
})
