import type { Logger } from 'pino'
import type { Daily } from './alert/daily.ts'
import type { Notifier } from './alert/notifier.ts'
import type { Condition } from './alert/trouble.ts'
import { type KafkaCluster, shownPlace } from './config/dsn.ts'
import { ConfigError } from './config/read.ts'
import type { Config } from './config/settings.ts'
import type { Desk } from './desk/desk.ts'
import { openRoom } from './fetch/disk-guard.ts'
import { type Producer, producerApi } from './fetch/producer.ts'
import { NewerSchema, Pooled } from './io/errors.ts'
import { isPassing } from './io/sqlite.ts'
import { DAY } from './io/time.ts'
import { championOf, columnsOf, type Judges, modelName, openJudges, watchModels } from './models.ts'
import { mailFolder, mails, smtp } from './notify/smtp.ts'
import { webhook } from './notify/webhook.ts'
import { sqliteStore } from './record/sqlite.ts'
import type { Store } from './record/store.ts'
import type { Judgements } from './review/reviews.ts'
import { sampler, sampling } from './review/sample.ts'
import { retryUntilReady, type Stage } from './run/loop.ts'
import type { Monitor } from './status/monitor.ts'
import { morning } from './status/morning.ts'
import { sqliteTopics } from './topic/sqlite.ts'
import type { Standby, Topics } from './topic/topic.ts'
import { deskOf, openReviews } from './wiring-desk.ts'

/** ms between two looks for what is old */
const TRIM_EVERY = 600_000

/**
 * What the pipeline stands between, by the settings, counted and timed. A system outside is opened when it is asked for;
 * what is not set has a stand-in, which is said in one line.
 */
export type Outside = {
  producer(stage: Stage, topics: Topics): Promise<Producer>
  judges(): Promise<Omit<Judges, 'own'>>
  /** What the challenger says goes there, apart from what people do. */
  judgements(): Promise<Judgements>
  mail(): Notifier
  webhook: Notifier | undefined
  /** A webhook that is set again one day begins anew. */
  forgetWebhook(stage: Stage, topics: Topics): Promise<void>
  store: Store | undefined
  desk: Desk
  /** What is told once a day, where DAILY_SUMMARY is set. */
  daily(topics: Topics, conditions: () => Promise<Condition[]>): Daily | undefined
  /** What has drifted, as it was looked at within the last hour, and what the registry says otherwise. */
  drift(): Condition[]
  /** Throws when no more can be kept. */
  room(topics: Topics): () => Promise<void>
}

/** Opens the topics, tried until they can be reached or the stop, and the store if this process records. */
export async function wire(
  config: Config,
  log: Logger,
  stop: AbortSignal,
  { metrics, starting, standby, store: watchedStore, topics: watched }: Monitor,
): Promise<{ topics: Topics; outside: Outside; close(): Promise<void> }> {
  await using opening = new AsyncDisposableStack()
  const start = { log, stop, health: starting }
  const topics = opening.adopt(await reachTopics(config, start, standby), (t) => t.close())
  await refuseSimulated(config, start, topics)
  opening.use(await keepTrimmed(config, topics))
  const { TOPICS_URL, DATABASE_URL, STAGES } = config
  const records = STAGES.includes('record')
  const store = records
    ? watchedStore(opening.adopt(await openStore(config, log, { worker: true }), (s) => s.close()))
    : undefined
  if (TOPICS_URL.engine !== 'sqlite' && DATABASE_URL.engine === 'sqlite' && records)
    log.warn(
      `what this process records goes into a file of its own, ${DATABASE_URL.path}; with several processes set DATABASE_URL=postgres://…`,
    )
  if (records && config.ROWS_KEEP_DAYS !== undefined) {
    const { keepArchived } = await import('./archive/nightly.ts')
    opening.use(keepArchived(log))
  }
  const files = [TOPICS_URL, ...(records ? [DATABASE_URL] : [])].flatMap((place) =>
    place.engine === 'sqlite' ? place.path : [],
  )
  const opened = opening.move()
  const { ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: secret } = config
  let judging: Promise<Judges> | undefined // who judges and who asks why ask the same two models
  const champion = championOf(config, log, topics)
  const registry = watchModels(config, log, topics, champion)
  if (registry) opened.use(registry)
  const columns = columnsOf(config, log, topics)
  const judges = () =>
    (judging ??= Promise.resolve(registry?.bound()).then(() => openJudges({ config, log, opened, champion, columns })))
  const { desk, link, reviews, drift } = await deskOf(config, start, topics, {
    ...{ opened, metrics, champion: async () => (await judges()).champion(), chosen: champion },
    told: () => registry?.told(),
  })
  const timed = (system: string, judge: Judges['champion']) => async () => {
    const { model, name } = await judge()
    return { name, model: { judge: metrics.timed(system, model.judge) } }
  }
  return {
    topics: watched(topics),
    outside: {
      producer: async (...given) => ({
        call: metrics.timed('producer', (await producer(config, opened, ...given)).call),
      }),
      judges: async () => {
        const { champion, challenger } = await judges()
        return { champion: timed('model', champion), challenger: timed('challenger', challenger) }
      },
      judgements: async () => opened.adopt(await openReviews(config), (r) => r.close()),
      mail: () =>
        metrics.notifier('mail', mails(channel(config, log, opened), { ...addresses(config), ...(link && { link }) })),
      webhook: url && metrics.notifier('webhook', webhook({ url, secret })),
      forgetWebhook,
      store,
      desk,
      daily: (topics, conditions) => {
        const { DAILY_SUMMARY: time, TIME_ZONE: zone, DISK_RESERVE_MB: reserve } = config
        const file = DATABASE_URL.engine === 'sqlite' ? DATABASE_URL.path : undefined
        const given = { reviews, topics, conditions, zone, file, reserve, model: modelName(config) }
        return time === undefined ? undefined : { time, zone, make: morning(given) }
      },
      drift: () => [...drift(), ...(registry?.conditions() ?? [])],
      room: (topics) => {
        const waiting = async () => {
          const { lag } = await topics.snapshot()
          return lag.score.records + lag.record.records
        }
        return openRoom({ files, reserve: config.DISK_RESERVE_MB, waiting })
      },
    },
    close: () => opened.disposeAsync(),
  }
}

