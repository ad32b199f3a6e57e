import type { Json } from '../io/json.ts'
import { names, shown, Unreadable } from './unreadable.ts'

export type Code = number | boolean | string
/**
 * What is said of one row, not yet what it means. `code`: the verdict. `chance`: the probability of fraud; `own`: of the
 * verdict, whatever that is. `pair`: two numbers, a verdict and a probability, or the probabilities of honest and fraud.
 * `form` is the same for each row of an answer that can be read.
 */
export type Said = { form: string; codes: Code[]; chance?: number; own?: number; pair?: [number, number] }

const set = (names: string) => new Set(names.trim().split(/\s+/))
const VERDICT = set(`
  prediction predictions predicted pred preds label labels class classes classification verdict target output outputlabel
  result results decision outcome flag y yhat ypred value predictedclass predictedlabel predictionlabel predictedvalue
  classlabel`)
/** Says of itself that 1 is fraud. */
const FRAUD_FLAG =
  /^(?:is|has|was|predicted|pred|possible|potential|suspected|detected)*(?:fraudulent|fraud|anomaly|anomalous|outlier|suspicious|flagged)(?:flag|detected|suspected|verdict|label|class|predictions?|predicted|pred)*$/
const FRAUD = set('fraud fraudulent isfraud 1 true class1 label1 positive yes')
const HONEST = set(`
  legit legitimate genuine honest normal valid nonfraud notfraud nofraud isnotfraud 0 false class0 label0 negative no
  nonfraudulent notfraudulent islegit`)
const CONFIDENCE = set('confidence confidencescore certainty predictionconfidence')
const STEM = /^(?:predict(?:ed|ion)?)?(?:probabilit(?:y|ies)|probas?|probs?|scores?|likelihood|risk|p)(?:of|for)?/
const TAIL = /(?:probabilit(?:y|ies)|probas?|probs?|scores?|likelihood|risk)$/

const plain = (key: string) => key.toLowerCase().replace(/[^a-z0-9]/g, '')

type Role = 'verdict' | 'flag' | 'fraud' | 'honest' | 'chance' | 'score' | 'confidence'

/** What a field is, by its name. */
function roleOf(name: string): Role | undefined {
  const key = plain(name.slice(0, 80))
  if (VERDICT.has(key)) return 'verdict'
  if (FRAUD_FLAG.test(key)) return 'flag'
  if (CONFIDENCE.has(key)) return 'confidence'
  if (HONEST.has(key)) return 'honest'
  if (FRAUD.has(key)) return 'fraud'
  const core = [key.replace(STEM, ''), key.replace(TAIL, '')].filter((rest) => rest !== key)
  if (core.some((rest) => HONEST.has(rest))) return 'honest'
  if (core.some((rest) => FRAUD.has(rest))) return 'fraud'
  if (!core.includes('') && !core.some((rest) => VERDICT.has(rest))) return undefined
  return key.includes('score') ? 'score' : 'chance'
}

/** Reads what the model says of a row; `undefined` when that is NaN or nothing. `means`: MODEL_FRAUD_VALUE. */
export function saidOf(value: Json, means: string | undefined): Said | undefined {
  const single = Array.isArray(value) && value.length === 1 ? value[0]! : value
  if (Array.isArray(single)) return ofList(single, means)
  if (typeof single === 'object' && single !== null) return ofFields(single, means)
  const code = codeOf(single)
  return code === undefined ? undefined : { form: typeof code, codes: [code] }
}

const NOTHING = /^(?:nan|null|none|na|<na>)?$/i

/** A number as text is that number. */
export function codeOf(value: Json | undefined): Code | undefined {
  if (Array.isArray(value) && value.length === 1) return codeOf(value[0])
  if (typeof value === 'bigint') return Number(value)
  if (typeof value === 'number') return Number.isFinite(value) ? unrounded(value) : undefined
  if (typeof value === 'boolean') return value
  if (typeof value === 'string') {
    const text = value.trim()
    if (NOTHING.test(text)) return undefined
    const number = text.length < LONGEST_NUMBER ? Number(text) : Number.NaN
    return Number.isFinite(number) ? unrounded(number) : text
  }
  if (value === null || value === undefined) return undefined
  throw new Unreadable(`${shown(value)} where a class or a probability belongs`, CURE)
}
/** A sum of shares may be 1.0000000000000002, and what is left of 1 then less than 0. */
const ROUNDING = 1e-6
const unrounded = (n: number) => (n > 1 && n < 1 + ROUNDING ? 1 : n < 0 && n > -ROUNDING ? 0 : n)
/** 1 - 0.97 is 0.03 */
export const complement = (chance: number) => Number((1 - chance).toFixed(12))
const LONGEST_NUMBER = 40
export const CURE = 'let it answer a 0 or 1, a label, a boolean, or its predict_proba for each row'

