import { hash } from 'node:crypto'
import { identity, type Prediction } from '../transaction.ts'

export const VERDICTS = ['fraud', 'legit', 'unsure', 'withdrawn'] as const
/** `unsure` takes the payment out of the queue and says nothing of it; `withdrawn` puts it back. */
export type Verdict = (typeof VERDICTS)[number]
/** A row of `predictions`: what the model said, and what people did. */
export type Payment = Prediction & {
  sampled: number | null
  threshold: number | null
  fraud_confirmed: 0 | 1 | null
  reviewed_at: number | null
  reviewed_by: string | null
}
export type Which = Pick<Payment, 'trans_num' | 'event_time'>
/** What a list shows of a payment: whoever asks for many is not sent the rest. */
export const LISTED = [
  'trans_num',
  'event_time',
  'cc_num',
  'merchant',
  'category',
  'amt',
  'prediction',
  'score',
  'sampled',
  'fraud_confirmed',
  'reviewed_at',
  'reviewed_by',
] as const
export type Listed = Pick<Payment, (typeof LISTED)[number]>
export type Past = Pick<Payment, 'event_time' | 'amt' | 'merch_lat' | 'merch_long'>
/** What somebody said of a payment; `at` in ms since 1970. */
export type Review = Which & {
  id: number
  verdict: Verdict
  note: string | null
  reviewer: string
  via: 'page' | 'link' | 'import' | 'sql'
  at: number
}
/** `seen`: what whoever says it had before them; without it, it counts whatever was said before. */
export type Saying = Omit<Review, 'id'> & { seen?: string }
/** What came of a saying: it counts; somebody has said something else meanwhile; there is no such payment. */
export type Said = { review: Review } | { stale: Case } | { missing: Which }
/** A payment with all that was said of it, the oldest first. */
export type Case = { payment: Payment; trail: readonly Review[] }
/** With the number of what was said of it last; 0: nothing. */
export type Queued = Listed & { said: number }
export type History = { last: readonly Listed[]; before: readonly Past[] }

export const TABS = ['alarms', 'disagreements', 'audit', 'unsure', 'done'] as const
export type Tab = (typeof TABS)[number]
export type Counts = Record<Tab, number> & { sum: number }
/** Which rows are exported: from and to in ms, `review`: only what was said after that one; none of which more was said after `until`. */
export type Wanted = {
  kind: 'validated' | 'truth' | 'all'
  from: number
  to: number
  since?: { review: number; at: number }
  until?: number
}
/** `part`: of a time, so that more may have been said before. */
export type Exported = { at: number; kind: Wanted['kind'] | 'part'; exported: number; review: number }

export type Sum = { count: number; amount: number }
/**
 * Of some time, up to now: rows that were judged, alarms among them, and frauds by is_fraud that were none; what people said
 * then, `missed` of what was no alarm; and the alarms that are open, by their age, the oldest as it happened.
 */
export type Days = {
  rows: number
  alarms: Sum
  unseen: Sum
  said: Record<'fraud' | 'legit' | 'missed', Sum>
  open: Record<'day' | 'week' | 'older', Sum>
  oldest: number | undefined
}
/** Rows in all, when the first one was, and those since. */
export type Grown = { rows: number; recent: number; first: number | undefined }

/**
 * How many rows of a model, on a day (number of days since 1970, UTC), are alike in what is known of them. `label`: is_fraud;
 * `verdict`: what a person said, 2 unsure. `amount`: the sum of their amounts.
 */
export type Counted = Pick<Payment, 'model' | 'threshold' | 'prediction' | 'sampled'> & {
  day: number
  label: 0 | 1 | null
  verdict: 0 | 1 | 2 | null
  rows: number
  amount: number
}
/** What was said of a row until now. `amount`: its own. */
export type Before = Which & Pick<Counted, 'prediction' | 'label' | 'verdict' | 'amount'>
/** The same of rows with a score: its hundredths, whole; or whether it is at least `cut`, by day. */
export type Scored = Omit<Counted, 'model' | 'threshold'> & { step: number }

