import { archive, putBack } from './archive/archive.ts'
import { openReviewed } from './beside.ts'
import { archiveFolder } from './config/dsn.ts'
import { ConfigError } from './config/read.ts'
import { DAY } from './io/time.ts'

/** `npm run archive`: moves what is old; or puts back what is in a file. */
export async function run(path: string | undefined, stop: AbortSignal): Promise<number> {
  await using open = await openReviewed()
  const { config, reviews } = open
  const { DATABASE_URL: place, ROWS_KEEP_DAYS: days } = config
  const given = { reviews, folder: archiveFolder(place), stop }
  if (path !== undefined) {
    console.log(await putBack({ ...given, path }))
    if (days !== undefined) console.log(`ROWS_KEEP_DAYS=${days} moves what is older away again, once a day`)
    return 0
  }
  if (days === undefined)
    throw new ConfigError(['ROWS_KEEP_DAYS: is not set, wants the days that rows stay in the database'])
  console.log((await archive({ ...given, before: Date.now() - days * DAY })).join('\n'))
  return 0
}
