import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { parse as parseDotenv } from 'dotenv'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FEATURES, NUMERIC_FEATURES } from '../../src/columns.ts'
import { ConfigError, readConfig, unknownNames } from '../../src/config/read.ts'
import { SETTINGS } from '../../src/config/settings.ts'
import { tempDir } from '../rows.ts'

type Env = Record<string, string>
const NAMES = Object.keys(SETTINGS)
const defaultOf = (name: string) => (SETTINGS as Record<string, { default?: string }>)[name]?.default
const meaningOf = (name: string) => (SETTINGS as Record<string, { meaning: string }>)[name]?.meaning

/** Every line that the settings earn; none when they are right. */
function mistakes(env: Env, options?: { working?: boolean }): readonly string[] {
  try {
    readConfig(env, options)
    return []
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError)
    return (error as ConfigError).lines
  }
}
const names = (lines: readonly string[]) => lines.map((line) => line.split(':')[0])

/** All that production demands. */
const PRODUCTION = {
  NODE_ENV: 'production',
  PRODUCER_URL: 'https://payments.example.com/current-transactions',
  MODEL_URL: 'http://model:5000',
  SMTP_URL: 'smtp://mail.example.com',
  ALERT_FROM: 'fraud@example.com',
  ALERT_TO: 'desk@example.com',
}
const PEM = '-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----'
const ANYTHING = [
  'MODEL_NAME',
  'CHALLENGER_NAME',
  'MODEL_FRAUD_VALUE',
  'ALERT_WEBHOOK_SECRET',
  'KAFKA_USERNAME',
  'KAFKA_PASSWORD',
] // may be any text
const MAIL = { ALERT_FROM: 'fraud@example.com', ALERT_TO: 'desk@example.com' }

describe('what is set', () => {
  test('nothing at all is a first run', () => {
    expect(readConfig({})).toEqual({
      PRODUCER_HEADERS: {},
      PRODUCER_RATE_PER_MIN: 60, // the simulated producer has no limit
      MODEL_HEADERS: {},
      MODEL_FEATURES: FEATURES,
      CHALLENGER_HEADERS: {},
      FRAUD_THRESHOLD: 0.5,
      UNIX_TIME_UNIT: 's',
      SCORE_BATCH_SIZE: 500,
      RECORD_BATCH_SIZE: 500,
      ALERT_DAILY_LIMIT: 450,
      ALERT_BURST: 5,
      ALERT_BREAKER: 1e-12,
      ALERT_LAG_MINUTES: 30,
      TOPICS_URL: { engine: 'sqlite', path: 'data/topics.db' },
      RETENTION_DAYS: 7,
      DATABASE_URL: { engine: 'sqlite', path: 'data/fraud.db' },
      KAFKA_PARTITIONS: 6,
      KAFKA_MECHANISM: 'SCRAM-SHA-512',
      STAGES: ['fetch', 'score', 'alert', 'record'],
      ONCE_SECONDS: 50,
      HOST: '127.0.0.1',
      PORT: 8080,
      TIME_ZONE: 'UTC',
      AUDIT_PER_DAY: 20,
      REVIEW_COST: 2,
      PROMOTE_BY_ALIAS: false,
      DISK_RESERVE_MB: 200,
      ALLOW_EPHEMERAL: false,
      LOG_LEVEL: 'info',
    })
  })

  test('every setting is read', () => {
    const config = readConfig({
      PRODUCER_URL: 'https://user:p%40ss@payments.example.com:8443/current-transactions?key=1',
      PRODUCER_HEADERS: '{"Authorization":"Bearer token","X-Team":"ümlaut"}',
      PRODUCER_RATE_PER_MIN: '10',
      MODEL_URL: 'http://[::1]:5000/base',
      MODEL_HEADERS: ' {\n"x-api-key": "" } ',
      MODEL_FEATURES: 'amt, lat',
      MODEL_NAME: 'fraud-rf/7',
      CHALLENGER_URL: 'http://next:5001',
      CHALLENGER_NAME: 'fraud-rf/8',
      CHALLENGER_HEADERS: '{"x-api-key":"k"}',
      CHALLENGER_FEATURES: 'numeric',
      FRAUD_THRESHOLD: '0.25',
      MODEL_FRAUD_VALUE: '-1',
      UNIX_TIME_UNIT: 'ms',
      SCORE_BATCH_SIZE: '1',
      RECORD_BATCH_SIZE: '2',
      SMTP_URL: 'smtps://robot%40example.com:p%40ss%3A%2F%23%25@mail.example.com',
      ALERT_FROM: 'Fraud desk <fraud@example.com>',
      ALERT_TO: 'a@example.com, Bea <b@example.com>, "Cox, \\"C\\"" <c@example.com>,',
      ALERT_DAILY_LIMIT: '3',
      ALERT_BURST: '0',
      ALERT_BREAKER: '1e-9',
      ALERT_OPS_TO: 'ops@example.com',
      ALERT_LAG_MINUTES: '5',
      ALERT_WEBHOOK_URL: 'https://hooks.example.com/T0/secret',
      ALERT_WEBHOOK_SECRET: 'sesame',
      TOPICS_URL: 'sqlite:/var/lib/topics.db',
      RETENTION_DAYS: '30',
      ROWS_KEEP_DAYS: '365',
      DATABASE_URL: 'sqlite:fraud.db',
      KAFKA_PARTITIONS: '12',
      KAFKA_REPLICATION: '3',
      KAFKA_PREFIX: 'team-a.',
      KAFKA_CA: PEM.replaceAll('\n', '\\n'), // as it fits into one line
      KAFKA_CERT: PEM,
      KAFKA_KEY: PEM,
      KAFKA_USERNAME: 'robot',
      KAFKA_PASSWORD: 'p@ss:/#%',
      KAFKA_MECHANISM: 'PLAIN',
      STAGES: 'record, score',
      ONCE_SECONDS: '5',
      HOST: '0.0.0.0',
      PORT: '0',
      STATUS_TOKEN: 'open-sesame-0123',
      TIME_ZONE: 'Europe/Paris',
      DAILY_SUMMARY: '07:30',
      DESK_URL: 'https://desk.example.com',
      DESK_TOKEN: 'open-sesame-4567',
      REVIEWERS: `anna:${'A'.repeat(22)}.${'B'.repeat(43)}:lead`,
      DESK_USER_HEADER: 'X-Forwarded-Email',
      DESK_PROXY: '10.0.0.2, ::1',
      DESK_SECRET: 'a secret of sixteen',
      AUDIT_PER_DAY: '50',
      TRUTH: 'reviewer',
      TRUTH_DELAY_DAYS: '45',
      REVIEW_COST: '2.5',
      MLFLOW_TRACKING_URI: 'http://mlflow.example:5000',
      PROMOTE_BY_ALIAS: 'yes',
      DISK_RESERVE_MB: '0',
      HEARTBEAT_URL: 'https://hc-ping.com/0a1b',
      ALLOW_EPHEMERAL: '1',
      LOG_LEVEL: 'debug',
      NODE_ENV: 'production',
    })
    expect(config).toEqual({
      PRODUCER_URL: new URL('https://user:p%40ss@payments.example.com:8443/current-transactions?key=1'),
      PRODUCER_HEADERS: { Authorization: 'Bearer token', 'X-Team': 'ümlaut' },
      PRODUCER_RATE_PER_MIN: 10,
      MODEL_URL: new URL('http://[::1]:5000/base'),
      MODEL_HEADERS: { 'x-api-key': '' },
      MODEL_FEATURES: ['amt', 'lat'],
      MODEL_NAME: 'fraud-rf/7',
      CHALLENGER_URL: new URL('http://next:5001'),
      CHALLENGER_NAME: 'fraud-rf/8',
      CHALLENGER_HEADERS: { 'x-api-key': 'k' },
      CHALLENGER_FEATURES: NUMERIC_FEATURES,
      FRAUD_THRESHOLD: 0.25,
      MODEL_FRAUD_VALUE: '-1',
      UNIX_TIME_UNIT: 'ms',
      SCORE_BATCH_SIZE: 1,
      RECORD_BATCH_SIZE: 2,
      SMTP_URL: {
        host: 'mail.example.com',
        port: 465,
        secure: true,
        loopback: false,
        user: 'robot@example.com',
        pass: 'p@ss:/#%',
      },
      ALERT_FROM: 'Fraud desk <fraud@example.com>',
      ALERT_TO: ['a@example.com', 'Bea <b@example.com>', '"Cox, \\"C\\"" <c@example.com>'],
      ALERT_DAILY_LIMIT: 3,
      ALERT_BURST: 0,
      ALERT_BREAKER: 1e-9,
      ALERT_OPS_TO: ['ops@example.com'],
      ALERT_LAG_MINUTES: 5,
      ALERT_WEBHOOK_URL: new URL('https://hooks.example.com/T0/secret'),
      ALERT_WEBHOOK_SECRET: 'sesame',
      TOPICS_URL: { engine: 'sqlite', path: '/var/lib/topics.db' },
      RETENTION_DAYS: 30,
      ROWS_KEEP_DAYS: 365,
      DATABASE_URL: { engine: 'sqlite', path: 'fraud.db' },
      KAFKA_PARTITIONS: 12,
      KAFKA_REPLICATION: 3,
      KAFKA_PREFIX: 'team-a.',
      KAFKA_CA: PEM,
      KAFKA_CERT: PEM,
      KAFKA_KEY: PEM,
      KAFKA_USERNAME: 'robot',
      KAFKA_PASSWORD: 'p@ss:/#%',
      KAFKA_MECHANISM: 'PLAIN',
      STAGES: ['record', 'score'],
      ONCE_SECONDS: 5,
      HOST: '0.0.0.0',
      PORT: 0,
      STATUS_TOKEN: 'open-sesame-0123',
      TIME_ZONE: 'Europe/Paris',
      DESK_URL: new URL('https://desk.example.com'),
      DAILY_SUMMARY: '07:30',
      DESK_TOKEN: 'open-sesame-4567',
      REVIEWERS: [{ name: 'anna', salt: 'A'.repeat(22), hash: 'B'.repeat(43), lead: true }],
      DESK_USER_HEADER: 'X-Forwarded-Email',
      DESK_PROXY: ['10.0.0.2', '::1'],
      DESK_SECRET: 'a secret of sixteen',
      AUDIT_PER_DAY: 50,
      TRUTH: 'reviewer',
      TRUTH_DELAY_DAYS: 45,
      REVIEW_COST: 2.5,
      MLFLOW_TRACKING_URI: new URL('http://mlflow.example:5000'),
      PROMOTE_BY_ALIAS: true,
      DISK_RESERVE_MB: 0,
      HEARTBEAT_URL: new URL('https://hc-ping.com/0a1b'),
      ALLOW_EPHEMERAL: true,
      LOG_LEVEL: 'debug',
      NODE_ENV: 'production',
    })
    expect(Object.keys(config).sort()).toEqual([...NAMES].sort())
  })

  test('MODEL_FEATURES has two names for the usual lists', () => {
    expect(readConfig({ MODEL_FEATURES: 'all' }).MODEL_FEATURES).toEqual(FEATURES)
    expect(readConfig({ MODEL_FEATURES: 'numeric' }).MODEL_FEATURES).toEqual(NUMERIC_FEATURES)
  })

  test.for<[string, object]>([
    ['smtp://mail.example.com', { host: 'mail.example.com', port: 587, secure: false, loopback: false }],
    ['smtp://mail.example.com:25/', { host: 'mail.example.com', port: 25, secure: false, loopback: false }],
    ['smtps://mail.example.com', { host: 'mail.example.com', port: 465, secure: true, loopback: false }],
    [
      'smtp://me@localhost:2525',
      { host: 'localhost', port: 2525, secure: false, loopback: true, user: 'me', pass: '' },
    ],
    ['smtp://127.0.0.1:2525', { host: '127.0.0.1', port: 2525, secure: false, loopback: true }],
    ['smtp://[::1]:2525', { host: '::1', port: 2525, secure: false, loopback: true }],
    ['smtp://[2001:db8::1]', { host: '2001:db8::1', port: 587, secure: false, loopback: false }],
    ['smtp://127.0.0.1.example.com', { host: '127.0.0.1.example.com', port: 587, secure: false, loopback: false }],
    ['smtp://localhost.example.com', { host: 'localhost.example.com', port: 587, secure: false, loopback: false }],
  ])('SMTP_URL may be %s', ([SMTP_URL, server]) => {
    expect(readConfig({ ...MAIL, SMTP_URL }).SMTP_URL).toEqual(server)
  })

  test('the real producer is asked 5 times a minute, the simulated one as often as it is told', () => {
    expect(readConfig({ PRODUCER_URL: PRODUCTION.PRODUCER_URL }).PRODUCER_RATE_PER_MIN).toBe(5)
    expect(readConfig({ PRODUCER_RATE_PER_MIN: '7' }).PRODUCER_RATE_PER_MIN).toBe(7)
  })

  test.for(['', '  ', '\t\r\n'])('blank (%j) means unset', (blank) => {
    const blanks = Object.fromEntries(
      NAMES.flatMap((name) => [[name, blank] as const, [`${name}_FILE`, blank] as const]),
    )
    expect(readConfig(blanks)).toEqual(readConfig({}))
  })

  test('white space around a value does not count', () => {
    expect(readConfig({ PORT: ' 81\n', LOG_LEVEL: '\twarn ', STAGES: ' fetch ' })).toMatchObject({
      PORT: 81,
      LOG_LEVEL: 'warn',
      STAGES: ['fetch'],
    })
  })
})