/**
 * How the rows of a model between two times are distributed over a column: by `cells`, upper edges of numbers or the names that
 * are there most; behind their `counts` stand those above or others, and those without a value.
 */
export type Measured = {
  model: string
  name: string
  first: number
  last: number
  cells: readonly (string | number)[]
  counts: readonly number[]
}
export type Noted = Measured & { base: boolean }
/** `hour`: number of hours since 1970. */
export type Hour = { hour: number; rows: number; flagged: number }

/** What people ask of the payments, and say of them. Nothing changes anything but what WRITES of work.ts names. */
export type Questions = {
  /** Of a tab the first, in the order in which they are to be looked at: alarms by amount, the largest first. */
  queue(tab: Tab, limit: number): Promise<Queued[]>
  counts(): Promise<Counts>
  /** The payment that an id stands for. */
  find(id: string): Promise<Case | undefined>
  /** Those that ids stand for, each in its place. */
  chosen(ids: readonly string[]): Promise<(Listed | undefined)[]>
  /** The last payments of the card, and those before this payment, the newest first. */
  card(payment: Payment): Promise<History>
  /** By a card's last four digits, the number of a transaction, or part of a merchant's name among the newest rows. */
  search(words: string, limit: number): Promise<Listed[]>
  recent(limit: number): Promise<Listed[]>
  /** Some of the last rows that nobody takes for fraud, whole. */
  usual(limit: number): Promise<Payment[]>
  /** The queue's payments by name, in its order. */
  order(tab: Tab, limit: number): Promise<Which[]>
  /** The sightings of some transactions. */
  sightings(trans_nums: readonly string[]): Promise<Which[]>
  /**
   * Resolves once what counts is durable, as a row of `reviews` and in the row's own columns, in one. The same said
   * again counts once; what is stale or missing changes nothing, and the others of the list count.
   */
  say(sayings: readonly Saying[]): Promise<Said[]>
  /** All that was ever said, and what SQL alone has set: so many after that one, the oldest first. */
  reviews(after: number, limit: number): Promise<Review[]>
  setBySql(after: Which | undefined, limit: number): Promise<Payment[]>
  /** Payments that somebody's word is there for, or all, by time: so many after that one. */
  rows(wanted: Wanted, after: Which | undefined, limit: number): Promise<Payment[]>
  days(from: number, to: number): Promise<Days>
  grown(since: number): Promise<Grown>
  /** All rows of the 50 models (each at a threshold) that judged last, counted; of one model and threshold those before a day, by score: on even days, on odd ones, or each day. */
  counted(): Promise<Counted[]>
  scored(of: Pick<Payment, 'model' | 'threshold'>, until: number, cut?: number): Promise<Scored[]>
  /** Rows from a time to a time, both included: so many after that one. */
  judgedBefore(from: number, to: number, after: Which | undefined, limit: number): Promise<Before[]>
  /** Frauds that were no alarm, the newest first; `labelled`: what the producer says counts where no person has said, or is to say, anything. */
  missed(labelled: boolean, limit: number): Promise<Listed[]>
  /** When the first rows of a model came, at most so many and until then. A model without a name is ''. */
  firstRows(model: string, count: number, until: number): Promise<{ first: number; last: number; rows: number }>
  /** Each watched column of the rows from a time to a time, in the cells of a base, or in those that are even in these rows. */
  measured(model: string, first: number, last: number, base?: readonly Measured[]): Promise<Measured[]>
  hours(of: Pick<Payment, 'model' | 'threshold'>, since: number): Promise<Hour[]>
  /** What was noted, of each model the base, and what began later than `since`. What is noted stays. */
  baselines(since: number): Promise<Noted[]>
  noteBaselines(measured: readonly Noted[]): Promise<void>
  /** The last that was whole. */
  lastExport(): Promise<Exported | undefined>
  lastReview(): Promise<number>
  noteExport(exported: Exported): Promise<void>
} & Judgements &
  Ageing

