import type { Logger } from 'pino'
import { alertStage } from './alert/deliver.ts'
import type { Config, StageName } from './config/settings.ts'
import type { Desk } from './desk/desk.ts'
import { fetchStage } from './fetch/fetch.ts'
import { isBug } from './io/errors.ts'
import { checkLogin } from './notify/smtp.ts'
import { drain } from './once.ts'
import { recordStage } from './record/record.ts'
import { reportFailure, type Stage, supervise } from './run/loop.ts'
import { openTurns } from './run/turns.ts'
import { scoreStage } from './score/score.ts'
import { shadowStage } from './shadow/shadow.ts'
import { conditions } from './status/conditions.ts'
import { openMonitor } from './status/monitor.ts'
import type { Reader, Topics } from './topic/topic.ts'
import type { Prediction, Transaction } from './transaction.ts'
import { type Outside, wire } from './wiring.ts'

export type Pipeline = {
  desk: Desk
  /** Runs the stages until stopped. Throws when one of them meets a bug; the others are stopped then. */
  run(stop: AbortSignal): Promise<void>
  /** Fetches for ONCE_SECONDS, then drains every topic. Resolves with what is left, one line for each reader. */
  once(stop: AbortSignal, patience?: number): Promise<string[]>
  [Symbol.asyncDispose](): Promise<void>
}

/**
 *  producer ──fetch──▶ [transactions] ─┬─ score ─▶ [predictions] ─┬─ alert ──▶ e-mail, webhook
 *                                      │                          └─ record ─▶ database
 *                                      └─ shadow ─▶ what a challenger says, in the database too
 *
 * Topics on a server that cannot be reached are tried again until they can, or until stopped.
 */
export async function openPipeline(
  config: Config,
  log: Logger,
  stop: AbortSignal,
  watch = openMonitor(config.STAGES),
): Promise<Pipeline> {
  const { topics, outside, close } = await wire(config, log, stop, watch)
  const readers = {
    score: topics.reader('transactions', 'score'),
    alert: topics.reader('predictions', 'alert'),
    webhook: outside.webhook && topics.reader('predictions', 'webhook'),
    record: topics.reader('predictions', 'record'),
    shadow: config.STAGES.includes('shadow') ? topics.reader('transactions', 'shadow') : undefined,
  }
  const { STAGES, ALERT_BURST: burst, ALERT_BREAKER: impossible, ALERT_LAG_MINUTES: lagMinutes } = config
  const { health } = watch
  const turns = openTurns()
  const mine = Object.fromEntries(STAGES.map((name) => [name, health[name]]))
  const trouble = conditions({ topics, health: mine, readers: ['score', 'record'], lagMinutes, others: outside.drift })

  const stages: Record<StageName, (stage: Stage) => Promise<void>> = {
    fetch: async (stage) =>
      fetchStage(stage, {
        producer: await outside.producer(stage, topics),
        topics,
        ratePerMin: config.PRODUCER_RATE_PER_MIN,
        room: outside.room(topics),
      }),

    score: async (stage) =>
      scoreStage(stage, {
        reader: readers.score,
        judge: (await outside.judges()).champion,
        batchSize: config.SCORE_BATCH_SIZE,
        features: config.MODEL_FEATURES === 'auto' ? [] : config.MODEL_FEATURES,
      }),

    alert: (stage) =>
      supervise(stage.stop, [
        (stop) =>
          alertStage(
            { ...stage, stop },
            {
              reader: readers.alert,
              topics,
              name: 'alert',
              notifier: outside.mail(),
              burst,
              dailyLimit: config.ALERT_DAILY_LIMIT,
              impossible,
              conditions: trouble,
              daily: outside.daily(topics, trouble),
            },
          ),
        (stop) => post({ ...stage, stop, health: health.webhook }, config, topics, outside, readers.webhook),
        async (stop) => {
          if (config.SMTP_URL) await checkLogin({ ...stage, stop }, config.SMTP_URL)
        },
      ]),

    record: (stage) =>
      recordStage(stage, { reader: readers.record, store: outside.store!, batchSize: config.RECORD_BATCH_SIZE }),

    shadow: (stage) => shadow(stage, config, topics, outside, readers.shadow!),
  }

  const run = (names: readonly StageName[], stop: AbortSignal) =>
    supervise(
      stop,
      names.map(
        (name) => (either: AbortSignal) =>
          stages[name]({ log: log.child({ stage: name }), stop: either, health: health[name], turns }),
      ),
    )
  return {
    desk: outside.desk,
    run: (stop) => run(STAGES, stop),
    once: (stop, patience) => {
      const mine = (['score', 'alert', 'webhook', 'record'] as const).filter(
        (name) => readers[name] && STAGES.includes(name === 'webhook' ? 'alert' : name),
      )
      const flow = { log, run, stages: STAGES, topics, readers: mine, seconds: config.ONCE_SECONDS, health }
      return drain(flow, stop, patience)
    },
    [Symbol.asyncDispose]: close,
  }
}

async function post(stage: Stage, config: Config, topics: Topics, outside: Outside, reader?: Reader<Prediction>) {
  if (!reader || !outside.webhook) return outside.forgetWebhook(stage, topics)
  const own = { ...stage, log: stage.log.child({}, { msgPrefix: 'webhook: ' }) }
  const { ALERT_BURST: burst, ALERT_BREAKER: impossible } = config
  const pace = { burst, dailyLimit: Number.MAX_SAFE_INTEGER, impossible }
  await alertStage(own, { reader, topics, name: 'webhook', notifier: outside.webhook, ...pace, start: 'latest' })
}

/** The champion's loop is all that it shares with the others. */
async function shadow(stage: Stage, config: Config, topics: Topics, outside: Outside, reader: Reader<Transaction>) {
  const own = { ...stage, log: stage.log.child({}, { msgPrefix: 'challenger: ' }) }
  const { challenger: judge } = await outside.judges()
  const judgements = await outside.judgements()
  const { FRAUD_THRESHOLD: threshold, SCORE_BATCH_SIZE: batchSize } = config
  await shadowStage(own, { reader, topics, judge, threshold, judgements, batchSize }).catch((error) => {
    if (!isBug(error)) throw error
    reportFailure(stage.health, error)
    own.log.error({ err: error }, 'it is not asked any more until the next start; all the rest goes on')
  })
}
