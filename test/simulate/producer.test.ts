import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { type Json, parse } from '../../src/io/json.ts'
import { simulatedProducer } from '../../src/simulate/producer.ts'
import { toTransaction } from '../../src/transaction.ts'

type Frame = { columns: string[]; index: number[]; data: Json[][] }
const call = async (url: string) => {
  const body = await (await fetch(`${url}/current-transactions`)).text()
  return { body, frame: parse(JSON.parse(body)) as Frame }
}
async function transactions(url: string, count: number) {
  const list = []
  for (let i = 0; i < count; i++) {
    const { columns, data } = (await call(url)).frame
    list.push(toTransaction(Object.fromEntries(columns.map((column, n) => [column, data[0]![n]])), Date.now()))
  }
  return list
}

test('answers one row a call as a JSON string that holds a JSON document', async () => {
  await using producer = await simulatedProducer()
  const before = Date.now()
  const { body, frame } = await call(producer.url)
  expect(body.startsWith('"{\\"columns\\":[\\"cc_num\\",\\"merchant\\"')).toBe(true)
  expect(frame.columns).toHaveLength(21)
  expect(frame.data).toHaveLength(1)
  expect(frame.index).toEqual([0])
  expect((await call(producer.url)).frame.index).toEqual([1])
  const now = frame.data[0]![20]
  expect(now).toBeGreaterThanOrEqual(before)
  expect(now).toBeLessThanOrEqual(Date.now())
})

test('card numbers are JSON numbers with every digit', async () => {
  await using producer = await simulatedProducer()
  const cards = new Set<string>()
  for (let i = 0; i < 60; i++) cards.add(/"data":\[\[(\d+),/.exec(JSON.parse((await call(producer.url)).body))![1]!)
  expect([...cards].some((card) => card.length === 19 && String(Number(card)) !== card)).toBe(true)
})

test('the 6th to 8th row is the first fraud, then about every 25th', async () => {
  for (const seed of [1, 2, 3]) {
    await using producer = await simulatedProducer({ seed })
    const rows = await transactions(producer.url, 110)
    const frauds = rows.flatMap((row, i) => (row.is_fraud === 1 ? [i + 1] : []))
    expect(frauds[0]).toBeGreaterThanOrEqual(6)
    expect(frauds[0]).toBeLessThanOrEqual(8)
    expect(rows[frauds[0]! - 1]!.amt).toBeGreaterThan(900)
    const gaps = frauds.slice(1).map((row, i) => row - frauds[i]!)
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(20)
    expect(Math.max(...gaps)).toBeLessThanOrEqual(30)
  }
})

test('the share of frauds can be set, from none to all', async () => {
  await using honest = await simulatedProducer({ fraudShare: 0 })
  expect((await transactions(honest.url, 30)).every((row) => row.is_fraud === 0)).toBe(true)
  await using stolen = await simulatedProducer({ fraudShare: 1 })
  expect((await transactions(stolen.url, 10)).every((row) => row.is_fraud === 1)).toBe(true)
})

test('any other path is a 404 in JSON', async () => {
  await using producer = await simulatedProducer()
  const response = await fetch(`${producer.url}/elsewhere`)
  expect(response.status).toBe(404)
  expect(await response.json()).toEqual({ detail: 'Not Found' })
})

test('stops at once, with a client still connected, and may be stopped twice', async () => {
  const producer = await simulatedProducer()
  await call(producer.url) // fetch keeps the connection open
  await producer[Symbol.asyncDispose]()
  await producer[Symbol.asyncDispose]()
  await expect(call(producer.url)).rejects.toThrow()
})

test('does not keep the process alive', async () => {
  const module = new URL('../../src/simulate/producer.ts', import.meta.url)
  const script = `const { url } = await (await import('${module}')).simulatedProducer()
    console.log((await fetch(url + '/current-transactions')).status)`
  const arguments_ = ['--input-type=module', '--eval', script]
  expect((await promisify(execFile)(process.execPath, arguments_, { timeout: 60_000 })).stdout).toBe('200\n')
})
