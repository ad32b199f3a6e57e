import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isBug, Outage, Refusal, reason } from '../../src/io/errors.ts'
import { isolate } from '../../src/run/bisect.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Batch } from '../../src/topic/topic.ts'
import type { DeadLetter, Prediction } from '../../src/transaction.ts'
import { listeningLog, prediction } from '../rows.ts'

const ROWS = Array.from({ length: 1100 }, (_, n) => prediction(n))
const nth = (row: Prediction) => Number(row.trans_num.slice('trans-'.length))
const pairs = <A, B>(as: A[], bs: B[]) => as.flatMap((a) => bs.map((b) => [a, b] as const))
const range = (length: number) => Array.from({ length }, (_, n) => n)

type Mood = 'works' | 'outage' | 'refuses all' | 'takes all' | 'says NaN once'
type Options = {
  /** how many rows there are */
  rows: number
  /** most rows in the n-th batch, from 0 */
  limit?: number | ((batch: number) => number)
  bad?: Iterable<number>
  /** how the other side feels at its n-th attempt, from 1 */
  mood?: (attempt: number) => Mood
  /** whether the n-th commit fails, from 1 */
  commitFails?: (commit: number) => boolean
  /** the coin */
  random?: () => number
}

/**
 * A log in memory, the other side of a stage, and the loop between them as `consume` has it, without its pauses. What
 * was committed is in `history`, in order: the number of each row handed over, and of each set aside behind a '!'.
 */
function world({
  rows,
  limit = 512,
  bad = [],
  mood = () => 'works',
  commitFails = () => false,
  random = Math.random,
}: Options) {
  const wrong = new Set(bad)
  const history: string[] = []
  const letters: DeadLetter[] = []
  const errors: Error[] = []
  let attempts = 0
  let commits = 0
  let position = 0
  let available = rows
  let batches = 0

  const told: string[] = []
  const { log, lines } = listeningLog()
  async function attempt(part: readonly Prediction[]) {
    attempts++
    expect(part.length).toBeGreaterThan(0)
    const now = mood(attempts)
    if (now === 'outage') throw new Error('cannot reach the model')
    if (now === 'says NaN once' && part.length > 1) throw new Error('the model answered 1 for 512 rows')
    if (now === 'refuses all' || now === 'says NaN once')
      throw new Refusal('the model answered 400: nothing pleases it')
    if (now === 'works' && part.some((row) => wrong.has(nth(row))))
      throw new Refusal('the model answered 400: card 4992346398065154184')
    return { predictions: part }
  }
  const accepted = (part: readonly Prediction[]) => told.push(...part.map((row) => `${nth(row)}`))
  const work = isolate<Prediction>({ stage: 'score', who: 'the model', log, attempt, accepted, random })
  function read(): Batch<Prediction> {
    const most = typeof limit === 'number' ? limit : limit(batches++)
    const records = ROWS.slice(position, Math.min(position + most, available))
    let done = 0
    return {
      records,
      async commit(count, writes = {}) {
        if (commitFails(++commits)) throw new Error('cannot write the topics')
        const { predictions = [], 'dead-letters': aside = [], ...others } = writes
        const part = records.slice(done, done + count).map(nth)
        expect(others).toEqual({})
        if (aside.length > 0) {
          expect(predictions).toEqual([])
          expect(aside.map((letter) => 'record' in letter && nth(letter.record as Prediction))).toEqual(part)
          letters.push(...(aside as DeadLetter[]))
        } else expect(predictions.map(nth)).toEqual(part)
        history.push(...part.map((n) => (aside.length > 0 ? `!${n}` : `${n}`)))
        done += count
        position += count
      },
    }
  }
  return {
    history,
    letters,
    errors,
    lines,
    get attempts() {
      return attempts
    },
    /** More rows arrive. */
    append(count: number) {
      available += count
    },
    /** One batch. Resolves with how many attempts it cost. */
    async round() {
      const before = attempts
      await work(read()).catch((error) => {
        if (isBug(error) || error.name === 'AssertionError') throw error
        errors.push(error)
      })
      return attempts - before
    },
    /** Batch after batch, until no row is left. */
    async drain(rounds = 2000) {
      for (let n = 0; position < available; n++) {
        if (n === rounds) throw new Error(`no end after ${rounds} rounds, ${position} of ${available} rows done`)
        await this.round()
      }
      // Said once it is done, and of no attempt that was not.
      expect(told).toEqual(history.filter((n) => !n.startsWith('!')))
      expect(lines.map(({ level }) => level)).toEqual(letters.map(() => 'warn'))
      return this
    },
  }
}

