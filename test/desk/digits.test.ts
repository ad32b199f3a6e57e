import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import fc from 'fast-check'
import { simpleParser } from 'mailparser'
import { SMTPServer } from 'smtp-server'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fakeModel } from '../outside.ts'
import { type Server, startPostgres } from '../postgres.ts'
import { body, freePort, httpServer, LONG_CARD, row, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { client, formOf } from './place.ts'

const nasty = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 60 }),
  fc.constantFrom('<script>alert(1)</script>', '"><img src=x>', '\u202e4111', '٤١١١١١١١١١١١١١١١', 'a'.repeat(900)),
  fc.bigInt({ min: 10n ** 10n, max: 10n ** 18n }).map(String),
  fc.array(fc.integer({ min: 0, max: 9 }), { maxLength: 30 }).map((digits) => digits.join(' ')),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
)
const rowOf = fc.record({
  merchant: nasty,
  trans_num: nasty,
  last: nasty,
  category: nasty,
  amt: fc.oneof(
    { weight: 9, arbitrary: fc.double({ min: 0, max: 999, noNaN: true }) },
    { weight: 1, arbitrary: fc.constantFrom(4e12, 1e10 + 0.5, 123456789012, 1000.1 + 0.2, 2999.999999999) },
  ),
  lat: fc.double({ min: -90, max: 90, noNaN: true }),
})
const [RUNS, ROWS] = [20, 100]

/** A number that is in no danger of being taken for part of a card's. */
const lettered = (n: number) => String(n).replace(/\d/g, (digit) => 'ghijklmnop'[Number(digit)]!)

/** What is wrong with what left us; `where` it was seen. */
const seen: { where: string; text: string }[] = []
const none = (where: string, text: string) => {
  const found = /.{0,60}\p{N}{11}.{0,60}/u.exec(text)
  if (found) seen.push({ where, text: found[0] })
  if (where === 'page' && /<script>alert|<img|\u202e/.test(text)) seen.push({ where, text: 'a script, or turned text' })
}

/** A mail server that looks at all of a mail: its headers, and what its parts say. */
async function mailServer(names: Set<string>) {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['STARTTLS'],
    onData(stream, _, done) {
      simpleParser(stream).then(({ subject = '', text = '', html, headerLines, attachments }) => {
        for (const [, name] of text.matchAll(/#([g-p]+)#/g)) names.add(name!)
        none('mail', [subject, text, html].join('\n'))
        none('headers of a mail', headerLines.map(({ line }) => line).join('\n'))
        for (const { filename = '', content } of attachments) none('CSV of a mail', `${filename}\n${content}`)
        done()
      }, done)
    },
  })
  server.listen(0, '127.0.0.1')
  await once(server.server, 'listening')
  const { port } = server.server.address() as AddressInfo
  return {
    url: `smtp://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: () => new Promise<void>((done) => server.close(done)),
  }
}

describe('no 11 digits in a row leave a real worker', () => {
  let postgres: Server
  beforeAll(async () => {
    postgres = await startPostgres()
  }, 60_000)
  afterAll(() => postgres[Symbol.asyncDispose](), 60_000)

  test.for(['SQLite', 'PostgreSQL'])(
    'with 2,000 rows, by page, status page, metrics, mail, post, header, redirect or log line, in %s',
    { timeout: 400_000 },
    async (engine) => {
      seen.length = 0
      await using dir = await tempDir()
      const waiting: Record<string, unknown>[] = []
      await using producer = await httpServer((_, response) => response.end(body(waiting.splice(0, 50))))
      await using model = await fakeModel()
      await using hook = await httpServer(({ request: { headers }, text }, response) => {
        none('post', `${JSON.stringify(headers)}\n${text}`)
        response.end('ok')
      })
      const mailed = new Set<string>()
      await using mail = await mailServer(mailed)
      const port = await freePort()
      const url = `http://127.0.0.1:${port}`
      await using worker = startWorker(dir.path, {
        ...{ NODE_ENV: 'production', PRODUCER_URL: producer.url.href, PRODUCER_RATE_PER_MIN: '6000', PORT: `${port}` },
        ...{ MODEL_URL: model.url.href, MODEL_NAME: 'rf/7', FRAUD_THRESHOLD: '0.30000000000000004', DESK_URL: url },
        ...{
          SMTP_URL: mail.url,
          ALERT_FROM: 'a@example.com',
          ALERT_TO: 'b@example.com',
          ALERT_WEBHOOK_URL: hook.url.href,
        },
        ...{ ALERT_BURST: '100000', ALERT_DAILY_LIMIT: '1000000', ALERT_BREAKER: 'off', LOG_LEVEL: 'debug' },
        TOPICS_URL: `sqlite:${dir.file('topics.db')}`,
        DATABASE_URL: engine === 'SQLite' ? `sqlite:${dir.file('fraud.db')}` : (await postgres.database()).href,
      })
      const c = client(url)
      const look = async (asked: Promise<Awaited<ReturnType<typeof c.get>>>) => {
        const answer = await asked
        const headers = [...answer.headers].map((pair) => pair.join(': ')).join('\n')
        none('page', answer.text)
        none('header or redirect', headers)
        return answer
      }
      const pages = [
        '/desk',
        '/desk?tab=audit',
        '/desk?tab=done',
        '/desk/models',
        '/desk/labels',
        '/',
        '/readyz',
        '/metrics',
      ]
      await waitFor('the desk', () =>
        c
          .get('/desk')
          .then(({ status }) => status === 200)
          .catch(() => false),
      )
      let [n, frauds] = [0, 0]
      await fc.assert(
        fc.asyncProperty(fc.array(rowOf, { minLength: ROWS, maxLength: ROWS }), nasty, async (rows, note) => {
          const sent = rows.map((changes) => ({
            ...row(n++),
            ...changes,
            cc_num: LONG_CARD,
            trans_num: `${changes.trans_num.slice(0, 180)}#${lettered(n)}#`,
          }))
          const alarms = sent.filter(({ amt }) => amt >= 1000)
          waiting.push(...sent)
          frauds += alarms.length
          await waitFor('the mails', () => mailed.size >= frauds, 60_000)
          for (const page of pages) await look(c.get(page))
          const [, id = ''] = /name="of" value="([^~"]+)~/.exec((await c.get('/desk')).text) ?? []
          const path = `/desk/${id}`
          const shown = await look(c.get(path))
          await look(c.get(`/desk/search?q=${encodeURIComponent(note.toWellFormed())}`))
          const form = { ...formOf(shown.text, path), verdict: 'legit' }
          expect((await look(c.post(path, { ...form, note: '4'.repeat(2 ** 20) }))).status).toBe(413)
          const said = await look(c.post(path, { ...form, note: note.toWellFormed() }))
          expect(said.status).toBe(303)
          await look(c.get(said.location))
          await look(c.get(path))
          await look(c.post(path, { ...form, verdict: 'fraud' })) // too late
        }),
        { numRuns: RUNS, endOnFailure: true },
      )
      worker.kill('SIGTERM')
      expect((await worker.end).code).toBe(0)
      for (const line of worker.text().split('\n')) none('log', line)
      expect(seen).toEqual([])
      expect(hook.received.length).toBeGreaterThan(0)
      expect(n).toBeGreaterThanOrEqual(2000)
    },
  )
})
