import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import { plural } from '../io/text.ts'
import { MINUTE, span } from '../io/time.ts'
import type { Totals } from './metrics.ts'
import type { Monitor, Monitored, Row } from './monitor.ts'

/** ms after which the first line comes, and between two of them */
const [FIRST, EVERY] = [10_000, MINUTE]
const COUNTS: readonly (readonly [keyof Totals, Monitored])[] = [
  ['fetched', 'fetch'],
  ['scored', 'score'],
  ['flagged', 'score'],
  ['mailed', 'alert'],
  ['recorded', 'record'],
]

/**
 * Says once a minute what this process has done meanwhile and what waits for it, in one line, and in the end what it has
 * done in all.
 */
export async function summarize(
  log: Logger,
  { metrics, report }: Monitor,
  mine: readonly Monitored[],
  stop: AbortSignal,
  [first, every] = [FIRST, EVERY],
): Promise<void> {
  const none: Totals = { fetched: 0, scored: 0, flagged: 0, mailed: 0, recorded: 0, setAside: 0 }
  const done = (now: Totals, before: Totals) => {
    const counts = COUNTS.filter(([, stage]) => mine.includes(stage)).map(([n]) => `${n} ${now[n] - before[n]}`)
    const aside = now.setAside - before.setAside
    return [...counts, ...(aside > 0 ? [`set aside ${aside}`] : [])].join(', ')
  }
  const waits = ({ stage, waiting = 0, oldest, frauds }: Row) => {
    if ((frauds ?? waiting) === 0 || !(mine.includes(stage) || stage === 'webhook')) return []
    return `${stage} ${frauds === undefined ? waiting : plural(frauds, 'fraud')}${oldest === undefined ? '' : ` (oldest ${span(oldest * 1000)})`}`
  }
  let before = none
  for (let pause = first; ; pause = every) {
    await sleep(pause, undefined, { signal: stop, ref: false }).catch(() => {})
    const now = await metrics.totals()
    if (stop.aborted) return log.info(`in all: ${done(now, none)}`)
    const waiting = (await report()).rows.flatMap(waits)
    const rest = waiting.length > 0 ? `waiting: ${waiting.join(', ')}` : 'nothing waits'
    log.info(`in ${pause / 1000} s: ${done(now, before)}; ${rest}`)
    before = now
  }
}
