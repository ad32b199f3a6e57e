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
  const early = new WeakMap<Prediction, Promise<boolean>>() // by the first of the rows: were they written?
  const work = isolate<Prediction>({
    stage: 'record',
    who: 'the database',
    log,
    async attempt(rows) {
      if (!(await early.get(rows[0]!))) await store.insert(rows)
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
    early.set(rows[0]!, written)
  }
  return consume(stage, reader, () => batchSize, work, ahead, MOST_AHEAD)
}
