import { createHash } from 'node:crypto'
import { unlikeCard } from '../card.ts'
import { identity, isSimulated, type Prediction } from '../transaction.ts'

/** Does this prediction call for an analyst? */
export const deservesMail = (p: Pick<Prediction, 'prediction'>) => p.prediction === 1
/** What a stand-in had a hand in is marked. */
export const mark = (frauds: readonly { model: string | null }[]) =>
  frauds.some((p) => isSimulated(p.model)) ? '[simulated] ' : ''

/** Says something of the whole, before the frauds in the notification or instead of any. */
export type Notice = { subject: string; lines: readonly string[] }

/**
 * One message to people, once it is decided: whatever is made of it follows from this alone, to the byte. A fraud is in
 * one notification only. `at` is when it was decided, in ms since 1970, and `by` which version of this program; `under` the key
 * of the notification it belongs to in a thread.
 */
export type Notification = {
  at: number
  /** oldest first; one alone, without a notice, is a single alarm */
  frauds: readonly Prediction[]
  notice?: Notice
  under?: string
  by?: string
  /** for those who run the worker, not for those who check payments */
  operators?: boolean
}

/** Names a notification; that of a single alarm follows from the transaction alone. 32 letters and digits. */
export const notificationKey = ({ at, frauds, notice }: Notification) =>
  draftKey({ at, of: frauds.map(identity), ...(notice && { notice }) })
/** The same, of a notification whose frauds are given by their identities. */
export function draftKey({ at, of, notice }: { at: number; of: readonly string[]; notice?: Notice }): string {
  const alone = of.length === 1 && !notice
  const hash = createHash('sha256').update(alone ? of[0]! : [at, notice?.subject, ...of].join('\n'))
  return unlikeCard(hash.digest('hex').slice(0, 32))
}

/**
 * Who has the notification now, who is refused it for good, and who is put off: these have it not yet, and another `send` to
 * `only` them is due. `said`: all of it in words, for the log.
 */
export type Delivery = {
  accepted: readonly string[]
  rejected: readonly string[]
  deferred: readonly string[]
  said: string
}

/** Where notifications go. */
export type Notifier = {
  /**
   * Resolves once the other side has taken the notification over, for one recipient at least. Rejects with SendFailure when it
   * has not, or when nobody can know. An aborted signal cuts it short. With `only` the same notification, to the byte, goes to
   * those alone whom a Delivery called deferred; that they are refused, or put off again, resolves too: nobody else waits.
   */
  send(notification: Notification, signal: AbortSignal, only?: readonly string[]): Promise<Delivery>
  /** It is about to be sent: what can be done before it may be, is done meanwhile. */
  prepare?(notification: Notification): void
  close(): void
}
