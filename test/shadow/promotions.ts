import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished } from 'vitest'
import { audit } from '../../src/commands/audit.ts'
import { modelStatus } from '../../src/commands/model.ts'
import { readConfig } from '../../src/config/read.ts'
import { logger } from '../../src/io/log.ts'
import { openChampion } from '../../src/shadow/champion.ts'
import { openStore, openTopics } from '../../src/wiring.ts'
import { openReviews } from '../../src/wiring-desk.ts'
import { someRows } from '../outside.ts'
import { held, waitFor } from '../rows.ts'
import { modelServer, type Row } from '../score/server.ts'
import { challenged } from './world.ts'

const NAMES = { model: 'rf/7', challenger: 'rf/8' }

/** Says by which model: the one at MODEL_URL has a score of .25 for everything, the challenger .75. */
const always = (score: number) => (rows: Row[]) => ({ predictions: rows.map(() => [1 - score, score]) })

/** 20 promotions under load, there, with so many scorers, of which one does the rest too if that is said: each row is stamped once, by whom it was judged; the audit holds. */
export async function promoteUnderLoad(where: Record<string, string>, scorers: number, others = {}) {
  const model = await modelServer(async (rows) => sleep(20, always(0.25)(rows)))
  onTestFinished(() => model[Symbol.asyncDispose]())
  const world = await challenged({
    ...where,
    MODEL_URL: model.url.href,
    FRAUD_THRESHOLD: '0.9',
    SCORE_BATCH_SIZE: '7',
  })
  world.state.say = async (rows) => sleep(20, always(0.75)(rows))
  for (let n = 0; n < scorers; n++) await world.start(n === 0 ? {} : others)
  const config = readConfig(world.settings)
  const topics = await openTopics(config, logger('silent'), { worker: false })
  onTestFinished(() => topics.close())
  const champion = openChampion(topics, NAMES)
  let total = 0
  const send = (count: number) => {
    world.send(someRows(total + count).slice(total))
    total += count
  }
  const judgedBy = async (name: string) => (await held(topics, 'predictions')).filter((p) => p.model === name).length
  for (let n = 0; n < 20; n++) {
    send(20)
    const before = await judgedBy(n % 2 === 0 ? 'rf/8' : 'rf/7')
    const { champion: now } = n % 2 === 0 ? await champion.promote('rf/8', 'anna') : await champion.rollback('anna')
    if (n % 5 > 1)
      await sleep(100) // which the next one may overtake
    else
      await waitFor(`a row by ${now}`, async () => {
        send(7)
        return (await judgedBy(now)) > before
      })
  }
  const scored = await waitFor('every row', async () => {
    const found = await held(topics, 'predictions')
    return found.length >= total ? found : undefined
  })
  expect(scored).toHaveLength(total)
  expect(new Set(scored.map(({ trans_num }) => trans_num)).size).toBe(total)
  const said = Map.groupBy(scored, ({ model, score }) => `${model} ${score}`)
  expect([...said.keys()].sort()).toEqual(['rf/7 0.25', 'rf/8 0.75'])
  const store = await openStore(config, logger('silent'))
  onTestFinished(() => store.close())
  await waitFor('every row in the database', async () => (await store.missing(scored)).length === 0)
  expect(await audit({ topics, store, retentionDays: 7 })).toMatchObject({ holds: true })
  const judgements = await openReviews(config)
  onTestFinished(() => judgements.close())
  const status = () =>
    modelStatus({ champion, judgements, rules: { truth: 'producer', reviewCost: 2 }, stamped: (name) => name })
  await waitFor('the challenger', async () => /rows that both have judged/.test((await status())[2]!))
  expect((await status()).slice(0, 2)).toEqual([
    'rf/7 judges; rf/8 is the challenger',
    expect.stringMatching(/^rf\/7 was made the champion by anna at .* UTC, in the place of rf\/8$/),
  ])
}