/** What `history` holds when everything was handed over but the bad rows, which were set aside. */
const expected = (rows: number, bad: Iterable<number> = []) => {
  const wrong = new Set(bad)
  return range(rows).map((n) => (wrong.has(n) ? `!${n}` : `${n}`))
}
/** Attempts that one failure costs at most: its own, those of the rows that were refused alone, and of who is asked beside. */
const AGAIN = 12
/** and tosses of the coin that are saved only where nothing else fails */
const SAVED = 13

describe('bad rows', () => {
  test('cost nothing where there are none: one attempt a batch', async () => {
    const { history, attempts, errors } = await world({ rows: 1100 }).drain()
    expect([attempts, errors.length]).toEqual([3, 0])
    expect(history).toEqual(expected(1100))
  })

  test.each([0, 1, 2, 3, 100, 127, 128, 254, 255, 256, 257, 300, 383, 384, 509, 510, 511])(
    'one among 512, at %i: is found within 20 attempts and set aside alone, the rest goes on in order',
    async (bad) => {
      const { history, attempts, errors } = await world({ rows: 512, bad: [bad] }).drain()
      expect(history).toEqual(expected(512, [bad]))
      expect(attempts).toBeLessThanOrEqual(20 + 2) // two for the rest of the batch
      expect(errors).toEqual([])
    },
  )

  test('one at any place of a batch of any size: within 20 attempts, and two for the rest', async () => {
    for (const rows of [2, 3, 5, 8, 13, 64, 100])
      for (const bad of range(rows)) {
        const { history, attempts } = await world({ rows, bad: [bad] }).drain()
        expect(history).toEqual(expected(rows, [bad]))
        expect(attempts).toBeLessThanOrEqual(20 + 2)
      }
  })

  test.each([
    ['neighbours', [40, 41]],
    ['far apart', [0, 511]],
    ['a run', range(30).map((n) => 100 + n)],
    ['a run at the front', range(30)],
    ['a run at the end', range(30).map((n) => 482 + n)],
    ['every third', range(170).map((n) => 3 * n + 1)],
    ['all but the last', range(511)],
    ['all but the first', range(511).map((n) => n + 1)],
    ['all but one in the middle', range(512).filter((n) => n !== 300)],
  ])('many of them, %s, are set aside one by one', async (_, bad) => {
    const { history } = await world({ rows: 512, bad }).drain()
    expect(history).toEqual(expected(512, bad))
  })

  test('cost at most two attempts for each halving each, and eight', async () => {
    for (const bad of [
      [7, 450],
      [0, 1, 2, 3],
      [10, 200, 300, 301, 511],
    ]) {
      const { attempts } = await world({ rows: 512, bad }).drain()
      expect(attempts).toBeLessThanOrEqual(26 * bad.length)
    }
  })

  test('are said in the log, without a card number', async () => {
    const { lines } = await world({ rows: 3, bad: [1] }).drain()
    expect(lines).toMatchObject([{ level: 'warn', msg: 'a record is set aside: the model answered 400: card …4184' }])
  })

  test('are kept with the reason, the stage and the row; no card number in the reason', async () => {
    const before = Date.now()
    const { letters } = await world({ rows: 4, bad: [1] }).drain()
    expect(letters).toEqual([
      { stage: 'score', at: expect.any(Number), reason: 'the model answered 400: card …4184', record: ROWS[1] },
    ])
    expect(letters[0]!.at).toBeGreaterThanOrEqual(before)
    expect(letters[0]!.at).toBeLessThanOrEqual(Date.now())
  })

  test('a batch that is all bad goes aside when the other side is known to accept others', async () => {
    const { history, errors } = await world({ rows: 30, limit: 10, bad: range(20).map((n) => 10 + n) }).drain()
    expect(history).toEqual(
      expected(
        30,
        range(20).map((n) => 10 + n),
      ),
    )
    expect(errors).toEqual([])
  })

  test('one bad row alone, after others were accepted, is set aside after 19 attempts', async () => {
    const w = world({ rows: 3, limit: 1, bad: [1] })
    expect([await w.round(), await w.round(), await w.round()]).toEqual([1, 19, 1])
    expect(w.history).toEqual(['0', '!1', '2'])
  })
})

