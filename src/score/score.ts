import type { Logger } from 'pino'
import type { Feature } from '../columns.ts'
import { HttpFailure } from '../io/errors.ts'
import { plural } from '../io/text.ts'
import { isolate } from '../run/bisect.ts'
import { consume, type Stage } from '../run/loop.ts'
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
  type Asked = { of: readonly Transaction[]; judged: Promise<Judged | undefined> } | undefined
  let early: Asked // about the next batch
  let inHand: { judge: Judge; early: Asked }
  const empty = watchEmpty(log, features)

  const ask = async ({ model, name }: Judge, of: readonly Transaction[], cancelled = stop): Promise<Judged> => {
    return { name, judgements: await model.judge(of, cancelled) }
  }
  /** Anything but an answer says nothing yet: in their turn they are asked about again. */
  function ahead(of: readonly Transaction[], cancelled: AbortSignal) {
    const judged = judge().then((by) => ask(by, of, cancelled))
    early = { of, judged: judged.catch(() => undefined) }
  }
  function askedBefore(transactions: readonly Transaction[]) {
    const { early } = inHand
    inHand.early = undefined
    return early?.of[0] === transactions[0] && early?.of.length === transactions.length ? early?.judged : undefined
  }
  async function attempt(transactions: readonly Transaction[]) {
    try {
      const { name, judgements } = (await askedBefore(transactions)) ?? (await ask(inHand.judge, transactions))
      limit = Math.min(batchSize, limit * 2)
      if (transactions.length >= MANY) await stage.turns?.turn()
      const predicted_at = Date.now()
      return {
        predictions: transactions.map(
          (t, i): Prediction => extended(t, { ...judgements[i]!, model: name, predicted_at }),
        ),
      }
    } catch (error) {
      early = undefined
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
  const begin: typeof work = async (batch, answered) => {
    const before = early // at once: while it is waited for, the next batch is asked about
    early = undefined
    inHand = { judge: await judge(), early: before }
    await work(batch, answered)
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
