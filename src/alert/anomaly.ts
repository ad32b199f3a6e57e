/** predictions that are looked at */
const RECENT = 200
/** fewer predictions prove nothing */
const LEAST = 20
/** rows at which the counts are halved: so 6,667 to 13,333 count, about the last 10,000 */
const HALVED = 13_333
/** What is believed before anything is known, as firmly as after 100 rows: more than any sound model flags. */
const PRIOR = { flagged: 20, rows: 100 }
/** A share is plausible when its chance is above; far from impossible, so that the verdict does not flap. */
const PLAUSIBLE = 0.01
/** rows that a new share must have held for to be normal, and the largest one that can be */
const SETTLED = 10_000
const MOST = 0.2

type Counts = [flagged: number, rows: number]

/** What outlives the process, as JSON: less than 400 bytes. */
export type AnomalyState = {
  /** the last predictions, oldest first: 1 for a flagged one, 0 for another */
  recent: string
  /** what came before them, without what came while it was broken */
  usual: Counts
  /** while it is broken: what has left `recent` (10,000 at most), and for how many rows on end `recent` is plausible */
  broken?: { since: Counts; calm: number }
  /** which model has said it */
  model?: string | null
}

/**
 * Notices when a model flags more than can be by chance: when so many flagged ones among the last 200 predictions have
 * a chance below `impossible` (e.g. 1e-12) at the usual share, that of about 10,000 predictions before them. Without a
 * history the usual share is 20 %: a model that flags everything is noticed at the 20th row. One that flags slowly more
 * is not: that becomes usual.
 *
 * It is sound again when the last 200 have been plausible for 200 rows on end; what came before these never counts as
 * usual. Or when a new share, 20 % at most, has held for 10,000 rows: then the model was changed on purpose, and this
 * is usual from now on. A model that flags more than that is broken for as long as it does.
 */
export function anomalyDetector(impossible: number, state: AnomalyState = { recent: '', usual: [0, 0] }) {
  const recent = Array.from(state.recent, Number)
  let { usual, broken, model } = structuredClone(state)
  let flaggedNow = recent.reduce((sum, one) => sum + one, 0)

  const chance = (share: number, flagged = flaggedNow) => tail(flagged, recent.length, share)

  /** Is it a share that a sound model may have, and still has? */
  function isNormal(since: Counts): boolean {
    const share = shareOf(since)
    if (share > MOST || chance(share) <= PLAUSIBLE) return false
    return 1 - chance(share, flaggedNow + 1) > PLAUSIBLE // not too few either
  }

  /** Another model: what was usual says nothing of it. True if the one before it looked broken. */
  function beginAnew(): boolean {
    const was = broken !== undefined
    recent.length = flaggedNow = 0
    usual = [0, 0]
    broken = undefined
    return was
  }

  function counted(flagged: boolean): 'broken' | 'sound' | undefined {
    recent.push(Number(flagged))
    flaggedNow += Number(flagged)
    if (recent.length > RECENT) {
      const left = recent.shift()!
      flaggedNow -= left
      count(broken?.since ?? usual, left)
    }
    if (!broken) {
      if (!flagged || recent.length < LEAST || chance(shareOf(usual)) >= impossible) return undefined
      broken = { since: [0, 0], calm: 0 }
      return 'broken'
    }
    broken.calm = chance(shareOf(usual)) > PLAUSIBLE ? broken.calm + 1 : 0
    if (broken.calm < RECENT) {
      if (broken.since[1] < SETTLED) return undefined
      if (!isNormal(broken.since)) {
        broken.since = [0, 0]
        return undefined
      }
      usual = broken.since
    }
    broken = undefined
    return 'sound'
  }

  return {
    /** Counts one more prediction, of that model; what this one has changed, if anything. */
    saw(flagged: boolean, by: string | null | undefined = model): 'broken' | 'sound' | 'another' | undefined {
      const another = model !== undefined && by !== model && beginAnew()
      model = by
      const change = counted(flagged)
      return another ? 'another' : change
    },
    broken: () => broken !== undefined,
    /** `flagged` among the last `of`; at the `usual` share (0 to 1) so many or more have this `chance` (0 to 1). */
    figures: () => ({
      flagged: flaggedNow,
      of: recent.length,
      usual: shareOf(usual),
      chance: chance(shareOf(usual)),
    }),
    state: (): AnomalyState =>
      structuredClone({
        recent: recent.join(''),
        usual,
        ...(broken && { broken }),
        ...(model !== undefined && { model }),
      }),
  }
}

const shareOf = ([flagged, rows]: Counts) => (flagged + PRIOR.flagged) / (rows + PRIOR.rows)

function count(counts: Counts, flagged: number) {
  counts[0] += flagged
  if (++counts[1] < HALVED) return
  for (const i of [0, 1] as const) counts[i] = Math.ceil(counts[i] / 2)
}

const LOG_FACTORIAL = [0]
for (let n = 1; n <= RECENT; n++) LOG_FACTORIAL.push(LOG_FACTORIAL[n - 1]! + Math.log(n))

/** The chance of `k` or more out of `n` when each has the chance `p`: k <= n <= 200, 0 < p < 1. */
export function tail(k: number, n: number, p: number): number {
  if (k <= 0) return 1
  if (k <= n * p) return 1 - tail(n - k + 1, n, 1 - p) // always the side whose terms only get smaller
  const log = LOG_FACTORIAL[n]! - LOG_FACTORIAL[k]! - LOG_FACTORIAL[n - k]! + k * Math.log(p) + (n - k) * Math.log1p(-p)
  let [term, sum] = [1, 1]
  for (let i = k; i < n && term > sum * 1e-17; i++) {
    term *= ((n - i) / (i + 1)) * (p / (1 - p))
    sum += term
  }
  return Math.exp(log) * sum
}
