import type { Config } from '../config/settings.ts'
import { Outage, Refusal } from '../io/errors.ts'
import { grouped, seconds } from '../io/text.ts'
import { type Finding, failure, ok, type Target, wrong } from './check.ts'
import { ANSWER_WITHIN, openProbe, shown } from './probe.ts'
import { whyRefused } from './refusal.ts'
import { columnsFor } from './registry.ts'

/** ms for the first answer of one that may have to be loaded: as the worker waits for it */
const LOAD_WITHIN = 120_000

/** Does the challenger judge the rows that it is to be sent, each of them, and how long would a day of them take it? */
export function challenger(config: Config): Target[] {
  const { CHALLENGER_URL: url, CHALLENGER_NAME: name, CHALLENGER_FEATURES: features } = config
  if (!url) return []
  const where = shown(url)
  async function look(signal: AbortSignal): Promise<Finding[]> {
    const columns = await columnsFor(config, features ?? config.MODEL_FEATURES, name)
    const own = { ...config, MODEL_HEADERS: config.CHALLENGER_HEADERS, MODEL_FEATURES: columns }
    const probe = openProbe(own, url!, LOAD_WITHIN, signal)
    try {
      await probe.judge(columns) // loaded by now: what is timed is what a row takes
      const began = performance.now()
      const { length } = await probe.judge(columns)
      const took = performance.now() - began
      const day = config.PRODUCER_RATE_PER_MIN * 1440
      const costs = `a day of ${grouped(day)} rows takes it about ${seconds((took / length) * day)} s, and is as many rows of the table judgements`
      return [ok(`${where}: ${length} rows in ${seconds(took)} s, an answer for each; ${costs}`)]
    } catch (error) {
      if (error instanceof Refusal) return [await whyRefused(probe, error)]
      throw error
    }
  }
  const failed = (error: unknown) =>
    error instanceof Outage && error.cure
      ? wrong(`${where}: ${error.what}`, error.cure)
      : failure(error, 'CHALLENGER_URL', where, url)
  return [
    {
      name: 'challenger',
      within: LOAD_WITHIN + 2 * ANSWER_WITHIN,
      look: async (signal) => (await look(signal).catch((error) => [failed(error)])).map(renamed),
    },
  ]
}

/** What is said of a model, of this one's settings. */
const renamed = ({ text, cure, ...more }: Finding): Finding => {
  const ours = (said: string) => said.replace(/\bMODEL_(?=URL|FEATURES|HEADERS|NAME)/g, 'CHALLENGER_')
  return { ...more, text: ours(text), ...(cure && { cure: ours(cure) }) }
}
