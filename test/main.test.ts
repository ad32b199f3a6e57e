import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, writeSync } from 'node:fs'
import { cp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import manifest from '../package.json' with { type: 'json' }
import { certificate } from './notify/smtp-server.ts'
import { disposable, isFraud, outside, recorded, someRows } from './outside.ts'
import { httpServer, row, tempDir, waitFor } from './rows.ts'
import { START, startWorker } from './worker.ts'

describe('a first run with no settings at all', () => {
  test('shows a fraud mailed within half a minute, marks what is simulated, and ends with exit 0', async () => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {})
    const mail = await waitFor(
      'a mail',
      async () => (await readdir(dir.file('outbox')).catch(() => [])).find((name) => name.endsWith('.eml')),
      30_000,
    )
    expect(await readFile(dir.file(`outbox/${mail}`), 'utf8')).toMatch(/^Subject: \[simulated\] Fraud alert: \$/m)
    const rows = await waitFor(
      'rows',
      () => (recorded(dir.file('data/fraud.db')).length > 5 ? recorded(dir.file('data/fraud.db')) : undefined),
      30_000,
    )
    expect(new Set(rows.map((r) => r.model))).toEqual(new Set(['simulated']))
    worker.kill('SIGINT')
    expect(await worker.end).toEqual({ code: 0, signal: null })
    for (const setting of ['PRODUCER_URL', 'MODEL_URL', 'SMTP_URL'])
      expect(worker.text().match(new RegExp(`${setting} is not set`, 'g'))).toHaveLength(1)
    expect(worker.text()).toMatch(/ROC AUC 0\.9\d+ on \d+ simulated rows/)
    expect(worker.text()).toContain('written to outbox/')
    for (const { cc_num } of rows) expect(worker.text()).not.toContain(String(cc_num))
  })
})

describe('wrong settings', () => {
  test('end the start with exit 2 and one line for each mistake', async () => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {
      PORT: 'http',
      STAGES: 'fetch,guess',
      SMTP_URL: 'smtp://me:secret@host:999999',
      LOG_LEVEL: 'loud',
    })
    expect(await worker.end).toEqual({ code: 2, signal: null })
    const lines = worker.text().trim().split('\n')
    for (const name of ['PORT', 'STAGES', 'SMTP_URL', 'LOG_LEVEL'])
      expect(lines.filter((line) => line.startsWith(`${name}: got `))).toHaveLength(1)
    expect(worker.text()).not.toContain('secret')
  })

  test('in production nothing is simulated: the start ends with what is missing', async () => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, { NODE_ENV: 'production' })
    expect((await worker.end).code).toBe(2)
    for (const name of ['PRODUCER_URL', 'MODEL_URL', 'SMTP_URL', 'ALERT_FROM', 'ALERT_TO'])
      expect(worker.text()).toMatch(new RegExp(`^${name}: is not set`, 'm'))
    expect(await readdir(dir.path)).toEqual([])
  })
})

