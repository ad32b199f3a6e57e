import { once } from 'node:events'
import { request } from 'node:http'
import { connect, createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { HttpFailure } from '../../src/io/errors.ts'
import { reportFailure, reportSuccess } from '../../src/run/loop.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { type StatusOptions, statusServer } from '../../src/status/server.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { VERSION } from '../../src/version.ts'
import { freePort, LONG_CARD, listeningLog, prediction, tempDir, transaction, waitFor } from '../rows.ts'

const ALL = ['fetch', 'score', 'alert', 'record'] as const

/** A status server, with real topics behind it unless they are not open yet. */
async function start({ open = true, stages = ALL as readonly (typeof ALL)[number][], ...options } = {} as Start) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
  const watch = openMonitor(stages)
  const watched = open ? watch.topics(topics) : topics
  const readers = [watched.reader('transactions', 'score'), watched.reader('predictions', 'record')]
  const { log, text } = listeningLog()
  const port = await freePort()
  stack.use(statusServer({ host: '127.0.0.1', port, log, watch, about: [['model', 'm <b>&']], ...options }))
  await waitFor('the server', () => text().includes('status page') || text().includes('cannot listen'))
  const url = `http://127.0.0.1:${port}`
  const ready = async () => {
    const response = await fetch(`${url}/readyz`)
    const { ready, stages } = (await response.json()) as { ready: boolean; stages: Record<string, unknown>[] }
    return { status: response.status, ready, of: (name: string) => stages.find(({ stage }) => stage === name) }
  }
  const metrics = async () => (await fetch(`${url}/metrics`)).text()
  return { url, port, watch, watched, readers, text, ready, metrics }
}
type Start = { open?: boolean; stages?: readonly (typeof ALL)[number][] } & Partial<StatusOptions>

/** The raw answer to one request. */
function ask(
  port: number,
  path: string,
  { method = 'GET', headers = {} as Record<string, string>, host = '127.0.0.1' } = {},
) {
  return new Promise<{ status: number; headers: Record<string, unknown>; text: string }>((resolve, reject) => {
    const asked = request({ host, port, path, method, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk) => (text += chunk))
      response.on('end', () => resolve({ status: response.statusCode!, headers: response.headers, text }))
    })
    asked.on('error', reject).end()
  })
}

describe('/healthz', () => {
  test('answers 200 while the process turns, whatever else is wrong', async () => {
    const { url, watch } = await start({ open: false })
    for (const name of ALL) reportFailure(watch.health[name], new Error('down'))
    const response = await fetch(`${url}/healthz`)
    expect([response.status, await response.text()]).toEqual([200, 'ok\n'])
  })
})

test('the page, /readyz and the metrics say which version runs', async () => {
  const { url, metrics } = await start()
  const text = async (path: string) => (await fetch(url + path)).text()
  expect(JSON.parse(await text('/readyz')).version).toBe(VERSION)
  expect(await text('/')).toContain(`client-predict ${VERSION} at `)
  const info = `client_predict_build_info{version="${VERSION}",node="${process.versions.node}"} 1`
  expect(await metrics()).toContain(`${info}\n`)
})

test('the page, /readyz and the metrics count for the alarms frauds, not the records among which they are', async () => {
  const { url, watch, watched, ready, metrics } = await start()
  watched.reader('predictions', 'alert')
  await watched.append({ predictions: [prediction(1), prediction(2)] })
  const cell = async () =>
    /alert → mail<\/th>[\s\S]*?data-name="waiting">([^<]*)/.exec(await (await fetch(url)).text())?.[1]
  expect(await cell()).toBe('2 unread')
  watch.health.alert.frauds = 1
  expect(await cell()).toBe('1 fraud')
  expect((await ready()).of('alert')).toMatchObject({ lag_records: 2, frauds_waiting: 1 })
  expect(await metrics()).toContain('client_predict_frauds_waiting{stage="alert"} 1\n')
})

