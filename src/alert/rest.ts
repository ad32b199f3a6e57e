import type { Logger } from 'pino'
import { anyOf } from '../io/abort.ts'
import { SendFailure } from '../io/errors.ts'
import { seconds } from '../io/text.ts'
import { HOUR } from '../io/time.ts'
import { sayFailure } from '../run/failure.ts'
import { backoff } from '../run/loop.ts'
import type { Clock } from './clock.ts'
import { type Delivery, type Notification, notificationKey } from './notifier.ts'
import { exact } from './outbox.ts'
import type { Rows } from './rows.ts'

/** ms after which mail servers give a mail up (RFC 5321, 4.5.4.1) */
const GIVE_UP = 96 * HOUR
/** notifications at most, and frauds in one that is noted, some 700 bytes each: a longer one is forgotten by a restart */
const [MOST, NOTED] = [50, 500]

/** `since`: when the others got it, in ms since 1970. */
/** As it is stored. */
type Row = { letter: Notification; only: readonly string[]; since: number }
type Rest = Omit<Row, 'letter'> & { notification: Notification; key: string; failures: number; due: number }
type Means = { clock: Clock; log: Logger; pause: number; settle(): Promise<void> }

/**
 * Notifications that some recipients have and some are put off with, by greylisting or a full mailbox. The frauds in them are
 * mailed; these go on to those alone, as the same mail, after pauses that begin with `pause` ms.
 */
export function openRests({ under, set }: Rows, { clock, log, pause, settle }: Means) {
  const rests = new Map<string, Rest>()
  let wake = () => {}
  for (const [key, row] of under('rest/') as [string, Row][]) {
    const { letter, ...rest } = row
    const notification = { ...letter, frauds: letter.frauds.map(exact) }
    rests.set(key, { ...rest, notification, key, failures: 0, due: 0 })
  }

  function keep(rest: Rest) {
    const { key, notification, only, since } = rest
    rests.set(key, rest)
    if (notification.frauds.length <= NOTED) set(`rest/${key}`, { letter: notification, only, since } satisfies Row)
  }
  function drop({ key }: Rest) {
    rests.delete(key)
    set(`rest/${key}`, null)
  }
  function giveUp(rest: Rest, why: string) {
    drop(rest)
    log.warn(`${rest.only.join(', ')} did not get a mail that others have, ${why}: check ALERT_TO`)
  }
  function putOff(rest: Rest, said: string) {
    rest.failures++
    const wait = backoff(rest.failures, pause, HOUR)
    rest.due = clock.steady() + wait
    if (clock.now() - rest.since > GIVE_UP) giveUp(rest, `and was put off for ${GIVE_UP / HOUR} h`)
    else sayFailure(log, said, `the others have it; retrying in ${seconds(wait)} s`, said)
  }

  async function attempt(rest: Rest, send: () => Promise<Delivery>, stop: AbortSignal) {
    try {
      const { rejected, deferred, said } = await send()
      if (deferred.length > 0) {
        if (deferred.length < rest.only.length) keep(Object.assign(rest, { only: deferred }))
        return putOff(rest, said)
      }
      drop(rest)
      log[rejected.length > 0 ? 'warn' : 'info'](said)
    } catch (error) {
      if (!(error instanceof SendFailure)) throw error
      if (!stop.aborted) putOff(rest, error.message)
    }
  }

  return {
    add(notification: Notification, only: readonly string[]) {
      const rest = { notification, only, since: clock.now(), key: notificationKey(notification), failures: 1, due: 0 }
      keep(Object.assign(rest, { due: clock.steady() + backoff(1, pause, HOUR) }))
      const [oldest] = rests.values()
      if (rests.size > MOST) giveUp(oldest!, `as more than ${MOST} wait for such recipients`)
      wake()
    },
    /** Sends what is due, one at a time, until the stop. `blocked`: ms until the channel may be free for these. */
    async deliver(
      stop: AbortSignal,
      send: (notification: Notification, only: readonly string[]) => Promise<Delivery>,
      blocked: () => number,
    ): Promise<void> {
      while (!stop.aborted) {
        const next = [...rests.values()].sort((a, b) => a.due - b.due)[0]
        const wait = next ? Math.max(next.due - clock.steady(), blocked()) : HOUR
        if (next && wait <= 0) {
          await attempt(next, () => send(next.notification, next.only), stop)
          await settle()
          continue
        }
        const added = new AbortController()
        wake = () => added.abort()
        await clock.sleep(Math.min(wait, HOUR), anyOf(stop, added.signal))
        added.abort()
      }
    },
  }
}
