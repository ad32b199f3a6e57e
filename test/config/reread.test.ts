import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { SMTPServer } from 'smtp-server'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { environment, readConfig } from '../../src/config/read.ts'
import { rereading } from '../../src/config/reread.ts'
import { postgresStore } from '../../src/engines/postgres/store.ts'
import { fakeModel, outside } from '../outside.ts'
import { startPostgres } from '../postgres.ts'
import { body, httpServer, listeningLog, prediction, row, tempDir, waitFor } from '../rows.ts'
import { START, startWorker } from '../worker.ts'

/** A mail server that lets in who has the password of the moment. */
async function guardedSmtp() {
  const state = { password: 'old-password', mails: 0, refused: 0 }
  const server = new SMTPServer({
    disabledCommands: ['STARTTLS'],
    allowInsecureAuth: true,
    onAuth({ password }, _session, done) {
      if (password === state.password) return done(null, { user: 'robot' })
      state.refused++
      done(Object.assign(new Error('no'), { responseCode: 535 }))
    },
    onData(stream, _session, done) {
      stream.resume().on('end', () => {
        state.mails++
        done()
      })
    },
  })
  server.on('error', () => {})
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as { port: number }
  const url = (password: string) => `smtp://robot:${password}@127.0.0.1:${port}`
  return { state, url, [Symbol.asyncDispose]: () => new Promise<void>((done) => server.close(() => done())) }
}

test('a worker that is refused goes on by itself once the files hold what the servers take', async () => {
  await using dir = await tempDir()
  await using smtp = await guardedSmtp()
  await using model = await fakeModel()
  let next = 0
  await using producer = await httpServer(({ request }, response) => {
    response.statusCode = request.headers.authorization === 'Bearer new-token' ? 200 : 401
    response.end(response.statusCode === 200 ? body([row(next++, { amt: 5000 })]) : 'no')
  })
  const secret = (name: string, text: string) => writeFileSync(dir.file(name), text)
  secret('smtp', smtp.url('wrong-password'))
  secret('producer', '{"Authorization": "Bearer old-token"}')
  const env = {
    PRODUCER_URL: producer.url.href,
    PRODUCER_RATE_PER_MIN: '600',
    PRODUCER_HEADERS_FILE: dir.file('producer'),
    MODEL_URL: model.url.href,
    SMTP_URL_FILE: dir.file('smtp'),
    ALERT_FROM: 'a@example.com',
    ALERT_TO: 'b@example.com',
    ALERT_BURST: '1000',
    ALERT_BREAKER: 'off',
  }
  await using worker = startWorker(dir.path, env)
  await waitFor('both to be refused', () => smtp.state.refused > 0 && producer.received.length > 0)
  expect(next).toBe(0)
  secret('producer', '{"Authorization": "Bearer new-token"}')
  secret('smtp', smtp.url(smtp.state.password))
  await waitFor('mails', () => smtp.state.mails > 0)
  expect(worker.text()).toMatch(/read again: (PRODUCER_HEADERS, SMTP_URL|PRODUCER_HEADERS[\s\S]*read again: SMTP_URL)/)
  expect(worker.text()).not.toMatch(/wrong-password|old-password|new-token/)
  worker.kill('SIGTERM')
  expect((await worker.end).code).toBe(0)
})

test('a password of PostgreSQL that was changed is taken by the next connection', async () => {
  await using server = await startPostgres()
  await using dir = await tempDir()
  const url = await server.database()
  writeFileSync(dir.file('database'), url.href)
  vi.stubEnv('DATABASE_URL_FILE', dir.file('database'))
  onTestFinished(() => void vi.unstubAllEnvs())
  const env = environment()
  const config = readConfig(env)
  const place = config.DATABASE_URL
  if (place.engine !== 'postgres') throw new Error('not a PostgreSQL')
  const store = postgresStore(place.url)
  onTestFinished(() => store.close())
  await store.insert([prediction(1)])
  await server.sql(
    `ALTER ROLE worker PASSWORD 'another one'; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'worker'`,
  )
  await expect(store.insert([prediction(2)])).rejects.toThrow()
  const { log, text } = listeningLog()
  using again = rereading(config, env, log, 20)
  const fresh = new URL(url)
  fresh.password = 'another one'
  writeFileSync(dir.file('database'), fresh.href)
  await waitFor('it to be read', () => text().includes('read again: DATABASE_URL'))
  await store.insert([prediction(2)])
  expect(await store.missing([prediction(1), prediction(2)])).toEqual([])
  fresh.pathname = '/elsewhere'
  writeFileSync(dir.file('database'), fresh.href)
  await waitFor('the other', () => text().includes('DATABASE_URL: has changed, and counts from the next start on'))
  again.now()
  expect(text()).toContain('nothing has changed')
})

describe.skipIf(process.platform === 'win32')('SIGHUP', () => {
  /** A process that is not of the tests' own terminal, if there is one. */
  function started(folder: string, env: Record<string, string>, command: string, args: string[]) {
    const { PATH = '' } = process.env
    const child: ChildProcess = spawn(command, args, {
      cwd: folder,
      env: { PATH, PORT: '0', ...env },
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let text = ''
    for (const stream of [child.stdout!, child.stderr!]) stream.setEncoding('utf8').on('data', (some) => (text += some))
    const end = new Promise<number | null>((resolve) => child.on('close', resolve))
    onTestFinished(async () => {
      child.kill('SIGKILL')
      await end
    })
    return { child, end, text: () => text }
  }

  test('has a service read .env again: what can be taken is, of the rest it says that it cannot, and mistakes change nothing', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const env = (text: string) => writeFileSync(dir.file('.env'), text)
    env('MODEL_HEADERS={"x-key":"one"}\nPRODUCER_RATE_PER_MIN=7\n')
    const { PRODUCER_RATE_PER_MIN: _, ...settings } = world.env
    const worker = started(dir.path, settings, process.execPath, START)
    await waitFor('its start', () => worker.text().includes('status page'))
    const hangUp = async (said: string) => {
      worker.child.kill('SIGHUP')
      await waitFor(said, () => worker.text().includes(said))
    }
    await hangUp('the settings were read again: nothing has changed')
    env('MODEL_HEADERS={"x-key":"two"}\nPRODUCER_RATE_PER_MIN=9\n')
    await hangUp('read again: MODEL_HEADERS')
    const later = 'PRODUCER_RATE_PER_MIN: has changed, and counts from the next start on'
    await waitFor(later, () => worker.text().includes(later))
    env('MODEL_HEADERS={"x-key":"three"}\nPRODUCER_RATE_PER_MIN=many\n')
    await hangUp('PRODUCER_RATE_PER_MIN: got ')
    await waitFor('what stays', () => worker.text().includes('what was set before stays'))
    expect(worker.child.exitCode).toBe(null)
    worker.child.kill('SIGTERM')
    expect(await worker.end).toBe(0)
  })

  test('stops a worker whose terminal is closed', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const line = [process.execPath, ...START].map((word) => `'${word}'`).join(' ')
    const script = started(dir.path, world.env, 'script', ['-qfec', `exec ${line} > out.log`, '/dev/null'])
    const said = () => (existsSync(dir.file('out.log')) ? readFileSync(dir.file('out.log'), 'utf8') : '')
    await waitFor('its start', () => said().includes('status page'))
    script.child.kill('SIGKILL') // the terminal, with what it shows
    await waitFor('its end', () => said().includes('"stopped"'))
    expect(said()).toContain('SIGHUP: stopping')
  })
})
