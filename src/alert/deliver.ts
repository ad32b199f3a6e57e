import { setTimeout as sleep } from 'node:timers/promises'
import { SendFailure, TakenOver } from '../errors.ts'
import { sayFailure } from '../failure.ts'
import { backoff, eventually, failed, forever, grace, insist, ofTopics, type Stage, together, works } from '../stage.ts'
import { plural, seconds } from '../text.ts'
import type { Batch, Reader, Topics } from '../topic/topic.ts'
import type { Prediction } from '../transaction.ts'
import { deservesMail } from './alert.ts'
import { blockade } from './blockade.ts'
import { type BreakerState, breaker } from './breaker.ts'
import { type Condition, type NotedHealth, patience } from './health.ts'
import { verdict } from './notice.ts'
import { alarmRows } from './old-note.ts'
import { type Open, openOutbox } from './outbox.ts'
import { FULL, type Paced, pace, type Why } from './pace.ts'
import { openRests } from './rest.ts'
import { openRows } from './rows.ts'
import type { Delivery, Letter, Notice, Way } from './way.ts'

const MINUTE = 60_000
/** sessions at once: one that is stuck does not hold up the next alarm */
const SESSIONS = 5
/** records read at once */
const READ = 500
/** ms that sessions in flight are given after the stop, to hear the answer to what is out */
const GRACE = 5000
/** the first pause after a failure is 1 to 2 s, the longest 30 to 60 s */
const FIRST_PAUSE = 2000
/** ms that a letter is waited for before the next one goes out beside it */
const OVERLAP = 1000
/** ms that a letter waits to be noted: topics that cannot be written do not silence the alarm */
const NOTED_WITHIN = 5000
/** ms between two proofs, while a letter is under way, that it is still this process's turn to mail */
const PROVE_AGAIN = 1000
/** ms after the next letter of a storm was due, after which what is collected is another storm */
const LULL = 15 * MINUTE
/** first pauses that a recipient is left alone who was put off: greylisting takes minutes */
const REST_PAUSE = 30
/** the longest pause of a letter that fails for itself: nobody gets a doubtful one a thousand times a day */
const LONGEST = 60 * MINUTE

/** Two clocks in ms: since 1970, as people may set it, and one that nobody sets back. */
export type Clock = { now(): number; steady(): number; sleep(ms: number, signal?: AbortSignal): Promise<void> }
const CLOCK: Clock = {
  now: Date.now,
  steady: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal && { signal }).catch(() => {}),
}

type Told = { notice: Notice; operators?: true }
/** The letter that the next ones belong to; `last`: when the newest of them was decided, in ms since 1970. */
type Thread = { key: string; last: number }
/** Why nothing goes out, since then (ms since 1970): who audits asks. */
export type Waits = { why: string; since: number }

export type AlertOptions = {
  reader: Reader<Prediction>
  topics: Topics
  /** the keys of what is noted begin with this */
  name: string
  way: Way
  /** frauds in 60 s that go out each in a letter of its own */
  burst: number
  /** letters in any 24 h */
  dailyLimit: number
  /** the chance below which a share of frauds is no chance any more; undefined: whatever the model says */
  impossible?: number | undefined
  /** What is looked at once a minute, for the operators. */
  conditions?: (() => Promise<Condition[]>) | undefined
  /** Where the first start begins: with what is there, or with what comes from now on. */
  start?: 'earliest' | 'latest'
  clock?: Clock
}
type Tuning = { firstPause: number; afterStop: number; overlap: number }

