import { setTimeout as sleep } from 'node:timers/promises'
import { maskCards } from '../card.ts'
import { STAGES, type StageName } from '../config/settings.ts'
import type { Store } from '../record/store.ts'
import { reportSuccess, type StageStatus } from '../run/loop.ts'
import type { LeaseName, ReaderName, Snapshot, Topics } from '../topic/topic.ts'
import { openMetrics } from './metrics.ts'

export type Monitored = StageName | 'webhook'
export type State = 'starting' | 'working' | 'failing' | 'holding back' | 'standing by' | 'elsewhere'
/**
 * How a stage is; `since` and times in ms since 1970. `waiting`: records before it, the oldest for `oldest` seconds;
 * `frauds`: those of them, and in notifications under way, that are for people, where this process knows.
 */
export type Row = {
  stage: Monitored
  state: State
  since: number
  why?: string
  last?: { at: number; reason: string }
  waiting?: number
  oldest?: number
  frauds?: number
}
/** `ready`: no stage of this process is starting or failing, but for the challenger's. */
export type Report = { ready: boolean; at: number; rows: Row[] }
export type Monitor = ReturnType<typeof openMonitor>

/** ms for which what waits is not counted anew, however often it is asked for */
const COUNTED = 1000
/** ms after which a page does not wait for the count: it says what was counted last, if that is not too old */
const WITHIN = 2000
const TOO_OLD = 60_000
/** ms after which reading has not failed again: it waits for something to read (the longest pause is a minute) */
const QUIET = 120_000
/** ms after which a commit without an answer counts as a failure: where nobody knows whether it was done, it is waited for */
const UNANSWERED = 30_000
const HELD: Record<string, string> = {
  limit: 'ALERT_DAILY_LIMIT is reached',
  scarce: '80 % of ALERT_DAILY_LIMIT is used: alarms are collected',
  storm: 'more than ALERT_BURST in 60 s: alarms are collected',
  broken: 'the model looks broken: alarms are collected',
}

/** Are there only where they are asked for. */
const OPTIONAL: readonly Monitored[] = ['webhook', 'shadow']

