import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { readdir, readFile, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:tls'
import { simpleParser } from 'mailparser'
import { expect, test } from 'vitest'
import type { Config } from '../../src/config/settings.ts'
import { certificate, hang, scriptedSmtp } from '../notify/smtp-server.ts'
import { freePort, httpServer } from '../rows.ts'
import { consult, consultOn } from './consult.ts'

const PEOPLE = { ALERT_FROM: 'Fraud desk <fraud@example.com>', ALERT_TO: 'analyst@example.com,night@example.com' }
const SEND = { send: true }
const BRIEFLY = { within: 4000 }
const LOGIN = 'desk:ses%40me@'
const offering = (what: string) => `250-fake\r\n250 ${what}`
/** As if it were another machine: nothing but encrypted, and only with a certificate that is known. */
const faraway = ({ SMTP_URL }: Config) => {
  SMTP_URL!.loopback = false
}
const examine = (url: string, options = {}, adjust?: (config: Config) => void) =>
  consultOn('mail', { SMTP_URL: url, ...PEOPLE }, options, adjust)

test('connects and logs in, and sends nothing unless asked to', async () => {
  await using fake = await scriptedSmtp(({ verb }) => (verb === 'EHLO' ? offering('AUTH PLAIN') : undefined))
  const { port } = fake.server
  const { lines } = await examine(`smtp://${LOGIN}127.0.0.1:${port}`)
  expect(lines).toEqual([
    `ok      mail     127.0.0.1:${port}: connected, logged in; --send sends a test mail to analyst@example.com, night@example.com`,
  ])
  expect(fake.lines[1]).toBe(`AUTH PLAIN ${Buffer.from('\0desk\0ses@me').toString('base64')}`)
  expect(fake.lines.filter((line) => /MAIL|RCPT|DATA/.test(line))).toEqual([])
})

test('says so when SMTP_URL has no user', async () => {
  await using fake = await scriptedSmtp()
  const { state, text } = await examine(`smtp://127.0.0.1:${fake.server.port}`)
  expect(state).toBe('ok')
  expect(text).toMatch(/connected, no login \(SMTP_URL has no user\);/)
})

test('with --send a marked test mail goes to ALERT_TO, as alarms do', async () => {
  await using fake = await scriptedSmtp()
  const { all } = await examine(`smtp://127.0.0.1:${fake.server.port}`, SEND)
  expect(all.map(({ state }) => state)).toEqual(['ok', 'ok'])
  expect(all[1]!.text).toBe(
    'mailed to analyst@example.com, night@example.com: [test] client-predict: a test of the alarms',
  )
  expect(fake.seen).toMatchObject([
    { from: 'fraud@example.com', to: ['analyst@example.com', 'night@example.com'], taken: true },
  ])
  const { subject, from, text, headers } = await simpleParser(fake.seen[0]!.raw)
  expect(subject).toBe('[test] client-predict: a test of the alarms')
  expect(from?.value[0]).toEqual({ name: 'Fraud desk', address: 'fraud@example.com' })
  expect(headers.get('auto-submitted')).toBe('auto-generated')
  expect(text).toMatch(/No payment is meant/)
})

test('with --send a refused recipient is wrong, though others got it', async () => {
  await using fake = await scriptedSmtp(({ line }) => (/RCPT.*night/.test(line) ? '550 5.1.1 no such user' : undefined))
  const { all } = await examine(`smtp://127.0.0.1:${fake.server.port}`, SEND)
  expect(all[1]).toMatchObject({ state: 'wrong', cure: 'check in ALERT_TO: night@example.com' })
  expect(all[1]!.text).toMatch(
    /^mailed to analyst@example\.com, not to night@example\.com \(550 5\.1\.1 no such user\)/,
  )
})

test('with --send a refused sender is wrong', async () => {
  await using fake = await scriptedSmtp(({ verb }) => (verb === 'MAIL' ? '553 5.7.1 not yours' : undefined))
  const { all } = await examine(`smtp://127.0.0.1:${fake.server.port}`, SEND)
  expect(all[1]).toMatchObject({ state: 'wrong', cure: 'check ALERT_TO and ALERT_FROM' })
  expect(all[1]!.text).toBe('the mail server refused the sender (ALERT_FROM): 553 5.7.1 not yours')
})

test('a wrong password: which setting, and neither user nor password', async () => {
  await using fake = await scriptedSmtp(({ verb }) =>
    verb === 'EHLO' ? offering('AUTH PLAIN') : verb === 'AUTH' ? '535 5.7.8 desk ses@me is wrong' : undefined,
  )
  const { state, text, cure, lines } = await examine(`smtp://${LOGIN}127.0.0.1:${fake.server.port}`)
  expect(state).toBe('wrong')
  expect(text).toMatch(/: the mail server refused the login \(535\): check user and password in SMTP_URL$/)
  expect(cure).toMatch(/ @ : \/ \? # % as %40 .* app password$/)
  expect(lines.join()).not.toMatch(/ses@me|ses%40me|desk/)
})

test('a server that offers no encryption to another machine', async () => {
  await using fake = await scriptedSmtp()
  const { state, text, cure } = await examine(`smtp://${LOGIN}127.0.0.1:${fake.server.port}`, {}, faraway)
  expect(state).toBe('wrong')
  expect(text).toMatch(/: the way to the mail server cannot be encrypted: /)
  expect(cure).toMatch(/^it offers no STARTTLS on this port: set SMTP_URL=smtps:/)
  expect(fake.lines.join()).not.toMatch(/AUTH/)
})

test('a certificate that proves nothing', async () => {
  await using fake = await scriptedSmtp(
    ({ verb }) => (verb === 'EHLO' ? offering('STARTTLS') : undefined),
    certificate(),
  )
  const { state, text, cure } = await examine(`smtp://127.0.0.1:${fake.server.port}`, {}, faraway)
  expect(state).toBe('wrong')
  expect(text).toMatch(
    /: the mail server's certificate cannot be trusted: self-signed certificate \(NODE_EXTRA_CA_CERTS=/,
  )
  expect(cure).toMatch(/^the host in SMTP_URL must be the one that its certificate names/)
})

test('smtps:// for a port that begins without TLS: the URL that works', async () => {
  await using fake = await scriptedSmtp()
  const { port } = fake.server
  const { state, text, cure } = await examine(`smtps://127.0.0.1:${port}`)
  expect(state).toBe('wrong')
  expect(text).toBe(`127.0.0.1:${port}: cannot reach the mail server: TLS: wrong version number`)
  expect(cure).toBe(`this port begins without TLS: set SMTP_URL=smtp://127.0.0.1:${port} (with that it works)`)
})

test('smtp:// for a port that begins with TLS: the URL that works', async () => {
  const tls = createServer(certificate(), (socket) => {
    socket.on('error', () => {}).write('220 fake ESMTP\r\n')
    socket.on('data', (chunk) => socket.write(/^EHLO/.test(String(chunk)) ? '250 AUTH PLAIN\r\n' : '535 no\r\n'))
  })
  tls.on('tlsClientError', () => {}).listen(0, '127.0.0.1')
  await once(tls, 'listening')
  const { port } = tls.address() as AddressInfo
  try {
    const { state, cure, lines } = await examine(`smtp://${LOGIN}127.0.0.1:${port}`, BRIEFLY)
    expect(state).toBe('wrong')
    expect(cure).toBe(
      `this port begins with TLS: set SMTP_URL=smtps://user:password@127.0.0.1:${port} (there it answers)`,
    )
    expect(lines.join()).not.toMatch(/ses@me|ses%40me/)
  } finally {
    tls.close()
  }
})

test('nobody there', async () => {
  const { lines } = await examine(`smtp://127.0.0.1:${await freePort()}`)
  expect(lines).toEqual([
    expect.stringMatching(
      /^WRONG {3}mail {5}127\.0\.0\.1:\d+: cannot reach the mail server: connect ECONNREFUSED .* → nothing listens there: is it up\? Check host and port in SMTP_URL$/,
    ),
  ])
})

test('a server that says nothing is given up', async () => {
  await using fake = await scriptedSmtp(({ verb }) => (verb === 'greeting' ? hang : undefined))
  const { state, text, cure } = await examine(`smtp://127.0.0.1:${fake.server.port}`, BRIEFLY)
  expect(state).toBe('wrong')
  expect(text).toMatch(/: cannot reach the mail server: Greeting never received$/)
  expect(cure).toMatch(/^it does not answer: is it up, does a firewall stand between\?/)
})

test('without SMTP_URL mails are files, which is worth a note; --send writes one', async () => {
  const { lines } = await consultOn('mail', {})
  expect(lines).toEqual([
    'note    mail     SMTP_URL is not set: mails are written as .eml files into the folder outbox',
  ])
  const { all } = await consultOn('mail', {}, SEND)
  expect(all.map(({ state }) => state)).toEqual(['note', 'ok'])
  const [, path] = /^written to (\S+\.eml): \[test\]/.exec(all[1]!.text)!
  expect(await readFile(path!, 'utf8')).toMatch(/^Subject: \[test\] client-predict/m)
  await rm(path!)
  if ((await readdir('outbox')).length === 0) await rm('outbox', { recursive: true })
})

test('a webhook is tried only with --send', async () => {
  await using hook = await httpServer((_received, response) => response.end('ok'))
  const ALERT_WEBHOOK_URL = `${hook.url.href}services/sesame`
  const { lines, state } = await consultOn('webhook', { ALERT_WEBHOOK_URL })
  expect([state, hook.received.length]).toEqual(['skipped', 0])
  expect(lines[0]).toMatch(
    /^skipped webhook {2}127\.0\.0\.1:\d+ is not tried: everybody there would see it; --send posts a test$/,
  )

  const settings = {
    ALERT_WEBHOOK_URL,
    ALERT_WEBHOOK_SECRET: 'key',
    SMTP_URL: `smtp://127.0.0.1:${await freePort()}`,
    ...PEOPLE,
  }
  const { of, text } = await consult({ STAGES: 'alert', ...settings }, SEND)
  expect(of('webhook')).toEqual([
    { name: 'webhook', state: 'ok', text: `posted to ${hook.url.host}: [test] client-predict: a test of the alarms` },
  ])
  expect(text).not.toMatch(/sesame/)
  const [{ request, text: body }] = hook.received as [(typeof hook.received)[0]]
  expect(JSON.parse(body)).toMatchObject({
    kind: 'notice',
    subject: '[test] client-predict: a test of the alarms',
    frauds: [],
  })
  expect(request.headers['x-signature']).toBe(createHmac('sha256', 'key').update(body).digest('hex'))
})

test('a webhook that refuses: the setting, and not the rest of the address', async () => {
  await using hook = await httpServer((_received, response) => response.writeHead(404).end('no_service'))
  const { of, text } = await consult(
    {
      STAGES: 'alert',
      ALERT_WEBHOOK_URL: `${hook.url.href}services/sesame`,
      SMTP_URL: `smtp://127.0.0.1:${await freePort()}`,
      ...PEOPLE,
    },
    SEND,
  )
  expect(of('webhook')[0]).toMatchObject({
    state: 'wrong',
    text: expect.stringMatching(/ answered 404 \(no_service\): check that ALERT_WEBHOOK_URL is whole/),
  })
  expect(text).not.toMatch(/sesame/)
})
