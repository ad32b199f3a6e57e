import { anyOf } from '../io/abort.ts'
import { SendFailure } from '../io/errors.ts'
import { seconds } from '../io/text.ts'
import { HOUR } from '../io/time.ts'
import { sayFailure } from '../run/failure.ts'
import { backoff, drainTimeout, reportFailure, reportSuccess, type Stage } from '../run/loop.ts'
import { openTurns } from '../run/turns.ts'
import type { Lease } from '../topic/topic.ts'
import type { CircuitBreaker } from './circuit-breaker.ts'
import type { Clock } from './clock.ts'
import type { Ledger } from './ledger.ts'
import type { Delivery, Notification, Notifier } from './notifier.ts'
import type { Open, Outbox } from './outbox.ts'
import type { Pace } from './pace.ts'
import { openRests } from './rest.ts'
import type { Rows } from './rows.ts'
import type { Schedule } from './schedule.ts'

/** No DOMException is made with it, which takes longer than all the rest of it. */
const WOKEN = new Error('woken')
/** sessions at once: one that is stuck does not hold up the next alarm */
const SESSIONS = 5
/** first pauses that a recipient is left alone who was put off: greylisting takes minutes */
const REST_PAUSE = 30
/** the longest pause of a notification that fails for itself: nobody gets a doubtful one a thousand times a day */
const LONGEST = HOUR

export type DispatchOptions = {
  lease: Lease
  rows: Rows
  outbox: Outbox
  ledger: Ledger
  schedule: Schedule
  paced: Pace
  circuit: CircuitBreaker
  notifier: Notifier
  clock: Clock
  firstPause: number
  /** ms that sessions in flight are given after the stop, to hear the answer to what is out */
  afterStop: number
  /** ms that a notification waits to be noted */
  notedWithin: number
}

/** Sends notifications, over a few sessions at once, and what some recipients are still owed. */
export function openDispatch(stage: Stage, options: DispatchOptions) {
  const { lease, rows, outbox, ledger, schedule, paced, circuit, notifier, clock, firstPause, afterStop, notedWithin } =
    options
  const { log, turns = openTurns() } = stage
  const { settle, say, proven } = ledger
  const rests = openRests(rows, { clock, log, pause: REST_PAUSE * firstPause, settle })
  const putOff = failing(stage, options)
  const sending = new Set<Promise<void>>()
  let wake = () => {}

  const dispatching = async (stop: AbortSignal) => {
    stop.addEventListener('abort', () => wake(), { once: true })
    try {
      while (!stop.aborted) {
        const chosen = schedule.next(sending.size < SESSIONS)
        if (typeof chosen !== 'number') {
          circuit.tries(clock.steady())
          const sent: Promise<void> = turns.alarm(() => send(chosen, stop)).finally(() => sending.delete(sent))
          sending.add(sent)
        } else {
          await Promise.race([...sending, woken(chosen)])
          wake() // no timer stays behind
        }
      }
      await Promise.all(sending)
    } finally {
      await Promise.allSettled(sending) // none goes on when another term begins, or the channel is closed
    }
  }
  /** Resolves after `ms` (an hour at most), or earlier when there may be something to do. */
  function woken(ms: number): Promise<void> {
    const end = new AbortController()
    wake = () => end.abort(WOKEN)
    return clock.sleep(Math.min(ms, HOUR), end.signal)
  }

  const post = (notification: Notification, signal: AbortSignal, only?: readonly string[]): Promise<Delivery> =>
    notifier.send(notification, anyOf(signal, lease.lost), only).catch((error) => {
      if (error instanceof SendFailure) lease.lost.throwIfAborted()
      throw error
    })
  async function postRest(notification: Notification, only: readonly string[], stop: AbortSignal): Promise<Delivery> {
    using late = drainTimeout(stop, afterStop)
    await proven(settle())
    return await post(notification, late.signal, only)
  }

  async function send(open: Open, stop: AbortSignal): Promise<void> {
    using late = drainTimeout(stop, afterStop)
    Object.assign(open, { sending: true, started: clock.steady() })
    notifier.prepare?.(open.notification)
    const noted = open.noted ? undefined : settle()
    if (noted) {
      const enough = new AbortController()
      await Promise.race([noted, clock.sleep(notedWithin, enough.signal)]).finally(() => enough.abort(WOKEN))
    }
    await proven(noted)
    if (stop.aborted && !open.noted) return
    const size = open.notification.frauds.length
    let delivery: Delivery
    try {
      delivery = await post(open.notification, late.signal)
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
    reportSuccess(stage.health)
    if (rejected.length > 0) reportFailure(stage.health, new Error(said), { lasting: false, now: clock.now() })
    if (circuit.arrived(open.started)) {
      log.info('alarms go out again')
      say(undefined)
    }
    paced.sent(size, clock.now(), open.doubtful)
    outbox.sent(open, clock.now())
    if (deferred.length > 0) rests.add(open.notification, deferred)
    wake() // the next one is decided at once, and noted with this one; it is not sent before
    await settle()
  }

  const resting = (stop: AbortSignal) =>
    rests.deliver(
      stop,
      (notification, only) => postRest(notification, only, stop),
      () => (circuit.blocked() ? Math.max(circuit.until() - clock.steady(), firstPause) : 0),
    )

  return { dispatching, resting, wake: () => wake() }
}

/** What becomes of a notification that was not taken over. */
function failing({ log, health }: Stage, { outbox, ledger, circuit, clock, firstPause }: DispatchOptions) {
  return (open: Open, error: SendFailure) => {
    const { message, scope, delivered, retryAfter } = error
    const [own, sure] = [scope !== 'channel' || delivered === 'maybe', scope === 'message' && delivered === 'no']
    const [now, { of }] = [clock.steady(), open]
    const others = circuit.failed(open, open.started, error, now)
    const which =
      of.length === 0
        ? `the notice "${open.notification.notice?.subject}"`
        : of.length === 1
          ? `transaction ${open.notification.frauds[0]!.trans_num}`
          : `${of.length} frauds`
    const halved = sure && outbox.refused(open)
    if (own && !sure) open.failures++
    if (!own) outbox.dissolve(open)
    if (own) open.due = now + Math.max(backoff(open.failures, firstPause, LONGEST), retryAfter)
    if (others === 'known') return // one failure, and one line, for all that were under way
    const blocked = others === 'blocked'
    if (blocked && own) open.due = Math.max(open.due, circuit.until() + firstPause) // better probe with another one
    reportFailure(health, error, { lasting: blocked, now: clock.now() })
    if (blocked) ledger.say(message)
    const again = seconds((blocked ? circuit.until() : open.due) - now)
    const next = halved && !blocked ? 'sending it in halves' : `retrying in ${again} s`
    const what = own ? `${which}: ${message}` : message
    sayFailure(log, what, `${outbox.held()} held back, nothing is dropped; ${next}`, what)
  }
}
