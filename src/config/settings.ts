import { existsSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse, populate } from 'dotenv'
import { z } from 'zod'
import { FEATURES, type Feature, NUMERIC_FEATURES } from '../columns.ts'
import { databases, ENCODED, isLoopback, isWhole, type KafkaCluster, list, placeOf, topics } from './dsn.ts'
import { strangers } from './names.ts'
import { shown } from './shown.ts'

export const STAGES = ['fetch', 'score', 'alert', 'record'] as const
export type StageName = (typeof STAGES)[number]
const STAGE_LIST = `a comma list of ${STAGES.join(', ')}, each at most once`

const wants = (what: string) => ({ error: what })
const whole = (what: string, least: number, most: number) =>
  z
    .string()
    .regex(/^\d+$/, what)
    .transform(Number)
    .pipe(z.number(wants(what)).min(least, what).max(most, what))
const count = (things: string, most: number) => whole(`a whole number of ${things}, 1 to ${most}`, 1, most)
const url = (...protocols: string[]) =>
  z.string().transform((text, ctx) => {
    const parsed = URL.parse(text)
    if (parsed && !parsed.hash && protocols.includes(parsed.protocol) && isWhole(text, parsed)) return parsed
    const hint = text.includes('@') ? `, ${ENCODED}` : ''
    ctx.addIssue(`a full URL that begins with ${protocols.map((p) => `${p}//`).join(' or ')}${hint}`)
    return z.NEVER
  })
const headers = z.string().transform((text, ctx) => {
  try {
    return z.record(z.string().regex(/^[\w-]+$/), z.string().regex(/^[\t -~\u0080-\u00ff]*$/)).parse(JSON.parse(text))
  } catch {
    ctx.addIssue('a JSON object of Latin-1 texts, e.g. {"Authorization":"Bearer token"}')
    return z.NEVER
  }
})
const address = z
  .string()
  .trim()
  .regex(
    /^([^\s@<>,:]+@[^\s@<>,]+|[^<>\r\n]*<[^\s@<>,:]+@[^\s@<>,]+>)$/,
    'an address, e.g. fraud@example.com or Fraud desk <fraud@example.com>',
  )
/** A comma in quotes is of a name. */
const mailboxes = (text: string) =>
  (text.match(/(?:"(?:[^"\\]|\\.)*"|[^,])+/g) ?? []).map((one) => one.trim()).filter((one) => one !== '')
const addresses = z
  .string()
  .transform(mailboxes)
  .pipe(z.array(address).min(1, 'one address or more, with commas between'))
const distinct = (items: readonly string[]) => new Set(items).size === items.length

/** A certificate or key; in an environment variable its lines may be divided by \n. */
const pem = (what: string) =>
  z
    .string()
    .transform((text) => text.replaceAll('\\n', '\n'))
    .pipe(z.string().regex(/^-----BEGIN [A-Z ]+-----[\s\S]+-----END [A-Z ]+-----$/, `${what} as PEM, -----BEGIN …`))

export type SmtpServer = {
  host: string
  port: number
  secure: boolean
  loopback: boolean
  user?: string
  pass?: string
}
const smtp = url('smtp:', 'smtps:').transform((parsed, ctx): SmtpServer => {
  if (parsed.pathname.length > 1 || parsed.search) {
    ctx.addIssue(`nothing behind the port, as in smtp://user:password@host:587, ${ENCODED}`)
    return z.NEVER
  }
  const secure = parsed.protocol === 'smtps:'
  const login = parsed.username && {
    user: decodeURIComponent(parsed.username),
    pass: decodeURIComponent(parsed.password),
  }
  return {
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: Number(parsed.port) || (secure ? 465 : 587),
    secure,
    loopback: isLoopback(parsed.hostname),
    ...login,
  }
})
const features = z.string().transform((text, ctx): readonly Feature[] => {
  if (text === 'all') return FEATURES
  if (text === 'numeric') return NUMERIC_FEATURES
  const columns = list(text)
  const unknown = columns.filter((column) => !(FEATURES as readonly string[]).includes(column))
  if (columns.length > 0 && unknown.length === 0 && distinct(columns)) return columns as Feature[]
  ctx.addIssue(
    unknown.includes('is_fraud')
      ? 'columns without is_fraud: the label is never sent to the model'
      : `all, numeric, or a comma list, each once, of ${FEATURES.join(', ')}`,
  )
  return z.NEVER
})

type Setting = {
  schema: z.ZodType<unknown, string>
  default?: string
  secret?: true
  /** another name for it, which Heroku's Kafka sets; counts when this one is not set */
  heroku?: string
  meaning: string
}

/**
 * Every setting: how it is read, what it is when unset, what it means. `npm run settings` writes `.env.example` and the
 * table of docs/settings.md from it.
 */
export const SETTINGS = {
  PRODUCER_URL: {
    schema: url('http:', 'https:'),
    meaning: 'the full URL of the payments API; e.g. https://…/current-transactions; unset: a simulated one',
  },
  PRODUCER_HEADERS: { schema: headers, secret: true, default: '{}', meaning: 'extra request headers, a JSON object' },
  PRODUCER_RATE_PER_MIN: {
    schema: count('calls', 1_000_000),
    default: '5',
    meaning: 'speed 1: most calls in any 60 s, kept across restarts (60 when the producer is simulated)',
  },
  MODEL_URL: {
    schema: url('http:', 'https:'),
    meaning:
      'the base URL of the MLflow model server; the worker posts to $MODEL_URL/invocations; unset: a simulated one',
  },
  MODEL_HEADERS: { schema: headers, secret: true, default: '{}', meaning: 'extra request headers, a JSON object' },
  MODEL_FEATURES: {
    schema: features,
    default: 'all',
    meaning:
      'columns sent to the model: all (the 21 features), numeric (the nine numeric ones), or a comma list, in that order',
  },
  MODEL_NAME: { schema: z.string(), meaning: 'stamped on every prediction, e.g. fraud-rf/7' },
  FRAUD_THRESHOLD: {
    schema: z
      .string()
      .transform(Number)
      .pipe(z.number(wants('a number from 0 to 1')).min(0, 'a number from 0 to 1').max(1, 'a number from 0 to 1')),
    default: '0.5',
    meaning:
      'fraud from this probability on, where the model answers one and no verdict; with classes it has no effect',
  },
  MODEL_FRAUD_VALUE: {
    schema: z.string(),
    meaning:
      'the class or label that means fraud, where that is not 1 or a known label: e.g. -1 (an outlier detector), 2, suspicious; every other one is honest',
  },
  UNIX_TIME_UNIT: {
    schema: z.enum(['s', 'ms'], wants('s or ms')),
    default: 's',
    meaning: 'unit of unix_time as the model was trained: s (the training file) or ms (the first clients)',
  },
  SCORE_BATCH_SIZE: {
    schema: count('rows', 100_000),
    default: '500',
    meaning: 'speed 2: most rows in one request to the model; what waits is sent at once',
  },
  RECORD_BATCH_SIZE: {
    schema: count('rows', 100_000),
    default: '500',
    meaning: 'speed 3: most rows in one write to the database',
  },
  SMTP_URL: {
    schema: smtp,
    secret: true,
    meaning:
      'smtp://user:password@host:587 or smtps://…; STARTTLS is demanded unless loopback; unset: .eml files in outbox/',
  },
  ALERT_FROM: { schema: address, meaning: 'the address that alarms come from' },
  ALERT_TO: {
    schema: addresses,
    meaning: 'the addresses that alarms go to, a comma list',
  },
  ALERT_DAILY_LIMIT: {
    schema: count('mails', 1_000_000),
    default: '450',
    meaning: 'most mails in any 24 h (Gmail stops at 500); from 80 % of it on they are collected, what is over waits',
  },
  ALERT_BURST: {
    schema: whole('a whole number of frauds, 0 to 1000000', 0, 1_000_000),
    default: '5',
    meaning: 'frauds in 60 s that are mailed at once, each in a mail of its own; more are collected, one mail a minute',
  },
  ALERT_BREAKER: {
    schema: z.string().transform((text, ctx) => {
      if (text === 'off') return undefined
      const chance = Number(text)
      if (chance > 0 && chance <= 1e-6) return chance
      ctx.addIssue('off, or a chance above 0, 1e-6 at most')
      return z.NEVER
    }),
    default: '1e-12',
    meaning: 'the model looks broken when so many frauds have a smaller chance than this, at the usual rate; or off',
  },
  ALERT_OPS_TO: {
    schema: addresses,
    meaning: 'the addresses that mails about trouble go to, a comma list; unset: ALERT_TO',
  },
  ALERT_LAG_MINUTES: {
    schema: count('minutes', 100_000),
    default: '30',
    meaning: 'trouble when a record has waited so long for a stage',
  },
  ALERT_WEBHOOK_URL: {
    schema: url('http:', 'https:'),
    secret: true,
    meaning: 'alarms are posted there too, as JSON for Slack, Discord or a program',
  },
  ALERT_WEBHOOK_SECRET: {
    schema: z.string(),
    secret: true,
    meaning: 'signs what is posted: X-Signature is the HMAC-SHA256 of the body, in hex',
  },
  TOPICS_URL: {
    schema: placeOf(
      topics,
      'sqlite:<file>, postgres://user:password@host:5432/database or kafka://host:9092,host:9092',
    ),
    default: 'sqlite:data/topics.db',
    heroku: 'KAFKA_URL',
    meaning:
      'where the topics live: sqlite:<file>, postgres://… or kafka://host:9092,host:9092 (9092 when no port is given)',
  },
  RETENTION_DAYS: {
    schema: count('days', 36_500),
    default: '7',
    meaning: 'days that the topics keep what every reader has passed; dead letters are kept until put back',
  },
  DATABASE_URL: {
    schema: placeOf(databases, 'sqlite:<file> or postgres://user:password@host:5432/database'),
    default: 'sqlite:data/fraud.db',
    meaning: 'where the predictions are recorded: sqlite:<file> or postgres://user:password@host/database',
  },
  KAFKA_PARTITIONS: {
    schema: count('partitions', 1000),
    default: '6',
    meaning: 'partitions of transactions and predictions when they are created: most scorers at work at a time',
  },
  KAFKA_REPLICATION: {
    schema: count('copies', 10),
    meaning: "copies of each partition when it is created; unset: the brokers' default",
  },
  KAFKA_PREFIX: {
    schema: z.string().regex(/^[\w.-]{1,100}$/, 'letters, digits and . _ -'),
    meaning: 'stands before the names of Kafka topics and groups',
  },
  KAFKA_CA: {
    schema: pem('a certificate'),
    heroku: 'KAFKA_TRUSTED_CERT',
    secret: true,
    meaning: "the authority that signed the brokers' certificates, PEM; TLS is used when it is set",
  },
  KAFKA_CERT: {
    schema: pem('a certificate'),
    heroku: 'KAFKA_CLIENT_CERT',
    secret: true,
    meaning: "the client's certificate, PEM",
  },
  KAFKA_KEY: {
    schema: pem('a private key'),
    heroku: 'KAFKA_CLIENT_CERT_KEY',
    secret: true,
    meaning: "the client's private key, PEM",
  },
  KAFKA_USERNAME: { schema: z.string(), meaning: 'the user of the brokers, with SASL' },
  KAFKA_PASSWORD: { schema: z.string(), secret: true, meaning: "the user's password" },
  KAFKA_MECHANISM: {
    schema: z.enum(['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'], wants('PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512')),
    default: 'SCRAM-SHA-512',
    meaning: 'how the user logs in: PLAIN (over TLS only), SCRAM-SHA-256 or SCRAM-SHA-512',
  },
  STAGES: {
    schema: z
      .string()
      .transform(list)
      .pipe(
        z
          .array(z.enum(STAGES, wants(STAGE_LIST)))
          .min(1, STAGE_LIST)
          .refine(distinct, STAGE_LIST),
      ),
    default: STAGES.join(','),
    meaning: 'which stages this process runs',
  },
  ONCE_SECONDS: {
    schema: count('seconds', 86_400),
    default: '50',
    meaning: 'seconds that `once` fetches before it drains the topics',
  },
  HOST: {
    schema: z.string().regex(/^\S+$/, 'a host name or address'),
    default: '127.0.0.1',
    meaning: 'the address that the status page listens on; any but a loopback address wants STATUS_TOKEN',
  },
  PORT: {
    schema: whole('a port, 0 to 65535', 0, 65_535),
    default: '8080',
    meaning: 'the port of the status page; 0 takes a free one',
  },
  STATUS_TOKEN: {
    schema: z.string().regex(/^[!-~]+$/, 'ASCII characters without blanks'),
    secret: true,
    meaning: 'who sends it (Authorization: Bearer …, or as the password) may see the status page and the metrics',
  },
  DISK_RESERVE_MB: {
    schema: whole('a whole number of MB, 0 to 1000000000', 0, 1_000_000_000),
    default: '200',
    meaning: 'MB to be left free on the disk of a SQLite file, beyond what the waiting records need: else no fetching',
  },
  ALLOW_EPHEMERAL: {
    schema: z.enum(['0', '1'], wants('1 or 0')).transform((text) => text === '1'),
    default: '0',
    meaning: '1: keep SQLite files on a disk that is lost at every restart (a dyno of Heroku), to try it out',
  },
  LOG_LEVEL: {
    schema: z.enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      wants('trace, debug, info, warn, error, fatal or silent'),
    ),
    default: 'info',
    meaning: 'least level that is logged; debug adds a line for each call, batch, write and failure',
  },
  NODE_ENV: {
    schema: z.enum(['production', 'development', 'test'], wants('production, development or test')),
    meaning: 'production: nothing is simulated, the start ends with what is missing',
  },
} satisfies Record<string, Setting>

type Name = keyof typeof SETTINGS
type Value<N extends Name> = z.output<(typeof SETTINGS)[N]['schema']>
/** The settings, read and checked; the optional ones are undefined when unset. */
export type Config = {
  [N in Name]: (typeof SETTINGS)[N] extends { default: string } ? Value<N> : Value<N> | undefined
}

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
  alert: ['SMTP_URL', 'ALERT_FROM', 'ALERT_TO'],
  record: [],
}

