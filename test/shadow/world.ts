import { DatabaseSync } from 'node:sqlite'
import { onTestFinished } from 'vitest'
import { readConfig } from '../../src/config/read.ts'
import { openPipeline } from '../../src/pipeline.ts'
import { openMonitor } from '../../src/status/monitor.ts'
import { disposable, outside } from '../outside.ts'
import { body, httpServer, listeningLog, tempDir, waitFor } from '../rows.ts'
import { modelServer, type Row, type Saying } from '../score/server.ts'

/** The whole flow in this process, with a challenger that says what the test tells it. */
export async function challenged(env = {}) {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const world = stack.use(await outside([], dir.path))
  const waiting: Record<string, unknown>[] = []
  const producer = stack.use(
    await httpServer(async (_, response) => {
      await waitFor('a row', () => waiting.length > 0 || response.closed).catch(() => {})
      const next = waiting.splice(0, 10)
      response.end(next.length > 0 ? body(next) : undefined)
    }),
  )
  const state: { say: (rows: Row[]) => Saying | Promise<Saying> } = { say: (asked) => flags(asked, 500) }
  const challenger = stack.use(await modelServer((asked) => state.say(asked)))
  const { log, lines, text } = listeningLog()
  const PRODUCER_URL = `${producer.url.href}current-transactions`
  const settings = { ...world.env, PRODUCER_URL, CHALLENGER_URL: challenger.url.href, CHALLENGER_NAME: 'rf/8', ...env }
  const sql = (statement: string) => {
    using db = disposable(new DatabaseSync(dir.file('fraud.db'), { readOnly: true }))
    return db.prepare(statement).all()
  }
  return {
    ...{ ...world, settings, dir, state, text, lines, sql, asked: challenger.asked },
    send: (rows: readonly Record<string, unknown>[]) => void waiting.push(...rows),
    judged: () => sql('SELECT trans_num, model, prediction FROM judgements ORDER BY event_time'),
    letters: () => text().match(/set aside/g)?.length ?? 0,
    /** Starts it, as often as one likes. */
    async start(more = {}) {
      const stop = new AbortController()
      const config = readConfig({ ...settings, ...more })
      const watch = openMonitor(config.STAGES)
      const pipeline = await openPipeline(config, log, stop.signal, watch)
      const ended = pipeline.run(stop.signal)
      const end = async () => {
        if (stop.signal.aborted) return
        stop.abort(new Error('stopped'))
        await ended
        await pipeline[Symbol.asyncDispose]()
      }
      stack.defer(end)
      return { watch, end }
    },
  }
}
export const flags = (asked: Row[], from: number): Saying => ({
  predictions: asked.map(({ amt }) => (Number(amt) >= from ? 1 : 0)),
})
