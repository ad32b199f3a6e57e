import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { ConfigError, readConfig } from '../src/config/read.ts'
import { openPipeline } from '../src/pipeline.ts'
import { sqliteTopics } from '../src/topic/sqlite.ts'
import { disposable, isFraud, outside, someRows } from './outside.ts'
import { held, LONG_CARD, listeningLog, row, tempDir, transaction, waitFor } from './rows.ts'

/** The whole flow in this process, against real servers; `body` meets it running. */
async function running(
  rows: Record<string, unknown>[],
  body: (flow: Awaited<ReturnType<typeof start>>) => Promise<void>,
  prepare: (world: Awaited<ReturnType<typeof outside>>) => void = () => {},
) {
  await using dir = await tempDir()
  await using world = await outside(rows, dir.path)
  prepare(world)
  const flow = await start(world, {}, dir.path)
  try {
    await body(flow)
  } finally {
    await flow.stop()
  }
}

async function start(world: Awaited<ReturnType<typeof outside>>, env: object, folder: string) {
  const { log, lines, text } = listeningLog()
  const stop = new AbortController()
  const pipeline = await openPipeline(readConfig({ ...world.env, ...env }), log, stop.signal)
  const ended = pipeline.run(stop.signal)
  return {
    ...world,
    folder,
    lines,
    text,
    pipeline,
    async stop() {
      stop.abort(new Error('stopped'))
      await ended
      await pipeline[Symbol.asyncDispose]()
    },
  }
}

test('forgets what is old and done, at the start and from time to time, and until it has ended', async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
  await using dir = await tempDir()
  await using world = await outside([], dir.path)
  const path = dir.file('topics.db')
  await using beside = disposableTopics(await sqliteTopics({ path }))
  await beside.append({ transactions: [0, 1, 2].map((n) => transaction(n)) })
  const read = async () => beside.reader('transactions', 'score').read(1, new AbortController().signal)
  await (await read()).commit(1)
  using db = disposable(new DatabaseSync(path))
  db.exec(`UPDATE transactions SET at = ${Date.now() - 3 * 86_400_000}`)
  const config = readConfig({ ...world.env, TOPICS_URL: `sqlite:${path}`, RETENTION_DAYS: '2' })
  const kept = async () => (await held(beside, 'transactions')).length
  {
    await using _ = await openPipeline(config, listeningLog().log, new AbortController().signal)
    expect(await kept()).toBe(2)
    await (await read()).commit(1)
    vi.advanceTimersByTime(600_000)
    await waitFor('it to be removed', async () => (await kept()) === 1)
    await (await read()).commit(1)
  }
  vi.advanceTimersByTime(600_000)
  await new Promise(setImmediate)
  expect(await kept()).toBe(1)
})
const disposableTopics = <T extends { close(): Promise<void> }>(topics: T) => ({
  ...topics,
  [Symbol.asyncDispose]: topics.close,
})

