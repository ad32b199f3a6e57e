import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { platform } from 'node:process'
import { expect, test } from 'vitest'
import { judgeRoom, judgeSpeed } from '../../src/doctor/disk.ts'
import { freePort, tempDir } from '../rows.ts'
import { consult } from './consult.ts'

const disk = async (settings: Record<string, string>) => (await consult(settings)).of('disk')

test('says how fast the disk is, what is free, and what kind it is; and leaves nothing behind', async () => {
  await using dir = await tempDir()
  await mkdir(dir.file('t'))
  const [found, ...more] = await disk({ STAGES: 'fetch', TOPICS_URL: `sqlite:${dir.file('t/t.db')}` })
  expect(more).toEqual([])
  expect(found!.text).toMatch(/fsync in [\d.]+ ms \(worst [\d.]+ ms\)/)
  expect(found!.text).toMatch(/ \d+ [MG]B free/)
  if (platform === 'linux') expect(found!.text).toMatch(/local disk \(\w+\)|container itself|in memory/)
  expect((await readdir(dir.file('t'))).filter((name) => name.includes('doctor'))).toEqual([])
})

test('one line for each folder that is written in', async () => {
  await using dir = await tempDir()
  const [TOPICS_URL, DATABASE_URL] = [`sqlite:${dir.file('a/t.db')}`, `sqlite:${dir.file('b/d.db')}`]
  const folders = async (settings: Record<string, string>) =>
    (await disk({ TOPICS_URL, DATABASE_URL, ...settings })).map(({ text }) => text.split(':')[0])
  expect(await folders({ STAGES: 'record' })).toEqual([dir.file('a'), dir.file('b')])
  expect(await folders({ STAGES: 'score' })).toEqual([dir.file('a')])
  expect(await folders({ STAGES: 'record', DATABASE_URL: `sqlite:${dir.file('a/d.db')}` })).toEqual([dir.file('a')])
  expect(await folders({ STAGES: 'alert' })).toEqual([dir.file('a'), `${process.cwd()}/outbox`])
  const smtp = { SMTP_URL: `smtp://127.0.0.1:${await freePort()}`, ALERT_FROM: 'a@b.example', ALERT_TO: 'a@b.example' }
  expect(await folders({ STAGES: 'alert', ...smtp })).toEqual([dir.file('a')])
})

test('too little room', async () => {
  await using dir = await tempDir()
  const [found] = await disk({
    STAGES: 'fetch',
    TOPICS_URL: `sqlite:${dir.file('t.db')}`,
    DISK_RESERVE_MB: '1000000000',
  })
  expect(found).toMatchObject({
    state: 'wrong',
    text: expect.stringMatching(/: only \d+ GB free, and DISK_RESERVE_MB=1000000000: nothing is fetched, fsync in/),
    cure: expect.stringMatching(/^make room on this disk/),
  })
})

test.for([
  [199, 200, 'wrong'],
  [200, 200, 'note'],
  [399, 200, 'note'],
  [400, 200, 'ok'],
  [0, 0, 'ok'],
] as const)('%i MB free, %i to stay: %s', ([free, reserve, state]) => {
  expect(judgeRoom(free, reserve).state).toBe(state)
})

test.for([
  [[1, 2, 3000], 'ok', /^fsync in 2\.0 ms \(worst 3000 ms\)$/],
  [[49, 50, 51], 'ok', /^fsync in 50 ms/],
  [[1, 51, 52], 'note', /^slow: fsync in 51 ms/],
  [[1000, 1001, 1002], 'wrong', /^slow: fsync in 1001 ms/],
] as const)('writes to the disk in %j ms: %s', ([times, state, text]) => {
  expect(judgeSpeed(times)).toMatchObject({ state, text: expect.stringMatching(text) })
})

test('a folder that cannot be written in', async () => {
  await using dir = await tempDir()
  await writeFile(dir.file('file'), '')
  const { of } = await consult({ STAGES: 'fetch', TOPICS_URL: `sqlite:${dir.file('file')}/t.db` })
  expect(of('topics')[0]).toMatchObject({
    state: 'wrong',
    cure: 'the folder in TOPICS_URL must be there and this user may write in it',
  })
})

test('on a dyno that is to be tried out, a note', async () => {
  await using dir = await tempDir()
  const [found] = await disk({
    STAGES: 'fetch',
    TOPICS_URL: `sqlite:${dir.file('t.db')}`,
    DYNO: 'worker.1',
    ALLOW_EPHEMERAL: '1',
  })
  expect(found).toMatchObject({
    state: 'note',
    text: expect.stringMatching(/a dyno loses its disk at every restart \(DYNO is set\)/),
    cure: expect.stringMatching(/^set TOPICS_URL to postgres/),
  })
})
