import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { alertStage } from '../../src/alert/deliver.ts'
import type { Notifier } from '../../src/alert/notifier.ts'
import { anyOf } from '../../src/io/abort.ts'
import { SendFailure, TakenOver } from '../../src/io/errors.ts'
import { mails, smtp } from '../../src/notify/smtp.ts'
import { orAborted } from '../../src/run/loop.ts'
import type { Batch, Notes } from '../../src/topic/topic.ts'
import { identity, type Prediction } from '../../src/transaction.ts'
import { VERSION } from '../../src/version.ts'
import { type Asked, hang, type Reply, reset, scriptedSmtp, transNum } from '../notify/smtp-server.ts'
import { listeningLog, prediction, tempDir, waitFor } from '../rows.ts'
import { sqliteTopics, type AskedTopics as Topics } from '../topic/asked.ts'

const fraud = (n: number) => prediction(n, { prediction: 1 })
const frauds = (count: number) => Array.from({ length: count }, (_, i) => fraud(i + 1))
const names = (count: number) => frauds(count).map((p) => p.trans_num)
const sorted = (list: readonly string[]) => list.toSorted((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
type Fake = Awaited<ReturnType<typeof scriptedSmtp>>
type Options = {
  limit?: number
  /** ms; the real first pause is 2 s */
  firstPause?: number
  afterStop?: number
  overlap?: number
  notedWithin?: number
  wrap?: (topics: Topics) => Topics
  notifier?: Notifier
  to?: string[]
}

/** Predictions and a mail server that outlive the workers. */
async function world(predictions: readonly Prediction[], answer?: (asked: Asked) => Reply | undefined) {
  const dir = await tempDir()
  const fake = await scriptedSmtp(answer)
  const path = dir.file('topics.db')
  const open = () => sqliteTopics({ path, exclusive: true })
  const withTopics = async <T>(use: (topics: Topics) => Promise<T>) => {
    const topics = await open()
    return use(topics).finally(() => topics.close())
  }
  await withTopics((topics) => topics.append({ predictions }))
  return {
    fake,
    withTopics,
    /** how many records the alert has not passed, and how many frauds wait; no worker may run */
    left: () =>
      withTopics(async (topics) => [await topics.reader('predictions', 'alert').lag(), await waiting(topics)]),
    worker: async (options?: Options) => worker(await open(), fake, options),
    async [Symbol.asyncDispose]() {
      await fake[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  }
}

function worker(opened: Topics, fake: Fake, options: Options = {}) {
  const { limit = 1_000_000, firstPause = 40, afterStop = 5000, overlap = 0, wrap = (topics) => topics } = options
  const { notedWithin } = options
  const { to = ['analyst@example.com'] } = options
  const { log, lines, text } = listeningLog()
  const stop = new AbortController()
  const topics = wrap(opened)
  const reader = topics.reader('predictions', 'alert')
  const addresses = { from: 'fraud@example.com', to, operators: ['ops@example.com'] }
  const notifier = options.notifier ?? mails(smtp(fake.server), addresses)
  let gone = false
  const ended = alertStage(
    { log, stop: stop.signal },
    { reader, topics, name: 'alert', notifier, burst: 1_000_000, dailyLimit: limit },
    { firstPause, afterStop, overlap, ...(notedWithin && { notedWithin }) },
  )
  ended.catch(() => {})
  const end = async () => {
    stop.abort(new Error('stopped'))
    await ended.finally(async () => {
      notifier.close()
      if (!gone) await opened.close()
      gone = true
    })
  }
  return {
    topics: opened,
    lines,
    text,
    /** warnings, and failures that have been said before */
    warnings: () => lines.filter(({ level }) => level === 'warn' || level === 'debug'),
    ended,
    stop: () => stop.abort(new Error('stopped')),
    /** Ends as SIGKILL would: nothing more is noted. */
    async kill() {
      await opened.close()
      gone = true
      for (const socket of fake.sockets) socket.destroy()
      await end()
    },
    [Symbol.asyncDispose]: end,
  }
}

/** Topics whose readers read so. */
const reading =
  (read: <T>(next: () => Promise<Batch<T>>) => Promise<Batch<T>>) =>
  (topics: Topics): Topics => ({
    ...topics,
    reader(topic, name) {
      const reader = topics.reader(topic, name)
      return { ...reader, read: (limit, signal) => read(() => reader.read(limit, signal)) }
    },
  })
/** Topics whose readers commit so. */
const committing = (commit: (next: () => Promise<void>) => Promise<void>) =>
  reading(async (next) => {
    const batch = await next()
    return { ...batch, commit: (...args) => commit(() => batch.commit(...args)) }
  })
const waiting = async (topics: Topics) => (await topics.state('alert/outbox/')).size
const drained = (topics: Topics) =>
  waitFor(
    'everything to be mailed',
    async () => (await topics.reader('predictions', 'alert').lag()) + (await waiting(topics)) === 0,
  )
/** Answers so at the final dot of the mail about that transaction. */
const about =
  (trans_num: string, reply: Reply) =>
  ({ verb, raw }: Asked): Reply | undefined =>
    verb === 'dot' && transNum(raw) === trans_num ? reply : undefined

test('a position alone may wait for another commit to go with, but not while an alarm is under way', async () => {
  await using w = await world([prediction(1)], ({ verb }) => (verb === 'dot' ? hang : undefined))
  const noted: (Notes | undefined)[] = []
  const wrap = reading(async (next) => {
    const batch = await next()
    return {
      ...batch,
      commit(count, writes, notes) {
        noted.push(notes)
        return batch.commit(count, writes, notes)
      },
    }
  })
  await using worker = await w.worker({ wrap, afterStop: 100 })
  await waitFor('the first position, which has notes', () => noted.length === 1)
  await worker.topics.append({ predictions: [prediction(4)] })
  await waitFor('a position alone', () => noted.length === 2)
  expect(noted[1]).toBeUndefined()
  await worker.topics.append({ predictions: [fraud(2)] })
  await waitFor('the mail', () => w.fake.seen.length === 1)
  const before = noted.length
  await worker.topics.append({ predictions: [prediction(3)] })
  await waitFor('the position behind it', () => noted.length > before)
  expect(noted.at(-1)).toEqual({})
})

describe.concurrent('each fraud', () => {
  test('is mailed once, an honest transaction never', async () => {
    const predictions = Array.from({ length: 60 }, (_, n) => (n % 4 === 0 ? fraud(n) : prediction(n, { is_fraud: 1 })))
    const wanted = predictions.filter((p) => p.prediction === 1).map((p) => p.trans_num)
    await using w = await world(predictions)
    {
      await using first = await w.worker()
      await drained(first.topics)
      expect(sorted(w.fake.taken())).toEqual(wanted)
      await first.topics.append({ predictions: [prediction(100), fraud(101)] })
      await drained(first.topics)
    }
    await using second = await w.worker()
    await second.topics.append({ predictions: [fraud(102)] })
    await drained(second.topics)
    expect(sorted(w.fake.taken())).toEqual([...wanted, 'trans-101', 'trans-102'])
    expect(second.lines).toEqual(
      [
        {
          level: 'info',
          msg: 'mailed to analyst@example.com: Fraud alert: $112.00 at Kutch, Hermiston and Farrell (gas_transport)',
        },
      ].map((line) => expect.objectContaining(line)),
    )
  })

  test('that is none, only honest ones, moves the position all the same', async () => {
    await using w = await world([prediction(1), prediction(2)])
    await using only = await w.worker()
    await drained(only.topics)
    expect(w.fake.sessions).toBe(0)
  })

  test('is mailed at once, over a few sessions that are kept', async () => {
    await using w = await world(frauds(30))
    await using only = await w.worker()
    await drained(only.topics)
    expect(w.fake.sessions).toBeGreaterThan(1)
    expect(w.fake.sessions).toBeLessThanOrEqual(5)
  })

  test('waits for the mail before it as long as that is quick: a crash finds one that is not noted', async () => {
    await using w = await world(frauds(20))
    await using only = await w.worker({ overlap: 60_000 })
    await drained(only.topics)
    expect(w.fake.sessions).toBe(1)
  })

  test('is noted with the answer to the mail before it: one commit a mail', async () => {
    let notes = 0
    const wrap = (topics: Topics): Topics => ({
      ...topics,
      lead: (name, stop, work) =>
        topics.lead(name, stop, (lease) => {
          const note: typeof lease.note = (some) => {
            notes++
            return lease.note(some)
          }
          return work({ ...lease, note })
        }),
    })
    await using w = await world(frauds(20))
    await using only = await w.worker({ overlap: 60_000, wrap })
    await drained(only.topics)
    expect(w.fake.seen).toHaveLength(20)
    expect(notes).toBeLessThanOrEqual(22)
  })

  test('waits no longer than that for the mail before it', async () => {
    await using w = await world(frauds(6), about('trans-1', hang))
    await using only = await w.worker({ overlap: 100, afterStop: 50 })
    await waitFor('the others', () => w.fake.taken().length === 5)
    expect(only.warnings()).toEqual([])
  })

  test('is noted when it is mailed, not with its batch', async () => {
    await using w = await world(frauds(12), ({ verb, mail }) => (verb === 'dot' && mail > 4 ? hang : undefined))
    {
      const killed = await w.worker()
      await waitFor('four mails', () => killed.lines.length === 4)
      await waitFor('the others to be out', () => w.fake.seen.length === 4 + 5)
      await killed.kill()
    }
    const before = w.fake.taken()
    w.fake.answer = () => undefined
    await using second = await w.worker()
    await drained(second.topics)
    expect(before).toHaveLength(4)
    expect(sorted(w.fake.taken())).toEqual(names(12))
  })
})

describe.concurrent('a mail that is stuck after its final dot', () => {
  test('holds up no other; after a kill it alone is sent again, and is the same to the byte', async () => {
    await using w = await world([fraud(1), prediction(50), ...frauds(7).slice(1)], about('trans-1', hang))
    {
      const killed = await w.worker()
      await waitFor('the others', () => w.fake.taken().length === 6)
      expect(sorted(w.fake.taken())).toEqual(names(7).slice(1))
      await waitFor('the log', () => killed.lines.length === 6)
      await killed.kill()
    }
    expect(await w.left()).toEqual([0, 1])
    w.fake.answer = () => undefined
    await using second = await w.worker()
    await drained(second.topics)
    const [first, again, ...more] = w.fake.seen.filter(({ raw }) => transNum(raw) === 'trans-1')
    expect(more).toEqual([])
    expect(again?.raw).toEqual(first?.raw)
    expect(w.fake.seen).toHaveLength(8)
  })

  test('holds up no other either when the server was away meanwhile', async () => {
    let [up, refused] = [true, 0]
    await using w = await world([fraud(1)], (asked) => {
      if (asked.verb !== 'greeting' || up) return about('trans-1', hang)(asked)
      refused++
      return '421 4.3.2 busy'
    })
    await using only = await w.worker({ afterStop: 50 })
    await waitFor('the stuck mail', () => w.fake.seen.length === 1)
    up = false
    await only.topics.append({ predictions: frauds(8).slice(1) })
    await waitFor('failures', () => refused > 6)
    up = true
    await waitFor('the others', () => w.fake.taken().length === 7)
  })

  test('holds up no other either when it was the first after an outage', async () => {
    let failures = 0
    await using w = await world(frauds(8), ({ verb, mail }) => {
      if (verb === 'greeting' && failures < 7) return `421 4.3.2 busy ${++failures}`
      return verb === 'dot' && mail === 1 ? hang : undefined
    })
    await using _ = await w.worker({ afterStop: 50 })
    await waitFor('the others', () => w.fake.taken().length === 7)
  })

  test('lets the position pass all when its answer comes after all', async () => {
    let answer = () => {}
    await using w = await world(
      [fraud(1)],
      about('trans-1', (socket) => {
        answer = () => void socket.write('250 2.0.0 at last\r\n')
      }),
    )
    await using only = await w.worker()
    await waitFor('it to be out', () => w.fake.seen.length === 1)
    for (const n of [2, 3]) {
      await only.topics.append({ predictions: [fraud(n)] }) // a batch each
      await waitFor('another', () => w.fake.taken().length === n - 1)
    }
    answer()
    await drained(only.topics)
    expect(w.fake.seen).toHaveLength(3)
  })

  test('is sent again when its session is cut, the same to the byte', async () => {
    await using w = await world(frauds(1), ({ verb, mail }) => (verb === 'dot' && mail === 1 ? reset : undefined))
    await using only = await w.worker()
    await drained(only.topics)
    const [first, again, ...more] = w.fake.seen
    expect(more).toEqual([])
    expect(again?.raw).toEqual(first?.raw)
    expect(only.warnings()).toMatchObject([
      { msg: expect.stringMatching(/^transaction trans-1: no answer .* may arrive twice.*; retrying in [\d.]+ s$/) },
    ])
  })

  test('is the same to the byte when another version of the program sends it again', async () => {
    await using w = await world(frauds(1), ({ verb }) => (verb === 'dot' ? hang : undefined))
    {
      const killed = await w.worker()
      await waitFor('the mail to be out', () => w.fake.seen.length === 1)
      await killed.kill()
    }
    const mailer = `X-Mailer: client-predict ${VERSION}`
    expect(w.fake.seen[0]!.raw.toString()).toContain(`\r\n${mailer}\r\n`)
    await w.withTopics(async (topics) => {
      const notifications = [...(await topics.state('alert/letter/'))] as [string, object][]
      expect(notifications.map(([, notification]) => notification)).toMatchObject([{ by: VERSION }])
      await topics.append(
        {},
        Object.fromEntries(notifications.map(([key, notification]) => [key, { ...notification, by: '0.0.1' }])),
      )
    })
    w.fake.answer = () => undefined
    await using second = await w.worker()
    await drained(second.topics)
    expect(w.fake.seen[1]!.raw.toString()).toBe(
      w.fake.seen[0]!.raw.toString().replace(mailer, 'X-Mailer: client-predict 0.0.1'),
    )
  })
})

describe.concurrent('a recipient who is put off', () => {
  const TO = ['a@example.com', 'b@example.com']
  const putOff =
    (reply: string) =>
    ({ verb, line }: Asked) =>
      verb === 'RCPT' && line.includes('b@example.com') ? reply : undefined
  const rcpts = (fake: Fake) => fake.lines.filter((line) => line.startsWith('RCPT')).map((line) => line.slice(9, 10))
  const rests = (topics: Topics) => topics.state('alert/rest/')

  test('gets the same mail later, alone, and holds up nobody', async () => {
    await using w = await world(frauds(3), putOff('450 4.7.1 greylisted'))
    await using only = await w.worker({ to: TO })
    await drained(only.topics)
    expect(w.fake.taken()).toEqual(names(3))
    expect(only.warnings().map(({ msg }) => msg)).toContainEqual(
      expect.stringMatching(
        /^mailed to a@example\.com, later to b@example\.com \(450 4\.7\.1 greylisted\): Fraud alert/,
      ),
    )
    expect((await rests(only.topics)).size).toBe(3)
    w.fake.answer = () => undefined
    const mails = new Set(w.fake.seen.map(({ raw }) => raw.toString()))
    await waitFor('all of them', () => w.fake.seen.length === 6)
    expect(w.fake.seen.slice(3).map(({ to }) => to)).toEqual([['b@example.com'], ['b@example.com'], ['b@example.com']])
    expect(new Set(w.fake.seen.map(({ raw }) => raw.toString()))).toEqual(mails)
    await waitFor('the notes to be gone', async () => (await rests(only.topics)).size === 0)
  })
  test('gets it after a restart, and a kill, too', async () => {
    await using w = await world(frauds(2), putOff('451 4.3.0 later'))
    {
      await using first = await w.worker({ to: TO, firstPause: 400 })
      await drained(first.topics)
    }
    {
      const second = await w.worker({ to: TO })
      await waitFor('another try', () => second.warnings().length > 0)
      await second.kill()
    }
    expect(w.fake.taken()).toEqual(names(2))
    w.fake.answer = () => undefined
    await using third = await w.worker({ to: TO })
    await waitFor('both', () => w.fake.seen.length === 4)
    const raws = w.fake.seen.map(({ raw }) => raw.toString())
    expect(new Set(raws.slice(2))).toEqual(new Set(raws.slice(0, 2)))
    await waitFor('the notes to be gone', async () => (await rests(third.topics)).size === 0)
    expect(third.text()).toContain('mailed to b@example.com: Fraud alert')
  })
  test('and refused then is named, and not tried again', async () => {
    await using w = await world(frauds(1), putOff('450 4.7.1 greylisted'))
    await using only = await w.worker({ to: TO })
    await drained(only.topics)
    w.fake.answer = putOff('550 5.1.1 no such user')
    await waitFor('the refusal', () =>
      only.text().includes('not to b@example.com (550 5.1.1 no such user): check ALERT_TO'),
    )
    await waitFor('the notes to be gone', async () => (await rests(only.topics)).size === 0)
    expect(rcpts(w.fake).filter((who) => who === 'a')).toHaveLength(1)
  })
  test('waits with all others while no server is there', async () => {
    await using w = await world(frauds(1), putOff('450 4.7.1 greylisted'))
    await using only = await w.worker({ to: TO })
    await drained(only.topics)
    w.fake.answer = ({ verb }) => (verb === 'greeting' || verb === 'MAIL' ? '421 4.3.2 busy' : undefined)
    await waitFor('a failure', () => only.warnings().length > 2)
    w.fake.answer = () => undefined
    await waitFor('it', () => w.fake.seen.length === 2)
    expect(w.fake.seen[1]!.raw.equals(w.fake.seen[0]!.raw)).toBe(true)
  })
})

describe.concurrent('while the server is down', () => {
  test('a killed worker loses nothing, and the next one goes on', async () => {
    await using w = await world(frauds(9), ({ verb }) => (verb === 'greeting' ? reset : undefined))
    {
      const killed = await w.worker()
      await waitFor('a failure', () => killed.warnings().length > 0)
      await killed.kill()
    }
    w.fake.answer = () => undefined
    await using second = await w.worker()
    await drained(second.topics)
    expect(sorted(w.fake.taken())).toEqual(names(9))
  })

  test('not more than some 2,000 frauds are read ahead', { timeout: 90_000 }, async () => {
    let [down, read, most] = [true, 0, 0]
    await using w = await world(frauds(4100), ({ verb }) =>
      verb === 'greeting' && down ? '421 4.3.2 busy' : undefined,
    )
    const wrap = reading(async (next) => {
      const batch = await next()
      read += batch.records.length
      most = Math.max(most, read - w.fake.taken().length)
      return batch
    })
    await using only = await w.worker({ wrap })
    await waitFor('three failures', () => only.warnings().length === 3)
    expect(read).toBeGreaterThanOrEqual(2000)
    down = false
    await waitFor('more to be read', () => read > 3000, 60_000)
    expect(most).toBeLessThan(2600)
  })
})

test.concurrent.for<[string, Asked['verb'], string]>([
  ['a refused login', 'AUTH', '535 5.7.8 bad credentials'],
  ['a reached daily limit', 'MAIL', '550 5.4.5 daily limit'],
  ['a refused sender', 'MAIL', '553 5.7.1 not yours'],
])('%s pauses them all and drops none', async ([, verb, reply]) => {
  let failures = 0
  await using w = await world(frauds(12), (asked) => {
    if (asked.verb === 'EHLO') return '250-fake\r\n250 AUTH PLAIN'
    if (asked.verb !== verb || failures >= 7) return undefined
    failures++
    return reply
  })
  Object.assign(w.fake.server, { user: 'desk', pass: 'sesame' })
  await using only = await w.worker()
  await drained(only.topics)
  expect(sorted(w.fake.taken())).toEqual(names(12))
  expect(w.fake.seen).toHaveLength(12)
  expect(only.warnings().length).toBeLessThanOrEqual(3) // five at once, then one by one
  expect(only.text()).toContain('alarms go out again')
})

test.concurrent('what was under way when the way got blocked does not open it again', async () => {
  const answers: (() => void)[] = []
  let sixth = 0
  await using w = await world(frauds(6), ({ verb, mail }) => {
    if (mail > 5 || sixth > 0) sixth ||= performance.now()
    if (verb !== 'dot' || mail > 5) return undefined
    if (mail === 1) return '451 4.7.1 slowly'
    return (socket) => void answers.push(() => socket.write('250 2.0.0 ok\r\n'))
  })
  await using only = await w.worker({ firstPause: 600 })
  await waitFor('the failure', () => only.warnings().length === 1 && answers.length === 4)
  const blocked = performance.now()
  for (const answer of answers) answer()
  await drained(only.topics)
  expect(sixth - blocked).toBeGreaterThan(200) // the pause is 300 ms or more
  expect(sorted(w.fake.seen.map(({ raw }) => transNum(raw)))).toEqual(['trans-1', ...names(6)])
})

describe.concurrent('a mail that fails for itself', () => {
  test('is tried again alone, named in the log, while the others go out', async () => {
    const tries: number[] = []
    await using w = await world(frauds(15), (asked) =>
      about('trans-2', 'x')(asked) && tries.push(performance.now()) <= 4 ? `554 5.7.1 spam ${tries.length}` : undefined,
    )
    await using only = await w.worker({ firstPause: 100 })
    await drained(only.topics)
    for (const [i, time] of tries.slice(1).entries()) expect(time - tries[i]!).toBeGreaterThanOrEqual(50 * 2 ** i - 1)
    expect(w.fake.taken().at(-1)).toBe('trans-2')
    expect(sorted(w.fake.taken())).toEqual(names(15))
    expect(only.warnings().map(({ msg }) => msg)).toEqual(
      [1, 2, 3, 4].map((n) =>
        expect.stringMatching(
          `^transaction trans-2: the mail server refused the mail: 554 5.7.1 spam ${n}; \\d+ held back`,
        ),
      ),
    )
  })
  test('does not hold up the others when the server only puts it off', { timeout: 120_000 }, async () => {
    let patient = false
    await using w = await world(frauds(10), (asked) =>
      patient ? undefined : about('trans-1', '451 4.3.0 scanner')(asked),
    )
    await using only = await w.worker()
    await waitFor('the others', () => w.fake.taken().length === 9, 40_000) // it may be the one that probes, again and again
    patient = true
    await drained(only.topics)
    expect(sorted(w.fake.taken())).toEqual(names(10))
  })
})

describe.concurrent('the daily limit', () => {
  test('holds the rest back, also after a restart, and says so once', async () => {
    await using w = await world(frauds(8))
    for (const [limit, taken] of [
      [3, 3],
      [3, 3],
      [4, 4],
    ] as const) {
      await using one = await w.worker({ limit })
      await waitFor('the limit', () => one.warnings().length > 0)
      expect(w.fake.seen).toHaveLength(taken)
      expect(one.warnings()).toMatchObject([
        {
          msg: expect.stringMatching(
            `^${limit} mails in 24 h \\(ALERT_DAILY_LIMIT\\): ${8 - taken} held back, next one in 14\\d\\d min$`,
          ),
        },
      ])
    }
    await using last = await w.worker()
    await drained(last.topics)
    expect(sorted(w.fake.taken())).toEqual(names(8))
  })
  test('is noted as the reason why the rest waits', async () => {
    await using w = await world(frauds(3))
    await using one = await w.worker({ limit: 1 })
    expect(await waitFor('the reason', () => one.topics.noted('alert/waits'))).toEqual({
      why: '1 mails in 24 h (ALERT_DAILY_LIMIT)',
      since: expect.any(Number),
    })
  })
  test('is said once, whatever else comes', async () => {
    let reads = 0
    const wrap = reading((next) => {
      reads++
      return next()
    })
    await using w = await world(frauds(2))
    await using only = await w.worker({ limit: 1, wrap })
    await waitFor('the limit', () => only.warnings().length > 0)
    const before = reads
    await only.topics.append({ predictions: [fraud(3)] })
    await waitFor('it to be read', () => reads > before)
    expect(only.warnings()).toHaveLength(1)
  })
  test('lets the next one out by itself when the oldest is a day old', async () => {
    await using w = await world(frauds(1))
    const minute = (Date.now() + 3000 - 86_400_000) / 60_000 - 1 // forgotten in 3 s
    await w.withTopics((topics) => topics.append({}, { 'alert/pace': { counted: [[minute, 1]] } }))
    await using only = await w.worker({ limit: 1 })
    await waitFor('the limit', () => only.warnings().length > 0)
    expect(w.fake.seen).toEqual([])
    await drained(only.topics)
    expect(w.fake.taken()).toEqual(['trans-1'])
  })
  test('counts a mail that may have arrived', async () => {
    await using w = await world(frauds(2), ({ verb }) => (verb === 'dot' ? reset : undefined))
    await using only = await w.worker({ limit: 2 })
    await waitFor('the limit', () => /ALERT_DAILY_LIMIT\): 2 held back/.test(only.text()))
    expect(w.fake.seen).toHaveLength(2)
  })
})

test.concurrent('a position that cannot be noted is noted later, without mailing again', async () => {
  let commits = 0
  const wrap = committing(async (commit) => {
    if (++commits <= 2) throw new Error('disk full')
    return commit()
  })
  await using w = await world(frauds(5))
  await using only = await w.worker({ wrap })
  await drained(only.topics)
  expect(sorted(w.fake.taken())).toEqual(names(5))
  expect(w.fake.seen).toHaveLength(5)
  expect(only.warnings().map(({ msg }) => msg)).toEqual(Array(2).fill(expect.stringMatching(/^disk full; retrying in/)))
  await only.topics.append({ predictions: [fraud(6)] }) // and it is alive
  await drained(only.topics)
})

describe('while the topics cannot be written', () => {
  /** Positions and notes are refused as long as it is so. */
  const unwritable = () => {
    const disk = { full: false }
    const work = async <T>(write: () => Promise<T>) => {
      if (disk.full) throw new Error('disk full')
      return await write()
    }
    const wrap = (topics: Topics): Topics => ({
      ...committing(work)(topics),
      lead: (name, stop, use) =>
        topics.lead(name, stop, (lease) => use({ ...lease, note: (notes) => work(() => lease.note(notes)) })),
    })
    return { disk, wrap }
  }

  test('nothing goes out that is not noted: killed just then, each is mailed once', async () => {
    const { disk, wrap } = unwritable()
    await using w = await world(frauds(3))
    {
      await using killed = await w.worker({ wrap })
      await drained(killed.topics)
      disk.full = true
      await killed.topics.append({ predictions: [fraud(4), fraud(5)] })
      await waitFor('the failure', () => killed.warnings().length > 0)
      await sleep(6000) // longer than any program locks a file
      expect(w.fake.seen).toHaveLength(3)
      await killed.kill()
    }
    await using second = await w.worker()
    await drained(second.topics)
    expect(sorted(w.fake.taken())).toEqual(names(5))
    expect(w.fake.seen).toHaveLength(5)
  })

  test('for long, the alarm is sounded all the same, and not again once they can be', async () => {
    const { disk, wrap } = unwritable()
    await using w = await world(frauds(3))
    await using only = await w.worker({ wrap, notedWithin: 300 })
    await drained(only.topics)
    disk.full = true
    await only.topics.append({ predictions: [fraud(4), fraud(5)] })
    await waitFor('the alarms', () => w.fake.seen.length === 5)
    disk.full = false
    await drained(only.topics)
    expect(w.fake.seen).toHaveLength(5)
  })
})

test.concurrent('while one note takes its time the next ones wait for it', async () => {
  let [running, most] = [0, 0]
  const wrap = committing(async (commit) => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 20))
    await commit().finally(() => running--)
  })
  await using w = await world(frauds(12))
  await using only = await w.worker({ wrap })
  await drained(only.topics)
  expect(most).toBe(1)
  expect(sorted(w.fake.taken())).toEqual(names(12))
})

