/** One line of CSV (RFC 4180, but with a bare newline): quoted only where it must be, null as nothing. */
export const csvLine = (values: readonly unknown[]) => `${values.map(cell).join(',')}\n`

const cell = (value: unknown) => {
  const text = String(value ?? '')
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A text that a spreadsheet would take for a formula, behind signs that it skips too, made a text again. */
export const defuse = (value: unknown) =>
  typeof value === 'string' && /^(?:[\t\r]|[\s\p{Cc}\p{Cf}]*[=+\-@＝＋－＠])/u.test(value) ? `'${value}` : value
