import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { history } from '../../src/simulate/history.ts'
import { tempDir } from '../rows.ts'
import { MAIN } from '../worker.ts'
import { environment } from './environment.ts'
import { holdExport } from './export.ts'
import { train } from './serve.ts'

const scratch = await tempDir()
afterAll(() => scratch[Symbol.asyncDispose]())

test('the export is to the byte what pandas writes, goes behind the training file, and the pipeline is fitted on both', async () => {
  const env = await environment('2.14.1')
  const training = scratch.file('training.csv')
  const args = [MAIN, 'simulate', '--rows', '4000', '--seed', '1']
  writeFileSync(training, execFileSync(process.execPath, args, { encoding: 'utf8', maxBuffer: 1e9 }))
  const plain = [...history({ rows: 1500, seed: 2 })]
  const odd = { merchant: 'fraud_"Söhne", =1+1', job: null, gender: null, amt: 0.00001234, merch_long: -1e-7, lat: 39 }
  const produced = plain.map((row, n) => (n % 50 === 0 ? { ...row, ...odd } : row))

  const held = await holdExport(env, produced, training, scratch.file('held'))
  expect(held).toMatchObject({ rows: 1500, equal: true, empty: 0 })
  expect(held.beyond).toBeGreaterThan(10) // of 2^53, which a float would not keep
  for (const [name, types] of Object.entries(held.dtypes))
    expect({ name, types }).toEqual({ name, types: Array(3).fill(types[0]) })

  const report = await train(env, join(scratch.file('held'), 'both.csv'), scratch.file('models'))
  expect(report).toMatchObject({ mlflow: '2.14.1', rows: 5500 })
  expect(report.recall).toBeGreaterThan(0.5)
}, 900_000)