async function reachTopics(config: Config, start: Stage, standby: Standby): Promise<Topics> {
  let cause: unknown
  const reached = await retryUntilReady(
    start,
    () =>
      openTopics(config, start.log, { worker: true, standby }).catch((error) => {
        cause = error
        throw error
      }),
    (error) =>
      config.TOPICS_URL.engine === 'sqlite'
        ? !isPassing(error)
        : error instanceof NewerSchema || error instanceof ConfigError,
  )
  if (!reached) throw new Error('the topics could not be opened in time', { cause })
  return reached
}

/** Removes what is older than RETENTION_DAYS, now and from time to time. A challenger, and a webhook that is not set, need nothing kept. */
async function keepTrimmed({ RETENTION_DAYS: days, ALERT_WEBHOOK_URL: hook }: Config, { trim }: Topics) {
  // What fails here, as on a full disk, is not what to report: the next append says it, and it stops nothing else.
  const now = () => trim(Date.now() - days * DAY, hook ? ['shadow'] : ['shadow', 'webhook']).catch(() => {})
  await now()
  const timer = setInterval(now, TRIM_EVERY).unref()
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

/** `worker`: runs stages and cleans up; a command beside it only looks, or puts something back. */
export async function openTopics(
  config: Config,
  log: Logger,
  { worker, standby }: { worker: boolean; standby?: Standby },
): Promise<Topics> {
  const { TOPICS_URL: place } = config
  const options = { log, standby }
  if (place.engine === 'sqlite') return sqliteTopics({ ...options, path: place.path, exclusive: worker })
  try {
    if (place.engine === 'postgres') {
      const { postgresTopics } = await import('./engines/postgres/topics.ts')
      return await postgresTopics({ ...options, url: place.url })
    }
    const { kafkaTopics } = await import('./engines/kafka/topics.ts') // takes longer to load than all the rest
    return await kafkaTopics({ ...options, worker, ...kafkaOptions(config, place) })
  } catch (error) {
    if (error instanceof Pooled) throw new ConfigError([`TOPICS_URL: got ${error.message}`])
    throw error instanceof NewerSchema ? error : new Error('cannot open TOPICS_URL', { cause: error })
  }
}

export async function openStore(config: Config, log: Logger, { worker = false } = {}): Promise<Store> {
  const { DATABASE_URL: place, AUDIT_PER_DAY: perDay, DESK_SECRET: secret = 'audit' } = config
  const sample = sampler({ perDay, rowsPerDay: config.PRODUCER_RATE_PER_MIN * 1440, secret })
  if (place.engine === 'sqlite') return sampling(sqliteStore(place.path, worker ? { log } : undefined), sample)
  const { postgresStore } = await import('./engines/postgres/store.ts')
  return sampling(postgresStore(place.url, log), sample)
}

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
  if (!(await retryUntilReady(stage, () => topics.state('simulated')))?.size) return
  const where = TOPICS_URL.engine === 'sqlite' ? 'move the folder data/ away' : 'name another database or KAFKA_PREFIX'
  const line = `TOPICS_URL: got ${shownPlace(TOPICS_URL)}, which holds simulated payments: ${where}, and the predictions with it`
  if (NODE_ENV === 'production') throw new ConfigError([line])
  stage.log.warn(line)
}

async function producer(
  { PRODUCER_URL, PRODUCER_HEADERS: headers }: Config,
  opened: AsyncDisposableStack,
  stage: Stage,
  topics: Topics,
): Promise<Producer> {
  if (PRODUCER_URL) return producerApi({ url: PRODUCER_URL, headers })
  await retryUntilReady(stage, () => topics.append({}, { simulated: { at: Date.now() } }))
  const { log } = stage
  const { simulatedProducer } = await import('./simulate/producer.ts')
  const { url } = opened.use(await simulatedProducer())
  announce(log, 'PRODUCER_URL', 'the transactions are simulated')
  return producerApi({ url: new URL(`${url}/current-transactions`), headers })
}

function channel({ SMTP_URL }: Config, log: Logger, opened: AsyncDisposableStack) {
  if (SMTP_URL) return opened.adopt(smtp(SMTP_URL), (c) => c.close())
  announce(log, 'SMTP_URL', 'mails are written as .eml files into the folder outbox')
  return mailFolder('outbox')
}

const addresses = ({ ALERT_FROM, ALERT_TO = ['analyst@localhost'], ALERT_OPS_TO }: Config) => ({
  from: ALERT_FROM ?? 'client-predict@localhost',
  to: ALERT_TO,
  operators: ALERT_OPS_TO ?? ALERT_TO,
})

async function forgetWebhook(stage: Stage, topics: Topics) {
  await retryUntilReady(stage, async () => {
    const keys = [...(await topics.state('webhook')).keys()]
    if (keys.length > 0) await topics.append({}, Object.fromEntries(keys.map((key) => [key, null])))
  })
}
