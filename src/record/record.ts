import { plural } from '../io/text.ts'
import { isolate } from '../run/bisect.ts'
import { consume, type Stage } from '../run/loop.ts'
import type { Reader } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import type { Store } from './store.ts'

/** Writes predictions to the database in batches. The position moves only after the rows are durable there. */
export function recordStage(
  stage: Stage,
  { reader, store, batchSize }: { reader: Reader<Prediction>; store: Store; batchSize: number },
) {
  const { log } = stage
  const work = isolate<Prediction>({
    stage: 'record',
    who: 'the database',
    log,
    async attempt(rows) {
      await store.insert(rows)
      return {}
    },
    accepted: (rows) => log.debug(`recorded ${plural(rows.length, 'prediction')}`),
  })
  return consume(stage, reader, () => batchSize, work)
}
