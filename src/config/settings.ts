import { CARE } from './care.ts'
import { databases, list, placeOf, topics } from './dsn.ts'
import { MODELS } from './models.ts'
import {
  address,
  addresses,
  count,
  headers,
  listOf,
  oneOf,
  origin,
  pem,
  reviewers,
  smtp,
  timeZone,
  url,
  whole,
} from './schemas.ts'
import { z } from './zod.cjs'

export const STAGES = ['fetch', 'score', 'alert', 'record', 'shadow'] as const
export type StageName = (typeof STAGES)[number]

const ADDRESSES = 'IP addresses, a comma list'

export type Setting = {
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
  ...MODELS,
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
  ALERT_TO: { schema: addresses, meaning: 'the addresses that alarms go to, a comma list' },
  ALERT_DAILY_LIMIT: {
    schema: count('mails', 1_000_000),
    default: '450',
    meaning: 'most mails in any 24 h (Gmail stops at 500); from 80 % of it on they are collected, what is over waits',
  },
  ALERT_BURST: {
    schema: count('frauds', 1_000_000, 0),
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
    meaning:
      'days that the topics keep what every reader has passed; dead letters are kept until put back or crossed out, and then as long (in Kafka until those before them are, too)',
  },
  DATABASE_URL: {
    schema: placeOf(databases, 'sqlite:<file> or postgres://user:password@host:5432/database'),
    default: 'sqlite:data/fraud.db',
    meaning: 'where the predictions are recorded: sqlite:<file> or postgres://user:password@host/database',
  },
  ROWS_KEEP_DAYS: {
    schema: count('days', 36_500),
    meaning:
      'days that the database keeps rows; older ones move into yearly Parquet files in archive/, once a day; unset: for ever',
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
    schema: oneOf('PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'),
    default: 'SCRAM-SHA-512',
    meaning: 'how the user logs in: PLAIN (over TLS only), SCRAM-SHA-256 or SCRAM-SHA-512',
  },
  STAGES: {
    schema: listOf(STAGES),
    default: 'fetch,score,alert,record',
    meaning: 'which stages this process runs; unset, and CHALLENGER_URL set: shadow too',
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
  TIME_ZONE: {
    schema: timeZone,
    default: 'UTC',
    meaning: 'the time zone of the desk and of DAILY_SUMMARY, e.g. Europe/Paris',
  },
  DAILY_SUMMARY: {
    schema: z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'a time of day, e.g. 07:30'),
    meaning:
      'when a mail says each day what there was and what is open, in TIME_ZONE, to ALERT_TO, e.g. 07:30; unset: none',
  },
  DESK_URL: {
    schema: origin,
    meaning:
      'where people reach this server, e.g. https://fraud.example.com, without a path: mails then have a link for each fraud; unset: none, but for mails in outbox/',
  },
  DESK_TOKEN: {
    schema: z.string().min(8, '8 characters or more'),
    secret: true,
    meaning: 'who types it may use the desk, by any name, as a lead; unset, and REVIEWERS too: this machine alone',
  },
  REVIEWERS: {
    schema: reviewers,
    secret: true,
    meaning:
      'who may use the desk, and with which password: a comma list, made by npm run desk -- password NAME [--lead]',
  },
  DESK_USER_HEADER: {
    schema: z.string().regex(/^[A-Za-z0-9-]+$/, "a header's name"),
    meaning: 'the header in which the proxy at DESK_PROXY names who asks, e.g. X-Forwarded-Email',
  },
  DESK_PROXY: {
    schema: z
      .string()
      .transform(list)
      .pipe(z.array(z.union([z.ipv4(), z.ipv6()], ADDRESSES)).min(1, ADDRESSES)),
    meaning: 'the addresses from which DESK_USER_HEADER is believed, a comma list',
  },
  DESK_SECRET: {
    schema: z.string().min(16, '16 characters or more'),
    secret: true,
    meaning: 'signs links and sessions; unset: one that the topics keep',
  },
  AUDIT_PER_DAY: {
    schema: count('rows', 1_000_000, 0),
    default: '20',
    meaning:
      'rows a day that are no alarm and are put before a person all the same, about, at PRODUCER_RATE_PER_MIN rows a minute: the only way to missed frauds',
  },
  ...CARE,
  DISK_RESERVE_MB: {
    schema: count('MB', 1_000_000_000, 0),
    default: '200',
    meaning: 'MB to be left free on the disk of a SQLite file, beyond what the waiting records need: else no fetching',
  },
  HEARTBEAT_URL: {
    schema: url('http:', 'https:'),
    secret: true,
    meaning:
      'called once a minute while every stage works, with /fail and the reason when one has failed for 15 minutes: https://hc-ping.com/… or a push URL of Uptime Kuma; who hears nothing for a while raises the alarm',
  },
  ALLOW_EPHEMERAL: {
    schema: oneOf('1', '0').transform((text) => text === '1'),
    default: '0',
    meaning: '1: keep SQLite files on a disk that is lost at every restart (a dyno of Heroku), to try it out',
  },
  LOG_LEVEL: {
    schema: oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    default: 'info',
    meaning: 'least level that is logged; debug adds a line for each call, batch, write and failure',
  },
  NODE_ENV: {
    schema: oneOf('production', 'development', 'test'),
    meaning: 'production: nothing is simulated, the start ends with what is missing',
  },
} satisfies Record<string, Setting>

export type Name = keyof typeof SETTINGS
type Value<N extends Name> = z.output<(typeof SETTINGS)[N]['schema']>
/** The settings, read and checked; the optional ones are undefined when unset. */
export type Config = {
  [N in Name]: (typeof SETTINGS)[N] extends { default: string } ? Value<N> : Value<N> | undefined
}