describe('an outage', () => {
  test('at any one attempt costs the part in hand and no more', async () => {
    for (const bad of [[0], [1], [255], [256], [511], [17, 400], [0, 1, 2, 3, 4, 5]]) {
      const undisturbed = await world({ rows: 512, bad }).drain()
      for (let k = 1; k <= undisturbed.attempts; k++) {
        const w = await world({ rows: 512, bad, mood: (n) => (n === k ? 'outage' : 'works') }).drain()
        expect(w.history, `outage at attempt ${k}, bad ${bad}`).toEqual(expected(512, bad))
        expect(w.errors.length - undisturbed.errors.length).toBeLessThanOrEqual(1)
        expect(w.attempts, `outage at attempt ${k}, bad ${bad}`).toBeLessThanOrEqual(
          undisturbed.attempts + AGAIN + SAVED,
        )
      }
    }
  })

  test('is passed on as it was, for the loop to say it', async () => {
    const w = world({ rows: 8, mood: () => 'outage' })
    expect(await w.round()).toBe(1)
    expect(w.errors.map((error) => error.message)).toEqual(['cannot reach the model'])
    expect(w.history).toEqual([])
  })

  test.each([7, 8, 11])('every %i attempts does not keep it from getting on', async (period) => {
    for (const bad of [
      [0],
      [300],
      [511],
      [0, 1, 2, 3, 4],
      range(12).map((n) => n + 5),
      range(88).map((n) => 424 + n),
    ]) {
      const undisturbed = await world({ rows: 512, bad }).drain()
      const mood = (n: number): Mood => (n % period === 0 ? 'outage' : 'works')
      const w = await world({ rows: 512, bad, mood }).drain()
      expect(w.history).toEqual(expected(512, bad))
      expect(w.attempts).toBeLessThanOrEqual(4 * undisturbed.attempts)
    }
  })

  test('does not hurry the judgement: a row refused before it gets another chance after it', async () => {
    const moods: Mood[] = ['works', 'refuses all', 'refuses all', 'outage']
    const w = await world({ rows: 3, limit: 1, mood: (n) => moods[n - 1] ?? 'works' }).drain()
    expect(w.history).toEqual(['0', '1', '2'])
  })

  test('of the position is no different: a failed commit is made again, nothing twice', async () => {
    for (const bad of [[], [0], [1], [255, 256], [511], [3, 4, 5, 6, 7, 8, 9]]) {
      const undisturbed = await world({ rows: 512, bad }).drain()
      for (let k = 1; k <= undisturbed.history.length && k <= 40; k++) {
        const w = await world({ rows: 512, bad, commitFails: (n) => n === k }).drain()
        expect(w.history, `commit ${k} fails, bad ${bad}`).toEqual(expected(512, bad))
        expect(w.attempts, `commit ${k} fails, bad ${bad}`).toBeLessThanOrEqual(undisturbed.attempts + AGAIN)
      }
    }
  })

  test('of the position while several rows are set aside repeats those that are left, and nothing else', async () => {
    // Batch, [0-3], [0, 1], 0, 1, [2, 3], 2, 3; then 0 again, set aside, and 1 again, the commit of which fails.
    const w = world({ rows: 8, bad: [0, 1, 2], commitFails: (n) => n === 2 })
    expect(await w.round()).toBe(8 + 21 + 8)
    expect(w.history).toEqual(['!0'])
    expect(await w.round()).toBe(11) // 1, 2, 3; 1 and 2 again; [4-7]
    expect(w.history).toEqual(expected(8, [0, 1, 2]))
  })

  test('may make the batches smaller: what is known is cut to what is there', async () => {
    for (const size of [2, 3, 100, 255, 256, 257])
      for (const bad of [[0], [1], [255], [256], [300], [511]]) {
        const { attempts } = await world({ rows: 512, bad }).drain()
        for (let k = 1; k <= attempts; k++) {
          const limit = (batch: number) => (batch === 0 ? 512 : size)
          const mood = (n: number): Mood => (n === k ? 'outage' : 'works')
          const { history } = await world({ rows: 512, bad, limit, mood }).drain()
          expect(history, `outage at attempt ${k}, bad ${bad}, then ${size} a batch`).toEqual(expected(512, bad))
        }
      }
  })
})

