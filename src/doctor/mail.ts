import type { Notification, Notifier } from '../alert/notifier.ts'
import type { SmtpServer } from '../config/schemas.ts'
import type { Config } from '../config/settings.ts'
import type { SendFailure } from '../io/errors.ts'
import { mailFolder, mails, smtp, tryLogin } from '../notify/smtp.ts'
import { webhook } from '../notify/webhook.ts'
import { VERSION } from '../version.ts'
import { type Finding, plainly, type Subject, wrong } from './check.ts'

/** ms of silence after which a mail server is given up */
const PATIENCE = 10_000
/** ms until a test notification has to be taken */
const SEND_WITHIN = 60_000

const testNotification = (): Notification => ({
  at: Date.now(),
  by: VERSION,
  frauds: [],
  notice: {
    subject: '[test] client-predict: a test of the alarms',
    lines: [
      'Somebody has asked client-predict to send a test (npm run doctor -- --send). No payment is meant, and there is nothing to do.',
      'Alarms of fraud come the same way.',
    ],
  },
})

/** The mail server, as far as the login; with `send` a test mail to ALERT_TO. */
export function mail(config: Config, send: boolean): Subject {
  const {
    SMTP_URL: server,
    ALERT_FROM: from = 'client-predict@localhost',
    ALERT_TO: to = ['analyst@localhost'],
  } = config
  return {
    name: 'mail',
    within: 4 * PATIENCE + (send ? SEND_WITHIN : 0),
    async look(signal, within) {
      const patience = Math.min(PATIENCE, within / 4)
      const addresses = { from, to, operators: to }
      if (!server) {
        const unset = 'SMTP_URL is not set: mails are written as .eml files into the folder outbox'
        if (!send) return [{ state: 'note', text: unset }]
        return [{ state: 'note', text: unset }, ...(await sent(mails(mailFolder('outbox'), addresses), signal))]
      }
      const where = `${server.host}:${server.port}`
      const failure = await failureOf(server, patience)
      if (failure)
        return [
          { state: 'wrong', text: `${where}: ${plainly(failure)}`, cure: await cureOf(server, failure, patience) },
        ]
      const encrypted = server.secure ? ', TLS' : server.loopback ? '' : ', STARTTLS'
      const login = server.user === undefined ? ', no login (SMTP_URL has no user)' : ', logged in'
      const reached: Finding = { state: 'ok', text: `${where}: connected${encrypted}${login}` }
      if (!send) return [{ ...reached, text: `${reached.text}; --send sends a test mail to ${to.join(', ')}` }]
      const channel = smtp(server, { handOver: SEND_WITHIN / 2, finalAnswer: SEND_WITHIN / 2 })
      return [reached, ...(await sent(mails(channel, addresses), signal))]
    },
  }
}

/** Nobody but a person may see what is posted, so it is tried only when asked for. */
export function webhookSubject(
  { ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: secret }: Config,
  send: boolean,
): Subject[] {
  if (!url) return []
  const text = `${url.host} is not tried: everybody there would see it; --send posts a test`
  return [
    {
      name: 'webhook',
      within: SEND_WITHIN,
      look: async (signal) =>
        send
          ? sent(webhook({ url, secret, deadline: SEND_WITHIN / 2 }), signal, 'ALERT_WEBHOOK_URL', url)
          : [{ state: 'skipped', text }],
    },
  ]
}

async function sent(
  way: Notifier,
  signal: AbortSignal,
  setting = 'ALERT_TO and ALERT_FROM',
  url?: URL,
): Promise<Finding[]> {
  try {
    const { rejected, deferred, said } = await way.send(testNotification(), signal)
    if (rejected.length > 0) return [{ state: 'wrong', text: said, cure: `check in ALERT_TO: ${rejected.join(', ')}` }]
    return [{ state: deferred.length > 0 ? 'note' : 'ok', text: said }]
  } catch (error) {
    return [wrong(error, setting, '', url)]
  } finally {
    way.close()
  }
}

/** Why nobody is let in; undefined when somebody is. */
const failureOf = (server: SmtpServer, patience: number): Promise<SendFailure | undefined> =>
  tryLogin(server, patience).then(
    () => undefined,
    (error: SendFailure) => error,
  )

const isOutside = ({ obstacle }: SendFailure) => obstacle === 'unreachable' || obstacle === 'unencrypted'

/** The usual mistake is smtp:// for a port that begins with TLS, or smtps:// for one that does not: that is tried. */
async function cureOf(server: SmtpServer, failure: SendFailure, patience: number): Promise<string> {
  if (isOutside(failure)) {
    const other = { ...server, secure: !server.secure }
    const again = await failureOf(other, patience)
    if (!again || !(isOutside(again) || again.obstacle === 'no server')) {
      const login = server.user === undefined ? '' : 'user:password@'
      const works = again ? 'there it answers' : 'with that it works'
      return `this port ${other.secure ? 'begins with TLS' : 'begins without TLS'}: set SMTP_URL=${other.secure ? 'smtps' : 'smtp'}://${login}${server.host}:${server.port} (${works})`
    }
  }
  switch (failure.obstacle) {
    case 'login refused':
    case 'login missing':
      return 'write user and password in SMTP_URL with @ : / ? # % as %40 %3A %2F %3F %23 %25; Gmail and others want an app password'
    case 'login put off':
      return 'wait, and try again'
    case 'unencrypted':
      return 'it offers no STARTTLS on this port: set SMTP_URL=smtps://…:465, or ask for its encrypted port'
    default:
      return wrong(failure, 'SMTP_URL').cure!
  }
}
