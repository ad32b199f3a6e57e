import type { Logger } from 'pino'
import { reason } from '../io/errors.ts'
import { DAY, HOUR, utc } from '../io/time.ts'
import type { Noted, Reviews } from '../review/reviews.ts'
import type { Model } from '../score/mlflow.ts'
import { seeded } from '../simulate/random.ts'
import type { Transaction } from '../transaction.ts'

/** ms between two looks, and before the first one; one that is not answered has ended by then */
const [EVERY, FIRST, WITHIN] = [HOUR, 60_000, 30_000]
const NAME = 'fingerprint'
const ROWS = 64

/** The same rows for ever: a third are such as frauds are, large and at night, or classes alone would say little. */
export const FIXED: readonly Transaction[] = Array.from({ length: ROWS }, (_, n) => {
  const { uniform, integer, pick } = seeded(n + 1)
  const odd = n % 3 === 0
  const event_time = Date.UTC(2026, 0, 1 + n) + (odd ? integer(0, 3) : integer(7, 21)) * HOUR
  const [lat, long] = [uniform(28, 47), uniform(-120, -75)]
  const amt = Math.round(Math.exp(odd ? uniform(5.5, 7.2) : uniform(1, 5)) * 100) / 100
  return {
    ...{ cc_num: 4_000_000_000_000_000n + BigInt(n), merchant: 'fraud_Kirlin and Sons', amt, event_time },
    category: pick(
      odd ? ['shopping_net', 'misc_net', 'grocery_pos'] : ['gas_transport', 'home', 'kids_pets', 'food_dining'],
    ),
    ...{ first: 'Ada', last: 'Lee', gender: pick(['F', 'M']), street: '1 Main Street', city: 'Springfield' },
    ...{ state: pick(['CA', 'NY', 'TX', 'IL']), zip: integer(10_000, 99_000), city_pop: integer(200, 900_000) },
    ...{ lat, long, merch_lat: lat + uniform(-1, 1), merch_long: long + uniform(-1, 1) },
    ...{
      job: pick(['Engineer, civil', 'Nurse', 'Teacher']),
      dob: utc(Date.UTC(integer(1940, 2004), integer(0, 11), 5), 10),
    },
    ...{ trans_num: `${n}`.padStart(32, '0'), unix_time: event_time / 1000, trans_date_trans_time: utc(event_time) },
    ...{ is_fraud: null, fetched_at: event_time },
  }
})

/** What a model answers to the fixed rows. */
export async function fingerprint({ judge }: Model, signal: AbortSignal): Promise<number[]> {
  const judged = await judge(FIXED, signal)
  return judged.map(({ prediction, score }) => Number((score ?? prediction).toFixed(6)))
}
/** Another machine or number of threads may compute a little else; another model differs by more. */
const isOther = (a: Noted['cells'], b: Noted['cells']) =>
  a.length !== b.length || a.some((answer, i) => Math.abs(Number(answer) - Number(b[i])) > 0.001)

export type FingerprintOptions = {
  /** the model that judges now, by its name */
  champion(): Promise<{ model: Model; name: string | null }>
  reviews: Pick<Reviews, 'baselines' | 'noteBaselines'>
  log: Logger
  now?: () => number
}

/** Asks the model for its fingerprint now and then, and notes and logs when it is another one under the same name. */
export function watchModel({ champion, reviews, log, now = Date.now }: FingerprintOptions) {
  async function look() {
    const { model, name } = await champion()
    if (name === null) return
    const cells = await fingerprint(model, AbortSignal.timeout(WITHIN))
    const last = fingerprintsOf(await reviews.baselines(now() - DAY), name).at(-1)
    if (last && !isOther(last.cells, cells)) return
    const at = now()
    await reviews.noteBaselines([{ model: name, name: NAME, first: at, last: at, cells, counts: [], base: true }])
    if (last) log.warn(`another model answers at MODEL_URL than before, and its name is ${name} all the same: ${CURE}`)
  }
  const quietly = () => look().catch((error) => log.debug(`the model's fingerprint: ${reason(error)}`))
  const timers = [setTimeout(quietly, FIRST), setInterval(quietly, EVERY)]
  for (const timer of timers) timer.unref()
  return {
    look,
    [Symbol.dispose]() {
      for (const timer of timers) clearTimeout(timer)
    },
  }
}

const CURE = 'give it a MODEL_NAME of its own, so that the figures of both stay apart'
const fingerprintsOf = (noted: readonly Noted[], model: string) =>
  noted.filter((one) => one.name === NAME && one.model === model)

/** When another model began to answer under the name, if the one that answers now is another than the first. */
export function otherModel(noted: readonly Noted[], model: string): number | undefined {
  const all = fingerprintsOf(noted, model)
  const last = all.at(-1)
  return last && isOther(last.cells, all[0]!.cells) ? last.first : undefined
}

/** For the mails about trouble. */
export const otherModelCondition = (model: string, since: number | undefined) => ({
  name: `another model as ${model}`,
  wrong:
    since === undefined
      ? undefined
      : `What MODEL_URL answers to ${ROWS} fixed payments has changed, and its name has not.`,
  ...(since !== undefined && { since }),
  cure: `If that was meant, ${CURE}; if not, look at the model server.`,
  subjects: [`another model answers as ${model}`, `the first model answers as ${model} again`] as const,
})
