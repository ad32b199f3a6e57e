import { setTimeout as sleep } from 'node:timers/promises'
import { maskCards } from '../card.ts'
import { STAGES, type StageName } from '../config/settings.ts'
import { reportSuccess, type StageStatus } from '../run/loop.ts'
import type { LeaseName, Reader, ReaderName, Topics } from '../topic/topic.ts'
import { openMetrics } from './metrics.ts'

export type Monitored = StageName | 'webhook'
export type State = 'starting' | 'working' | 'failing' | 'holding back' | 'standing by' | 'elsewhere'
/**
 * How a stage is; `since` and times in ms since 1970. `waiting`: records before it, the oldest for `oldest` seconds;
 * `frauds`: those of them, and in letters under way, that are for people, where this process knows.
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
/** `ready`: no stage of this process is starting or failing. */
export type Report = { ready: boolean; at: number; rows: Row[] }
export type Monitor = ReturnType<typeof openMonitor>

/** ms for which what waits is not counted anew, however often it is asked for */
const COUNTED = 1000
/** ms after which a page does not wait for the count: it says what was counted last, if that is not too old */
const WITHIN = 2000
const TOO_OLD = 60_000
/** ms after which reading has not failed again: it waits for something to read (the longest pause is a minute) */
const QUIET = 120_000
const HELD: Record<string, string> = {
  limit: 'ALERT_DAILY_LIMIT is reached',
  scarce: '80 % of ALERT_DAILY_LIMIT is used: alarms are collected',
  storm: 'more than ALERT_BURST in 60 s: alarms are collected',
  broken: 'the model looks broken: alarms are collected',
}

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
  let open = false // the topics
  const readers: { [stage: string]: Reader<unknown> } = {}
  const standing = new Map<string, number>() // since when
  const count = counting(now)

  function stateOf(name: Monitored): Pick<Row, 'state' | 'since' | 'why'> {
    const { failing, topics, held, since = began } = health[name]
    if (name !== 'webhook' && !mine.includes(name)) return { state: 'elsewhere', since: began }
    if (!open)
      return { state: 'starting', since: began, ...(starting.failing && { why: maskCards(starting.failing.reason) }) }
    const trouble = failing ?? (now() - (topics?.last?.at ?? 0) < QUIET ? topics?.failing : undefined)
    if (trouble) return { state: 'failing', since: trouble.since, why: maskCards(trouble.reason) }
    const idle = standing.get(name)
    if (idle !== undefined) return { state: 'standing by', since: idle }
    if (held) return { state: 'holding back', since: held.since, why: HELD[held.why] ?? held.why }
    return { state: 'working', since }
  }
  async function row(name: Monitored): Promise<Row> {
    const reader = readers[name]
    const [mine, topics] = [health[name].last, health[name].topics?.last]
    const last = (topics?.at ?? 0) > (mine?.at ?? 0) ? topics : mine
    const shown = last && { at: last.at, reason: maskCards(last.reason) }
    const state = stateOf(name)
    const frauds = state.state === 'elsewhere' || state.state === 'standing by' ? undefined : health[name].frauds
    const known = { ...(shown && { last: shown }), ...(frauds !== undefined && { frauds }) }
    return { stage: name, ...state, ...known, ...(reader && (await count(name, reader))) }
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
      open = true
      const counted = metrics.topics(topics)
      return {
        ...counted,
        reader(topic, name) {
          const reader = counted.reader(topic, name)
          readers[name] = reader
          return reader
        },
      }
    },
    async report(): Promise<Report> {
      const names: Monitored[] = readers.webhook ? [...STAGES, 'webhook'] : [...STAGES]
      const rows = await Promise.all(names.map(row))
      const ready = rows.every(({ state }) => state !== 'starting' && state !== 'failing')
      return { ready, at: now(), rows }
    },
  }
}

/** What waits for a reader, counted once for all who ask at a time. */
function counting(now: () => number) {
  const counted = new Map<string, { at: number; counting?: Promise<void>; waiting?: number; oldest?: number }>()
  return async (name: string, reader: Reader<unknown>) => {
    const known = counted.get(name) ?? { at: Number.NEGATIVE_INFINITY }
    counted.set(name, known)
    if (!known.counting && now() - known.at >= COUNTED)
      known.counting = Promise.all([reader.lag(), reader.oldest()])
        .then(([waiting, oldest]) => {
          Object.assign(known, { at: now(), waiting, oldest: oldest && Math.max(0, now() - oldest) / 1000 })
        })
        .catch(() => {}) // the stage says what is wrong
        .finally(() => delete known.counting)
    if (known.counting) await Promise.race([known.counting, sleep(WITHIN, undefined, { ref: false })])
    if (known.waiting === undefined || now() - known.at > TOO_OLD) return {}
    const { waiting, oldest } = known
    return { waiting, ...(waiting > 0 && oldest !== undefined && { oldest }) }
  }
}
