import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { alertStage } from './alert/deliver.ts'
import { knock, mails, outbox, smtp } from './alert/email.ts'
import { webhook } from './alert/webhook.ts'
import { type Config, ConfigError, type StageName } from './config.ts'
import { fetchStage } from './fetch/fetch.ts'
import { producerApi } from './fetch/producer.ts'
import { openRoom } from './fetch/room.ts'
import { conditions } from './operate/conditions.ts'
import { openWatch } from './operate/watch.ts'
import { type KafkaCluster, shownPlace } from './place.ts'
import { NewerSchema, Pooled } from './postgres.ts'
import { postgresStore } from './record/postgres.ts'
import { recordStage } from './record/record.ts'
import { sqliteStore } from './record/sqlite.ts'
import type { Store } from './record/store.ts'
import { type Model, mlflow } from './score/mlflow.ts'
import { scoreStage } from './score/score.ts'
import { eventually, type Stage, together } from './stage.ts'
import { seconds } from './text.ts'
import { postgresTopics } from './topic/postgres.ts'
import { sqliteTopics } from './topic/sqlite.ts'
import type { Topics } from './topic/topic.ts'
import { stamp } from './transaction.ts'

/** ms without any progress after which `once` no longer waits for the topics to be drained: as long as it fetched, but */
const LEAST_PATIENCE = 10_000

