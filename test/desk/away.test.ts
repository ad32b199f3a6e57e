import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { idOf } from '../../src/review/reviews.ts'
import { disposable, outside, someRows } from '../outside.ts'
import { look, type Server, startPostgres } from '../postgres.ts'
import { freePort, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { client, formOf, fraud, startDesk } from './place.ts'

/** ms within which a page says that the database is away, on a machine that has other things to do */
const SOON = 20_000
const timed = async <T>(work: Promise<T>) => {
  const began = performance.now()
  return { answer: await work, took: performance.now() - began }
}

describe('while somebody is at the desk', () => {
  let server: Server
  beforeAll(async () => {
    server = await startPostgres({ settings: { fsync: 'off' } })
  }, 60_000)
  afterAll(() => server[Symbol.asyncDispose](), 60_000)

  test.for(['ends', 'stands still'] as const)(
    'and PostgreSQL %s, the pages say so soon, alarms go on, and of what was said all is there or nothing',
    { timeout: 200_000 },
    async (how) => {
      await using dir = await tempDir()
      await using world = await outside(someRows(5000), dir.path)
      const url = await server.database()
      const port = await freePort()
      const settings = { ...world.env, DATABASE_URL: url.href, PRODUCER_RATE_PER_MIN: '300', PORT: `${port}` }
      await using worker = startWorker(dir.path, settings)
      const c = client(`http://127.0.0.1:${port}`)
      const queue = () => c.get('/desk').catch(() => ({ status: 0, text: '' }))
      const first = await waitFor('alarms', async () => /name="of" value="([^~"]+)~/.exec((await queue()).text)?.[1])
      const path = `/desk/${first}`
      const form = { ...formOf((await c.get(path)).text, path), verdict: 'fraud', note: 'away' }
      if (how === 'ends') await server.stop('fast')
      else server.freeze()
      const mails = world.smtp.mails.length
      for (const ask of [() => c.get('/desk'), () => c.post(path, form), () => c.get(path)]) {
        const { answer, took } = await timed(ask())
        expect(answer.status).toBe(503)
        expect(answer.text).toMatch(/cannot reach|does not answer|ended|terminat|connect/i)
        expect(answer.text).not.toContain(url.password)
        expect(took).toBeLessThan(SOON)
      }
      expect((await c.get('/healthz')).status).toBe(200)
      await waitFor('alarms meanwhile', () => world.smtp.mails.length > mails + 2)
      if (how === 'ends') await server.start()
      else server.thaw()
      await waitFor('the desk', async () => (await queue()).status === 200)
      const again = await c.follow(await c.post(path, form))
      expect(again.status).toBe(200)
      expect(await look(url, "SELECT verdict FROM reviews WHERE note = 'away'")).toEqual([{ verdict: 'fraud' }])
      expect(await look(url, 'SELECT count(*) AS n FROM predictions WHERE fraud_confirmed = 1')).toEqual([{ n: 1n }])
      worker.kill('SIGTERM')
      expect((await worker.end).code).toBe(0)
    },
  )

  test('a thousand GETs and HEADs, and forms that are not its own, change nothing in PostgreSQL', {
    timeout: 200_000,
  }, async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(20), dir.path)
    const url = await server.database()
    const [port, tables] = [await freePort(), ['predictions', 'reviews', 'exports', 'baselines', 'judgements']]
    const settings = { ...world.env, DATABASE_URL: url.href, DESK_URL: `http://127.0.0.1:${port}`, PORT: `${port}` }
    await using _worker = startWorker(dir.path, {
      ...settings,
      DESK_TOKEN: 'open-sesame-open',
      PRODUCER_RATE_PER_MIN: '600',
    })
    const linked = () => [...new Set(world.smtp.mails.join('\n').match(/\/desk\/[\w-]+\?key=[\w.-]+/g))]
    const dump = async () =>
      JSON.stringify(
        await Promise.all(tables.map((name) => look(url, `SELECT * FROM ${name} ORDER BY 1, 2`))),
        (_, value) => (typeof value === 'bigint' ? `${value}` : value),
      )
    await waitFor('the mails', () => linked().length === 4)
    await waitFor(
      'the rows',
      async () => (await look(url, 'SELECT count(*) AS n FROM predictions').catch(() => []))[0]?.n === 20n,
    )
    const [before, links, c] = [await dump(), linked(), client(settings.DESK_URL)]
    const [path = '', key = ''] = links[0]!.split('?key=')
    const form = { ...formOf((await c.get(links[0]!)).text, path), verdict: 'fraud', name: 'anna' }
    const say = new URLSearchParams(form)
    const paths = ['/', '/desk', '/desk/bulk', '/desk/models', '/desk/labels', '/desk/search?q=1', path, ...links]
    const all = paths.flatMap((one) => [one, `${one}${one.includes('?') ? '&' : '?'}${say}`])
    for (let n = 0; n < 1000; n++) await c.ask(all[n % all.length]!, { method: n % 3 ? 'GET' : 'HEAD' })
    const other = links[1]!.split('?key=')[1]!
    expect((await c.post(path, form, { origin: 'https://evil.example' })).status).toBe(403)
    for (const wrong of ['', other, `${key}a`, `1.${key.split('.')[1]}`])
      expect((await c.post(path, { ...form, key: wrong })).status).toBe(403)
    expect(await dump()).toBe(before)
    expect((await c.post(path, form)).status).toBe(303)
    expect(await dump()).not.toBe(before)
  })

  test('in a process that records nothing, it sees and judges what another one records', {
    timeout: 200_000,
  }, async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(500), dir.path)
    const url = (await server.database()).href
    const port = await freePort()
    const shared = { ...world.env, TOPICS_URL: url, DATABASE_URL: url, PRODUCER_RATE_PER_MIN: '600' }
    await using desk = startWorker(dir.path, { ...shared, STAGES: 'alert', PORT: `${port}` })
    const c = client(`http://127.0.0.1:${port}`)
    await waitFor('the desk', () =>
      c.get('/desk').then(
        ({ status }) => status === 200,
        () => false,
      ),
    )
    await using _others = startWorker(dir.path, { ...shared, STAGES: 'fetch,score,record' })
    const id = await waitFor('alarms', async () => /name="of" value="([^~"]+)~/.exec((await c.get('/desk')).text)?.[1])
    const path = `/desk/${id}`
    await c.post(path, { ...formOf((await c.get(path)).text, path), verdict: 'fraud' })
    expect(await look(new URL(url), 'SELECT verdict FROM reviews')).toEqual([{ verdict: 'fraud' }])
    expect(desk.running()).toBe(true)
  })
})

