import type { Socket } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { describe, expect, test, vi } from 'vitest'
import { alertStage } from '../../src/alert/deliver.ts'
import { mails, smtp } from '../../src/notify/smtp.ts'
import { listeningLog, prediction, tempDir, waitFor } from '../rows.ts'
import { sqliteTopics } from '../topic/asked.ts'
import {
  type Asked,
  type Certificate,
  certificate,
  drip,
  hang,
  hangUp,
  type Reply,
  reset,
  scriptedSmtp,
} from './smtp-server.ts'

vi.setConfig({ maxConcurrency: 10 })

type Script = (asked: Asked) => Reply | undefined
type Setup = {
  frauds?: number
  /** predicted after the start, and so no backlog */
  live?: boolean
  to?: string[]
  /** how it answers until it is well; then as a good server does, that wants a login */
  ill?: Script
  /** the client takes the server for another machine, and encrypts */
  remote?: boolean
  /** what it shows as long as it is ill */
  shown?: Certificate
}
type Tuning = { burst?: number; overlap?: number; firstPause?: number; handOver?: number; finalAnswer?: number }

const COUNT = 8
const WHO = ['analyst@example.com']
const fraud = (n: number) => prediction(n, { prediction: 1 })
const names = (count: number, from = 1) => Array.from({ length: count }, (_, i) => `trans-${i + from}`)
const byNumber = (list: Iterable<string>) => [...list].sort((a, b) => Number(a.slice(6)) - Number(b.slice(6)))
/** The transactions that a mail speaks of, each once. */
const spokenOf = (raw: Buffer) =>
  byNumber(
    new Set(
      raw
        .toString('latin1')
        .replaceAll('=\r\n', '')
        .match(/\btrans-\d+\b/g),
    ),
  )

const TRUSTED = certificate()
const EXPIRED = certificate({ from: -2, to: -1 })
setDefaultCACertificates([...getCACertificates(), TRUSTED.cert, EXPIRED.cert])
const LOGIN = { user: 'desk', pass: 'open sesame' }
const SECRETS = [LOGIN.pass, Buffer.from(`\0${LOGIN.user}\0${LOGIN.pass}`).toString('base64')]

