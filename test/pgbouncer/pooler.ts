import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getuid } from 'node:process'
import { freePort, waitFor } from '../rows.ts'

const NOBODY = 65_534
const PGBOUNCER = process.env.PGBOUNCER ?? '/usr/sbin/pgbouncer'

/** A real PgBouncer before the database of the URL; everything but `settings` is as it comes. */
export async function startPooler(url: URL, settings: Record<string, string | number>) {
  const folder = mkdtempSync(join(tmpdir(), 'client-predict-pgbouncer-'))
  const port = await freePort()
  const users = join(folder, 'users.txt')
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: port,
    unix_socket_dir: '',
    auth_type: 'scram-sha-256',
    auth_file: users,
    ...settings,
  }
  writeFileSync(users, `"${url.username}" "${decodeURIComponent(url.password)}"\n`)
  const ini = join(folder, 'pgbouncer.ini')
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`)
  writeFileSync(ini, `[databases]\n* = host=127.0.0.1 port=${url.port}\n[pgbouncer]\n${lines.join('\n')}\n`)
  const isRoot = getuid?.() === 0 // as whom it refuses to run
  if (isRoot) for (const path of [folder, users, ini]) chownSync(path, NOBODY, NOBODY)
  const child = spawn(PGBOUNCER, ['-q', ...(isRoot ? ['-u', 'nobody'] : []), ini], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    said += text
  })
  const ended = once(child, 'close')
  const answers = () =>
    new Promise<boolean>((resolve) => {
      if (child.exitCode !== null) throw new Error(`PgBouncer ended: ${said}`)
      const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
  await waitFor('PgBouncer', answers)
  return {
    url: Object.assign(new URL(url), { port: String(port) }),
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await ended
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
