import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { StageName } from './config/settings.ts'
import { anyOf } from './io/abort.ts'
import { seconds } from './io/text.ts'
import { type StageStatus, supervise } from './run/loop.ts'
import type { ReaderName, Topics } from './topic/topic.ts'

/** ms without any progress after which topics are no longer waited for: as long as it fetched, but */
const LEAST_PATIENCE = 10_000

export type OnceOptions = {
  log: Logger
  run(stages: readonly StageName[], stop: AbortSignal): Promise<void>
  stages: readonly StageName[]
  topics: Pick<Topics, 'snapshot'>
  readers: readonly ReaderName[]
  /** of fetching */
  seconds: number
  health: { [reader: string]: StageStatus }
}

/** Fetches for some seconds, then lets the other stages drain every topic. Resolves with what is left, a line a reader. */
export async function drain(
  { log, run, stages, topics, readers, seconds: fetching, health }: OnceOptions,
  stop: AbortSignal,
  patience = Math.max(fetching * 1000, LEAST_PATIENCE),
): Promise<string[]> {
  /** Records, and frauds that were read and not sent. */
  const left = async () => {
    const { lag } = await topics.snapshot()
    return readers
      .map((name) => [name, lag[name].records + (health[name]?.frauds ?? 0)] as const)
      .filter(([, left]) => left > 0)
  }
  /** Resolves when nothing is left, or when nothing has moved for `patience` ms. */
  async function drained(stop: AbortSignal) {
    let seen = ''
    for (let moved = Date.now(); !stop.aborted && Date.now() - moved < patience; await sleep(100)) {
      const lags = await left()
      if (lags.length === 0) return
      const collecting = (health.alert?.held?.until ?? 0) > Date.now() && health.alert?.held?.why === 'storm'
      if (String(lags) !== seen || collecting) moved = Date.now()
      seen = String(lags)
    }
  }
  const end = new AbortController()
  const window = anyOf(stop, AbortSignal.timeout(fetching * 1000))
  log.info(`fetching for ${fetching} s, then draining the topics`)
  await supervise(stop, [
    (failed) =>
      run(
        stages.filter((name) => name !== 'fetch'),
        anyOf(failed, stop, end.signal),
      ),
    async (failed) => {
      if (stages.includes('fetch')) await run(['fetch'], anyOf(failed, window))
      await drained(anyOf(failed, stop))
      end.abort(new Error('drained'))
    },
  ])
  return (await left()).map(([reader, lag]) => `${lag} left to ${reader}, nothing moved for ${seconds(patience)} s`)
}