/** Frauds, and a mail server that is ill at first; both outlive the workers. */
async function world({ frauds = COUNT, to = WHO, ill, remote = false, shown, live = false }: Setup = {}) {
  const dir = await tempDir()
  const path = dir.file('topics.db')
  const state = { well: false, ill: ill ?? (() => undefined), tries: new Map<number, number>() }
  const extensions = remote ? '250-STARTTLS\r\n250 AUTH PLAIN' : '250 AUTH PLAIN'
  const fake = await scriptedSmtp((asked) => {
    const reply = state.well ? undefined : state.ill(asked)
    if (reply !== undefined && !state.tries.has(asked.session)) state.tries.set(asked.session, performance.now())
    return reply ?? (asked.verb === 'EHLO' ? `250-fake\r\n${extensions}` : undefined)
  }, shown ?? TRUSTED)
  const server = { ...fake.server, ...LOGIN, loopback: !remote }
  const open = () => sqliteTopics({ path, exclusive: true })
  const topics = await open()
  const predicted = live && { predicted_at: Date.now() + 60_000 } // after every start
  await topics.append({ predictions: names(frauds).map((_, i) => ({ ...fraud(i + 1), ...predicted })) })
  await topics.close()
  const taken = () => fake.seen.filter((mail) => mail.taken)
  const told = () => byNumber(taken().flatMap(({ raw }) => spokenOf(raw)))
  return Object.assign(state, {
    fake,
    /** when each try failed, in ms since the first */
    failed: () => [...state.tries.values()].map((time, _, [first]) => time - first!),
    getWell() {
      state.well = true
      fake.identity = TRUSTED
    },
    taken,
    told,
    /** A fraud is in one mail; in one that was sent again only as the same bytes. */
    eachInOneMail(count: number) {
      const different = taken().filter(({ raw }, i, all) => all.findIndex((mail) => mail.raw.equals(raw)) === i)
      expect(byNumber(different.flatMap(({ raw }) => spokenOf(raw)))).toEqual(names(count))
    },
    async worker({ burst = 1000, overlap = 60_000, firstPause = 40, handOver, finalAnswer }: Tuning = {}) {
      const { log, lines } = listeningLog()
      const topics = await open()
      const stop = new AbortController()
      const addresses = { from: 'fraud@example.com', to, operators: ['ops@example.com'] }
      const notifier = mails(
        smtp(server, { ...(handOver && { handOver }), ...(finalAnswer && { finalAnswer }) }),
        addresses,
      )
      let skipped = 0
      const clock = {
        now: () => Date.now() + skipped,
        steady: () => performance.now(),
        /** looks again soon, in case time was skipped; the topics are given all of the time to note a notification */
        sleep: (ms: number, signal?: AbortSignal) =>
          new Promise<void>((resolve) => {
            const done = () => {
              clearTimeout(timer)
              resolve()
            }
            const timer = setTimeout(done, signal?.aborted ? 0 : ms > 5000 ? 20 : ms)
            signal?.addEventListener('abort', done, { once: true })
          }),
      }
      const reader = topics.reader('predictions', 'alert')
      const ended = alertStage(
        { log, stop: stop.signal },
        { reader, topics, name: 'alert', notifier, burst, dailyLimit: 1_000_000, clock },
        { firstPause, overlap, afterStop: 50, notedWithin: 5000 },
      )
      ended.catch(() => {})
      let opened = true
      const end = async () => {
        stop.abort(new Error('stopped'))
        await ended.finally(async () => {
          notifier.close()
          if (opened) await topics.close()
          opened = false
        })
        await waitFor('its sessions to be gone', () => fake.sockets.size === 0)
        for (const { msg } of lines) {
          // a line is one line, without a card number or a password, whatever the server said
          expect(msg).not.toMatch(/[\r\n]|\d{11}/)
          for (const secret of SECRETS) expect(msg).not.toContain(secret)
        }
      }
      /** `warn`: with failures that have been said before */
      const said = (of: 'warn' | 'info' | 'error') =>
        lines.filter(({ level }) => level === of || (of === 'warn' && level === 'debug')).map(({ msg }) => msg)
      return {
        topics,
        said,
        mailed: () => [...said('info'), ...said('warn')].filter((line) => line.startsWith('mailed')),
        skip: (ms: number) => {
          skipped += ms
        },
        warnings: (count: number) => waitFor(`${count} warnings`, () => said('warn').length >= count),
        drained: () =>
          waitFor(
            'everything to be mailed',
            async () => (await reader.lag()) + (await topics.state('alert/outbox/')).size === 0,
          ),
        /** Ends as SIGKILL would: nothing more is noted. */
        async kill() {
          await topics.close()
          opened = false
          for (const socket of fake.sockets) socket.destroy()
          await end()
        },
        [Symbol.asyncDispose]: end,
      }
    },
    async [Symbol.asyncDispose]() {
      await fake[Symbol.asyncDispose]()
      await dir[Symbol.asyncDispose]()
    },
  })
}

const at =
  (verb: Asked['verb'], reply: Reply): Script =>
  (asked) =>
    asked.verb === verb ? reply : undefined
/** Only to mails that speak of this transaction. */
const about =
  (transaction: string, reply: Reply): Script =>
  ({ verb, raw }) =>
    verb === 'dot' && spokenOf(raw).includes(transaction) ? reply : undefined
/** What is logged when one try fails: what, of what, and what happens next. */
const failure = (says: string, of = '') =>
  new RegExp(String.raw`^${of}${says}; \d+ held back, nothing is dropped; (retrying in [\d.]+ s|sending it in halves)$`)
const growing = (times: readonly number[]) => {
  for (const [i, time] of times.slice(1, 5).entries()) expect(time - times[i]!).toBeGreaterThanOrEqual(20 * 2 ** i - 2)
}
const MODES: [string, Tuning][] = [
  ['single alarms', {}],
  ['a digest', { burst: 0 }],
]

