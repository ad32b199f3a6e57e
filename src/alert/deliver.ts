import { MINUTE } from '../io/time.ts'
import { leading, ofTopics, retryUntilReady, runLoop, type Stage, supervise } from '../run/loop.ts'
import type { Lease, Reader, Topics } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import { type AnomalyState, anomalyDetector } from './anomaly.ts'
import { circuitBreaker } from './circuit-breaker.ts'
import { CLOCK, type Clock } from './clock.ts'
import { type Daily, openDaily } from './daily.ts'
import { openDispatch } from './dispatch.ts'
import { openLedger } from './ledger.ts'
import { verdict } from './notice.ts'
import { deservesMail, type Notifier } from './notifier.ts'
import { alarmRows } from './old-note.ts'
import { openOutbox } from './outbox.ts'
import { type Paced, pace } from './pace.ts'
import { openRows, type Rows } from './rows.ts'
import { openSchedule } from './schedule.ts'
import { type Condition, type NotedTrouble, troubleRules } from './trouble.ts'

/** records read at once */
const READ = 500
/** ms that sessions in flight are given after the stop, to hear the answer to what is out */
const GRACE = 5000
/** the first pause after a failure is 1 to 2 s, the longest 30 to 60 s */
const FIRST_PAUSE = 2000
/** ms that a notification is waited for before the next one goes out beside it */
const OVERLAP = 1000
/**
 * ms that topics which cannot be written hold up a notification. Longer they do not silence the alarm, where nobody else
 * could send it: but what is sent without being noted is another one if the process ends before it can be.
 */
const NOTED_WITHIN = 60_000

export type AlertOptions = {
  reader: Reader<Prediction>
  topics: Topics
  /** the keys of what is noted begin with this */
  name: 'alert' | 'webhook'
  notifier: Notifier
  /** frauds in 60 s that go out each in a notification of its own */
  burst: number
  /** notifications in any 24 h */
  dailyLimit: number
  /** the chance below which a share of frauds is no chance any more; undefined: whatever the model says */
  impossible?: number | undefined
  /** What is looked at once a minute, for the operators. */
  conditions?: (() => Promise<Condition[]>) | undefined
  /** What people are told once a day. */
  daily?: Daily | undefined
  /** Where the first start begins: with what is there, or with what comes from now on. */
  start?: 'earliest' | 'latest'
  clock?: Clock
}
type Tuning = { firstPause: number; afterStop: number; overlap: number; notedWithin: number }

/**
 * Tells people of each fraud, at the pace that they can take, and notes each notification when it is decided and again when
 * the other side has taken it over. A notification that fails is tried again for ever. A blocked channel (no server, login
 * refused, quota) pauses all of them, and one at a time probes it. A notification that may be the cause itself has a pause of
 * its own, so that the others do not wait behind it. Notifications overlap only when one takes its time.
 */
export function alertStage(stage: Stage, options: AlertOptions, tuning: Partial<Tuning> = {}): Promise<void> {
  return leading(stage, options.topics, options.name, async (lease) => {
    const term = { ...stage, stop: lease.stop }
    const rows = await begun(term, lease, options)
    const tuned = { firstPause: FIRST_PAUSE, afterStop: GRACE, overlap: OVERLAP, notedWithin: NOTED_WITHIN, ...tuning }
    if (rows) await alarms(term, lease, rows, options, tuned)
  })
}

/** The rows as they are now that this process leads; undefined when that is over before. */
function begun(
  stage: Stage,
  lease: Lease,
  { reader, topics, name, start = 'earliest', clock = CLOCK }: AlertOptions,
): Promise<Rows | undefined> {
  return retryUntilReady(stage, async () => {
    reader.rewind()
    const { found, owed } = await alarmRows(topics, name)
    if (owed) await lease.note(owed)
    else if (start === 'latest' && found.size === 0) await reader.seekToEnd({ [`${name}/start`]: clock.now() })
    return openRows(`${name}/`, found)
  })
}

async function alarms(
  stage: Stage,
  lease: Lease,
  rows: Rows,
  { reader, notifier, burst, dailyLimit, impossible, conditions, daily, clock = CLOCK }: AlertOptions,
  { overlap, ...tuned }: Tuning,
): Promise<void> {
  const { log } = stage
  const outbox = openOutbox(rows)
  const paced = pace({ burst, limit: dailyLimit }, (rows.get('pace') as Paced | undefined) ?? { counted: [] })
  const watched =
    impossible === undefined ? undefined : anomalyDetector(impossible, rows.get('breaker') as AnomalyState)
  const health = troubleRules(rows.get('health') as NotedTrouble)
  const everyDay = daily && openDaily(rows, daily, clock)
  const circuit = circuitBreaker(tuned.firstPause)
  const ledger = openLedger(stage, { lease, rows, outbox, clock, keep })
  const common = { rows, outbox, paced, circuit, clock }
  const schedule = openSchedule({
    ...common,
    log,
    health: stage.health,
    burst,
    dailyLimit,
    overlap,
    broken: () => watched?.broken() ?? false,
    say: ledger.say,
  })
  const dispatch = openDispatch(stage, { ...common, lease, ledger, schedule, notifier, ...tuned })

  function keep() {
    rows.keep('pace', paced.noted())
    rows.keep('health', health.noted())
    if (watched) rows.keep('breaker', watched.state())
    everyDay?.keep()
    schedule.keep()
  }
  const reading = (stop: AbortSignal) =>
    runLoop(ofTopics({ ...stage, stop }), async () => {
      while (outbox.full() && !stop.aborted) await clock.sleep(1000, stop)
      const read = await reader.read(READ, stop)
      outbox.take(read.records, judge)
      if (stage.health) stage.health.frauds = outbox.held()
      const noted = ledger.pass(read)
      dispatch.wake()
      await noted
    })
  /** Is what the model says still credible? */
  function judge(prediction: Prediction) {
    const change = watched?.saw(deservesMail(prediction), prediction.model)
    if (!change) return
    const notice = verdict(change, watched!.figures(), prediction.model)
    log.warn(notice.subject)
    schedule.tell({ notice })
  }
  const watching = (stop: AbortSignal) =>
    runLoop({ log, stop }, async () => {
      await clock.sleep(MINUTE, stop)
      if (stop.aborted) return
      const found = await conditions!()
      const before = JSON.stringify(health.noted())
      for (const notice of health.saw(found, clock.now())) schedule.tell({ notice, operators: true })
      if (JSON.stringify(health.noted()) === before) return
      await ledger.settle()
      dispatch.wake()
    })

  const reporting = (stop: AbortSignal) =>
    runLoop({ log, stop }, async () => {
      const { changed, notice } = await everyDay!.due()
      if (notice) schedule.tell({ notice, alone: true })
      if (changed) await ledger.settle()
      dispatch.wake()
      await clock.sleep(MINUTE, stop)
    })

  const { dispatching, resting } = dispatch
  await supervise(stage.stop, [
    reading,
    dispatching,
    resting,
    ...(conditions ? [watching] : []),
    ...(everyDay ? [reporting] : []),
  ])
}
