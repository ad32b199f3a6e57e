import { createHash } from 'node:crypto'
import { grouped, plural } from '../io/text.ts'
import { span, utc } from '../io/time.ts'
import { escapeHtml } from '../notify/html.ts'
import { VERSION } from '../version.ts'
import type { Totals } from './metrics.ts'
import type { Report, Row, State } from './monitor.ts'

/** seconds after which the page asks again */
const REFRESH = 5
const NAMES: Record<Row['stage'], string> = {
  fetch: 'producer → fetch',
  score: 'score → model',
  alert: 'alert → mail',
  webhook: 'alert → webhook',
  record: 'record → database',
  shadow: 'shadow → challenger',
}
const COLOURS: Record<State, string> = {
  starting: 'wait',
  working: 'good',
  failing: 'bad',
  'holding back': 'wait',
  'standing by': 'idle',
  elsewhere: 'idle',
}

const STYLE = `:root{color-scheme:light dark;--bad:#c62828;--good:#2e7d32;--wait:#8f5600;--idle:#757575}
@media (prefers-color-scheme:dark){:root{--bad:#ff6659;--good:#66bb6a;--wait:#ffb300;--idle:#9e9e9e}}
body{font:16px/1.45 system-ui,sans-serif;max-width:1080px;margin:0 auto;padding:16px}
h1::first-letter{text-transform:uppercase}
h1{font-size:28px;line-height:1.2;margin:0;padding-left:14px;border-left:6px solid}
p{margin:8px 0}
table{border-collapse:collapse;width:100%;margin:20px 0}
th,td{text-align:left;vertical-align:baseline;padding:8px 16px 8px 0;border-top:1px solid #8a8a8a66}
thead th{border:0;font-weight:400;opacity:.7}
tbody th{font-weight:400;white-space:nowrap}
td:nth-child(-n+4){white-space:nowrap}
h1,td:last-child,dd,li{overflow-wrap:anywhere}
.bad{color:var(--bad)}.good{color:var(--good)}.wait{color:var(--wait)}.idle{color:var(--idle)}
td b{font-weight:600}
small{display:block;font-size:14px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 16px;margin:20px 0}
dt{opacity:.7}dd{margin:0}
h2{font-size:18px;margin:24px 0 8px}ol{list-style:none;margin:0;padding:0}
li{display:flex;flex-wrap:wrap;gap:0 12px;padding:8px 0;border-top:1px solid #8a8a8a66}li span:nth-of-type(1){flex:1;min-width:12em}
meter{width:72px;height:10px;vertical-align:middle}.fraud{color:var(--bad)}.legit{color:var(--good)}.unsure{color:var(--wait)}
@media (max-width:700px){thead{display:none}tr{display:block;border-top:1px solid #8a8a8a66;padding:8px 0}
th,td{display:block;border:0;padding:1px 0}tbody th{font-weight:600}td:empty{display:none}
td[data-name]::before{content:attr(data-name) " ";opacity:.7}}`
/** of the only style sheet that a browser is to accept */
export const STYLE_HASH = createHash('sha256').update(STYLE).digest('base64')

/** How everything is, for a person; it asks again by itself, without a script. */
export function pageOf(
  { ready, at, rows }: Report,
  totals: Totals,
  began: number,
  about: readonly (readonly [string, string])[],
  recent = '',
): string {
  const bad = rows.filter(({ state }) => state === 'failing')
  const title =
    bad.length > 0 ? `${list(bad)} ${bad.length > 1 ? 'fail' : 'fails'}` : ready ? 'Everything works' : 'Starting'
  const facts: [string, string][] = [
    [
      'set aside',
      `${plural(totals.setAside, 'record')} since the start${totals.setAside > 0 ? '; npm run dead-letters lists all there are' : ''}`,
    ],
    ...about.map(([name, value]): [string, string] => [name, value]),
    ['started', `${utc(began)} UTC, ${span(at - began)} ago`],
  ]
  return `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="${REFRESH}"><title>${escapeHtml(title)} · client-predict</title>
<style>${STYLE}</style></head>
<body><h1 class="${bad.length > 0 ? 'bad' : ready ? 'good' : 'wait'}">${escapeHtml(title)}</h1>
<p>client-predict ${escapeHtml(VERSION)} at ${utc(at)}; asks again every ${REFRESH} s</p>
<table><thead><tr><th>stage</th><th>state</th><th>waiting</th><th>since the start</th><th>why, or the last failure</th></tr></thead>
<tbody>
${rows.map((row) => line(row, totals, at)).join('\n')}
</tbody></table>
<dl>${facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join('\n')}</dl>
<h2>${recent && 'The last payments, '}<a href="/desk">the fraud desk</a></h2>
${recent && `<ol>${recent}</ol>`}
<p>For programs: <a href="/readyz">/readyz</a>, <a href="/metrics">/metrics</a>, <a href="/healthz">/healthz</a></p>
</body></html>
`
}

const list = (rows: readonly Row[]) => rows.map(({ stage }) => stage).join(' and ')

function line({ stage, state, since, why, last, waiting, oldest, frauds }: Row, totals: Totals, at: number): string {
  const done: Record<Row['stage'], string> = {
    fetch: `${grouped(totals.fetched)} fetched`,
    score: `${grouped(totals.scored)} scored, ${grouped(totals.flagged)} fraud`,
    alert: `${grouped(totals.mailed)} mailed`,
    webhook: '',
    record: `${grouped(totals.recorded)} recorded`,
    shadow: '',
  }
  const records = waiting === undefined ? (stage === 'fetch' ? '' : '?') : grouped(waiting)
  const alarms = stage === 'alert' || stage === 'webhook'
  const wait = !alarms ? records : frauds !== undefined ? plural(frauds, 'fraud') : `${records} unread`
  const age = oldest !== undefined && (!alarms || frauds !== 0) ? `<small>oldest ${span(oldest * 1000)}</small>` : ''
  // Why it fails now is its last failure.
  const past =
    last &&
    (state === 'failing'
      ? `<small>${clock(last.at, at)}</small>`
      : `<small>${clock(last.at, at)}: ${escapeHtml(last.reason)}</small>`)
  return `<tr><th>${NAMES[stage]}</th>
<td class="${COLOURS[state]}"><b>${state}</b><small>for ${span(at - since)}</small></td>
<td data-name="waiting">${wait}${age}</td>
<td>${state === 'elsewhere' ? '' : done[stage]}</td>
<td>${why ? `<span class="${COLOURS[state]}">${escapeHtml(why)}</span>` : ''}${past ?? ''}</td></tr>`
}

const clock = (then: number, at: number) => `${span(at - then)} ago`
