import { Refusal } from '../io/errors.ts'
import { plural } from '../io/text.ts'
import { type Code, CURE, codeOf, complement, type Said, saidOf } from './said.ts'
import { tableOf } from './table.ts'
import { shown, Unreadable } from './unreadable.ts'

/** What the model says of one transaction; `score` is its probability of fraud, where it gives one; `threshold`: what decided. */
export type Judgement = { prediction: 0 | 1; score: number | null; threshold?: number }

const LABELS: Record<string, 0 | 1> = {
  ...{ false: 0, no: 0, legit: 0, legitimate: 0, genuine: 0, honest: 0, normal: 0, valid: 0 },
  ...{ 'not fraud': 0, 'no fraud': 0, 'non fraud': 0, nonfraud: 0, 'label 0': 0, 'class 0': 0 },
  ...{ 'not fraudulent': 0, 'non fraudulent': 0, nonfraudulent: 0 },
  ...{ true: 1, yes: 1, fraud: 1, fraudulent: 1, 'label 1': 1, 'class 1': 1 },
}

/** Nothing tells yet whether 1 means fraud, or a fraction is a probability: other rows may. */
export class Unproven extends Unreadable {}

export type Answers = {
  /**
   * Throws Unreadable when it is not known what the answer means, whatever the rows are, and Refusal when it can be read
   * but for rows of which it says nothing (NaN, null).
   */
  read(text: string, rows: number): Judgement[]
  /** Learns what numbers mean from an answer to other rows. Throws Unreadable when they mean nothing known. */
  learn(text: string, rows: number): void
  /** It may be another model from now on. */
  forget(): void
}
/** `fraudValue`: the answer that means fraud (MODEL_FRAUD_VALUE); every other one is honest then. */
export type AnswersOptions = { threshold: number; fraudValue?: string | undefined }

/**
 * Reads answers in any form in which MLflow, other servers and wrappers give them. A verdict wins over a probability;
 * the threshold counts where there is no verdict. A number is believed to mean fraud once the model has also said 0, or
 * fractions between 0 and 1 alone: a 1 is honest to an outlier detector, and any fraction may be a margin.
 */
export function openAnswers({ threshold, fraudValue }: AnswersOptions): Answers {
  const means = fraudValue?.trim().toLowerCase()
  let proven = false
  /** a number outside 0 to 1, the last of so many rows: until these are answered otherwise 1 is no fraud */
  let strange: { value: number; rows: number } | undefined

  function read(text: string, rows: number, learning: boolean): Judgement[] {
    const said = tableOf(text, rows).map((value) => saidOf(value, means))
    const known = paired(
      said.filter((each) => each !== undefined),
      means,
    )
    checkForms(known)
    if (means === undefined) understand(known, rows, learning)
    const judgements = known.map((each) => judge(each, threshold, means))
    if (known.length < said.length)
      throw new Refusal(`the model answered NaN, null or nothing for ${plural(said.length - known.length, 'row')}`)
    return judgements
  }

  /** What numbers mean. A fraction makes all of them probabilities: an exact 0 or 1 among them is one too. */
  function understand(known: Said[], rows: number, learning: boolean) {
    const numbers = known.flatMap(({ codes }) => codes.filter((code) => typeof code === 'number'))
    if (numbers.length === 0) return
    const isOutside = (value: Code) => typeof value === 'number' && !(value >= 0 && value <= 1)
    const outside = numbers.find(isOutside)
    // What other rows showed is in no batch to come: any answer that shows otherwise counts.
    const until = learning ? 0 : known.findIndex(({ codes }) => codes.some(isOutside)) + 1
    if (outside !== undefined) strange = { value: outside, rows: until }
    const fraction = numbers.find((value) => !Number.isInteger(value))
    const zero = numbers.includes(0)
    if (strange && rows >= strange.rows && outside === undefined && (fraction !== undefined || zero))
      strange = undefined
    const alone = rows === 1
    if (strange)
      throw new Unreadable(`${shown(strange.value)}, which is neither 0 or 1 nor a probability`, CODES, { alone })
    if (fraction === undefined ? zero : learning) proven = true
    if (!proven && !learning && numbers.some((value) => value > 0))
      throw fraction === undefined
        ? new Unproven('1 for every row so far, and nothing shows that 1 means fraud', ONES, { alone })
        : new Unproven(`${shown(fraction)}, and it is not known yet whether that is a probability`, AGAIN, { alone })
    if (fraction === undefined) return
    for (const each of known) {
      if (each.codes.length === 0) continue
      each.chance ??= each.codes[0] as number
      each.codes = []
    }
  }

  return {
    read: (text, rows) => read(text, rows, false),
    learn: (text, rows) => void read(text, rows, true),
    forget() {
      proven = false
    },
  }
}

