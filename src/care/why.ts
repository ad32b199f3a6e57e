import { utc } from '../io/time.ts'
import type { Payment, Reviews } from '../review/reviews.ts'
import type { Model } from '../score/mlflow.ts'
import type { Transaction } from '../transaction.ts'

/** What is taken from the payment together, or from another one. */
export const GROUPS = {
  amount: ['amt'],
  'what is bought': ['merchant', 'category'],
  home: ['street', 'city', 'state', 'zip', 'lat', 'long', 'city_pop'],
  "the merchant's place": ['merch_lat', 'merch_long'],
  time: ['event_time', 'unix_time', 'trans_date_trans_time'],
  'holder and card': ['cc_num', 'first', 'last', 'gender', 'job', 'dob', 'trans_num'],
} as const satisfies Record<string, readonly (keyof Transaction)[]>
export type Group = keyof typeof GROUPS
const NAMES = Object.keys(GROUPS) as Group[]
const COALITIONS = 2 ** NAMES.length
/** other payments that the payment is compared with */
const OTHERS = 8
/** coalitions in a request, of as many rows as there are others: an alarm that comes meanwhile waits for no more */
const AT_A_TIME = 16
/** ms after which a page comes without it; answers that are kept */
const [WITHIN, KEPT] = [3000, 200]

/** By how much each group raises the answer, from that of other payments (`base`) to this one's (`score`); together all of it. */
export type Why = { base: number; score: number; parts: { group: Group; value: number }[] }

/** For a coalition (bit by bit the groups that are the payment's own) the payment with the rest of each other one. */
export function mixed(payment: Transaction, others: readonly Transaction[], coalition: number): Transaction[] {
  const own = NAMES.filter((_, bit) => coalition & (1 << bit)).flatMap((name): readonly string[] => GROUPS[name])
  const mine = Object.fromEntries(own.map((column) => [column, payment[column as keyof Transaction]]))
  return others.map((other) => ({ ...other, ...mine }) as Transaction)
}

/** Shapley's values, exact, of what each coalition is worth. */
export function shapley(worth: readonly number[]): number[] {
  const n = Math.log2(worth.length)
  const factorial = (k: number): number => (k <= 1 ? 1 : k * factorial(k - 1))
  const size = (coalition: number) => coalition.toString(2).replaceAll('0', '').length
  return Array.from({ length: n }, (_, bit) => {
    let value = 0
    for (const [coalition, before] of worth.entries()) {
      if (coalition & (1 << bit)) continue
      const weight = (factorial(size(coalition)) * factorial(n - size(coalition) - 1)) / factorial(n)
      value += weight * (worth[coalition | (1 << bit)]! - before)
    }
    return value
  })
}

export type WhyOptions = {
  /** the model that judges now, by its name */
  champion(): Promise<{ model: Model; name: string | null }>
  reviews: Pick<Reviews, 'usual'>
  within?: number
}

/**
 * Explains what the model said by 512 rows more. Undefined where that cannot be had in time, while another
 * one is under way, and for what another model has judged: a page never waits for it longer than that.
 */
export function openWhy({ champion, reviews, within = WITHIN }: WhyOptions) {
  const kept = new Map<string, Why>()
  let busy = false
  async function work(payment: Payment): Promise<Why | undefined> {
    const { model, name } = await champion()
    if (payment.model !== name) return undefined
    const others = await reviews.usual(OTHERS)
    if (others.length === 0) return undefined
    const signal = AbortSignal.timeout(within)
    const answers: number[] = []
    for (let first = 0; first < COALITIONS; first += AT_A_TIME) {
      const rows = Array.from({ length: AT_A_TIME }, (_, i) => mixed(payment, others, first + i)).flat()
      const judged = await model.judge(rows, signal)
      answers.push(...judged.map(({ prediction, score }) => score ?? prediction))
    }
    const worth = Array.from({ length: COALITIONS }, (_, i) =>
      mean(answers.slice(i * others.length, (i + 1) * others.length)),
    )
    const values = shapley(worth)
    const parts = NAMES.map((group, i) => ({ group, value: values[i]! }))
    parts.sort((a, b) => Math.abs(b.value) - Math.abs(a.value))
    return { base: worth[0]!, score: worth.at(-1)!, parts }
  }
  return async (payment: Payment): Promise<Why | undefined> => {
    const key = `${payment.trans_num}@${payment.event_time}`
    if (kept.has(key)) return kept.get(key)
    if (busy) return undefined
    busy = true
    const found = work({ ...payment, trans_date_trans_time: utc(payment.event_time) })
      .catch(() => undefined) // its outage is said by the stage that judges
      .finally(() => {
        busy = false
      })
    const why = await Promise.race([
      found,
      new Promise<undefined>((resolve) => setTimeout(resolve, within, undefined).unref()),
    ])
    if (why) kept.set(key, why)
    if (kept.size > KEPT) kept.delete(kept.keys().next().value!)
    return why
  }
}
const mean = (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0) / numbers.length
