import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse, populate } from 'dotenv'
import { hideSecrets } from '../card.ts'
import { isLoopback, type KafkaCluster } from './dsn.ts'
import { strangers } from './names.ts'
import { secretsIn } from './secrets.ts'
import { type Config, type Name, SETTINGS, type Setting, type StageName } from './settings.ts'
import { shown } from './shown.ts'

const SETTING_LIST = Object.entries(SETTINGS) as [Name, Setting][]

/** Every mistake in the settings, one line each. */
export class ConfigError extends Error {
  readonly lines: readonly string[]
  constructor(lines: readonly string[]) {
    super(`wrong settings:\n${lines.join('\n')}`)
    this.lines = lines
  }
}

/** What each stage cannot do without for real; outside production a stand-in takes its place. */
const REQUIRED: Record<StageName, readonly Name[]> = {
  fetch: ['PRODUCER_URL'],
  score: ['MODEL_URL'],
  shadow: [],
  alert: ['SMTP_URL', 'ALERT_FROM', 'ALERT_TO'],
  record: [],
}

/** The names that stand in `.env`, beside what is set. */
const WRITTEN = Symbol('written in .env')
/** What was set beside `.env`. */
const OWN = Symbol('set beside .env')
export type Environment = NodeJS.ProcessEnv & { [WRITTEN]?: ReadonlySet<string>; [OWN]?: NodeJS.ProcessEnv }

/**
 * The process's environment, with `.env` of the working folder behind it. Throws ConfigError when that is there and
 * cannot be read: what is set in it would be missing without a word. `before`: what it was, to read `.env` again.
 */
export function environment(before?: Environment): Environment {
  const own = before?.[OWN] ?? { ...process.env }
  let text = Buffer.alloc(0)
  try {
    text = readFileSync('.env')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT')
      throw new ConfigError([`.env: is there, wants to be a file that this user can read (${code})`])
  }
  if (text.includes(0)) throw new ConfigError(['.env: is not UTF-8 text, wants to be saved as UTF-8'])
  const written = parse(text)
  if (!before) populate(process.env as Record<string, string>, written)
  const forgotten = Object.keys(SETTINGS).filter((name) =>
    new RegExp(`^\\s*(export\\s+)?${name}(_FILE)?\\s+[^\\s=:]`, 'm').test(text.toString()),
  )
  if (forgotten.length > 0) throw new ConfigError(forgotten.map((name) => `${name}: has no = behind it in .env`))
  return { ...written, ...own, [WRITTEN]: new Set(Object.keys(written)), [OWN]: own }
}

/** Names that were probably meant for a setting and are none, one line each: in production a mistake, else a warning. */
export function unknownNames(env: Environment): string[] {
  const known = new Set<string>()
  for (const [name, { heroku }] of SETTING_LIST)
    for (const one of [name, ...(heroku ? [heroku] : [])]) known.add(one).add(`${one}_FILE`)
  return strangers(known, Object.keys(env), env[WRITTEN] ?? new Set())
}

/**
 * Reads every setting. Blank means unset; `NAME_FILE` names a file that holds the value of `NAME`.
 * Throws ConfigError with all the mistakes. `working: false` is for commands that run no stage.
 */
export function readConfig(env: Environment, { working = true } = {}): Config {
  const config: Record<string, unknown> = {}
  const read = config as Partial<Config>
  const mistakes: string[] = []
  const unset = new Set<Name>()
  for (const [name, setting] of SETTING_LIST) {
    try {
      const text = given(env, name, setting)
      if (text === undefined) unset.add(name)
      const value = text ?? setting.default
      if (value === undefined) continue
      const parsed = setting.schema.safeParse(value)
      if (parsed.success) config[name] = parsed.data
      else mistakes.push(`${name}: got ${shown(value, setting.secret)}, wants ${parsed.error.issues[0]?.message}`)
    } catch (error) {
      mistakes.push((error as Error).message)
    }
  }
  const onDyno = Boolean(env.DYNO?.trim()) // Heroku's mark: what is on the disk is gone at the next restart
  if (onDyno && unset.has('TOPICS_URL') && read.DATABASE_URL?.engine === 'postgres')
    config.TOPICS_URL = read.DATABASE_URL
  if (read.TOPICS_URL?.engine === 'kafka') config.TOPICS_URL = secured(read.TOPICS_URL, read, env)
  if (unset.has('STAGES') && read.CHALLENGER_URL) read.STAGES = [...(read.STAGES ?? []), 'shadow']
  mistakes.push(...contradictions(read, unset), ...challenged(read, unset), ...registered(read, unset))
  if (working) mistakes.push(...(onDyno ? lostOnDyno(read) : []), ...missing(read, unset))
  if (read.NODE_ENV === 'production') mistakes.push(...unknownNames(env))
  if (mistakes.length > 0) throw new ConfigError(mistakes)
  hideSecrets(SETTING_LIST.flatMap(([name, { secret }]) => secretsIn(config[name], secret)))
  if (unset.has('PRODUCER_URL') && unset.has('PRODUCER_RATE_PER_MIN')) config.PRODUCER_RATE_PER_MIN = 60
  return config as Config
}

