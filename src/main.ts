#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { type Config, ConfigError, environment, readConfig } from './config.ts'
import { logger, scrub } from './log.ts'
import { statusServer } from './operate/status.ts'
import { openWatch } from './operate/watch.ts'
import { openPipeline, openStore, openTopics } from './pipeline.ts'
import { shownPlace } from './place.ts'
import { isBug, plural, reason } from './stage.ts'
import { maskCards } from './transaction.ts'

const USAGE = `client-predict guards card payments. Settings come from the environment and .env, see .env.example.

  node src/main.ts                             run the worker
  node src/main.ts once                        fetch for ONCE_SECONDS, drain the topics, end; for schedulers
  node src/main.ts dead-letters                list what was set aside, and why
  node src/main.ts dead-letters retry [id…]    put it back, all of it or these
  node src/main.ts dead-letters discard id…    cross these out for good, or all
  node src/main.ts simulate --rows N [--seed S]   print simulated, labelled history as CSV, to train a model on`

/** ms after which a stop is no longer waited for; `docker stop` kills after 10 s */
const STOP_WITHIN = 9000

process.umask(0o077) // what is written holds card numbers: nobody else's to read

try {
  process.exitCode = await main()
} catch (error) {
  if (error instanceof ConfigError) {
    for (const line of error.lines) console.error(line)
    process.exit(2)
  }
  console.error(isBug(error) ? scrub(error) : maskCards(reason(error)))
  process.exit(1)
}

async function main(): Promise<number> {
  const { values, positionals, problem } = args()
  const [command = 'run', ...rest] = positionals
  if (values?.help) console.log(USAGE)
  else if (problem) return usage(problem)
  else if ((command === 'run' || command === 'once') && rest.length === 0) return work(command)
  else if (
    command === 'dead-letters' &&
    (rest.length === 0 || rest[0] === 'retry' || (rest[0] === 'discard' && rest.length > 1))
  )
    return deadLetters(rest)
  else if (command === 'simulate' && rest.length === 0) return simulate(values?.rows, values?.seed)
  else return usage(`unknown command: ${positionals.join(' ')}`)
  return 0
}

function args(): {
  values?: { rows?: string; seed?: string; help?: boolean }
  positionals: string[]
  problem?: string
} {
  const string = { type: 'string' } as const
  try {
    return parseArgs({
      allowPositionals: true,
      options: { rows: string, seed: string, help: { type: 'boolean', short: 'h' } },
    })
  } catch (error) {
    return { positionals: [], problem: (error as Error).message }
  }
}

function usage(problem: string): number {
  console.error(`${problem}\n\n${USAGE}`)
  return 2
}

/** The worker. Never returns half alive: whatever nobody expected ends the process with its cause. */
async function work(command: 'run' | 'once'): Promise<number> {
  const config = readConfig(environment())
  const log = logger(config.LOG_LEVEL)
  const die = (error: unknown): never => {
    log.fatal(isBug(error) ? scrub(error) : {}, `${reason(error)}; the worker ends`)
    process.exit(1)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  const stop = stopSignal((text) => log.info(text))
  let left: string[] = []
  try {
    log.info(
      `${config.STAGES.join(', ')}; topics in ${shownPlace(config.TOPICS_URL)}, predictions in ${shownPlace(config.DATABASE_URL)}; Ctrl-C stops`,
    )
    const watch = openWatch(config.STAGES)
    await using _status = command === 'run' ? statusServer({ ...statusOptions(config), log, watch }) : undefined
    const window = AbortSignal.timeout(config.ONCE_SECONDS * 1000)
    const patient = command === 'once' ? AbortSignal.any([stop, window]) : stop
    await using pipeline = await openPipeline(config, log, patient, watch)
    if (command === 'run') await pipeline.run(stop)
    else left = await pipeline.once(stop)
  } catch (error) {
    if (!stop.aborted || isBug(error)) die(error)
  }
  for (const line of left) log.error(line)
  log.info(
    stop.aborted ? 'stopped' : left.length > 0 ? 'ended; the next start goes on where this one was' : 'nothing is left',
  )
  process.exit(left.length > 0 && !stop.aborted ? 1 : 0) // kept connections must not hold the process
}

function statusOptions({ HOST, PORT, STATUS_TOKEN, MODEL_NAME, ...config }: Config) {
  const about = [
    ['producer', config.PRODUCER_URL?.host ?? 'simulated'],
    ['model', config.MODEL_URL ? [config.MODEL_URL.host, MODEL_NAME].filter(Boolean).join(', ') : 'simulated'],
    ['mail', config.SMTP_URL ? `${config.SMTP_URL.host}:${config.SMTP_URL.port}` : 'files in outbox/'],
    ['topics', shownPlace(config.TOPICS_URL)],
    ['predictions', shownPlace(config.DATABASE_URL)],
  ] as const
  return { host: HOST, port: PORT, token: STATUS_TOKEN, about }
}

/** Aborted by the first SIGTERM or Ctrl-C; the second one ends the process at once. */
function stopSignal(say: (text: string) => void): AbortSignal {
  const stop = new AbortController()
  const ask = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
    say(`${signal}: stopping`)
    stop.abort(new Error('stopped'))
    setTimeout(() => {
      say('not everything ended in time; what was not noted is done again after the next start')
      process.exit(0)
    }, STOP_WITHIN).unref()
  }
  process.on('SIGTERM', ask)
  process.on('SIGINT', ask)
  return stop.signal
}

async function deadLetters([action, ...ids]: string[]): Promise<number> {
  const { describeLetter, discardLetters, openLetters, retryLetters } = await import('./operate/dead-letters.ts')
  const config = readConfig(environment(), { working: false })
  const log = logger(config.LOG_LEVEL)
  const topics = await openTopics(config, log, { worker: false })
  try {
    if (!action) {
      const letters = await openLetters(topics)
      for (const [id, letter] of letters) console.log(describeLetter(id, letter))
      console.log(
        letters.size === 0
          ? 'no dead letters'
          : `${plural(letters.size, 'dead letter')}; npm run dead-letters -- retry puts back what can pass by now`,
      )
      return 0
    }
    const store = openStore(config, log)
    try {
      const { lines, stuck } =
        action === 'retry' ? await retryLetters(topics, store, ids) : await discardLetters(topics, ids)
      console.log(lines.join('\n') || 'no dead letters')
      return stuck > 0 ? 1 : 0
    } finally {
      await store.close()
    }
  } finally {
    await topics.close()
  }
}

async function simulate(rows: string | undefined, seed = '1'): Promise<number> {
  if (!/^[1-9]\d{0,8}$/.test(rows ?? '')) return usage('simulate wants --rows N, a whole number of rows')
  if (!/^\d{1,9}$/.test(seed)) return usage('--seed wants a whole number')
  const { pipeline } = await import('node:stream/promises')
  const { csv } = await import('./simulate/csv.ts')
  await pipeline(csv({ rows: Number(rows), seed: Number(seed) }), process.stdout).catch((error) => {
    if (error.code !== 'EPIPE') throw error // the reader, e.g. head, has had enough
  })
  return 0
}