describe('a mistake', () => {
  const HTTP = 'a full URL that begins with http:// or https://'
  const SMTP = 'a full URL that begins with smtp:// or smtps://'
  const ENCODED = ', with @ : / ? # % in user or password written as %40 %3A %2F %3F %23 %25'
  const HEADERS = 'a JSON object of Latin-1 texts, e.g. {"Authorization":"Bearer token"}'
  const ADDRESS = 'an address, e.g. fraud@example.com or Fraud desk <fraud@example.com>'
  const COLUMNS = `all, numeric, auto, or a comma list, each once, of ${FEATURES.join(', ')}`
  const FRACTION = 'a number from 0 to 1'
  const STAGE_LIST = 'a comma list of fetch, score, alert, record, shadow, each at most once'
  const LEVELS = 'trace, debug, info, warn, error, fatal or silent'
  const count = (things: string, most: number) => `a whole number of ${things}, 1 to ${most}`
  const notCounts = ['0', '-1', '1.5', '1e3', '5/min', 'ten', '9'.repeat(400)]

  test.for<[names: string[], wants: string, wrong: string[]]>([
    [
      ['PRODUCER_URL', 'MODEL_URL'],
      HTTP,
      ['localhost:5000', 'htp://host', 'http//host', 'http://', 'ftp://host', 'host'],
    ],
    [['PRODUCER_URL', 'MODEL_URL'], HTTP, ['http://host:99999', 'http://ho st', 'https://host/path#part']],
    [
      ['TOPICS_URL'],
      'sqlite:<file>, postgres://user:password@host:5432/database or kafka://host:9092,host:9092',
      ['topics.db', 'sqlite', 'sqllite:a.db', 'mysql://host/db', 'redis://host', 'SQLITE:a.db', 'kafkas://host:9092'],
    ],
    [
      ['DATABASE_URL'],
      'sqlite:<file> or postgres://user:password@host:5432/database',
      ['mysql://host/db', 'postgre://host/db', 'kafka://host:9092'],
    ],
    [
      ['TOPICS_URL', 'DATABASE_URL'],
      'a file, e.g. sqlite:data/topics.db, or sqlite:////var/lib/topics.db for an absolute path',
      ['sqlite:', 'sqlite://', 'sqlite:///', 'sqlite://data/topics.db', 'sqlite://user:pass@host/db'],
    ],
    [
      ['TOPICS_URL', 'DATABASE_URL'],
      'a file without : ? # ; " < > | * in its path',
      [
        'sqlite::memory:',
        'sqlite:///:memory:',
        'sqlite:a.db?mode=ro',
        'sqlite:Data Source=a;Password=b',
        'sqlite:u:p@h',
      ],
    ],
    [
      ['TOPICS_URL', 'DATABASE_URL'],
      `postgres://user:password@host:5432/database${ENCODED}`,
      ['postgres://host', 'postgres://host/', 'postgres:db', 'postgresql:///db'],
    ],
    [
      ['TOPICS_URL'],
      'kafka://host:9092,host:9092, or kafka+ssl://… for TLS; a user goes into KAFKA_USERNAME and KAFKA_PASSWORD',
      ['kafka://', 'kafka://host:9092/topic', 'kafka://a;b', 'kafka://two words'],
    ],
    [
      ['DESK_URL'],
      'http:// or https:// with a host, perhaps a port, and nothing else: no path, no query, no user',
      ['https://host/desk', 'https://host/fraud/', 'https://host?a=1', 'https://anna:pass@host'],
    ],
    [['KAFKA_PARTITIONS'], count('partitions', 1000), [...notCounts, '1001']],
    [['KAFKA_REPLICATION'], count('copies', 10), [...notCounts, '11']],
    [['KAFKA_PREFIX'], 'letters, digits and . _ -', ['a b', 'team/a', 'ü']],
    [['KAFKA_MECHANISM'], 'PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512', ['plain', 'SCRAM', 'GSSAPI']],
    [['PRODUCER_RATE_PER_MIN'], count('calls', 1_000_000), [...notCounts, '1000001']],
    [['SCORE_BATCH_SIZE', 'RECORD_BATCH_SIZE'], count('rows', 100_000), [...notCounts, '100001']],
    [['ALERT_DAILY_LIMIT'], count('mails', 1_000_000), [...notCounts, '1000001']],
    [['ALERT_BURST'], 'a whole number of frauds, 0 to 1000000', ['-1', '1.5', 'off', '1000001']],
    [['ALERT_LAG_MINUTES'], count('minutes', 100_000), [...notCounts, '100001']],
    [['ALERT_BREAKER'], 'off, or a chance above 0, 1e-6 at most', ['on', '0', '-1e-9', '0.01', 'OFF', 'NaN']],
    [['RETENTION_DAYS', 'ROWS_KEEP_DAYS'], count('days', 36_500), [...notCounts, '36501']],
    [['ONCE_SECONDS'], count('seconds', 86_400), [...notCounts, '86401']],
    [['PORT'], 'a port, 0 to 65535', ['-1', '65536', '80.5', 'http', '0x50', '9'.repeat(400)]],
    [['HOST'], 'a host name or address', ['two words']],
    [['DISK_RESERVE_MB'], 'a whole number of MB, 0 to 1000000000', ['-1', '1.5', 'off', '1000000001']],
    [['ALLOW_EPHEMERAL'], '1 or 0', ['yes', 'true', '2']],
    [['FRAUD_THRESHOLD'], FRACTION, ['-0.1', '1.01', '0,5', '50%', 'half', 'NaN', 'Infinity', '1e400']],
    [['UNIX_TIME_UNIT'], 's or ms', ['S', 'sec', 'us', 's,ms']],
    [['LOG_LEVEL'], LEVELS, ['INFO', 'verbose', '30']],
    [['NODE_ENV'], 'production, development or test', ['Production', 'prod', 'PRODUCTION', 'produciton']],
    [['STAGES'], STAGE_LIST, ['fetch,scoer', 'Fetch', 'fetch;score', ',', 'all', 'score,fetch,score']],
    [['MODEL_FEATURES'], COLUMNS, ['none', 'amt,amount', 'ALL', ',', 'amt,amt', 'all,amt', 'amt lat']],
    [['MODEL_FEATURES'], 'columns without is_fraud: the label is never sent to the model', ['amt,is_fraud']],
    [
      ['ALERT_FROM'],
      ADDRESS,
      ['fraud', 'fraud@', '@example.com', 'a@b@c', 'a@b,c@d', 'Desk fraud@example.com', 'D <a@b'],
    ],
    [
      ['ALERT_TO', 'ALERT_OPS_TO'],
      ADDRESS,
      [
        'desk',
        'a@example.com;',
        'Bea <b@example.com;>',
        'a@example.com;b@example.com',
        'a@example.com, b',
        'a b@example.com,c@example.com',
      ],
    ],
    [['ALERT_TO'], 'one address or more, with commas between', [',', ' , ,']],
  ])('in %s is answered with "%s"', ([which, wants, wrong]) => {
    for (const name of which)
      for (const value of wrong) {
        const lines = mistakes({ [name]: value })
        expect(lines).toEqual([expect.stringMatching(/^[A-Z_]+: got "[^"]+", wants /)])
        expect([lines[0]!.startsWith(`${name}: got `), lines[0]!.endsWith(`, wants ${wants}`)]).toEqual([true, true])
      }
  })

  test.for<[names: string[], wants: string, wrong: string[]]>([
    [
      ['PRODUCER_HEADERS', 'MODEL_HEADERS'],
      HEADERS,
      [
        ...['Authorization: Bearer token', '{', '[]', 'null', '{"a":1}', '{"a":null}', '{"a":["b"]}'],
        ...['{"a b":"c"}', '{"":"c"}', '{"a:":"c"}', '{"a":"b\\r\\nc: d"}', '{"a":"b\\u0000"}', '{"a":"Bearer …"}'],
      ],
    ],
    [
      ['KAFKA_CA', 'KAFKA_CERT'],
      'a certificate as PEM, -----BEGIN …',
      ['MIIB', '-----BEGIN CERTIFICATE-----', 'ca.pem'],
    ],
    [['KAFKA_KEY'], 'a private key as PEM, -----BEGIN …', ['secret']],
    [['ALERT_WEBHOOK_URL', 'HEARTBEAT_URL'], HTTP, ['hooks.example.com/T0', 'ftp://host']],
    [['ALERT_WEBHOOK_SECRET'], 'ALERT_WEBHOOK_URL beside it', ['sesame']],
    [['SMTP_URL'], SMTP, ['mail.example.com:587', 'smtp:mail.example.com', 'smtp://', 'http://mail.example.com']],
    [
      ['SMTP_URL'],
      SMTP + ENCODED,
      [
        'robot@example.com',
        'smtp://u:pa#ss@host',
        'smtp://u:12#34@host',
        'smtp://u:pa/ss@host',
        'smtp://u:50%jff@host',
        'smtp://u:12/34@host',
        'smtp://u:12?34@host',
      ],
    ],
    [
      ['SMTP_URL'],
      `nothing behind the port, as in smtp://user:password@host:587${ENCODED}`,
      ['smtp://host/path', 'smtp://host?key=1'],
    ],
  ])('in the secret %s is answered with "%s", and the value is not shown', ([which, wants, wrong]) => {
    for (const name of which)
      for (const value of wrong)
        expect(mistakes({ ...MAIL, [name]: value })).toEqual([`${name}: got "***", wants ${wants}`])
  })

  test('in the user or password of a URL is answered with how to write it', () => {
    expect(mistakes({ PRODUCER_URL: 'https://user:50%jff@host' })).toEqual([
      `PRODUCER_URL: got "https://***@host", wants ${HTTP}${ENCODED}`,
    ])
  })

  test.for([
    ['PRODUCER_RATE_PER_MIN', '1', '1000000'],
    ['SCORE_BATCH_SIZE', '1', '100000'],
    ['RECORD_BATCH_SIZE', '1', '100000'],
    ['ALERT_DAILY_LIMIT', '1', '1000000'],
    ['ALERT_BURST', '0', '1000000'],
    ['ALERT_LAG_MINUTES', '1', '100000'],
    ['ALERT_BREAKER', '1e-300', '1e-6'],
    ['RETENTION_DAYS', '1', '36500'],
    ['ROWS_KEEP_DAYS', '8', '36500'],
    ['ONCE_SECONDS', '1', '86400'],
    ['PORT', '0', '65535'],
    ['DISK_RESERVE_MB', '0', '1000000000'],
    ['FRAUD_THRESHOLD', '0', '1'],
  ] as const)('is not what is at the limit: %s = %s or %s', ([name, ...limits]) => {
    for (const limit of limits) expect(readConfig({ [name]: limit })[name]).toBe(Number(limit))
  })

  test('in every setting at once gives one line each, in the order of the settings', () => {
    const wrong = Object.fromEntries(NAMES.map((name) => [name, '\u0001 wrong']))
    const lines = mistakes(wrong)
    expect(names(lines)).toEqual(NAMES.filter((name) => !ANYTHING.includes(name)))
    for (const line of lines) expect(line).not.toContain('\n')
  })

  test('is told by the error as a whole, too', () => {
    const error = new ConfigError(mistakes({ PORT: 'x', HOST: 'a b' }))
    expect(error.message).toBe(
      'wrong settings:\nHOST: got "a b", wants a host name or address\nPORT: got "x", wants a port, 0 to 65535',
    )
  })

  test('is always one line that names the variable, what it got and what it wants', () => {
    const value = fc.oneof(
      fc.string(),
      fc.webUrl({ withFragments: true, withQueryParameters: true }),
      fc.json(),
      fc.double().map(String),
      fc.emailAddress(),
    )
    fc.assert(
      fc.property(fc.constantFrom(...NAMES), value, (name, text) => {
        for (const line of mistakes({ ...MAIL, [name]: text })) {
          expect(line).toMatch(/^[A-Z_]+: got .+[,;] wants .+$/)
          expect(line.split(':')[0]).toBe(name)
          expect(line).not.toMatch(/wants (Invalid|undefined|Too)/)
        }
      }),
      { numRuns: 2000 },
    )
  })

  test('shows no more than the beginning of a long value', () => {
    const [line] = mistakes({ HOST: `a b${'c'.repeat(1000)}` })
    expect(line).toBe(`HOST: got "a b${'c'.repeat(77)}…", wants a host name or address`)
  })

  test('shows a value of several lines in one, and nothing that a terminal would obey', () => {
    expect(mistakes({ HOST: 'a\r\nb' })).toEqual(['HOST: got "a b", wants a host name or address'])
    expect(mistakes({ HOST: 'a\r\n\u001b[2Jb' })).toEqual(['HOST: got "***", wants a host name or address'])
    expect(mistakes({ MODEL_URL: 'ftp://user:hun\nter2@host:7' })[0]).toContain('got "ftp://***@host:7", wants')
  })

  test('shows no card number, not a part of one either', () => {
    expect(mistakes({ PORT: '4992346398065154184' })[0]).toContain('got "…4184"')
    expect(mistakes({ HOST: `a ${'c'.repeat(70)} 4992346398065154184` })[0]).toContain('cc …41')
  })

  test('in the parameters of a PostgreSQL URL says what they may be', () => {
    const url = 'postgres://u:secret@host/db?sslmode'
    const shown = 'got "postgres://***@host/…"'
    expect(mistakes({ DATABASE_URL: `${url}=on` })).toEqual([
      `DATABASE_URL: ${shown}, wants an sslmode of disable, prefer, require, verify-ca, verify-full`,
    ])
    expect(mistakes({ TOPICS_URL: `${url}=verify-full&sslrootcert=no.pem` })).toEqual([
      `TOPICS_URL: ${shown}, wants an sslrootcert that is a file`,
    ])
    expect(mistakes({ TOPICS_URL: `${url}=verify-ca` })).toEqual([
      `TOPICS_URL: ${shown}, wants with sslmode=verify-ca an sslrootcert, a file`,
    ])
  })

  test('is a challenger without a name of its own, and one that nobody asks', () => {
    const url = { CHALLENGER_URL: 'http://next:5001' }
    const named = { ...url, CHALLENGER_NAME: 'fraud/8' }
    expect(mistakes(url)).toEqual(['CHALLENGER_URL: got "http://next:5001", wants CHALLENGER_NAME beside it'])
    expect(mistakes({ ...named, MODEL_URL: 'http://model:5000' })).toEqual([
      'CHALLENGER_URL: got "http://next:5001", wants MODEL_NAME beside it: or nobody can tell the two models apart',
    ])
    expect(mistakes({ ...named, MODEL_NAME: 'fraud/8' })).toEqual([
      'CHALLENGER_NAME: got "***", which is MODEL_NAME; wants another one',
    ])
    expect(mistakes({ STAGES: 'fetch,shadow' })).toEqual(['STAGES: got "shadow", wants CHALLENGER_URL beside it'])
    expect(readConfig(named).STAGES).toEqual(['fetch', 'score', 'alert', 'record', 'shadow'])
    expect(readConfig({ ...named, STAGES: 'score' }).STAGES).toEqual(['score'])
  })

  test('is to ask a registry that is not named, or for no version', () => {
    const wanted = (of: string) =>
      `${of}_FEATURES: got "auto", wants MLFLOW_TRACKING_URI, ${of}_URL, and ${of}_NAME as name/version beside it`
    const asked = { MODEL_FEATURES: 'auto', MODEL_URL: 'http://model:5000', MLFLOW_TRACKING_URI: 'http://mlflow:5000' }
    expect(mistakes({ MODEL_FEATURES: 'auto' })).toEqual([wanted('MODEL')])
    expect(mistakes(asked)).toEqual([wanted('MODEL')])
    expect(mistakes({ ...asked, MODEL_NAME: 'fraud' })).toEqual([wanted('MODEL')])
    for (const MODEL_NAME of ['fraud/7', 'fraud@champion'])
      expect(readConfig({ ...asked, MODEL_NAME }).MODEL_FEATURES).toBe('auto')
    const beside = { ...asked, MODEL_NAME: 'fraud/7', CHALLENGER_URL: 'http://next:5001', CHALLENGER_FEATURES: 'auto' }
    expect(mistakes({ ...beside, CHALLENGER_NAME: 'next' })).toEqual([wanted('CHALLENGER')])
    expect(mistakes({ PROMOTE_BY_ALIAS: 'yes' })).toEqual([
      'PROMOTE_BY_ALIAS: got "yes", wants MLFLOW_TRACKING_URI and MODEL_NAME beside it',
    ])
  })

  test('is to move away what the topics still have', () => {
    const young = (days: string, kept: string) =>
      `ROWS_KEEP_DAYS: got "${days}", wants more than RETENTION_DAYS (${kept}): what is young is asked for by audit and replay`
    expect(mistakes({ ROWS_KEEP_DAYS: '7' })).toEqual([young('7', '7')])
    expect(mistakes({ ROWS_KEEP_DAYS: '29', RETENTION_DAYS: '30' }, { working: false })).toEqual([young('29', '30')])
    expect(mistakes({ ROWS_KEEP_DAYS: '31', RETENTION_DAYS: '30' })).toEqual([])
  })

  test('is to record into the file of the topics', () => {
    const own = ['DATABASE_URL: got the file of TOPICS_URL, wants one of its own']
    expect(mistakes({ DATABASE_URL: 'sqlite:data/topics.db' })).toEqual(own)
    expect(mistakes({ TOPICS_URL: 'sqlite:./a/../x.db', DATABASE_URL: 'sqlite:x.db' }, { working: false })).toEqual(own)
  })
})

describe('places', () => {
  test.for([
    ['postgres://user:p%40ss@db.example.com:5433/fraud?sslmode=require', 'postgres://'],
    ['postgresql://db/fraud', 'postgresql://'],
    ['postgres://u:p@[::1]/fraud', 'postgres://'],
  ] as const)('%s is a PostgreSQL database', ([text]) => {
    expect(readConfig({ TOPICS_URL: text, DATABASE_URL: text })).toMatchObject({
      TOPICS_URL: { engine: 'postgres', url: new URL(text) },
      DATABASE_URL: { engine: 'postgres', url: new URL(text) },
    })
  })

  test.for<[text: string, brokers: string[], tls: boolean]>([
    ['kafka://localhost:9092', ['localhost:9092'], false],
    ['kafka://a, b:9093 ,[::1]:9094', ['a:9092', 'b:9093', '[::1]:9094'], false],
    ['kafka+ssl://a:9096,kafka+ssl://b:9096', ['a:9096', 'b:9096'], true],
  ])('%s is a Kafka cluster', ([text, brokers, tls]) => {
    expect(readConfig({ TOPICS_URL: text }).TOPICS_URL).toEqual({ engine: 'kafka', brokers, tls, checkHosts: true })
  })

  test('a certificate of Kafka means TLS', () => {
    const kafka = { TOPICS_URL: 'kafka://a' }
    expect(readConfig({ ...kafka, KAFKA_CA: PEM }).TOPICS_URL).toMatchObject({ tls: true, checkHosts: true })
    expect(readConfig({ ...kafka, KAFKA_CERT: PEM, KAFKA_KEY: PEM }).TOPICS_URL).toMatchObject({ tls: true })
  })

  test("what Heroku's Kafka sets is enough, and what is set by its own name wins", () => {
    const heroku = {
      KAFKA_URL: 'kafka+ssl://ec2-1.example.com:9096,kafka+ssl://ec2-2.example.com:9096',
      KAFKA_TRUSTED_CERT: PEM,
      KAFKA_CLIENT_CERT: PEM,
      KAFKA_CLIENT_CERT_KEY: PEM,
      KAFKA_PREFIX: 'wabash-58799.',
    }
    const brokers = ['ec2-1.example.com:9096', 'ec2-2.example.com:9096']
    expect(readConfig(heroku)).toMatchObject({
      TOPICS_URL: { engine: 'kafka', brokers, tls: true, checkHosts: false }, // its certificates name no host
      KAFKA_CA: PEM,
      KAFKA_CERT: PEM,
      KAFKA_KEY: PEM,
      KAFKA_PREFIX: 'wabash-58799.',
    })
    const own = PEM.replace('MIIB', 'MIIC')
    expect(readConfig({ ...heroku, TOPICS_URL: 'kafka://a', KAFKA_CA: own })).toMatchObject({
      TOPICS_URL: { brokers: ['a:9092'], checkHosts: true },
      KAFKA_CA: own,
    })
    expect(readConfig({ ...heroku, TOPICS_URL: 'sqlite:a.db' }).TOPICS_URL).toEqual({ engine: 'sqlite', path: 'a.db' })
  })

  test('half of a login, or of a certificate, is a mistake, unless Kafka is not used', () => {
    const half = { KAFKA_USERNAME: 'robot', KAFKA_KEY: PEM }
    expect(mistakes({ TOPICS_URL: 'kafka://a', ...half })).toEqual([
      'KAFKA_CERT: is not set, and KAFKA_KEY is; wants both',
      'KAFKA_PASSWORD: is not set, and KAFKA_USERNAME is; wants both',
    ])
    expect(mistakes({ TOPICS_URL: 'kafka://a', KAFKA_PASSWORD: 'x' })).toEqual([
      'KAFKA_USERNAME: is not set, and KAFKA_PASSWORD is; wants both',
    ])
    expect(mistakes(half)).toEqual([])
  })

  test('a password is not shown to the network', () => {
    const plain = { KAFKA_USERNAME: 'robot', KAFKA_PASSWORD: 'secret', KAFKA_MECHANISM: 'PLAIN' }
    expect(mistakes({ TOPICS_URL: 'kafka://broker.example.com', ...plain })).toEqual([
      'KAFKA_MECHANISM: got "PLAIN", which shows the password to the network; wants kafka+ssl://… with it',
    ])
    for (const TOPICS_URL of ['kafka+ssl://broker.example.com', 'kafka://localhost:9092,127.0.0.1'])
      expect(mistakes({ TOPICS_URL, ...plain })).toEqual([])
    expect(mistakes({ TOPICS_URL: 'kafka://a', ...plain, KAFKA_CA: PEM })).toEqual([])
  })
})

describe('a secret in a wrong setting', () => {
  test.for<[text: string, shown: string]>([
    ['ftp://user:hunter2@host:21/path', 'ftp://***@host:21/…'],
    ['https://user:hunter2@host:port/path', 'https://…'],
    ['HTTPS://hunter2@host#x', 'HTTPS://***@host/…'],
    ['ftp://host/path?token=hunter2', 'ftp://host/…'],
    ['ftp://host/path#token=hunter2', 'ftp://host/…'],
    ['ftp://host?token=hunter2', 'ftp://host/…'],
    ['https://user:hunter2/hunter2@host', 'https://…'],
    ['https://user:7/hunter2@host', 'https://…'],
    ['https://user:7?hunter2@host', 'https://…'],
    ['https://user:7#hunter2@host', 'https://…'],
    ['https://user:7\\hunter2@host', 'https://…'],
    ['ftp://host/path?mail=me@example.com&token=hunter2', 'ftp://…'],
    ['ftp://user:hunter2@hunter2@host', 'ftp://***@host'],
    ['https://user:hunter2%40host', 'https://…'],
    ['https://user:hunter2 host/path', 'https://…'],
    ['ftp://user;hunter2', 'ftp://…'],
    ['mysql://user:hunter2@db.example.com:3306/db', 'mysql://***@db.example.com:3306/…'],
    ['localhost:5000', 'localhost:5000'],
    ['model.example.com/invocations', 'model.example.com/…'],
    ['user:hunter2@host/path', '***'],
    ['hunter2@host', '***'],
    ['hunter2', '***'],
    ['https//user:hunter2@host', '***'],
    ['https:/user:hunter2@host:port', '***'],
    ['https:\\\\user:hunter2@host:port', '***'],
    ['jdbc:postgresql://host/db?user=u&password=hunter2', '***'],
    ['host=h dbname=d user=u password=hunter2', '***'],
    ['Server=h;Database=d;User Id=u;Password=hunter2', '***'],
    ['Endpoint=sb://h/;SharedAccessKey=hunter2', '***'],
    ['{"password":"hunter2"}', '***'],
  ])('%j is shown as %j', ([text, shown]) => {
    for (const name of ['PRODUCER_URL', 'PORT', 'DATABASE_URL', 'STAGES']) {
      const [line] = mistakes({ [name]: text })
      expect(line).toContain(`${name}: got "${shown}", wants`)
    }
  })

  test.for([
    ['PRODUCER_URL', 'http://user:7/hunter2@127.0.0.1:1/x'],
    ['PRODUCER_URL', 'http://user:7?hunter2@127.0.0.1:1/x'],
    ['MODEL_URL', 'http://user\\hunter2@127.0.0.1'],
    ['DATABASE_URL', 'postgres://user:7/hunter2@127.0.0.1:1/db'],
    ['DATABASE_URL', 'postgres://user:7/db?hunter2@127.0.0.1:1'],
    ['DATABASE_URL', 'postgres://host/db;password=hunter2'],
    ['DATABASE_URL', 'postgres://host/db&password=hunter2'],
    ['DATABASE_URL', 'postgres://user;password=hunter2/db'],
    ['TOPICS_URL', 'postgres://user:7\\hunter2@127.0.0.1:1/db'],
    ['SMTP_URL', 'smtp://user;hunter2'],
    ['SMTP_URL', 'smtp://user%3Ahunter2'],
  ] as const)('is not taken for a host or a database, which are shown: %s=%s', ([name, text]) => {
    expect(mistakes({ ...MAIL, [name]: text })).toHaveLength(1)
    expect(mistakes({ ...MAIL, [name]: text }).join()).not.toContain('hunter2')
  })

  test.for(['PORT', 'STAGES', 'ALERT_FROM', 'ALERT_TO', 'TOPICS_URL', 'DATABASE_URL', 'UNIX_TIME_UNIT', 'LOG_LEVEL'])(
    'is not shown when a URL went astray into %s',
    (name) => {
      for (const value of ['smtp://user:hunter2@host', 'user:hunter2@host', 'https://host?token=hunter2']) {
        const [line] = mistakes({ [name]: value })
        expect(line).toMatch(new RegExp(`^${name}: got ".+", wants `))
        expect(line).not.toContain('hunter2')
      }
    },
  )

  test('is never shown, whatever is wrong with the URL', () => {
    const token = fc.stringMatching(/^[a-zA-Z0-9]{8,12}$/).filter((text) => !/^\d+$/.test(text))
    const noise = fc.string({ unit: fc.constantFrom(...':/?#@ \\%&;=.-a1'), maxLength: 6 })
    const url = fc.oneof(
      fc.tuple(fc.constantFrom('http://', 'ftp://', 'htp//', '', '//'), fc.tuple(noise, noise, noise)).map(
        ([scheme, [a, b, c]]) =>
          (secret: string) =>
            `${scheme}user${a}:${secret}${b}@host${c}`,
      ),
      fc.tuple(fc.constantFrom('ftp://host', 'host', 'http://h h'), noise).map(
        ([host, a]) =>
          (secret: string) =>
            `${host}/${a}?${a}key=${secret}`,
      ),
    )
    const name = fc.constantFrom('PRODUCER_URL', 'MODEL_URL', 'TOPICS_URL', 'DATABASE_URL', 'SMTP_URL')
    fc.assert(
      fc.property(name, url, token, (setting, make, secret) => {
        expect(mistakes({ ...MAIL, [setting]: make(secret) }).join('\n')).not.toContain(secret)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('a status page that others can reach', () => {
  const TOKEN = 'HOST: got "0.0.0.0", wants STATUS_TOKEN beside it'
  test.for(['127.0.0.1', '127.1.2.3', 'localhost', '::1', '[::1]'])('wants no token on %s', (HOST) => {
    expect(mistakes({ HOST })).toEqual([])
  })
  test.for(['0.0.0.0', '::', '192.168.1.7', 'worker.example.com', '127.0.0.1.example.com'])(
    'wants a token on %s',
    (HOST) => {
      expect(mistakes({ HOST })).toEqual([expect.stringContaining(TOKEN.replace('0.0.0.0', HOST))])
      expect(mistakes({ HOST, STATUS_TOKEN: 'open-sesame-0123' })).toEqual([])
      expect(mistakes({ HOST }, { working: false })).toEqual([])
    },
  )
  test('wants one that fits into a header, and does not show it', () => {
    const wrong = 'STATUS_TOKEN: got "***", wants ASCII characters without blanks'
    expect(mistakes({ STATUS_TOKEN: 'sésame' })).toEqual([wrong])
    expect(mistakes({ STATUS_TOKEN: 'two words and more' })).toEqual([wrong])
  })
})

describe('on a dyno', () => {
  const DATABASE_URL = 'postgres://user:secret@host:5432/db'
  const lost = (name: string, file: string) =>
    `${name}: got "${file}", and a dyno loses its disk at every restart (DYNO is set); wants postgres://… (DATABASE_URL alone serves both), or ALLOW_EPHEMERAL=1 to try it out`

  test('SQLite files are refused, as they would be lost', () => {
    expect(mistakes({ DYNO: 'worker.1' })).toEqual([
      lost('TOPICS_URL', 'sqlite:data/topics.db'),
      lost('DATABASE_URL', 'sqlite:data/fraud.db'),
    ])
    const TOPICS_URL = 'sqlite:/app/t.db'
    expect(mistakes({ DYNO: 'worker.1', TOPICS_URL, DATABASE_URL })).toEqual([lost('TOPICS_URL', 'sqlite:/app/t.db')])
    expect(mistakes({ DYNO: 'run.1', TOPICS_URL: 'kafka://host' })).toEqual([
      lost('DATABASE_URL', 'sqlite:data/fraud.db'),
    ])
    expect(mistakes({ DYNO: 'run.1', TOPICS_URL: 'kafka://host', STAGES: 'fetch,score' })).toEqual([])
    expect(
      mistakes({ DYNO: 'run.1', ROWS_KEEP_DAYS: '400', TOPICS_URL, DATABASE_URL: 'postgres://u@h/d' }),
    ).toContainEqual(expect.stringMatching(/^ROWS_KEEP_DAYS: got "400", and a dyno loses its disk, with the archive/))
    expect(mistakes({ DYNO: ' ', ROWS_KEEP_DAYS: '400' })).toEqual([])
  })
  test('ALLOW_EPHEMERAL=1 takes the loss', () => {
    expect(mistakes({ DYNO: 'worker.1', ALLOW_EPHEMERAL: '1' })).toEqual([])
    expect(mistakes({ DYNO: 'worker.1', ALLOW_EPHEMERAL: '0' })).toHaveLength(2)
  })
  test('DATABASE_URL alone serves topics and rows', () => {
    const { TOPICS_URL, DATABASE_URL: rows } = readConfig({ DYNO: 'worker.1', DATABASE_URL })
    expect(TOPICS_URL).toEqual({ engine: 'postgres', url: new URL(DATABASE_URL) })
    expect(rows).toEqual(TOPICS_URL)
    expect(readConfig({ DYNO: 'run.1', DATABASE_URL }, { working: false }).TOPICS_URL.engine).toBe('postgres')
    expect(readConfig({ DYNO: 'worker.1', DATABASE_URL, KAFKA_URL: 'kafka://host' }).TOPICS_URL.engine).toBe('kafka')
    expect(readConfig({ DATABASE_URL }).TOPICS_URL.engine).toBe('sqlite') // elsewhere the disk stays
  })
})

describe('NAME_FILE', () => {
  test('gives the value of NAME, its line end taken off', async () => {
    await using dir = await tempDir()
    const file = dir.file('secret')
    await writeFile(file, ' smtp://robot:secret@mail.example.com\r\n')
    const config = readConfig({ ...MAIL, SMTP_URL_FILE: ` ${file} ` })
    expect(config.SMTP_URL).toMatchObject({ host: 'mail.example.com', user: 'robot', pass: 'secret' })
  })

  test('works for every setting', async () => {
    await using dir = await tempDir()
    const file = dir.file('value')
    await writeFile(file, '\u0001 wrong\n')
    const lines = mistakes(Object.fromEntries(NAMES.map((name) => [`${name}_FILE`, file])))
    expect(names(lines)).toEqual(NAMES.filter((name) => !ANYTHING.includes(name)))
  })

  test('beside NAME is a mistake, a blank one of the two is not', async () => {
    await using dir = await tempDir()
    const file = dir.file('port')
    await writeFile(file, '81')
    expect(mistakes({ PORT: '80', PORT_FILE: file })).toEqual([
      'PORT_FILE: is set and so is PORT; wants only one of them',
    ])
    expect(readConfig({ PORT: ' ', PORT_FILE: file }).PORT).toBe(81)
    expect(readConfig({ PORT: '80', PORT_FILE: ' ' }).PORT).toBe(80)
  })

  test('must be there, be a file, and hold something', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('empty'), ' \n')
    await mkdir(dir.file('folder'))
    expect(
      mistakes({
        MODEL_NAME_FILE: dir.file('none'),
        HOST_FILE: dir.file('folder'),
        PORT_FILE: dir.file('empty'),
        LOG_LEVEL: 'loud',
      }),
    ).toEqual([
      `MODEL_NAME_FILE: got "${dir.file('none')}", wants a file that can be read (ENOENT)`,
      `HOST_FILE: got "${dir.file('folder')}", wants a file that can be read (EISDIR)`,
      `PORT_FILE: got "${dir.file('empty')}", wants a file that is not empty`,
      'LOG_LEVEL: got "loud", wants trace, debug, info, warn, error, fatal or silent',
    ])
  })

  test('does not show the secret of who took it for NAME', () => {
    const secrets = {
      SMTP_URL_FILE: 'smtp://robot:hunter2@mail.example.com',
      PRODUCER_HEADERS_FILE: '{"Authorization":"hunter2"}',
      MODEL_HEADERS_FILE: 'Authorization: Bearer hunter2',
      MODEL_URL_FILE: 'https://robot:hunter2@model',
    }
    const lines = mistakes({ ...MAIL, ...secrets })
    expect(names(lines).sort()).toEqual(Object.keys(secrets).sort())
    expect(lines.join('\n')).not.toContain('hunter2')
  })

  test('counts as set where production demands NAME, even when it cannot be read', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('url'), PRODUCTION.SMTP_URL)
    const { SMTP_URL, ...others } = PRODUCTION
    expect(readConfig({ ...others, SMTP_URL_FILE: dir.file('url') }).SMTP_URL?.host).toBe('mail.example.com')
    expect(names(mistakes({ ...others, SMTP_URL_FILE: dir.file('none') }))).toEqual(['SMTP_URL_FILE'])
  })
})

describe('in production', () => {
  const { NODE_ENV, ...demanded } = PRODUCTION
  const missing = (name: string, what: string) =>
    `${name}: is not set, and in production (NODE_ENV=production) nothing is simulated; wants ${what}`

  test('what was simulated must be set for real, and all that is missing is said at once', () => {
    expect(mistakes({ NODE_ENV })).toEqual([
      missing('PRODUCER_URL', 'the full URL of the payments API'),
      missing('MODEL_URL', 'the base URL of the MLflow model server'),
      missing('SMTP_URL', 'smtp://user:password@host:587 or smtps://…'),
      missing('ALERT_FROM', 'the address that alarms come from'),
      missing('ALERT_TO', 'the addresses that alarms go to, a comma list'),
    ])
    expect(names(mistakes({ NODE_ENV, PORT: 'x', MODEL_URL: 'y' }))).toEqual([
      ...['MODEL_URL', 'PORT'], // wrong
      ...['PRODUCER_URL', 'SMTP_URL', 'ALERT_FROM', 'ALERT_TO'], // missing
    ])
    expect(mistakes(PRODUCTION)).toEqual([])
  })

  test.for(Object.keys(demanded))('%s must be set, and blank is not set', (name) => {
    expect(names(mistakes({ ...PRODUCTION, [name]: undefined } as unknown as Env))).toEqual([name])
    expect(names(mistakes({ ...PRODUCTION, [name]: ' ' }))).toEqual([name])
  })

  test.for([
    ['fetch', 'PRODUCER_URL'],
    ['score', 'MODEL_URL'],
    ['alert', 'SMTP_URL,ALERT_FROM,ALERT_TO'],
    ['record', ''],
    ['score,record', 'MODEL_URL'],
  ])('STAGES=%s demands %s only', ([STAGES, needed]) => {
    expect(names(mistakes({ NODE_ENV, STAGES: STAGES! })).join()).toBe(needed)
  })

  test('a command that runs no stage demands nothing', () => {
    expect(mistakes({ NODE_ENV }, { working: false })).toEqual([])
    expect(names(mistakes({ NODE_ENV, PORT: 'x' }, { working: false }))).toEqual(['PORT'])
  })

  test('it is production however NODE_ENV came here', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('env'), 'production\n')
    expect(mistakes({ NODE_ENV: ' production ' })).toHaveLength(5)
    expect(mistakes({ NODE_ENV_FILE: dir.file('env') })).toHaveLength(5)
  })

  test.for(['development', 'test', ''])('NODE_ENV=%s is not production', (other) => {
    expect(mistakes({ NODE_ENV: other })).toEqual([])
  })
})

describe('outside production', () => {
  test('a real mail server wants real addresses', () => {
    expect(mistakes({ SMTP_URL: 'smtp://mail.example.com' })).toEqual([
      'ALERT_FROM: is not set, and SMTP_URL is; wants the address that alarms come from',
      'ALERT_TO: is not set, and SMTP_URL is; wants the addresses that alarms go to, a comma list',
    ])
    expect(names(mistakes({ SMTP_URL: 'smtp://mail.example.com', ALERT_FROM: MAIL.ALERT_FROM }))).toEqual(['ALERT_TO'])
  })

  test('unless nothing is mailed', () => {
    expect(mistakes({ SMTP_URL: 'smtp://mail.example.com', STAGES: 'fetch,record' })).toEqual([])
    expect(mistakes({ SMTP_URL: 'smtp://mail.example.com' }, { working: false })).toEqual([])
  })
})

describe('.env.example', () => {
  const text = readFileSync(new URL('../../.env.example', import.meta.url), 'utf8')
  /** Every `#NAME=value` with the comment above it. */
  const entries = [...text.matchAll(/^# (.*)\n#([A-Z_]+)=(.*)$/gm)].map(([, meaning, name, value]) => ({
    name: name!,
    value: value!,
    meaning: meaning!,
  }))
  const uncommented = text.replace(/^#(?=[A-Z_]+=)/gm, '')

  test('lists every setting in order, with its meaning and its default', () => {
    const settings = NAMES.map((name) => ({ name, value: defaultOf(name) ?? '', meaning: meaningOf(name) }))
    expect(entries).toEqual(settings)
  })

  test('changes nothing as it is', () => {
    expect(parseDotenv(text)).toEqual({})
  })

  test('is read with all settings uncommented, and says what holds without them', () => {
    expect(parseDotenv(uncommented)).toEqual(Object.fromEntries(NAMES.map((name) => [name, defaultOf(name) ?? ''])))
    const simulatedRate = { PRODUCER_RATE_PER_MIN: 60 }
    expect({ ...readConfig(parseDotenv(uncommented)), ...simulatedRate }).toEqual(readConfig({}))
  })

  test('explains NAME_FILE before the first setting', () => {
    expect(text.slice(0, text.indexOf('#PRODUCER_URL='))).toContain('NAME_FILE=/path/to/file')
  })
})

describe('a .env that is there and cannot be read', () => {
  const read = (cwd: string) => {
    const config = new URL('../../src/config/read.ts', import.meta.url).href
    const script = `import { environment } from ${JSON.stringify(config)}; environment()`
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], { cwd, encoding: 'utf8' }).stderr
  }
  test('is a mistake: what it says would be missing without a word', async () => {
    await using dir = await tempDir()
    expect(read(dir.path)).toBe('')
    await writeFile(dir.file('.env'), Buffer.from('\ufeffPORT=81\n', 'utf16le'))
    expect(read(dir.path)).toContain('.env: is not UTF-8 text, wants to be saved as UTF-8')
    await writeFile(dir.file('.env'), '\ufeffPORT=81\r\n')
    expect(read(dir.path)).toBe('')
  })
  test('because it is a folder, is a mistake too', async () => {
    await using dir = await tempDir()
    await mkdir(dir.file('.env'))
    expect(read(dir.path)).toContain('.env: is there, wants to be a file that this user can read (EISDIR)')
  })
})

test('.env of the working folder is read in silence, and the environment wins over it', async () => {
  await using dir = await tempDir()
  await writeFile(
    dir.file('.env'),
    'PORT=81\nHOST="10.0.0.1"\nMODEL_NAME=from-file\nSTATUS_TOKEN=open-sesame\n#LOG_LEVEL=loud\n',
  )
  const code = `const { environment, readConfig } = await import(${JSON.stringify(import.meta.resolve('../../src/config/read.ts'))})
    const { PORT, HOST, MODEL_NAME, LOG_LEVEL } = readConfig(environment())
    process.stdout.write(JSON.stringify({ PORT, HOST, MODEL_NAME, LOG_LEVEL }))`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
    cwd: dir.path,
    env: { MODEL_NAME: 'from-environment', LOG_LEVEL: '' },
    encoding: 'utf8',
  })
  expect({ stdout, stderr }).toEqual({
    stdout: '{"PORT":81,"HOST":"10.0.0.1","MODEL_NAME":"from-environment","LOG_LEVEL":"info"}',
    stderr: '',
  })
})

