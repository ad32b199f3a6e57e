import type { Logger } from 'pino'
import { plural } from '../io/text.ts'
import { MINUTE } from '../io/time.ts'
import type { StageStatus } from '../run/loop.ts'
import type { CircuitBreaker } from './circuit-breaker.ts'
import type { Clock } from './clock.ts'
import type { Notice } from './notifier.ts'
import type { Open, Outbox } from './outbox.ts'
import { FULL, type Pace, type Why } from './pace.ts'
import type { Rows } from './rows.ts'

/** ms after the next notification of a storm was due, after which what is collected is another storm */
const LULL = 15 * MINUTE

/** `alone`: it is not about the frauds that wait. */
export type Told = { notice: Notice; operators?: true; alone?: true }
/** The notification that the next ones belong to; `last`: when the newest of them was decided, in ms since 1970. */
type Thread = { key: string; last: number }
export type ScheduleOptions = {
  rows: Rows
  outbox: Outbox
  paced: Pace
  circuit: CircuitBreaker
  clock: Clock
  log: Logger
  health: StageStatus | undefined
  burst: number
  dailyLimit: number
  /** ms that a notification is waited for before the next one goes out beside it */
  overlap: number
  /** Does the model look so? */
  broken(): boolean
  /** Is told why notifications wait, and when they do no longer. */
  say(why: string | undefined): void
}
export type Schedule = ReturnType<typeof openSchedule>

/** Which notification goes out next, and when. */
export function openSchedule(options: ScheduleOptions) {
  const { rows, outbox, paced, circuit, clock, log, health, burst, dailyLimit, overlap, broken, say } = options
  const { opens } = outbox
  const notices = [...((rows.get('notices') as Told[] | undefined) ?? [])] // to be sent as soon as the limit lets them
  const threads = openThreads(options)
  const began = clock.now()
  let first = true // nothing was decided yet
  let held: Why // why notifications wait, as far as it was said
  const { decide } = threads
  const reasons = {
    limit: `${dailyLimit} mails in 24 h (ALERT_DAILY_LIMIT)`,
    scarce: '80 % of ALERT_DAILY_LIMIT is used, alarms are collected',
    storm: `more than ${plural(burst, 'fraud')} in 60 s (ALERT_BURST), alarms are collected`,
    broken: 'the model looks broken, alarms are collected',
  }

  /** Notifications that may go out at any moment, and are not counted yet. */
  function flying() {
    const mine = opens.filter(({ sending }) => sending)
    const singles = mine.filter(({ of, notification }) => of.length === 1 && !notification.notice).length
    return {
      notifications: mine.length,
      singles,
      since: Math.max(0, ...mine.map(({ notification }) => notification.at)),
    }
  }
  /** What a notification that has not been tried yet takes, if one may be decided now. */
  function another() {
    const waiting = outbox.waiting()
    const next = waiting > 0 ? paced.next(waiting, clock.now(), flying(), broken()) : undefined
    return next?.wait === 0 ? next : undefined
  }
  /** The next notification, or the ms until there may be one; so many are under way at most. */
  function next(free: boolean): Open | number {
    const [now, steady] = [clock.now(), clock.steady()]
    const waiting = outbox.waiting()
    if (health) health.frauds = outbox.held()
    const hold = Math.max(
      circuit.until() - steady,
      ...opens.map(({ sending, started }) => (sending ? started + overlap - steady : 0)),
    )
    if (!free) return Number.POSITIVE_INFINITY
    if (hold > 0 && !(circuit.byRow() && steady - threads.fresh() > MINUTE && another())) return hold
    if (waiting > 0) {
      const before = first && outbox.first()!.predicted_at < began
      if (before || (circuit.blocked() && !circuit.byRow())) paced.backlog(waiting)
      first = false
    }
    const rest = opens.filter(({ sending }) => !sending)
    const due = rest.find((open) => open.due <= steady)
    const probe = circuit.blocked() && (!due || due.failures > 0) ? another() : undefined
    if (probe) return decide(probe.size, probe.period) // what failed for itself is none while there is another one
    if (due || notices.length > 0) {
      const wait = paced.wait(now, flying())
      if (wait === Number.POSITIVE_INFINITY) return wait
      if (wait > 0) return heldBack('limit', wait)
      return due ?? threads.announce(notices.shift()!)
    }
    const { wait, size, why, period } = paced.next(waiting, now, flying(), broken())
    if (health && outbox.held() + opens.length === 0) health.held = undefined
    const never = wait === Number.POSITIVE_INFINITY
    if (waiting === 0 ? never && held : !never && (wait > 0 || !why)) heldBack(why, wait)
    if (wait > 0) return Math.min(wait, ...rest.map((open) => open.due - steady))
    return decide(size, period)
  }
  /** Says once why notifications wait. */
  function heldBack(why: Why, wait: number): number {
    const now = clock.now()
    if (health)
      health.held = why && {
        why,
        since: why === held ? (health.held?.since ?? now) : now,
        until: now + wait,
      }
    if (why === held) return wait
    held = why
    if (!circuit.blocked()) say(why && reasons[why])
    if (why) log.warn(`${reasons[why]}: ${outbox.held()} held back, next one in ${Math.ceil(wait / MINUTE)} min`)
    else log.info('alarms go out one by one again')
    return wait
  }

  return {
    next,
    tell: (told: Told) => notices.push(told),
    keep() {
      rows.keep('notices', notices.length > 0 ? notices : undefined)
      threads.keep()
    },
  }
}

/** Puts frauds into notifications; those that belong together are a thread. */
function openThreads({ rows, outbox, clock, broken }: ScheduleOptions) {
  let thread = rows.get('thread') as Thread | undefined
  let fresh = Number.NEGATIVE_INFINITY // when a notification was decided last, of the clock that nobody sets back

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
  function announce({ notice, operators, alone }: Told): Open {
    const at = clock.now()
    if (operators || alone) return outbox.decide(0, { at, notice, ...(operators && { operators }) })
    const under = broken() ? undefined : thread?.key
    const open = outbox.decide(FULL, { at, notice, ...(under && { under }) })
    begin(open, at)
    return open
  }
  function begin(open: Open, at: number) {
    thread = { key: open.key, last: at }
  }
  return { decide, announce, fresh: () => fresh, keep: () => rows.keep('thread', thread) }
}
