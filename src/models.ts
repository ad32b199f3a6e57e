import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { Pair } from './care/compare.ts'
import type { Feature } from './columns.ts'
import type { Config } from './config/settings.ts'
import { signedColumns } from './registry/columns.ts'
import { namedAs, openRegistry } from './registry/registry.ts'
import { openTracking } from './registry/tracking.ts'
import { watchRegistry } from './registry/watch.ts'
import { type Model, mlflow } from './score/mlflow.ts'
import type { Judge } from './score/score.ts'
import { type Champion, type Names, openChampion, type Role } from './shadow/champion.ts'
import type { Topics } from './topic/topic.ts'
import { stamp } from './transaction.ts'

const options = (config: Config) => ({
  headers: config.MODEL_HEADERS,
  unixTimeUnit: config.UNIX_TIME_UNIT,
  threshold: config.FRAUD_THRESHOLD,
  fraudValue: config.MODEL_FRAUD_VALUE,
})

/** Of who is asked for comparison alone: less patience, and no answer that would hold the loop. */
const BESIDE = { deadlines: { first: 120_000, later: 20_000 }, maxAnswer: 2 ** 20 }
type Columns = readonly Feature[]
type Make = (columns: Columns, beside?: typeof BESIDE) => Model

/** The model at MODEL_URL, or what stands in for it. */
async function openMaker(config: Config, log: Logger, opened: AsyncDisposableStack): Promise<Make> {
  if (config.MODEL_URL && !config.MODEL_NAME)
    log.warn('MODEL_NAME is not set: no row says which model has judged it, so two models cannot be told apart later')
  const { MODEL_URL } = config
  if (MODEL_URL) return (features, beside) => mlflow({ url: MODEL_URL, features, ...options(config), ...beside })
  const { simulatedModel } = await import('./simulate/model.ts')
  const { url, auc, tested } = opened.use(await simulatedModel())
  log.warn(
    `MODEL_URL is not set: a simulated model judges, a fixed formula; ROC AUC ${auc.toFixed(4)} on ${tested} simulated rows`,
  )
  const own = { url: new URL(url), ...options(config), fraudValue: undefined }
  return (features, beside) => mlflow({ ...own, features, ...beside })
}

/** A model that is sent the columns of its signature: it is another one when they are others. */
function signed(columns: () => Promise<Columns>, make: (columns: Columns) => Model): Model {
  let made: { columns: Columns; model: Model } | undefined
  return {
    async judge(transactions, signal) {
      const wanted = await columns()
      if (made?.columns !== wanted) made = { columns: wanted, model: make(wanted) }
      return made.model.judge(transactions, signal)
    },
  }
}

const payments = ({ PRODUCER_URL, STAGES }: Config) => !PRODUCER_URL && STAGES.includes('fetch')
/** How rows say one of the names of `namesOf`, or what one stands for: those that a stand-in had a hand in are marked. */
export const stampOf = (config: Config, name: string | undefined) =>
  stamp(name, {
    model: !config.MODEL_URL && (name === undefined || name !== config.CHALLENGER_NAME),
    payments: payments(config),
  })
/** How rows name the model at MODEL_URL. */
export const modelName = (config: Config) => stampOf(config, config.MODEL_NAME)

/** The names of the models, as people call them; undefined where there is nothing to be promoted. */
export const namesOf = ({ MODEL_NAME, CHALLENGER_NAME: challenger, MLFLOW_TRACKING_URI }: Config): Names | undefined =>
  challenger !== undefined || (MODEL_NAME && MLFLOW_TRACKING_URI && namedAs(MODEL_NAME).alias)
    ? { model: MODEL_NAME ?? 'simulated', challenger }
    : undefined

export type Judges = {
  /** Who judges the rows, at any time. */
  champion(): Promise<Judge>
  /** Who judges them too, for comparison alone. */
  challenger(): Promise<Judge>
  /** Who is at MODEL_URL, whichever is the champion. */
  own(): Promise<Judge>
}
export type JudgesOptions = {
  config: Config
  log: Logger
  opened: AsyncDisposableStack
  /** Which one is the champion, where there is a choice. */
  champion?: Champion | undefined
  /** What the signature of a version wants to be sent. */
  columns?: ((name: string) => Promise<Columns>) | undefined
}

