import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { simpleParser } from 'mailparser'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'
import { describe, expect, test } from 'vitest'
import type { Delivery } from '../../src/alert/notifier.ts'
import type { SmtpServer } from '../../src/config/schemas.ts'
import { SendFailure } from '../../src/io/errors.ts'
import { compose, type Mail } from '../../src/notify/mail.ts'
import { checkLogin, mailFolder, smtp, type Transport } from '../../src/notify/smtp.ts'
import type { StageStatus } from '../../src/run/loop.ts'
import { freePort, listeningLog, prediction, tempDir, waitFor } from '../rows.ts'
import { type Asked, drip, hang, hangUp, type Reply, reset, scriptedSmtp } from './smtp-server.ts'

const LONG = 600_000
const alarm = (n: number, to = ['analyst@example.com']) =>
  compose(
    { at: 0, frauds: [prediction(n, { prediction: 1 })] },
    { from: 'Fraud desk <fraud@example.com>', to, operators: [] },
  )
const never = new AbortController().signal
const failure = async (sent: Promise<Delivery>) => {
  const error = await sent.then(
    ({ said }) => new Error(`was sent: ${said}`),
    (error) => error,
  )
  if (!(error instanceof SendFailure)) throw error
  return error
}
/** A channel that is closed in the end. */
const channel = (server: SmtpServer, options: Parameters<typeof smtp>[1] = {}): Transport & Disposable => {
  const opened = smtp(server, options)
  return { ...opened, [Symbol.dispose]: () => opened.close() }
}
type Script = (asked: Asked) => Reply | undefined
const OFFERS_LOGIN: Script = ({ verb }) => (verb === 'EHLO' ? '250-fake\r\n250 AUTH PLAIN LOGIN' : undefined)
const LOGIN = { user: 'desk', pass: 'sesame' }

/** The server package that real mail is tested with. */
async function realServer(options: SMTPServerOptions = {}) {
  const state = { mails: [] as Buffer[], logins: [] as unknown[], sessions: 0 }
  const server = new SMTPServer({
    logger: false,
    authOptional: true,
    onConnect(_session, done) {
      state.sessions++
      done()
    },
    onAuth({ username, password }, { secure }, done) {
      state.logins.push({ username, password, secure })
      done(password === LOGIN.pass ? null : new Error('wrong'), { user: username })
    },
    onData(stream, _session, done) {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('end', () => {
        state.mails.push(Buffer.concat(chunks))
        done()
      })
    },
    ...options,
  })
  server.on('error', () => {}) // a client that does not trust our certificate hangs up
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.server.address() as AddressInfo
  return Object.assign(state, {
    server: { host: '127.0.0.1', port, secure: options.secure ?? false, loopback: true },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  })
}

describe('a real conversation', () => {
  test('encrypts, logs in, and hands over the mail to the byte', async () => {
    await using real = await realServer({ authOptional: false })
    using mails = channel({ ...real.server, ...LOGIN })
    const mail = await alarm(1)
    expect((await mails.send(mail, never)).said).toBe('mailed to analyst@example.com')
    expect(real.logins).toEqual([{ username: 'desk', password: 'sesame', secure: true }])
    expect(real.mails).toEqual([mail.raw])
    const { subject, from, messageId, attachments } = await simpleParser(real.mails[0]!)
    expect(subject).toBe(mail.subject)
    expect(from?.value).toEqual([{ address: 'fraud@example.com', name: 'Fraud desk' }])
    expect(messageId).toMatch(/@example\.com>$/)
    expect(attachments).toHaveLength(1)
  })
  test('is encrypted from the start with smtps', async () => {
    await using real = await realServer({ secure: true, authOptional: false })
    using mails = channel({ ...real.server, ...LOGIN })
    await mails.send(await alarm(1), never)
    expect(real.logins).toMatchObject([{ secure: true }])
    expect(real.mails).toHaveLength(1)
  })
  test('a wrong password pauses everything and says which setting is wrong, not the password', async () => {
    await using real = await realServer({ authOptional: false })
    using mails = channel({ ...real.server, user: 'desk', pass: 'open barley' })
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual({ scope: 'channel', delivered: 'no' })
    expect(message).toBe('the mail server refused the login (535): check user and password in SMTP_URL')
  })
})

