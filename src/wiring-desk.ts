import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Rules } from './care/board.ts'
import { isLoopback } from './config/dsn.ts'
import type { Config } from './config/settings.ts'
import { pairOf } from './models.ts'
import type { Reviews } from './review/reviews.ts'
import { sqliteReviews } from './review/sqlite.ts'
import { retryUntilReady, type Stage } from './run/loop.ts'
import type { Model } from './score/mlflow.ts'
import type { Champion } from './shadow/champion.ts'
import type { Monitor } from './status/monitor.ts'
import type { Topics } from './topic/topic.ts'

// What people look at and say: the part of the wiring that opens it.

export async function openReviews({ DATABASE_URL: place }: Config): Promise<Reviews> {
  if (place.engine === 'sqlite') return sqliteReviews(place.path)
  const { postgresReviews } = await import('./engines/postgres/reviews.ts')
  return postgresReviews(place.url)
}

export const careRules = ({ TRUTH: truth, TRUTH_DELAY_DAYS: delayDays, REVIEW_COST: reviewCost }: Config): Rules => ({
  ...{ truth, delayDays, reviewCost },
})

/** Mails in a folder of this machine lead to its own pages. */
const deskUrl = ({ DESK_URL, SMTP_URL, HOST, PORT }: Config) =>
  DESK_URL ?? (SMTP_URL || PORT === 0 || !isLoopback(HOST) ? undefined : new URL(`http://${HOST}:${PORT}`))

/** The model that judges now, by its name. */
type Judging = {
  champion(): Promise<{ name: string | null; model: Model }>
  chosen: Champion | undefined
  told(): { text: string } | undefined
}

/** The desk, what is asked for it, and what watches the models. */
export async function deskOf(
  config: Config,
  start: Stage,
  topics: Topics,
  { opened, metrics, ...judging }: { opened: AsyncDisposableStack; metrics: Monitor['metrics'] } & Judging,
) {
  const { openDesk } = await import('./desk/desk.ts')
  const { openCare } = await import('./care/care.ts')
  const { watchModel } = await import('./care/fingerprint.ts')
  const { liveMetrics } = await import('./care/live.ts')
  const { openTracking } = await import('./registry/tracking.ts')
  const { openWhy } = await import('./care/why.ts')
  const { qualityGauges } = await import('./status/quality.ts')
  const { deskLinks } = await import('./desk/room.ts')
  const { openKeys } = await import('./desk/keys.ts')
  const alone = config.TOPICS_URL.engine === 'sqlite'
  const keys = openKeys(config.DESK_SECRET ?? (await keptSecret(start, topics, alone)))
  const url = deskUrl(config)
  const reviews = opened.adopt(await openReviews(config), (r) => r.close())
  // A thread of its own: what takes long holds up nobody who reviews.
  const counting = opened.adopt(await openReviews(config), (r) => r.close())
  const { MLFLOW_TRACKING_URI: mlflow } = config
  const publish = mlflow && liveMetrics(openTracking(mlflow))
  const care = openCare({
    reviews: counting,
    rules: careRules(config),
    pair: pairOf(config, judging.chosen),
    publish,
    log: start.log,
  })
  qualityGauges(metrics.registry, care.latest)
  // Rows that nobody sent are for who has models looked after.
  if (mlflow && config.MODEL_URL && config.STAGES.includes('score'))
    opened.use(watchModel({ ...judging, reviews: counting, log: start.log }))
  const desk = openDesk({
    reviews,
    why: openWhy({ reviews, ...judging }),
    ...{ keys, url, local: isLoopback(config.HOST), zone: config.TIME_ZONE, log: start.log },
    ...{ care, choice: judging.chosen && { champion: judging.chosen, told: judging.told } },
    token: config.DESK_TOKEN,
    reviewers: config.REVIEWERS ?? [],
    userHeader: config.DESK_USER_HEADER,
    proxies: config.DESK_PROXY ?? [],
  })
  return { desk, reviews, link: url && deskLinks(url, keys), drift: care.conditions }
}

/** ms within which what one process notes is seen by the others */
const SETTLED = 2000

/**
 * Made once, and the same for every process with these topics. Several that start for the first time at once each make
 * one: the first of them is everybody's, and nobody uses any before all are there to be seen.
 */
async function keptSecret(start: Stage, topics: Topics, alone: boolean): Promise<string> {
  const read = async () => [...(await topics.state('desk')).values()] as { secret: string; at?: number }[]
  const kept = await retryUntilReady(start, async () => {
    const found = await read()
    const made = { secret: randomBytes(32).toString('base64url'), at: Date.now() }
    if (found.length === 0) await topics.append({}, { [`desk/${randomBytes(8).toString('hex')}`]: made })
    if (found.length > 0 && (alone || found.some(({ at = 0 }) => Date.now() - at > SETTLED))) return found
    if (!alone) await sleep(SETTLED)
    return read()
  })
  return kept?.[0]?.secret ?? randomBytes(32).toString('base64url')
}
