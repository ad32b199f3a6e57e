import { hash } from 'node:crypto'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { createTransport } from 'nodemailer'
import type { Delivery, Notification, Notifier } from '../alert/notifier.ts'
import type { SmtpServer } from '../config/schemas.ts'
import { plainTrust, trustCure } from '../io/certificate.ts'
import { type Obstacle, Outage, SendFailure } from '../io/errors.ts'
import { seconds } from '../io/text.ts'
import { retryUntilReady, type Stage } from '../run/loop.ts'
import { type Addresses, compose, type Mail } from './mail.ts'

/** Where mails go. */
export type Transport = {
  /** As of a Way. An aborted signal cuts the session. */
  send(mail: Mail, signal: AbortSignal, only?: readonly string[]): Promise<Delivery>
  close(): void
}

/** Notifications as mails. */
export function mails(channel: Transport, addresses: Addresses): Notifier {
  const composed = new WeakMap<Notification, Promise<Mail>>() // of those that are about to be sent
  return {
    prepare(notification) {
      const mail = compose(notification, addresses)
      mail.catch(() => {}) // who sends it hears of it
      composed.set(notification, mail)
    },
    async send(notification, signal, only) {
      const mail = await (composed.get(notification) ?? compose(notification, addresses))
      composed.delete(notification)
      const delivery = await channel.send(mail, signal, only)
      return { ...delivery, said: `${delivery.said}: ${mail.subject}` }
    },
    close: () => channel.close(),
  }
}

/** ms until the whole mail must be handed over */
const HAND_OVER = 60_000
/** ms to wait for the answer to the final dot (RFC 5321, 4.5.3.2.6): less makes doubles */
const FINAL_ANSWER = 600_000

/** ms of silence, and between two logins after one that was refused: accounts are locked after too many of these */
const LOGIN_WITHIN = 30_000
const LOGIN_AGAIN = 600_000

/** How every session is made. STARTTLS is demanded unless the host is loopback. */
const sessionOptions = (server: SmtpServer, { patience = 30_000, silence = FINAL_ANSWER + 60_000 }) => ({
  pool: true as const,
  maxConnections: 1, // a session each, so that one can be cut without the others
  maxRequeues: 1, // only what was certainly not sent goes out again by itself
  // At once: by its own the library waits a moment, and a session that is cut just then connects and sends all the same.
  getSocket: (_: unknown, done: (error: null, socket: false) => void) => done(null, false),
  host: server.host,
  port: server.port,
  secure: server.secure,
  requireTLS: !server.secure && !server.loopback,
  ...(server.loopback && { opportunisticTLS: true, tls: { rejectUnauthorized: false } }), // it never leaves this machine
  connectionTimeout: patience,
  greetingTimeout: patience,
  socketTimeout: silence,
  disableFileAccess: true,
  disableUrlAccess: true,
  ...(server.user !== undefined && { auth: { user: server.user, pass: server.pass ?? '' } }),
})

/** Connects, encrypts and logs in as for a mail, and sends none. Rejects with SendFailure, after `patience` ms of silence. */
export async function tryLogin(server: SmtpServer, patience: number): Promise<void> {
  const session = createTransport(sessionOptions(server, { patience, silence: patience }))
  try {
    await session.verify()
  } catch (error) {
    throw explain(error as SmtpFailure, false)
  } finally {
    session.close()
  }
}

/** Tries the login until it worked once: that it is refused is to be known before the first fraud. */
export async function checkLogin(stage: Stage, server: SmtpServer, again = LOGIN_AGAIN): Promise<void> {
  await retryUntilReady(stage, () =>
    tryLogin(server, LOGIN_WITHIN).catch((error: SendFailure) => {
      const wait = error.obstacle === 'login refused' ? again : 0
      const said = `${error.message}; alarms are tried all the same, and so is the login`
      throw Object.assign(new Outage(said, { wait }), { code: error.code })
    }),
  )
}

