import { reason } from '../../src/io/errors.ts'
import { prediction, transaction } from '../rows.ts'
import { sqliteTopics } from './asked.ts'

// Another process that uses topics: node process.ts <what> <path>. It says on stdout what it has done, a line each.
const [what, path] = process.argv.slice(2) as [keyof typeof jobs, string]
const say = (text: unknown) => process.stdout.write(`${text}\n`)
const never = new AbortController().signal

const jobs = {
  /** Holds the file as a worker does. */
  async worker() {
    await sqliteTopics({ path, exclusive: true })
    say('open')
    process.stdin.resume()
  },
  /** Appends beside a worker, as the command that puts dead letters back. */
  async beside() {
    const topics = await sqliteTopics({ path })
    await topics.append({ transactions: [transaction(1)] })
    await topics.close()
    say('appended')
  },
  /** Appends for ever; each line is what was acknowledged so far. */
  async append() {
    const topics = await sqliteTopics({ path, exclusive: true })
    for (let n = 0; ; n += 2) {
      await topics.append({ transactions: [transaction(n), transaction(n + 1)] })
      say(n + 2)
    }
  },
  /** Hands transactions over as predictions, as long as there are any; each line is the last that was. */
  async handOver() {
    const topics = await sqliteTopics({ path, exclusive: true })
    const reader = topics.reader('transactions', 'score')
    for (;;) {
      const batch = await reader.read(1, never)
      const predictions = batch.records.map((t) => ({ ...prediction(0), ...t }))
      const last = batch.records[0]!.trans_num
      await batch.commit(1, { predictions }, { last })
      say(last)
    }
  },
  /** Appends until the disk is full, then hands over until it fails too; the last line is what went wrong. */
  async fill() {
    const topics = await sqliteTopics({ path, exclusive: true })
    const wide = { street: 'x'.repeat(2000) }
    let n = 0
    try {
      for (; ; n += 2) await topics.append({ transactions: [transaction(n, wide), transaction(n + 1, wide)] })
    } catch (error) {
      const reader = topics.reader('transactions', 'score')
      const batch = await reader.read(1, never)
      const predictions = [prediction(0, wide)]
      const failure = await batch.commit(1, { predictions }, { handedOver: true }).then(() => undefined, reason)
      const readable = (await Array.fromAsync(topics.scan('transactions'))).length
      say(
        JSON.stringify({
          appended: n,
          appending: reason(error),
          committing: failure,
          readable,
          lag: await reader.lag(),
        }),
      )
    }
  },
}
await jobs[what]()
