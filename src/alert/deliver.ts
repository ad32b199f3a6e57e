import { setTimeout as sleep } from 'node:timers/promises'
import { backoff, eventually, forever, grace, insist, type Stage, seconds, together } from '../stage.ts'
import { type Batch, type Reader, TakenOver, type Topics } from '../topic/topic.ts'
import { identity, type Prediction } from '../transaction.ts'
import { composeAlarm, deservesMail } from './alert.ts'
import { type Channel, MailError } from './email.ts'
import { type Counted, quota } from './quota.ts'

/** sessions at once: one that is stuck does not hold up the next alarm */
const SESSIONS = 5
/** alarms that may wait at once; beyond, reading waits too */
const WAITING = 1000
/** records read at once */
const READ = 500
/** ms that sessions in flight are given after the stop, to hear the answer to a mail that is out */
const GRACE = 5000
/** the first pause after a failure is 1 to 2 s, the longest 30 to 60 s */
const FIRST_PAUSE = 2000
/** ms that a mail is waited for before the next one goes out beside it */
const OVERLAP = 1000
const UNBLOCKED = { failures: 0, at: 0, until: 0 }

/**
 * One record between the position and the end of what was read; when it was sent last and when it may be again, in ms
 * of a clock that nobody sets back.
 */
type Item = {
  prediction: Prediction
  batch: Batch<Prediction>
  done: boolean
  sending: boolean
  started: number
  failures: number
  due: number
}
/** What outlives the process: mails sent for records beyond the position, and how many went out when. */
type Noted = { ahead: string[]; counted: Counted }

type Tuning = { firstPause: number; afterStop: number; overlap: number }
export type AlertOptions = {
  reader: Reader<Prediction>
  topics: Topics
  channel: Channel
  from: string
  to: readonly string[]
  dailyLimit: number
}

/**
 * Mails each fraud at once, several at a time, and notes each mail as soon as the server has taken it over: the
 * position moves over what is done at the front, what is done beyond it is noted by name. A mail that fails is tried
 * again for ever. A blocked way (no server, login refused, quota) pauses all of them, and one mail at a time probes it.
 * A mail that may be the cause itself has a pause of its own, so that the others do not wait behind it. Mails overlap
 * only when one takes its time: so a crash finds hardly more than one whose answer is not noted.
 */
export async function alertStage(stage: Stage, options: AlertOptions, tuning: Partial<Tuning> = {}): Promise<void> {
  while (!stage.stop.aborted) {
    try {
      await turn(stage, options, { firstPause: FIRST_PAUSE, afterStop: GRACE, overlap: OVERLAP, ...tuning })
    } catch (error) {
      if (!(error instanceof TakenOver)) throw error
      stage.log.info(`${error.message}; it mails what was in hand here`)
    }
  }
}