describe('what dotenv takes away, and others do not', () => {
  const COMMENT = 'got a # behind a blank, which begins no comment'
  test.for(NAMES.filter((name) => !/HEADERS/.test(name)))('a comment behind the value of %s is refused', (name) => {
    for (const comment of [' # prod', '\t#prod', ' #'])
      expect(mistakes({ [name]: `S3cret${comment}` }).join()).toMatch(new RegExp(`^${name}: ${COMMENT}`))
    expect(mistakes({ [name]: '# only a comment' }).join()).not.toContain('only')
    expect(mistakes({ [name]: '# only a comment' }).join()).toMatch(new RegExp(`^${name}: ${COMMENT}`))
  })
  test.for(NAMES)('quotes around the value of %s are refused, and it is not shown', (name) => {
    for (const quote of ['"', "'", '`']) {
      const lines = mistakes({ [name]: `${quote}S3cret${quote}` })
      expect(lines.join()).toMatch(new RegExp(`^${name}: got quotes around the value`))
      expect(lines.join()).not.toContain('S3cret')
    }
  })
  test('neither is a # that belongs to the value', () => {
    expect(readConfig({ KAFKA_PASSWORD: '#a#b', MODEL_NAME: 'rf#7' })).toMatchObject({ KAFKA_PASSWORD: '#a#b' })
    expect(readConfig({ MODEL_HEADERS: '{"x":"a #b"}' }).MODEL_HEADERS).toEqual({ x: 'a #b' })
    expect(readConfig({ ALERT_FROM: 'Desk #1 <a@b.example>' }).ALERT_FROM).toBe('Desk #1 <a@b.example>')
  })
  test('a file may hold what the environment cannot', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('password'), 'a #b\n')
    expect(readConfig({ KAFKA_PASSWORD_FILE: dir.file('password') }).KAFKA_PASSWORD).toBe('a #b')
  })
})