test('a file that takes no more is said, changes nothing, and can be looked at', async () => {
  const d = await startDesk([fraud(1)])
  const c = d.client()
  const path = `/desk/${idOf(fraud(1))}`
  const form = { ...formOf((await c.get(path)).text, path), verdict: 'fraud' }
  using other = disposable(new DatabaseSync(d.file))
  other.exec('BEGIN IMMEDIATE') // another program keeps it for itself
  const { answer, took } = await timed(c.post(path, form))
  expect(answer.status).toBe(503)
  expect(took).toBeLessThan(SOON)
  expect((await c.get(path)).status).toBe(200)
  other.exec('ROLLBACK')
  expect(d.sql('SELECT * FROM reviews')).toEqual([])
  expect((await c.post(path, form)).status).not.toBe(503)
}, 60_000)

test('of 10,000 open alarms, many alike, each is met once by who judges them by 100, while new ones come', async () => {
  const many = Array.from({ length: 10_000 }, (_, n) =>
    fraud(n, { amt: 1000 + (n % 7), event_time: 1_767_323_045_000 + (n % 50) }),
  )
  const d = await startDesk([])
  for (let n = 0; n < many.length; n += 1000) await d.store.insert(many.slice(n, n + 1000))
  const c = d.client()
  const met: string[] = []
  let [come, found] = [0, true]
  while (found) {
    const { text } = await c.get('/desk')
    const boxes = [...text.matchAll(/name="of" value="([^"]+)"/g)].map(([, value]): [string, string] => ['of', value!])
    expect(boxes.length).toBeLessThanOrEqual(100)
    if (come < 50) await d.store.insert([fraud(20_000 + come++, { amt: 999 + (come % 9) })])
    const sure: [string, string][] = [
      ...Object.entries(formOf(text, '/desk/bulk')),
      ['verdict', 'legit'],
      ['sure', 'yes'],
    ]
    met.push(...boxes.map(([, value]) => value.split('~')[0]!))
    if (boxes.length > 0)
      expect((await c.post('/desk/bulk', [...sure, ...boxes])).location).toMatch(/said=\d+&stale=0$/)
    found = boxes.length > 0
  }
  expect([met.length, new Set(met).size]).toEqual([10_050, 10_050])
  expect(d.sql('SELECT count(*) AS n FROM reviews')).toEqual([{ n: 10_050 }])
}, 300_000)

test('one after the other by the key of the next, none is left out and none comes twice', async () => {
  const rows = Array.from({ length: 150 }, (_, n) => fraud(n, { amt: 50, event_time: 1_767_323_045_000 }))
  const d = await startDesk(rows)
  const c = d.client()
  const [first = ''] = /\/desk\/[^"?]+(?=\?tab=alarms" data-key="j")/.exec((await c.get('/desk')).text) ?? []
  const seen: string[] = []
  for (let path: string | undefined = first; path; ) {
    seen.push(path)
    const { text } = await c.get(`${path}?tab=alarms`)
    path = /href="(\/desk\/[^"?]+)\?tab=alarms" data-key="j"/.exec(text)?.[1]
  }
  expect([seen.length, new Set(seen).size]).toEqual([100, 100]) // as many as the queue shows
}, 60_000)

test('times are those of the zone, twice the same hour and a missing one included', async () => {
  const at = (text: string) => Date.parse(text)
  const rows = [
    fraud(1, { event_time: at('2026-03-29T00:59:00Z'), amt: 1 }),
    fraud(2, { event_time: at('2026-03-29T01:00:00Z'), amt: 2 }),
    fraud(3, { event_time: at('2026-10-25T00:30:00Z'), amt: 3 }),
    fraud(4, { event_time: at('2026-10-25T01:30:00Z'), amt: 4 }),
  ]
  const d = await startDesk(rows, { zone: 'Europe/Berlin' })
  const { text } = await d.client().get('/desk')
  const shown = [...text.matchAll(/<time datetime="([^"]+)">([^<]+)</g)].map(([, exact, clock]) => [exact, clock])
  expect(shown.reverse()).toEqual([
    ['2026-03-29T00:59:00.000Z', '2026-03-29 01:59'],
    ['2026-03-29T01:00:00.000Z', '2026-03-29 03:00'],
    ['2026-10-25T00:30:00.000Z', '2026-10-25 02:30'],
    ['2026-10-25T01:30:00.000Z', '2026-10-25 02:30'],
  ])
})
