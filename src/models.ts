import type { Logger } from 'pino'
import type { Pair } from './care/compare.ts'
import type { Config } from './config/settings.ts'
import { type Model, mlflow } from './score/mlflow.ts'
import type { Judge } from './score/score.ts'
import { type Names, openChampion, type Role } from './shadow/champion.ts'
import type { Topics } from './topic/topic.ts'
import { stamp } from './transaction.ts'

const options = (config: Config) => ({
  headers: config.MODEL_HEADERS,
  features: config.MODEL_FEATURES,
  unixTimeUnit: config.UNIX_TIME_UNIT,
  threshold: config.FRAUD_THRESHOLD,
  fraudValue: config.MODEL_FRAUD_VALUE,
})

/** Of who is asked for comparison alone: less patience, and no answer that would hold the loop. */
const BESIDE = { deadlines: { first: 120_000, later: 20_000 }, maxAnswer: 2 ** 20 }
type Make = (beside?: typeof BESIDE) => Model

/** The model at MODEL_URL, or what stands in for it. */
export const openModel = async (...given: Parameters<typeof openMaker>): Promise<Model> => (await openMaker(...given))()
async function openMaker(config: Config, log: Logger, opened: AsyncDisposableStack): Promise<Make> {
  if (config.MODEL_URL && !config.MODEL_NAME)
    log.warn('MODEL_NAME is not set: no row says which model has judged it, so two models cannot be told apart later')
  const { MODEL_URL } = config
  if (MODEL_URL) return (beside) => mlflow({ url: MODEL_URL, ...options(config), ...beside })
  const { simulatedModel } = await import('./simulate/model.ts')
  const { url, auc, tested } = opened.use(await simulatedModel())
  log.warn(
    `MODEL_URL is not set: a simulated model judges, a fixed formula; ROC AUC ${auc.toFixed(4)} on ${tested} simulated rows`,
  )
  return (beside) => mlflow({ url: new URL(url), ...options(config), fraudValue: undefined, ...beside })
}

const payments = ({ PRODUCER_URL, STAGES }: Config) => !PRODUCER_URL && STAGES.includes('fetch')
/** How rows name the model at MODEL_URL: those that a stand-in had a hand in are marked. */
export const modelName = (config: Config) =>
  stamp(config.MODEL_NAME, { model: !config.MODEL_URL, payments: payments(config) })
/** How rows say one of the names of `namesOf`. */
export const stampOf = (config: Config, name: string) =>
  (name === config.CHALLENGER_NAME ? stamp(name, { model: false, payments: payments(config) }) : modelName(config)) ??
  ''

/** The names of the two models, as people call them; undefined where there is one alone. */
export const namesOf = ({ MODEL_NAME, CHALLENGER_NAME }: Config): Names | undefined =>
  CHALLENGER_NAME === undefined ? undefined : { model: MODEL_NAME ?? 'simulated', challenger: CHALLENGER_NAME }

/** The champion and the challenger, at any time; undefined where there is one model alone. */
export function pairOf(config: Config, topics: Pick<Topics, 'latest' | 'note'>): (() => Promise<Pair>) | undefined {
  const names = namesOf(config)
  if (!names) return undefined
  const { both } = openChampion(topics, names)
  return async () => {
    const { champion, challenger } = await both()
    const stamped = { champion: stampOf(config, champion), challenger: stampOf(config, challenger) }
    return { names: { champion, challenger }, stamped }
  }
}

export type Judges = {
  /** Who judges the rows, at any time. */
  champion(): Promise<Judge>
  /** Who judges them too, for comparison alone. */
  challenger(): Promise<Judge>
}

/** The models of the settings. */
export async function openJudges(
  config: Config,
  log: Logger,
  opened: AsyncDisposableStack,
  topics: Pick<Topics, 'latest' | 'note'>,
): Promise<Judges> {
  const { CHALLENGER_URL: url } = config
  const make = await openMaker(config, log, opened)
  const name = modelName(config)
  const names = namesOf(config)
  if (!url || !names) {
    const model = { model: make(), name }
    return { champion: async () => model, challenger: async () => model }
  }
  const features = config.CHALLENGER_FEATURES ?? config.MODEL_FEATURES
  const own = { url, ...options(config), features, headers: config.CHALLENGER_HEADERS }
  const both = (beside?: typeof BESIDE): Record<Role, Judge> => ({
    model: { model: make(beside), name },
    challenger: {
      model: mlflow({ ...own, ...beside }),
      name: stampOf(config, names.challenger),
    },
  })
  const stranger = (name: string) =>
    log.warn(`the champion is ${name}, which is neither MODEL_NAME nor CHALLENGER_NAME here: ${names.model} judges`)
  const { role } = openChampion(topics, names, { stranger })
  const [champions, challengers] = [both(), both(BESIDE)]
  return {
    champion: async () => champions[await role()],
    challenger: async () => challengers[(await role()) === 'model' ? 'challenger' : 'model'],
  }
}