describe('the whole flow', () => {
  test('fetches, scores, mails each fraud once and records every row', async () => {
    const rows = [...someRows(30), row(30, { cc_num: LONG_CARD, is_fraud: 1 })]
    await running(rows, async ({ recorded, mailed, model }) => {
      await waitFor('all rows', () => recorded().length === rows.length)
      await waitFor('all mails', () => rows.filter(isFraud).every((r) => mailed(r.trans_num)))
      for (const [i, r] of rows.entries()) {
        const stored = recorded()[i]!
        expect(stored).toMatchObject({
          cc_num: BigInt(String(r.cc_num)),
          prediction: isFraud(r) ? 1n : 0n,
          is_fraud: BigInt(String(r.is_fraud)),
          model: 'rf/7',
        })
        expect(stored).toMatchObject({ fraud_confirmed: null, reviewed_at: null, reviewed_by: null })
        expect(stored.unix_time).toBe((stored.event_time as bigint) / 1000n)
        expect(mailed(r.trans_num)).toBe(isFraud(r) ? 1 : 0)
      }
      expect(model.columns).not.toContain('is_fraud')
      expect(model.seen.map((values) => values[model.columns.indexOf('cc_num')]).map(String)).toContain(
        String(LONG_CARD),
      )
    })
  })

  test('a model that is down does not stop the fetching, and judges all of it when it is back', async () => {
    const rows = someRows(20)
    const down = (world: { model: { down: boolean } }) => {
      world.model.down = true
    }
    await running(
      rows,
      async ({ producer, model, recorded, text, mailed }) => {
        await waitFor('all fetched', () => producer.next > rows.length)
        await waitFor('a word about it', () => text().includes('cannot reach the model'))
        model.down = false
        await waitFor('all recorded', () => recorded().length === rows.length)
        await waitFor('all mailed', () => rows.filter(isFraud).every((r) => mailed(r.trans_num) === 1))
      },
      down,
    )
  })

  test('topics with simulated payments are refused in production, and let go of', async () => {
    await using dir = await tempDir()
    await using world = await outside([], dir.path)
    const path = dir.file('topics.db')
    const marked = await sqliteTopics({ path })
    await marked.append({}, { simulated: { at: 1 } })
    await marked.close()
    const { log } = listeningLog()
    const opening = openPipeline(readConfig(world.env), log, new AbortController().signal)
    await expect(opening).rejects.toBeInstanceOf(ConfigError)
    await (await sqliteTopics({ path, exclusive: true })).close()
  })

  test('knows of a mail server that is down without any fraud', async () => {
    const down = (world: { smtp: { down: boolean } }) => {
      world.smtp.down = true
    }
    await running(
      [row(1)],
      async ({ text }) => void (await waitFor('a word', () => text().includes('alarms are tried all the same'))),
      down,
    )
  })

  test('a producer that is down delays nothing else', async () => {
    const rows = someRows(10)
    await running(rows, async ({ producer, recorded, text }) => {
      await waitFor('all recorded', () => recorded().length === rows.length)
      producer.down = true
      await waitFor('a word about it', () => text().includes('cannot reach the producer'))
      producer.down = false
    })
  })

  test('a mail server that is down delays no row, and gets every alarm once when it is back', async () => {
    const rows = someRows(20)
    await running(rows, async ({ smtp, recorded, mailed, text }) => {
      smtp.down = true
      await waitFor('all recorded', () => recorded().length === rows.length)
      await waitFor('a word about it', () => /held back, nothing is dropped; retrying/.test(text()))
      smtp.down = false
      await waitFor('all mailed', () => rows.filter(isFraud).every((r) => mailed(r.trans_num)), 30_000)
      expect(rows.filter(isFraud).map((r) => mailed(r.trans_num))).toEqual([1, 1, 1, 1])
    })
  })

  test('posts each fraud to the webhook too, which is down for a while and delays no mail', async () => {
    const rows = someRows(20)
    await using dir = await tempDir()
    await using world = await outside(rows, dir.path)
    let down = true
    const posted: string[] = []
    const bodies: Record<string, Set<string>> = {} // of each key, refused ones too
    const server = createServer((req, res) => {
      let text = ''
      req.on('data', (part) => {
        text += part
      })
      req.on('end', () => {
        const { kind, frauds } = JSON.parse(text)
        const key = String(req.headers['idempotency-key'])
        bodies[key] = (bodies[key] ?? new Set()).add(text)
        if (!down) posted.push(`${kind} ${frauds[0].trans_num}`)
        res.writeHead(down ? 404 : 200).end('ok')
      })
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    onTestFinished(() => void server.close())
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/T0/secret`
    const flow = await start(world, { ALERT_WEBHOOK_URL: url }, dir.path)
    try {
      const wanted = rows.filter(isFraud).map((r) => `alarm ${r.trans_num}`)
      await waitFor('all mails', () => rows.filter(isFraud).every((r) => world.mailed(r.trans_num)))
      expect(posted).toEqual([])
      down = false
      await waitFor('all posts', () => posted.length >= wanted.length)
      expect(posted.toSorted()).toEqual(wanted.toSorted())
      expect(Object.values(bodies).map(({ size }) => size)).toEqual(wanted.map(() => 1))
      expect(flow.text()).toContain('webhook: posted to 127.0.0.1:')
      expect(flow.text()).not.toContain('T0/secret')
    } finally {
      await flow.stop()
    }
  })

  test('a database that is locked delays no alarm, and gets every row when it is free', async () => {
    const rows = someRows(20)
    await running(rows, async ({ folder, producer, recorded, mailed, text }) => {
      await waitFor('the table', () => recorded().length > 0)
      {
        using other = disposable(new DatabaseSync(`${folder}/fraud.db`, { timeout: 5000 }))
        other.exec('BEGIN IMMEDIATE')
        producer.next = 0
        rows.push(...Array.from({ length: 10 }, (_, n) => row(100 + n, { amt: 2000 })))
        await waitFor('all mailed', () => rows.filter(isFraud).every((r) => mailed(r.trans_num)))
        await waitFor('a word about it', () => text().includes('cannot record in'))
      }
      await waitFor('all recorded', () => recorded().length === rows.length)
    })
  })

  test('one bad row is set aside at each stage that meets it, its neighbours go on', async () => {
    const rows = someRows(10)
    rows[4] = row(4, { amt: 'a lot' })
    await running(rows, async ({ recorded, text }) => {
      await waitFor('the others', () => recorded().length === 9)
      expect(recorded().map((r) => r.trans_num)).not.toContain('trans-4')
      expect(text()).toContain('set aside in dead-letters: amt must be a finite number')
    })
  })

  test('logs no card number at any level', async () => {
    const rows = someRows(10)
    await running(rows, async ({ recorded, lines }) => {
      await waitFor('all recorded', () => recorded().length === 10)
      for (const r of rows) expect(JSON.stringify(lines)).not.toContain(String(r.cc_num))
    })
  })

  test('runs only the stages it is told to', async () => {
    await using dir = await tempDir()
    await using world = await outside(someRows(10), dir.path)
    const fetching = await start(world, { STAGES: 'fetch' }, dir.path)
    await waitFor('all fetched', () => world.producer.next > 10)
    await fetching.stop()
    expect(world.model.seen).toEqual([])
    const rest = await start(world, { STAGES: 'score,record' }, dir.path)
    await waitFor('all recorded', () => world.recorded().length === 10)
    await rest.stop()
    expect(world.smtp.mails).toEqual([])
  })
})

test.for(['fetch', 'score', 'alert', 'fetch,score,alert'])(
  'STAGES=%s opens no database: where it would be need not be writable',
  async (STAGES) => {
    await using dir = await tempDir()
    await using world = await outside([row(1)], dir.path)
    await writeFile(dir.file('taken'), 'a file, and no folder')
    const flow = await start(world, { STAGES, DATABASE_URL: `sqlite:${dir.file('taken/fraud.db')}` }, dir.path)
    if (STAGES.includes('fetch')) await waitFor('its work', () => world.producer.next > 0)
    await flow.stop()
    expect(flow.text()).not.toContain('taken')
  },
)

describe('once', () => {
  async function once(
    rows: Record<string, unknown>[],
    prepare: (world: Awaited<ReturnType<typeof outside>>) => void,
    env = {},
  ) {
    await using dir = await tempDir()
    await using world = await outside(rows, dir.path)
    prepare(world)
    const { log } = listeningLog()
    const never = new AbortController().signal
    await using pipeline = await openPipeline(readConfig({ ...world.env, ONCE_SECONDS: '1', ...env }), log, never)
    const left = await pipeline.once(never, 1000)
    const fetched = Math.min(world.producer.next, rows.length) // a busy machine fetches fewer in the time
    expect(fetched).toBeGreaterThan(0)
    return { left, fetched, recorded: world.recorded().length, mails: world.smtp.mails.length }
  }

  test('fetches for its time, drains every topic and says that nothing is left', async () => {
    const { fetched, ...rest } = await once(someRows(10), () => {})
    expect(rest).toEqual({ left: [], recorded: fetched, mails: Math.ceil(fetched / 5) })
  })

  test('leaves to other processes what their stages have to do', async () => {
    expect(await once(someRows(10), () => {}, { STAGES: 'fetch' })).toMatchObject({ left: [], recorded: 0, mails: 0 })
  })

  test('says what is left to whom when a system is down', async () => {
    const { left, fetched, recorded } = await once(someRows(10), ({ smtp }) => {
      smtp.down = true
    })
    expect(left).toEqual([`${Math.ceil(fetched / 5)} left to alert, nothing moved for 1.0 s`]) // the frauds
    expect(recorded).toBe(fetched)
  })
})