test('why nothing goes out is noted, for who audits, and no longer when it does', async () => {
  let down = true
  await using w = await world(frauds(3), ({ verb }) => (verb === 'greeting' && down ? '421 4.3.2 busy' : undefined))
  await using only = await w.worker()
  const noted = () => only.topics.noted('alert/waits')
  expect(await waitFor('the reason', noted)).toEqual({
    why: 'the mail server put the connection off: 421 4.3.2 busy',
    since: expect.any(Number),
  })
  down = false
  await drained(only.topics)
  await waitFor('no reason', async () => !(await noted()))
})

test('while the server is down one mail at a time tries, after growing pauses, and each failure is one line', async () => {
  const tries: number[] = []
  let down = true
  await using w = await world(frauds(30), ({ verb }) => {
    if (verb !== 'greeting' || !down) return undefined
    tries.push(performance.now())
    return '421 4.3.2 busy'
  })
  await using only = await w.worker({ firstPause: 1000 }) // a session takes less: one that does not is overtaken
  await waitFor('four failures', () => only.warnings().length === 4)
  down = false
  const probes = tries.slice(5) // the first five were under way together
  expect(tries.length - 5).toBe(only.warnings().length - 1)
  for (const [i, time] of probes.entries())
    expect(time - (probes[i - 1] ?? tries[0]!)).toBeGreaterThanOrEqual(500 * 2 ** i - 1)
  expect(only.warnings()[0]?.msg).toMatch(
    /^the mail server put the connection off: 421 4\.3\.2 busy; 30 held back, nothing is dropped; retrying in (0\.\d|1\.0) s$/,
  )

  await drained(only.topics)
  const taken = w.fake.taken()
  expect(sorted(taken)).toEqual(names(30))
  expect(only.lines.filter(({ msg }) => msg === 'alarms go out again')).toHaveLength(1)
  // Apart from the one that probed they go in order, as far as five sessions keep it.
  for (const [i, name] of taken.slice(1).entries())
    expect(
      Math.abs(
        names(30)
          .filter((n) => n !== taken[0])
          .indexOf(name) - i,
      ),
    ).toBeLessThan(5)
})

