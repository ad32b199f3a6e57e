import { html, raw } from 'hono/html'
import { grouped } from '../io/text.ts'
import type { Html } from './parts.ts'

// Drawn by the server, without a script; the numbers stand in a table under each.

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [400, 160, 56, 20]
const top = (values: readonly number[]) => {
  const most = Math.max(1, ...values)
  const unit = 10 ** Math.floor(Math.log10(most))
  return [1, 2, 5, 10].map((times) => times * unit).find((round) => round >= most)!
}
const y = (value: number, most: number) => HEIGHT - BOTTOM - (value / most) * (HEIGHT - BOTTOM - 8)
const rounded = (value: number) => Math.round(value * 10) / 10

const frame = (title: string, most: number, labels: readonly string[], inside: Html | Html[]) => html`<svg
viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}"><g class="axis">${[0, most / 2, most].map(
  (value) =>
    html`<path d="M${LEFT} ${rounded(y(value, most))}H${WIDTH}"/><text x="${LEFT - 4}" y="${rounded(y(value, most) + 4)}" text-anchor="end">${grouped(value)}</text>`,
)}${labels.length > 0 ? html`<text x="${LEFT}" y="${HEIGHT - 4}">${labels[0]}</text><text x="${WIDTH}" y="${HEIGHT - 4}" text-anchor="end">${labels.at(-1)}</text>` : ''}</g>${inside}</svg>`

export type Table = { names: readonly string[]; rows: readonly (readonly string[])[] }
const table = ({ names, rows }: Table) =>
  html`<details><summary>The numbers</summary><table><thead><tr>${names.map(
    (name) => html`<th scope="col">${name}</th>`,
  )}</tr></thead><tbody>${rows.map(([first, ...rest]) => html`<tr><th scope="row">${first}</th>${rest.map((cell) => html`<td>${cell}</td>`)}</tr>`)}</tbody></table></details>`

type Series = { name: string; look: string }
/** A bar for each label, of one part on top of the other. */
export function bars(
  title: string,
  series: readonly Series[],
  of: readonly { label: string; values: readonly number[] }[],
) {
  const most = top(of.map(({ values }) => values.reduce((sum, one) => sum + one, 0)))
  const wide = (WIDTH - LEFT) / Math.max(1, of.length)
  const parts = of.map(({ values }, i) => {
    return values.map((value, n) => {
      const under = values.slice(0, n).reduce((sum, one) => sum + one, 0)
      const [from, to] = [y(under, most), y(under + value, most)]
      const x = LEFT + i * wide + wide * 0.1
      return value === 0
        ? html``
        : html`<rect class="${series[n]!.look}" x="${rounded(x)}" y="${rounded(to)}" width="${rounded(wide * 0.8)}" height="${rounded(from - to)}"/>`
    })
  })
  const key = html`<p class="soft">${series.map(({ name, look }) => html`<b class="${look}">■</b> ${name} `)}</p>`
  const names = ['', ...series.map(({ name }) => name)]
  const rows = of.map(({ label, values }) => [label, ...values.map(grouped)])
  return html`<figure><figcaption>${title}</figcaption>${frame(
    title,
    most,
    of.map(({ label }) => label),
    parts.flat(),
  )}${key}${table({ names, rows })}</figure>`
}

/** A step line over shares, 0 to 1, with marks on it. */
export function steps(
  title: string,
  points: readonly { at: number; value: number }[],
  marks: readonly { at: number; name: string }[],
  numbers: Table,
) {
  const most = top(points.map(({ value }) => value))
  const x = (at: number) => rounded(LEFT + at * (WIDTH - LEFT))
  const path = points.map(
    ({ at, value }, i) => `${i === 0 ? `M${x(at)}` : `H${x(at)}`}${i === 0 ? ' ' : 'V'}${rounded(y(value, most))}`,
  )
  const lines = marks.map(
    ({ at, name }, i) =>
      html`<path class="mark" d="M${x(at)} 8V${HEIGHT - BOTTOM}"/><text class="axis" x="${Math.min(x(at) + 4, WIDTH - 100)}" y="${18 + 14 * i}">${name}</text>`,
  )
  return html`<figure><figcaption>${title}</figcaption>${frame(title, most, ['0', '1'], html`<path class="line" d="${raw(path.join(''))}"/>${lines}`)}${table(numbers)}</figure>`
}