/** Mails through an SMTP server. Sessions are kept and used again. */
export function smtp(server: SmtpServer, { handOver = HAND_OVER, finalAnswer = FINAL_ANSWER } = {}): Transport {
  const idle: Session[] = []

  const connect = () =>
    createTransport(sessionOptions(server, { silence: finalAnswer + 60_000 })).use('stream', (mail, done) => {
      const { onHandedOver } = mail.data as { onHandedOver?: () => void }
      // The last stream before the socket: nobody reads it ahead, the session does once the server has said 354.
      mail.message.processFunc((input) => Readable.from(reportEnd(input, onHandedOver), { objectMode: false }))
      done()
    })

  return {
    async send({ from, to, raw }, signal, only) {
      const session = idle.pop() ?? connect()
      const cut = () => session.close({ force: true })
      let handedOver = false
      let late: string | undefined
      let timer: NodeJS.Timeout | undefined
      const within = (ms: number, what: string) => {
        clearTimeout(timer)
        timer = setTimeout(() => {
          late = `${what} within ${seconds(ms)} s`
          cut()
        }, ms)
      }
      const onHandedOver = () => {
        handedOver = true
        within(finalAnswer, 'it said nothing')
      }
      const sendTo = (who: readonly string[]): Promise<Sent> => {
        handedOver = false
        within(handOver, 'it did not take the mail')
        return session.sendMail({ raw, envelope: { from, to: [...who] }, onHandedOver } as object)
      }
      signal.addEventListener('abort', cut, { once: true })
      try {
        signal.throwIfAborted()
        const delivery = await toEach(only ? to.filter((who) => only.includes(who)) : to, sendTo, only !== undefined)
        if (delivery.deferred.length > 0)
          cut() // some of them because of it, perhaps
        else idle.push(session)
        return delivery
      } catch (error) {
        cut()
        throw explain(error as SmtpFailure, handedOver, late)
      } finally {
        clearTimeout(timer)
        signal.removeEventListener('abort', cut)
      }
    },
    close() {
      for (const session of idle.splice(0)) session.close({ force: true })
    },
  }
}

/** to more recipients than it takes at once: the others are to get the mail in another one (RFC 5321, 4.5.3.1.10) */
const TOO_MANY = [452, 552]
type Refusal = { recipient?: string; response?: string; responseCode?: number }
type Sent = { accepted: readonly string[]; rejectedErrors?: Refusal[] }

/**
 * Sends until everybody was asked for, and tells who has it. Throws only while nobody has (`had`: before this call):
 * what comes later concerns the others alone, and is as good as an answer that puts them off.
 */
async function toEach(
  to: readonly string[],
  sendTo: (who: readonly string[]) => Promise<Sent>,
  had: boolean,
): Promise<Delivery> {
  const accepted: string[] = []
  const refusals: Refusal[] = []
  for (let left = to; left.length > 0; ) {
    const sent = await sendTo(left).catch((error: SmtpFailure): Sent => {
      if (had && error.rejectedErrors) return { accepted: [], rejectedErrors: error.rejectedErrors }
      if (accepted.length === 0) throw error
      const response = error.response || error.message
      return { accepted: [], rejectedErrors: left.map((recipient) => ({ recipient, response })) }
    })
    accepted.push(...sent.accepted)
    const mayGoOn = ({ responseCode = 0 }: Refusal) => sent.accepted.length > 0 && TOO_MANY.includes(responseCode)
    const { more = [], rest = [] } = Object.groupBy(sent.rejectedErrors ?? [], (one) =>
      mayGoOn(one) ? 'more' : 'rest',
    )
    refusals.push(...rest)
    left = more.map(({ recipient }) => recipient!)
  }
  const { rejected = [], deferred = [] } = Object.groupBy(refusals, ({ responseCode = 0 }) =>
    responseCode >= 500 && !TOO_MANY.includes(responseCode) ? 'rejected' : 'deferred',
  )
  const names = (some: Refusal[]) => some.map(({ recipient }) => recipient!)
  const why = (some: Refusal[]) =>
    some.map(({ recipient, response = '' }) => `${recipient} (${oneLine(response)})`).join(', ')
  const said = [
    `mailed to ${accepted.join(', ') || 'nobody'}`,
    rejected.length > 0 && `not to ${why(rejected)}: check ALERT_TO`,
    deferred.length > 0 && `later to ${why(deferred)}`,
  ]
  return {
    accepted,
    rejected: names(rejected),
    deferred: names(deferred),
    said: said.filter(Boolean).join(', '),
  }
}