/** Keeps an eye on the stages of this process, and on what waits for those of others. */
export function openMonitor(mine: readonly StageName[], now = Date.now) {
  const metrics = openMetrics()
  const began = now()
  const fresh = (name: string): StageStatus => {
    return { since: began, retrying: (error) => void metrics.retried(name, error) }
  }
  const all = [...STAGES, 'webhook'].map((name) => [name, fresh(name)])
  const health = Object.fromEntries(all) as Record<Monitored, StageStatus>
  const starting = fresh('start')
  let waiting: ReturnType<typeof counting> | undefined // once the topics are open
  const readers = new Set<string>()
  const standing = new Map<string, number>() // since when
  const { awaited, unanswered } = openCommits(now)

  function stateOf(name: Monitored): Pick<Row, 'state' | 'since' | 'why'> {
    const { failing, topics, held, since = began } = health[name]
    if (name !== 'webhook' && !mine.includes(name)) return { state: 'elsewhere', since: began }
    if (!waiting)
      return { state: 'starting', since: began, ...(starting.failing && { why: maskCards(starting.failing.reason) }) }
    const reading = now() - (topics?.last?.at ?? 0) < QUIET ? topics?.failing : undefined
    const trouble = failing ?? reading ?? unanswered(name)
    if (trouble) return { state: 'failing', since: trouble.since, why: maskCards(trouble.reason) }
    const idle = standing.get(name)
    if (idle !== undefined) return { state: 'standing by', since: idle }
    if (held) return { state: 'holding back', since: held.since, why: HELD[held.why] ?? held.why }
    return { state: 'working', since }
  }
  async function row(name: Monitored): Promise<Row> {
    const [mine, topics] = [health[name].last, health[name].topics?.last]
    const last = (topics?.at ?? 0) > (mine?.at ?? 0) ? topics : mine
    const shown = last && { at: last.at, reason: maskCards(last.reason) }
    const state = stateOf(name)
    const frauds = state.state === 'elsewhere' || state.state === 'standing by' ? undefined : health[name].frauds
    const known = { ...(shown && { last: shown }), ...(frauds !== undefined && { frauds }) }
    return { stage: name, ...state, ...known, ...(readers.has(name) && (await waiting?.(name as ReaderName))) }
  }

  return {
    health,
    /** of opening the topics */
    starting,
    metrics,
    began,
    /** Who stands by fails at nothing: what was wrong before is the other process's to find out. */
    standby(name: ReaderName | LeaseName, by: boolean) {
      if (!by) return void standing.delete(name)
      standing.set(name, now())
      reportSuccess(health[name])
      reportSuccess(health[name].topics)
    },
    /** The topics, counted and looked at; they are open. */
    topics(topics: Topics): Topics {
      waiting = counting(topics, now)
      const counted = metrics.topics(topics)
      return {
        ...counted,
        append: awaited('fetch', counted.append), // what is noted beside the stages, too
        lead: (name, stop, work) =>
          counted.lead(name, stop, (lease) => work({ ...lease, note: awaited(name, lease.note) })),
        reader(topic, name) {
          readers.add(name)
          const reader = counted.reader(topic, name)
          const read: typeof reader.read = async (limit, signal) => {
            const batch = await reader.read(limit, signal)
            return { ...batch, commit: awaited(name, batch.commit) }
          }
          return { ...reader, read }
        },
      }
    },
    /** The database, likewise. */
    store(store: Store): Store {
      const counted = metrics.store(store)
      return { ...counted, insert: awaited('record', counted.insert) }
    },
    async report(): Promise<Report> {
      const names = [...STAGES, 'webhook' as const].filter((name) => !OPTIONAL.includes(name) || readers.has(name))
      const rows = await Promise.all(names.map(row))
      const ready = rows.every(
        ({ stage, state }) => stage === 'shadow' || (state !== 'starting' && state !== 'failing'),
      )
      return { ready, at: now(), rows }
    },
  }
}

/** What is made durable for a stage, and is under way. */
function openCommits(now: () => number) {
  const open = new Set<{ stage: string; since: number }>()
  return {
    awaited:
      <A extends unknown[], R>(stage: string, call: (...given: A) => Promise<R>) =>
      async (...given: A): Promise<R> => {
        const commit = { stage, since: now() }
        open.add(commit)
        try {
          return await call(...given)
        } finally {
          open.delete(commit)
        }
      },
    unanswered(stage: string) {
      const oldest = [...open].find((commit) => commit.stage === stage)
      if (!oldest || now() - oldest.since < UNANSWERED) return undefined
      return { since: oldest.since, reason: 'a commit is not answered: it is not known yet whether it was done' }
    },
  }
}

/** What waits for a reader: all are counted at once, for all who ask at a time. */
function counting(topics: Pick<Topics, 'snapshot'>, now: () => number) {
  let known: { at: number; lag?: Snapshot['lag'] } = { at: Number.NEGATIVE_INFINITY }
  let looking: Promise<void> | undefined
  const look = () =>
    topics
      .snapshot()
      .then(({ lag }) => {
        known = { at: now(), lag }
      })
      .catch(() => {}) // the stage says what is wrong
      .finally(() => {
        looking = undefined
      })
  return async (name: ReaderName): Promise<Pick<Row, 'waiting' | 'oldest'>> => {
    if (now() - known.at >= COUNTED) looking ??= look()
    if (looking) await Promise.race([looking, sleep(WITHIN, undefined, { ref: false })])
    if (!known.lag || now() - known.at > TOO_OLD) return {}
    const { records, oldest } = known.lag[name]
    const waits = records > 0 && oldest !== undefined
    return { waiting: records, ...(waits && { oldest: Math.max(0, known.at - oldest) / 1000 }) }
  }
}