describe('the process', () => {
  test('asks the producer within a second of its start', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const started = Date.now()
    await using worker = startWorker(dir.path, world.env)
    await waitFor('a call', () => world.producer.calls > 0)
    // Bound for a busy machine; measured alone it is 0.4 s.
    expect(Date.now() - started).toBeLessThan(5000)
    worker.kill('SIGTERM')
    expect(await worker.end).toEqual({ code: 0, signal: null })
  })

  test('keeps what Node.js has compiled for the next start, beside the packages', () => {
    const where = ['-p', 'require("node:module").getCompileCacheDir()']
    const { stdout } = spawnSync(process.execPath, [...START.slice(0, -1), ...where], { env: {}, encoding: 'utf8' })
    expect(stdout).toContain(fileURLToPath(new URL('../node_modules/.cache/client-predict', import.meta.url)))
  })

  test('ends with exit 0 within 10 s of SIGTERM while everything outside is down', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(20), dir.path)
    world.smtp.down = true
    await using worker = startWorker(dir.path, world.env)
    await waitFor('rows', () => world.recorded().length > 5)
    world.producer.down = true
    world.model.down = true
    await waitFor('an outage', () => worker.text().includes('cannot reach the producer'))
    const asked = Date.now()
    worker.kill('SIGTERM')
    expect(await worker.end).toEqual({ code: 0, signal: null })
    expect(Date.now() - asked).toBeLessThan(10_000)
  })

  test.for(['SIGTERM', 'SIGINT', 'SIGHUP'])(
    'ends with exit 0 and makes nothing on %s at its first moment, before the program itself is loaded',
    async (signal) => {
      await using dir = await tempDir()
      await using world = await outside([], dir.path)
      const hook = `--import "data:text/javascript,process.kill(process.pid, '${signal}')"` // runs before main.ts
      await using worker = startWorker(dir.path, { ...world.env, NODE_OPTIONS: hook })
      expect(await worker.end).toEqual({ code: 0, signal: null })
      expect(await readdir(dir.path)).toEqual([])
      expect(worker.text()).toMatch(new RegExp(`${signal}: stopping.*\\n.*"stopped"`))
    },
  )

  test('says first what it is and works with, and no secret', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const secrets = {
      SMTP_URL: world.env.SMTP_URL.replace('//', '//me:hush@'),
      ALERT_WEBHOOK_URL: 'https://hook.example/hush',
    }
    const urls = {
      PRODUCER_URL: `${world.env.PRODUCER_URL}?key=hush`,
      MODEL_URL: world.env.MODEL_URL.replace('//', '//me:hush@'),
    }
    await using worker = startWorker(dir.path, { ...world.env, ...secrets, ...urls })
    await waitFor('a call', () => world.producer.calls > 0)
    worker.kill('SIGTERM')
    await worker.end
    const [first, second] = worker
      .text()
      .split('\n')
      .map((line) => line && JSON.parse(line).msg)
    const { host } = new URL(world.env.MODEL_URL)
    expect(first).toBe(
      `client-predict ${manifest.version} on Node.js ${process.versions.node}: fetch, score, alert, record; Ctrl-C stops`,
    )
    expect(second).toBe(
      [
        `producer ${new URL(world.env.PRODUCER_URL).host}`,
        `model ${host}, rf/7`,
        `mail ${new URL(world.env.SMTP_URL).host}`,
        'webhook hook.example',
        `topics ${dir.path}/topics.db`,
        `predictions ${dir.path}/fraud.db`,
      ].join('; '),
    )
    expect(worker.text()).not.toContain('hush')
  })

  test('says which proxy is on the way to what, blames it, and takes none to this machine', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    await using proxy = await httpServer((_, response) => response.writeHead(502).end('<html>nobody there'))
    const env = { ...world.env, HTTP_PROXY: proxy.url.href.replace('//', '//me:hush@'), NODE_USE_ENV_PROXY: '1' }
    const { host } = proxy.url
    await using worker = startWorker(dir.path, { ...env, PRODUCER_URL: 'http://there.invalid/x' })
    await waitFor('the blame', () => worker.text().includes(`(an HTML page), or the proxy ${host} did; retrying`))
    const line = `the proxy ${host} (HTTP_PROXY) is on the way to producer`
    expect(worker.text().split(`"${line}"`)).toHaveLength(2)
    expect(worker.text()).not.toContain('hush')
    await using near = startWorker(dir.path, { ...env, TOPICS_URL: `sqlite:${dir.file('near.db')}` })
    await waitFor('a call', () => world.producer.calls > 0)
    expect(near.text()).not.toContain('the proxy')
    await using wrong = startWorker(dir.path, {
      ...env,
      PRODUCER_URL: 'http://there.invalid/x',
      HTTP_PROXY: 'socks4://hush',
      NODE_USE_ENV_PROXY: '',
    })
    expect((await wrong.end).code).toBe(2)
    expect(wrong.text()).toBe(
      'HTTP_PROXY: got "***", wants http://user:password@host:port; it is on the way to producer\n',
    )
  })

  test('says how to trust a certificate, and trusts it then', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const own = certificate()
    let calls = 0
    const server = createServer(own, (_, response) => {
      calls++
      response.end('null')
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    await writeFile(dir.file('ca.pem'), own.cert)
    const env = { ...world.env, PRODUCER_URL: `https://127.0.0.1:${(server.address() as AddressInfo).port}/x` }
    {
      await using worker = startWorker(dir.path, env)
      await waitFor('the cure', () =>
        worker.text().includes('cannot reach the producer: self-signed certificate (NODE_EXTRA_CA_CERTS=/path/ca.pem '),
      )
      expect(calls).toBe(0)
    }
    await using _trusting = startWorker(dir.path, { ...env, NODE_EXTRA_CA_CERTS: dir.file('ca.pem') })
    await waitFor('a call', () => calls > 0)
  })

  test('warns once when it is started where no .env is, and the program has one', async () => {
    await using dir = await tempDir()
    await using program = await tempDir()
    for (const path of ['src', 'package.json'])
      await cp(fileURLToPath(new URL(`../${path}`, import.meta.url)), program.file(path), { recursive: true })
    await symlink(fileURLToPath(new URL('../node_modules', import.meta.url)), program.file('node_modules'))
    await writeFile(program.file('.env'), 'PORT=0\n')
    const run = (folder: string, ...args: string[]) =>
      spawnSync(process.execPath, [program.file('src/main.ts'), ...args], {
        cwd: folder,
        env: { PATH: process.env.PATH, ONCE_SECONDS: '1', STAGES: 'record', PORT: '0' },
        encoding: 'utf8',
      })
    const said = `${program.file('.env')} is not read, as the program was started in ${dir.path}, where there is no .env`
    const { stdout } = run(dir.path, 'once')
    expect(stdout.split(said)).toHaveLength(2)
    expect(run(dir.path, 'doctor', '--offline').stderr.split(said)).toHaveLength(2)
    expect(run(program.path, 'once').stdout).not.toContain('is not read')
    expect(run(dir.path, '--version').stderr).toBe('')
  })

  test('ends at once on a second signal', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    await using silent = await httpServer(() => {}) // a call in flight is given 5 s
    await using worker = startWorker(dir.path, { ...world.env, PRODUCER_URL: silent.url.href })
    await waitFor('a call', () => silent.received.length > 0)
    worker.kill('SIGTERM')
    await waitFor('the word', () => worker.text().includes('SIGTERM: stopping'))
    worker.kill('SIGTERM')
    expect(await worker.end).toEqual({ code: 143, signal: null })
  })

  test('loses nothing and doubles nothing when it is killed and started again', async () => {
    await using dir = await tempDir()
    const rows = someRows(150)
    await using world = await outside(rows, dir.path)
    const owed = new Set(rows.map((r) => r.trans_num))
    for (let kills = 0; kills < 3; kills++) {
      await using worker = startWorker(dir.path, { ...world.env, PRODUCER_RATE_PER_MIN: '6000' })
      const before = world.producer.next
      await waitFor('some progress', () => world.producer.next > before + 20)
      worker.kill('SIGKILL')
      await worker.end
      owed.delete(rows[world.producer.next - 1]?.trans_num) // may have been on its way
    }
    await using _last = startWorker(dir.path, world.env)
    const frauds = rows.filter((r) => isFraud(r) && owed.has(r.trans_num))
    const there = () => new Set(world.recorded().map((r) => r.trans_num))
    await waitFor('all rows', () => there().isSupersetOf(owed))
    await waitFor('all mails', () => frauds.every((r) => world.mailed(r.trans_num) > 0))
    expect(frauds.filter((r) => world.mailed(r.trans_num) > 1).length).toBeLessThanOrEqual(3) // one a kill may be between the dot and our note
    expect(new Set(world.recorded().map((r) => r.trans_num)).size).toBe(world.recorded().length)
  })

  test.skipIf(process.platform === 'win32')(
    'writes files that nobody else can read: they hold card numbers',
    async () => {
      await using dir = await tempDir()
      await using world = await outside(someRows(3), dir.path)
      await using _worker = startWorker(dir.path, world.env)
      await waitFor('rows', () => world.recorded().length === 3)
      for (const name of ['topics.db', 'fraud.db']) expect((await stat(dir.file(name))).mode & 0o077).toBe(0)
    },
  )

  test('refuses to share its topics with a second worker', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    await using first = startWorker(dir.path, world.env)
    await waitFor('the first', () => world.producer.calls > 0)
    await using second = startWorker(dir.path, world.env)
    expect((await second.end).code).toBe(1)
    expect(second.text()).toMatch(
      /another worker is using .*topics\.db: stop it first, or give this one a TOPICS_URL of its own/,
    )
    first.kill('SIGTERM')
    expect((await first.end).code).toBe(0)
  })

  test('waits for topics that another program has locked, and begins when they are free', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(3), dir.path)
    let worker: ReturnType<typeof startWorker>
    {
      using other = disposable(new DatabaseSync(dir.file('topics.db')))
      other.exec('BEGIN EXCLUSIVE')
      worker = startWorker(dir.path, world.env)
      await waitFor('a word', () => /topics\.db: database is locked; retrying/.test(worker.text()) || !worker.running())
    }
    await using _worker = worker
    await waitFor('rows', () => world.recorded().length === 3)
  })

  test.for([
    ['topics.db', 'topics.db was deleted while it was open'],
    ['fraud.db', 'fraud.db was deleted while it was open'],
  ])('says within 10 s that %s was deleted, is not ready, and loses nothing', async ([name, said]) => {
    await using dir = await tempDir()
    const rows = someRows(40)
    await using world = await outside(rows, dir.path)
    const env = { ...world.env, PRODUCER_RATE_PER_MIN: '1200' }
    const owed = new Set(rows.map((r) => r.trans_num))
    {
      await using worker = startWorker(dir.path, env)
      await waitFor('some rows', () => world.recorded().length > 4)
      for (const part of ['', '-wal', '-shm']) await rm(dir.file(`${name}${part}`))
      await waitFor('a word', () => worker.text().includes(said!))
      const [, page] = /status page: (\S+)\//.exec(worker.text())!
      await waitFor('it not to be ready', async () => (await fetch(`${page}/readyz`)).status === 503)
      if (name === 'topics.db') {
        const { calls } = world.producer
        await new Promise((resolve) => setTimeout(resolve, 1000))
        expect(world.producer.calls).toBe(calls)
      }
      worker.kill('SIGTERM')
      expect(await worker.end).toEqual({ code: 0, signal: null })
      // One may have been on its way. It is held until the stop, and then said to be given up.
      if (/"stage":"fetch".*gave up/.test(worker.text())) owed.delete(rows[world.producer.next - 1]!.trans_num)
    }
    await using refused = startWorker(dir.path, env)
    expect((await refused.end).code).toBe(1)
    expect(refused.text()).toContain(`${name}.saved is there, saved when`)
    await rename(dir.file(`${name}.saved`), dir.file(name!))
    await using _worker = startWorker(dir.path, env)
    const there = () => new Set(world.recorded().map((r) => r.trans_num))
    await waitFor('all rows', () => there().isSupersetOf(owed))
    const frauds = rows.filter((r) => isFraud(r) && owed.has(r.trans_num))
    await waitFor('all mails', () => frauds.every((r) => world.mailed(r.trans_num) > 0))
    const twice = frauds.filter((r) => world.mailed(r.trans_num) > 1)
    expect(twice.length).toBeLessThanOrEqual(1) // that was sent, and not noted, when the file was deleted
  })

  test('mails nothing simulated as real: in production it refuses topics that hold some', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(3), dir.path)
    {
      await using first = startWorker(dir.path, { ...world.env, NODE_ENV: '', PRODUCER_URL: '', STAGES: 'fetch' })
      await waitFor('its work', () => first.text().includes('the transactions are simulated'))
      first.kill('SIGTERM')
      expect((await first.end).code).toBe(0)
    }
    await using worker = startWorker(dir.path, world.env)
    expect((await worker.end).code).toBe(2)
    expect(worker.text()).toMatch(
      /^TOPICS_URL: got .*topics\.db, which holds simulated payments: move the folder data\/ away, and the predictions with it$/m,
    )
    expect(world.producer.calls).toBe(0)
    await using trial = startWorker(dir.path, { ...world.env, NODE_ENV: '' })
    await waitFor('a warning', () => trial.text().includes('which holds simulated payments'))
    await waitFor('its work', () => world.producer.calls > 0)
  })

  test.skipIf(process.platform !== 'linux')('goes on when its log cannot be written', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(50), dir.path)
    const full = openSync('/dev/full', 'w')
    const child = spawn(process.execPath, START, {
      cwd: dir.path,
      env: { PATH: process.env.PATH, PORT: '0', ...world.env, LOG_LEVEL: 'debug' },
      stdio: ['ignore', full, 'ignore'],
    })
    closeSync(full)
    const ended = once(child, 'close')
    await waitFor('all rows', () => world.recorded().length === 50)
    await waitFor('all mails', () => world.smtp.mails.length === 10)
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  })

  test.skipIf(process.platform === 'win32')('goes on when nobody reads its log, and stops when asked', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(50), dir.path)
    spawnSync('mkfifo', [dir.file('log')])
    const unread = openSync(dir.file('log'), 'r+')
    writeSync(unread, '\n'.repeat(65_000)) // as much as it takes
    const child = spawn(process.execPath, START, {
      cwd: dir.path,
      env: { PATH: process.env.PATH, PORT: '0', ...world.env, LOG_LEVEL: 'debug' },
      stdio: ['ignore', unread, 'ignore'],
    })
    onTestFinished(() => {
      child.kill('SIGKILL')
      closeSync(unread)
    })
    const ended = once(child, 'exit')
    await waitFor('all rows', () => world.recorded().length === 50)
    await waitFor('all mails', () => world.smtp.mails.length === 10)
    const asked = Date.now()
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
    expect(Date.now() - asked).toBeLessThan(10_000)
  })

  test('ends with exit 1 and the cause when something happens that nobody expected', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(3), dir.path)
    {
      await using worker = startWorker(dir.path, { ...world.env, STAGES: 'fetch' })
      await waitFor('all fetched', () => world.producer.next > 3)
      worker.kill('SIGTERM')
      await worker.end
    }
    using db = disposable(new DatabaseSync(dir.file('topics.db')))
    db.exec("UPDATE transactions SET record = 'null' WHERE offset = 2")
    await using worker = startWorker(dir.path, world.env)
    expect(await worker.end).toEqual({ code: 1, signal: null })
    expect(worker.text()).toMatch(/"level":"fatal".*properties of null.*; the worker ends/)
  })
})

