import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { maskCards } from './card.ts'
import { COMMANDS, type Command, type Given, UsageError } from './commands.ts'
import { shownPlace } from './config/dsn.ts'
import { ConfigError, environment, readConfig, unknownNames } from './config/read.ts'
import { rereading } from './config/reread.ts'
import type { Config } from './config/settings.ts'
import type { Desk } from './desk/desk.ts'
import { anyOf } from './io/abort.ts'
import { isBug, reason } from './io/errors.ts'
import { logger, scrub } from './io/log.ts'
import { proxies } from './io/proxy.ts'
import type { Stopping } from './start.cjs'
import { VERSION } from './version.ts'

const line = (usage: string, meaning: string) => `  ${`node src/main.ts ${usage}`.trim()}\n      ${meaning}`
const USAGE = [
  'client-predict guards card payments. Settings come from the environment and .env, see .env.example.',
  '',
  line('', 'run the worker'),
  line('once', 'fetch for ONCE_SECONDS, drain the topics, end; for schedulers'),
  ...Object.values(COMMANDS).map(({ usage, meaning }) => line(usage, meaning)),
].join('\n')

/** The whole program, by its arguments. */
export async function run(stopping: Stopping): Promise<void> {
  process.umask(0o077) // what is written holds card numbers: nobody else's to read
  try {
    process.exitCode = await chosen(stopping)
    setTimeout(() => process.exit(), 1000).unref() // what a command could not cancel must not hold the process
  } catch (error) {
    if (error instanceof ConfigError) {
      for (const line of error.lines) console.error(line)
      process.exit(2)
    }
    console.error(isBug(error) ? scrub(error) : maskCards(reason(error)))
    process.exit(1)
  }
}

async function chosen(stopping: Stopping): Promise<number> {
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
    if (command) {
      const options = given(name, command, rest)
      if (!command.stops) stopping.release()
      const elsewhere = settingsElsewhere()
      if (elsewhere) console.error(elsewhere)
      return await command.run(options, stopping)
    }
    if (rest.length > 0 || (name !== 'run' && name !== 'once'))
      throw new UsageError(`unknown command: ${[name, ...rest].join(' ')}`)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    console.error(maskCards(`${error.message}\n\n${command ? line(command.usage, command.meaning) : USAGE}`))
    return 2
  }
  return work(name as 'run' | 'once', stopping)
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
    return { words: positionals, options: found as Given['options'], flags: new Set(Object.keys(found)) }
  } catch (error) {
    throw new UsageError((error as Error).message.replace(/\. To specify .*/, ''))
  }
}

/** The worker. Never returns half alive: whatever nobody expected ends the process with its cause. */
async function work(command: 'run' | 'once', { signal: stop, tell, reread }: Stopping): Promise<number> {
  const env = environment()
  const config = readConfig(env)
  const { line: proxy, mistakes } = proxies({
    producer: config.PRODUCER_URL,
    model: config.MODEL_URL,
    challenger: config.CHALLENGER_URL,
    webhook: config.ALERT_WEBHOOK_URL,
    heartbeat: config.HEARTBEAT_URL,
  })
  if (mistakes.length > 0) throw new ConfigError(mistakes)
  const log = logger(config.LOG_LEVEL)
  const unknown = unknownNames(env)
  if (unknown.length > 0) log.warn(unknown.join('; '))
  const die = (error: unknown): never => {
    log.fatal(isBug(error) ? scrub(error) : {}, `${reason(error)}; the worker ends`)
    process.exit(1)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
  let left: string[] = []
  try {
    log.info(`client-predict ${VERSION} on Node.js ${process.versions.node}: ${config.STAGES.join(', ')}; Ctrl-C stops`)
    log.info(
      about(config)
        .map((pair) => pair.join(' '))
        .join('; '),
    )
    if (proxy) log.info(proxy)
    const elsewhere = settingsElsewhere()
    if (elsewhere) log.warn(elsewhere)
    tell((text) => log.info(text))
    using again = rereading(config, env, log)
    reread(again.now)
    stop.throwIfAborted()
    const { openPipeline, openMonitor, statusServer, summarize, heartbeat } = await loaded()
    const watch = openMonitor(config.STAGES)
    let desk: Desk | undefined
    await using _status = statusServer({
      desk: () => desk,
      host: config.HOST,
      port: config.PORT,
      token: config.STATUS_TOKEN,
      about: about(config),
      log,
      watch,
    })
    const over = new AbortController()
    const heart = config.HEARTBEAT_URL && heartbeat(log, config.HEARTBEAT_URL)
    const beating = command === 'run' ? heart?.beat(watch, over.signal) : undefined
    const window = AbortSignal.timeout(config.ONCE_SECONDS * 1000)
    const patient = command === 'once' ? anyOf(stop, window) : stop
    await using pipeline = await openPipeline(config, log, patient, watch)
    desk = pipeline.desk
    const summing = summarize(log, watch, config.STAGES, over.signal)
    if (command === 'run') await pipeline.run(stop)
    else left = await pipeline.once(stop)
    if (command === 'once') await heart?.tell(left, stop)
    over.abort()
    await Promise.all([summing, beating])
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

/** What a command does without, and wrong settings do not wait for. */
const loaded = async () => ({
  ...(await import('./pipeline.ts')),
  ...(await import('./status/server.ts')),
  ...(await import('./status/summary.ts')),
  ...(await import('./status/heartbeat.ts')),
  ...(await import('./status/monitor.ts')),
})

/** What it works with; hosts alone, no secrets. */
function about({ MODEL_NAME, ALERT_WEBHOOK_URL, ...config }: Config) {
  const model = config.MODEL_URL && [config.MODEL_URL.host, MODEL_NAME ?? 'without a MODEL_NAME'].join(', ')
  return [
    ['producer', config.PRODUCER_URL?.host ?? 'simulated payments'],
    ['model', model ?? 'simulated'],
    ...(config.CHALLENGER_URL
      ? ([['challenger', `${config.CHALLENGER_URL.host}, ${config.CHALLENGER_NAME}`]] as const)
      : []),
    ['mail', config.SMTP_URL ? `${config.SMTP_URL.host}:${config.SMTP_URL.port}` : 'files in outbox/'],
    ...(ALERT_WEBHOOK_URL ? ([['webhook', ALERT_WEBHOOK_URL.host]] as const) : []),
    ['topics', shownPlace(config.TOPICS_URL)],
    ['predictions', shownPlace(config.DATABASE_URL)],
  ] as const
}

/** Settings that are probably meant, and not read: .env is that of the folder it is started in. */
function settingsElsewhere(): string | undefined {
  const own = fileURLToPath(new URL('../.env', import.meta.url))
  if (existsSync('.env') || !existsSync(own)) return undefined
  return `${own} is not read, as the program was started in ${resolve('.')}, where there is no .env: start it in the other folder, or copy the file`
}
