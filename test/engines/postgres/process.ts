import { once } from 'node:events'
import { pino } from 'pino'
import { postgresTopics } from '../../../src/engines/postgres/topics.ts'
import { prediction, transaction } from '../../rows.ts'

// Another process that uses topics: node postgres-process.ts <what> <url> [<from>]. It says what it has done, a line each.
const [what, url, from = '0'] = process.argv.slice(2) as [keyof typeof jobs, string, string?]
const say = (text: unknown) => process.stdout.write(`${text}\n`)
const never = new AbortController().signal
const topics = await postgresTopics({ url: new URL(url), log: pino({ level: 'silent' }) })

const jobs = {
  /** Appends the numbers from `from` on, one to three at a time, a hundred times; every tenth time is refused at first. */
  async append() {
    say('open')
    await once(process.stdin, 'data')
    let n = Number(from)
    for (let time = 0; time < 100; time++) {
      const records = Array.from({ length: 1 + (time % 3) }, () => transaction(n++))
      if (time % 10 === 0)
        await topics.append({ transactions: [...records, transaction(0, { merchant: 'refused' })] }).then(
          () => say('what had to be refused was not'),
          () => {},
        )
      await topics.append({ transactions: records })
    }
    say(n)
  },
  /** Reads one transaction as scorer and keeps it in hand; closes when it is told to. */
  async hold() {
    const reader = topics.reader('transactions', 'score')
    const batch = await reader.read(1, never)
    say(batch.records[0]!.trans_num)
    await once(process.stdin, 'data')
  },
  /** Hands transactions over as predictions, one at a time; each line is the last that was. */
  async handOver() {
    const reader = topics.reader('transactions', 'score')
    for (;;) {
      const batch = await reader.read(1, never)
      const last = batch.records[0]!.trans_num
      await batch.commit(1, { predictions: batch.records.map((t) => ({ ...prediction(0), ...t })) }, { last })
      say(last)
    }
  },
}
await jobs[what]()
await topics.close()
process.stdin.destroy()