describe('a stop', () => {
  test.for<[string, Options, (asked: Asked) => Reply | undefined]>([
    ['in the middle of an outage', { firstPause: 600_000 }, ({ verb }) => (verb === 'greeting' ? reset : undefined)],
    [
      'while a mail waits for its next try',
      { firstPause: 600_000 },
      ({ verb }) => (verb === 'dot' ? '554 no' : undefined),
    ],
    ['with mails held back by the limit', { limit: 1 }, () => undefined],
  ])('%s is done at once', async ([, options, answer]) => {
    await using w = await world(frauds(3), answer)
    await using only = await w.worker(options)
    await waitFor('a warning', () => only.warnings().length > 0)
    const before = performance.now()
    only.stop()
    await only.ended
    expect(performance.now() - before).toBeLessThan(20_000) // the pause is ten minutes
  })

  test('with nothing to do is done at once and leaves no timer', async () => {
    await using w = await world(frauds(20))
    const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
    const before = timers()
    await using only = await w.worker()
    await drained(only.topics)
    only.stop()
    await only.ended
    expect(timers()).toBeLessThanOrEqual(before + 1) // the topics clean up at times
  })

  test('hears the answer to a mail that is out, and notes it', async () => {
    const waiting: (() => void)[] = []
    await using w = await world(frauds(2), ({ verb }) =>
      verb === 'dot' ? (socket) => void waiting.push(() => socket.write('250 2.0.0 at last\r\n')) : undefined,
    )
    {
      await using only = await w.worker()
      await waitFor('both to be out', () => waiting.length === 2)
      only.stop()
      const early = await Promise.race([only.ended.then(() => 'ended'), new Promise((r) => setTimeout(r, 50, 'waits'))])
      expect(early).toBe('waits')
      for (const answer of waiting) answer()
      await only.ended
      expect(only.lines.filter(({ msg }) => msg.startsWith('mailed'))).toHaveLength(2)
    }
    expect(await w.left()).toEqual([0, 0])
  })

  test('does not wait for an answer for ever; the mail is sent again by the next worker', async () => {
    await using w = await world(frauds(1), ({ verb }) => (verb === 'dot' ? hang : undefined))
    {
      await using only = await w.worker({ afterStop: 50 })
      await waitFor('the mail to be out', () => w.fake.seen.length === 1)
      only.stop()
      await only.ended
      expect(only.lines).toEqual([])
    }
    w.fake.answer = () => undefined
    await using second = await w.worker()
    await drained(second.topics)
    expect(w.fake.seen).toHaveLength(2)
    expect(w.fake.seen[1]?.raw).toEqual(w.fake.seen[0]?.raw)
  })
})

