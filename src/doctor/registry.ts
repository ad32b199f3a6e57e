import type { Feature } from '../columns.ts'
import type { Config } from '../config/settings.ts'
import { Outage, reason } from '../io/errors.ts'
import { namedAs, openRegistry } from '../registry/registry.ts'
import { openTracking } from '../registry/tracking.ts'
import { type Finding, failure, note, ok, type Target } from './check.ts'

/** ms for an answer */
const WITHIN = 10_000
const registryOf = (uri: URL) => openRegistry(openTracking(uri, { within: WITHIN }))

/** Does the registry know the models of the settings? Nothing waits for it, so what is not there is no failure. */
export function registry(config: Config): Target[] {
  const { MLFLOW_TRACKING_URI: uri, MODEL_NAME, CHALLENGER_NAME } = config
  if (!uri) return []
  const { absent, versionOf, host } = registryOf(uri)
  async function of(setting: string, name: string): Promise<Finding> {
    const missing = await absent(name)
    if (missing) return note(`${host} ${missing}`, `${setting} is ${name}: is that the one that is served?`)
    const { registered, version, alias } = namedAs(name)
    const meant = alias ? `, version ${await versionOf(registered, alias)} now` : version ? '' : ', of no version'
    return ok(`${host} knows ${setting}, ${name}${meant}`)
  }
  const names = Object.entries({ MODEL_NAME, CHALLENGER_NAME })
  const look = async () =>
    Promise.all(names.flatMap(([setting, name]) => (name ? [of(setting, name)] : []))).catch((error) => {
      const cure = error instanceof Outage ? error.cure : undefined
      const found = failure(error, 'MLFLOW_TRACKING_URI', host, uri)
      return [note(`${reason(error)}: nothing but the figures and the names waits for it`, cure ?? found.cure)]
    })
  return [{ name: 'registry', within: 8 * WITHIN, look }]
}

/** What a model is to be sent, where its signature says it. */
export async function columnsFor(
  config: Config,
  features: Config['MODEL_FEATURES'],
  name = '',
): Promise<readonly Feature[]> {
  if (features !== 'auto') return features
  const { inputs, versionOf } = registryOf(config.MLFLOW_TRACKING_URI!)
  const { registered, version, alias } = namedAs(name)
  const found = version ?? (alias && (await versionOf(registered, alias)))
  if (!found) throw new Outage(`the registry has no ${name}`)
  return inputs(registered, found)
}