describe('sqlite: places', () => {
  test.for([
    ['sqlite:data/t.db', 'data/t.db'],
    ['sqlite:/var/t.db', '/var/t.db'],
    ['sqlite:///data/t.db', 'data/t.db'],
    ['sqlite:////var/t.db', '/var/t.db'],
    ['sqlite:///./t.db', './t.db'],
    ['sqlite:///C:/data/t.db', 'C:/data/t.db'],
    ['sqlite:C:\\data\\t.db', 'C:\\data\\t.db'],
    ['sqlite:/mnt/@data/a b.db', '/mnt/@data/a b.db'],
  ])('%s is the file %s', ([text, path]) => {
    expect(readConfig({ TOPICS_URL: text! }).TOPICS_URL).toEqual({ engine: 'sqlite', path })
  })
})

describe('a name that is no setting', () => {
  /** What environment() makes of a folder's .env and an environment, and what the settings say to it. */
  async function started(dotenv: string, env: Env) {
    await using dir = await tempDir()
    await writeFile(dir.file('.env'), dotenv)
    const code = `const { environment, readConfig, unknownNames } = await import(${JSON.stringify(import.meta.resolve('../../src/config/read.ts'))})
      try { const env = environment(); readConfig(env, { working: false }); console.log(unknownNames(env).join('\\n')) }
      catch (error) { console.log('refused\\n' + error.lines.join('\\n')) }`
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', code], {
      cwd: dir.path,
      env,
      encoding: 'utf8',
    })
    return stdout.trim().split('\n').filter(Boolean)
  }

  test('is named when it is in .env, with what was probably meant', async () => {
    const dotenv =
      '\ufeffPRODUCER_ULR=http://u:hunter2@h\r\nexport MODEL_NAME=a\r\nTIMEZONE=x\r\nsmtp_url=y\nexport LOG_LEVEL=warn\nKAFKA_URL=kafka://a\nPORT_FILE=\n'
    expect(await started(dotenv, {})).toEqual([
      'PRODUCER_ULR: is no setting; did you mean PRODUCER_URL?',
      'TIMEZONE: is no setting; did you mean TIME_ZONE?',
      'smtp_url: is no setting; did you mean SMTP_URL?',
    ])
    expect(await started(dotenv, { NODE_ENV: 'production' })).toEqual([
      'refused',
      'PRODUCER_ULR: is no setting; did you mean PRODUCER_URL?',
      'TIMEZONE: is no setting; did you mean TIME_ZONE?',
      'smtp_url: is no setting; did you mean SMTP_URL?',
    ])
  })

  test('is not shown where it may be a line of a secret that was written without quotes', async () => {
    const hidden =
      'a line of .env is no setting, and not shown, as it may be of a secret: a value of several lines wants quotes'
    const key =
      'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg=\nsk-live-4242abcd4242=\nhunter2hunter2=x\nabcdefghijklmnopqrstuvwx=\n'
    expect(await started(`${key}S3_BUCKET=a\nALERT_CC_2=b\n`, {})).toEqual([
      ...Array(4).fill(hidden),
      'S3_BUCKET: is in .env and no setting',
      'ALERT_CC_2: is in .env and no setting',
    ])
  })

  test('is no mistake when it is of the tools around it', async () => {
    const dotenv =
      'HTTPS_PROXY=a\nno_proxy=b\nNODE_OPTIONS=\nNODE_EXTRA_CA_CERTS=c\nTZ=UTC\nPOSTGRES_PASSWORD=x\nCOMPOSE_PROJECT_NAME=y\nDYNO=\n'
    expect(await started(dotenv, { NODE_ENV: 'production' })).toEqual([])
  })

  test('and has no = is a mistake', async () => {
    expect(await started('PORT 81\n', {})).toEqual(['refused', 'PORT: has no = behind it in .env'])
    expect(await started('export SMTP_URL_FILE /run/x\n', {})).toEqual([
      'refused',
      'SMTP_URL: has no = behind it in .env',
    ])
  })

  test.for([
    ['PRODUCER_URLS', 'PRODUCER_URL'],
    ['PRODUCER_UR', 'PRODUCER_URL'],
    ['MODLE_URL', 'MODEL_URL'],
    ['MODEL_HEADER', 'MODEL_HEADERS'],
    ['SMPT_URL', 'SMTP_URL'],
    ['SMTP_URI', 'SMTP_URL'],
    ['ALERTS_TO', 'ALERT_TO'],
    ['DATABSE_URL', 'DATABASE_URL'],
    ['TOPIC_URL', 'TOPICS_URL'],
    ['TOPICS_URL_FIEL', 'TOPICS_URL_FILE'],
    ['STATUS_TOKN', 'STATUS_TOKEN'],
    ['Log_Level', 'LOG_LEVEL'],
    ['FRAUD_TRESHOLD', 'FRAUD_THRESHOLD'],
    ['PROT', 'PORT'],
    ['NODE_EVN', 'NODE_ENV'],
  ])('in the environment, %s, is taken for a slip of %s', async ([name, meant]) => {
    const line = `${name}: is no setting; did you mean ${meant}?`
    expect(unknownNames({ [name!]: 'x' })).toEqual([line])
    expect(mistakes({ ...PRODUCTION, [name!]: 'x' })).toEqual([line])
    expect(mistakes({ [name!]: 'x' })).toEqual([])
  })

  test('is passed over when a platform, a shell or a tool sets it', () => {
    const platform =
      'HOME HOSTNAME HOSTTYPE STAGE DYNO PATH PWD SHLVL USER LOGNAME SHELL TERM PGHOST PGPORT GHOST_URL REPORT EXPORT HTTP_URL FTP_URL APP_URL API_URL DB_URL ' +
      'KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT KUBERNETES_PORT_443_TCP_ADDR MODEL_PORT MODEL_SERVICE_HOST MODEL_SERVICE_PORT MODEL_PORT_5000_TCP ' +
      'SMTP_PORT SMTP_HOST SMTP_SERVICE_HOST DATABASE_PORT TOPICS_PORT KAFKA_PORT KAFKA_HOST NODE_VERSION NODE_OPTIONS NODE_PATH YARN_VERSION npm_config_port ' +
      'npm_lifecycle_event HEROKU_APP_NAME HEROKU_SLUG_COMMIT INVOCATION_ID JOURNAL_STREAM SYSTEMD_EXEC_PID WEBSITE_HOSTNAME K_SERVICE FLY_REGION HTTP_PROXY https_proxy TZ'
    expect(unknownNames(Object.fromEntries(platform.split(' ').map((name) => [name, 'x'])))).toEqual([])
    expect(unknownNames(Object.fromEntries(NAMES.flatMap((n) => [n, `${n}_FILE`]).map((name) => [name, 'x'])))).toEqual(
      [],
    )
  })
})
