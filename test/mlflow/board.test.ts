import { existsSync, readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { boards, type Truth } from '../../src/care/board.ts'
import { readDocument } from '../../src/fetch/document.ts'
import { seeded } from '../../src/simulate/random.ts'
import type { Prediction, Transaction } from '../../src/transaction.ts'
import { openRows } from '../desk/place.ts'
import { tempDir } from '../rows.ts'
import { environment, type Release, run } from './environment.ts'
import { clientOf, judged, split, trainingFile } from './forest.ts'
import { serve, train } from './serve.ts'

const scratch = await tempDir()
afterAll(() => scratch[Symbol.asyncDispose]())

/** Of the same days: what the forest is trained on, and what it has not seen. */
const made = split({ rows: 6000, seed: 3, days: 13 }, (n) => n % 4 !== 0)
const file = trainingFile(scratch.file('training.csv'), made.training)
type Source = { name: string; training: string; live: readonly Transaction[]; threshold: number }
/** Rows as the producer sent them once, and the head of its training file: no part of this project, used where they are. */
const CAPTURED = process.env.CAPTURED_ROWS ?? '../shared/data'
const captured = (): Source[] => {
  if (!existsSync(`${CAPTURED}/producer/bodies.jsonl`)) return []
  const bodies = readFileSync(`${CAPTURED}/producer/bodies.jsonl`, 'utf8').trimEnd().split('\n')
  const live = bodies.flatMap((body) => readDocument(body, 1).transactions)
  // The model has seen 18 frauds of another year: at half of the votes it flags nothing.
  return [{ name: 'captured', training: `${CAPTURED}/training/fraudTest-head.csv`, live, threshold: 0.02 }]
}
const SOURCES: Source[] = [{ name: 'made', training: file, live: made.live, threshold: 0.5 }, ...captured()]

describe.each<Release>(['2.14.1', 'newest'])('a forest served by MLflow %s', (release) => {
  test.for(SOURCES)(
    'the board of $name rows is what pandas counts, whoever says what was fraud',
    { timeout: 900_000 },
    async (source) => {
      const env = await environment(release)
      const folder = scratch.file(`${release}-${source.name}`)
      await train(env, source.training, folder)
      await using server = await serve(env, `${folder}/proba`)
      const rows = await judged(clientOf(server.url, source.threshold), source.live)
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
        console.log(`${release} ${source.name} ${pattern}: ${JSON.stringify(counted)}`)
        const { caught, missed, falseAlarms, flagged, precision, falseNegativeRate, money } = board!
        expect({ caught, missed, falseAlarms }).toMatchObject(
          Object.fromEntries(['caught', 'missed', 'falseAlarms'].map((name) => [name, counted[name]])),
        )
        if (pattern !== 'none' && source.name === 'made')
          expect(Math.min(caught, missed, falseAlarms)).toBeGreaterThan(0)
        const near = (mine: readonly number[] | undefined, its: readonly number[] | undefined) =>
          expect(mine?.map((value, i) => Math.abs(value - its![i]!) < 1e-9) ?? its).toEqual(its?.map(() => true))
        near(flagged.interval, counted.flagged)
        near(precision?.interval, counted.precision)
        if (source.name === 'captured')
          expect(falseNegativeRate).toBe(undefined) // of two frauds no share is said
        else near(falseNegativeRate?.interval, counted.rate)
        expect(money.caught).toBeCloseTo(counted.money[0], 6)
        if (truth === 'producer') expect(money.missed).toBeCloseTo(counted.money[1], 6)
      }
    },
  )
})
const PATTERNS = [
  ['producer', 'producer'],
  ['reviewer', 'reviewer'],
  ['both', 'producer'],
  ['none', 'reviewer'],
] as const satisfies [string, Truth][]
