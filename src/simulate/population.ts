import { FIRST_NAMES, JOBS, LAST_NAMES, STREETS, TOWNS } from './names.ts'
import { type Random, seeded } from './random.ts'

/** What cards are used for: how often, the median of the amounts in dollars, and their spread (sigma of the logarithm). */
const habits = (...all: [category: string, share: number, median: number, spread: number][]) =>
  all.map(([category, share, median, spread]) => ({ category, share, median, spread }))

/** Usual amounts as in the Sparkov data; where most purchases are small and some large, a category has two lines. */
const HONEST = habits(
  ['entertainment', 7, 48, 0.8],
  ['food_dining', 8, 37, 0.8],
  ['gas_transport', 9, 60, 0.25],
  ['grocery_net', 3, 53, 0.45],
  ['grocery_pos', 8, 98, 0.35],
  ['health_fitness', 7, 34, 0.8],
  ['home', 10, 44, 0.8],
  ['kids_pets', 9, 43, 0.8],
  ['misc_net', 4, 9, 0.7],
  ['misc_net', 1, 150, 0.7],
  ['misc_pos', 5, 12, 0.8],
  ['misc_pos', 1, 130, 0.7],
  ['personal_care', 7, 30, 0.8],
  ['shopping_net', 6, 7, 0.7],
  ['shopping_net', 1, 130, 0.7],
  ['shopping_pos', 8, 7, 0.7],
  ['shopping_pos', 1, 130, 0.7],
  ['travel', 3, 6, 0.5],
  ['travel', 0.3, 400, 0.6],
)

const FRAUD = habits(
  ['shopping_net', 32, 1000, 0.12],
  ['misc_net', 22, 800, 0.12],
  ['grocery_pos', 22, 325, 0.08],
  ['shopping_pos', 20, 870, 0.12],
  // A stolen card tried out with a trifle: hardly to be told from an honest purchase, so no model finds every fraud.
  ['misc_pos', 5, 9, 0.3],
)

const CARD_HOLDERS = 500
const MERCHANTS_PER_CATEGORY = 8

/** The columns of the producer, in its order: `Object.keys` of a row is its `columns`. */
export type Row = ReturnType<ReturnType<typeof population>['transaction']>

/** A world of card holders and merchants; the same seed gives the same world and the same transactions. */
export function population(seed: number) {
  const random = seeded(seed)
  const cardHolders = Array.from({ length: CARD_HOLDERS }, (_, i) => cardHolder(random, i))
  const merchants = new Map(
    HONEST.map(({ category }) => [
      category,
      Array.from({ length: MERCHANTS_PER_CATEGORY }, (_, i) => merchant(random, i)),
    ]),
  )

  return {
    /**
     * The next transaction, at `time` (ms since 1970). The hour of an honest or fraudulent habit is the caller's
     * choice; what, where and for how much is decided here.
     */
    transaction(time: number, fraud: boolean) {
      const { cc_num, ...person } = random.pick(cardHolders)
      const { category, median, spread } = random.weighted(fraud ? FRAUD : HONEST)
      // Degrees from home: honest cards stay near, stolen ones turn up anywhere within about 110 km.
      const away = () => (fraud ? random.uniform(-1, 1) : random.normal() * 0.4)
      return {
        cc_num,
        merchant: random.pick(merchants.get(category) as string[]),
        category,
        amt: Math.max(1, round(median * Math.exp(spread * random.normal()), 2)),
        ...person,
        trans_num: Array.from({ length: 4 }, () => random.bits().toString(16).padStart(8, '0')).join(''),
        merch_lat: round(person.lat + away(), 6),
        merch_long: round(person.long + away(), 6),
        is_fraud: (fraud ? 1 : 0) as 0 | 1,
        current_time: time,
      }
    },
  }
}

function cardHolder(random: Random, i: number) {
  const gender = random.pick(['F', 'M'] as const)
  const { city, state, zip, lat, long, city_pop } = random.pick(TOWNS)
  return {
    cc_num: cardNumber(random, i),
    first: random.pick(FIRST_NAMES[gender]),
    last: random.pick(LAST_NAMES),
    gender,
    street: `${random.integer(1, 9999)} ${random.pick(STREETS)}`,
    city,
    state,
    zip,
    lat,
    long,
    city_pop,
    job: random.pick(JOBS),
    dob: new Date(random.uniform(Date.UTC(1935, 0), Date.UTC(2005, 0))).toISOString().slice(0, 10),
  }
}

/** Every tenth card has 19 digits, beyond 2^53; the first digit, 2 to 6, keeps them below 2^63 and the others below 2^53. */
function cardNumber(random: Random, i: number): bigint {
  const length = i % 10 === 9 ? 19 : random.pick([11, 12, 13, 14, 15, 16, 16, 16, 16, 16])
  const rest = Array.from({ length: length - 1 }, () => random.integer(0, 9)).join('')
  return BigInt(random.integer(2, 6) + rest)
}

/** Every merchant of the real data is called `fraud_…`, the honest ones too. */
function merchant(random: Random, i: number): string {
  const [a, b, c] = [random.pick(LAST_NAMES), random.pick(LAST_NAMES), random.pick(LAST_NAMES)]
  const forms = [`${a}, ${b} and ${c}`, `${a}-${b}`, `${a} and Sons`, `${a}/${b} Ltd`, `${a} Inc`]
  return `fraud_${forms[i % forms.length]}`
}

const round = (value: number, places: number) => Math.round(value * 10 ** places) / 10 ** places
