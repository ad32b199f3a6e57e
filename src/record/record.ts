import { plural } from '../io/text.ts'
import { isolate } from '../run/bisect.ts'
import { consume, type Stage } from '../run/loop.ts'
import type { Reader } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import type { Store } from './store.ts'

/** rows that are written while those before them are */
const MOST_AHEAD = 4000

/** Writes predictions to the database in batches. The position moves only after the rows are durable there. */
export function recordStage(
  stage: Stage,
  { reader, store, batchSize }: { reader: Reader<Prediction>; store: Store; batchSize: number },
) {
  const { log } = stage
  /** By the first of so many rows that follow each other: were they written? More may have come behind them since. */
  const early = new WeakMap<Prediction, { count: number; written: Promise<boolean> }>()
  const work = isolate<Prediction>({
    stage: 'record',
    who: 'the database',
    log,
    async attempt(rows) {
      const { count, written } = early.get(rows[0]!) ?? { count: 0, written: undefined }
      if (rows.length > count || !(await written)) await store.insert(rows)
      return {}
    },
    accepted: (rows) => log.debug(`recorded ${plural(rows.length, 'prediction')}`),
  })
  /** What waits is written meanwhile, so that several writes wait for the disk once. A row that is there twice stays as it is. */
  function ahead(rows: readonly Prediction[]) {
    const written = store.insert(rows).then(
      () => true,
      () => false,
    )
    early.set(rows[0]!, { count: rows.length, written })
  }
  return consume(stage, reader, () => batchSize, work, ahead, MOST_AHEAD)
}