export type Pipeline = {
  /** Runs the stages until stopped. Throws when one of them meets a bug; the others are stopped then. */
  run(stop: AbortSignal): Promise<void>
  /** Fetches for ONCE_SECONDS, then drains every topic. Resolves with what is left, one line for each reader. */
  once(stop: AbortSignal, patience?: number): Promise<string[]>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 *  producer ──fetch──▶ [transactions] ──score──▶ [predictions] ─┬─ alert ──▶ e-mail, webhook
 *                                                               └─ record ─▶ database
 *
 * Topics on a server that cannot be reached are tried again until they can, or until stopped.
 */
export async function openPipeline(
  config: Config,
  log: Logger,
  stop: AbortSignal,
  watch = openWatch(config.STAGES),
): Promise<Pipeline> {
  await using opening = new AsyncDisposableStack()
  let cause: unknown
  const reached = await eventually(
    { log, stop, health: watch.starting },
    () =>
      openTopics(config, log, { worker: true }).catch((error) => {
        cause = error
        throw error
      }),
    (error) => config.TOPICS_URL.engine === 'sqlite' || error instanceof NewerSchema || error instanceof ConfigError,
  )
  if (!reached) throw new Error('the topics could not be opened in time', { cause })
  opening.adopt(reached, (t) => t.close())
  await refuseSimulated(config, { log, stop, health: watch.starting }, reached)
  const { metrics, health } = watch
  const topics = watch.topics(reached)
  const { TOPICS_URL, DATABASE_URL, STAGES } = config
  const records = STAGES.includes('record')
  const store = records
    ? metrics.store(opening.adopt(openStore(config, log, { worker: true }), (s) => s.close()))
    : undefined
  if (TOPICS_URL.engine !== 'sqlite' && DATABASE_URL.engine === 'sqlite' && records)
    log.warn(
      `what this process records goes into a file of its own, ${DATABASE_URL.path}; with several processes set DATABASE_URL=postgres://…`,
    )
  const opened = opening.move()

  const score = topics.reader('transactions', 'score')
  const alert = topics.reader('predictions', 'alert')
  const record = topics.reader('predictions', 'record')
  const hook = config.ALERT_WEBHOOK_URL && topics.reader('predictions', 'webhook')

  const stages: Record<StageName, (stage: Stage) => Promise<void>> = {
    fetch: async (stage) =>
      fetchStage(stage, {
        producer: { call: metrics.timed('producer', (await producer(config, stage, opened, topics)).call) },
        topics,
        ratePerMin: config.PRODUCER_RATE_PER_MIN,
        room: openRoom({
          files: [TOPICS_URL, ...(records ? [DATABASE_URL] : [])].flatMap((place) =>
            place.engine === 'sqlite' ? place.path : [],
          ),
          reserve: config.DISK_RESERVE_MB,
          waiting: async () => (await score.lag()) + (await record.lag()),
        }),
      }),
    score: async (stage) =>
      scoreStage(stage, {
        reader: score,
        model: { judge: metrics.timed('model', (await openModel(config, log, opened)).judge) },
        name: modelName(config),
        batchSize: config.SCORE_BATCH_SIZE,
        features: config.MODEL_FEATURES,
      }),
    alert: async (stage) => {
      const { ALERT_BURST: burst, ALERT_BREAKER: impossible } = config
      const byMail = {
        reader: alert,
        topics,
        name: 'alert',
        way: metrics.way('mail', mails(channel(config, log, opened), addresses(config))),
        burst,
        dailyLimit: config.ALERT_DAILY_LIMIT,
        impossible,
        conditions: conditions({
          topics,
          health: Object.fromEntries(STAGES.map((name) => [name, health[name]])),
          readers: { score, record },
          lagMinutes: config.ALERT_LAG_MINUTES,
        }),
      }
      const posting = async (stop: AbortSignal) => {
        if (!hook) return forgetWebhook({ log: stage.log, stop }, topics)
        const way = metrics.way(
          'webhook',
          webhook({ url: config.ALERT_WEBHOOK_URL!, secret: config.ALERT_WEBHOOK_SECRET }),
        )
        const common = { topics, name: 'webhook', burst, dailyLimit: Number.MAX_SAFE_INTEGER, impossible }
        const log = stage.log.child({}, { msgPrefix: 'webhook: ' })
        await alertStage({ log, stop, health: health.webhook }, { ...common, reader: hook, way, fromNow: true })
      }
      const knocking = async (stop: AbortSignal) => {
        if (config.SMTP_URL) await knock({ ...stage, stop }, config.SMTP_URL)
      }
      await together(stage.stop, [(stop) => alertStage({ ...stage, stop }, byMail), posting, knocking])
    },
    record: async (stage) => recordStage(stage, { reader: record, store: store!, batchSize: config.RECORD_BATCH_SIZE }),
  }
  const run = (names: readonly StageName[], stop: AbortSignal) =>
    together(
      stop,
      names.map(
        (name) => (either: AbortSignal) =>
          stages[name]({ log: log.child({ stage: name }), stop: either, health: health[name] }),
      ),
    )

  /** The readers of this process's stages that have something before them. */
  const left = async () => {
    const lags: Partial<Record<StageName, number>> = {
      score: await score.lag(),
      alert: await alert.lag(),
      record: await record.lag(),
    }
    const all: [string, number][] = config.STAGES.map((name) => [name, lags[name] ?? 0])
    if (hook && config.STAGES.includes('alert')) all.push(['webhook', await hook.lag()])
    return all.filter(([, lag]) => lag > 0)
  }
  /** Resolves when nothing is left, or when nothing has moved for `patience` ms. */
  async function drained(stop: AbortSignal, patience: number) {
    let seen = ''
    for (let moved = Date.now(); !stop.aborted && Date.now() - moved < patience; await sleep(100)) {
      const lags = await left()
      if (lags.length === 0) return
      const collecting = (health.alert.held?.until ?? 0) > Date.now() && health.alert.held?.why === 'storm'
      if (String(lags) !== seen || collecting) moved = Date.now()
      seen = String(lags)
    }
  }

  return {
    run: (stop) => run(config.STAGES, stop),
    async once(stop, patience = Math.max(config.ONCE_SECONDS * 1000, LEAST_PATIENCE)) {
      const end = new AbortController()
      const either = AbortSignal.any([stop, end.signal])
      const window = AbortSignal.any([stop, AbortSignal.timeout(config.ONCE_SECONDS * 1000)])
      log.info(`fetching for ${config.ONCE_SECONDS} s, then draining the topics`)
      await together(stop, [
        (failed) =>
          run(
            config.STAGES.filter((name) => name !== 'fetch'),
            AbortSignal.any([failed, either]),
          ),
        async (failed) => {
          if (config.STAGES.includes('fetch')) await run(['fetch'], AbortSignal.any([failed, window]))
          await drained(AbortSignal.any([failed, stop]), patience)
          end.abort(new Error('drained'))
        },
      ])
      return (await left()).map(([reader, lag]) => `${lag} left to ${reader}, nothing moved for ${seconds(patience)} s`)
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  }
}

/** `worker`: runs stages and cleans up; a command beside it only looks, or puts something back. */
export async function openTopics(config: Config, log: Logger, { worker }: { worker: boolean }): Promise<Topics> {
  const { TOPICS_URL: place, RETENTION_DAYS: retentionDays } = config
  const options = { log, worker, retentionDays, unused: config.ALERT_WEBHOOK_URL ? [] : (['webhook'] as const) }
  if (place.engine === 'sqlite') return sqliteTopics({ ...options, path: place.path, exclusive: worker })
  try {
    if (place.engine === 'postgres') return await postgresTopics({ ...options, url: place.url })
    const { kafkaTopics } = await import('./topic/kafka.ts') // takes longer to load than all the rest
    return await kafkaTopics({ ...options, ...kafkaOptions(config, place) })
  } catch (error) {
    if (error instanceof Pooled) throw new ConfigError([`TOPICS_URL: got ${error.message}`])
    throw error instanceof NewerSchema ? error : new Error('cannot open TOPICS_URL', { cause: error })
  }
}

export const openStore = ({ DATABASE_URL: place }: Config, log: Logger, { worker = false } = {}): Store =>
  place.engine === 'sqlite' ? sqliteStore(place.path, worker ? { log } : undefined) : postgresStore(place.url, log)

function kafkaOptions(config: Config, { brokers, tls, checkHosts }: KafkaCluster) {
  const { KAFKA_CA: ca, KAFKA_CERT: cert, KAFKA_KEY: key, KAFKA_USERNAME: username, KAFKA_PASSWORD: password } = config
  return {
    brokers,
    prefix: config.KAFKA_PREFIX,
    partitions: config.KAFKA_PARTITIONS,
    replication: config.KAFKA_REPLICATION,
    tls: tls ? { ca, cert, key, ...(!checkHosts && { checkServerIdentity: () => undefined }) } : undefined,
    sasl: username && password ? { mechanism: config.KAFKA_MECHANISM, username, password } : undefined,
  }
}

// The systems outside, or a stand-in for each that is not set; each stand-in is announced in one line.

const announce = (log: Logger, setting: string, what: string) => log.warn(`${setting} is not set: ${what}`)

/** What a stand-in has sent must not be mailed as real: the topics that it was kept in are marked. */
async function refuseSimulated({ PRODUCER_URL, NODE_ENV, TOPICS_URL }: Config, stage: Stage, topics: Topics) {
  if (!PRODUCER_URL && NODE_ENV !== 'production') return
  if (!(await eventually(stage, () => topics.noted('simulated')))) return
  const where = TOPICS_URL.engine === 'sqlite' ? 'move the folder data/ away' : 'name another database or KAFKA_PREFIX'
  const line = `TOPICS_URL: got ${shownPlace(TOPICS_URL)}, which holds simulated payments: ${where}, and the predictions with it`
  if (NODE_ENV === 'production') throw new ConfigError([line])
  stage.log.warn(line)
}

async function producer(
  { PRODUCER_URL, PRODUCER_HEADERS: headers }: Config,
  stage: Stage,
  opened: AsyncDisposableStack,
  topics: Topics,
) {
  if (PRODUCER_URL) return producerApi({ url: PRODUCER_URL, headers })
  await eventually(stage, () => topics.note({ simulated: { at: Date.now() } }))
  const { log } = stage
  const { simulatedProducer } = await import('./simulate/producer.ts')
  const { url } = opened.use(await simulatedProducer())
  announce(log, 'PRODUCER_URL', 'the transactions are simulated')
  return producerApi({ url: new URL(`${url}/current-transactions`), headers })
}

/** The model of the settings. */
export async function openModel(config: Config, log: Logger, opened: AsyncDisposableStack): Promise<Model> {
  const options = {
    headers: config.MODEL_HEADERS,
    features: config.MODEL_FEATURES,
    unixTimeUnit: config.UNIX_TIME_UNIT,
    threshold: config.FRAUD_THRESHOLD,
    fraudValue: config.MODEL_FRAUD_VALUE,
  }
  if (config.MODEL_URL && !config.MODEL_NAME)
    log.warn('MODEL_NAME is not set: no row says which model has judged it, so two models cannot be told apart later')
  if (config.MODEL_URL) return mlflow({ url: config.MODEL_URL, ...options })
  const { simulatedModel } = await import('./simulate/model.ts')
  const { url, auc, rows } = opened.use(await simulatedModel())
  announce(
    log,
    'MODEL_URL',
    `a simulated model judges, trained just now on ${rows.trained} simulated rows; ROC AUC ${auc.toFixed(4)} on ${rows.tested} others`,
  )
  return mlflow({ url: new URL(url), ...options, fraudValue: undefined })
}

/** Rows that a stand-in had a hand in are marked. */
const modelName = ({ MODEL_NAME, MODEL_URL, PRODUCER_URL, STAGES }: Config) =>
  stamp(MODEL_NAME, { model: !MODEL_URL, payments: !PRODUCER_URL && STAGES.includes('fetch') })

function channel({ SMTP_URL }: Config, log: Logger, opened: AsyncDisposableStack) {
  if (SMTP_URL) return opened.adopt(smtp(SMTP_URL), (c) => c.close())
  announce(log, 'SMTP_URL', 'mails are written as .eml files into the folder outbox')
  return outbox('outbox')
}

const addresses = ({ ALERT_FROM, ALERT_TO = ['analyst@localhost'], ALERT_OPS_TO }: Config) => ({
  from: ALERT_FROM ?? 'client-predict@localhost',
  to: ALERT_TO,
  operators: ALERT_OPS_TO ?? ALERT_TO,
})

/** A webhook that is set again one day begins anew. */
async function forgetWebhook(stage: Stage, topics: Topics) {
  await eventually(stage, async () => {
    if (await topics.noted('webhook')) await topics.note({ webhook: null })
  })
}