type Blocked = Setup & { name: string; says: string; tuning?: Tuning; killed?: boolean }
const WHAT: Partial<Record<Asked['verb'], string>> = {
  greeting: 'the connection',
  MAIL: String.raw`the sender \(ALERT_FROM\)`,
  RCPT: String.raw`every recipient \(ALERT_TO\)`,
}
const said = (verb: Asked['verb'], reply: string) => {
  const what = WHAT[verb] ?? 'the mail'
  return `the mail server ${reply.startsWith('4') ? `put ${what} off` : `refused ${what}`}: ${reply}`
}
const blocked = (verb: Asked['verb'], reply: string, killed = false, says = said(verb, reply)): Blocked => ({
  name: `${/^[\d .]*/.exec(reply)?.[0].trim()} at ${verb}`,
  ill: at(verb, reply),
  says,
  killed,
})
const noLogin = (code: string, killed = false): Blocked => ({
  name: `${code} at AUTH`,
  ill: at('AUTH', `${code} ${LOGIN.pass} is wrong`),
  says: String.raw`the mail server refused the login \(${code.slice(0, 3)}\): check user and password in SMTP_URL`,
  killed,
})
const dailyLimit = (verb: Asked['verb'], killed = false): Blocked => ({
  name: `550 5.4.5 at ${verb}`,
  ill: at(verb, '550-5.4.5 Daily user sending\r\n550 5.4.5 limit exceeded'),
  says: String.raw`the mail server says that its daily sending limit is reached \(550 5\.4\.5\)`,
  killed,
})
const noTrust = (name: string, shown: Certificate, says: string): Blocked => ({
  name,
  shown,
  ill: at('STARTTLS', '220 2.0.0 go ahead'),
  says,
  remote: true,
})
const dripping = (verb: Asked['verb']): Blocked => ({
  name: `a drip at ${verb}`,
  ill: at(verb, drip(50)),
  says: String.raw`cannot reach the mail server: it did not take the mail within 3\.0 s`,
  tuning: { handOver: 3000 },
})

const BLOCKED: Blocked[] = [
  blocked('greeting', '421 4.3.2 busy', true),
  blocked('greeting', '554 5.7.1 go away'),
  blocked('MAIL', '451 4.3.0 later'),
  blocked(
    'MAIL',
    '530 5.7.0 log in first',
    false,
    String.raw`the mail server demands a login: check user and password in SMTP_URL \(530 5.7.0 log in first\)`,
  ),
  blocked('MAIL', '550 5.7.1 not you'),
  blocked('RCPT', '450 4.7.1 greylisted'),
  blocked('RCPT', '550 5.1.1 no such user', true),
  blocked('RCPT', '421 4.7.0 too many'),
  blocked('DATA', '451 4.3.0 later'),
  {
    name: '554 in two lines at DATA',
    ill: at('DATA', '554-5.5.1 no valid\r\n554 5.5.1 recipients'),
    says: 'the mail server refused the mail: 554-5.5.1 no valid 554 5.5.1 recipients',
  },
  blocked('dot', '421 4.3.0 closing'),
  blocked('dot', '452 4.3.1 disk full', true),
  blocked('MAIL', '454 Throttling failure: Daily message quota exceeded'),
  blocked('dot', '454 Throttling failure: Maximum sending rate exceeded'),
  blocked('AUTH', '454 4.7.0 cannot check', false, String.raw`the mail server put the login off \(454\)`),
  noLogin('534 5.7.9'),
  noLogin('535 5.7.8', true),
  noLogin('538 5.7.11'),
  dailyLimit('MAIL'),
  dailyLimit('dot', true),
  {
    name: 'no encryption offered',
    ill: ({ verb }) =>
      verb === 'EHLO' ? '250-fake\r\n250 AUTH PLAIN' : verb === 'STARTTLS' ? '502 5.5.1 no' : undefined,
    says: 'the way to the mail server cannot be encrypted: .*502 5.5.1 no',
    remote: true,
    killed: true,
  },
  noTrust(
    'a certificate that nobody vouches for',
    certificate(),
    String.raw`.*self-signed certificate \(NODE_EXTRA_CA_CERTS=/path/ca\.pem .*`,
  ),
  noTrust('a certificate that has expired', EXPIRED, '.*certificate has expired'),
  dripping('greeting'),
  dripping('RCPT'),
]
describe.concurrent.for(BLOCKED)('$name', ({ says, tuning = {}, ...setup }) => {
  test.for(MODES)('pauses %s: one try at a time, after growing pauses, until the server is well', async ([, mode]) => {
    await using w = await world(setup)
    await using only = await w.worker({ ...tuning, ...mode })
    await only.warnings(4)
    const [sessions, lines] = [w.fake.sessions, [...w.fake.lines]]
    expect(w.taken()).toEqual([])
    w.getWell()
    await only.drained()
    expect(sessions).toBeLessThanOrEqual(5)
    growing(w.failed())
    if (setup.remote) expect(lines.filter((line) => !/^(EHLO|STARTTLS)/.test(line))).toEqual([])
    for (const warning of only.said('warn'))
      expect(warning).toMatch(failure(says, `(transaction trans-\\d|${COUNT} frauds)?:? ?`))
    const again = only.said('info').filter((line) => line === 'alarms go out again').length
    if (tuning.handOver)
      expect(again).toBeGreaterThanOrEqual(1) // a busy machine takes longer than the deadline, too
    else expect(again).toBe(1)
    expect(w.taken()).toHaveLength(mode.burst === 0 ? 1 : COUNT)
    expect(w.told()).toEqual(names(COUNT))
  })
})
describe.concurrent.for(BLOCKED.filter(({ killed }) => killed))('$name', ({ tuning = {}, ...setup }) => {
  test.for(MODES)('loses none of %s when it is killed again and again', async ([, mode]) => {
    await using w = await world(setup)
    for (const failures of [1, 2]) {
      const one = await w.worker({ ...tuning, ...mode })
      await one.warnings(failures)
      await one.kill()
    }
    let passed = mode.burst === 0 ? 0 : 3
    w.ill = ({ verb }) => (verb === 'dot' && passed-- <= 0 ? hang : undefined)
    const before = w.fake.seen.length
    const last = await w.worker(mode)
    await waitFor('a mail that hangs', () => passed < 0)
    await last.kill()
    const hungAt = w.fake.seen.length
    w.ill = setup.ill!
    const blockedAgain = await w.worker({ ...tuning, ...mode })
    await blockedAgain.warnings(2)
    await blockedAgain.kill()
    const hung = w.fake.seen.slice(before, hungAt).filter(({ taken }) => !taken)
    w.getWell()
    await using only = await w.worker(mode)
    await only.drained()
    w.eachInOneMail(COUNT)
    for (const { raw } of hung) expect(w.taken().filter((mail) => mail.raw.equals(raw))).toHaveLength(1)
  })
})

