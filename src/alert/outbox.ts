import { identity, type Prediction } from '../transaction.ts'
import { VERSION } from '../version.ts'
import { deservesMail, draftKey, type Notification } from './notifier.ts'
import type { Rows } from './rows.ts'
import { openSent } from './sent.ts'

/** No more is read while so many frauds wait, or wait and are in notifications, about 1 kB each here: the topic keeps the rest. */
const MOST = { waiting: 2000, held: 20_000 }
/** notifications at most that are found out about by halves */
const HALVES = 500

/** A fraud that is not sent, `n` in order. */
type Fraud = { n: number; name: string; prediction: Prediction }
/** What a notification is, apart from its frauds; these by identity. */
export type Draft = Omit<Notification, 'frauds'> & { of: readonly string[] }
/**
 * A notification that is decided and not taken over. `doubtful`: it may have arrived. `started` and `due` (sent last; may be
 * sent again) are ms of a clock that nobody sets back.
 */
export type Open = {
  key: string
  of: readonly string[]
  notification: Notification
  noted: boolean
  sending: boolean
  doubtful: boolean
  started: number
  failures: number
  due: number
}
/**
 * Records after the position that an earlier release has `seen` already, and those that are `old`, as they were there
 * before anybody wanted them: so many at most, that were predicted before then (ms since 1970).
 */
export type Before = { seen: number; old?: { records: number; until: number } }
/** For ever: frauds that the position has passed, and those of them that were mailed. What is neither waits. */
export type Total = { frauds: number; mailed: number }

/** Why nothing goes out, since then (ms since 1970): who audits asks. */
export type Waits = { why: string; since: number }

export type Outbox = ReturnType<typeof openOutbox>

/**
 * The frauds that are not sent: each waits, or is in a notification that is decided and not taken over. A fraud is a row
 * `outbox/<identity>`, so one that is seen again is no other one, and a notification a row `letter/<key>`. What changes becomes
 * durable together with the position; so after a crash the rows say where each fraud is, and notifications are what they were.
 */
export function openOutbox(rows: Rows) {
  const memory = openSent(rows)
  const before = openBefore(rows)
  const frauds = new Map<string, Fraud>()
  const opens: Open[] = []
  const total = { frauds: 0, mailed: 0, ...(rows.get('total') as Total | undefined) }
  let n = 0

  for (const [name, prediction] of noted(rows)) frauds.set(name, { n: n++, name, prediction })
  for (const [key, draft] of (rows.under('letter/') as [string, Draft][]).sort(([, a], [, b]) => a.at - b.at)) {
    const of = draft.of.filter((name) => frauds.has(name)) // a fraud's row that is gone is no reason to end
    if (of.length === 0 && !draft.notice) rows.set(`letter/${key}`, null)
    else Object.assign(add({ ...draft, of }), { key, noted: true, doubtful: true }) // nobody knows how far it came
  }
  const decided = new Set(opens.flatMap(({ of }) => of))
  let waiting = [...frauds.values()].filter(({ name }) => !decided.has(name)) // those in no notification, in order

  function add(draft: Draft, first = false): Open {
    const { of, ...rest } = draft
    const notification = { ...rest, frauds: of.map((name) => frauds.get(name)!.prediction) }
    const fresh = { noted: false, sending: false, doubtful: false, started: 0, failures: 0, due: 0 }
    const open = { key: draftKey(draft), of, notification, ...fresh }
    if (first) opens.unshift(open)
    else opens.push(open)
    return open
  }
  function put(draft: Draft, first = false): Open {
    const open = add(draft, first)
    rows.set(`letter/${open.key}`, draft)
    return open
  }
  /** Its frauds that are in no other notification: what an earlier release has noted may have one fraud in several. */
  function remove(open: Open): Fraud[] {
    opens.splice(opens.indexOf(open), 1)
    rows.set(`letter/${open.key}`, null)
    const others = new Set(opens.flatMap(({ of }) => of))
    return [...new Set(open.of)].filter((name) => !others.has(name)).map((name) => frauds.get(name)!)
  }

  return {
    opens,
    waiting: () => waiting.length,
    first: () => waiting[0]?.prediction,
    /** frauds that wait or are in notifications */
    held: () => frauds.size,
    full: () => waiting.length >= MOST.waiting || frauds.size >= MOST.held,
    /** Takes in what was read, and is noted with the position that passes it; `judge` is told of each transaction once. */
    take(predictions: readonly Prediction[], judge: (prediction: Prediction) => void) {
      for (const prediction of predictions) {
        const { seen, old } = before.is(prediction)
        const name = identity(prediction)
        const bad = deservesMail(prediction)
        const fraud = bad && !frauds.has(name) && !memory.has(name)
        if (!seen && (fraud || !bad)) judge(prediction)
        if (!fraud || old) continue
        frauds.set(name, { n: n++, name, prediction })
        waiting.push(frauds.get(name)!)
        total.frauds++
        rows.set(`outbox/${name}`, prediction)
      }
    },
    /** Puts the first `size` that wait into a notification. */
    decide(size: number, draft: Omit<Draft, 'of'>): Open {
      return put({ by: VERSION, ...draft, of: waiting.splice(0, size).map(({ name }) => name) })
    },
    /** The other side has taken it over. */
    sent(open: Open, at: number) {
      memory.add(open.key, open.of, at)
      for (const { name } of remove(open)) {
        frauds.delete(name)
        rows.set(`outbox/${name}`, null)
        total.mailed++
      }
    },
    /** It is certain that it has not arrived: its frauds wait again, and may go with others. */
    dissolve(open: Open) {
      if (open.doubtful || open.notification.notice) return
      waiting = [...remove(open), ...waiting].sort((a, b) => a.n - b.n)
    },
    /** It was refused for what is in it: halves find out what, and what is refused alone holds up no others. True if it was halved. */
    refused(open: Open): boolean {
      open.failures++
      if (open.of.length <= (open.notification.notice ? 0 : 1) || opens.length >= HALVES) return false
      remove(open)
      for (const part of halves(open)) put(part, true) // before the others: it is not taken into more and more parts at once
      return true
    },
    /** What has changed besides the frauds and notifications. */
    settle() {
      rows.keep('total', total)
      before.settle()
    },
  }
}

