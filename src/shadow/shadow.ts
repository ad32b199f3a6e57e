import { setTimeout as sleep } from 'node:timers/promises'
import { DAY } from '../io/time.ts'
import type { Judged, Judgements } from '../review/reviews.ts'
import { sayFailure } from '../run/failure.ts'
import { leading, retryUntilReady, runLoop, type Stage, supervise } from '../run/loop.ts'
import { type Judge, scoreStage } from '../score/score.ts'
import type { Reader, Topics } from '../topic/topic.ts'
import type { Prediction, Transaction } from '../transaction.ts'

/** rows in one request, so that the champion's loop is held for a moment alone */
const BATCH = 200
/** ms between two requests, whatever came of the first one; and between two batches of what has just come */
const [REST, LULL] = [50, 250]
/** judgements that are looked at again, as their row may have come to the database later */
const LOOKED_AT = 7 * DAY

export type ShadowOptions = {
  reader: Reader<Transaction>
  topics: Topics
  /** The model that is no champion now. */
  judge(): Promise<Judge>
  threshold: number
  judgements: Judgements
  batchSize: number
  /** ms between two looks for what only one of the models flags */
  look?: number
}

/**
 * Has the challenger judge the same rows, from now on the first time, into the table `judgements`; what only it flags is
 * put before a person. It has a reader, requests and a pace of its own: nobody waits for it. A row that it refuses has no
 * judgement.
 */
export function shadowStage(
  stage: Stage,
  { reader, topics, judge, threshold, judgements, batchSize, look = 10_000 }: ShadowOptions,
): Promise<void> {
  const most = Math.min(batchSize, BATCH)
  const keeping = (stop: AbortSignal): Reader<Transaction> => ({
    ...reader,
    async read(limit, signal) {
      const batch = await reader.read(limit, signal)
      return {
        records: batch.records,
        async commit(count, { predictions = [] } = {}) {
          if (predictions.length > 0) await judgements.keep(predictions.map((p) => judgedOf(p, threshold)))
          await batch.commit(count)
          if (count < most) await sleep(LULL, undefined, { signal: stop }).catch(() => {})
        },
      }
    },
  })
  const refused = (why: string) => void sayFailure(stage.log, `a row has no judgement: ${why}`, 'the others have')
  return leading(stage, topics, 'shadow', async (lease) => {
    const term = { ...stage, stop: lease.stop }
    const begun = await retryUntilReady(term, async () => {
      reader.rewind()
      if ((await topics.state('shadow/start', { exact: true })).size === 0)
        await reader.seekToEnd({ 'shadow/start': Date.now() })
      return true
    })
    if (!begun) return
    await supervise(term.stop, [
      (stop) =>
        scoreStage({ ...term, stop }, { reader: keeping(stop), judge: rested(judge, stop), batchSize: most, refused }),
      (stop) =>
        runLoop({ log: stage.log, stop }, async () => {
          const found = await judgements.undrawn(Date.now() - LOOKED_AT)
          if (found.length > 0) await judgements.draw(found)
          await sleep(look, undefined, { signal: stop })
        }),
    ])
  })
}

/** One request at a time, with a rest behind each: one that refuses row after row takes no more of the champion's loop. */
function rested(judge: () => Promise<Judge>, stop: AbortSignal): () => Promise<Judge> {
  let before = Promise.resolve()
  return async () => {
    const { model, name } = await judge()
    return {
      name,
      model: {
        judge(transactions, signal) {
          const answer = before.then(() => model.judge(transactions, signal))
          before = answer.then(rest, rest)
          return answer
        },
      },
    }
  }
  function rest() {
    return sleep(REST, undefined, { signal: stop }).catch(() => {})
  }
}

const judgedOf = (p: Prediction, threshold: number): Judged => ({
  ...{ trans_num: p.trans_num, event_time: p.event_time, model: p.model ?? '', threshold },
  ...{ prediction: p.prediction, score: p.score, predicted_at: p.predicted_at },
})