/** The names that stand in `.env`, beside what is set. */
const WRITTEN = Symbol('written in .env')
export type Environment = NodeJS.ProcessEnv & { [WRITTEN]?: ReadonlySet<string> }

/**
 * The process's environment, with `.env` of the working folder behind it. Throws ConfigError when that is there and
 * cannot be read: what is set in it would be missing without a word.
 */
export function environment(): Environment {
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
  populate(process.env as Record<string, string>, written)
  const forgotten = Object.keys(SETTINGS).filter((name) =>
    new RegExp(`^\\s*(export\\s+)?${name}(_FILE)?\\s+[^\\s=:]`, 'm').test(text.toString()),
  )
  if (forgotten.length > 0) throw new ConfigError(forgotten.map((name) => `${name}: has no = behind it in .env`))
  return { ...process.env, [WRITTEN]: new Set(Object.keys(written)) }
}

/** Names that were probably meant for a setting and are none, one line each: in production a mistake, else a warning. */
export function unknownNames(env: Environment): string[] {
  const known = new Set<string>()
  for (const [name, { heroku }] of Object.entries(SETTINGS) as [Name, Setting][])
    for (const one of [name, ...(heroku ? [heroku] : [])]) known.add(one).add(`${one}_FILE`)
  return strangers(known, Object.keys(env), env[WRITTEN] ?? new Set())
}

