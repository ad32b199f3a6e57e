import { writeFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { boards, type Truth } from '../../src/care/board.ts'
import { NUMERIC_FEATURES, TRAINING_COLUMNS } from '../../src/columns.ts'
import { csvLine } from '../../src/io/csv.ts'
import { type Model, mlflow } from '../../src/score/mlflow.ts'
import { history } from '../../src/simulate/history.ts'
import { seeded } from '../../src/simulate/random.ts'
import { type Prediction, type Transaction, toTransaction } from '../../src/transaction.ts'
import { openRows } from '../desk/place.ts'
import { tempDir } from '../rows.ts'
import { environment, type Release, run } from './environment.ts'
import { serve, train } from './serve.ts'

const scratch = await tempDir()
afterAll(() => scratch[Symbol.asyncDispose]())

/** Of the same days: what the forest is trained on, and what it has not seen. */
const all = [...history({ rows: 6000, seed: 3, days: 13 })].map((row) => toTransaction(row, Number(row.current_time)))
const training = all.filter((_, n) => n % 4 !== 0)
const live = all.filter((_, n) => n % 4 === 0)
const csv = (name: string, rows: readonly Transaction[]) => {
  const lines = rows.map((row, n) => csvLine([n, ...TRAINING_COLUMNS.map((column) => row[column])]))
  writeFileSync(scratch.file(name), [csvLine(['', ...TRAINING_COLUMNS]), ...lines].join(''))
  return scratch.file(name)
}

async function judged(model: Model, rows: readonly Transaction[]): Promise<Prediction[]> {
  const found: Prediction[] = []
  for (let i = 0; i < rows.length; i += 500) {
    const some = rows.slice(i, i + 500)
    const said = await model.judge(some, new AbortController().signal)
    found.push(
      ...some.map((row, n) => ({ ...row, ...said[n]!, model: 'rf/7', threshold: 0.5, predicted_at: row.event_time })),
    )
  }
  return found
}
const clientOf = (url: string) =>
  mlflow({ url: new URL(url), headers: {}, features: NUMERIC_FEATURES, unixTimeUnit: 's', threshold: 0.5 })

describe.each<Release>(['2.14.1', 'newest'])('a forest served by MLflow %s', (release) => {
  test('the board is what pandas counts, whoever says what was fraud', async () => {
    const env = await environment(release)
    const folder = scratch.file(release)
    await train(env, csv('training.csv', training), folder)
    await using server = await serve(env, `${folder}/proba`)
    const rows = await judged(clientOf(server.url), live)
    for (const [pattern, truth] of PATTERNS) await asPandas(rows, pattern, truth)

    /** Rows of which people judge what was flagged and four of five others, unsure at times, or nobody does. */
    async function asPandas(rows: readonly Prediction[], pattern: (typeof PATTERNS)[number][0], truth: Truth) {
      const { uniform } = seeded(4)
      const people = pattern === 'reviewer' || pattern === 'both'
      const known = rows.map((row) => ({
        ...row,
        is_fraud: pattern === 'producer' || pattern === 'both' ? row.is_fraud : null,
        sampled: row.prediction === 1 ? 1 : uniform() < 0.8 ? 0.8 : null,
      }))
      const { file, reviews } = await openRows(known)
      const said = known.flatMap(({ trans_num, event_time, sampled }, n) => {
        if (!people || sampled === null || uniform() < 0.2) return []
        const verdict = uniform() < 0.05 ? 'unsure' : rows[n]!.is_fraud === 1 ? 'fraud' : 'legit'
        return [{ trans_num, event_time, verdict, note: null, reviewer: 'anna', via: 'page', at: 1 } as const]
      })
      await reviews.say(said)
      const [board] = boards(await reviews.counted(), { truth, delayDays: 0, reviewCost: 2 }, Date.now(), uniform)
      const counted = JSON.parse(await run(env.python, `${import.meta.dirname}/board.py`, file, truth))
      console.log(`${release} ${pattern}: ${JSON.stringify(counted)}`)
      const { caught, missed, falseAlarms, flagged, precision, falseNegativeRate, money } = board!
      expect({ caught, missed, falseAlarms }).toMatchObject(
        Object.fromEntries(['caught', 'missed', 'falseAlarms'].map((name) => [name, counted[name]])),
      )
      if (pattern !== 'none') expect(Math.min(caught, missed, falseAlarms)).toBeGreaterThan(0)
      const near = (mine: readonly number[] | undefined, its: readonly number[] | undefined) =>
        expect(mine?.map((value, i) => Math.abs(value - its![i]!) < 1e-9) ?? its).toEqual(its?.map(() => true))
      near(flagged.interval, counted.flagged)
      near(precision?.interval, counted.precision)
      near(falseNegativeRate?.interval, counted.rate)
      expect(money.caught).toBeCloseTo(counted.money[0], 6)
      if (truth === 'producer') expect(money.missed).toBeCloseTo(counted.money[1], 6)
    }
  }, 900_000)
})
const PATTERNS = [
  ['producer', 'producer'],
  ['reviewer', 'reviewer'],
  ['both', 'producer'],
  ['none', 'reviewer'],
] as const satisfies [string, Truth][]
