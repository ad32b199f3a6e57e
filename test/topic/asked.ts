import * as sqlite from '../../src/topic/sqlite.ts'
import type { Reader, ReaderName, Records, TopicName, Topics } from '../../src/topic/topic.ts'

export type AskedReader<T> = Reader<T> & {
  lag(): Promise<number>
  oldest(): Promise<number | undefined>
  passed(): Promise<(id: string) => boolean>
}
export type AskedTopics = Omit<Topics, 'reader'> & {
  reader<T extends TopicName>(topic: T, name: ReaderName): AskedReader<Records[T]>
  noted(key: string): Promise<unknown>
}

/** Topics that also tell of one note, and whose readers tell where they are, as tests ask for it. */
export function asked(topics: Topics): AskedTopics {
  return {
    ...topics,
    noted: async (key) => (await topics.state(key, { exact: true })).get(key),
    reader(topic, name) {
      const at = async () => (await topics.snapshot()).lag[name]
      return {
        ...topics.reader(topic, name as never),
        lag: async () => (await at()).records,
        oldest: async () => (await at()).oldest,
        async passed() {
          const { passed } = await topics.snapshot()
          return (id) => passed(name, id)
        },
      }
    },
  }
}
export const sqliteTopics = async (options: sqlite.SqliteTopicsOptions) => asked(await sqlite.sqliteTopics(options))