/** All rows of an answer say it in one way. */
function checkForms(known: readonly Said[]) {
  const kinds = new Set(known.flatMap(({ codes }) => codes.map((code) => `a ${typeof code}`)))
  const forms = new Set(known.map(({ form }) => form))
  if (forms.size > 1 || kinds.size > 1)
    throw new Unreadable(`in mixed forms (${[...forms.union(kinds)].slice(0, 4).join('; ')})`, CURE)
}

function judge({ codes, chance, own }: Said, threshold: number, means: string | undefined): Judgement {
  const verdicts = new Set(codes.map((code) => meaning(code, means)))
  if (verdicts.size > 1) throw new Unreadable('two verdicts for one row that contradict each other', CURE)
  const [verdict] = verdicts
  if (verdict === undefined) {
    if (chance === undefined || !(chance >= 0 && chance <= 1))
      throw new Unreadable(`${shown(chance)}, which is no probability`, CURE)
    return { prediction: chance >= threshold && chance > 0 ? 1 : 0, score: chance, threshold }
  }
  const score = chance ?? (own === undefined ? undefined : verdict === 1 ? own : complement(own))
  return { prediction: verdict, score: score !== undefined && score >= 0 && score <= 1 ? score : null }
}

function meaning(code: Code, means: string | undefined): 0 | 1 {
  if (means !== undefined) {
    if (typeof code === 'number' && !Number.isInteger(code) && Number(means) !== code)
      throw new Unreadable(
        `${shown(code)}, and MODEL_FRAUD_VALUE is for classes`,
        'leave MODEL_FRAUD_VALUE out where the model answers a probability',
      )
    return isMeant(code, means) ? 1 : 0
  }
  if (typeof code !== 'string') return code === true || code === 1 ? 1 : 0
  const key = plain(code)
  if (Object.hasOwn(LABELS, key)) return LABELS[key]!
  throw new Unreadable(
    `the label ${shown(code)}, which is not known`,
    'set MODEL_FRAUD_VALUE to the label that means fraud, or let it answer fraud and legit, or 1 and 0',
  )
}

/** Two numbers for each row: a verdict and its probability, or the probabilities of honest and of fraud. */
function paired(known: Said[], means: string | undefined): Said[] {
  const pairs = known.flatMap(({ pair }) => (pair ? [pair] : []))
  if (pairs.length === 0) return known
  const odd = pairs.find(([a, b]) => !(b >= 0 && b <= 1 && a >= 0 && a <= 1 && Math.abs(a + b - 1) < 0.01))
  const verdicts = odd && pairs.every(([a, b]) => Number.isInteger(a) && b >= 0 && b <= 1)
  if (odd && !verdicts)
    throw new Unreadable(
      `${shown(odd[0])} and ${shown(odd[1])} for a row, which are neither two probabilities nor a class and one`,
      CURE,
    )
  if (!verdicts && means !== undefined && !(Number(means) >= 1))
    throw new Unreadable(
      'two probabilities for each row, and not which of them is that of MODEL_FRAUD_VALUE',
      'let it answer the class, or name the probabilities after their classes',
    )
  return known.map(({ form, codes, pair }) =>
    pair
      ? { form: `${form} ${verdicts ? 'verdict' : ''}`, codes: verdicts ? [pair[0]] : [], chance: pair[1] }
      : { form, codes },
  )
}

/** Is it the answer that means fraud? A setting for another kind of answer would have all of them honest. */
function isMeant(code: Code, means: string): boolean {
  const [said, wanted] = [code, codeOf(means) ?? means].map((one) => TRUTH.get(plain(one)) ?? one)
  if (typeof said !== typeof wanted)
    throw new Unreadable(
      `${shown(code)}, and MODEL_FRAUD_VALUE is ${typeof wanted === 'number' ? 'a number' : 'a label'}`,
      'set MODEL_FRAUD_VALUE to one of its answers, or leave it out',
    )
  return typeof said === 'number' ? said === wanted : plain(said!) === plain(wanted!)
}
const plain = (code: Code) =>
  String(code)
    .trim()
    .toLowerCase()
    .replace(/[\s_-]+/g, ' ')
const TRUTH = new Map([
  ['true', 1],
  ['false', 0],
])

const CODES =
  "set MODEL_FRAUD_VALUE to the class that means fraud (e.g. -1 for an outlier detector's -1 and 1, 2 for 1 and 2), or let the model " +
  'answer predict_proba where these are margins, log-odds or percent'
const AGAIN = 'it is asked again'
const ONES =
  'set MODEL_FRAUD_VALUE=1 if it does, or -1 for an outlier detector; predict_proba of a model that has seen no fraud says this too'
