import { isolate } from '../isolate.ts'
import { consume, plural, type Stage } from '../stage.ts'
import type { Reader, Writes } from '../topic/topic.ts'
import type { Prediction, Transaction } from '../transaction.ts'
import { type Model, TooSlow } from './mlflow.ts'

export type ScoreOptions = { reader: Reader<Transaction>; model: Model; name: string | null; batchSize: number }

/**
 * Sends what waits to the model, at once and up to `batchSize` rows, and hands its predictions over together with the
 * position. A model that does not finish in time gets half as many rows, down to one, until it does.
 */
export function scoreStage(stage: Stage, { reader, model, name, batchSize }: ScoreOptions): Promise<void> {
  const { log, stop } = stage
  let limit = batchSize

  async function attempt(transactions: readonly Transaction[]) {
    try {
      const judgements = await model.judge(transactions, stop)
      limit = Math.min(batchSize, limit * 2)
      const predicted_at = Date.now()
      return {
        predictions: transactions.map((t, i): Prediction => ({ ...t, ...judgements[i]!, model: name, predicted_at })),
      }
    } catch (error) {
      if (error instanceof TooSlow) limit = Math.max(1, Math.floor(transactions.length / 2))
      throw error
    }
  }
  function accepted(transactions: readonly Transaction[], { predictions = [] }: Writes) {
    const frauds = predictions.filter((p) => p.prediction === 1).length
    log.info(`scored ${plural(transactions.length, 'transaction')}, ${frauds} fraud`)
  }
  return consume(stage, reader, () => limit, isolate({ stage: 'score', who: 'the model', log, attempt, accepted }))
}
