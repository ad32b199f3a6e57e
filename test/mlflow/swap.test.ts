import { afterAll, describe, expect, test } from 'vitest'
import { troubleRules } from '../../src/alert/trouble.ts'
import { openCare } from '../../src/care/care.ts'
import { watchModel } from '../../src/care/fingerprint.ts'
import { DAY, HOUR } from '../../src/io/time.ts'
import type { Prediction } from '../../src/transaction.ts'
import { openRows } from '../desk/place.ts'
import { freePort, listeningLog, tempDir } from '../rows.ts'
import { environment, type Release } from './environment.ts'
import { clientOf, judged, split, trainingFile } from './forest.ts'
import { serve, train } from './serve.ts'

const scratch = await tempDir()
afterAll(() => scratch[Symbol.asyncDispose]())

const DAYS = 14
const { training, live } = split({ rows: 60_000, seed: 3, days: DAYS }, (n) => n % 6 === 0)
const START = Math.floor(live[0]!.event_time / DAY) * DAY
/** Enough for a base on the first days, and then half as many, at all hours. */
const day = (n: number) => {
  const rows = live.filter(({ event_time }) => Math.floor((event_time - START) / DAY) === n)
  return n < 7 ? rows : rows.filter((_, i) => i % 2 === 0)
}

describe.each<Release>(['2.14.1', 'newest'])('a forest served by MLflow %s', (release) => {
  test('is swapped for a bad one under its name: the fingerprint names it, its alarms tell it, once, and once that it is over; under a name of its own it has a board of its own', async () => {
    const env = await environment(release)
    const [good, bad] = [scratch.file(`${release}-good`), scratch.file(`${release}-bad`)]
    await train(env, trainingFile(scratch.file('good.csv'), training), good)
    const dear = training
      .slice(0, 3000)
      .map((row) => ({ ...row, is_fraud: row.amt > 60 ? (1 as const) : (0 as const) }))
    await train(env, trainingFile(scratch.file('bad.csv'), dear), bad)

    const port = await freePort()
    const model = clientOf(`http://127.0.0.1:${port}`)
    const { store, reviews } = await openRows([])
    const { log, text } = listeningLog()
    let now = START
    const clock = () => now
    using watching = watchModel({ champion: async () => ({ model, name: 'rf/7' }), reviews, log, now: clock })
    const rules = troubleRules()
    const mails: string[] = []
    async function passes(n: number, rows: readonly Prediction[]) {
      await store.insert(rows)
      now = START + (n + 1) * DAY + 3 * HOUR
      await watching.look()
      const care = openCare({ reviews, rules: { reviewCost: 2 }, now: clock })
      await care.look()
      for (const at of [now, now + HOUR])
        mails.push(...rules.saw(care.conditions(), at).map((mail) => `${n}: ${mail.subject} ${mail.lines[0]}`))
      return care.quality()
    }
    const served = async (folder: string, from: number, to: number) => {
      await using _ = await serve(env, `${folder}/proba`, undefined, port)
      for (let n = from; n < to; n++) await passes(n, await judged(model, day(n)))
    }

    await served(good, 0, 8)
    expect([mails, text()]).toEqual([[], ''])
    await served(bad, 8, 10)
    expect(mails).toHaveLength(2)
    expect(mails).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^8: .* another model answers as rf\/7 /),
        expect.stringMatching(/^8: .* rf\/7 judges other payments than at first .* more payments are alarms: /),
      ]),
    )
    expect(text().match(/another model answers at MODEL_URL than before, and its name is rf\/7/g)).toHaveLength(1)
    await served(good, 10, DAYS)
    expect(mails).toHaveLength(4)
    expect(mails.slice(2)).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/ the first model answers as rf\/7 again/),
        expect.stringMatching(/ what rf\/7 judges is as at first again/),
      ]),
    )

    await using _ = await serve(env, `${bad}/proba`, undefined, port)
    const named = (await judged(model, day(DAYS - 1))).map((row) => ({
      ...row,
      model: 'rf/8',
      event_time: row.event_time + 1,
    }))
    await store.insert(named)
    const { boards } = await openCare({ reviews, rules: { reviewCost: 2 }, now: clock }).quality()
    expect(boards.map((board) => board.model).sort()).toEqual(['rf/7', 'rf/8'])
    const [seven, eight] = ['rf/7', 'rf/8'].map((name) => boards.find((board) => board.model === name)!)
    expect(eight!.rows).toBe(named.length)
    expect(eight!.flagged.interval[0]).toBeGreaterThan(seven!.flagged.interval[1])
  }, 900_000)
})
