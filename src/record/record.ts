import { plural } from '../io/text.ts'
import { isolate } from '../run/bisect.ts'
import { consume } from '../run/consume.ts'
import type { Stage } from '../run/loop.ts'
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
  const work = isolate<Prediction, Promise<boolean>>({
    stage: 'record',
    who: 'the database',
    log,
    async attempt(rows, written) {
      if (!(await written)) await store.insert(rows)
      return {}
    },
    accepted: (rows) => log.debug(`recorded ${plural(rows.length, 'prediction')}`),
  })
  /** What waits is written meanwhile, so that several writes wait for the disk once. A row that is there twice stays as it is. */
  const ahead = (rows: readonly Prediction[]) =>
    store.insert(rows).then(
      () => true,
      () => false,
    )
  return consume(stage, reader, () => batchSize, work, ahead, MOST_AHEAD)
}
