import { afterAll, beforeAll, expect, test } from 'vitest'
import { outside, someRows } from '../outside.ts'
import { type Server, startPostgres } from '../postgres.ts'
import { freePort, tempDir, waitFor } from '../rows.ts'
import { startWorker } from '../worker.ts'

let server: Server
beforeAll(async () => {
  server = await startPostgres()
}, 60_000)
afterAll(() => server[Symbol.asyncDispose](), 60_000)

test('processes that start for the first time at once take each other for the same desk: a link of one opens at each', async () => {
  await using dir = await tempDir()
  await using world = await outside(someRows(50), dir.path)
  const database = (await server.database()).href
  const ports = [await freePort(), await freePort(), await freePort()]
  const settings = {
    ...{ ...world.env, TOPICS_URL: database, DATABASE_URL: database },
    ...{ DESK_URL: 'https://desk.example', DESK_TOKEN: 'open-sesame' },
  }
  await using workers = new AsyncDisposableStack()
  for (const port of ports) workers.use(startWorker(dir.path, { ...settings, PORT: `${port}` }))
  const link = await waitFor(
    'a link',
    () => /https:\/\/desk\.example(\/desk\/\S+)/.exec(world.smtp.mails.join('\n'))?.[1],
  )
  for (const port of ports) {
    const status = async () => (await fetch(`http://127.0.0.1:${port}${link}`, { redirect: 'manual' })).status
    await waitFor(`the desk at ${port}`, async () => (await status().catch(() => 503)) !== 503)
    expect(await status()).toBe(200)
    expect((await fetch(`http://127.0.0.1:${port}${link.slice(0, -1)}`, { redirect: 'manual' })).status).toBe(403)
  }
}, 120_000)