/** From taking the turn, with what is noted then, until the stop; or until another process has taken it over. */
async function turn(
  stage: Stage,
  { reader, topics, channel, from, to, dailyLimit }: AlertOptions,
  { firstPause, afterStop, overlap }: Tuning,
): Promise<void> {
  const { log } = stage
  const noted = await eventually(stage, async () => {
    await reader.take(stage.stop)
    reader.rewind()
    return ((await topics.noted('alert')) ?? { ahead: [], counted: [] }) as Noted
  })
  if (!noted) return
  const ahead = new Set(noted.ahead) // by an earlier process, and not read again yet
  const daily = quota(dailyLimit, noted.counted)
  const items: Item[] = [] // read and not committed, in order
  const waiting: Item[] = [] // of these the alarms that are not mailed yet, in order
  const sending = new Set<Promise<void>>()
  let blocked = UNBLOCKED // failures in a row, when the last one was, when the way is tried again
  let wake = () => {}
  let settling = Promise.resolve()

  /** Notes what is done, one call after the other. */
  function settle(): Promise<void> {
    settling = settling.then(() => insist(stage, commit))
    return settling
  }
  async function commit() {
    while (items.length > 0) {
      const { batch } = items[0]!
      const open = items.findIndex((item) => item.batch !== batch || !item.done)
      const count = open < 0 ? items.length : open
      const beyond = items.slice(count).filter((item) => item.done && deservesMail(item.prediction))
      const names = [...ahead, ...beyond.map((item) => identity(item.prediction))]
      await batch.commit(count, {}, { alert: { ahead: names, counted: daily.counted() } satisfies Noted })
      items.splice(0, count)
      if (!items[0]?.done) return
    }
  }

  const reading = (stop: AbortSignal) =>
    forever({ log, stop }, async () => {
      while (waiting.length >= WAITING) await sleep(1000, undefined, { signal: stop })
      const batch = await reader.read(READ, stop)
      if (await reader.take(stop)) throw new TakenOver('alert') // and gone again: what was noted may have changed
      for (const prediction of batch.records) {
        const done = !deservesMail(prediction) || ahead.delete(identity(prediction))
        const item: Item = { prediction, batch, done, sending: false, started: 0, failures: 0, due: 0 }
        items.push(item)
        if (!item.done) waiting.push(item)
      }
      if (items[0]?.done) await settle()
      wake()
    })

  const dispatching = async (stop: AbortSignal) => {
    stop.addEventListener('abort', () => wake(), { once: true })
    let held = false
    while (!stop.aborted) {
      const now = performance.now()
      const rest = waiting.filter((item) => !item.sending)
      const quotaWait = rest.length > 0 ? daily.wait(Date.now()) : 0
      if (quotaWait > 0 && !held)
        log.warn(
          `${dailyLimit} mails in 24 h (ALERT_DAILY_LIMIT): ${rest.length} held back, next one in ${Math.ceil(quotaWait / 60_000)} min`,
        )
      held = quotaWait > 0
      const lastStart = Math.max(
        ...waiting.map(({ sending, started }) => (sending ? started : Number.NEGATIVE_INFINITY)),
      )
      const hold = Math.max(quotaWait, blocked.until - now, lastStart + overlap - now)
      const free = sending.size < (quotaWait > 0 ? SESSIONS : Math.min(SESSIONS, daily.left(Date.now())))
      const item = hold <= 0 && free ? rest.find(({ due }) => due <= now) : undefined
      if (item) {
        if (blocked.failures > 0) blocked.until = now + backoff(blocked.failures, firstPause)
        const sent: Promise<void> = send(item, stop).finally(() => sending.delete(sent))
        sending.add(sent)
      } else {
        const next = Math.min(...rest.map(({ due }) => due)) - now
        await Promise.race([...sending, woken(free ? Math.max(hold, next) : Number.POSITIVE_INFINITY)])
        wake() // no timer stays behind
      }
    }
    await Promise.all(sending)
  }

  /** Resolves after `ms` (an hour at most), or earlier when there may be something to do. */
  function woken(ms: number) {
    return new Promise<void>((resolve) => {
      const timer = setTimeout(() => wake(), Math.min(ms, 3_600_000))
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async function send(item: Item, stop: AbortSignal): Promise<void> {
    using late = grace(stop, afterStop)
    item.sending = true
    item.started = performance.now()
    const mail = await composeAlarm(item.prediction, { from, to })
    let sent: string
    try {
      sent = await channel.send(mail, late.signal)
    } catch (error) {
      if (!(error instanceof MailError)) throw error
      if (error.uncertain) daily.count(Date.now())
      item.sending = false
      if (!stop.aborted) putOff(item, error)
      return
    }
    log.info(`${sent}: ${mail.subject}`)
    if (blocked.failures > 0 && item.started > blocked.at) {
      log.info('mails go out again')
      blocked = UNBLOCKED
    }
    daily.count(Date.now())
    item.done = true
    waiting.splice(waiting.indexOf(item), 1)
    await settle()
  }

  function putOff(item: Item, { message, pause, own }: MailError) {
    const now = performance.now()
    const known = pause && item.started <= blocked.at // one failure, and one line, for all that were under way
    if (own) item.due = now + backoff(++item.failures, firstPause)
    if (known) return
    const failures = blocked.failures + 1
    if (pause) blocked = { failures, at: now, until: now + backoff(failures, firstPause) }
    const which = own ? `transaction ${item.prediction.trans_num}: ` : ''
    const next = seconds((pause ? blocked.until : item.due) - now)
    log.warn(`${which}${message}; ${waiting.length} held back, nothing is dropped; retrying in ${next} s`)
  }

  await together(stage.stop, [reading, dispatching])
}
