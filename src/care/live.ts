import { z } from '../config/zod.cjs'
import { DAY } from '../io/time.ts'
import { namedAs } from '../registry/registry.ts'
import type { Tracking } from '../registry/tracking.ts'
import type { Board, Share } from './board.ts'
import type { Quality } from './care.ts'

/** the run that is written, and the experiment of models that no registry knows */
const [RUN, EXPERIMENT] = ['client-predict live', 'client-predict']

const id = z.string().max(200)
const run = z.object({
  info: z.object({ run_id: id, experiment_id: id }),
  data: z.object({ metrics: z.array(z.object({ step: z.coerce.number() })).optional() }).optional(),
})
const [experiment, made] = [z.object({ experiment: z.object({ experiment_id: id }) }), z.object({ experiment_id: id })]
const [oneRun, runs] = [z.object({ run }), z.object({ runs: z.array(run).optional() })]
const trained = z.object({ model_version: z.object({ run_id: id.optional() }) })
const done = z.object({})

/**
 * Writes the figures of each model to the user's MLflow, once a day (`step`: days since 1970): into a run of its own, below
 * the run that the model came from where the registry knows MODEL_NAME (`name/version`). MLflow itself holds what was written.
 */
export function liveMetrics({ get, post }: Tracking) {
  /** The run that the model was trained in. */
  async function origin(model: string) {
    const { registered: name, version } = namedAs(model)
    if (!version) return undefined
    const run_id = (await get('model-versions/get', { name, version }, trained))?.model_version.run_id
    return run_id ? (await get('runs/get', { run_id }, oneRun))?.run.info : undefined
  }
  async function ownExperiment(): Promise<string> {
    const found = await get('experiments/get-by-name', { experiment_name: EXPERIMENT }, experiment)
    return (found?.experiment ?? (await post('experiments/create', { name: EXPERIMENT }, made))!).experiment_id
  }
  async function runOf(model: string) {
    const from = await origin(model)
    const experiment_id = from?.experiment_id ?? (await ownExperiment())
    const filter = `tags."client_predict.model" = '${model.replaceAll("'", '')}'`
    const found = await post('runs/search', { experiment_ids: [experiment_id], filter, max_results: 1 }, runs)
    if (found?.runs?.[0]) return found.runs[0]
    const tags = [
      { key: 'client_predict.model', value: model.replaceAll("'", '') },
      ...(from ? [{ key: 'mlflow.parentRunId', value: from.run_id }] : []),
    ]
    const given = { experiment_id, run_name: RUN, start_time: Date.now(), tags }
    return (await post('runs/create', given, oneRun))!.run
  }

  /** Of each model the threshold that judged last, unless it is written for that day. */
  return async ({ at, boards }: Quality): Promise<void> => {
    const step = Math.floor(at / DAY)
    const told = new Set<string>()
    for (const board of boards) {
      if (board.model === null || board.rows === 0 || board.last < step - 1 || told.has(board.model)) continue
      told.add(board.model)
      const { info, data } = await runOf(board.model)
      if (data?.metrics?.some((metric) => metric.step === step)) continue
      const metrics = figures(board).map(([key, value]) => ({ key: `live/${key}`, value, timestamp: at, step }))
      await post('runs/log-batch', { run_id: info.run_id, metrics }, done)
      await post('runs/update', { run_id: info.run_id, status: 'FINISHED', end_time: at }, done)
    }
  }
}

function figures({ falseNegativeRate, precision, flagged, money, threshold }: Board): [string, number][] {
  const share = (name: string, found: Share | undefined): [string, number][] =>
    found
      ? [
          [name, found.value],
          [`${name}_low`, found.interval[0]],
          [`${name}_high`, found.interval[1]],
        ]
      : []
  return [
    ...share('false_neg_rate', falseNegativeRate),
    ...share('precision', precision),
    ...share('flagged_share', flagged),
    ['caught', money.caught],
    ['missed', money.missed],
    ['review_cost', money.spent],
    ...(threshold === null ? [] : ([['threshold', threshold]] satisfies [string, number][])),
  ]
}
