import type { Notification, Notifier } from '../alert/notifier.ts'
import type { SmtpServer } from '../config/schemas.ts'
import type { Config } from '../config/settings.ts'
import type { Obstacle, SendFailure } from '../io/errors.ts'
import { mailFolder, mails, smtp, tryLogin } from '../notify/smtp.ts'
import { webhook } from '../notify/webhook.ts'
import { VERSION } from '../version.ts'
import { type Finding, failure, note, ok, plainly, skipped, type Target, wrong } from './check.ts'

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
export function mail(config: Config, send: boolean): Target {
  const {
    SMTP_URL: server,
    ALERT_FROM: from = 'client-predict@localhost',
    ALERT_TO: to = ['analyst@localhost'],
  } = config
  const addresses = { from, to, operators: to }
  return {
    name: 'mail',
    within: 4 * PATIENCE + (send ? SEND_WITHIN : 0),
    async look(signal, within) {
      if (!server) {
        const unset = note('SMTP_URL is not set: mails are written as .eml files into the folder outbox')
        return send ? [unset, ...(await sent(mails(mailFolder('outbox'), addresses), signal))] : [unset]
      }
      const where = `${server.host}:${server.port}`
      const patience = Math.min(PATIENCE, within / 4)
      const obstacle = await failureOf(server, patience)
      if (obstacle) return [wrong(`${where}: ${plainly(obstacle)}`, await cureOf(server, obstacle, patience))]
      const encrypted = server.secure ? ', TLS' : server.loopback ? '' : ', STARTTLS'
      const login = server.user === undefined ? ', no login (SMTP_URL has no user)' : ', logged in'
      const reached = `${where}: connected${encrypted}${login}`
      if (!send) return [ok(`${reached}; --send sends a test mail to ${to.join(', ')}`)]
      const channel = smtp(server, { handOver: SEND_WITHIN / 2, finalAnswer: SEND_WITHIN / 2 })
      return [ok(reached), ...(await sent(mails(channel, addresses), signal))]
    },
  }
}

/** Nobody but a person may see what is posted, so it is tried only when asked for. */
export function webhookTarget(
  { ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: secret }: Config,
  send: boolean,
): Target[] {
  if (!url) return []
  const look = async (signal: AbortSignal) => {
    if (!send) return [skipped(`${url.host} is not tried: everybody there would see it; --send posts a test`)]
    return sent(webhook({ url, secret, deadline: SEND_WITHIN / 2 }), signal, 'ALERT_WEBHOOK_URL', url)
  }
  return [{ name: 'webhook', within: SEND_WITHIN, look }]
}

async function sent(
  notifier: Notifier,
  signal: AbortSignal,
  setting = 'ALERT_TO and ALERT_FROM',
  url?: URL,
): Promise<Finding[]> {
  try {
    const { rejected, deferred, said } = await notifier.send(testNotification(), signal)
    if (rejected.length > 0) return [wrong(said, `check in ALERT_TO: ${rejected.join(', ')}`)]
    return [deferred.length > 0 ? note(said) : ok(said)]
  } catch (error) {
    return [failure(error, setting, '', url)]
  } finally {
    notifier.close()
  }
}

/** Why nobody is let in; undefined when somebody is. */
const failureOf = (server: SmtpServer, patience: number): Promise<SendFailure | undefined> =>
  tryLogin(server, patience).then(
    () => undefined,
    (error: SendFailure) => error,
  )

const isOutside = ({ obstacle }: SendFailure) => obstacle === 'unreachable' || obstacle === 'unencrypted'

const LOGIN =
  'write user and password in SMTP_URL with @ : / ? # % as %40 %3A %2F %3F %23 %25; Gmail and others want an app password'
const CURES: Partial<Record<Obstacle, string>> = {
  'login refused': LOGIN,
  'login missing': LOGIN,
  'login put off': 'wait, and try again',
  unencrypted: 'it offers no STARTTLS on this port: set SMTP_URL=smtps://…:465, or ask for its encrypted port',
}

/** The usual mistake is smtp:// for a port that begins with TLS, or smtps:// for one that does not: that is tried. */
async function cureOf(server: SmtpServer, found: SendFailure, patience: number): Promise<string> {
  if (isOutside(found)) {
    const again = await failureOf({ ...server, secure: !server.secure }, patience)
    if (!again || !(isOutside(again) || again.obstacle === 'no server')) {
      const [begins, scheme] = server.secure ? ['without', 'smtp'] : ['with', 'smtps']
      const login = server.user === undefined ? '' : 'user:password@'
      const works = again ? 'there it answers' : 'with that it works'
      return `this port begins ${begins} TLS: set SMTP_URL=${scheme}://${login}${server.host}:${server.port} (${works})`
    }
  }
  return (found.obstacle && CURES[found.obstacle]) ?? failure(found, 'SMTP_URL').cure!
}
