import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { alertStage } from '../../src/alert/deliver.ts'
import type { Notifier } from '../../src/alert/notifier.ts'
import { postgresTopics } from '../../src/engines/postgres/topics.ts'
import { SendFailure } from '../../src/io/errors.ts'
import { startPostgres } from '../postgres.ts'
import { startProxy } from '../proxy.ts'
import { listeningLog, prediction, waitFor } from '../rows.ts'

test('of two processes that mail, one cut off from the database while the mail server puts it off does not mail what the other has', async () => {
  await using stack = new AsyncDisposableStack()
  const server = stack.use(await startPostgres({ settings: { fsync: 'off' } }))
  const url = await server.database()
  const proxy = stack.use(await startProxy({ port: Number(url.port) }))
  const sent: string[] = []
  let [greylisted, tries] = [false, 0]

  async function work(name: string, at: URL) {
    const { log, text } = listeningLog()
    const stop = new AbortController()
    const standing: boolean[] = []
    const topics = await postgresTopics({ url: at, log, standby: (_, by) => standing.push(by) })
    const notifier: Notifier = {
      async send() {
        if (name === 'first') tries++
        if (name === 'first' && greylisted) throw new SendFailure('451 4.7.1 greylisted', { scope: 'message' })
        sent.push(name)
        return { accepted: ['analyst'], rejected: [], deferred: [], said: 'sent' }
      },
      close() {},
    }
    const reader = topics.reader('predictions', 'alert')
    const options = { reader, topics, name: 'alert', notifier, burst: 5, dailyLimit: 450 } as const
    const ended = alertStage({ log, stop: stop.signal, health: {} }, options, { firstPause: 100 })
    stack.defer(async () => {
      stop.abort(new Error('stopped'))
      await ended
      await topics.close()
    })
    return { topics, text, standing }
  }

  const first = await work('first', proxy.through(url))
  const mailed = (n: number) =>
    second.topics.append({ predictions: [prediction(n, { prediction: 1, predicted_at: Date.now() })] })
  await waitFor('it to lead', async () => (await first.topics.state('alert/')) && first.standing.length === 0)
  await sleep(1500)
  const second = await work('second', url)
  await waitFor('it to stand by', () => second.standing.at(-1))
  await mailed(1)
  await waitFor('the first mail', () => sent.length)
  greylisted = true
  await mailed(2)
  await waitFor('it to be put off', () => tries > 2)
  proxy.cut()
  await waitFor('the other to mail', () => sent.length === 2)
  greylisted = false // its mail server is there again before its database is
  await sleep(1000)
  proxy.mend()
  await waitFor('it to stand by', () => first.standing.at(-1))
  await mailed(3)
  await waitFor('the next mail', () => sent.length > 2)
  await sleep(1000)
  expect(sent).toEqual(['first', 'second', 'second'])
  expect(first.text()).toContain('standing by')
})