/**
 * Tells people of each fraud, at the pace that they can take, and notes each letter when it is decided and again when
 * the other side has taken it over. A letter that fails is tried again for ever. A blocked way (no server, login
 * refused, quota) pauses all of them, and one at a time probes it. A letter that may be the cause itself has a pause of
 * its own, so that the others do not wait behind it. Letters overlap only when one takes its time.
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
  {
    reader,
    topics,
    name,
    way,
    burst,
    dailyLimit,
    impossible,
    conditions,
    start = 'earliest',
    clock = CLOCK,
  }: AlertOptions,
  { firstPause, afterStop, overlap }: Tuning,
): Promise<void> {
  const { log } = stage
  const begun = await eventually(stage, async () => {
    await reader.take(stage.stop)
    reader.rewind()
    const { found, owed } = await alarmRows(topics, name)
    if (owed) await reader.note(owed)
    else if (start === 'latest' && found.size === 0) await reader.seekToEnd({ [`${name}/start`]: clock.now() })
    return found
  })
  if (!begun) return
  const rows = openRows(`${name}/`, begun)
  const rests = openRests(rows, { clock, log, pause: REST_PAUSE * firstPause, settle })
  const outbox = openOutbox(rows)
  const { opens } = outbox
  const paced = pace({ burst, limit: dailyLimit }, (rows.get('pace') as Paced | undefined) ?? { counted: [] })
  const watched = impossible === undefined ? undefined : breaker(impossible, rows.get('breaker') as BreakerState)
  const health = patience(rows.get('health') as NotedHealth)
  let thread = rows.get('thread') as Thread | undefined
  const notices = [...((rows.get('notices') as Told[] | undefined) ?? [])] // to be sent as soon as the limit lets them
  const sending = new Set<Promise<void>>()
  const block = blockade(firstPause)
  let fresh = Number.NEGATIVE_INFINITY // when a letter was decided last, of the clock that nobody sets back
  const began = clock.now()
  let first = true // nothing was decided yet
  let held: Why // why letters wait, as far as it was said
  let waits = rows.get('waits') as Waits | undefined
  let batch: Batch<Prediction> | undefined // read, and not passed
  let wake = () => {}
  let settling = Promise.resolve()
  const lost = new AbortController() // its turn: what is under way is cut short

  /** Notes where everything is, one call after the other. */
  function settle(): Promise<void> {
    settling = settling.then(() => insist(ofTopics(stage), commit)).catch(whenLost)
    return settling
  }
  function whenLost(error: unknown): never {
    if (error instanceof TakenOver) lost.abort(error)
    throw error
  }
  /** Notes why nothing goes out, or that something does: who audits asks. */
  function say(why: string | undefined) {
    if (why === waits?.why) return
    waits = why === undefined ? undefined : { why, since: clock.now() }
    settle().catch(() => {}) // who needs it noted hears of it
  }
  /** Looks again and again, while a letter is under way, whether it is still this process's turn. */
  async function prove(until: AbortSignal) {
    while (!until.aborted) {
      await clock.sleep(PROVE_AGAIN, until)
      if (until.aborted) return
      await reader.note(proof()).catch((error) => {
        if (error instanceof TakenOver) lost.abort(error) // an outage says nothing of it
      })
    }
  }
  async function commit() {
    outbox.settle()
    rows.keep('pace', paced.noted())
    rows.keep('health', health.noted())
    if (watched) rows.keep('breaker', watched.state())
    rows.keep('thread', thread)
    rows.keep('notices', notices.length > 0 ? notices : undefined)
    rows.keep('waits', waits)
    const fresh = opens.filter(({ noted }) => !noted)
    const { notes, kept } = rows.changes()
    const passed = batch
    if (passed) await passed.commit(passed.records.length, {}, notes)
    else if (Object.keys(notes).length > 0) await reader.note(notes)
    else if (!reader.alone) await reader.note(proof())
    if (passed) batch = undefined
    kept()
    for (const open of fresh) open.noted = true
  }
  /** Written only to be refused if it is another process's turn. */
  const proof = () => ({ [`${name}/turn`]: clock.now() })

  const reading = (stop: AbortSignal) =>
    forever(ofTopics({ ...stage, stop }), async () => {
      while (outbox.full() && !stop.aborted) await clock.sleep(1000, stop)
      const read = await reader.read(READ, stop)
      if (await reader.take(stop)) throw new TakenOver(name) // and gone again: what was noted may have changed
      outbox.take(read.records, judge)
      batch = read
      tell()
      wake()
      await settle()
    })
  /** how many wait or are under way, for who asks how the stage is */
  const tell = () => {
    if (stage.health) stage.health.frauds = outbox.held()
  }
  /** Is what the model says still credible? */
  function judge(prediction: Prediction) {
    const change = watched?.saw(deservesMail(prediction))
    if (!change) return
    const notice = verdict(change, watched!.figures(), prediction.model)
    log.warn(notice.subject)
    notices.push({ notice })
  }
  const watching = (stop: AbortSignal) =>
    forever({ log, stop }, async () => {
      await clock.sleep(MINUTE, stop)
      if (stop.aborted) return
      const found = await conditions!()
      const before = JSON.stringify(health.noted())
      for (const notice of health.saw(found, clock.now())) notices.push({ notice, operators: true })
      if (JSON.stringify(health.noted()) === before) return
      await settle()
      wake()
    })

  /** Letters that may go out at any moment, and are not counted yet. */
  function flying() {
    const mine = opens.filter(({ sending }) => sending)
    const singles = mine.filter(({ of, letter }) => of.length === 1 && !letter.notice).length
    return { letters: mine.length, singles, since: Math.max(0, ...mine.map(({ letter }) => letter.at)) }
  }
  const broken = () => watched?.broken() ?? false
  /** What a letter that has not been tried yet takes, if one may be decided now. */
  function another() {
    const waiting = outbox.waiting()
    const next = waiting > 0 ? paced.next(waiting, clock.now(), flying(), broken()) : undefined
    return next?.wait === 0 ? next : undefined
  }
  /** The next letter, or the ms until there may be one. */
  function next(): Open | number {
    const [now, steady] = [clock.now(), clock.steady()]
    const waiting = outbox.waiting()
    tell()
    const hold = Math.max(
      block.until() - steady,
      ...opens.map(({ sending, started }) => (sending ? started + overlap - steady : 0)),
    )
    if (sending.size >= SESSIONS) return Number.POSITIVE_INFINITY
    if (hold > 0 && !(block.byRow() && steady - fresh > MINUTE && another())) return hold
    if (waiting > 0) {
      const before = first && outbox.first()!.predicted_at < began
      if (before || (block.blocked() && !block.byRow())) paced.backlog(waiting)
      first = false
    }
    const rest = opens.filter(({ sending }) => !sending)
    const due = rest.find((open) => open.due <= steady)
    const probe = block.blocked() && (!due || due.failures > 0) ? another() : undefined
    if (probe) return decide(probe.size, probe.period) // what failed for itself is none while there is another one
    if (due || notices.length > 0) {
      const wait = paced.wait(now, flying())
      if (wait === Number.POSITIVE_INFINITY) return wait
      if (wait > 0) return heldBack('limit', wait)
      return due ?? announce(notices.shift()!)
    }
    const { wait, size, why, period } = paced.next(waiting, now, flying(), broken())
    if (stage.health && outbox.held() + opens.length === 0) stage.health.held = undefined
    const never = wait === Number.POSITIVE_INFINITY
    if (waiting === 0 ? never && held : !never && (wait > 0 || !why)) heldBack(why, wait)
    if (wait > 0) return Math.min(wait, ...rest.map((open) => open.due - steady))
    return decide(size, period)
  }
  /** Frauds that come soon after one another, and notices of one matter, are a thread. */
  function decide(size: number, period?: number): Open {
    const at = clock.now()
    const goesOn = thread && at - thread.last <= (period === undefined ? MINUTE : period + LULL)
    const under = period !== undefined && goesOn && thread!.key
    const open = outbox.decide(size, { at, ...(under && { under }) })
    if (!goesOn) begin(open, at)
    thread!.last = at
    fresh = clock.steady()
    return open
  }
  /** With the frauds that wait, if it is about them. */
  function announce({ notice, operators }: Told): Open {
    const at = clock.now()
    if (operators) return outbox.decide(0, { at, notice, operators })
    const under = broken() ? undefined : thread?.key
    const open = outbox.decide(FULL, { at, notice, ...(under && { under }) })
    begin(open, at)
    return open
  }
  function begin(open: Open, at: number) {
    thread = { key: open.key, last: at }
  }
  /** Says once why letters wait. */
  function heldBack(why: Why, wait: number): number {
    const now = clock.now()
    if (stage.health)
      stage.health.held = why && {
        why,
        since: why === held ? (stage.health.held?.since ?? now) : now,
        until: now + wait,
      }
    if (why === held) return wait
    held = why
    const reasons = {
      limit: `${dailyLimit} mails in 24 h (ALERT_DAILY_LIMIT)`,
      scarce: '80 % of ALERT_DAILY_LIMIT is used, alarms are collected',
      storm: `more than ${plural(burst, 'fraud')} in 60 s (ALERT_BURST), alarms are collected`,
      broken: 'the model looks broken, alarms are collected',
    }
    if (!block.blocked()) say(why && reasons[why])
    if (why) log.warn(`${reasons[why]}: ${outbox.held()} held back, next one in ${Math.ceil(wait / MINUTE)} min`)
    else log.info('alarms go out one by one again')
    return wait
  }

  const dispatching = async (stop: AbortSignal) => {
    stop.addEventListener('abort', () => wake(), { once: true })
    while (!stop.aborted) {
      const chosen = next()
      if (typeof chosen !== 'number') {
        block.tries(clock.steady())
        const sent: Promise<void> = send(chosen, stop).finally(() => sending.delete(sent))
        sending.add(sent)
      } else {
        await Promise.race([...sending, woken(chosen)])
        wake() // no timer stays behind
      }
    }
    await Promise.all(sending)
  }
  /** Resolves after `ms` (an hour at most), or earlier when there may be something to do. */
  function woken(ms: number): Promise<void> {
    const end = new AbortController()
    wake = () => end.abort()
    return clock.sleep(Math.min(ms, 60 * MINUTE), end.signal)
  }

  /** Proves meanwhile that it is still this process's turn, and is cut short when it is not. */
  async function post(letter: Letter, signal: AbortSignal, only?: readonly string[]): Promise<Delivery> {
    const over = new AbortController()
    if (!reader.alone) void prove(over.signal)
    try {
      return await way.send(letter, AbortSignal.any([signal, lost.signal]), only)
    } catch (error) {
      if (error instanceof SendFailure) lost.signal.throwIfAborted()
      throw error
    } finally {
      over.abort()
    }
  }
  async function postRest(letter: Letter, only: readonly string[], stop: AbortSignal): Promise<Delivery> {
    using late = grace(stop, afterStop)
    if (!reader.alone) await settle() // as with any letter
    return await post(letter, late.signal, only)
  }

  async function send(open: Open, stop: AbortSignal): Promise<void> {
    using late = grace(stop, afterStop)
    Object.assign(open, { sending: true, started: clock.steady() })
    if (!reader.alone)
      await settle() // who cannot prove that it is its turn does not mail
    else if (!open.noted) {
      const enough = new AbortController()
      await Promise.race([settle(), clock.sleep(NOTED_WITHIN, enough.signal)]).finally(() => enough.abort())
    }
    if (stop.aborted && (!open.noted || !reader.alone)) return
    const { letter } = open
    const size = letter.frauds.length
    let delivery: Delivery
    try {
      delivery = await post(letter, late.signal)
    } catch (error) {
      if (!(error instanceof SendFailure)) throw error
      open.sending = false
      if (error.delivered === 'maybe') {
        paced.sent(size, clock.now(), open.doubtful)
        open.doubtful = true
      }
      if (!stop.aborted) putOff(open, error)
      if (error.delivered === 'maybe') await settle()
      return
    }
    const { rejected, deferred, said } = delivery
    log[rejected.length + deferred.length > 0 ? 'warn' : 'info'](said)
    works(stage.health)
    if (rejected.length > 0) failed(stage.health, new Error(said), { lasting: false, now: clock.now() })
    if (block.arrived(open.started)) {
      log.info('alarms go out again')
      say(undefined)
    }
    paced.sent(size, clock.now(), open.doubtful)
    outbox.sent(open, clock.now())
    if (deferred.length > 0) rests.add(letter, deferred)
    await settle()
  }

  function putOff(open: Open, error: SendFailure) {
    const { message, scope, delivered, retryAfter } = error
    const [own, sure] = [scope !== 'channel' || delivered === 'maybe', scope === 'message' && delivered === 'no']
    const [now, { of }] = [clock.steady(), open]
    const others = block.failed(open, open.started, error, now)
    const which =
      of.length === 0
        ? `the notice "${open.letter.notice?.subject}"`
        : of.length === 1
          ? `transaction ${open.letter.frauds[0]!.trans_num}`
          : `${of.length} frauds`
    const halved = sure && outbox.refused(open)
    if (own && !sure) open.failures++
    if (!own) outbox.dissolve(open)
    if (own) open.due = now + Math.max(backoff(open.failures, firstPause, LONGEST), retryAfter)
    if (others === 'known') return // one failure, and one line, for all that were under way
    const blocked = others === 'blocked'
    if (blocked && own) open.due = Math.max(open.due, block.until() + firstPause) // better probe with another one
    failed(stage.health, error, { lasting: blocked, now: clock.now() })
    if (blocked) say(message)
    const again = seconds((blocked ? block.until() : open.due) - now)
    const next = halved && !blocked ? 'sending it in halves' : `retrying in ${again} s`
    const what = own ? `${which}: ${message}` : message
    sayFailure(log, what, `${outbox.held()} held back, nothing is dropped; ${next}`, what)
  }

  const resting = (stop: AbortSignal) =>
    rests.deliver(
      stop,
      (letter, only) => postRest(letter, only, stop),
      () => (block.blocked() ? Math.max(block.until() - clock.steady(), firstPause) : 0),
    )

  await together(stage.stop, [reading, dispatching, resting, ...(conditions ? [watching] : [])])
}
