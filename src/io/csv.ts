/** One line of CSV (RFC 4180, but with a bare newline): quoted only where it must be, null as nothing. */
export const csvLine = (values: readonly unknown[]) => `${values.map(cell).join(',')}\n`

const cell = (value: unknown) => {
  const text = String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A text that a spreadsheet would take for a formula, behind signs that it skips too, made a text again. */
export const defuse = (value: unknown) =>
  typeof value === 'string' && /^(?:[\t\r]|[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠])/u.test(value) ? `'${value}` : value

/** The rows of a CSV text (RFC 4180), each a list of its cells; empty lines are none. */
export function csvRows(text: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  const cells = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n|\n|\r|$)/y
  for (const whole = text.replace(/^\ufeff/, ''); cells.lastIndex < whole.length; ) {
    const found = cells.exec(whole)
    if (!found) throw new Error(`line ${rows.length + 1} of the CSV has a quote where none can be`)
    row.push(found[1]?.replaceAll('""', '"') ?? found[2]!)
    if (found[3] === ',' && cells.lastIndex < whole.length) continue
    if (found[3] === ',') row.push('')
    if (row.length > 1 || row[0] !== '') rows.push(row)
    row = []
  }
  return rows
}
