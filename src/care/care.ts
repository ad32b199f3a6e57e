import type { Logger } from 'pino'
import type { Condition } from '../alert/trouble.ts'
import { reason } from '../io/errors.ts'
import { HOUR } from '../io/time.ts'
import type { Listed, Reviews } from '../review/reviews.ts'
import { seeded } from '../simulate/random.ts'
import { type Board, boards, type Rules, ripeUntil, type Truth, truthIn } from './board.ts'
import { type Comparison, compare, type Pair } from './compare.ts'
import { type Curve, curveOf, savingOf } from './curve.ts'
import { driftConditions, lookForDrift, type Source, type Watched } from './watch.ts'

/** ms that an answer is kept at least; one that took long is kept for so many times as long */
const [KEPT, TIMES] = [10_000, 100]
/** ms until it is looked for drift again where that failed */
const AGAIN = 300_000
/** missed frauds that are listed */
const MOST_MISSED = 50

/** How good each model is, counted at that time (ms since 1970). */
export type Quality = { at: number; truth: Truth; boards: Board[] }
/** The same with what a page shows: frauds that were missed, and what other thresholds of the last model would cost. */
export type Shown = Quality & { missed: Listed[]; curve?: Curve; drift: Watched[]; compared: Compared | undefined }
/** The two models on the same rows; how many that one of them alone flags wait for a person. */
export type Compared = Pair['names'] & { comparison: Comparison; waiting: number }
export type Care = ReturnType<typeof openCare>
export type CareOptions = {
  reviews: Source & Pick<Reviews, 'scored' | 'missed' | 'noteBaselines' | 'paired' | 'counts'>
  rules: Rules
  /** The champion and the challenger, if there is one. */
  pair?: (() => Promise<Pair>) | undefined
  /** Takes the figures wherever else they are wanted, whenever it is looked for drift. */
  publish?: ((quality: Quality) => Promise<void>) | undefined
  log?: Logger
  now?: () => number
}

/** Looks after the models. What needs all rows is counted by the database, off the loop, now and then. */
export function openCare({ reviews, rules, pair, publish, log, now = Date.now }: CareOptions) {
  const random = () => seeded(1).uniform // the same figures for the same rows
  const quality = kept(async (): Promise<Quality> => {
    const [at, counted] = [now(), await reviews.counted()]
    return { at, truth: truthIn(counted, rules), boards: boards(counted, rules, at, random()) }
  })
  async function curve({ at, truth, boards }: Quality) {
    const board = boards[0]
    if (!board) return undefined
    const [prices, until] = [{ truth, reviewCost: rules.reviewCost }, ripeUntil(at, truth, rules)]
    const found = curveOf(await reviews.scored(board, until), prices)
    if (!found?.cheapest) return found
    const byDay = await reviews.scored(board, until, found.cheapest.at)
    return { ...found, cheapest: { at: found.cheapest.at, ...savingOf(byDay, prices, random()) } }
  }
  const compared = kept(async (): Promise<Compared | undefined> => {
    const found = await pair?.()
    if (!found) return undefined
    const paired = await reviews.paired(found.stamped.champion, found.stamped.challenger)
    const { disagreements: waiting } = await reviews.counts()
    return { ...found.names, comparison: compare(paired, rules, now(), random()), waiting }
  })
  const shown = kept(async (): Promise<Shown> => {
    const counted = await quality.ask()
    const missed = await reviews.missed(counted.truth === 'producer', MOST_MISSED)
    const found = await curve(counted)
    const drift = await lookForDrift({ reviews, boards: counted.boards, now: counted.at })
    const other = await compared.ask()
    return { ...counted, missed, drift, compared: other, ...(found && { curve: found }) }
  })
  let watched: Watched[] = []
  let [due, unpublished] = [0, false]
  async function look() {
    const found = await quality.ask()
    await publish?.(found).then(
      () => {
        unpublished = false
      },
      (error) => {
        if (!unpublished)
          log?.warn(`the figures of the models were not written to MLflow: ${reason(error)}; again each hour`)
        unpublished = true
      },
    )
    watched = await lookForDrift({ reviews, note: reviews.noteBaselines, boards: found.boards, now: now() })
  }
  return {
    /** What is known to have drifted, and what is as it was; it is looked at anew every hour, by whoever asks. */
    conditions(): Condition[] {
      if (now() >= due) {
        due = now() + HOUR
        look().catch(() => {
          due = now() + AGAIN
        })
      }
      return driftConditions(watched)
    },
    look,
    quality: quality.ask,
    compared: compared.ask,
    shown: shown.ask,
    /** What was counted last, if anything was; it is counted anew meanwhile. */
    latest: quality.latest,
  }
}

/** Asks once for all who ask at a time; while it asks again the last answer counts. */
function kept<T>(ask: () => Promise<T>) {
  let last: T | undefined
  let under: Promise<T> | undefined
  let until = 0
  function renew() {
    const began = performance.now()
    under ??= ask()
      .then((answer) => {
        last = answer
        return answer
      })
      .finally(() => {
        const ended = performance.now()
        until = ended + Math.max(KEPT, TIMES * (ended - began))
        under = undefined
      })
    return under
  }
  function latest() {
    if (performance.now() >= until) renew().catch(() => {}) // said by whoever asks for it
    return last
  }
  return { latest, ask: async () => latest() ?? renew() }
}