describe('a model that refuses everything', () => {
  /** A model whose mood the test changes between two rounds. */
  function moody(options: Options, first: Mood = 'works') {
    const model = { mood: first }
    const w = world({ ...options, mood: () => model.mood })
    return { model, w, history: w.history, errors: w.errors }
  }

  test.each([1, 2, 3, 4, 5, 100, 512])('is down: of a batch of %i nothing is set aside', async (rows) => {
    const { w, history, errors } = moody({ rows }, 'refuses all')
    await w.round()
    for (const _ of range(5)) expect(await w.round()).toBeLessThanOrEqual(2)
    expect(w.attempts).toBeLessThanOrEqual(14 + 5 * 2)
    expect(history).toEqual([])
    expect(errors).toHaveLength(6)
    for (const error of errors) {
      expect(error).toBeInstanceOf(Outage)
      expect(reason(error)).toBe('the model refuses everything: the model answered 400: nothing pleases it')
    }
  })

  test.each([1, 2, 3, 4, 5, 100, 512])(
    'from one batch to the next is down, which is soon known: %i rows',
    async (rows) => {
      const { model, w, history, errors } = moody({ rows: 512 + rows })
      await w.round()
      model.mood = 'refuses all'
      expect(await w.round()).toBeLessThanOrEqual(15)
      for (const _ of range(5)) expect(await w.round()).toBeLessThanOrEqual(2)
      expect(history).toEqual(expected(512))
      expect(errors).toHaveLength(6)
      for (const error of errors) expect(error).toBeInstanceOf(Outage)
    },
  )

  test.each([
    ['at the start', false],
    ['later', true],
  ])('%s, and recovers, is given everything: only the bad rows are set aside', async (_, later) => {
    for (const rows of [1, 2, 3, 7, 512])
      for (const bad of [[], [0], [1], [rows - 1], [0, 1, 2, 3, 4], [rows - 5, rows - 4, rows - 3, rows - 2, rows - 1]])
        for (const rounds of [1, 2, 9]) {
          const shifted = bad.filter((n) => n >= 0 && n < rows).map((n) => (later ? n + 512 : n))
          if (!later && new Set(shifted).size === rows) continue // nobody could tell
          const { model, w, history } = moody({ rows: rows + (later ? 512 : 0), bad: shifted })
          if (later) await w.round()
          model.mood = 'refuses all'
          for (const _ of range(rounds)) await w.round()
          const before = w.attempts
          model.mood = 'works'
          await w.drain(rows + 5)
          expect(history).toEqual(expected(rows + (later ? 512 : 0), shifted))
          if (bad.length === 0) expect(w.attempts).toBe(before + 1)
        }
  })

  test('in the middle of a batch, at whatever attempt it begins, is down: no good row is set aside', async () => {
    for (const bad of [[], [0], [200], [511], [5, 6, 7, 8, 9, 10]]) {
      const { attempts } = await world({ rows: 512, bad }).drain()
      for (let k = 2; k <= attempts; k++) {
        let recovered = false
        const w = world({ rows: 512, bad, mood: (n) => (n >= k && !recovered ? 'refuses all' : 'works') })
        for (const _ of range(4)) await w.round()
        if (w.history.length < 512) expect(w.errors.length, `from attempt ${k}, bad ${bad}`).toBeGreaterThanOrEqual(4)
        recovered = true
        await w.drain()
        expect(w.history, `from attempt ${k}, bad ${bad}`).toEqual(expected(512, bad))
      }
    }
  })

  test('for some attempts only, and accepts rows in between, is taken at its word by none', async () => {
    for (const rows of [1, 2, 3, 8, 64, 512])
      for (const [from, length] of pairs(range(24), range(24))) {
        const refuses = (n: number) => n > from && n <= from + length
        const w = world({ rows: rows + 1, limit: rows, mood: (n) => (refuses(n) ? 'refuses all' : 'works') })
        await w.drain()
        expect(w.history).toEqual(expected(rows + 1))
      }
  })

  test('of one row for a moment costs that row nothing: it is asked again after another one was accepted', async () => {
    const w = await world({ rows: 2, limit: 1, mood: (n) => (n === 2 ? 'refuses all' : 'works') }).drain()
    expect(w.history).toEqual(['0', '1'])
    expect([w.attempts, w.errors.length]).toEqual([4, 0])
  })

  test('of four rows alone, before it has accepted any, is down until it accepts another', async () => {
    const { w, history, errors } = moody({ rows: 40, bad: [0, 1, 2, 3] })
    await w.round()
    expect(history).toEqual([])
    await w.drain()
    expect(errors.map((error) => error.message)).toEqual(['the model refuses everything'])
    expect(history).toEqual(expected(40, [0, 1, 2, 3]))
  })

  test('is not what one bad row is: it waits for another row to tell', async () => {
    const { w, history } = moody({ rows: 1, bad: [0] })
    for (const _ of range(5)) await w.round()
    expect(history).toEqual([])
    w.append(1)
    await w.drain(5)
    expect(history).toEqual(['!0', '1'])
  })

  test('is not what a new model is that refuses just the row accepted last', async () => {
    // A new model takes over after the first row: it refuses that one, and the second and the last, but no other.
    for (const rows of [2, 3, 12]) {
      const picky = world({ rows: 1, bad: [0, 1, rows - 1], mood: (n) => (n === 1 ? 'takes all' : 'works') })
      await picky.round()
      expect(picky.history).toEqual(['0'])
      picky.append(1)
      for (const _ of range(3)) await picky.round()
      expect(picky.history).toEqual(['0'])
      picky.append(rows)
      await picky.drain(rows + 10)
      expect(picky.history).toEqual(['0', ...expected(rows + 2, [1, rows - 1]).slice(1)])
    }
  })

  test('does not make later bad rows dear: what it said of single rows is forgotten', async () => {
    const { model, w, history } = moody({ rows: 512, bad: [100, 800] }, 'refuses all')
    await w.round()
    await w.round()
    model.mood = 'works'
    expect(await w.round()).toBeLessThanOrEqual(2 + 22)
    expect(w.errors).toHaveLength(2)
    w.append(512)
    expect(await w.round()).toBeLessThanOrEqual(22)
    expect(history).toEqual(expected(1024, [100, 800]))
  })

  test('and recovers with everything accepted is as it was before', async () => {
    const { model, w, history } = moody({ rows: 512, bad: [512] }, 'refuses all')
    await w.round()
    model.mood = 'works'
    expect(await w.round()).toBe(1)
    w.append(512)
    expect(await w.round()).toBeLessThanOrEqual(22)
    expect(history).toEqual(expected(1024, [512]))
  })

  test('and recovers on a batch that begins with bad rows judges them by the good one it was asked about', async () => {
    const { model, w, history } = moody({ rows: 40, bad: range(9) }, 'refuses all')
    await w.round()
    model.mood = 'works'
    await w.round()
    expect(w.errors).toHaveLength(1)
    expect(history).toEqual(expected(40, range(9)))
  })

  test('is known to be over as soon as it has accepted one row', async () => {
    let mood = (_: number): Mood => 'works'
    const bad = range(40).map((n) => n + 2)
    const w = world({ rows: 2, bad, mood: (n) => mood(n) })
    await w.round()
    w.append(40)
    mood = () => 'refuses all'
    await w.round()
    // Asking again after every outage whether it is over would take the attempts that the bad rows need.
    mood = (n) => (n % 7 === 0 ? 'outage' : 'works')
    await w.drain()
    expect(w.history).toEqual(expected(42, bad))
  })
})

