/** ms */
export const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000]

/** To the millisecond, as programs read it: 2026-01-31T23:59:59.999Z. */
export const iso = (at: number) => new Date(at).toISOString()

/** `2026-01-31 23:59:59`, or less of it: 16 characters are to the minute. UTC, as whoever shows it has to say. */
export const utc = (at: number, length = 19) => new Date(at).toISOString().slice(0, length).replace('T', ' ')

/** The same to the minute, of a time zone. */
export function clockIn(zone: string): (at: number) => string {
  const { format } = new Intl.DateTimeFormat('sv-SE', { timeZone: zone, dateStyle: 'short', timeStyle: 'short' })
  return format
}

/** ms as a person says it */
export function span(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000))
  if (s < 60) return `${s} s`
  if (s < 3600) return `${Math.floor(s / 60)} min`
  if (s < 172_800) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`
  return `${Math.floor(s / 86_400)} days`
}
