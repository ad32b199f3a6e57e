import type { Batch } from '../topic/topic.ts'
import { identity, type Prediction } from '../transaction.ts'
import { VERSION } from '../version.ts'
import { deservesMail } from './alert.ts'
import type { Letter } from './way.ts'

/** frauds that are noted whole at most, some 700 bytes each: what holds them up does not hold up the position */
const CARRIED = 500
/** records that a fraud may hold up before it is carried */
const HELD_UP = 2000
/**
 * More records are not read, so that memory and notes stay small: of all, waiting, in letters too, or sent beyond the
 * position.
 */
const MOST = { records: 50_000, waiting: 2000, held: 6000, beyond: 5000 }
/** letters at most that are found out about by halves */
const HALVES = 500
/**
 * ms until frauds of an earlier process's letters count as removed, once as many records are read as it had read: Kafka
 * may hand out the partitions in another order
 */
const READ_AGAIN = 600_000
/** refusals after which a single alarm is carried */
const PATIENCE = 3

/**
 * A record that was read and not passed, `n` in order. `done`: the position may pass it. `carried`: as it is noted whole,
 * though it is not sent; without a batch an earlier process has. `early`: one of those that may be old. `fraud`: it
 * counts; another sighting of the same transaction does not.
 */
type Item = {
  n: number
  prediction: Prediction
  batch?: Batch<Prediction>
  done: boolean
  carried: boolean
  early?: boolean
  fraud: boolean
}
/** What a letter is, apart from its frauds; these by name. */
type Draft = Omit<Letter, 'frauds'> & { of: readonly string[] }
/**
 * A letter that is decided and not sent. A fraud is undefined until it is read again. `doubtful`: it may have arrived.
 * `started` and `due` (sent last; may be sent again) are ms of a clock that nobody sets back.
 */
export type Open = Draft & {
  frauds: (Item | undefined)[]
  noted: boolean
  sending: boolean
  doubtful: boolean
  started: number
  failures: number
  due: number
}
/**
 * What was there before anybody wanted it, beyond the position: so many records at most, that were predicted before then
 * (ms since 1970). Kafka counts its own marks too, and a clock may be set back.
 */
type Old = { records: number; until: number }
/**
 * What outlives the process. `ahead`: done beyond the position; `seen`: how many records beyond it were seen; `waits`: why
 * nothing goes out, since then (ms since 1970). JSON.
 */
export type NotedAccount = {
  ahead: readonly string[]
  open?: readonly Draft[]
  carried?: readonly Prediction[]
  seen?: number
  old?: Old
  total?: Total
  waits?: { why: string; since: number }
}
/** For ever: `frauds` that the position has passed, and those that were `mailed`, or need not be as they are old. */
export type Total = { frauds: number; mailed: number }

/**
 * How many frauds are mailed, or are not to be, that the account has no place for: 0, or it is wrong. The totals are
 * kept apart from one another, where frauds are read and where they are sent.
 */
export const unaccounted = ({ total, ahead, carried = [] }: NotedAccount): number =>
  total === undefined ? 0 : total.frauds + ahead.length - carried.length - total.mailed

/**
 * Where each fraud is between the topic and the way: it waits, or it is in exactly one letter that is decided and not
 * sent, or it is done. What is noted before a letter is sent is enough to send it again as it was, after a crash.
 */
