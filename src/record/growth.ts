import { stat, statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { grouped } from '../io/text.ts'
import { DAY } from '../io/time.ts'

/** ms that are looked back to see how fast it grows; and how long there must have been rows to tell */
export const LOOKED_BACK = 7 * DAY
const ENOUGH = DAY / 4
/** rows below which a file says nothing of the size of one, and what one takes then: bytes */
const [FEW, ROW] = [1000, 350]
/** days beyond which nobody plans */
const FAR = 3650

/** Rows in all, those of LOOKED_BACK, and when the first one was. */
type Grown = { rows: number; recent: number; first?: number | undefined }
/** Of a SQLite file; `full`: days until its disk has no more than what is to stay free. */
export type Growth = { rows: number; perDay?: number; bytes?: number; free?: number; full?: number }

/** How the rows grow, and when the disk of `file` is full if it goes on so. `reserve`: MB that stay free. */
export async function growth(
  { rows, recent, first }: Grown,
  { file, reserve = 0, now = Date.now() }: { file?: string | undefined; reserve?: number; now?: number },
): Promise<Growth> {
  const age = Math.min(LOOKED_BACK, now - (first ?? now))
  const perDay = age < ENOUGH ? undefined : (recent * DAY) / age
  const found = file && (await stat(file).catch(() => undefined))
  const disk = found && file && (await statfs(dirname(file)).catch(() => undefined))
  if (!found || !disk) return { rows, ...(perDay !== undefined && { perDay }) }
  const [bytes, free] = [found.size, disk.bavail * disk.bsize]
  const aDay = (perDay ?? 0) * (rows < FEW ? ROW : bytes / rows)
  return {
    ...{ rows, bytes, free },
    ...(perDay !== undefined && { perDay }),
    ...(aDay > 0 && { full: Math.max(0, free - reserve * 1e6) / aDay }),
  }
}

/** For a person. */
export function describeGrowth({ rows, perDay, bytes, free, full }: Growth, now = Date.now()): string {
  const parts = [`${grouped(rows)} rows`]
  if (bytes !== undefined) parts[0] += `, ${size(bytes)}`
  if (perDay !== undefined) {
    const grows = bytes !== undefined && rows >= FEW ? ` (${size((perDay * bytes) / rows)})` : ''
    parts.push(`${grouped(Math.round(perDay))} a day${grows}`)
  }
  if (free !== undefined) parts.push(`${size(free)} free`)
  if (full !== undefined)
    parts.push(
      full > FAR
        ? 'enough for ten years and more'
        : `the disk is full about ${new Date(now + full * DAY).toISOString().slice(0, 10)}`,
    )
  return parts.join('; ')
}

const size = (bytes: number) =>
  bytes < 1e9 ? `${(bytes / 1e6).toFixed(bytes < 1e8 ? 1 : 0)} MB` : `${(bytes / 1e9).toFixed(1)} GB`
