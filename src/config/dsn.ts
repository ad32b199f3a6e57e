import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { isHost } from './shown.ts'
import { z } from './zod.cjs'

/** Where topics or predictions are kept. */
export type Place = SqliteFile | PostgresDatabase
export type SqliteFile = { engine: 'sqlite'; path: string }
export type PostgresDatabase = { engine: 'postgres'; url: URL }
/** `checkHosts`: whether a broker's certificate has to name its host. Heroku's do not. */
export type KafkaCluster = { engine: 'kafka'; brokers: string[]; tls: boolean; checkHosts: boolean }

/** Places for messages: without user or password. */
export const shownServer = (url: URL) => `PostgreSQL at ${url.host}${url.pathname}`
export const shownPlace = (place: Place | KafkaCluster) =>
  place.engine === 'sqlite'
    ? place.path
    : place.engine === 'postgres'
      ? shownServer(place.url)
      : `Kafka at ${place.brokers.join(',')}`

/** Old rows move there: beside their file, or where topics are by default. */
export const archiveFolder = (database: Place) =>
  join(database.engine === 'sqlite' ? dirname(database.path) : 'data', 'archive')

const SSL_MODES = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full']
type Issue = (message: string) => void

/** Relative to the folder the worker is started in; behind `sqlite://` as SQLAlchemy has it: `/relative`, `//absolute`. */
function sqliteFile(text: string, issue: Issue): SqliteFile | undefined {
  const [, alchemy, path = ''] = /^sqlite:(\/\/)?(.*)$/s.exec(text)!
  const file = alchemy ? path.replace(/^\//, '') : path
  if (file === '' || (alchemy && file === path))
    issue('a file, e.g. sqlite:data/topics.db, or sqlite:////var/lib/topics.db for an absolute path')
  else if (/[?#;"<>|*\p{Cc}]|(?<!^[a-z]):|:(?![\\/])/iu.test(file))
    issue('a file without : ? # ; " < > | * in its path')
  return { engine: 'sqlite', path: file }
}

function postgresDatabase(text: string, issue: Issue): PostgresDatabase {
  const url = URL.parse(text)
  if (!url || url.hash || !isWhole(text, url) || !/^\/[^/;=&:]+$/.test(url.pathname))
    issue(`postgres://user:password@host:5432/database, ${ENCODED}`)
  const mode = url?.searchParams.get('sslmode')
  if (mode && !SSL_MODES.includes(mode)) issue(`an sslmode of ${SSL_MODES.join(', ')}`)
  const ca = url?.searchParams.get('sslrootcert')
  if (ca && !existsSync(ca)) issue('an sslrootcert that is a file')
  if (mode === 'verify-ca' && !ca) issue('with sslmode=verify-ca an sslrootcert, a file')
  return { engine: 'postgres', url: url! }
}

/** One broker or several; the scheme may stand before each, as Heroku writes it. */
function kafkaCluster(text: string, issue: Issue): KafkaCluster {
  const tls = text.startsWith('kafka+ssl:')
  const brokers = list(text.replaceAll(/kafka(\+ssl)?:\/\//g, '')).map((broker) => broker.replace(/\/$/, ''))
  if (brokers.length === 0 || !brokers.every((broker) => /^([\w.-]+|\[[\da-f:]+\])(:\d{1,5})?$/i.test(broker)))
    issue('kafka://host:9092,host:9092, or kafka+ssl://… for TLS; a user goes into KAFKA_USERNAME and KAFKA_PASSWORD')
  return { engine: 'kafka', brokers: brokers.map((b) => (/:\d+$/.test(b) ? b : `${b}:9092`)), tls, checkHosts: true }
}

/** By scheme, how a place is read. */
export const databases = { sqlite: sqliteFile, postgres: postgresDatabase, postgresql: postgresDatabase }
export const topics = { ...databases, kafka: kafkaCluster, 'kafka+ssl': kafkaCluster }
export const placeOf = <R extends Record<string, (text: string, issue: Issue) => unknown>>(by: R, wanted: string) =>
  z.string().transform((text, ctx) => {
    const read = Object.entries(by).find(([scheme]) => text.startsWith(`${scheme}:`))?.[1]
    if (!read) ctx.addIssue(wanted)
    return (read?.(text, (message) => ctx.addIssue(message)) ?? z.NEVER) as NonNullable<ReturnType<R[keyof R]>>
  })

/** Not encoded, these end the password or the host early, and the rest is taken for something else. */
export const ENCODED = 'with @ : / ? # % in user or password written as %40 %3A %2F %3F %23 %25'
/** Has it a host, and is all that was meant for user or password there, and can be read? */
export function isWhole(text: string, { username, password, hostname }: URL): boolean {
  const behind = text.replace(/^[a-z+]+:[\\/]*[^\\/?#]*/i, '')
  try {
    decodeURIComponent(username + password)
    return isHost(hostname) && !/[@\\]/.test(behind)
  } catch {
    return false
  }
}

/** Is this host the machine itself? */
export const isLoopback = (hostname: string) => /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|::1)$/.test(hostname)

export const list = (text: string) =>
  text
    .split(',')
    .map((item) => item.trim())
    .filter(Boolean)