export function openAccount(noted: NotedAccount, steady: () => number, wasSent: (name: string) => boolean) {
  const ahead = new Map<string, number>() // by an earlier process, and not read again yet; an identity may repeat
  for (const name of noted.ahead) ahead.set(name, (ahead.get(name) ?? 0) + 1)
  const items: Item[] = [] // read and not passed, in order
  const waiting: Item[] = [] // frauds in no letter, in order
  const opens: Open[] = []
  // In letters, to be read again. What an earlier release has noted may have one fraud in several places.
  const missing = new Map<string, { open: Open; i: number }[]>()
  const known = new Set<string>() // frauds that are here and not sent: another sighting of one is no other fraud
  let [read, toSee] = [0, noted.seen ?? 0]
  let oldRecords = noted.old?.records ?? 0
  let giveUpAt: number | undefined
  // An earlier release kept no totals.
  let { frauds, mailed } = noted.total ?? { frauds: noted.carried?.length ?? 0, mailed: noted.ahead.length }

  const here = ({ frauds }: Open) => [...new Set(frauds.filter((fraud) => fraud !== undefined))]
  const mine = () => [...waiting, ...opens.flatMap(here)]
  function wasAhead(name: string): boolean {
    const left = (ahead.get(name) ?? 0) - 1
    if (left > 0) ahead.set(name, left)
    else ahead.delete(name)
    return left >= 0
  }
  function place(item: Item) {
    const name = identity(item.prediction)
    const places = missing.get(name)
    if (!places) return waiting.push(item)
    for (const { open, i } of places) open.frauds[i] = item
    return missing.delete(name)
  }
  function add(draft: Draft, frauds: Open['frauds'], first = false): Open {
    const fresh = { noted: false, sending: false, doubtful: false, started: 0, failures: 0, due: 0 }
    const open = { ...draft, frauds, ...fresh }
    if (first) opens.unshift(open)
    else opens.push(open)
    return open
  }
  for (const draft of noted.open ?? []) {
    const open = add(
      draft,
      draft.of.map(() => undefined),
    )
    Object.assign(open, { noted: true, doubtful: true }) // nobody knows how far it came
    for (const [i, name] of draft.of.entries()) missing.set(name, [...(missing.get(name) ?? []), { open, i }])
  }
  for (const p of noted.carried ?? []) {
    const name = identity(p)
    if (known.has(name))
      frauds-- // an earlier release counted each sighting
    else place({ n: read++, prediction: { ...p, cc_num: BigInt(p.cc_num) }, done: true, carried: true, fraud: true })
    known.add(name)
  }

  function remove(open: Open) {
    opens.splice(opens.indexOf(open), 1)
    for (const name of open.of) {
      const others = missing.get(name)?.filter((place) => place.open !== open) ?? []
      if (others.length > 0) missing.set(name, others)
      else missing.delete(name)
    }
  }
  function giveBack(open: Open) {
    remove(open)
    waiting.push(...here(open).filter((fraud) => !opens.some(({ frauds }) => frauds.includes(fraud))))
    waiting.sort((a, b) => a.n - b.n)
  }
  function carry(frauds: readonly Item[]) {
    const carried = mine().filter((item) => item.carried).length
    const more = frauds
      .filter((item) => !item.carried)
      .sort((a, b) => a.n - b.n)
      .slice(0, Math.max(0, CARRIED - carried))
    for (const item of more) Object.assign(item, { carried: true, done: true })
  }

  return {
    items,
    waiting,
    opens,
    /** frauds that wait or are in letters */
    held: () => waiting.length + opens.reduce((sum, { of }) => sum + of.length, 0),
    /** Is it enough for now? */
    full: () =>
      toSee === 0 && // what an earlier process has read is read again, however much it is
      missing.size === 0 &&
      (items.length >= MOST.records ||
        waiting.length >= MOST.waiting ||
        mine().length >= MOST.held ||
        items.filter(({ done, fraud }) => done && fraud).length >= MOST.beyond),
    /** Takes in what was read; `fresh` is told of what no process has seen before. */
    take(batch: Batch<Prediction>, fresh: (prediction: Prediction) => void) {
      for (const prediction of batch.records) {
        const early = oldRecords > 0 && oldRecords-- > 0
        const old = early && prediction.predicted_at <= noted.old!.until
        const name = identity(prediction)
        const bad = deservesMail(prediction)
        const again = bad && wasAhead(name)
        const fraud = again || (bad && (missing.has(name) || !(known.has(name) || wasSent(name))))
        if (fraud) frauds++
        if (fraud && old && !again) mailed++
        if (fraud && !old) known.add(name)
        const done = !fraud || old || again
        const item: Item = { n: read++, prediction, batch, done, carried: false, early, fraud }
        items.push(item)
        if (toSee > 0) toSee--
        else if (fraud || !bad) fresh(prediction)
        if (!done) place(item)
      }
      if (items.length >= HELD_UP && items[0] && !items[0].done) carry(mine())
    },
    /** Letters of an earlier process whose frauds somebody has removed from the topic: the rest of them waits again. */
    abandon() {
      if (missing.size === 0 || toSee > 0) return
      giveUpAt ??= steady() + READ_AGAIN
      if (steady() >= giveUpAt)
        for (const open of new Set([...missing.values()].flat().map((place) => place.open))) giveBack(open)
    },
    /** Puts the first `size` that wait into a letter. */
    decide(size: number, draft: Omit<Draft, 'of'>): Open {
      const frauds = waiting.splice(0, size)
      return add({ by: VERSION, ...draft, of: frauds.map(({ prediction }) => identity(prediction)) }, frauds)
    },
    /** The letter, once all of its frauds are here. */
    letter({ of: _, noted, sending, doubtful, started, failures, due, frauds, ...draft }: Open): Letter | undefined {
      const predictions = frauds.flatMap((fraud) => fraud?.prediction ?? [])
      return predictions.length === frauds.length ? { ...draft, frauds: predictions } : undefined
    },
    sent(open: Open) {
      remove(open)
      const gone = here(open).filter((fraud) => !opens.some(({ frauds }) => frauds.includes(fraud)))
      for (const fraud of gone) {
        fraud.done = true
        known.delete(identity(fraud.prediction))
      }
      mailed += gone.length
    },
    /** It is certain that it has not arrived: its frauds wait again, and may go with others. */
    dissolve(open: Open) {
      if (!open.doubtful && !open.notice) giveBack(open)
    },
    /** It was refused for what is in it: halves find out what, and what is refused alone holds up no others. True if it was halved. */
    refused(open: Open): boolean {
      open.failures++
      const { of, frauds, notice, ...rest } = open
      if (of.length > (notice ? 0 : 1) && opens.length < HALVES) {
        const half = Math.ceil(of.length / 2)
        const bare = { at: rest.at, ...(rest.by && { by: rest.by }), ...(rest.under && { under: rest.under }) }
        remove(open)
        // Before the others, so that it is not taken into more and more parts at once.
        if (half < of.length) add({ ...bare, of: of.slice(half) }, frauds.slice(half), true)
        add({ ...bare, of: of.slice(0, half) }, frauds.slice(0, half), true)
        if (notice) add({ ...bare, ...(rest.operators && { operators: true }), notice, of: [] }, [], true)
        return true
      }
      if (open.failures >= PATIENCE) carry(frauds.filter((fraud) => fraud !== undefined))
      return false
    },
    /** What is to be noted when the position passes the first `passed` items. */
    noted(passed: number): NotedAccount {
      const rest = items.slice(passed)
      const ours = rest.filter(({ fraud }) => fraud)
      const beyond = ours.filter(({ done }) => done)
      const carried = mine().filter((item) => item.carried)
      return {
        ahead: [
          ...[...ahead].flatMap(([name, count]) => Array<string>(count).fill(name)),
          ...beyond.map(({ prediction }) => identity(prediction)),
        ],
        ...(opens.length > 0 && {
          open: opens.map(({ at, by, of, notice, under, operators }) => ({
            at,
            ...(by && { by }),
            of,
            ...(notice && { notice }),
            ...(under && { under }),
            ...(operators && { operators }),
          })),
        }),
        ...(carried.length > 0 && { carried: carried.map(({ prediction }) => prediction) }),
        seen: rest.length + toSee,
        total: { frauds: frauds - ours.length, mailed },
        ...(noted.old && {
          old: { ...noted.old, records: oldRecords + rest.filter(({ early }) => early).length },
        }),
      }
    },
  }
}
