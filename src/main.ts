#!/usr/bin/env node
import { parseArgs } from 'node:util'
import { COMMANDS, type Command, type Given, UsageError } from './commands.ts'
import { type Config, ConfigError, environment, readConfig, unknownNames } from './config.ts'
import { logger, scrub } from './log.ts'
import { statusServer } from './operate/status.ts'
import { openWatch } from './operate/watch.ts'
import { openPipeline } from './pipeline.ts'
import { shownPlace } from './place.ts'
import { isBug, reason } from './stage.ts'
import { stopSignal } from './stop.ts'
import { maskCards } from './transaction.ts'
import { VERSION } from './version.ts'

const line = (usage: string, meaning: string) => `  ${`node src/main.ts ${usage}`.trim()}\n      ${meaning}`
const USAGE = [
  'client-predict guards card payments. Settings come from the environment and .env, see .env.example.',
  '',
  line('', 'run the worker'),
  line('once', 'fetch for ONCE_SECONDS, drain the topics, end; for schedulers'),
  ...Object.values(COMMANDS).map(({ usage, meaning }) => line(usage, meaning)),
].join('\n')

process.umask(0o077) // what is written holds card numbers: nobody else's to read

try {
  process.exitCode = await main()
  setTimeout(() => process.exit(), 1000).unref() // what a command could not cancel must not hold the process
} catch (error) {
  if (error instanceof ConfigError) {
    for (const line of error.lines) console.error(line)
    process.exit(2)
  }
  console.error(isBug(error) ? scrub(error) : maskCards(reason(error)))
  process.exit(1)
}

async function main(): Promise<number> {
  const [name = 'run', ...rest] = process.argv.slice(2)
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined
  if (name === 'help' || [name, ...rest].some((word) => word === '--help' || word === '-h')) {
    console.log(USAGE)
    return 0
  }
  if (name === '--version' || name === '-v' || name === 'version') {
    console.log(VERSION)
    return 0
  }
  try {
    if (command) return await command.run(given(name, command, rest))
    if (rest.length > 0 || (name !== 'run' && name !== 'once'))
      throw new UsageError(`unknown command: ${[name, ...rest].join(' ')}`)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(maskCards(`${error.message}\n\n${command ? line(command.usage, command.meaning) : USAGE}`))
    return 2
  }
  return work(name as 'run' | 'once')
}

function given(
  name: string,
  { values = [], flags = [], words = (given) => given.length === 0 }: Command,
  args: string[],
): Given {
  const options = Object.fromEntries([
    ...values.map((option) => [option, { type: 'string' as const }]),
    ...flags.map((option) => [option, { type: 'boolean' as const }]),
  ])
  try {
    const { values: found, positionals } = parseArgs({ args, options, allowPositionals: true })
    if (!words(positionals)) throw new Error(`${name} makes no sense of "${positionals.join(' ')}"`)
    return { words: positionals, options: found as Given['options'] }
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/\. To specify .*/, ''))
  }
}

/** The worker. Never returns half alive: whatever nobody expected ends the process with its cause. */
async function work(command: 'run' | 'once'): Promise<number> {
  const env = environment()
  const config = readConfig(env)
  const log = logger(config.LOG_LEVEL)
  const unknown = unknownNames(env)
  if (unknown.length > 0) log.warn(unknown.join('; '))
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
    await using _status = statusServer({ ...statusOptions(config), log, watch })
    const window = AbortSignal.timeout(config.ONCE_SECONDS * 1000)
    const patient = command === 'once' ? AbortSignal.any([stop, window]) : stop
    await using pipeline = await openPipeline(config, log, patient, watch)
    if (command === 'run') await pipeline.run(stop)
    else left = await pipeline.once(stop)
  } catch (error) {
    if (error instanceof ConfigError) throw error
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