/** What a model that is no champion says of a row. */
export type Judged = Which &
  Pick<Prediction, 'prediction' | 'score' | 'predicted_at'> & { model: string; threshold: number }
export type Paired = Pick<Counted, 'day' | 'label' | 'verdict' | 'rows' | 'amount'> &
  Record<'champion' | 'challenger', 0 | 1>
/** What challengers say, beside what champions said of the same rows. */
export type Judgements = {
  /** Resolves once they are there; one that is there stays as it is. */
  keep(judged: readonly Judged[]): Promise<void>
  /** Rows that a challenger flags, judged since then, and nobody else: they are not yet drawn for a person. The newest, 500 at most. */
  undrawn(since: number): Promise<Which[]>
  /** A person gets to see these for certain. */
  draw(which: readonly Which[]): Promise<void>
  /** Rows that both models have judged, whichever of them was the champion then, counted by what is alike. */
  paired(champion: string, challenger: string): Promise<Paired[]>
}
/** A row with all that there is of it: what people said, the oldest first, and what challengers say. */
export type Aged = Payment & {
  reviews: readonly Omit<Review, keyof Which>[]
  judgements: readonly Omit<Judged, keyof Which>[]
}
/** `gone`: no such row; `other`: something of it is not as given. */
export type Forgotten = 'done' | 'gone' | 'other'
/** Old rows, which are kept elsewhere. What people said stays here, too. */
export type Ageing = {
  /** The first rows by time that happened and were judged before then, after that one; no alarm that nobody has judged. */
  aged(before: number, after: Which | undefined, limit: number): Promise<Aged[]>
  /** Removes those that are as given to the last digit and verdict, in one; what became of each. */
  forget(rows: readonly Aged[]): Promise<Forgotten[]>
  /** Puts them where none of that name is, in one. How many. */
  putBack(rows: readonly Aged[]): Promise<number>
}
export type Reviews = Questions & { close(): Promise<void> }

/** Names a payment where its number must not stand, as in a URL. */
export const idOf = (of: Which) => `${of.event_time.toString(36)}-${hash('sha256', identity(of)).slice(0, 8)}`
/** Where the desk shows it. */
export const addressOf = (desk: URL, of: Which) => `${desk.href.replace(/\/$/, '')}/desk/${idOf(of)}`

const CONFIRMED: Record<Verdict, 0 | 1 | null> = { fraud: 1, legit: 0, unsure: null, withdrawn: null }
/** What the reviewer's columns of a row are after a review. */
export const columnsAfter = ({ verdict, at, reviewer }: Omit<Review, 'id'>) =>
  verdict === 'withdrawn'
    ? { fraud_confirmed: null, reviewed_at: null, reviewed_by: null }
    : { fraud_confirmed: CONFIRMED[verdict], reviewed_at: at, reviewed_by: reviewer }

/** The verdict that a row's columns hold; undefined while it is open. */
export const verdictOf = ({
  fraud_confirmed: confirmed,
  reviewed_at,
}: Pick<Payment, 'fraud_confirmed' | 'reviewed_at'>): Verdict | undefined =>
  confirmed === 1 ? 'fraud' : confirmed === 0 ? 'legit' : reviewed_at === null ? undefined : 'unsure'

/** Is what the columns hold of SQL alone, and not what was said last? */
export function isSetBySql({ payment, trail }: Case): boolean {
  const after = trail.length > 0 ? columnsAfter(trail.at(-1)!) : undefined
  const { fraud_confirmed, reviewed_at } = payment
  return fraud_confirmed !== (after?.fraud_confirmed ?? null) || reviewed_at !== (after?.reviewed_at ?? null)
}

/** What a person has before them: the last that was said, and what the columns hold. */
export const seenOf = ({ payment, trail }: Case) => seenBy(payment, trail.at(-1)?.id ?? 0)
export const seenBy = (
  { fraud_confirmed, reviewed_at }: Pick<Payment, 'fraud_confirmed' | 'reviewed_at'>,
  last: number,
) => `${last}.${fraud_confirmed ?? ''}.${(reviewed_at ?? 0).toString(36)}`
