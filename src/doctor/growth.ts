import { archiveFolder } from '../config/dsn.ts'
import type { Config } from '../config/settings.ts'
import { describeGrowth, growth, LOOKED_BACK } from '../record/growth.ts'
import type { Reviews } from '../review/reviews.ts'
import { type Finding, note, ok, type Target } from './check.ts'

/** ms; all rows are counted */
const WITHIN = 60_000
/** days before which somebody should know that the disk gets full */
const SOON = 90

/** How the rows grow, and when the disk is full if it goes on so. */
export function growing(config: Config, openReviews: () => Promise<Reviews>): Target {
  const { DATABASE_URL: place, DISK_RESERVE_MB: reserve } = config
  const file = place.engine === 'sqlite' ? place.path : undefined
  const look = async (): Promise<Finding[]> => {
    await using open = new AsyncDisposableStack()
    const reviews = open.adopt(await openReviews(), (r) => r.close())
    const grown = await reviews.grown(Date.now() - LOOKED_BACK).catch(() => undefined) // why is said of the database
    if (!grown?.rows) return []
    const found = await growth(grown, { file, reserve })
    const days = config.ROWS_KEEP_DAYS
    const text = `${describeGrowth(found)}${days === undefined ? '' : `; what is older than ${days} days moves into ${archiveFolder(place)}`}`
    const soon = found.full !== undefined && found.full < SOON
    return [soon ? note(text, 'make room, move it to a larger disk, or set ROWS_KEEP_DAYS') : ok(text)]
  }
  return { name: 'growth', within: WITHIN, look }
}
