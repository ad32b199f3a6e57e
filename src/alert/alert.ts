import { createHash } from 'node:crypto'
import MailComposer from 'nodemailer/lib/mail-composer'
import { csvLine, defuse } from '../csv.ts'
import { FEATURES, identity, lastFour, type Prediction } from '../transaction.ts'

/** A mail as it goes over the wire, to the byte. `id` names the transaction, for a person: first when, then which. */
export type Mail = { id: string; subject: string; from: string; to: readonly string[]; raw: Buffer }

/** Does this prediction call for an analyst? */
export const deservesMail = (p: Prediction) => p.prediction === 1

/**
 * The alarm for one fraud. It follows from the prediction alone, Message-ID and Date from the transaction: made again
 * it is the same mail, byte for byte. The card is shown by its last four digits only.
 */
export async function composeAlarm(
  p: Prediction,
  { from, to }: { from: string; to: readonly string[] },
): Promise<Mail> {
  const key = createHash('sha256').update(identity(p)).digest('hex').slice(0, 32)
  const shown = withoutCard(p)
  const facts = factsOf(shown)
  const subject = subjectOf(shown)
  const composer = new MailComposer({
    from,
    to: [...to],
    subject,
    messageId: `<${key}@${/@([^\s>]+)/.exec(from)?.[1] ?? 'client-predict'}>`,
    date: new Date(p.event_time),
    text: `${INTRODUCTION}\n\n${facts.map(([name, value]) => `${`${name}:`.padEnd(14)}${value}`).join('\n')}\n\n${ADVICE}\n`,
    html: htmlOf(facts),
    attachments: [{ filename: `${key}.csv`, contentType: 'text/csv; charset=utf-8', content: csvOf(shown) }],
    textEncoding: 'quoted-printable',
    baseBoundary: key,
    newline: 'windows',
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return {
    id: `${new Date(p.event_time).toISOString()}_${p.trans_num}`,
    subject,
    from,
    to,
    raw: await composer.compile().build(),
  }
}

/** The card's number may stand in a text, too: a street, a job. */
function withoutCard(p: Prediction): Prediction {
  const masked = (value: unknown) =>
    typeof value === 'string' ? value.replaceAll(String(p.cc_num), `****${lastFour(p.cc_num)}`) : value
  return Object.fromEntries(Object.entries(p).map(([column, value]) => [column, masked(value)])) as Prediction
}

const INTRODUCTION = 'The model takes this card payment for fraud.'
const ADVICE = 'Please check it with the card holder. The row is attached as CSV.'

/** Every merchant's name begins with `fraud_`, the honest ones' too: a person must not see that. */
const merchantOf = (p: Prediction) => oneLine(p.merchant?.replace(/^fraud_/, '') ?? 'unknown merchant')
const amountOf = (p: Prediction) =>
  `$${p.amt.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`
const oneLine = (text: string) => text.replace(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ').trim() // no line breaks, no right-to-left tricks
/** A header line has 998 bytes at most (RFC 5322, 2.1.1), or servers refuse the mail, and no merchant has so long a name. */
const short = (text: string) => (text.length > 100 ? `${text.slice(0, 99)}…` : text)
const subjectOf = (p: Prediction) =>
  `${p.model === 'simulated' ? '[simulated] ' : ''}Fraud alert: ${amountOf(p)} at ${short(merchantOf(p))} (${short(oneLine(p.category ?? 'unknown category'))})`

function factsOf(p: Prediction): [name: string, value: string][] {
  const distance = kilometres(p)
  const holder = [`${p.first ?? ''} ${p.last ?? ''}`.trim(), p.street, p.city, p.state].filter(Boolean).join(', ')
  const facts: [string, string | null][] = [
    ['When', `${p.trans_date_trans_time} UTC`],
    ['Amount', amountOf(p)],
    ['Merchant', merchantOf(p)],
    ['Category', p.category],
    [
      'Where',
      p.merch_lat === null || p.merch_long === null
        ? null
        : `${p.merch_lat.toFixed(4)}, ${p.merch_long.toFixed(4)}${distance === null ? '' : `, ${distance} km from the card holder's home`}`,
    ],
    ['Card', `ends in ${lastFour(p.cc_num)}`],
    ['Card holder', holder || null],
    [
      'Score',
      p.score === null
        ? 'fraud, the model gives no probability'
        : `${(p.score * 100).toFixed(1)} % probability of fraud`,
    ],
    ['Model', p.model],
    ['Transaction', p.trans_num],
  ]
  return facts
    .filter((fact): fact is [string, string] => fact[1] !== null)
    .map(([name, value]) => [name, oneLine(value)])
}

/** Great-circle distance from home to the merchant, in km. */
function kilometres({ lat, long, merch_lat, merch_long }: Prediction): number | null {
  if (lat === null || long === null || merch_lat === null || merch_long === null) return null
  const rad = Math.PI / 180
  const h =
    Math.sin(((merch_lat - lat) * rad) / 2) ** 2 +
    Math.cos(lat * rad) * Math.cos(merch_lat * rad) * Math.sin(((merch_long - long) * rad) / 2) ** 2
  return Math.round(2 * 6371 * Math.asin(Math.min(1, Math.sqrt(h))))
}

const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
const htmlOf = (facts: [string, string][]) => `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"></head>
<body style="font-family:sans-serif;font-size:16px;line-height:1.4">
<p><strong>${INTRODUCTION}</strong></p>
<table cellpadding="4" style="border-collapse:collapse">
${facts.map(([name, value]) => `<tr><th align="left" valign="top">${name}</th><td style="overflow-wrap:anywhere">${escapeHtml(value)}</td></tr>`).join('\n')}
</table>
<p>${ADVICE}</p>
</body></html>
`

function csvOf(p: Prediction): string {
  const row = { ...p, cc_num: `****${lastFour(p.cc_num)}`, merchant: p.merchant?.replace(/^fraud_/, '') }
  const columns = [...FEATURES, 'prediction', 'score', 'model'] as const
  return csvLine(columns) + csvLine(columns.map((column) => defuse(row[column])))
}