function ofList(list: Json[], means: string | undefined): Said | undefined {
  if (list.length > 0 && list.every((item) => typeof item === 'object' && item !== null && !Array.isArray(item)))
    return ofRanking(list as { [key: string]: Json }[], means)
  if (list.length !== 2) {
    const many = list.length > 2 ? ' (more than two classes?)' : ''
    throw new Unreadable(`a list of ${list.length} for a row${many}`, CURE)
  }
  return ofTwo(codeOf(list[0]), codeOf(list[1]))
}

function ofTwo(first: Code | undefined, second: Code | undefined): Said | undefined {
  if (first === undefined || second === undefined) return undefined
  if (typeof first === 'number' && typeof second === 'number') return { form: 'pair', codes: [], pair: [first, second] }
  const [code, own] = typeof second === 'number' ? [first, second] : [second, first]
  if (typeof own !== 'number') throw new Unreadable(`${shown(first)} and ${shown(second)} for a row`, CURE)
  return { form: `pair of ${typeof code}`, codes: [code], own }
}

/** Labels with scores, the best first or not, as pipelines of Hugging Face give them. */
function ofRanking(list: { [key: string]: Json }[], means: string | undefined): Said | undefined {
  const ranked = list.map((fields) => ofFields(fields, means))
  const best = ranked.reduce((a, b) => ((b?.own ?? b?.chance ?? 0) > (a?.own ?? a?.chance ?? 0) ? b : a))
  return best && { ...best, form: `labels: ${best.form}` }
}

function ofFields(fields: { [key: string]: Json }, means: string | undefined): Said | undefined {
  const keys = Object.keys(fields)
  if (keys.length === 1 && keys[0] === '0') return saidOf(fields['0']!, means)
  if (String(keys) === '0,1' && means !== '0') return ofTwo(codeOf(fields['0']), codeOf(fields['1']))
  const isMeant = (key: string) => key.trim().toLowerCase() === means
  const roles = keys.flatMap((key) => {
    const role = isMeant(key) ? 'fraud' : roleOf(key)
    const other = (role === 'fraud' || role === 'honest') && !isMeant(key) && keys.some(isMeant)
    return role && !other ? [{ role, value: fields[key]! }] : []
  })
  if (roles.length === 0)
    throw new Unreadable(
      `for each row the fields ${names(keys)}, none of which is known`,
      'let it answer a field "prediction" (0 or 1, or a label), or "fraud_probability"',
    )
  const [only] = roles
  if (roles.length === 1 && ['verdict', 'chance'].includes(only!.role) && typeof only!.value === 'object')
    return saidOf(only!.value, means)
  const all = (wanted: Role) => roles.filter(({ role }) => role === wanted).map(({ value }) => value)
  const number = (wanted: Role) => all(wanted).flatMap((value) => numberIn(value, means) ?? [])[0]
  const flags = all('flag').map((value) => flagOf(value, all('honest').length > 0, means))
  const denied = all('honest').flatMap((value) => (typeof value === 'boolean' ? [!value] : []))
  const codes = [
    ...all('verdict').map(codeOf),
    ...flags.flatMap((flag) => ('chance' in flag ? [] : [flag.code])),
    ...(flags.length === 0 ? denied : []),
  ]
  if (codes.includes(undefined)) return undefined
  const said: Said = { form: `fields ${roles.map(({ role }) => role).sort()}`, codes: codes as Code[] }
  const honest = number('honest')
  const chance =
    flags.flatMap((flag) => ('chance' in flag ? flag.chance : []))[0] ??
    number('fraud') ??
    (honest === undefined ? undefined : complement(honest))
  const score = number('score')
  const labelled = typeof said.codes[0] === 'string' || keys.map(plain).includes('predictionlabel') // as PyCaret's
  if (chance !== undefined) said.chance = chance
  else if (number('chance') !== undefined) said.chance = number('chance')!
  else if (score !== undefined && !labelled) said.chance = score
  else if (score !== undefined) said.own = score
  else if (number('confidence') !== undefined) said.own = number('confidence')!
  return said.codes.length === 0 && said.chance === undefined ? undefined : said
}

/** `is_fraud` and the like: 0 and 1 are a verdict, a fraction is a probability; so is all of it beside that of honest. */
function flagOf(
  value: Json,
  paired: boolean,
  means: string | undefined,
): { code: Code | undefined } | { chance: number } {
  const code = codeOf(value)
  if (typeof code !== 'number') return { code }
  if (code >= 0 && code <= 1 && (paired || !Number.isInteger(code))) return { chance: code }
  if (means !== undefined) return { code }
  return { code: code === 0 || code === 1 ? code === 1 : code }
}

/** A probability: a number, the second of two, or the one that is named after fraud. */
function numberIn(value: Json, means: string | undefined): number | undefined {
  if (Array.isArray(value) && value.length === 2) return numberIn(value[1]!, means)
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const fraud = (name: string) =>
      means === undefined ? ['fraud', 'flag'].includes(roleOf(name) ?? '') : name.trim().toLowerCase() === means
    const key = Object.keys(value).find(fraud)
    return key === undefined ? undefined : numberIn(value[key]!, means)
  }
  const code = codeOf(value)
  return typeof code === 'number' ? code : undefined
}
