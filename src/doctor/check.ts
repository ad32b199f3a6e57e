import { ConfigError } from '../config/read.ts'
import { causeOf, causes, DamagedFile, FileFault, NewerSchema, reason } from '../io/errors.ts'
import { proxyOf } from '../io/proxy.ts'

/** What was found: `note` is worth knowing and no failure, `skipped` was not tried. `text` and `cure` fit into one line. */
export type Finding = { state: 'ok' | 'note' | 'wrong' | 'skipped'; text: string; cure?: string }
export type Check = { name: string } & Finding

export const ok = (text: string): Finding => ({ state: 'ok', text })
export const skipped = (text: string): Finding => ({ state: 'skipped', text })
export const note = (text: string, cure?: string): Finding => ({ state: 'note', text, ...(cure && { cure }) })
export const wrong = (text: string, cure: string): Finding => ({ state: 'wrong', text, cure })

/** One system outside, and how it is tried: an aborted signal ends the waiting. What it throws is wrong with it. */
export type Target = {
  name: string
  /** ms until it has to be known how it is */
  within: number
  look(signal: AbortSignal, within: number): Promise<Finding[]>
}

/** What a person does about an error of connecting, or of opening a place; `setting` says where, `url` what was asked. */
export function failure(error: unknown, setting: string, what = '', url?: URL): Finding {
  const said = plainly(error)
  const text = said.includes(what) ? said : `${what}: ${said}`
  const cure = url && proxyOf(url) ? PROXY : (ofOurs(error) ?? ofOthers(text))
  return wrong(text, cure.replaceAll('%', setting))
}

const PROXY =
  'is that proxy right, and up? HTTP_PROXY, HTTPS_PROXY and ALL_PROXY name it, NO_PROXY hosts asked directly'
export const BACKUP = 'stop the worker, move the files of % away, and restore a backup (npm run backup makes one)'
const SILENT = 'it does not answer: is it up, does a firewall stand between? Check host and port in %'

/** By what our own errors are; by what they say of others there is nothing to be found here. */
function ofOurs(error: unknown): string | undefined {
  const all = causes(error)
  const is = (kind: new (...args: never[]) => Error) => all.some((e) => e instanceof kind)
  if (is(ConfigError)) return 'let % name the server itself' // a pooler does not do
  if (is(NewerSchema)) return 'update this program, or let % name another place'
  if (is(DamagedFile)) return BACKUP
  if (is(FileFault)) return 'do what is said there, before the worker starts'
  return ['timeout', 'ETIMEDOUT'].includes(causeOf(error)) ? SILENT : undefined
}

/** Why, with only what a person can read of OpenSSL's errors. */
export const plainly = (error: unknown) =>
  reason(error)
    .slice(0, 2000)
    .replace(/[\dA-F]+:error:[\dA-F]+:SSL routines:[^:]*:([^:]+):.*$/, 'TLS: $1')

/** The first that fits. What the system, TLS, PostgreSQL, Kafka and SQLite say of themselves. */
const CURES: readonly [RegExp, string][] = [
  [/ENOTFOUND|EAI_AGAIN/, 'no such host is known: check the host in %, and the DNS of this machine'],
  [/ECONNREFUSED|all attempts to connect/i, 'nothing listens there: is it up? Check host and port in %'],
  [/EHOSTUNREACH|ENETUNREACH/, 'no way leads there from here: check the host in %, and the network'],
  [/certificate|altnames/i, 'the host in % must be the one that its certificate names, and this machine must trust it'],
  [
    /wrong version number|packet length too long|EPROTO/,
    'one side speaks TLS, the other does not: check the scheme and port in %',
  ],
  [/Kafka at .*(SASL|authenticat)/i, 'check KAFKA_USERNAME, KAFKA_PASSWORD and KAFKA_MECHANISM'],
  [/password|SASL|authentication failed/i, 'check user and password in %'],
  [/pg_hba/, 'the server does not let this user in from here (its pg_hba.conf): check user and sslmode in %'],
  [/does not support SSL/, 'the server has no TLS: take sslmode out of %'],
  [/database ".*" does not exist/, 'create that database, or check its name in %'],
  [/permission denied for|must be owner/, 'the user in % needs the right to create a schema and tables there'],
  [/relation .* already exists/, 'that table is of another program: let % name a database of its own'],
  [/malformed/, BACKUP],
  [/not a database/, 'let % name another file, or move this one away'],
  [
    /unable to open database|EACCES|EROFS|readonly|ENOTDIR|EEXIST/i,
    'the folder in % must be there and this user may write in it',
  ],
  [/database is locked/, 'another program has it open for long: which one uses the file of %?'],
  [/disk is full|ENOSPC/i, 'make room on the disk of %'],
  [/ETIMEDOUT|timed? ?out|timeout|never received/i, SILENT],
]
const ofOthers = (text: string) => CURES.find(([pattern]) => pattern.test(text))?.[1] ?? 'check %'