type Session = ReturnType<typeof createTransport> & { close(options?: { force?: boolean }): void }
type SmtpFailure = Error & {
  code?: string
  /** of the system, where `code` is the library's own */
  originalCode?: string
  command?: string
  response?: string
  responseCode?: number
  rejectedErrors?: Refusal[]
}

async function* reportEnd(mail: Readable, report?: () => void) {
  yield* mail
  report?.()
}

const oneLine = (text: string) => text.slice(0, 500).replace(/\s+/g, ' ')
/** Nobody is there, or not under this name. */
const NO_SERVER = ['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED']
/** What was refused, by the command that was answered. */
const WHAT: Record<string, string> = {
  CONN: 'the connection',
  'MAIL FROM': 'the sender (ALERT_FROM)',
  'RCPT TO': 'every recipient (ALERT_TO)',
}
/** What an SMTP failure means for this mail and for the others. */
function explain(
  { message, code, originalCode, command = '', response = '', responseCode = 0 }: SmtpFailure,
  handedOver: boolean,
  late?: string,
): SendFailure {
  const blocked = (what: string, obstacle?: Obstacle) =>
    new SendFailure(what, { scope: 'channel', obstacle, code: originalCode })
  const plain = plainTrust(oneLine(response || message).replace(/^Reached maximum number of retries after /, ''))
  const said = responseCode === 0 ? `${plain}${trustCure(plain)}` : plain
  // What it answered may repeat the password.
  if (code === 'EAUTH' && responseCode >= 400 && responseCode < 500)
    return blocked(`the mail server put the login off (${responseCode})`, 'login put off')
  if (code === 'EAUTH')
    return blocked(
      `the mail server refused the login (${responseCode || code}): check user and password in SMTP_URL`,
      responseCode ? 'login refused' : 'login missing',
    )
  if (responseCode === 530)
    return blocked(`the mail server demands a login: check user and password in SMTP_URL (${said})`, 'login missing')
  if (code === 'ETLS') return blocked(`the way to the mail server cannot be encrypted: ${said}`, 'unencrypted')
  if (/certificate|altnames/i.test(said) && responseCode === 0)
    return blocked(`the mail server's certificate cannot be trusted: ${said}`)
  if (/^5\d\d[ -]5\.4\.5\b/m.test(response))
    return blocked('the mail server says that its daily sending limit is reached (550 5.4.5)')
  // Sender and recipients are the same for every mail: only the answer to the final dot is about this one.
  const own = code === 'EMESSAGE'
  const what = WHAT[command] ?? 'the mail'
  if (responseCode >= 500 && responseCode !== 503)
    return new SendFailure(`the mail server refused ${what}: ${said}`, { scope: own ? 'message' : 'channel' })
  if (responseCode >= 400)
    return new SendFailure(`the mail server put ${what} off: ${said}`, { scope: own ? 'either' : 'channel' })
  if (handedOver)
    return new SendFailure(`no answer to a mail that was handed over, it may arrive twice: ${late ?? said}`, {
      scope: 'message',
      delivered: 'maybe',
      code: late ? 'timeout' : originalCode,
    })
  const absent = originalCode !== undefined && NO_SERVER.includes(originalCode)
  if (late)
    return new SendFailure(`cannot reach the mail server: ${late}`, {
      scope: 'channel',
      obstacle: 'unreachable',
      code: 'timeout',
    })
  return blocked(`cannot reach the mail server: ${said}`, absent ? 'no server' : 'unreachable')
}

/** Mails as files in a folder, for a first run. A file is whole or not there. */
export function mailFolder(folder: string): Transport {
  return {
    async send({ id, to, raw }) {
      const plain = id.replace(/[^\w@.-]/g, '_')
      const apart = plain === id.replaceAll(':', '_') ? '' : `-${hash('sha256', id).slice(0, 8)}` // from one with other signs
      const name = join(folder, `${plain}${apart}.eml`)
      try {
        await mkdir(folder, { recursive: true })
        await writeFile(`${name}.part`, raw, { flush: true })
        await rename(`${name}.part`, name)
        return { accepted: to, rejected: [], deferred: [], said: `written to ${name}` }
      } catch (error) {
        throw new SendFailure(
          `cannot write ${name}: ${(error as Error).message}; set SMTP_URL, or let this user write into ${resolve(folder)}`,
          { scope: 'channel', code: (error as NodeJS.ErrnoException).code },
        )
      }
    },
    close() {},
  }
}