describe('to another machine', () => {
  test('neither mail nor password goes out when the server offers no encryption', async () => {
    await using fake = await scriptedSmtp(OFFERS_LOGIN)
    using mails = channel({ ...fake.server, ...LOGIN, loopback: false })
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual({ scope: 'channel', delivered: 'no' })
    expect(message).toContain('cannot be encrypted')
    expect(fake.lines).toEqual([expect.stringMatching(/^EHLO /), 'STARTTLS'])
  })
  test.for([false, true])('nor when its certificate proves nothing (smtps: %s)', async (secure) => {
    await using real = await realServer({ secure })
    using mails = channel({ ...real.server, ...LOGIN, loopback: false })
    const { scope, message } = await failure(mails.send(await alarm(1), never))
    expect(scope).toBe('channel')
    expect(message).toMatch(/certificate/)
    expect([real.logins, real.mails]).toEqual([[], []])
  })
})

test('to this machine a mail may go in plain text', async () => {
  await using fake = await scriptedSmtp(OFFERS_LOGIN)
  using mails = channel({ ...fake.server, ...LOGIN })
  const mail = await alarm(1, ['analyst@example.com', 'Night <night@example.com>'])
  expect((await mails.send(mail, never)).said).toBe('mailed to analyst@example.com, night@example.com')
  expect(fake.seen).toMatchObject([
    { raw: mail.raw, from: 'fraud@example.com', to: ['analyst@example.com', 'night@example.com'] },
  ])
  expect(fake.lines[1]).toBe(`AUTH PLAIN ${Buffer.from('\0desk\0sesame').toString('base64')}`)
})

test('dots at the start of a line arrive as they are', async () => {
  await using fake = await scriptedSmtp()
  using mails = channel(fake.server)
  const raw = Buffer.from('Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n.\r\n')
  await mails.send({ ...(await alarm(1)), raw }, never)
  expect(fake.seen[0]?.raw.toString()).toBe(raw.toString())
})