type Own = { name: string; reply: Reply; says: string; uncertain?: boolean; finalAnswer?: number }
const UNCERTAIN = 'no answer to a mail that was handed over, it may arrive twice: '
describe.concurrent.for<Own>([
  {
    name: '552 at the dot',
    reply: '552 5.3.4 too large',
    says: 'the mail server refused the mail: 552 5.3.4 too large',
  },
  { name: '554 at the dot', reply: '554 5.7.1 spam', says: 'the mail server refused the mail: 554 5.7.1 spam' },
  { name: 'a reset after the dot', reply: reset, says: `${UNCERTAIN}.*ECONNRESET`, uncertain: true },
  { name: 'a session closed after the dot', reply: hangUp, says: `${UNCERTAIN}.*closed unexpectedly`, uncertain: true },
  {
    name: 'a hang after the dot',
    reply: hang,
    says: String.raw`${UNCERTAIN}it said nothing within 3\.0 s`,
    uncertain: true,
    finalAnswer: 3000,
  },
  {
    name: 'a drip after the dot',
    reply: drip(50),
    says: String.raw`${UNCERTAIN}it said nothing within 3\.0 s`,
    uncertain: true,
    finalAnswer: 3000,
  },
])('$name', ({ reply, says, uncertain = false, finalAnswer }) => {
  const ill = about('trans-2', reply)
  const tuning = { overlap: 100, ...(finalAnswer && { finalAnswer }) }
  const others = names(COUNT + 1).filter((name) => name !== 'trans-2')

  test('holds up one alarm, which is tried again after growing pauses, and no other', async () => {
    await using w = await world({ ill })
    await using only = await w.worker(tuning)
    await only.warnings(3)
    await only.topics.append({ predictions: [fraud(COUNT + 1)] })
    await waitFor('the others', () => w.told().length === COUNT)
    expect(w.told()).toEqual(others)
    await only.warnings(4)
    w.getWell()
    await waitFor('it', () => w.told().length > COUNT)
    await only.drained()
    growing(w.failed())
    for (const warning of only.said('warn')) expect(warning).toMatch(failure(says, 'transaction trans-2: '))
    expect(w.told()).toEqual(names(COUNT + 1))
    const [first, ...again] = w.fake.seen.filter(({ raw }) => spokenOf(raw).includes('trans-2'))
    for (const { raw } of again) expect(raw.equals(first!.raw)).toBe(true)
  })
  test(`in a digest ${uncertain ? 'sends it again as it was' : 'is found out by halves'}, and the next one goes out`, async () => {
    await using w = await world({ ill })
    await using only = await w.worker({ ...tuning, burst: 0 })
    await only.warnings(uncertain ? 2 : 5)
    if (!uncertain) await waitFor('the other halves', () => only.mailed().length === 3)
    await only.topics.append({ predictions: [fraud(COUNT + 1)] })
    only.skip(60_000)
    await waitFor('the others', () => w.told().length === (uncertain ? 1 : COUNT))
    expect(w.told()).toEqual(uncertain ? [`trans-${COUNT + 1}`] : others)
    w.getWell()
    await waitFor('it', () => w.told().length > COUNT)
    await only.drained()
    const of = uncertain ? '8 frauds: ' : '([842] frauds|transaction trans-2): '
    for (const warning of only.said('warn').filter((line) => !line.includes('ALERT_BURST')))
      expect(warning).toMatch(failure(says, of))
    expect(w.told()).toEqual(names(COUNT + 1))
    const sizes = w.fake.seen.filter(({ raw }) => spokenOf(raw).includes('trans-2')).map(({ raw }) => raw)
    if (uncertain) for (const raw of sizes) expect(raw.equals(sizes[0]!)).toBe(true)
    else expect(sizes.map((raw) => spokenOf(raw).length).slice(0, 5)).toEqual([8, 4, 2, 1, 1])
  })
  test('is survived by what is noted', async () => {
    await using w = await world({ ill })
    for (const [burst, failures] of [
      [0, 1],
      [0, 2],
      [1000, 4],
    ] as const) {
      const one = await w.worker({ ...tuning, burst })
      await one.warnings(failures)
      await one.kill()
    }
    w.getWell()
    await using only = await w.worker({ burst: 0 })
    await waitFor('all', () => w.told().length >= COUNT)
    await only.drained()
    w.eachInOneMail(COUNT)
  })
})