/**
 * Reads every setting. Blank means unset; `NAME_FILE` names a file that holds the value of `NAME`.
 * Throws ConfigError with all the mistakes. `working: false` is for commands that run no stage.
 */
export function readConfig(env: Environment, { working = true } = {}): Config {
  const mistakes: string[] = []
  const config: Record<string, unknown> = {}
  const unset = new Set<Name>()
  for (const [name, setting] of Object.entries(SETTINGS) as [Name, Setting][]) {
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
  if (onDyno && unset.has('TOPICS_URL') && (config as Partial<Config>).DATABASE_URL?.engine === 'postgres')
    config.TOPICS_URL = config.DATABASE_URL
  const { STAGES: stages = [], NODE_ENV, TOPICS_URL, DATABASE_URL } = config as Partial<Config>
  if (TOPICS_URL?.engine === 'sqlite' && DATABASE_URL?.engine === 'sqlite') {
    if (resolve(TOPICS_URL.path) === resolve(DATABASE_URL.path))
      mistakes.push('DATABASE_URL: got the file of TOPICS_URL, wants one of its own')
  }
  if (!unset.has('ALERT_WEBHOOK_SECRET') && unset.has('ALERT_WEBHOOK_URL'))
    mistakes.push('ALERT_WEBHOOK_SECRET: got "***", wants ALERT_WEBHOOK_URL beside it')
  if (TOPICS_URL?.engine === 'kafka') mistakes.push(...kafkaMistakes(config as Partial<Config>, TOPICS_URL, unset, env))
  if (working && onDyno) mistakes.push(...dynoMistakes(config as Partial<Config>))
  if (working && config.HOST && !config.STATUS_TOKEN && !isLoopback(config.HOST as string))
    mistakes.push(
      `HOST: got ${shown(config.HOST as string)}, wants STATUS_TOKEN beside it, e.g. from openssl rand -hex 16: others can reach the status page there`,
    )
  if (working && NODE_ENV === 'production') {
    for (const name of stages.flatMap((stage) => REQUIRED[stage]).filter((needed) => unset.has(needed)))
      mistakes.push(
        `${name}: is not set, and in production (NODE_ENV=production) nothing is simulated; wants ${SETTINGS[name].meaning.split(';')[0]}`,
      )
  } else if (working && stages.includes('alert') && !unset.has('SMTP_URL')) {
    for (const name of ['ALERT_FROM', 'ALERT_TO'] as const)
      if (unset.has(name)) mistakes.push(`${name}: is not set, and SMTP_URL is; wants ${SETTINGS[name].meaning}`)
  }
  if (NODE_ENV === 'production') mistakes.push(...unknownNames(env))
  if (mistakes.length > 0) throw new ConfigError(mistakes)
  if (unset.has('PRODUCER_URL') && unset.has('PRODUCER_RATE_PER_MIN')) config.PRODUCER_RATE_PER_MIN = 60
  return config as Config
}

/** SQLite files would be lost. */
function dynoMistakes({ TOPICS_URL, DATABASE_URL, STAGES: stages, ALLOW_EPHEMERAL }: Partial<Config>): string[] {
  const files = { TOPICS_URL, DATABASE_URL: stages?.includes('record') ? DATABASE_URL : undefined }
  return Object.entries(files).flatMap(([name, place]) =>
    place?.engine === 'sqlite' && !ALLOW_EPHEMERAL
      ? `${name}: got ${shown(`sqlite:${place.path}`)}, and a dyno loses its disk at every restart (DYNO is set); wants postgres://… (DATABASE_URL alone serves both), or ALLOW_EPHEMERAL=1 to try it out`
      : [],
  )
}

/** What does not go together. Sets what the other settings say of the connection. */
function kafkaMistakes(
  config: Partial<Config>,
  cluster: KafkaCluster,
  unset: Set<Name>,
  env: NodeJS.ProcessEnv,
): string[] {
  const mistakes: string[] = []
  for (const [one, other] of [
    ['KAFKA_CERT', 'KAFKA_KEY'],
    ['KAFKA_USERNAME', 'KAFKA_PASSWORD'],
  ] as const)
    for (const [set, missing] of [
      [one, other],
      [other, one],
    ] as const)
      if (!unset.has(set) && unset.has(missing)) mistakes.push(`${missing}: is not set, and ${set} is; wants both`)
  if (config.KAFKA_CA || config.KAFKA_CERT) cluster.tls = true
  cluster.checkHosts =
    !env.KAFKA_TRUSTED_CERT || config.KAFKA_CA !== env.KAFKA_TRUSTED_CERT.trim().replaceAll('\\n', '\n')
  const loopback = cluster.brokers.every((broker) => isLoopback(broker.replace(/:\d+$/, '')))
  if (config.KAFKA_USERNAME && config.KAFKA_MECHANISM === 'PLAIN' && !cluster.tls && !loopback)
    mistakes.push('KAFKA_MECHANISM: got "PLAIN", which shows the password to the network; wants kafka+ssl://… with it')
  return mistakes
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