/** What an earlier release has left to be read again. */
function openBefore(rows: Rows) {
  const { seen = 0, old } = (rows.get('before') as Before | undefined) ?? {}
  const left = { seen, old: old?.records ?? 0 }
  return {
    is({ predicted_at }: Prediction) {
      const is = { seen: left.seen > 0, old: left.old > 0 && predicted_at <= old!.until }
      for (const kind of ['seen', 'old'] as const) if (left[kind] > 0) left[kind]--
      return is
    },
    settle() {
      const rest = { seen: left.seen, ...(left.old > 0 && { old: { ...old!, records: left.old } }) }
      rows.keep('before', left.seen + left.old > 0 ? rest : undefined)
    },
  }
}

/** The parts of a notification, the last one first; a notice is one of its own. */
function halves({ of, notification: { frauds: _, notice, operators, ...bare } }: Open): Draft[] {
  const names = [...new Set(of)]
  const half = Math.ceil(names.length / 2)
  const parts: Draft[] = [names.slice(half), names.slice(0, half)].map((of) => ({ ...bare, of }))
  return [
    ...parts.filter(({ of }) => of.length > 0),
    ...(notice ? [{ ...bare, ...(operators && { operators }), notice, of: [] }] : []),
  ]
}

/** A prediction from a row: JSON has no bigint for a small card number. */
export const exact = (p: Prediction): Prediction => ({ ...p, cc_num: BigInt(p.cc_num) })
/** The frauds that were noted, in order. */
const noted = (rows: Rows) =>
  (rows.under('outbox/') as [string, Prediction][])
    .map(([name, p]): [string, Prediction] => [name, exact(p)])
    .sort(([a, p], [b, q]) => p.predicted_at - q.predicted_at || (a < b ? -1 : 1))

export type Whereabouts = ReturnType<typeof whereabouts>
/** Where each fraud is, for who looks from outside: those that wait, of them those in notifications and since when, why they wait. */
export function whereabouts(rows: Rows) {
  const notifications = rows.under('letter/').map(([, draft]) => draft as Draft)
  return {
    waiting: new Map(noted(rows)),
    decided: new Map(notifications.flatMap(({ at, of }) => of.map((name) => [name, at] as const))),
    wasSent: openSent(rows).has,
    total: rows.get('total') as Total | undefined,
    waits: rows.get('waits') as Waits | undefined,
  }
}