describe.concurrent('of several recipients', () => {
  const to = ['a@example.com', 'B <b@example.com>', 'c@example.com']
  const [A, B, C] = ['a@example.com', 'b@example.com', 'c@example.com'] as const
  const rcpt =
    (who: string, reply: Reply): Script =>
    ({ verb, line }) =>
      verb === 'RCPT' && line.includes(who) ? reply : undefined
  const all =
    (reply: Reply): Script =>
    ({ verb }) =>
      verb === 'RCPT' ? reply : undefined
  const sentTo = ({ accepted, rejected, deferred }: Delivery) => ({ accepted, rejected, deferred })

  test('one that is refused for good is named, and the others get the mail', async () => {
    await using fake = await scriptedSmtp(rcpt(A, '550 5.1.1 no such user'))
    using mails = channel(fake.server)
    const done = await mails.send(await alarm(1, to), never)
    expect(sentTo(done)).toEqual({ accepted: [B, C], rejected: [A], deferred: [] })
    expect(done.said).toBe(`mailed to ${B}, ${C}, not to ${A} (550 5.1.1 no such user): check ALERT_TO`)
    expect(fake.taken()).toEqual(['trans-1'])
  })
  test.for(['450 4.7.1 greylisted', '451 4.7.1 later', '452 4.2.2 full', '552 5.2.2 full', '499 odd'])(
    'one that is put off (%s) is deferred, and gets the same mail later, alone',
    async (reply) => {
      await using fake = await scriptedSmtp(rcpt(B, reply))
      using mails = channel(fake.server)
      const mail = await alarm(1, to)
      const done = await mails.send(mail, never)
      expect(sentTo(done)).toEqual({ accepted: [A, C], rejected: [], deferred: [B] })
      expect(done.said).toBe(`mailed to ${A}, ${C}, later to ${B} (${reply})`)
      const again = await mails.send(mail, never, done.deferred)
      expect(sentTo(again)).toEqual({ accepted: [], rejected: [], deferred: [B] })
      fake.answer = () => undefined
      expect(sentTo(await mails.send(mail, never, done.deferred))).toEqual({
        accepted: [B],
        rejected: [],
        deferred: [],
      })
      expect(fake.seen.map(({ raw, taken }) => [raw.equals(mail.raw), taken])).toEqual([
        [true, true],
        [true, true],
      ])
      expect(fake.lines.filter((line) => line.startsWith('RCPT')).slice(-1)).toEqual([`RCPT TO:<${B}>`])
    },
  )
  test('one that is refused after it was put off concerns nobody else', async () => {
    await using fake = await scriptedSmtp(all('550 5.1.1 no such user'))
    using mails = channel(fake.server)
    expect(sentTo(await mails.send(await alarm(1, to), never, [B]))).toEqual({
      accepted: [],
      rejected: [B],
      deferred: [],
    })
  })
  test('who is no longer among them gets no rest of a mail', async () => {
    await using fake = await scriptedSmtp()
    using mails = channel(fake.server)
    expect(sentTo(await mails.send(await alarm(1, to), never, ['gone@example.com']))).toEqual({
      accepted: [],
      rejected: [],
      deferred: [],
    })
    expect(fake.sessions).toBe(0)
  })
  test('a rest that meets a dead server is tried again, as a whole mail is', async () => {
    await using fake = await scriptedSmtp(({ verb }) => (verb === 'MAIL' ? '451 4.3.0 later' : undefined))
    using mails = channel(fake.server)
    const { scope, delivered } = await failure(mails.send(await alarm(1, to), never, [B]))
    expect({ scope, delivered }).toEqual({ scope: 'channel', delivered: 'no' })
  })
  test('when all are put off or refused the mail waits, as long as one may be reached', async () => {
    await using fake = await scriptedSmtp((asked) => rcpt(B, '450 4.7.1 greylisted')(asked) ?? all('550 no')(asked))
    using mails = channel(fake.server)
    const { scope, message } = await failure(mails.send(await alarm(1, to), never))
    expect(scope).toBe('channel')
    expect(message).toMatch(/put every recipient \(ALERT_TO\) off: 450 4\.7\.1 greylisted$/)
    expect(fake.seen).toEqual([])
  })

  test('those beyond what the server takes at once get the same mail in another one', async () => {
    let inThis = 0
    await using fake = await scriptedSmtp(({ verb, line }) => {
      if (verb === 'MAIL') inThis = 0
      if (verb !== 'RCPT') return undefined
      if (/gone/.test(line)) return '550 5.1.1 no such user'
      return ++inThis > 2 ? '452 4.5.3 too many recipients' : undefined
    })
    using mails = channel(fake.server)
    const many = ['a', 'b', 'gone', 'c', 'd', 'e'].map((name) => `${name}@example.com`)
    expect(sentTo(await mails.send(await alarm(1, many), never))).toEqual({
      accepted: many.filter((who) => !who.startsWith('gone')),
      rejected: ['gone@example.com'],
      deferred: [],
    })
    expect(new Set(fake.seen.map(({ raw }) => raw.toString())).size).toBe(1)
    expect(fake.seen).toHaveLength(3)
  })
  test.for<[string, Asked['verb'], Reply]>([
    ['the connection is cut', 'MAIL', reset],
    ['the connection is cut after the dot', 'dot', reset],
    ['the sender is refused', 'MAIL', '550 5.7.1 enough'],
    ['the mail is put off', 'dot', '451 4.3.0 later'],
    ['the mail is refused', 'dot', '554 5.7.1 enough'],
    ['nothing is said', 'DATA', hang],
  ])('those are deferred when %s before it was their turn', async ([, at, reply]) => {
    await using fake = await scriptedSmtp(({ verb, line, mail }) => {
      if (verb === 'RCPT' && mail === 0 && line.includes(C)) return '452 4.5.3 too many recipients'
      return verb === at && (mail === 2 || (mail === 1 && verb === 'MAIL')) ? reply : undefined
    })
    using mails = channel(fake.server, { handOver: 500, finalAnswer: LONG })
    const mail = await alarm(1, to)
    expect(sentTo(await mails.send(mail, never))).toEqual({ accepted: [A, B], rejected: [], deferred: [C] })
    fake.answer = () => undefined
    expect(sentTo(await mails.send(mail, never, [C])).accepted).toEqual([C])
  })
  test('none counts as mailed when the mail is refused after some were taken', async () => {
    await using fake = await scriptedSmtp((asked) =>
      asked.verb === 'dot' ? '554 5.7.1 spam' : rcpt(A, '450 4.7.1 greylisted')(asked),
    )
    using mails = channel(fake.server)
    const { scope } = await failure(mails.send(await alarm(1, to), never))
    expect({ scope }).toEqual({ scope: 'message' })
  })
})