test.concurrent('a blocked way is tried by one mail at a time once those under way have failed, which is one line', async () => {
  await using w = await world({ ill: at('greeting', '421 4.3.2 busy') })
  await using only = await w.worker({ overlap: 0, firstPause: 1000 }) // a session takes less: one that does not is overtaken
  await only.warnings(4)
  const [sessions, warnings] = [w.fake.sessions, only.said('warn').length]
  expect(sessions).toBeGreaterThanOrEqual(5 + warnings - 1)
  expect(sessions).toBeLessThanOrEqual(5 + warnings)
  w.getWell()
  await only.drained()
  expect(w.told()).toEqual(names(COUNT))
})

describe.concurrent('a digest', () => {
  const BUSY = at('greeting', '421 4.3.2 busy')
  test('has what came during the outage, too', async () => {
    await using w = await world({ ill: BUSY })
    await using only = await w.worker({ burst: 0 })
    await only.warnings(2)
    await only.topics.append({ predictions: [fraud(COUNT + 1)] })
    await only.warnings(4)
    w.getWell()
    await only.drained()
    expect(w.taken().map(({ raw }) => spokenOf(raw))).toEqual([names(COUNT + 1)])
  })
  test('that may have arrived stays as it is in the outage that follows', async () => {
    let handedOver = false
    const ill: Script = (asked) => {
      if (handedOver) return BUSY(asked)
      handedOver = asked.verb === 'dot'
      return handedOver ? reset : undefined
    }
    await using w = await world({ ill })
    await using only = await w.worker({ burst: 0 })
    await only.warnings(1)
    await only.topics.append({ predictions: [fraud(COUNT + 1)] })
    await only.warnings(4)
    w.getWell()
    await waitFor('it again', () => only.mailed().length === 1)
    only.skip(60_000)
    await only.drained()
    const { seen } = w.fake
    expect(seen.map(({ raw }) => spokenOf(raw).length)).toEqual([COUNT, COUNT, 1])
    expect(seen[1]?.raw.equals(seen[0]!.raw)).toBe(true)
  })
})

