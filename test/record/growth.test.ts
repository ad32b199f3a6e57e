import { truncateSync, writeFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { describeGrowth, growth } from '../../src/record/growth.ts'
import { tempDir } from '../rows.ts'

const DAY = 86_400_000
const now = Date.UTC(2026, 4, 5)

test('how many rows a day, what they take, and when the disk is full if it goes on so', async () => {
  await using dir = await tempDir()
  const file = dir.file('fraud.db')
  writeFileSync(file, '')
  truncateSync(file, 35_000_000) // a hole
  const found = await growth({ rows: 100_000, recent: 70_000, first: now - 10 * DAY }, { file, reserve: 0, now })
  expect(found).toMatchObject({ rows: 100_000, perDay: 10_000, bytes: 35_000_000 })
  const { bavail, bsize } = await statfs(dir.path)
  expect(found.full! / ((bavail * bsize) / (10_000 * 350))).toBeCloseTo(1, 1)
  const kept = await growth({ rows: 100_000, recent: 70_000, first: now - 10 * DAY }, { file, reserve: 1e12, now })
  expect(kept.full).toBe(0)
  expect(describeGrowth(kept, now)).toMatch(
    /^100,000 rows, 35\.0 MB; 10,000 a day \(3\.5 MB\); [\d.]+ [MG]B free; the disk is full about 2026-05-05$/,
  )
})

test('where there is no file, or not enough to tell, less is said', async () => {
  expect(await growth({ rows: 5, recent: 5, first: now - 1000 }, { file: '/nowhere/fraud.db', now })).toEqual({
    rows: 5,
  })
  expect(describeGrowth(await growth({ rows: 0, recent: 0 }, { now }), now)).toBe('0 rows')
  expect(describeGrowth(await growth({ rows: 14, recent: 14, first: now - 2 * DAY }, { now }), now)).toBe(
    '14 rows; 7 a day',
  )
  expect(describeGrowth({ rows: 10_000, perDay: 1, bytes: 3e9, free: 4e11, full: 1e6 }, now)).toBe(
    '10,000 rows, 3.0 GB; 1 a day (0.3 MB); 400.0 GB free; enough for ten years and more',
  )
})
