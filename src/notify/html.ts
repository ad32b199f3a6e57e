import { plural } from '../io/text.ts'

export type Column = { name: string; right?: boolean }
/** `heading`: what this row and those after it are of; `link`: where it can be judged. */
export type Row = { values: readonly string[]; link: string | undefined; heading: string | undefined }
/** What a mail says, in this order. Every value is one line, without a card number, and of a decent length. */
export type Page = {
  subject: string
  /** seen at a glance */
  big: string
  below: string
  lines: readonly string[]
  facts: readonly (readonly [name: string, value: string])[]
  columns: readonly Column[]
  rows: readonly Row[]
  /** where the one payment can be judged */
  link?: string | undefined
  end: string
}

/**
 * The page as HTML for mail programs: no colour but the bar's, so that light and dark stay theirs; nothing is fetched.
 * A program that strips the style sheets (Gmail for foreign accounts) has the rows stacked, as a phone has; the sheets
 * make columns of them where there is room. Apart, because a sheet with a rule that Gmail does not know is dropped whole.
 */
export function htmlOf(page: Page): string {
  const { columns, rows } = page
  const made = rows.map(
    ({ values, link, heading }) => `${above(heading, columns.length)}${line(columns, values, 'td', link)}`,
  )
  let room = MOST_BYTES - Buffer.byteLength(framed(page, '', rows.length))
  let fit = 0
  for (; fit < made.length && room > Buffer.byteLength(made[fit]!); fit++) room -= Buffer.byteLength(made[fit]!)
  return framed(page, made.slice(0, fit).join(''), made.length - fit)
}

const above = (heading: string | undefined, columns: number) =>
  heading === undefined
    ? ''
    : `<tr style="display:block;padding-top:14px"><th colspan="${columns}" align="left" class="m" style="display:block">${shown(heading)}</th></tr>
`
const line = (columns: readonly Column[], values: readonly string[], tag: 'td' | 'th', link?: string) =>
  `<tr style="display:block;padding:9px 0;border-top:1px solid #8a8a8a">
${values.map((value, i) => cell(tag, columns[i]!, value, link)).join('\n')}</tr>
`

/** `left`: rows for which there is no room. */
function framed({ big, below, lines, facts, columns, link, end }: Page, body: string, left: number): string {
  const more = facts.filter(([name]) => name !== 'Amount' && name !== 'Merchant') // these two are the big ones
  const names = columns.map(({ name }) => name)
  const list = (text: string) => text && `<table cellpadding="0" cellspacing="0">\n${text}</table>`
  const grid = `<table class="rows" width="100%" cellpadding="0" cellspacing="0" style="border-collapse:collapse;margin-top:14px"><thead>${line(columns, names, 'th')}</thead>
<tbody>${body}</tbody></table>`
  const button =
    link !== undefined
      ? `<p style="margin:16px 0"><a href="${escapeHtml(link)}" style="${BUTTON}">Say what it was</a></p>\n`
      : ''
  const others = left > 0 ? `${plural(left, 'more payment')}, in the CSV alone.` : ''
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
<meta name="format-detection" content="telephone=no,date=no,address=no,email=no">
<style>${LAYOUT}</style>
<style>:root{color-scheme:light dark}</style></head>
<body style="margin:0">
<div style="max-width:960px;margin:0 auto;padding:14px;font-family:sans-serif;font-size:16px;line-height:1.4;overflow-wrap:anywhere;word-break:break-word">
<div style="border-left:6px solid ${facts.length > 0 ? '#d32f2f' : '#8a8a8a'};padding:2px 0 2px 12px">
<div style="font-size:${below ? 30 : 22}px;line-height:1.2;font-weight:bold">${shown(big)}</div>
${below && `<div style="font-size:20px;line-height:1.3">${shown(below)}</div>`}
</div>
${lines.map(paragraph).join('')}
${list(more.map(fact).join(''))}
${button}${body && grid}
${paragraph(others)}${paragraph(end)}
</div></body></html>
`
}

/** Gmail cuts a mail off after some more. */
const MOST_BYTES = 98_000
const BUTTON =
  'display:inline-block;padding:13px 20px;border-radius:8px;background:#0b57d0;color:#ffffff;text-decoration:none;font-weight:bold'
const LAYOUT = `.rows thead{display:none}
.rows td{padding-right:9px}
@media (min-width:860px){.rows thead{display:table-header-group}
.rows tr{display:table-row!important}
.rows td,.rows th{display:table-cell!important;padding:6px 14px 6px 0;white-space:nowrap;text-align:left;vertical-align:baseline}
.rows .m{white-space:normal;min-width:110px}
.rows .t{white-space:normal;min-width:254px}
.rows .n{text-align:right}}`

const fact = ([name, value]: readonly [string, string]) =>
  `<tr><th align="left" valign="top" style="padding:3px 14px 3px 0;font-weight:normal;white-space:nowrap;opacity:.7">${name}</th><td valign="top" style="padding:3px 0">${shown(value)}</td></tr>\n`

const paragraph = (line: string) => line && `<p style="margin:10px 0">${shown(line)}</p>\n`

function cell(tag: 'td' | 'th', { name, right }: Column, value: string, link?: string): string {
  if (tag === 'td' && name === 'Amount') {
    const amount = link ? `<a href="${escapeHtml(link)}">${shown(value)}</a>` : shown(value)
    return `<td class="n" style="display:inline"><b>${amount}</b></td>`
  }
  if (tag === 'td' && name === 'Merchant') return `<td class="m" style="display:block">${shown(value)}</td>`
  if (tag === 'td' && name === 'Transaction')
    return `<td class="t" style="display:block;font-size:13px;font-family:monospace">${shown(value)}</td>`
  return `<${tag}${right ? ' class="n"' : ''} style="display:inline">${shown(value)}</${tag}>`
}

const shown = (text: string) => escapeHtml(text).replace(/(?<=\d) %/g, '&nbsp;%')
export const escapeHtml = (text: string) => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)
