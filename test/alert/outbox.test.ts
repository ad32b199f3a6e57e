import { expect, test } from 'vitest'
import { type Draft, openOutbox } from '../../src/alert/outbox.ts'
import { openRows } from '../../src/alert/rows.ts'
import { identity, type Prediction } from '../../src/transaction.ts'
import { prediction } from '../rows.ts'

const fraud = (n: number) => prediction(n, { prediction: 1 })
const outboxRow = (p: Prediction) => [`alert/outbox/${identity(p)}`, p] as const
const letterRow = (key: string, draft: Draft) => [`alert/letter/${key}`, draft] as const

test('a notification of which a fraud is gone is sent with the others, one of which all are gone is forgotten', () => {
  const of = (...numbers: number[]) => numbers.map((n) => identity(fraud(n)))
  const found = new Map<string, unknown>([
    outboxRow(fraud(1)),
    outboxRow(fraud(3)),
    letterRow('whole', { at: 1, of: of(1) }),
    letterRow('part', { at: 2, of: of(2, 3) }),
    letterRow('none', { at: 3, of: of(4) }),
    letterRow('said', { at: 4, of: [], notice: { subject: 'The model looks broken', lines: [] } }),
  ])
  const rows = openRows('alert/', found)
  const { opens, sent, held } = openOutbox(rows)
  expect(opens.map(({ key, of }) => [key, of])).toEqual([
    ['whole', of(1)],
    ['part', of(3)],
    ['said', []],
  ])
  for (const open of [...opens]) sent(open, 5)
  expect(held()).toBe(0)
  const gone = Object.entries(rows.changes().notes).filter(
    ([key, row]) => key.startsWith('alert/letter/') && row === null,
  )
  expect(gone.map(([key]) => key).sort()).toEqual(['none', 'part', 'said', 'whole'].map((key) => `alert/letter/${key}`))
})

test('what is noted is as it was then: a fraud that comes while that is written is counted with the next', () => {
  const rows = openRows('alert/', new Map())
  const { take, settle } = openOutbox(rows)
  take([fraud(1)], () => {})
  settle()
  const { notes, kept } = rows.changes()
  take([fraud(2)], () => {})
  settle()
  expect(notes).toEqual({ 'alert/total': { frauds: 1, mailed: 0 }, [outboxRow(fraud(1))[0]]: fraud(1) })
  kept()
  expect(rows.changes().notes).toEqual({ 'alert/total': { frauds: 2, mailed: 0 }, [outboxRow(fraud(2))[0]]: fraud(2) })
})
