import { FEATURES, type Feature, NUMERIC_FEATURES, TABLE } from '../columns.ts'
import { Refusal, reason } from '../io/errors.ts'
import { plural } from '../io/text.ts'
import { foreignColumns, type RefusedColumns, refusedColumns } from '../score/diagnose.ts'
import { type Finding, wrong } from './check.ts'
import { type Probe, signatureOf } from './probe.ts'

/** How often other columns are tried. Scikit-learn names five at a time of those it does not know. */
const MOST_TRIALS = 12

/** The model answers, and says no. Tries other settings for real: the cure is one that was seen to work. */
export async function whyRefused(probe: Probe, refusal: Refusal): Promise<Finding> {
  const { where, features, unit } = probe
  const bad = (text: string, cure: string) => wrong(`${where}: ${text}`, cure)
  const said = (await probe.ask(features).catch(() => undefined)) ?? { status: 0, text: '' }
  if (said.status === 200)
    return bad(
      reason(refusal),
      'let the model answer one 0 or 1, label, boolean, probability, or predict_proba pair for each row',
    )
  const first = refusedColumns(said.text)
  const { signature, ...more } = first.signature ? first : await signatureOf(probe)
  const differs = (refused: RefusedColumns) => difference(refused, signature, features) ?? reason(refusal)

  if (first.mistyped.includes('unix_time')) {
    const other = unit === 's' ? 'ms' : 's'
    if ((await probe.judge(features, other).catch(() => undefined)) !== undefined)
      return bad(`${differs(first)}; unix_time is sent in ${unit}`, `set UNIX_TIME_UNIT=${other}: with that it answers`)
  }
  const found = await tryOthers(probe, first, signature)
  if (found.works) return bad(differs(first), `set MODEL_FEATURES=${nameOf(found.works)}: with that it answers`)

  const demanded = signature ? [...signature.keys()] : found.missing
  const contradicted = demanded.filter((column) => found.unseen.has(column))
  if (contradicted.length > 0)
    return bad(
      `${differs({ ...first, unseen: [] })}; yet it was not fitted on ${some(contradicted)}, so it refuses whatever is sent, and no setting cures that`,
      RELOG,
    )
  const foreign = new Set([...first.foreign, ...more.foreign, ...found.foreign])
  if (foreign.size > 0) {
    const { text, cure } = foreignColumns([...foreign])
    return bad(text, cure)
  }
  if (found.ordered)
    return bad(
      `it was fitted on ${found.ordered.join(', ')}, in another order`,
      'list them in the order of the fit in MODEL_FEATURES',
    )
  if (first.mistyped.length > 0)
    return bad(
      `wrong type: its signature has ${first.mistyped.map((column) => `${column} as ${signature?.get(column) ?? 'another type'}`).join(', ')}, and the training file has ${first.mistyped.map(typeOf).join(', ')}`,
      'log it again with the types of the training file: infer_signature(X, …) of what was read from it',
    )
  return bad(reason(refusal), 'no other MODEL_FEATURES helps; the log of the model server says more')
}

const RELOG =
  'log it again with the signature of the columns it was fitted on, then set MODEL_FEATURES to them: mlflow.sklearn.log_model(pipeline, "model", signature=infer_signature(X[numeric], pipeline.predict(X[numeric])), serialization_format="cloudpickle")'

type Trials = {
  works?: readonly Feature[]
  missing: readonly Feature[]
  unseen: Set<Feature>
  foreign: Set<string>
  ordered?: readonly Feature[]
}

/** Its signature, what its refusals ask for, step by step, then all and the numeric ones. */
async function tryOthers(
  { features, judge, ask }: Probe,
  first: RefusedColumns,
  signature: RefusedColumns['signature'],
): Promise<Trials> {
  const tried = new Set([nameOf(features)])
  const trials: Trials = { missing: first.missing, unseen: new Set(first.unseen), foreign: new Set() }
  if (first.disordered) trials.ordered = features
  const step = (from: readonly Feature[], { missing, unseen }: RefusedColumns) =>
    FEATURES.filter((f) => (from.includes(f) || missing.includes(f)) && !unseen.includes(f))
  const next: (readonly Feature[])[] = [step(features, first), FEATURES, NUMERIC_FEATURES]
  if (signature && signature.size > 0) next.unshift([...signature.keys()])
  for (let columns = next.shift(); columns && tried.size < MOST_TRIALS; columns = next.shift()) {
    if (columns.length === 0 || tried.has(nameOf(columns))) continue
    tried.add(nameOf(columns))
    try {
      await judge(columns)
      return { ...trials, works: columns }
    } catch (error) {
      if (!(error instanceof Refusal)) return trials
      const again = refusedColumns((await ask(columns).catch(() => undefined))?.text ?? '')
      for (const column of again.unseen) trials.unseen.add(column)
      for (const column of again.foreign) trials.foreign.add(column)
      if (again.missing.length > trials.missing.length) trials.missing = again.missing
      if (again.disordered) trials.ordered = columns
      next.unshift(step(columns, again))
    }
  }
  return trials
}

/** Which columns it wants against which are sent, as far as it says. */
function difference(
  { missing, unseen, mistyped }: RefusedColumns,
  signature: RefusedColumns['signature'],
  sent: readonly Feature[],
): string | undefined {
  if (!signature && missing.length + unseen.length + mistyped.length === 0) return undefined
  const parts = [`MODEL_FEATURES sends ${sent.length}`]
  if (signature) parts.unshift(`its signature wants ${plural(signature.size, 'column')}`)
  if (missing.length > 0) parts.push(`missing are ${missing.join(', ')}`)
  if (unseen.length > 0) parts.push(`it was not fitted on ${some(unseen)}`)
  if (mistyped.length > 0) parts.push(`of another type is ${mistyped.join(', ')}`)
  return `refuses: ${parts.join(', ')}`
}

/** Scikit-learn stops at five. */
const some = (columns: readonly Feature[]) => `${columns.join(', ')}${columns.length >= 5 ? ', …' : ''}`
const same = (a: readonly Feature[], b: readonly string[]) =>
  a.length === b.length && a.every((column, i) => column === b[i])
const nameOf = (columns: readonly Feature[]) =>
  same(columns, FEATURES) ? 'all' : same(columns, NUMERIC_FEATURES) ? 'numeric' : columns.join(',')

const typeOf = (column: Feature) => ({ real: 'double', integer: 'long' })[TABLE[column].type as string] ?? 'string'
