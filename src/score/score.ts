import type { Logger } from 'pino'
import type { Feature } from '../columns.ts'
import { HttpFailure } from '../io/errors.ts'
import { plural } from '../io/text.ts'
import { isolate } from '../run/bisect.ts'
import { consume } from '../run/consume.ts'
import type { Stage } from '../run/loop.ts'
import { MANY } from '../run/turns.ts'
import { extended } from '../topic/text.ts'
import type { Reader, Writes } from '../topic/topic.ts'
import type { Prediction, Transaction } from '../transaction.ts'
import type { Judgement } from './answer.ts'
import type { Model } from './mlflow.ts'

/** A model, and the name by which rows say that it has judged them. */
export type Judge = { model: Model; name: string | null }
export type ScoreOptions = {
  reader: Reader<Transaction>
  /** Who judges: asked before each batch, which then keeps it. */
  judge(): Promise<Judge>
  batchSize: number
  features?: readonly Feature[]
  /** Told of each row that the model refuses for good. */
  refused?: ((reason: string) => void) | undefined
}

/**
 * Sends what waits to the model, at once and up to `batchSize` rows, and hands its predictions over together with the
 * position. While they are handed over the model has the next ones already: two requests in flight, whose answers are used in
 * order. A model that does not finish in time gets half as many rows, down to one, until it does.
 */
export function scoreStage(
  stage: Stage,
  { reader, judge, batchSize, features = [], refused }: ScoreOptions,
): Promise<void> {
  const { log, stop } = stage
  let limit = batchSize
  type Judged = { name: string | null; judgements: Judgement[] }
  let by: Judge // of the batch in hand
  const empty = watchEmpty(log, features)

  const ask = async ({ model, name }: Judge, of: readonly Transaction[], cancelled = stop): Promise<Judged> => {
    return { name, judgements: await model.judge(of, cancelled) }
  }
  /** Anything but an answer says nothing yet: in their turn they are asked about again. */
  const ahead = (of: readonly Transaction[], cancelled: AbortSignal) =>
    judge()
      .then((by) => ask(by, of, cancelled))
      .catch(() => undefined)
  async function attempt(transactions: readonly Transaction[], early: Promise<Judged | undefined> | undefined) {
    try {
      const { name, judgements } = (await early) ?? (await ask(by, transactions))
      limit = Math.min(batchSize, limit * 2)
      if (transactions.length >= MANY) await stage.turns?.turn()
      const predicted_at = Date.now()
      return {
        predictions: transactions.map(
          (t, i): Prediction => extended(t, { ...judgements[i]!, model: name, predicted_at }),
        ),
      }
    } catch (error) {
      if (error instanceof HttpFailure && error.kind === 'timeout')
        limit = Math.max(1, Math.floor(transactions.length / 2))
      throw error
    }
  }
  function accepted(transactions: readonly Transaction[], { predictions = [] }: Writes) {
    empty(transactions)
    const frauds = predictions.filter((p) => p.prediction === 1).length
    log[frauds > 0 ? 'info' : 'debug'](`scored ${plural(transactions.length, 'transaction')}, ${frauds} fraud`)
  }
  const work = isolate({ stage: 'score', who: 'the model', log, attempt, accepted, ...(refused && { said: refused }) })
  const begin: typeof work = async (...args) => {
    by = await judge()
    await work(...args)
  }
  return consume(stage, reader, () => limit, begin, ahead)
}

/** rows without any value in a column: then it is none of theirs */
const ENOUGH = 3

/** Warns once of columns that are sent to the model and have been empty in every row so far: many models judge all the same. */
function watchEmpty(log: Logger, features: readonly Feature[]) {
  let empty = [...features]
  let rows = 0
  return (transactions: readonly Transaction[]) => {
    if (rows >= ENOUGH) return
    rows += transactions.length
    empty = empty.filter((column) => transactions.every((t) => t[column] === null))
    if (rows >= ENOUGH && empty.length > 0)
      log.warn(
        `${empty.join(', ')} ${empty.length === 1 ? 'was' : 'were'} empty in all of the first ${plural(rows, 'row')}: the model was sent null for it; does the producer name the column otherwise?`,
      )
  }
}
