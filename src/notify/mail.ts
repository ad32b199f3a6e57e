import { domainToASCII } from 'node:url'
import MailComposer from 'nodemailer/lib/mail-composer'
import { mark, type Notice, type Notification, notificationKey } from '../alert/notifier.ts'
import { lastFour, maskCards } from '../card.ts'
import { FEATURES } from '../columns.ts'
import { csvLine, defuse } from '../io/csv.ts'
import { iso } from '../io/time.ts'
import type { Prediction } from '../transaction.ts'
import { htmlOf, type Page, type Row } from './html.ts'
import { written } from './mime.ts'
import {
  brief,
  cut,
  dollars,
  holderOf,
  kilometres,
  merchant,
  merchantOf,
  nameOf,
  probability,
  say,
  sumOf,
  width,
} from './shown.ts'

/**
 * A mail as it goes over the wire, to the byte; `from` and `to` are the envelope's bare addresses. `id` names the notification,
 * for a person: first when, then which.
 */
export type Mail = { id: string; subject: string; from: string; to: readonly string[]; raw: Buffer }
/** A notification for operators goes to them, any other one to `to`. */
export type Addresses = {
  from: string
  to: readonly string[]
  operators: readonly string[]
  /** where somebody who has the mail that was decided at that time says what the payment was */
  link?: (of: Prediction, at: number) => string
}

/**
 * The mail that a notification is. It follows from the notification and the addresses alone: made again, wherever, it is the same
 * mail, byte for byte. Cards are shown by their last four digits only.
 */
