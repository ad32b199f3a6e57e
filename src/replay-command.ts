import { openBeside, reviewsOf } from './beside.ts'
import { openOutput } from './commands/output.ts'
import { readRange } from './commands/range.ts'
import { replay, type Source } from './commands/replay.ts'
import { ConfigError } from './config/read.ts'
import { championOf, columnsOf, openJudges } from './models.ts'
import type { Stopping } from './start.cjs'
import { careRules, openReviews } from './wiring-desk.ts'

type Given = { stage: 'record' | 'score'; source: Source | undefined } & Record<
  'from' | 'to' | 'into',
  string | undefined
>

/** `npm run replay`: opens what it takes, beside the worker, and says what came of it. */
export async function replayCommand({ stage, source, from, to, into }: Given, stopping: Stopping): Promise<number> {
  readRange(from, to) // before anything is opened, or made
  await using beside = await openBeside()
  const { config, log, topics, open } = beside
  stopping.tell((text) => log.info(text))
  const range = { topics, from, to, log, stop: stopping.signal }
  let result: Awaited<ReturnType<typeof replay>>
  if (stage === 'record')
    result = await replay({ ...range, stage, store: await beside.store(), batchSize: config.RECORD_BATCH_SIZE })
  else {
    if (!config.MODEL_URL) throw new ConfigError(['MODEL_URL: is not set, wants the model to judge with'])
    const own = { topics: config.TOPICS_URL, database: config.DATABASE_URL }
    const sink = open.adopt(await openOutput(into, own, log), (o) => o.close())
    const opening = source === 'database' ? reviewsOf(config) : openReviews(config)
    const reviews = open.adopt(await opening, (r) => r.close())
    const champion = championOf(config, log, topics)
    const judges = await openJudges({ config, log, opened: open, champion, columns: columnsOf(config, log, topics) })
    const judging = {
      model: (await judges.own()).model,
      name: (await champion?.roles())?.model ?? config.MODEL_NAME ?? null,
      rules: careRules(config),
    }
    const batchSize = config.SCORE_BATCH_SIZE
    result = await replay({ ...range, stage, ...judging, reviews, sink, batchSize, ...(source && { source }) })
  }
  console.log(result.lines.join('\n'))
  return result.left > 0 ? 1 : 0
}