describe.concurrent('a failure says whether the way is blocked, whether it is about this mail, and whether that may have arrived', () => {
  const BLOCKED = { scope: 'channel', delivered: 'no' }
  const EITHER = { scope: 'either', delivered: 'no' }
  const THIS_MAIL = { scope: 'message', delivered: 'no' }
  const UNCERTAIN = { scope: 'message', delivered: 'maybe' }
  const at =
    (verb: Asked['verb'], reply: Reply): Script =>
    (asked) =>
      asked.verb === verb ? reply : OFFERS_LOGIN(asked)

  test.for<[string, Script, typeof BLOCKED, string | RegExp]>([
    ['busy at the greeting', at('greeting', '421 4.3.2 busy'), BLOCKED, /put the connection off: 421 4\.3\.2 busy$/],
    [
      'shut out at the greeting',
      at('greeting', '554 5.7.1 go away'),
      BLOCKED,
      /refused the connection: 554 5\.7\.1 go away$/,
    ],
    ['cut before the greeting', at('greeting', reset), BLOCKED, /cannot reach the mail server: .*ECONNRESET/],
    ['closed before the greeting', at('greeting', hangUp), BLOCKED, /cannot reach the mail server: .*closed/],
    ['wrong password', at('AUTH', '535 5.7.8 no'), BLOCKED, /refused the login \(535\)/],
    ['two-line refusal', at('AUTH', '534-5.7.9 app\r\n534 5.7.9 password'), BLOCKED, /refused the login \(534\)/],
    ['login not possible now', at('AUTH', '454 4.7.0 later'), BLOCKED, /put the login off \(454\)$/],
    [
      'login demanded',
      at('MAIL', '530 5.7.0 log in first'),
      BLOCKED,
      /demands a login: check user and password in SMTP_URL \(530 5\.7\.0 log in first\)$/,
    ],
    [
      'sender refused',
      at('MAIL', '550 5.7.1 not you'),
      BLOCKED,
      /refused the sender \(ALERT_FROM\): 550 5\.7\.1 not you$/,
    ],
    ['daily limit', at('MAIL', '550-5.4.5 Daily user\r\n550 5.4.5 limit'), BLOCKED, /daily sending limit/],
    ['daily limit at the dot', at('dot', '550 5.4.5 limit'), BLOCKED, /daily sending limit/],
    [
      'recipient refused',
      at('RCPT', '550 5.1.1 no such user'),
      BLOCKED,
      /refused every recipient \(ALERT_TO\): 550 5\.1\.1 no such user$/,
    ],
    [
      'recipient put off',
      at('RCPT', '450 4.2.1 too fast'),
      BLOCKED,
      /put every recipient \(ALERT_TO\) off: 450 4\.2\.1 too fast$/,
    ],
    ['cut at DATA', at('DATA', reset), BLOCKED, /cannot reach the mail server: .*ECONNRESET/],
    ['closed at DATA', at('DATA', hangUp), BLOCKED, /cannot reach the mail server/],
    [
      'put off',
      at('dot', '451-4.7.1 Try\r\n451 4.7.1 later'),
      EITHER,
      /put the mail off: 451-4\.7\.1 Try 451 4\.7\.1 later$/,
    ],
    ['throttled', at('dot', '454 4.7.0 Throttling'), EITHER, /put the mail off: 454 4\.7\.0 Throttling$/],
    ['closing at the dot', at('dot', '421 4.3.0 bye'), EITHER, /put the mail off: 421 4\.3\.0 bye$/],
    ['out of step', at('dot', '503 5.5.1 sequence'), EITHER, /put the mail off: 503 5\.5\.1 sequence$/],
    ['too large', at('dot', '552 5.3.4 too large'), THIS_MAIL, /refused the mail: 552 5\.3\.4 too large$/],
    ['taken for spam', at('dot', '554 5.7.1 spam'), THIS_MAIL, /refused the mail: 554 5\.7\.1 spam$/],
    ['cut after the dot', at('dot', reset), UNCERTAIN, /handed over, it may arrive twice: .*ECONNRESET/],
    ['closed after the dot', at('dot', hangUp), UNCERTAIN, /handed over, it may arrive twice: .*closed/],
  ])('%s', async ([, script, flags, text]) => {
    await using fake = await scriptedSmtp(script)
    using mails = channel({ ...fake.server, ...LOGIN })
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual(flags)
    expect(message).toMatch(text)
    expect(message).not.toContain('\n')
    expect(fake.seen.length).toBeLessThanOrEqual(1)
    await waitFor('the session to be gone', () => fake.sockets.size === 0)
  })

  test('no server at all', async () => {
    const { server } = await scriptedSmtp().then(async (fake) => {
      await fake[Symbol.asyncDispose]()
      return fake
    })
    using mails = channel(server)
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual(BLOCKED)
    expect(message).toMatch(/^cannot reach the mail server: .*ECONNREFUSED/)
  })
})

