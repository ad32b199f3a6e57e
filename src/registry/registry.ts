import { maskedStart } from '../card.ts'
import { FEATURES, type Feature } from '../columns.ts'
import { z } from '../config/zod.cjs'
import { Outage } from '../io/errors.ts'
import type { Tracking } from './tracking.ts'

/** what is listed of a registry, at most */
const LISTED = 10

/** A model as the settings name it: `fraud/7`, `fraud@champion`, or by its name alone. */
export type Named = { registered: string; version?: string | undefined; alias?: string | undefined }
export function namedAs(name: string): Named {
  const [, registered = name, version, alias] = /^(.+?)(?:\/(\d{1,9})|@([\w-]+))$/.exec(name) ?? []
  return { registered, version, alias }
}
export const versionName = (registered: string, version: string) => `${registered}/${version}`

const text = z.string().max(10_000)
const version = z.object({ model_version: z.object({ version: z.coerce.string().regex(/^\d{1,9}$/) }) })
const registeredModel = z.object({
  registered_model: z.object({ aliases: z.array(z.object({ alias: text, version: z.coerce.string() })).optional() }),
})
const models = z.object({ registered_models: z.array(z.object({ name: text })).optional() })
const versions = z.object({ model_versions: z.array(z.object({ version: z.coerce.string() })).optional() })

/** What the user's MLflow knows of models: which there are, what an alias says now, what a version wants to be sent. */
export function openRegistry({ get, file, host }: Tracking) {
  async function versionOf(registered: string, alias: string): Promise<string | undefined> {
    const found = await get('registered-models/alias', { name: registered, alias }, version)
    return found?.model_version.version
  }
  async function versionsOf(registered: string) {
    const filter = `name='${registered.replaceAll("'", "''")}'`
    const found = await get('model-versions/search', { filter, max_results: '200' }, versions)
    const all = (found?.model_versions ?? []).map((one) => Number(one.version)).sort((a, b) => b - a)
    return listed(all.map(String), 'no version')
  }
  async function names() {
    const found = await get('registered-models/search', { max_results: '100' }, models)
    return listed(
      (found?.registered_models ?? []).map(({ name }) => name),
      'no model',
    )
  }
  /** What the registry has instead, if it does not know the model by this name. */
  async function absent({ registered, version, alias }: Named): Promise<string | undefined> {
    const found = await get('registered-models/get', { name: registered }, registeredModel)
    if (!found) return `has no model ${registered}; it has ${await names()}`
    const aliases = (found.registered_model.aliases ?? []).map((one) => `${one.alias} (version ${one.version})`)
    if (alias && (await versionOf(registered, alias)) === undefined)
      return `has no alias ${alias} of ${registered}; it has ${listed(aliases, 'no alias')}, and version ${await versionsOf(registered)}`
    if (version && !(await get('model-versions/get', { name: registered, version }, z.object({}))))
      return `has no version ${version} of ${registered}; it has ${await versionsOf(registered)}`
    return undefined
  }
  return {
    host,
    versionOf,
    absent: (name: string) => absent(namedAs(name)),
    /** The columns of its signature, in its order. */
    async inputs(registered: string, version: string): Promise<Feature[]> {
      const name = versionName(registered, version)
      const text = await file(registered, version, 'MLmodel')
      if (text === undefined) throw new Outage(`MLflow at ${host} has no file MLmodel of ${name}`, { cure: LIST })
      return inputsOf(text, name)
    },
  }
}

const listed = (all: readonly string[], none: string) =>
  all.length === 0
    ? none
    : `${all
        .slice(0, LISTED)
        .map((one) => maskedStart(one, 80))
        .join(', ')}${all.length > LISTED ? ', …' : ''}`

const LIST = 'list in MODEL_FEATURES the columns that it is to be sent, or all, or numeric'
const columns = z.array(z.object({ name: z.string().optional(), required: z.boolean().optional() }))

/** Of what `mlflow.models.Model` writes the line of the signature's inputs, which YAML may fold. */
export function inputsOf(mlmodel: string, name: string): Feature[] {
  const [, quoted] = /^signature:\n(?: .*\n)*? {2}inputs: '((?:[^']|'')*)'/m.exec(mlmodel) ?? []
  if (quoted === undefined) throw new Outage(`${name} was logged without a signature`, { cure: LIST })
  const found = columns.safeParse(parsed(unfolded(quoted.replaceAll("''", "'"))))
  const all = found.data ?? []
  if (all.length === 0 || all.some((column) => column.name === undefined))
    throw new Outage(`the signature of ${name} has no columns with names`, { cure: LIST })
  const isFeature = (column: string): column is Feature => (FEATURES as readonly string[]).includes(column)
  const foreign = all.filter((column) => column.required !== false && !isFeature(column.name!))
  if (foreign.length > 0)
    throw new Outage(
      `the signature of ${name} wants ${listed(
        foreign.map((column) => column.name!),
        '',
      )}, which ${foreign.length === 1 ? 'is' : 'are'} in no transaction`,
      { cure: 'log it again with the columns that it was fitted on, without the label' },
    )
  return all.map((column) => column.name!).filter(isFeature)
}

/** A line that YAML has folded. */
const unfolded = (text: string) =>
  text
    .split('\n')
    .map((line) => line.trim())
    .join(' ')

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}
