import { DatabaseSync } from 'node:sqlite'
import { expect, test } from 'vitest'
import { disposable, outside, someRows } from '../outside.ts'
import { freePort, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'
import { client, formOf } from './place.ts'

test('killed in the middle of hundreds of verdicts, every one that was answered is there, once, and the columns are the last', async () => {
  await using dir = await tempDir()
  await using world = await outside(someRows(5000), dir.path)
  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const answered: string[] = []
  for (const until of [80, 160, 240]) {
    await using worker = startWorker(dir.path, { ...world.env, PORT: `${port}` })
    const c = client(url)
    const queue = () => c.get('/desk').catch(() => ({ status: 0, text: '' }))
    await waitFor('alarms', async () => /checkbox/.test((await queue()).text))
    const say = async (path: string) => {
      const { text } = await c.get(path)
      const { status } = await c.post(path, {
        ...formOf(text, path),
        verdict: answered.length % 2 ? 'fraud' : 'legit',
        note: path,
      })
      if (status === 303) answered.push(path)
      if (answered.length >= until) worker.kill('SIGKILL')
    }
    while (worker.running() && answered.length < until) {
      const ids = [...(await queue()).text.matchAll(/name="of" value="([^~"]+)~/g)].map(([, id]) => `/desk/${id}`)
      await Promise.all(ids.slice(0, 40).map((path) => say(path).catch(() => {}))) // those that are cut off are not answered
    }
    worker.kill('SIGKILL')
    await worker.end
  }
  using db = disposable(new DatabaseSync(dir.file('fraud.db')))
  const reviews = db.prepare('SELECT note, count(*) AS n FROM reviews GROUP BY note').all()
  expect(reviews.filter(({ n }) => n !== 1)).toEqual([])
  const there = new Set(reviews.map(({ note }) => note))
  expect(answered.length).toBeGreaterThanOrEqual(240)
  expect(answered.filter((path) => !there.has(path))).toEqual([])
  const unlike = `SELECT count(*) AS n FROM predictions AS p LEFT JOIN reviews AS r USING (trans_num, event_time)
    WHERE p.fraud_confirmed IS NOT (r.verdict = 'fraud') OR p.reviewed_at IS NOT r.at OR p.reviewed_by IS NOT r.reviewer`
  expect(db.prepare(unlike).get()).toEqual({ n: 0 })
}, 240_000)