describe.concurrent('a mail must be handed over in time', () => {
  test.for<[string, Asked['verb'], Reply]>([
    ['says nothing', 'greeting', hang],
    ['drips a greeting', 'greeting', drip(10)],
    ['drips an answer to EHLO', 'EHLO', drip(10)],
    ['says nothing to MAIL', 'MAIL', hang],
    ['drips an answer to RCPT', 'RCPT', drip(10)],
    ['says nothing to DATA', 'DATA', hang],
  ])('to a server that %s', async ([, verb, reply]) => {
    await using fake = await scriptedSmtp((asked) => (asked.verb === verb ? reply : undefined))
    using mails = channel(fake.server, { handOver: 200, finalAnswer: LONG })
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual({ scope: 'channel', delivered: 'no' })
    expect(message).toBe('cannot reach the mail server: it did not take the mail within 0.2 s')
    await waitFor('the session to be gone', () => fake.sockets.size === 0)
  })
})

describe.concurrent('the answer to the final dot', () => {
  test('may take far longer than the hand-over', async () => {
    await using fake = await scriptedSmtp(({ verb }) =>
      verb === 'dot' ? (socket) => void setTimeout(() => socket.write('250 2.0.0 at last\r\n'), 1400) : undefined,
    )
    using mails = channel(fake.server, { handOver: 1000, finalAnswer: LONG })
    expect((await mails.send(await alarm(1), never)).said).toMatch(/^mailed to/)
  })
  test.for<[string, Reply]>([
    ['never comes', hang],
    ['drips without an end', drip(10)],
  ])('that %s is given up in the end, and nobody knows', async ([, reply]) => {
    await using fake = await scriptedSmtp(({ verb }) => (verb === 'dot' ? reply : undefined))
    using mails = channel(fake.server, { handOver: LONG, finalAnswer: 200 })
    const { scope, delivered, message } = await failure(mails.send(await alarm(1), never))
    expect({ scope, delivered }).toEqual({ scope: 'message', delivered: 'maybe' })
    expect(message).toBe('no answer to a mail that was handed over, it may arrive twice: it said nothing within 0.2 s')
    expect(fake.seen).toHaveLength(1)
  })
})

