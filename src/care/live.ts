import { HttpFailure } from '../io/errors.ts'
import { glimpse, request } from '../io/http.ts'
import { DAY } from '../io/time.ts'
import { below } from '../score/mlflow.ts'
import type { Board, Share } from './board.ts'
import type { Quality } from './care.ts'

/** ms that MLflow has for an answer; bytes that one has */
const [WITHIN, MOST] = [10_000, 4 * 2 ** 20]
/** the run that is written, and the experiment of models that no registry knows */
const [RUN, EXPERIMENT] = ['client-predict live', 'client-predict']

type Metric = { key: string; value: number; timestamp: number; step: number }
type Answer = {
  experiment_id?: string
  experiment?: { experiment_id: string }
  model_version?: { run_id?: string }
  run?: { info: { run_id: string; experiment_id: string }; data?: { metrics?: Metric[] } }
  runs?: { info: { run_id: string }; data?: { metrics?: Metric[] } }[]
}

/**
 * Writes the figures of each model to the user's MLflow, once a day (`step`: days since 1970): into a run of its own, below
 * the run that the model came from where the registry knows MODEL_NAME (`name/version`). MLflow itself holds what was written.
 */
export function liveMetrics(tracking: URL) {
  const base = new URL(tracking)
  const login = base.username && `${decodeURIComponent(base.username)}:${decodeURIComponent(base.password)}`
  Object.assign(base, { username: '', password: '' })
  const headers = login ? { authorization: `Basic ${Buffer.from(login).toString('base64')}` } : {}

  async function ask(path: string, given: Record<string, unknown>, get = false): Promise<Answer | undefined> {
    const url = below(base, `api/2.0/mlflow/${path}`)
    if (get) for (const [name, value] of Object.entries(given)) url.searchParams.set(name, String(value))
    const body = get ? {} : { body: JSON.stringify(given) }
    const signal = new AbortController().signal
    const answer = await request({ url, headers, ...body, deadline: WITHIN, maxAnswer: MOST, signal })
    if (answer.status === 404 || (get && answer.status === 400)) return undefined // there is none
    if (answer.status !== 200)
      throw new HttpFailure(`MLflow answered ${answer.status} to ${path} (${glimpse(answer)})`, {
        kind: 'status',
        status: answer.status,
      })
    return JSON.parse(answer.text)
  }

  /** The run that the model was trained in. */
  async function origin(model: string) {
    const [, name, version] = /^(.+)\/(\d+)$/.exec(model) ?? []
    if (!name || !version) return undefined
    const run_id = (await ask('model-versions/get', { name, version }, true))?.model_version?.run_id
    return run_id ? (await ask('runs/get', { run_id }, true))?.run?.info : undefined
  }
  async function ownExperiment(): Promise<string> {
    const found = await ask('experiments/get-by-name', { experiment_name: EXPERIMENT }, true)
    return found?.experiment?.experiment_id ?? (await ask('experiments/create', { name: EXPERIMENT }))!.experiment_id!
  }
  async function runOf(model: string) {
    const from = await origin(model)
    const experiment_id = from?.experiment_id ?? (await ownExperiment())
    const filter = `tags."client_predict.model" = '${model.replaceAll("'", '')}'`
    const found = await ask('runs/search', { experiment_ids: [experiment_id], filter, max_results: 1 })
    if (found?.runs?.[0]) return found.runs[0]
    const tags = [
      { key: 'client_predict.model', value: model.replaceAll("'", '') },
      ...(from ? [{ key: 'mlflow.parentRunId', value: from.run_id }] : []),
    ]
    const made = await ask('runs/create', { experiment_id, run_name: RUN, start_time: Date.now(), tags })
    return made!.run!
  }

  /** Of each model the threshold that judged last, unless it is written for that day. */
  return async ({ at, boards }: Quality): Promise<void> => {
    const step = Math.floor(at / DAY)
    const done = new Set<string>()
    for (const board of boards) {
      if (board.model === null || board.rows === 0 || board.last < step - 1 || done.has(board.model)) continue
      done.add(board.model)
      const { info, data } = await runOf(board.model)
      if (data?.metrics?.some((metric) => metric.step === step)) continue
      const metrics = figures(board).map(([key, value]) => ({ key: `live/${key}`, value, timestamp: at, step }))
      await ask('runs/log-batch', { run_id: info.run_id, metrics })
      await ask('runs/update', { run_id: info.run_id, status: 'FINISHED', end_time: at })
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
