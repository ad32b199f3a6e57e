import { expect, test } from 'vitest'
import { parse, stringify } from '../../src/io/json.ts'
import { extended, known, textOf } from '../../src/topic/text.ts'
import { transaction } from '../rows.ts'

test('the text of a record with more is that of the record, and more; nobody sees that it is kept', () => {
  const record = transaction(1, { cc_num: 9_223_372_036_854_775_807n, merchant: '"}' })
  const text = stringify(record)
  const whole = extended(known({ ...record }, text), { score: 0.1, model: null })
  expect(whole).toEqual({ ...record, score: 0.1, model: null })
  expect(textOf(whole)).toBe(`${text.slice(0, -1)},"score":0.1,"model":null}`)
  expect(parse(textOf(whole))).toEqual({ ...record, score: 0.1, model: null })
  expect(stringify(whole)).toBe(textOf(whole))
})

test('a copy, and a record that is changed by more, are printed anew', () => {
  const record = known(transaction(1), stringify(transaction(1)))
  const copy: object = { ...record, amt: 7 }
  expect(textOf(copy)).toBe(stringify({ ...transaction(1), amt: 7 }))
  expect(textOf(extended(record, { amt: 7 }))).toBe(stringify({ ...transaction(1), amt: 7 }))
})