describe('/readyz', () => {
  test('is 503 until the topics are open, and says why', async () => {
    const { watch, ready } = await start({ open: false })
    expect(await ready()).toMatchObject({ status: 503, ready: false })
    reportFailure(watch.starting, new Error('cannot open TOPICS_URL'))
    expect((await ready()).of('score')).toMatchObject({ state: 'starting', why: 'cannot open TOPICS_URL' })
  })

  test('says of each stage since when it works, and what waits for it, in records and seconds', async () => {
    const { ready, watched } = await start()
    await watched.append({ transactions: [transaction(1), transaction(2)] })
    const { status, of } = await ready()
    expect(status).toBe(200)
    expect(of('fetch')).toEqual({ stage: 'fetch', state: 'working', since: expect.stringMatching(/^20.*Z$/) })
    expect(of('score')).toMatchObject({ state: 'working', lag_records: 2, lag_seconds: expect.any(Number) })
    expect(of('record')).toMatchObject({ state: 'working', lag_records: 0, lag_seconds: 0 })
    expect(of('webhook')).toBe(undefined)
  })

  test('is 503 while a stage fails, with its last error in one line, and 200 again after it', async () => {
    const { ready, watch } = await start()
    const before = Date.now()
    reportFailure(watch.health.score, new Error('cannot reach the model', { cause: new Error('no\nroute') }))
    reportFailure(watch.health.score, new Error('the model answered 503'))
    const failing = await ready()
    expect(failing).toMatchObject({ status: 503, ready: false })
    const last_error = { at: expect.any(String), reason: 'the model answered 503' }
    expect(failing.of('score')).toMatchObject({ state: 'failing', why: 'the model answered 503', last_error })
    expect(Date.parse(String(failing.of('score')!.since))).toBeGreaterThanOrEqual(before)
    reportSuccess(watch.health.score)
    const again = await ready()
    expect(again.status).toBe(200)
    expect(again.of('score')).toMatchObject({ state: 'working', last_error })
    expect(again.of('score')).not.toHaveProperty('why')
  })

  test('a failure of one piece of work does not make a stage fail', async () => {
    const { ready, watch } = await start()
    reportFailure(watch.health.alert, new Error('the mail server refused the mail'), { lasting: false })
    const { status, of } = await ready()
    expect(status).toBe(200)
    expect(of('alert')).toMatchObject({ state: 'working', last_error: { reason: 'the mail server refused the mail' } })
  })

  test('a stage that cannot read fails too, unless it has not failed again for two minutes', async () => {
    const { ready, watch } = await start()
    const topics = { failing: { since: 1, reason: 'cannot read' }, last: { at: Date.now(), reason: 'cannot read' } }
    watch.health.alert.topics = topics
    expect((await ready()).of('alert')).toMatchObject({ state: 'failing', why: 'cannot read' })
    topics.last.at = Date.now() - 121_000
    expect((await ready()).of('alert')).toMatchObject({ state: 'working', last_error: { reason: 'cannot read' } })
  })

  test('a stage that waits for the answer to a commit fails after 30 s, as long as it waits', async () => {
    let now = Date.now()
    const watch = openMonitor(ALL, () => now)
    const { promise: answer, resolve } = Promise.withResolvers<void>()
    const never = () => answer
    const topics = watch.topics({
      append: never,
      reader: () => ({ read: async () => ({ records: [], commit: never }) }),
      lead: (_name: string, _stop: AbortSignal, work: (lease: object) => unknown) => work({ note: never }),
      snapshot: async () => ({ lag: { score: { records: 0 } } }),
    } as never)
    const batch = await topics.reader('transactions', 'score').read(1, new AbortController().signal)
    const waits = [
      topics.append({}),
      batch.commit(0),
      topics.lead('alert', new AbortController().signal, (lease) => lease.note({})),
      watch.store({ insert: never } as never).insert([]),
    ]
    const failing = async () => (await watch.report()).rows.filter(({ state }) => state === 'failing')
    now += 29_999
    expect(await failing()).toEqual([])
    now += 1
    expect((await failing()).map(({ stage, since }) => [stage, since])).toEqual(ALL.map((name) => [name, now - 30_000]))
    expect((await watch.report()).ready).toBe(false)
    resolve()
    await Promise.all(waits)
    expect(await failing()).toEqual([])
  })

  test('a stage that holds alarms back is ready, and says why', async () => {
    const { ready, watch } = await start()
    watch.health.alert.held = { why: 'limit', since: Date.now() - 5000, until: Date.now() + 5000 }
    const { status, of } = await ready()
    expect(status).toBe(200)
    expect(of('alert')).toMatchObject({ state: 'holding back', why: 'ALERT_DAILY_LIMIT is reached' })
  })

  test('shows what waits for the stages of other processes', async () => {
    const { ready, watch, watched } = await start({ stages: ['fetch'] })
    await watched.append({ transactions: [transaction(1)] })
    reportFailure(watch.health.score, new Error('not ours'))
    const { status, of } = await ready()
    expect(status).toBe(200)
    expect(of('score')).toMatchObject({ state: 'elsewhere', lag_records: 1 })
  })

  test('a reader that stands by says so', async () => {
    const { ready, watch } = await start()
    watch.standby('fetch', true)
    expect((await ready()).of('fetch')).toMatchObject({ state: 'standing by' })
    expect((await ready()).status).toBe(200)
  })

  test('who stands by fails at nothing, whatever failed before, and works when its turn comes', async () => {
    const { ready, watch } = await start()
    reportFailure(watch.health.fetch, new Error('cannot reach the producer'))
    watch.health.fetch.topics = { failing: { since: 1, reason: 'no' }, last: { at: Date.now(), reason: 'no' } }
    expect((await ready()).status).toBe(503)
    watch.standby('fetch', true)
    expect(watch.health.fetch.failing).toBe(undefined)
    expect(await ready()).toMatchObject({ status: 200 })
    expect((await ready()).of('fetch')).toMatchObject({ state: 'standing by' })
    watch.standby('fetch', false)
    expect((await ready()).of('fetch')).toMatchObject({ state: 'working' })
  })

  test('shows no card number, whatever a system says', async () => {
    const closed = await start({ open: false })
    reportFailure(closed.watch.starting, new Error(`no topics ${LONG_CARD}`))
    for (const path of ['/readyz', '/'])
      expect(await (await fetch(closed.url + path)).text()).toContain('no topics …4184')
    const { url, watch } = await start()
    reportFailure(watch.health.score, new Error(`bad row ${LONG_CARD}`))
    for (const path of ['/readyz', '/', '/metrics']) {
      const text = await (await fetch(url + path)).text()
      expect(text).not.toContain(String(LONG_CARD))
      if (path !== '/metrics') expect(text).toContain('bad row …4184')
    }
  })
})