export async function compose(notification: Notification, addresses: Addresses): Promise<Mail> {
  const { notice, under, by, operators } = notification
  const from = mailbox(addresses.from)
  const to = (operators ? addresses.operators : addresses.to).map(mailbox)
  const key = notificationKey(notification)
  const frauds = byRisk(notification.frauds)
  const alone = notice ? undefined : frauds.length === 1 ? frauds[0] : undefined
  const link: LinkOf = (p) => addresses.link?.(p, notification.at)
  const page = notice ? announcement(notice, frauds, link) : alone ? alarm(alone, link) : digest(frauds, link)
  const date = new Date(alone?.event_time ?? notification.at)
  const domain = domainToASCII(from.address.slice(from.address.lastIndexOf('@') + 1)) || 'client-predict'
  const named = (which: string) => `<${which}@${domain}>`
  const composer = new MailComposer({
    from,
    to,
    subject: page.subject,
    messageId: named(key),
    ...(under !== undefined && { inReplyTo: named(under), references: named(under) }),
    date,
    headers: {
      ...AUTOMATIC,
      ...(by && { 'X-Mailer': `client-predict ${by}` }),
      'List-Id': `<${operators ? 'fraud-operators' : 'fraud-alerts'}.${domain}>`,
    },
    text: textOf(page),
    html: htmlOf(page),
    ...(frauds.length > 0 && {
      attachments: [{ filename: `${key}.csv`, contentType: 'text/csv; charset=utf-8', content: csvOf(frauds) }],
    }),
    textEncoding: 'quoted-printable',
    baseBoundary: key,
    newline: 'windows',
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const id = `${date.toISOString()}_${alone ? transaction(alone) : key}`
  const message = composer.compile()
  const envelope = message.getEnvelope()
  return { id, subject: page.subject, from: envelope.from || from.address, to: envelope.to, raw: written(message) }
}

/** A name may hold what would end it, or make a group of it, in a header: it is quoted there as it must be. */
function mailbox(text: string): { name: string; address: string } {
  const open = text.lastIndexOf('<')
  if (open < 0) return { name: '', address: text.trim() }
  const name = text.slice(0, open).trim()
  const quoted = name.length > 1 && name.startsWith('"') && name.endsWith('"')
  return {
    name: quoted ? name.slice(1, -1).replace(/\\(.)/g, '$1') : name,
    address: text
      .slice(open + 1)
      .replace('>', '')
      .trim(),
  }
}

/**
 * Keeps out-of-office replies away. RFC 3834 has responders heed Auto-Submitted and List-Id; Exchange heeds its own
 * header (with `All` it would keep bounces back, too); older ones heed Precedence, of which `bulk` is known to all of
 * them, Gmail too, and `list` is not.
 */
const AUTOMATIC = {
  'Auto-Submitted': 'auto-generated',
  Precedence: 'bulk',
  'X-Auto-Response-Suppress': 'OOF, AutoReply',
}

/** A card's payments together, and first where the risk is: by score, then amount. Who gives no score calls it fraud. */
function byRisk(frauds: readonly Prediction[]): Prediction[] {
  const sorted = frauds.toSorted(
    (a, b) => (b.score ?? 1) - (a.score ?? 1) || b.amt - a.amt || b.event_time - a.event_time,
  )
  return [...Map.groupBy(sorted, ({ cc_num }) => cc_num).values()].flat()
}

type LinkOf = (p: Prediction) => string | undefined
function alarm(p: Prediction, link: LinkOf): Page {
  const distance = kilometres(p)
  const facts: [string, string | null][] = [
    ['When', `${p.trans_date_trans_time} UTC`],
    ['Amount', amount(p)],
    ['Merchant', merchant(p)],
    ['Category', p.category],
    [
      'Where',
      p.merch_lat === null || p.merch_long === null
        ? null
        : `${p.merch_lat.toFixed(4)}, ${p.merch_long.toFixed(4)}${distance === null ? '' : `, ${distance} km from the card holder's home`}`,
    ],
    ['Card', `ends in ${lastFour(p.cc_num)}`],
    ['Card holder', holderOf(p) || null],
    [
      'Score',
      p.score === null ? 'fraud, the model gives no probability' : `${probability(p.score)} probability of fraud`,
    ],
    ['Model', p.model],
    ['Transaction', transaction(p)],
  ]
  return {
    subject: `${mark([p])}Fraud alert: ${purchase(p)}`,
    big: amount(p),
    below: merchant(p),
    lines: ['The model takes this card payment for fraud.'],
    facts: [
      ...facts.map(([name, value]) => [name, say(value ?? '', 400)] as const).filter(([, value]) => value),
      ['Event time', iso(p.event_time)],
    ],
    columns: [],
    rows: [],
    link: link(p),
    end: 'Please check it with the card holder. The row is attached as CSV.',
  }
}

function digest(frauds: readonly Prediction[], link: LinkOf): Page {
  const sum = sumOf(frauds)
  const largest = `largest ${purchase(frauds.reduce((most, p) => (p.amt > most.amt ? p : most)))}`
  const times = frauds.map((p) => p.trans_date_trans_time.slice(0, 16)).sort()
  const [first, last] = [times[0]!, times.at(-1)!]
  const sameDay = first.slice(0, 10) === last.slice(0, 10)
  const models = new Set(frauds.map(({ model }) => model))
  const { model } = frauds[0]!
  const columns = [
    { name: 'When', of: (p: Prediction) => p.trans_date_trans_time.slice(sameDay ? 11 : 5, 16) },
    { name: 'Amount', right: true, of: amount },
    { name: 'Merchant', of: (p: Prediction) => merchant(p, 60) },
    { name: 'Category', of: (p: Prediction) => say(p.category ?? '', 16) },
    { name: 'Score', right: true, of: (p: Prediction) => (p.score === null ? '' : probability(p.score)) },
    ...(models.size > 1 ? [{ name: 'Model', of: (p: Prediction) => say(p.model ?? '', 16) }] : []),
    { name: 'Event time', of: (p: Prediction) => iso(p.event_time) },
    { name: 'Transaction', of: (p: Prediction) => transaction(p, 40_000 / frauds.length) },
  ]
  return {
    subject: `${mark(frauds)}Fraud alert: ${sum}, ${largest}`,
    big: sum,
    below: largest,
    lines: ['The model takes these card payments for fraud.'],
    facts: [
      ['When', `${first}${first === last ? '' : ` to ${sameDay ? last.slice(11) : last}`} UTC`],
      ...(models.size === 1 && model !== null ? [['Model', say(model)] as const] : []),
    ],
    columns,
    rows: [...Map.groupBy(frauds, ({ cc_num }) => cc_num).values()].flatMap((its) =>
      its.map((p, i): Row => {
        const heading = i === 0 ? cardOf(its) : undefined
        return { values: columns.map(({ of }) => of(p)), link: link(p), heading }
      }),
    ),
    end: `Please check ${frauds.length === 1 ? 'it with the card holder. The row is' : 'them with the card holders. All rows are'} attached as CSV.`,
  }
}

/** What the payments of a card stand under. */
function cardOf(its: readonly Prediction[]): string {
  const name = say(nameOf(its[0]!), 60)
  const sum = its.length > 1 ? `: ${sumOf(its)}` : ''
  return maskCards(`Card *${lastFour(its[0]!.cc_num)}${name && `, ${name}`}${sum}`)
}

function announcement(notice: Notice, frauds: readonly Prediction[], link: LinkOf): Page {
  const subject = say(notice.subject)
  const lines = notice.lines.map((line) => say(line, 1000))
  const said = { subject, big: subject, below: '', lines }
  if (frauds.length === 0) return { ...said, facts: [], columns: [], rows: [], end: '' }
  const { big, below, facts, ...rest } = digest(frauds, link)
  return { ...rest, ...said, facts: [['Payments', `${big}, ${below}`], ...facts] }
}

const amount = (p: Prediction) => dollars(p.amt)
const purchase = (p: Prediction) =>
  maskCards(`${amount(p)} at ${merchant(p)} (${say(p.category ?? '', 100) || 'unknown category'})`)
/** It has 200 characters at most, and is cut only in a notification that would be too large; the CSV has all of it. */
const transaction = (p: Prediction, most = 400) => say(p.trans_num, Math.max(64, most))

/** The page for a terminal, as a rule within 100 columns. */
function textOf({ subject, lines, facts, columns, rows, link, end }: Page): string {
  const names = columns.map(({ name }) => name)
  const table = [names, ...rows.map(({ values }) => values)]
  const widths = names.map((_, i) => table.reduce((most, row) => Math.max(most, width(row[i]!)), 0))
  const merchant = names.indexOf('Merchant')
  const others = widths.reduce((sum, width) => sum + width + 2, -2) - (widths[merchant] ?? 0)
  if (merchant >= 0) widths[merchant] = Math.min(widths[merchant]!, Math.max(24, 100 - others))
  const inColumns = (row: readonly string[]) =>
    row
      .map((value, i) => {
        const shown = cut(value, widths[i]!)
        const rest = ' '.repeat(widths[i]! - width(shown))
        return columns[i]!.right ? rest + shown : shown + rest
      })
      .join('  ')
      .trimEnd()
  const parts = [
    subject,
    lines.join('\n'),
    facts.map(([name, value]) => `${`${name}:`.padEnd(14)}${value}`).join('\n'),
    rows.length > 0 &&
      [
        inColumns(names),
        inColumns(widths.map((width) => '-'.repeat(width))),
        ...rows.map(({ heading, values, link }) =>
          [heading !== undefined && `\n${heading}`, inColumns(values), link && `  ${link}`].filter(Boolean).join('\n'),
        ),
      ].join('\n'),
    link && `Say what it was: ${link}`,
    end,
  ]
  return `${parts.filter(Boolean).join('\n\n')}\n`
}

/** The rows as they are, in the training columns. A value that would make a mail too large for any server is cut. */
function csvOf(frauds: readonly Prediction[]): string {
  const columns = [...FEATURES, 'event_time', 'prediction', 'score', 'model'] as const
  const most = Math.floor(400_000 / frauds.length)
  const shown = (value: unknown) => {
    if (value === null || value === undefined) return null
    return typeof value === 'number' ? brief(value) : defuse(cut(maskCards(String(value)), most))
  }
  return [
    csvLine(columns),
    ...frauds.map((p) => {
      const row = { ...p, cc_num: `****${lastFour(p.cc_num)}`, merchant: merchantOf(p) }
      return csvLine(columns.map((column) => (column === 'event_time' ? iso(p.event_time) : shown(row[column]))))
    }),
  ].join('')
}
