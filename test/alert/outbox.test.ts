import { describe, expect, test } from 'vitest'
import { type Draft, openOutbox, whereabouts } from '../../src/alert/outbox.ts'
import { openRows } from '../../src/alert/rows.ts'
import { identity, type Prediction } from '../../src/transaction.ts'
import { prediction } from '../rows.ts'

const fraud = (n: number) => prediction(n, { prediction: 1 })
const outboxRow = (p: Prediction) => [`alert/outbox/${identity(p)}`, p] as const
const frauds = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => fraud(from + i))
const names = (...numbers: number[]) => numbers.map((n) => identity(fraud(n)))
const none = () => {}
/** An outbox of what was noted, and what it notes. */
function opened(...noted: readonly (readonly [string, unknown])[]) {
  const rows = openRows('alert/', new Map(noted))
  const notes = () => {
    const { notes, kept } = rows.changes()
    kept()
    return Object.entries(notes).map(([key, row]) => [key.replace(/^alert\//, ''), row] as const)
  }
  return { outbox: openOutbox(rows), notes }
}
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

describe('after a restart', () => {
  test('notifications come in the order they were decided in, noted, and nobody knows whether they have arrived', () => {
    const draft = (at: number, n: number): Draft => ({ at, of: names(n) })
    const { outbox } = opened(
      ...frauds(1, 4).map(outboxRow),
      letterRow('c', draft(3, 3)),
      letterRow('a', draft(1, 1)),
      letterRow('b', draft(2, 2)),
    )
    expect(outbox.opens.map(({ key, of, ...rest }) => ({ key, of, ...rest }))).toMatchObject(
      [1, 2, 3].map((n) => ({ key: 'abc'[n - 1], of: names(n), noted: true, doubtful: true, sending: false })),
    )
    expect(outbox.opens[0]).toMatchObject({
      started: 0,
      failures: 0,
      due: 0,
      notification: { at: 1, frauds: [fraud(1)] },
    })
    expect([outbox.waiting(), outbox.first(), outbox.held()]).toEqual([1, fraud(4), 4])
    outbox.dissolve(outbox.opens[0]!)
    expect([outbox.opens.length, outbox.waiting()]).toEqual([3, 1])
  })

  test('frauds wait in the order they were predicted in, before those that come, also where they were decided in between', () => {
    const late = { ...fraud(7), predicted_at: 2, cc_num: 12 as never } // as JSON has a short card number
    const at = (n: number) => ({ ...fraud(n), predicted_at: 1 })
    const { outbox } = opened(...[late, at(8), at(9), at(6)].map(outboxRow))
    outbox.take([fraud(10), fraud(11)], none)
    const { of, notification } = outbox.decide(3, { at: 5 })
    expect(of).toEqual(names(6, 8, 9))
    expect(notification.by).toMatch(/^\d+\.\d+/)
    outbox.decide(1, { at: 6 })
    expect(outbox.opens[1]!.notification.frauds).toEqual([{ ...late, cc_num: 12n }])
    outbox.decide(1, { at: 7 })
    for (const open of [...outbox.opens]) outbox.dissolve(open)
    expect(outbox.decide(9, { at: 8 }).of).toEqual(names(6, 8, 9, 7, 10, 11))
  })
})

test('is full at 2,000 that wait, or 20,000 that wait or are in notifications', () => {
  const { outbox } = opened()
  expect(outbox.first()).toBe(undefined)
  outbox.take(frauds(1, 1999), none)
  expect(outbox.full()).toBe(false)
  outbox.take(frauds(2000, 2000), none)
  expect(outbox.full()).toBe(true)
  for (let n = 2001; n <= 19_999; n += 1000) {
    outbox.decide(2000, { at: n })
    outbox.take(frauds(n, Math.min(n + 999, 19_999)), none)
  }
  expect([outbox.full(), outbox.held()]).toEqual([false, 19_999])
  outbox.take([fraud(20_000)], none)
  expect(outbox.full()).toBe(true)
})

describe('a notification', () => {
  const three = () => {
    const { outbox, notes } = opened()
    outbox.take(frauds(1, 3), none)
    return { outbox, notes }
  }

  test('is noted with its frauds, and is gone with them when it was sent', () => {
    const { outbox, notes } = three()
    const open = outbox.decide(3, { at: 5, under: 'x' })
    expect(open).toMatchObject({
      noted: false,
      doubtful: false,
      notification: { at: 5, under: 'x', frauds: frauds(1, 3) },
    })
    expect(notes()).toEqual([
      ...frauds(1, 3).map((one) => [`outbox/${identity(one)}`, one]),
      [`letter/${open.key}`, { by: expect.any(String), at: 5, under: 'x', of: names(1, 2, 3) }],
    ])
    outbox.sent(open, 6)
    expect(notes()).toEqual([
      [`sent/${open.key}`, { at: 6, of: expect.any(Array) }],
      [`letter/${open.key}`, null],
      ...names(1, 2, 3).map((name) => [`outbox/${name}`, null]),
    ])
    outbox.settle()
    expect(notes()).toEqual([['total', { frauds: 3, mailed: 3 }]])
    outbox.take([fraud(2)], none)
    expect([outbox.held(), outbox.opens]).toEqual([0, []])
  })

  test('that has not arrived leaves its frauds to wait; a doubtful one and a notice stay as they are', () => {
    const { outbox, notes } = three()
    const [first, second] = [outbox.decide(1, { at: 5 }), outbox.decide(1, { at: 6 })]
    const notice = outbox.decide(1, { at: 7, notice: { subject: 'x', lines: [] } })
    notes()
    second.doubtful = true
    for (const open of [notice, second, first]) outbox.dissolve(open)
    expect([outbox.opens, outbox.first(), outbox.waiting()]).toEqual([[second, notice], fraud(1), 1])
    expect(notes()).toEqual([[`letter/${first.key}`, null]])
  })

  test('that is refused is halved before the others, down to one, which stays; a notice goes alone', () => {
    const { outbox, notes } = three()
    const open = outbox.decide(3, { at: 5, under: 'x', operators: true, notice: { subject: 's', lines: ['l'] } })
    outbox.take([fraud(4)], none)
    const other = outbox.decide(1, { at: 6 })
    expect(outbox.refused(other)).toBe(false)
    expect(other.failures).toBe(1)
    notes()
    expect(outbox.refused(open)).toBe(true)
    const of = () => outbox.opens.map((each) => each.of)
    expect(of()).toEqual([[], names(1, 2), names(3), names(4)])
    const [notice, first, second] = outbox.opens
    expect(notice!.notification).toMatchObject({ at: 5, under: 'x', operators: true, notice: { subject: 's' } })
    for (const part of [first, second]) expect(part!.notification).not.toHaveProperty('notice')
    expect(first!.notification).not.toHaveProperty('operators')
    expect(new Set(notes().map(([key, row]) => `${key} ${row === null}`))).toEqual(
      new Set([`letter/${open.key} true`, ...[notice, first, second].map((each) => `letter/${each!.key} false`)]),
    )
    expect([outbox.refused(notice!), outbox.refused(second!), outbox.refused(first!)]).toEqual([false, false, true])
    expect(of()).toEqual([names(1), names(2), [], names(3), names(4)])
  })

  test('for those who run it is still for them when it is taken apart, and another is not', () => {
    for (const operators of [true, undefined]) {
      const { outbox } = three()
      const notice = { subject: 's', lines: [] }
      outbox.refused(outbox.decide(3, { at: 5, ...(operators && { operators }), notice }))
      expect('operators' in outbox.opens[0]!.notification).toBe(operators === true)
      const single = outbox.decide(0, { at: 6, notice: { subject: 't', lines: [] } })
      expect(outbox.refused(single)).toBe(false)
    }
  })

  test('that says something and has one fraud is taken apart into these two', () => {
    const { outbox } = three()
    expect(outbox.refused(outbox.decide(1, { at: 5, notice: { subject: 's', lines: [] } }))).toBe(true)
    expect(outbox.opens.map(({ of }) => of)).toEqual([[], names(1)])
  })

  test('is not halved while there are 500', () => {
    const { outbox } = opened()
    outbox.take(frauds(1, 1000), none)
    for (let n = 0; n < 499; n++) outbox.decide(2, { at: n })
    expect(outbox.refused(outbox.opens[0]!)).toBe(true)
    expect(outbox.opens.length).toBe(500)
    expect(outbox.refused(outbox.opens[9]!)).toBe(false)
  })

  test('of an earlier release that has a fraud twice, or one that another has too, frees it once', () => {
    const { outbox } = opened(
      ...frauds(1, 3).map(outboxRow),
      letterRow('a', { at: 1, of: names(1, 2, 1) }),
      letterRow('b', { at: 2, of: names(2, 3) }),
    )
    const [a, b] = outbox.opens
    outbox.sent(a!, 5)
    expect(outbox.held()).toBe(2)
    outbox.sent(b!, 6)
    outbox.settle()
    expect(outbox.held()).toBe(0)
  })
})

describe('what is read', () => {
  const told = (outbox: ReturnType<typeof openOutbox>, ...read: Prediction[]) => {
    const judged: string[] = []
    outbox.take(read, ({ trans_num }) => void judged.push(trans_num))
    return judged.map((name) => Number(name.slice('trans-'.length)))
  }

  test('again is judged no second time if it is a fraud that is known, and is another one under another time', () => {
    const { outbox } = opened()
    expect(told(outbox, fraud(1), prediction(2), fraud(1))).toEqual([1, 2])
    expect(outbox.waiting()).toBe(1)
    outbox.sent(outbox.decide(1, { at: 1 }), 2)
    expect(told(outbox, fraud(1), { ...fraud(1), event_time: 7 })).toEqual([1])
    expect(outbox.waiting()).toBe(1)
  })

  test('and an earlier release has judged is not judged again, and what is older than who wants it is no alarm', () => {
    const before = { seen: 1, old: { records: 3, until: 100 } }
    const { outbox, notes } = opened(['alert/before', before])
    const at = (n: number, predicted_at: number) => ({ ...fraud(n), predicted_at })
    expect(told(outbox, at(1, 100), at(2, 101))).toEqual([2])
    expect([outbox.waiting(), outbox.first()]).toEqual([1, at(2, 101)])
    outbox.settle()
    expect(notes().filter(([key]) => key === 'before')).toEqual([
      ['before', { seen: 0, old: { records: 1, until: 100 } }],
    ])
    expect(told(outbox, at(3, 99), at(4, 99))).toEqual([3, 4])
    expect(outbox.waiting()).toBe(2)
    outbox.settle()
    expect(notes()).toContainEqual(['before', null])
  })

  test('and was seen is noted down to the last', () => {
    const { outbox, notes } = opened(['alert/before', { seen: 2 }])
    expect(told(outbox, fraud(1))).toEqual([])
    outbox.settle()
    expect(notes()).toContainEqual(['before', { seen: 1 }])
  })

  test('is counted on from what was noted', () => {
    const { outbox, notes } = opened(['alert/total', { frauds: 5, mailed: 4 }])
    outbox.take([fraud(1)], none)
    outbox.settle()
    expect(notes()).toContainEqual(['total', { frauds: 6, mailed: 4 }])
    outbox.settle()
    expect(notes()).toEqual([])
  })
})

test('who looks from outside sees what waits, what is decided since when, what was sent, and why nothing goes out', () => {
  const rows = openRows('alert/', new Map())
  const outbox = openOutbox(rows)
  outbox.take(frauds(1, 3), none)
  outbox.sent(outbox.decide(1, { at: 4 }), 5)
  outbox.decide(1, { at: 6 })
  outbox.settle()
  rows.set('waits', { why: 'the limit', since: 7 })
  const noted = Object.entries(rows.changes().notes).filter(([, row]) => row !== null)
  const seen = whereabouts(openRows('alert/', new Map(noted)))
  expect([...seen.waiting]).toEqual(frauds(2, 3).map((one) => [identity(one), one]))
  expect([...seen.decided]).toEqual([[names(2)[0], 6]])
  expect([seen.wasSent(names(1)[0]!), seen.wasSent(names(2)[0]!)]).toEqual([true, false])
  expect([seen.total, seen.waits]).toEqual([
    { frauds: 3, mailed: 1 },
    { why: 'the limit', since: 7 },
  ])
})