test('what waited is still said for a minute after it can no longer be counted', async () => {
  let now = Date.now()
  const watch = openMonitor(ALL, () => now)
  const counts = [3]
  const snapshot = async () => {
    if (counts.length === 0) throw new Error('away')
    return { lag: { score: { records: counts.shift()!, oldest: now - 5000 } } }
  }
  watch.topics({ reader: () => ({}), snapshot } as never).reader('transactions', 'score')
  const score = async () => (await watch.report()).rows.find(({ stage }) => stage === 'score')
  expect(await score()).toMatchObject({ waiting: 3, oldest: 5 })
  now += 60_000
  expect(await score()).toMatchObject({ waiting: 3, oldest: 5 })
  now += 1
  expect(await score()).not.toHaveProperty('waiting')
})

test('topics that do not answer hold nobody up', { timeout: 120_000 }, async () => {
  const watch = openMonitor(ALL)
  const snapshot = () => new Promise(() => {})
  watch.topics({ reader: () => ({}), snapshot } as never).reader('transactions', 'score')
  expect((await watch.report()).ready).toBe(true)
})

describe('/metrics', () => {
  test('counts what passes, stage by stage', async () => {
    const { metrics, watch, watched, readers } = await start()
    const letter = { stage: 'fetch', at: 1, reason: 'bad', record: {} } as const
    await watched.append({ transactions: [transaction(1), transaction(2)], 'dead-letters': [letter] })
    const batch = await readers[0]!.read(10, new AbortController().signal)
    await batch.commit(2, { predictions: [prediction(1), prediction(2, { prediction: 1 })] })
    const rows = await readers[1]!.read(10, new AbortController().signal)
    await rows.commit(1, { 'dead-letters': [{ ...letter, stage: 'record' }] })
    await rows.commit(1)
    reportFailure(watch.health.score, new HttpFailure('the model answered so', { kind: 'status', status: 503 }))
    const text = await metrics()
    for (const line of [
      'client_predict_fetched_total 2',
      'client_predict_scored_total 2',
      'client_predict_flagged_total 1',
      'client_predict_recorded_total 1',
      'client_predict_mailed_total{channel="mail"} 0',
      'client_predict_set_aside_total{stage="fetch"} 1',
      'client_predict_set_aside_total{stage="score"} 0',
      'client_predict_set_aside_total{stage="record"} 1',
      'client_predict_retries_total{stage="score",cause="http_503"} 1',
      'client_predict_since_fetched_seconds_count{stage="score"} 2',
      'client_predict_since_fetched_seconds_count{stage="record"} 1',
      'client_predict_call_duration_seconds_count{system="topics",outcome="ok"} 4',
      'client_predict_stage_working{stage="fetch"} 1',
      'client_predict_stage_working{stage="score"} 0',
      'client_predict_lag_records{stage="score"} 0',
      'client_predict_lag_seconds{stage="record"} 0',
    ])
      expect(text.split('\n')).toContain(line)
    expect(text).toMatch(/^nodejs_eventloop_lag_p99_seconds \d/m)
    expect(text).toMatch(/^client_predict_call_duration_seconds_bucket\{le="0.001",system="topics",outcome="ok"\} \d/m)
  })

  test('has the type that Prometheus asks for', async () => {
    const { url } = await start()
    const { headers } = await fetch(`${url}/metrics`)
    expect(headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  })
})

describe('the page', () => {
  test('says in its title what is wrong, and why', async () => {
    const { url, watch } = await start()
    const page = async () => (await fetch(`${url}/`)).text()
    expect(await page()).toContain('<title>Everything works · client-predict</title>')
    reportFailure(watch.health.record, new Error('cannot record in <data/fraud.db>'))
    const text = await page()
    expect(text).toContain('<title>record fails · client-predict</title>')
    expect(text).toContain('cannot record in &#60;data/fraud.db&#62;')
    reportFailure(watch.health.score, new Error('no model'))
    expect(await page()).toContain('<title>score and record fail · client-predict</title>')
  })
  test('shows texts of others as texts', async () => {
    const { url } = await start()
    expect(await (await fetch(url)).text()).toContain('<dt>model</dt><dd>m &#60;b&#62;&#38;</dd>')
  })
  test('is starting until the topics are open', async () => {
    const { url } = await start({ open: false })
    expect(await (await fetch(url)).text()).toContain('<title>Starting · client-predict</title>')
  })
})

describe('who may ask', () => {
  test('on loopback, whoever asks for this machine by a name of its own', async () => {
    const { port } = await start()
    for (const host of ['127.0.0.1', `127.0.0.1:${port}`, 'localhost:80', '[::1]:8080'])
      expect((await ask(port, '/', { headers: { host } })).status).toBe(200)
    for (const host of ['evil.example', 'localhost.evil.example', `127.0.0.1.evil.example:${port}`]) {
      expect((await ask(port, '/', { headers: { host } })).status).toBe(403)
      expect((await ask(port, '/healthz', { headers: { host } })).status).toBe(200)
    }
  })

  test('with a token, who has it, by whatever name; /healthz is for everybody', async () => {
    const { port } = await start({ token: 'open-sesame' })
    const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`
    const host = 'worker.example.com'
    for (const authorization of [
      'Bearer open-sesame',
      'bearer open-sesame',
      basic('any:open-sesame'),
      basic(':open-sesame'),
    ])
      for (const path of ['/', '/readyz', '/metrics'])
        expect((await ask(port, path, { headers: { host, authorization } })).status).toBe(200)
    const wrong = [
      '',
      'Bearer',
      'Bearer ',
      'Bearer open-sesam',
      'Bearer open-sesamee',
      'open-sesame',
      basic('open-sesame:'),
    ]
    for (const authorization of [...wrong, 'Digest open-sesame', basic('any:no'), 'Basic %%%'])
      for (const path of ['/', '/readyz', '/metrics', '/nothing']) {
        const { status, headers, text } = await ask(port, path, { headers: { authorization } })
        expect([authorization, status]).toEqual([authorization, 401])
        expect(headers['www-authenticate']).toBe('Basic realm="client-predict", charset="UTF-8"')
        expect(text).toBe('wants the STATUS_TOKEN: Authorization: Bearer …, or as the password, with any user\n')
      }
    expect((await ask(port, '/healthz')).status).toBe(200)
  })
})

describe('every answer', () => {
  test('is for the eye alone: no script, no frame, no cache, no guess at its type', async () => {
    const { port } = await start()
    for (const path of ['/', '/healthz', '/readyz', '/metrics', '/nothing']) {
      const { headers } = await ask(port, path)
      expect(headers['content-security-policy']).toMatch(
        /^default-src 'none'; style-src 'sha256-[\w+/=]{44}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'$/,
      )
      expect(headers).toMatchObject({
        'x-content-type-options': 'nosniff',
        'cache-control': 'no-store',
        'referrer-policy': 'no-referrer',
      })
      expect(headers).not.toHaveProperty('x-powered-by')
    }
  })
  test('is to GET or HEAD, which has the same head and no body', async () => {
    const { port } = await start()
    for (const path of ['/', '/healthz', '/readyz', '/metrics']) {
      const head = await ask(port, path, { method: 'HEAD' })
      expect([head.status, head.text]).toEqual([200, ''])
      expect(Number(head.headers['content-length'])).toBeGreaterThan(1)
      for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'PATCH']) {
        const { status, headers } = await ask(port, path, { method })
        expect([status, headers.allow]).toEqual([405, 'GET, HEAD'])
      }
    }
  })
  test('elsewhere is 404, and names what there is', async () => {
    const { port } = await start()
    for (const path of ['/nothing', '/constructor', '/healthz/', '//', '/%2e%2e/etc/passwd']) {
      const { status, text } = await ask(port, path)
      expect([status, text]).toEqual([404, 'there is /healthz, /readyz, /metrics, /\n'])
    }
    expect((await ask(port, '/healthz?probe=1')).status).toBe(200)
  })
})

test('a client of old, which names no host, gets /healthz, and by the token all else', async () => {
  const { port } = await start({ token: 'open-sesame' })
  const said = async (path: string) => {
    const socket = connect(port, '127.0.0.1').setEncoding('utf8')
    socket.write(`GET ${path} HTTP/1.0\r\nauthorization: Bearer open-sesame\r\n\r\n`)
    let text = ''
    for await (const part of socket) text += part
    return text
  }
  for (const path of ['/healthz', '/readyz', '/metrics', '/']) expect(await said(path)).toMatch(/^HTTP\/1\.1 200 /)
})

test('a client that sends nothing, or slowly, is cut off', { timeout: 120_000 }, async () => {
  const { port } = await start()
  const cut = async (text: string) => {
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {}).resume()
    const drip = setInterval(() => socket.write('x'), 500)
    socket.write(text)
    const began = performance.now()
    await once(socket, 'close')
    clearInterval(drip)
    return performance.now() - began
  }
  for (const ms of await Promise.all([cut('GET / HTTP/1.1\r\nhost: '), cut('')])) expect(ms).toBeLessThan(15_000)
})

test('a port that another program has costs one line, and is taken when it is free', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as { port: number }
  const { text } = await start({ port, again: 50 })
  await waitFor('another try', () => new Promise((resolve) => setTimeout(() => resolve(true), 200)))
  const line = `cannot listen on 127.0.0.1:${port} (EADDRINUSE): another program has that port: set PORT to another one, or 0 for any; the worker works without its status page`
  expect(text().split('\n')).toEqual([line])
  other.close()
  await waitFor('the server', () => text().includes(`status page: http://127.0.0.1:${port}/`))
  expect((await fetch(`http://127.0.0.1:${port}/healthz`)).status).toBe(200)
})

test.for([
  ['no.such.host.invalid', 'cannot listen on no.such.host.invalid:'], // ENOTFOUND, or EAI_AGAIN without a network
  ['203.0.113.7', 'EADDRNOTAVAIL): this machine has no such address: set HOST'],
])('an address that is not this machine’s (%s) costs one line', async ([host, said]) => {
  const { text } = await start({ host: host! })
  expect(text()).toContain(said)
})
