import { shownPlace } from '../config/dsn.ts'
import type { Config } from '../config/settings.ts'
import { isBusy } from '../io/sqlite.ts'
import { plural } from '../io/text.ts'
import type { Store } from '../record/store.ts'
import { orAborted } from '../run/loop.ts'
import { population } from '../simulate/population.ts'
import { READERS, TOPICS, type TopicName, type Topics } from '../topic/topic.ts'
import { type Prediction, toTransaction } from '../transaction.ts'
import { type Subject, wrong } from './check.ts'
import { examine } from './sqlite.ts'

/** ms; opening Kafka takes the most */
const WITHIN = 30_000
/** of a write, each of which waits for a moment itself */
const TRIES = 10
/** 19 digits, of which a JavaScript number keeps 16 */
const DIGITS = 4_992_346_398_065_154_184n
const PROVEN = 'written, read back with 19 digits, removed'

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
export function topicsSubject(
  { TOPICS_URL: place, ALERT_WEBHOOK_URL: hook }: Config,
  opening: Promise<Topics>,
): Subject {
  return {
    name: 'topics',
    within: WITHIN,
    async look(signal) {
      const where = shownPlace(place)
      try {
        const topics = await orAborted(signal, opening)
        await patiently(() => topics.note({ doctor: { digits: DIGITS } }))
        const found = ((await topics.noted('doctor')) as { digits?: unknown } | undefined)?.digits
        await patiently(() => topics.note({ doctor: null }))
        if (found !== DIGITS) return [digitsLost(where, found, 'TOPICS_URL')]
        const waiting: string[] = []
        for (const topic of TOPICS)
          for (const name of READERS[topic].filter((reader) => hook || reader !== 'webhook')) {
            const lag = await topics.reader(topic as TopicName, name).lag()
            if (lag > 0) waiting.push(`${plural(lag, 'record')} for ${name}`)
          }
        return [
          {
            state: 'ok',
            text: `${where}: ${PROVEN}; ${waiting.length > 0 ? `waiting: ${waiting.join(', ')}` : 'nothing waits'}`,
          },
          ...(place.engine === 'sqlite' ? examine(place.path, 'TOPICS_URL') : []),
        ]
      } catch (error) {
        return [wrong(error, 'TOPICS_URL', where)]
      }
    },
  }
}

/** The database: a row there and back, in a transaction that is taken back. */
export function database({ DATABASE_URL: place }: Config, openStore: () => Promise<Store>): Subject {
  return {
    name: 'database',
    within: WITHIN,
    async look(signal) {
      const where = shownPlace(place)
      let store: Store | undefined
      try {
        store = await openStore()
        const { probe } = store
        const found = await orAborted(
          signal,
          patiently(() => probe(probeRow())),
        )
        if (found.cc_num !== DIGITS) return [digitsLost(where, found.cc_num, 'DATABASE_URL')]
        return [
          { state: 'ok', text: `${where}: ${PROVEN}` },
          ...(place.engine === 'sqlite' ? examine(place.path, 'DATABASE_URL') : []),
        ]
      } catch (error) {
        return [wrong(error, 'DATABASE_URL', where)]
      } finally {
        void store?.close().catch(() => {})
      }
    },
  }
}

const digitsLost = (where: string, found: unknown, setting: string) => ({
  state: 'wrong' as const,
  text: `${where}: of 19 digits ${found === undefined ? 'nothing' : `only ${agreeing(String(found))}`} came back`,
  cure: `a trigger, or something between, changes what is written: let ${setting} lead to the engine itself`,
})
const agreeing = (found: string) => [...String(DIGITS)].findIndex((digit, i) => digit !== found[i])

function probeRow(): Prediction {
  const now = Date.now()
  const row = { ...population(now).transaction(now, false), cc_num: DIGITS, trans_num: `doctor-${crypto.randomUUID()}` }
  return { ...toTransaction(row, now), prediction: 0, score: 0, model: 'doctor', predicted_at: now }
}