describe.concurrent('a session', () => {
  test('is used again, one for each mail at a time', async () => {
    await using fake = await scriptedSmtp()
    using mails = channel(fake.server)
    for (let n = 1; n <= 8; n++) await mails.send(await alarm(n), never)
    expect(fake.sessions).toBe(1)
    await Promise.all([9, 10, 11].map(async (n) => mails.send(await alarm(n), never)))
    for (let n = 12; n <= 15; n++) await mails.send(await alarm(n), never)
    expect(fake.sessions).toBe(3)
    expect(fake.taken()).toHaveLength(15)
  })
  test('that failed is not used again', async () => {
    await using fake = await scriptedSmtp(({ verb, mail }) =>
      verb === 'dot' && mail === 1 ? '552 5.3.4 large' : undefined,
    )
    using mails = channel(fake.server)
    await failure(mails.send(await alarm(1), never))
    await mails.send(await alarm(2), never)
    expect(fake.seen.map(({ session }) => session)).toEqual([1, 2])
  })
  test.for<[string, (socket: Socket) => void]>([
    ['closes', hangUp],
    ['takes leave of', (socket) => void socket.end('421 4.4.2 idle for too long\r\n')],
    ['cuts', reset],
  ])('that the server %s while nobody uses it costs no mail and no double', async ([, act]) => {
    await using fake = await scriptedSmtp()
    using mails = channel(fake.server)
    await mails.send(await alarm(1), never)
    for (const socket of fake.sockets) act(socket)
    await waitFor('the session to be gone', () => fake.sockets.size === 0)
    await mails.send(await alarm(2), never)
    expect(fake.taken()).toEqual(['trans-1', 'trans-2'])
    expect(fake.sessions).toBe(2)
  })
  test.for<[string, Reply]>([
    ['cuts', reset],
    ['closes', hangUp],
  ])('that the server %s just when the next mail begins costs no mail and no double', async ([, reply]) => {
    await using fake = await scriptedSmtp(({ verb, session, mail }) =>
      verb === 'MAIL' && session === 1 && mail === 1 ? reply : undefined,
    )
    using mails = channel(fake.server)
    await mails.send(await alarm(1), never)
    await mails.send(await alarm(2), never)
    expect(fake.taken()).toEqual(['trans-1', 'trans-2'])
    expect(fake.seen).toHaveLength(2)
  })
  test('is closed with the channel', async () => {
    await using fake = await scriptedSmtp()
    const mails = smtp(fake.server)
    await mails.send(await alarm(1), never)
    expect(fake.sockets.size).toBe(1)
    mails.close()
    await waitFor('the session to be gone', () => fake.sockets.size === 0)
  })
})

describe.concurrent('a stop', () => {
  test('cuts a session that waits for an answer', async () => {
    await using fake = await scriptedSmtp(({ verb }) => (verb === 'dot' ? hang : undefined))
    using mails = channel(fake.server)
    const stop = new AbortController()
    const sent = failure(mails.send(await alarm(1), stop.signal))
    await waitFor('the mail to be out', () => fake.seen.length === 1)
    stop.abort()
    expect((await sent).delivered).toBe('maybe')
    await waitFor('the session to be gone', () => fake.sockets.size === 0)
  })
  test('before it begins opens none', async () => {
    await using fake = await scriptedSmtp()
    using mails = channel(fake.server)
    expect((await failure(mails.send(await alarm(1), AbortSignal.abort()))).delivered).toBe('no')
    expect(fake.sessions).toBe(0)
  })
  test('stopped at its very beginning, at whatever moment, it leaves no session behind that goes on with it', async () => {
    await using fake = await scriptedSmtp()
    using mails = channel(fake.server)
    for (let moments = 0; moments < 30; moments++) {
      const stop = new AbortController()
      const sent = mails.send(await alarm(1), stop.signal).catch((error) => error)
      for (let i = 0; i < moments; i++) await new Promise(setImmediate)
      const before = fake.seen.length
      stop.abort()
      const failed = await sent
      if (!(failed instanceof SendFailure)) continue // it was done before
      await waitFor('the session to be gone', () => fake.sockets.size === 0)
      if (failed.delivered === 'no') expect(fake.seen.length).toBe(before)
    }
  })
})