/** What the other settings say of the connection. */
function secured(cluster: KafkaCluster, { KAFKA_CA: ca, KAFKA_CERT }: Partial<Config>, env: Environment): KafkaCluster {
  const heroku = env.KAFKA_TRUSTED_CERT && ca === env.KAFKA_TRUSTED_CERT.trim().replaceAll('\\n', '\n')
  return { ...cluster, tls: cluster.tls || Boolean(ca || KAFKA_CERT), checkHosts: !heroku }
}

/** What does not go together. */
function* contradictions(config: Partial<Config>, unset: ReadonlySet<Name>): Generator<string> {
  const { TOPICS_URL: topics, DATABASE_URL: database } = config
  if (topics?.engine === 'sqlite' && database?.engine === 'sqlite' && resolve(topics.path) === resolve(database.path))
    yield 'DATABASE_URL: got the file of TOPICS_URL, wants one of its own'
  if (!unset.has('ALERT_WEBHOOK_SECRET') && unset.has('ALERT_WEBHOOK_URL'))
    yield 'ALERT_WEBHOOK_SECRET: got "***", wants ALERT_WEBHOOK_URL beside it'
  const { ROWS_KEEP_DAYS: days = Number.POSITIVE_INFINITY, RETENTION_DAYS: kept = 0 } = config
  if (days <= kept)
    yield `ROWS_KEEP_DAYS: got "${days}", wants more than RETENTION_DAYS (${kept}): what is young is asked for by audit and replay`
  const [user, proxy] = [config.DESK_USER_HEADER, config.DESK_PROXY?.join()]
  if (user && !proxy) yield `DESK_USER_HEADER: got ${shown(user)}, wants DESK_PROXY beside it`
  if (proxy && !user) yield `DESK_PROXY: got ${shown(proxy)}, wants DESK_USER_HEADER beside it`
  if (topics?.engine !== 'kafka') return
  for (const pair of [['KAFKA_CERT', 'KAFKA_KEY'] as const, ['KAFKA_USERNAME', 'KAFKA_PASSWORD'] as const]) {
    const [missing] = pair.filter((name) => unset.has(name))
    const set = pair.find((name) => !unset.has(name))
    if (missing && set) yield `${missing}: is not set, and ${set} is; wants both`
  }
  const loopback = topics.brokers.every((broker) => isLoopback(broker.replace(/:\d+$/, '')))
  if (config.KAFKA_USERNAME && config.KAFKA_MECHANISM === 'PLAIN' && !topics.tls && !loopback)
    yield 'KAFKA_MECHANISM: got "PLAIN", which shows the password to the network; wants kafka+ssl://… with it'
}

/** Two models are told apart by their names. */
function* challenged(config: Partial<Config>, unset: ReadonlySet<Name>): Generator<string> {
  const { CHALLENGER_URL: challenger, CHALLENGER_NAME: name = '', MODEL_NAME } = config
  const got = `CHALLENGER_URL: got ${shown(challenger?.href ?? '')}`
  if (unset.has('CHALLENGER_URL') && config.STAGES?.includes('shadow'))
    yield 'STAGES: got "shadow", wants CHALLENGER_URL beside it'
  if (unset.has('CHALLENGER_URL') && name) yield `CHALLENGER_NAME: got ${shown(name)}, wants CHALLENGER_URL beside it`
  if (!challenger) return
  if (!name) yield `${got}, wants CHALLENGER_NAME beside it`
  else if (name === MODEL_NAME) yield `CHALLENGER_NAME: got ${shown(name)}, which is MODEL_NAME; wants another one`
  if (config.MODEL_URL && !MODEL_NAME)
    yield `${got}, wants MODEL_NAME beside it: or nobody can tell the two models apart`
}

