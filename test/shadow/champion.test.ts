import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { openChampion } from '../../src/shadow/champion.ts'
import { sqliteTopics } from '../../src/topic/sqlite.ts'
import type { Topics } from '../../src/topic/topic.ts'
import { tempDir } from '../rows.ts'

const NAMES = { model: 'fraud/7', challenger: 'fraud/8' }
async function open() {
  const stack = new AsyncDisposableStack()
  onTestFinished(() => stack.disposeAsync())
  const dir = stack.use(await tempDir())
  const topics = () =>
    sqliteTopics({ path: dir.file('topics.db') }).then((opened) => stack.adopt(opened, (each) => each.close()))
  return { topics, one: await topics() }
}

test('the model of MODEL_URL judges, until the challenger is promoted by its name; taking that back is the same at once', async () => {
  const { topics, one } = await open()
  const champion = openChampion(one, NAMES, { now: () => 5 })
  expect([(await champion.roles()).role, (await champion.both()).champion]).toEqual(['model', 'fraud/7'])
  await expect(champion.rollback('anna')).rejects.toThrow('nothing to take back: fraud/7 was not promoted')
  await expect(champion.promote('fraud/9', 'anna')).rejects.toThrow('the challenger is fraud/8, not fraud/9')
  await expect(champion.promote('fraud/7', 'anna')).rejects.toThrow('fraud/7 is the champion already')
  const made = { champion: 'fraud/8', before: 'fraud/7', by: 'anna', at: 5, n: 1 }
  expect(await champion.promote('fraud/8', 'anna')).toEqual(made)
  expect((await champion.roles()).role).toBe('challenger')
  const later = openChampion(await topics(), NAMES)
  expect(await later.both()).toMatchObject({ champion: 'fraud/8', challenger: 'fraud/7', noted: made })
  expect(await later.rollback('bruno')).toMatchObject({ champion: 'fraud/7', before: 'fraud/8', by: 'bruno' })
  expect(await later.promote('fraud/8', 'anna')).toMatchObject({ champion: 'fraud/8' }) // forth and back again
})

test('is seen by another process within a second, and costs no look for each batch', async () => {
  const { topics, one } = await open()
  const other = await topics()
  let looks = 0
  const state: Topics['state'] = (...args) => {
    looks++
    return other.state(...args)
  }
  const counted = { append: other.append, state }
  const [mine, theirs] = [openChampion(one, NAMES), openChampion(counted, NAMES)]
  for (let i = 0; i < 1000; i++) (await theirs.roles()).role
  expect(looks).toBeLessThan(5)
  await mine.promote('fraud/8', 'anna')
  const promoted = performance.now()
  while ((await theirs.roles()).role === 'model') await sleep(5)
  expect(performance.now() - promoted).toBeLessThan(1500) // on a busy machine
})

test('after the settings have changed a name that is none of theirs says nothing, and that is told once', async () => {
  const { one } = await open()
  await openChampion(one, NAMES).promote('fraud/8', 'anna')
  const told: string[] = []
  const stranger = (name: string) => void told.push(name)
  const changed = openChampion(one, { model: 'fraud/9', challenger: 'fraud/10' }, { stranger })
  expect([(await changed.roles()).role, await changed.both()]).toMatchObject(['model', { champion: 'fraud/9' }])
  expect(told).toEqual(['fraud/8'])
  await expect(changed.rollback('anna')).rejects.toThrow('nothing to take back')
  const renamed = openChampion(one, { model: 'fraud/8', challenger: 'fraud/9' }) // it has moved to MODEL_URL for good
  expect((await renamed.both()).champion).toBe('fraud/8')
  await expect(renamed.rollback('anna')).rejects.toThrow(
    'fraud/7, which was the champion before fraud/8, is at neither',
  )
})
