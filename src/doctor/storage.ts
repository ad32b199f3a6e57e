import { shownPlace } from '../config/dsn.ts'
import type { Config } from '../config/settings.ts'
import { isBusy } from '../io/sqlite.ts'
import { plural } from '../io/text.ts'
import type { Store } from '../record/store.ts'
import { orAborted } from '../run/loop.ts'
import { population } from '../simulate/population.ts'
import { READERS, TOPICS, type Topics } from '../topic/topic.ts'
import { type Prediction, toTransaction } from '../transaction.ts'
import { failure, ok, type Target, wrong } from './check.ts'
import { examine } from './sqlite.ts'

/** ms; opening Kafka takes the most */
const WITHIN = 30_000
/** of a write, each of which waits for a moment itself */
const TRIES = 10
/** 19 digits, of which a JavaScript number keeps 16 */
const DIGITS = 4_992_346_398_065_154_184n

/** A SQLite file may be another process's for a moment: a worker at work. */
async function patiently<T>(action: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await action()
    } catch (error) {
      if (!isBusy(error) || tries === TRIES) throw error
    }
  }
}

/** The topics: a note with 19 digits there and back, and what waits for each reader. Beside a running worker too. */
export function topicsTarget(config: Config, opening: Promise<Topics>): Target {
  const proven = async (signal: AbortSignal) => {
    const topics = await orAborted(signal, opening)
    await patiently(() => topics.append({}, { doctor: { digits: DIGITS } }))
    const noted = (await topics.state('doctor')).get('doctor') as { digits?: unknown } | undefined
    await patiently(() => topics.append({}, { doctor: null }))
    return noted?.digits
  }
  const waits = async () => {
    const { lag } = await (await opening).snapshot()
    const waiting = TOPICS.flatMap((topic) => READERS[topic])
      .filter((name) => lag[name].records > 0 && (config.ALERT_WEBHOOK_URL || name !== 'webhook'))
      .filter((name) => config.CHALLENGER_URL || name !== 'shadow')
      .map((name) => `${plural(lag[name].records, 'record')} for ${name}`)
    return waiting.length > 0 ? `; waiting: ${waiting.join(', ')}` : '; nothing waits'
  }
  return kept('topics', 'TOPICS_URL', config, proven, waits)
}

/** The database: a row there and back, in a transaction that is taken back. */
export function database(config: Config, openStore: () => Promise<Store>): Target {
  return kept('database', 'DATABASE_URL', config, async (signal) => {
    const store = await openStore()
    const probing = patiently(() => store.probe(probeRow()))
    return (await orAborted(signal, probing).finally(() => orAborted(signal, store.close()).catch(() => {}))).cc_num
  })
}

/** A place, and the file that it is with SQLite. `prove` writes DIGITS, removes them, and gives what it has read back. */
function kept(
  name: string,
  setting: 'TOPICS_URL' | 'DATABASE_URL',
  { [setting]: place }: Config,
  prove: (signal: AbortSignal) => Promise<unknown>,
  more = async () => '',
): Target {
  const where = shownPlace(place)
  return {
    name,
    within: WITHIN,
    async look(signal) {
      try {
        const digits = await prove(signal)
        if (digits !== DIGITS) return [digitsLost(where, digits, setting)]
        const file = place.engine === 'sqlite' ? examine(place.path, setting) : []
        return [ok(`${where}: written, read back with 19 digits, removed${await more()}`), ...file]
      } catch (error) {
        return [failure(error, setting, where)]
      }
    },
  }
}

const digitsLost = (where: string, found: unknown, setting: string) =>
  wrong(
    `${where}: of 19 digits ${found === undefined ? 'nothing' : `only ${agreeing(String(found))}`} came back`,
    `a trigger, or something between, changes what is written: let ${setting} lead to the engine itself`,
  )
const agreeing = (found: string) => [...String(DIGITS)].findIndex((digit, i) => digit !== found[i])

function probeRow(): Prediction {
  const now = Date.now()
  const row = { ...population(now).transaction(now, false), cc_num: DIGITS, trans_num: `doctor-${crypto.randomUUID()}` }
  return { ...toTransaction(row, now), prediction: 0, score: 0, model: 'doctor', predicted_at: now }
}
