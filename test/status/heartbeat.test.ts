import { expect, onTestFinished, test } from 'vitest'
import { reportFailure, reportSuccess } from '../../src/run/loop.ts'
import { heartbeat } from '../../src/status/heartbeat.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import { freePort, httpServer, listeningLog, tempDir, waitFor } from '../rows.ts'

/** The heart of a process with all stages, that beats every 50 ms and is patient for 200; the service, and what it is told. */
async function heart(path: string, { opened = true } = {}) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const answer = { status: 200, text: 'OK' }
  const server = stack.use(
    await httpServer((_, response) => {
      response.statusCode = answer.status
      response.end(answer.text)
    }),
  )
  const dir = stack.use(await tempDir())
  const topics = stack.adopt(await sqliteTopics({ path: dir.file('topics.db') }), (t) => t.close())
  const watch = openMonitor(['fetch', 'score', 'alert', 'record'])
  if (opened) watch.topics(topics)
  const { log, lines, text } = listeningLog()
  const over = new AbortController()
  const beating = heartbeat(log, new URL(path, server.url)).beat(watch, over.signal, [20, 50, 200])
  stack.defer(async () => {
    over.abort()
    await beating
  })
  const calls = () =>
    server.received.map(({ request: { method, url }, text }) => [method, url, text].filter(Boolean).join(' '))
  const next = async () => {
    const before = calls().length
    return waitFor('a call', () => calls().at(before))
  }
  return { watch, answer, calls, next, lines, text }
}

test('calls while every stage works; says nothing of a short failure, and all of one that lasts', async () => {
  const h = await heart('/0a1b?create=1')
  expect(await h.next()).toBe('GET /0a1b?create=1')
  expect(await h.next()).toBe('GET /0a1b?create=1')
  reportFailure(h.watch.health.score, new Error('the model answered 503 for card 4992346398065154184'))
  const before = h.calls().length
  const told = await waitFor('what fails', () => h.calls().find((call) => call.startsWith('POST')))
  expect(told).toMatch(
    /^POST \/0a1b\/fail\?create=1 score is failing since 20\d\d-\d\d-\d\d \d\d:\d\d UTC: the model answered 503 for card [*…•.x]*4184$/,
  )
  expect(h.calls().length - before).toBeLessThanOrEqual(2) // one that was under way, and the failure
  reportSuccess(h.watch.health.score)
  await waitFor('well again', () => h.calls().at(-1) === 'GET /0a1b?create=1')
  expect(h.lines).toEqual([])
})

test('Uptime Kuma is told in the query, also where its address was copied whole', async () => {
  const h = await heart('/api/push/s3cret?status=up&msg=OK&ping=')
  expect(await h.next()).toBe('GET /api/push/s3cret?status=up&msg=OK&ping=')
  reportFailure(h.watch.health.fetch, new Error(`${'long '.repeat(200)}`))
  const told = await waitFor('what fails', () => h.calls().find((call) => call.includes('status=down')))
  const { searchParams } = new URL(told.slice(4), 'http://kuma')
  expect(searchParams.get('msg')).toMatch(/^fetch is failing since .* UTC: long /)
  expect(searchParams.get('msg')).toHaveLength(250)
})

test('topics that cannot be opened for long are told as well', async () => {
  const h = await heart('/0a1b', { opened: false })
  reportFailure(h.watch.starting, new Error('cannot open TOPICS_URL'))
  const told = await h.next()
  expect(told).toContain('POST /0a1b/fail fetch is starting since')
  expect(told).toMatch(/score is starting since .* UTC: cannot open TOPICS_URL/)
})

test.for<[string, { status: number; text: string }, string]>([
  ['an error', { status: 500, text: 'no' }, 'it answered 500'],
  ['a redirect', { status: 302, text: '' }, 'it answered 302'],
  [
    'an address that it does not know',
    { status: 200, text: 'OK (not found)' },
    'it answered 200 that it does not know',
  ],
  ['more than anybody reads', { status: 200, text: 'x'.repeat(100_000) }, 'the answer is larger'],
])(
  'a service that answers with %s is one line, without its secret, until it takes a call again',
  async ([, wrong, said]) => {
    const h = await heart('/s3cret-0a1b')
    Object.assign(h.answer, wrong)
    await waitFor('some calls', () => h.calls().length >= 4)
    expect(h.lines.map(({ level }) => level)).toEqual(['warn'])
    expect(h.text()).toContain('the heartbeat does not reach 127.0.0.1:')
    expect(h.text()).toContain(said)
    Object.assign(h.answer, { status: 200, text: 'OK' })
    await waitFor('the other line', () => h.lines.length === 2)
    expect(h.text()).toMatch(/\nthe heartbeat reaches 127\.0\.0\.1:\d+ again$/)
    expect(h.text()).not.toContain('s3cret')
  },
)

test('one that is not there, or never answers, holds up nothing', async () => {
  const { log, lines, text } = listeningLog()
  const gone = heartbeat(log, new URL(`http://127.0.0.1:${await freePort()}/s3cret`))
  await gone.tell([], AbortSignal.timeout(5000))
  await gone.tell([], AbortSignal.timeout(5000))
  expect(lines).toHaveLength(1)
  expect(text()).toContain('ECONNREFUSED')
  await using server = await httpServer(() => {})
  const stop = new AbortController()
  const watch = openMonitor(['fetch'])
  await using dir = await tempDir()
  const topics = await sqliteTopics({ path: dir.file('topics.db') })
  watch.topics(topics)
  const beating = heartbeat(log, server.url).beat(watch, stop.signal, [1, 50, 200])
  await waitFor('the call', () => server.received.length > 0)
  const asked = performance.now()
  stop.abort()
  await beating
  expect(performance.now() - asked).toBeLessThan(1000)
  expect(lines).toHaveLength(1)
  await topics.close()
})