describe.concurrent('a mail server that takes no mails above a size', () => {
  const FRAUDS = 60
  const limited =
    (limit: number): Script =>
    ({ verb, raw }) =>
      verb === 'dot' && raw.length > limit ? '552 5.3.4 message size exceeds fixed limit' : undefined
  const LIMIT = 20_000

  test('gets a digest in halves that fit, at once', async () => {
    await using w = await world({ frauds: FRAUDS, ill: limited(LIMIT) })
    await using only = await w.worker({ burst: 0, firstPause: 600_000 })
    await waitFor('all', () => w.told().length === FRAUDS)
    await only.drained()
    expect(w.told()).toEqual(names(FRAUDS))
    const refused = w.fake.seen.length - w.taken().length
    expect(refused).toBeGreaterThan(1)
    expect(w.taken()).toHaveLength(refused + 1)
    expect(only.said('warn').filter((line) => line.includes('552'))).toHaveLength(refused)
    expect(only.said('warn').filter((line) => line.includes('552'))[0]).toMatch(
      failure('the mail server refused the mail: 552 5.3.4 message size exceeds fixed limit', `${FRAUDS} frauds: `),
    )
  })
  test('gets each fraud once too when the worker is killed between the halves', async () => {
    await using w = await world({ frauds: FRAUDS, ill: limited(LIMIT) })
    for (const mails of [1, 2]) {
      const one = await w.worker({ burst: 0 })
      await waitFor('a half', () => w.taken().length >= mails)
      await one.kill()
    }
    await using only = await w.worker({ burst: 0 })
    await only.drained()
    w.eachInOneMail(FRAUDS)
  })
  test('gets new alarms at once while a single one does not fit', async () => {
    await using w = await world({ frauds: 0, ill: limited(LIMIT) })
    await using only = await w.worker()
    const street = 'Long Street '.repeat(20_000)
    await only.topics.append({ predictions: [prediction(1, { prediction: 1, job: street }), fraud(2)] })
    await waitFor('the other', () => w.told().length === 1)
    await only.warnings(3)
    await only.topics.append({ predictions: [fraud(3)] })
    await waitFor('the next one', () => w.told().length === 2)
    expect(w.told()).toEqual(['trans-2', 'trans-3'])
    w.getWell()
    await waitFor('the large one', () => w.told().length === 3)
  })
})

describe.concurrent('of several recipients', () => {
  const to = ['here@example.com', 'gone@example.com', 'there@example.com']
  const refusing =
    (who: RegExp, reply: string): Script =>
    ({ verb, line }) =>
      verb === 'RCPT' && who.test(line) ? reply : undefined

  test.for(MODES)('one that is refused is named once a mail, the others get %s', async ([, mode]) => {
    await using w = await world({ to, ill: refusing(/gone/, '550 5.1.1 no such user') })
    await using only = await w.worker(mode)
    await only.drained()
    const mailed = only.mailed()
    expect(mailed).toHaveLength(mode.burst === 0 ? 1 : COUNT)
    for (const line of mailed)
      expect(line).toMatch(
        /^mailed to here@example\.com, there@example\.com, not to gone@example\.com \(550 5\.1\.1 no such user\): check ALERT_TO: Fraud alert/,
      )
    expect(w.told()).toEqual(names(COUNT))
    expect(w.fake.seen).toHaveLength(mailed.length)
    expect(only.said('warn').filter((line) => !line.includes('ALERT_BURST'))).toEqual(mailed) // loud, and no failure
  })
  test('all refused is a blocked way, and one of them well again opens it', async () => {
    await using w = await world({ to, ill: refusing(/./, '551 5.7.1 not local') })
    await using only = await w.worker()
    await only.warnings(3)
    expect(w.fake.seen).toEqual([])
    w.ill = refusing(/gone|there/, '551 5.7.1 not local')
    await only.drained()
    growing(w.failed().slice(0, 3))
    expect(w.told()).toEqual(names(COUNT))
    expect(only.said('info').filter((line) => line === 'alarms go out again')).toHaveLength(1)
  })
  test('those left over when the server wants fewer at once do not hold up the others', async () => {
    await using w = await world({ to, ill: refusing(/there/, '452 4.5.3 too many recipients') })
    await using only = await w.worker()
    await only.drained()
    expect(w.told()).toEqual(names(COUNT))
    expect(only.mailed()[0]).toContain('later to there@example.com (452 4.5.3 too many recipients)')
  })
})