/** Which of the models of the settings is the champion, where there is a choice. */
export function championOf(config: Config, log: Logger, topics: Pick<Topics, 'append' | 'state'>) {
  const names = namesOf(config)
  if (!names) return undefined
  const stranger = (name: string) =>
    log.warn(`the champion is ${name}, which is neither MODEL_NAME nor CHALLENGER_NAME here: ${names.model} judges`)
  return openChampion(topics, names, { stranger })
}

/** The champion and the challenger, at any time; undefined where there is one model alone. */
export function pairOf(config: Config, at: Champion | undefined): (() => Promise<Pair>) | undefined {
  if (!at?.names.challenger) return undefined
  const stamped = (name: string) => stampOf(config, name) ?? ''
  return async () => {
    const { champion, challenger = '' } = await at.both()
    const [one, other] = [stamped(champion), stamped(challenger)]
    return { names: { champion, challenger }, stamped: { champion: one, challenger: other } }
  }
}

const registryOf = ({ MLFLOW_TRACKING_URI: uri }: Config) => uri && openRegistry(openTracking(uri))
/** What MODEL_FEATURES=auto asks for. */
export function columnsOf(config: Config, log: Logger, topics: Topics) {
  const registry = registryOf(config)
  return registry && signedColumns({ registry, topics, log })
}

/** ms that the first rows wait for what an alias as MODEL_NAME stands for, when that was never known */
const UNBOUND = 15_000
/** Looks after what the registry says of the models, where there is one. */
export function watchModels(config: Config, log: Logger, topics: Topics, champion?: Champion) {
  const { MODEL_NAME: model, CHALLENGER_NAME: challenger, PROMOTE_BY_ALIAS: promote } = config
  const registry = registryOf(config)
  if (!registry || !config.MODEL_URL || !model) return undefined
  const watch = watchRegistry({ registry, names: { model, challenger }, champion, promote, topics, log })
  const first = watch.look()
  return {
    ...watch,
    /** Resolves once it is known, if it is to be. */
    async bound() {
      if (!champion || !namedAs(model).alias || (await champion.roles()).model !== model) return
      await Promise.race([first, sleep(UNBOUND, undefined, { ref: false })])
    },
  }
}

/** The models of the settings. */
export async function openJudges({ config, log, opened, champion, columns }: JudgesOptions): Promise<Judges> {
  const { CHALLENGER_URL: url, CHALLENGER_NAME, MODEL_NAME } = config
  const make = await openMaker(config, log, opened)
  const roles = async () =>
    (await champion?.roles()) ?? { role: 'model' as const, model: MODEL_NAME, challenger: undefined }
  const name = async (of: Role) => (await roles())[of]
  const by = (features: Config['MODEL_FEATURES'], of: Role, model: (columns: Columns) => Model) =>
    features === 'auto' ? signed(async () => columns!((await name(of)) ?? ''), model) : model(features)
  const both = (beside?: typeof BESIDE): Record<Role, Model> => {
    const model = by(config.MODEL_FEATURES, 'model', (features) => make(features, beside))
    if (!url) return { model, challenger: model }
    const own = { ...options(config), url, headers: config.CHALLENGER_HEADERS, ...beside }
    const features = config.CHALLENGER_FEATURES ?? config.MODEL_FEATURES
    return { model, challenger: by(features, 'challenger', (features) => mlflow({ ...own, features })) }
  }
  const [champions, challengers] = [both(), both(BESIDE)]
  const judge = async (of: Record<Role, Model>, which: (champion: Role) => Role): Promise<Judge> => {
    const now = await roles()
    const role = which(now.role)
    return { model: of[role], name: stampOf(config, role === 'model' && !MODEL_NAME ? undefined : now[role]) }
  }
  return {
    champion: () => judge(champions, (role) => role),
    challenger: () => judge(challengers, (role) => (role === 'model' && CHALLENGER_NAME ? 'challenger' : 'model')),
    own: () => judge(champions, () => 'model'),
  }
}
