export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2
}
const shown = (value: number) => value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 1 : 0 })

/** Figures of several runs, for each of `columns` and whoever is noted beside them. */
export function openReport(columns: string[]) {
  const figures: Record<string, Record<string, number[]>> = {}
  return {
    note(figure: string, column: string, value: number) {
      if (!columns.includes(column)) columns.push(column)
      figures[figure] ??= {}
      figures[figure][column] ??= []
      figures[figure][column].push(value)
    },
    table() {
      const cell = (values?: number[]) =>
        values ? `${shown(median(values))} (${shown(Math.min(...values))}–${shown(Math.max(...values))})` : ''
      const lines = Object.entries(figures).map(([figure, of]) => [
        figure,
        ...columns.map((column) => cell(of[column])),
      ])
      return [['figure', ...columns], ['---', ...columns.map(() => '---')], ...lines]
        .map((cells) => `| ${cells.join(' | ')} |`)
        .join('\n')
    },
    /** A line for each figure and column, a dot for each run, a stroke at the median; from 0 to the most of the figure. */
    plot() {
      const lines = Object.entries(figures).flatMap(([figure, of]) => {
        const most = Math.max(...Object.values(of).flat())
        return columns.flatMap((column) => {
          const values = of[column]
          return values ? [{ label: `${figure}${columns.length > 1 ? ` (${column})` : ''}`, values, most }] : []
        })
      })
      const [left, width, height] = [330, 420, 22]
      const drawn = lines.map(({ label, values, most }, i) => {
        const y = (i + 1) * height
        const x = (value: number) => (left + (value / most) * width).toFixed(1)
        const dots = values.map((value) => `<circle cx="${x(value)}" cy="${y}" r="3.5" fill="#2a6f97" opacity=".5"/>`)
        const middle = x(median(values))
        return `<path d="M${left} ${y}h${width}" stroke="#ddd"/>${dots.join('')}
<path d="M${middle} ${y - 8}v16" stroke="#b3261e" stroke-width="2"/>
<text x="${left - 10}" y="${y + 4}" text-anchor="end">${label}</text><text x="${left + width + 10}" y="${y + 4}">${shown(median(values))}</text>`
      })
      return `<svg xmlns="http://www.w3.org/2000/svg" width="840" height="${(lines.length + 1) * height}" font-family="sans-serif" font-size="12">\n<title>Speed, one dot a run, the line is the median</title>
<rect width="100%" height="100%" fill="#fff"/>
${drawn.join('\n')}
</svg>
`
    },
  }
}