test.concurrent('a server that says all of it slowly, a byte at a time, gets each mail once', async () => {
  const slowly = (text: string) => (socket: Socket) => {
    for (const [i, byte] of [...`${text}\r\n`].entries()) setTimeout(() => socket.write(byte), i * 15)
  }
  const ill: Script = ({ verb }) =>
    verb === 'greeting' ? slowly('220 fake') : verb === 'dot' ? slowly('250 2.0.0 ok') : undefined
  await using w = await world({ ill })
  await using only = await w.worker()
  await waitFor('all', () => only.mailed().length === COUNT)
  await only.drained()
  expect(only.said('warn')).toEqual([])
  expect(w.fake.seen.flatMap(({ raw }) => spokenOf(raw)).toSorted()).toEqual(names(COUNT))
})

describe.concurrent('a small burst', () => {
  test('is mailed one by one, the rest in one mail a minute later', async () => {
    await using w = await world({ live: true })
    await using only = await w.worker({ burst: 3 })
    await waitFor('the first three', () => only.mailed().length === 3)
    only.skip(60_000)
    await only.drained()
    expect(w.taken().map(({ raw }) => spokenOf(raw).length)).toEqual([1, 1, 1, COUNT - 3])
    expect(w.told()).toEqual(names(COUNT))
  })
  test('that has waited through an outage is one mail', async () => {
    await using w = await world({ live: true, ill: at('greeting', '421 4.3.2 busy') })
    await using only = await w.worker({ burst: 3 })
    await only.warnings(3)
    w.getWell()
    await only.drained()
    expect(w.taken().map(({ raw }) => spokenOf(raw).length)).toEqual([COUNT])
    expect(w.told()).toEqual(names(COUNT))
  })
  test('hangs after the dot, and the rest arrives without it', async () => {
    await using w = await world({ live: true, ill: about('trans-2', hang) })
    await using only = await w.worker({ burst: 3, overlap: 100 })
    await waitFor('the first and the third', () => only.mailed().length === 2)
    only.skip(60_000)
    await waitFor('the rest', () => w.told().length === COUNT - 1)
    expect(w.taken().map(({ raw }) => spokenOf(raw).length)).toEqual([1, 1, COUNT - 3])
  })
})

describe.concurrent('what the server says', () => {
  test('of a refused recipient, in several lines, is one line in the log', async () => {
    await using w = await world({
      frauds: 1,
      to: ['here@example.com', 'gone@example.com'],
      ill: ({ verb, line }) =>
        verb === 'RCPT' && /gone/.test(line) ? '550-5.1.1 no such\r\n550 5.1.1 user' : undefined,
    })
    await using only = await w.worker()
    await only.drained()
    expect(only.mailed()[0]).toContain('not to gone@example.com (550-5.1.1 no such 550 5.1.1 user)')
  })
  test('of an address that has 5.4.5 in it is no daily limit', async () => {
    await using w = await world({ frauds: 1, ill: at('dot', '554 5.7.1 client host [10.5.4.5] blocked') })
    await using only = await w.worker()
    await only.warnings(1)
    expect(only.said('warn')[0]).toContain('refused the mail: 554 5.7.1 client host [10.5.4.5] blocked')
  })
  test('of the login, when it repeats that, is not logged', async () => {
    await using w = await world({
      frauds: 1,
      ill: ({ verb, line }) => (verb === 'AUTH' ? `421 4.7.0 too many errors after ${line}` : undefined),
    })
    await using only = await w.worker()
    await only.warnings(1)
    expect(only.said('warn')[0]).not.toContain(SECRETS[1])
  })
  test.for<[string, Reply]>([
    ['refuses', '554 5.7.60 not permitted to send as this sender'],
    ['cuts', reset],
  ])('%s one mail after the other at the dot: then it is the way, and pauses all', async ([, reply]) => {
    await using w = await world({ frauds: 30, ill: at('dot', reply) })
    await using only = await w.worker({ firstPause: 600_000 })
    await expect(waitFor('so many tries', () => w.fake.seen.length > 15, 3000)).rejects.toThrow()
    expect(only.said('warn').length).toBeLessThan(16)
  })
})
