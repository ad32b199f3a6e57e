import type { Condition } from '../alert/trouble.ts'
import { openLetters } from '../commands/dead-letters.ts'
import type { StageName } from '../config/settings.ts'
import { plural } from '../io/text.ts'
import { MINUTE } from '../io/time.ts'
import type { StageStatus } from '../run/loop.ts'
import type { ReaderName, Snapshot, Topics } from '../topic/topic.ts'

/** ms after the last dead letter during which that still counts as trouble */
const RECENT = 30 * MINUTE

export type ConditionOptions = {
  topics: Topics
  /** of the stages that this process runs */
  health: Partial<Record<StageName, StageStatus>>
  /** what may lag behind */
  readers: readonly ReaderName[]
  lagMinutes: number
  /** what else is known to be wrong, or fine */
  others?: () => Condition[]
  now?: () => number
}

/** What is to be watched, as it is each time it is asked. A stage of another process is seen by what waits for it. */
export function conditions({
  topics,
  health,
  readers,
  lagMinutes,
  others = () => [],
  now = Date.now,
}: ConditionOptions) {
  let scanned = { until: 0, newest: 0, count: 0 }

  const failing = (name: string, stage: StageName, cure: string): Condition[] => {
    const state = health[stage]
    return state ? [{ name, wrong: state.failing?.reason, since: state.failing?.since, cure }] : []
  }
  function backlog(stage: ReaderName, { records, oldest }: Snapshot['lag'][ReaderName]): Condition {
    const late = oldest !== undefined && now() - oldest > lagMinutes * MINUTE
    return {
      name: `the backlog of ${stage}`,
      wrong: late
        ? `${plural(records, 'record')} wait for ${stage}, the oldest for ${Math.round((now() - oldest) / MINUTE)} min (ALERT_LAG_MINUTES is ${lagMinutes}).`
        : undefined,
      since: oldest,
      cure: `Look at the log of the process that runs the stage ${stage}: is it up, does it keep pace?`,
    }
  }
  /** They are kept for ever: many take their time, and are looked at less often. */
  async function deadLetters(): Promise<Condition> {
    const began = performance.now()
    if (began >= scanned.until) {
      const open = [...(await openLetters(topics)).values()]
      const times = open.map(({ at }) => at).filter((at) => now() - at < RECENT)
      const took = performance.now() - began
      scanned = { until: began + took * 100, newest: Math.max(0, ...times), count: times.length }
    }
    const recent = now() - scanned.newest < RECENT
    return {
      name: 'dead letters',
      wrong: recent ? `${plural(scanned.count, 'row')} were set aside in the last 30 minutes.` : undefined,
      cure: 'npm run dead-letters lists them with the reason; npm run dead-letters -- retry puts them back.',
    }
  }
  const backlogs = async () => {
    const { lag } = await topics.snapshot()
    return readers.map((name) => backlog(name, lag[name]))
  }
  return async (): Promise<Condition[]> => [
    ...failing(
      'the producer',
      'fetch',
      'Look at PRODUCER_URL, or at the disk if that is full. Nothing new comes in meanwhile.',
    ),
    ...failing('the model', 'score', 'Look at MODEL_URL. Transactions are fetched and wait.'),
    ...failing('the database', 'record', 'Look at DATABASE_URL. Alarms go out, and the rows wait.'),
    ...(await backlogs()),
    await deadLetters(),
    ...others(),
  ]
}