describe.concurrent('commands', () => {
  test('once drains everything and ends with exit 0', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(10), dir.path)
    await using heart = await httpServer((_, response) => response.end('OK'))
    const env = { ...world.env, ONCE_SECONDS: '5', HEARTBEAT_URL: `${heart.url}0a1b` }
    await using worker = startWorker(dir.path, env, 'once')
    expect((await worker.end).code).toBe(0)
    expect(heart.received.map(({ request: { method, url } }) => `${method} ${url}`)).toEqual(['GET /0a1b'])
    const fetched = Math.min(world.producer.next, 10) // a busy machine fetches fewer in the time
    expect(fetched).toBeGreaterThan(0)
    expect(world.recorded()).toHaveLength(fetched)
    expect(world.smtp.mails).toHaveLength(Math.ceil(fetched / 5))
  })

  test('once ends with exit 1 and says what is left when a system is down', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(10), dir.path)
    world.model.down = true
    await using heart = await httpServer((_, response) => response.end('OK'))
    const env = { ...world.env, ONCE_SECONDS: '5', HEARTBEAT_URL: `${heart.url}s3cret` }
    await using worker = startWorker(dir.path, env, 'once')
    expect((await worker.end).code).toBe(1)
    const fetched = Math.min(world.producer.next, 10)
    const left = `${fetched} left to score, nothing moved for 10 s`
    expect(worker.text()).toContain(left)
    expect(heart.received.map(({ request: { url }, text }) => `${url} ${text}`)).toEqual([`/s3cret/fail ${left}`])
    expect(worker.text()).not.toContain('s3cret')
  })

  test('calls HEARTBEAT_URL while it works', async () => {
    await using dir = await tempDir()
    await using heart = await httpServer((_, response) => response.end('OK'))
    await using worker = startWorker(dir.path, { HEARTBEAT_URL: `${heart.url}s3cret` })
    await waitFor('a call', () => heart.received.length > 0)
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
    expect(heart.received.map(({ request: { method, url } }) => `${method} ${url}`)).toEqual(['GET /s3cret'])
    expect(worker.text()).not.toContain('s3cret')
  })

  test('dead-letters lists them without card numbers and puts them back beside the running worker', async () => {
    await using dir = await tempDir()
    await using world = await outside([row(0), row(1, { amt: 'much' })], dir.path)
    await using worker = startWorker(dir.path, world.env)
    await waitFor('a dead letter', () => worker.text().includes('set aside in dead-letters'))
    await using list = startWorker(dir.path, world.env, 'dead-letters')
    expect((await list.end).code).toBe(0)
    expect(list.text()).toMatch(/^1 .*fetch {2}amt must be a finite number/m)
    expect(list.text()).not.toContain(String(row(1).cc_num))
    await using again = startWorker(dir.path, world.env, 'dead-letters', 'retry', '1', '7')
    expect((await again.end).code).toBe(1)
    expect(again.text()).toMatch(/^1 +stays: amt must be a finite number$/m)
    expect(again.text()).toMatch(/^7 +stays: there is no such dead letter/m)
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  })

  test('doctor tries every outside system and says how each is', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(3), dir.path)
    await using worker = startWorker(dir.path, { ...world.env, STAGES: 'fetch,alert,record' })
    await waitFor('its work', () => world.producer.next > 3)
    await using doctor = startWorker(dir.path, { ...world.env, STAGES: 'fetch,alert,record' }, 'doctor', '--offline')
    expect((await doctor.end).code).toBe(0)
    expect(
      doctor
        .text()
        .replaceAll(/^(\S+ +\S+).*$/gm, '$1')
        .trimEnd()
        .split('\n'),
    ).toEqual([
      'ok      settings',
      'skipped producer',
      'ok      mail',
      'ok      topics',
      'ok      database',
      expect.stringMatching(/^(ok|note) {3,5} disk$/),
    ])
    expect(doctor.text()).toMatch(/^ok +topics .*waiting: 3 records for score$/m)
    world.smtp.down = true
    await using json = startWorker(dir.path, { ...world.env, STAGES: 'alert' }, 'doctor', '--json')
    expect((await json.end).code).toBe(1)
    const { ok, checks } = JSON.parse(json.text())
    expect(ok).toBe(false)
    expect(checks[1]).toMatchObject({ name: 'mail', state: 'wrong', text: expect.stringContaining('421') })
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  })

  test('doctor says what is wrong with the settings', async () => {
    await using dir = await tempDir()
    const settings = { PORT: 'x', MODEL_URL: 'localhost:5000' }
    await using doctor = startWorker(dir.path, settings, 'doctor')
    expect((await doctor.end).code).toBe(1)
    expect(doctor.text()).toMatch(
      /^WRONG {3}settings MODEL_URL: got "localhost:5000", wants a full URL.*\nWRONG {3}settings PORT: got "x", wants a port.*\n$/,
    )
    await using json = startWorker(dir.path, settings, 'doctor', '--json')
    expect((await json.end).code).toBe(1)
    expect(JSON.parse(json.text())).toMatchObject({ ok: false, checks: [{ name: 'settings', state: 'wrong' }, {}] })
  })

  test.for([['audit'], ['dead-letters'], ['replay', '--stage', 'record'], ['backup', 'copy']])(
    '%j in another folder than the worker says so, and makes no file',
    async (args) => {
      await using dir = await tempDir()
      await using worker = startWorker(dir.path, {}, ...args)
      expect((await worker.end).code).toBe(1)
      expect(worker.text()).toMatch(/^there is no .*data\/topics\.db/)
      expect(await readdir(dir.path)).toEqual([])
    },
  )

  test('audit proves the account beside the running worker, and ends with exit 1 when it does not hold', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(20), dir.path)
    await using worker = startWorker(dir.path, world.env)
    await waitFor('all rows', () => world.recorded().length === 20)
    await waitFor('all mails', () => world.smtp.mails.length === 4)
    await using audit = startWorker(dir.path, world.env, 'audit')
    expect((await audit.end).code).toBe(0)
    expect(audit.text()).toMatch(/^fetched +20 = 20 predicted \+ 0 waiting \+ 0 set aside$/m)
    using db = disposable(new DatabaseSync(dir.file('fraud.db')))
    db.exec("DELETE FROM predictions WHERE trans_num = 'trans-7'")
    await using again = startWorker(dir.path, world.env, 'audit')
    expect((await again.end).code).toBe(1)
    expect(again.text()).toContain('trans-7')
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  })

  test('backup copies both files while the worker writes, and replay fills a database anew from the copy', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(20), dir.path)
    await using worker = startWorker(dir.path, world.env)
    await waitFor('all rows', () => world.recorded().length === 20)
    await waitFor('all mails', () => world.smtp.mails.length === 4)
    await using backup = startWorker(dir.path, world.env, 'backup', 'copy')
    expect((await backup.end).code).toBe(0)
    expect(recorded(dir.file('copy/fraud.db'))).toEqual(world.recorded())
    const env = { ...world.env, TOPICS_URL: 'sqlite:copy/topics.db', DATABASE_URL: 'sqlite:new.db' }
    await using replay = startWorker(dir.path, env, 'replay', '--stage', 'record', '--from', '3', '--to', '12')
    expect((await replay.end).code).toBe(0)
    expect(recorded(dir.file('new.db'))).toEqual(world.recorded().slice(2, 12))
    const score = ['--stage', 'score', '--into', 'sqlite:other.db']
    await using again = startWorker(dir.path, { ...world.env, MODEL_NAME: 'rf/8' }, 'replay', ...score)
    expect((await again.end).code).toBe(0)
    expect(again.text()).toContain('of 20: 20 as before, 0 newly fraud, 0 no longer fraud')
    expect(recorded(dir.file('other.db')).map(({ model }) => model)).toEqual(Array(20).fill('rf/8'))
    expect(world.smtp.mails).toHaveLength(4)
    await using unset = startWorker(dir.path, { ...world.env, MODEL_URL: '' }, 'replay', ...score)
    expect((await unset.end).code).toBe(2)
    expect(unset.text()).toBe('MODEL_URL: is not set, wants the model to judge with\n')
    worker.kill('SIGTERM')
    expect((await worker.end).code).toBe(0)
  })

  test.for([
    [['frobnicate'], 'unknown command: frobnicate'],
    [['once', 'more'], 'unknown command: once more'],
    [['doctor', '--jsn'], "Unknown option '--jsn'"],
    [['audit', 'x'], 'audit makes no sense of "x"'],
    [['dead-letters', 'discard'], 'dead-letters makes no sense of "discard"'],
    [['simulate'], 'simulate wants --rows N'],
    [['backup'], 'backup makes no sense of ""'],
    [['replay'], 'replay wants --stage record or --stage score'],
    [['replay', '--stage', 'record', '--into', 'a.csv'], '--into and --source go with --stage score alone'],
    [['replay', '--stage', 'score', '--source', 'mars'], '--source wants topics or database'],
  ] as const)('%j ends with exit 2 and says what there is', async ([args, said]) => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {}, ...args)
    expect((await worker.end).code).toBe(2)
    expect(worker.text().split('\n')[0]).toContain(said)
    expect(worker.text()).toContain(`node src/main.ts ${args[0] === 'frobnicate' ? 'once' : args[0]}`)
    expect(await readdir(dir.path)).toEqual([])
  })

  test.for(['--help', '-h', 'help'])('%s says what there is', async (word) => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {}, word)
    expect((await worker.end).code).toBe(0)
    for (const command of ['once', 'doctor', 'audit', 'replay', 'backup', 'dead-letters', 'simulate'])
      expect(worker.text()).toContain(`node src/main.ts ${command}`)
  })

  test.for(['--version', '-v', 'version'])('%s says the version of package.json, and nothing else', async (word) => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {}, word)
    expect((await worker.end).code).toBe(0)
    expect(worker.text()).toBe(`${manifest.version}\n`)
  })

  test('model says who judges where there is no challenger, and what is missing for one', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(3), dir.path)
    await using worker = startWorker(dir.path, { ...world.env, MODEL_NAME: 'fraud/7' })
    await waitFor('the rows', () => world.recorded().length === 3)
    await using status = startWorker(dir.path, { ...world.env, MODEL_NAME: 'fraud/7' }, 'model', 'status')
    expect((await status.end).code).toBe(0)
    expect(status.text()).toBe('fraud/7 judges; CHALLENGER_URL names no other\n')
    await using promote = startWorker(dir.path, world.env, 'model', 'promote', 'fraud/8')
    expect((await promote.end).code).toBe(2)
    expect(promote.text()).toContain('CHALLENGER_URL: is not set')
    expect(worker.running()).toBe(true)
  })

  test('simulate prints labelled history for a trainer', async () => {
    await using dir = await tempDir()
    await using worker = startWorker(dir.path, {}, 'simulate', '--rows', '50')
    expect((await worker.end).code).toBe(0)
    const lines = worker.text().trimEnd().split('\n')
    expect(lines[0]).toMatch(/^,trans_date_trans_time,cc_num,.*,is_fraud$/)
    expect(lines).toHaveLength(51)
  })
})