describe('before the first fraud', () => {
  test.for<[what: string, greeting: string, login: string, again: boolean]>([
    ['is busy', '421 4.3.2 busy', '', true],
    ['refuses everybody', '554 5.7.1 go away', '', true],
    ['puts logins off', '', '454 4.7.0 later', true],
    ['refuses the login', '', '535 5.7.8 no', false],
  ])(
    'a mail server that %s is known before the first fraud, and tried again soon unless accounts are locked for it',
    async ([, greeting, login, again]) => {
      const { log, lines } = listeningLog()
      await using fake = await scriptedSmtp(({ verb }) => {
        if (verb === 'greeting' && greeting) return greeting
        if (verb === 'EHLO') return '250-fake\r\n250 AUTH PLAIN'
        return verb === 'AUTH' && login ? login : undefined
      })
      const stop = new AbortController()
      const health: StageStatus = {}
      const server = { ...fake.server, user: 'desk', pass: 'sesame' }
      const knocking = checkLogin({ log, stop: stop.signal, health }, server, 60_000)
      await waitFor('a try', () => lines.length > 0)
      expect(lines[0]!.msg).toMatch(
        /^the mail server .*; alarms are tried all the same, and so is the login; retrying in /,
      )
      expect(lines[0]!.msg).not.toContain('sesame')
      expect(health.failing).toBeDefined()
      fake.answer = ({ verb }) => (verb === 'EHLO' ? '250-fake\r\n250 AUTH PLAIN' : undefined)
      if (again) await knocking
      else {
        expect(lines[0]!.msg).toMatch(/retrying in 60 s$/)
        await Promise.race([knocking, sleep(1000)])
        stop.abort()
      }
      await knocking
      expect(health.failing === undefined).toBe(again)
      expect(fake.seen).toEqual([])
    },
  )
  test('a mail server that is not there yet is found within seconds', async () => {
    const { log, lines } = listeningLog()
    const port = await freePort()
    const health: StageStatus = {}
    const server = { host: '127.0.0.1', port, secure: false, loopback: true }
    const knocking = checkLogin({ log, stop: new AbortController().signal, health }, server)
    await waitFor('three tries', () => lines.length === 3)
    expect(health.failing?.reason).toMatch(/^cannot reach the mail server: .*ECONNREFUSED/)
    const later = createServer((socket) => {
      socket.write('220 fake\r\n')
      socket.on('data', () => socket.write('250 fake\r\n')).on('error', () => {})
    })
    await new Promise<void>((resolve) => later.listen(port, '127.0.0.1', resolve))
    await knocking
    expect(health.failing).toBe(undefined)
    await new Promise((resolve) => later.close(resolve))
  })
})

describe('the outbox', () => {
  test('holds each mail as a file, named by when and which', async () => {
    await using dir = await tempDir()
    const folder = mailFolder(dir.file('deep/outbox'))
    const mail = await alarm(1)
    const name = dir.file('deep/outbox/2026-01-02T03_04_06.678Z_trans-1.eml')
    expect((await folder.send(mail, never)).said).toBe(`written to ${name}`)
    await folder.send(await alarm(2), never)
    await folder.send(mail, never) // a repeat is the same file
    expect(await readdir(dir.file('deep/outbox'))).toHaveLength(2)
    expect(await readFile(name)).toEqual(mail.raw)
  })
  test('has no file that is not whole', async () => {
    await using dir = await tempDir()
    const mail: Mail = { ...(await alarm(1)), id: 'large', raw: Buffer.alloc(48 * 1024 * 1024) }
    let [written, looks] = [false, 0]
    const sent = mailFolder(dir.path)
      .send(mail, never)
      .finally(() => {
        written = true
      })
    while (!written) {
      const size = await stat(dir.file('large.eml')).then(
        (file) => file.size,
        () => mail.raw.length,
      )
      expect(size).toBe(mail.raw.length)
      looks++
    }
    await sent
    expect(looks).toBeGreaterThan(1)
    expect(await readdir(dir.path)).toEqual(['large.eml'])
  })
  test('stays in its folder, whatever a transaction is called', async () => {
    await using dir = await tempDir()
    for (const trans_num of ['../../etc/pass\0wd', '..\\..\\etc\\pass wd']) {
      const frauds = [prediction(1, { trans_num })]
      const mail = await compose({ at: 0, frauds }, { from: 'a@b', to: ['c@d'], operators: [] })
      await mailFolder(dir.file('out')).send(mail, never)
    }
    expect(await readdir(dir.path)).toEqual(['out'])
    const names = await readdir(dir.file('out'))
    expect(names).toHaveLength(2) // one for each, also where they differ in such signs alone
    for (const name of names) expect(name).toMatch(/^2026-01-02T03_04_06\.678Z_\.\._\.\._etc_pass_wd-[\da-f]{8}\.eml$/)
  })
  test('that cannot be written blocks the way, and names the file', async () => {
    await using dir = await tempDir()
    await writeFile(dir.file('outbox'), 'in the way')
    const { scope, delivered, message } = await failure(mailFolder(dir.file('outbox')).send(await alarm(1), never))
    expect({ scope, delivered }).toEqual({ scope: 'channel', delivered: 'no' })
    expect(message).toMatch(/^cannot write .*\.eml: /)
    await mkdir(dir.file('out/2026-01-02T03_04_06.678Z_trans-1.eml/x'), { recursive: true })
    await failure(mailFolder(dir.file('out')).send(await alarm(1), never))
  })
})