describe('a model that refuses at random', () => {
  const failing: Record<string, (random: () => number) => Mood> = {
    'refuses all': () => 'refuses all',
    'says NaN once': () => 'says NaN once',
    'refuses, or cuts the connection': (random) => (random() < 0.5 ? 'refuses all' : 'outage'),
  }
  test.each(pairs(Object.keys(failing), [0.05, 0.3, 0.6, 0.9]))(
    '(%s) at %d of all attempts has no good row set aside, and every row gets through',
    async (how, share) => {
      for (const seed of range(24)) {
        const [server, random] = [seeded(seed).uniform, seeded(seed + 1000).uniform]
        const limit = [1, 2, 5, 20, 80, 512][seed % 6]!
        const mood = (): Mood => (server() < share ? failing[how]!(server) : 'works')
        const w = world({ rows: limit < 512 ? 80 : 1000, limit, mood, random })
        await w.drain(100_000)
        expect(w.history, `seed ${seed}`).toEqual(expected(limit < 512 ? 80 : 1000))
      }
    },
  )

  test.each<[what: string, failed: (n: number) => Mood | undefined]>([
    ['another row was refused alone', (n) => (n <= 11 ? 'refuses all' : undefined)],
    ['it could not be asked before', (n) => (n === 1 ? 'outage' : n <= 11 ? 'refuses all' : undefined)],
  ])('is believed later of a row where %s', async (_, failed) => {
    // To the first row alone, and perhaps the second; another is accepted; then the first is refused for some time.
    for (const guessed of range(19)) {
      const mood = (n: number): Mood => failed(n) ?? (n > 12 && n <= 13 + guessed ? 'refuses all' : 'works')
      const w = await world({ rows: 512, mood, random: () => 0 }).drain()
      expect(w.history, `${guessed}`).toEqual(expected(512))
    }
  })

  test('is watched from when all of what it refused together is accepted: a bad row has more tosses then', async () => {
    const mood = (n: number): Mood => (n === 1 ? 'refuses all' : 'works')
    const w = world({ rows: 3, limit: (batch) => (batch === 0 ? 2 : 1), bad: [2], mood, random: seeded(1).uniform })
    expect(await w.round()).toBe(3)
    expect(await w.round()).toBeGreaterThan(30)
    expect(w.history).toEqual(['0', '1', '!2'])
  })

  test.each([2, 3, 5])('every %i-th time has no good row set aside', async (period) => {
    for (const seed of range(60)) {
      const w = world({
        rows: 80,
        limit: 1 + (seed % 30),
        mood: (n) => ((n + seed) % period === 0 ? 'refuses all' : 'works'),
        random: seeded(seed).uniform,
      })
      await w.drain(100_000)
      expect(w.history, `seed ${seed}`).toEqual(expected(80))
    }
  })

  test.each([0.05, 0.3, 0.5])(
    '%d of all attempts has the bad rows set aside all the same, within some hundred attempts each',
    async (share) => {
      for (const seed of range(20)) {
        const [server, random] = [seeded(seed).uniform, seeded(seed + 1000).uniform]
        const bad = [seed, 40]
        const w = world({ rows: 80, limit: 20, bad, mood: () => (server() < share ? 'refuses all' : 'works'), random })
        await w.drain(100_000)
        expect(w.history, `seed ${seed}`).toEqual(expected(80, bad))
        expect(w.attempts, `seed ${seed}`).toBeLessThan(2000)
      }
    },
  )
})