describe('leadership that another process takes over', () => {
  /** As several processes have it: a term ends when `lost` is aborted, and nothing is noted in it any more. */
  function shared(lost: AbortController, begins?: () => Promise<void>) {
    return (topics: Topics): Topics => ({
      ...topics,
      reader(topic, name) {
        const reader = topics.reader(topic, name)
        return {
          ...reader,
          async read(limit, signal) {
            const { records, commit } = await reader.read(limit, signal)
            const mine = !lost.signal.aborted
            return { records, commit: (...args) => (mine ? fenced(() => commit(...args)) : commit(...args)) }
          },
        }
      },
      async lead(name, stop, work) {
        const term = (lost?: AbortSignal) =>
          topics.lead(name, stop, (lease) => {
            if (!lost) return work({ ...lease, prove: (noted) => noted })
            const note = (notes: Notes) => fenced(() => lease.note(notes))
            return work({ lost, stop: anyOf(stop, lost), note, prove: (noted) => noted })
          })
        await term(lost.signal)
        stop.throwIfAborted()
        await begins?.()
        await (begins ? term() : orAborted(stop, new Promise<never>(() => {})))
      },
    })
    async function fenced(act: () => Promise<void>) {
      lost.signal.throwIfAborted()
      await act()
    }
  }

  test('has nothing sent again here: who cannot prove that it leads does not mail', async () => {
    await using w = await world(frauds(3))
    const lost = new AbortController()
    let [tries, after] = [0, 0]
    const notifier: Notifier = {
      async send() {
        if (lost.signal.aborted) after++
        if (++tries === 3) lost.abort(new TakenOver('alert'))
        throw new SendFailure('put off', { scope: 'message' })
      },
      close() {},
    }
    await using only = await w.worker({ wrap: shared(lost), notifier })
    await waitFor('the takeover', () => lost.signal.aborted)
    await sleep(500)
    expect([tries, after]).toEqual([3, 0])
    expect(only.warnings().map(({ msg }) => msg)).toEqual(only.warnings().map(() => expect.stringContaining('put off')))
  })

  test('has what is under notifier here cut short', async () => {
    await using w = await world(frauds(1))
    const lost = new AbortController()
    let [cut, tries] = [false, 0]
    const notifier: Notifier = {
      async send(_, signal) {
        tries++
        lost.abort(new TakenOver('alert'))
        await orAborted(signal, new Promise<never>(() => {})).catch(() => {})
        cut = true
        throw new SendFailure('cut', { scope: 'message' })
      },
      close() {},
    }
    await using only = await w.worker({ wrap: shared(lost), notifier })
    await waitFor('the cut', () => cut)
    await sleep(200)
    expect([tries, only.warnings()]).toEqual([1, []])
  })

  test('is left to it, and what it has passed and noted by then is not mailed again', async () => {
    await using w = await world(frauds(4))
    const lost = new AbortController()
    const wrap = (topics: Topics) =>
      shared(lost, async () => {
        // The other process has mailed the first, the second and, out of order, the fourth.
        const gone = [1, 2, 4].map((n) => [`alert/outbox/${identity(fraud(n))}`, null])
        const notifications = [...(await topics.state('alert/letter/')).keys()].map((key) => [key, null])
        await topics.append(
          {},
          Object.fromEntries([...gone, ...notifications, ['alert/total', { frauds: 4, mailed: 3 }]]),
        )
      })({
        ...topics,
        lead: (name, stop, work) =>
          topics.lead(name, stop, (lease) =>
            work({
              ...lease,
              async note(notes) {
                if (!lost.signal.aborted && Object.keys(notes).some((key) => key.startsWith('alert/sent/'))) {
                  lost.abort(new TakenOver('alert'))
                  throw lost.signal.reason
                }
                await lease.note(notes)
              },
            }),
          ),
      })
    await using only = await w.worker({ wrap, overlap: 60_000 })
    await drained(only.topics)
    expect(w.fake.taken()).toEqual(['trans-1', 'trans-3']) // the first by this process, before it could be noted
    expect(only.warnings()).toEqual([])
  })

  test('and that comes back before the next read, is begun with what was noted meanwhile', async () => {
    await using w = await world([])
    const lost = new AbortController()
    let terms = 0
    const noted = async (topics: Topics) => topics.append({}, { alert: { ahead: [identity(fraud(1))], counted: [] } })
    await using only = await w.worker({
      wrap: (topics) => shared(lost, () => noted(topics).then(() => void terms++))(topics),
    })
    await sleep(100) // until it reads
    lost.abort(new TakenOver('alert'))
    await waitFor('the next term', () => terms)
    await only.topics.append({ predictions: frauds(2) })
    await drained(only.topics)
    expect(w.fake.taken()).toEqual(['trans-2'])
  })
})

test('a mistake in the program ends it', async () => {
  await using w = await world(frauds(1))
  const notifier: Notifier = {
    send: async () => {
      throw new TypeError('not a function')
    },
    close() {},
  }
  const only = await w.worker({ notifier })
  await expect(only.ended).rejects.toThrow('not a function')
  await only[Symbol.asyncDispose]().catch(() => {})
})