/** What the registry of MLflow is asked for. */
function* registered(config: Partial<Config>, unset: ReadonlySet<Name>): Generator<string> {
  const isAsked = !unset.has('MLFLOW_TRACKING_URI')
  for (const [setting, of] of Object.entries({ MODEL_FEATURES: 'MODEL', CHALLENGER_FEATURES: 'CHALLENGER' } as const)) {
    const name = config[`${of}_NAME`] ?? ''
    if (config[setting as 'MODEL_FEATURES'] !== 'auto') continue
    if (!isAsked || !config[`${of}_URL`] || !/.(\/\d+|@[\w-]+)$/.test(name))
      yield `${setting}: got "auto", wants MLFLOW_TRACKING_URI, ${of}_URL, and ${of}_NAME as name/version beside it`
  }
  if (config.PROMOTE_BY_ALIAS && !(isAsked && config.MODEL_NAME))
    yield 'PROMOTE_BY_ALIAS: got "yes", wants MLFLOW_TRACKING_URI and MODEL_NAME beside it'
}

/** SQLite files on a dyno. */
function* lostOnDyno({
  TOPICS_URL,
  DATABASE_URL,
  STAGES: stages,
  ROWS_KEEP_DAYS: days,
  ALLOW_EPHEMERAL,
}: Partial<Config>): Generator<string> {
  const files = { TOPICS_URL, DATABASE_URL: stages?.includes('record') ? DATABASE_URL : undefined }
  for (const [name, place] of Object.entries(files))
    if (place?.engine === 'sqlite' && !ALLOW_EPHEMERAL)
      yield `${name}: got ${shown(`sqlite:${place.path}`)}, and a dyno loses its disk at every restart (DYNO is set); wants postgres://… (DATABASE_URL alone serves both), or ALLOW_EPHEMERAL=1 to try it out`
  if (days !== undefined && !ALLOW_EPHEMERAL)
    yield `ROWS_KEEP_DAYS: got "${days}", and a dyno loses its disk, with the archive, at every restart (DYNO is set); set it for a worker that has a disk`
}

/** What a worker with these settings cannot do without. */
function* missing(config: Partial<Config>, unset: ReadonlySet<Name>): Generator<string> {
  const { HOST, STATUS_TOKEN, STAGES: stages = [], NODE_ENV } = config
  if (HOST && !STATUS_TOKEN && !isLoopback(HOST))
    yield `HOST: got ${shown(HOST)}, wants STATUS_TOKEN beside it, e.g. from openssl rand -hex 16: others can reach the status page there`
  if (NODE_ENV === 'production') {
    for (const name of stages.flatMap((stage) => REQUIRED[stage]).filter((needed) => unset.has(needed)))
      yield `${name}: is not set, and in production (NODE_ENV=production) nothing is simulated; wants ${SETTINGS[name].meaning.split(';')[0]}`
  } else if (stages.includes('alert') && !unset.has('SMTP_URL')) {
    for (const name of ['ALERT_FROM', 'ALERT_TO'] as const)
      if (unset.has(name)) yield `${name}: is not set, and SMTP_URL is; wants ${SETTINGS[name].meaning}`
  }
}

function given(env: NodeJS.ProcessEnv, name: Name, { heroku }: Setting): string | undefined {
  const text = trimmed(env, name)
  const file = trimmed(env, `${name}_FILE`)
  if (file === undefined) return text ?? (heroku ? trimmed(env, heroku) : undefined)
  if (text !== undefined) throw new Error(`${name}_FILE: is set and so is ${name}; wants only one of them`)
  const got = `${name}_FILE: got ${shownPath(file)}`
  let content: string
  try {
    content = readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new Error(`${got}, wants a file that can be read (${(error as NodeJS.ErrnoException).code})`)
  }
  if (content === '') throw new Error(`${got}, wants a file that is not empty`)
  return content
}

/** As it was meant: dotenv takes quotes and comments away, docker --env-file and systemd do not all of it. */
function trimmed(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const text = env[name]?.trim()
  if (!text) return undefined
  const way = `in the environment it is part of the value (docker --env-file keeps it)`
  if (/^(["'`]).*\1$/s.test(text)) throw new Error(`${name}: got quotes around the value, and ${way}; wants none`)
  if (/(^|\s)#(\s|$)|\s#[^"'<>{}]*$/.test(text))
    throw new Error(`${name}: got a # behind a blank, which begins no comment: ${way}; wants none, or ${fileOf(name)}`)
  return text
}
const fileOf = (name: string) => (name.endsWith('_FILE') ? 'another path' : `${name}_FILE`)

/** A path that leads to a folder which is there; it may be the secret itself. */
const shownPath = (path: string) =>
  /^[\w./-]+$/.test(path) && dirname(path) !== '/' && /^\.{0,2}\//.test(path) && existsSync(dirname(path))
    ? `"${path}"`
    : '"***"'