describe('whatever happens', () => {
  const some = (most: number) => fc.uniqueArray(fc.integer({ min: 0, max: most }), { maxLength: 40 })
  const worlds = fc
    .record({
      rows: fc.integer({ min: 1, max: 70 }),
      bad: some(70),
      /** of the first batches; all later ones are as large as the last of these */
      limits: fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 5 }),
      last: fc.integer({ min: 2, max: 80 }),
      outages: some(200),
      refusals: some(200),
      failedCommits: some(60),
    })
    // Where every row is bad, from the start, nobody could tell whether the model is down.
    .filter(({ rows, bad, last }) => range(Math.min(rows, last)).some((n) => !bad.includes(n)))
  const limit = ({ limits, last }: { limits: number[]; last: number }) => ({
    limit: (batch: number) => limits[batch] ?? last,
  })

  test('every bad row, and only that, is set aside; every other is handed over once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, async ({ rows, bad, outages, failedCommits, ...sizes }) => {
        const mood = (attempt: number): Mood => (outages.includes(attempt) ? 'outage' : 'works')
        const commitFails = (commit: number) => failedCommits.includes(commit)
        const w = await world({ rows, bad, mood, commitFails, ...limit(sizes) }).drain()
        expect(w.history).toEqual(expected(rows, bad))
      }),
      { numRuns: 500 },
    )
  })

  test('nothing is lost, doubled or swapped, and no bad row passes, while everything is refused now and then', async () => {
    await fc.assert(
      fc.asyncProperty(worlds, async ({ rows, bad, outages, refusals, failedCommits, ...sizes }) => {
        const mood = (attempt: number): Mood =>
          refusals.includes(attempt) ? 'refuses all' : outages.includes(attempt) ? 'outage' : 'works'
        const commitFails = (commit: number) => failedCommits.includes(commit)
        const { history } = await world({ rows, bad, mood, commitFails, ...limit(sizes) }).drain()
        expect(history.map((entry) => entry.replace('!', ''))).toEqual(expected(rows))
        for (const n of bad.filter((each) => each < rows)) expect(history[n]).toBe(`!${n}`)
      }),
      { numRuns: 500 },
    )
  })
})
