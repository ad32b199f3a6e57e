import { getEventListeners } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { isBug } from '../../src/io/errors.ts'
import {
  BATCH_BYTES,
  decode,
  decodeNote,
  type Lease,
  openArrivals,
  portions,
  termAfterTerm,
} from '../../src/topic/topic.ts'

test('texts go in portions that end with the one that fills them', () => {
  expect([...portions(['aa', 'b', 'cc', 'd'], 3)]).toEqual([
    ['aa', 'b'],
    ['cc', 'd'],
  ])
  expect([...portions(['aaaa', 'b'], 3)]).toEqual([['aaaa'], ['b']])
  expect([...portions([], 3)]).toEqual([])
  const half = 'x'.repeat(BATCH_BYTES / 4)
  expect([...portions([half, half, half])].map((some) => some.length)).toEqual([2, 1])
})

describe('terms', () => {
  /** Begins terms whose loss the test decides. */
  function terms() {
    const lost: AbortController[] = []
    const noted: unknown[] = []
    const begin = async () => {
      const term = new AbortController()
      lost.push(term)
      return { lost: term.signal, note: async (notes: object) => void noted.push(notes) }
    }
    return { lost, noted, begin }
  }
  const never = new AbortController().signal

  test('end with work that ends by itself; in it nothing is certain before it is noted', async () => {
    const { lost, noted, begin } = terms()
    const given: Lease[] = []
    await termAfterTerm(
      never,
      async (lease) => {
        given.push(lease)
        await lease.note({ a: 1 })
        const proof = Promise.resolve()
        expect(lease.prove(proof)).toBe(proof)
      },
      begin,
    )
    expect([given.length, noted, given[0]!.lost === lost[0]!.signal]).toEqual([1, [{ a: 1 }], true])
  })

  test('come one after the other: each that is lost cuts its work short, and the next begins', async () => {
    const { lost, begin } = terms()
    const ends: string[] = []
    await termAfterTerm(
      never,
      async ({ stop }) => {
        const n = lost.length
        if (n === 4) return
        lost[n - 1]!.abort(new Error(`lost ${n}`))
        ends.push((stop.reason as Error).message)
        if (n === 2) stop.throwIfAborted()
        if (n === 3) throw new Error('cut')
      },
      begin,
    )
    expect(ends).toEqual(['lost 1', 'lost 2', 'lost 3'])
  })

  test('end with work that fails while it leads, and with a mistake in the program at any time', async () => {
    for (const [error, isLost] of [
      [new Error('cut'), false],
      [new TypeError('x is not a function'), true],
    ] as const) {
      const { lost, begin } = terms()
      const ended = termAfterTerm(
        never,
        async () => {
          if (isLost) lost[0]!.abort()
          throw error
        },
        begin,
      )
      await expect(ended).rejects.toBe(error)
      expect(lost).toHaveLength(1)
    }
  })

  test('stop with the worker, and are watched as long as they last', async () => {
    const { lost, begin } = terms()
    const stopping = new AbortController()
    const watched: AbortSignal[] = []
    const reason = new Error('stopped')
    await termAfterTerm(
      stopping.signal,
      async ({ stop }) => {
        await setImmediate()
        expect(watched.at(-1)!.aborted).toBe(false)
        if (lost.length === 1) return lost[0]!.abort()
        expect(stop.aborted).toBe(false)
        stopping.abort(reason)
        expect([stop.reason, lost[1]!.signal.aborted]).toEqual([reason, false])
      },
      begin,
      async (term, until) => {
        expect(term.lost).toBe(lost.at(-1)!.signal)
        watched.push(until)
      },
    )
    expect(watched.map(({ aborted }) => aborted)).toEqual([true, true])
  })
})

test('who waits is woken by what comes, by the stop or by the clock, and leaves nothing behind', async () => {
  const { announce, wait } = openArrivals()
  const stopping = new AbortController()
  const both = [wait(60_000, stopping.signal), wait(60_000, stopping.signal)]
  announce()
  await Promise.all(both)
  const stopped = wait(60_000, stopping.signal)
  stopping.abort()
  await stopped
  const { signal } = new AbortController()
  await wait(1, signal)
  expect([getEventListeners(signal, 'abort'), getEventListeners(stopping.signal, 'abort')]).toEqual([[], []])
})

test('what is damaged is named, without a card number, and is no bug that would end the worker', () => {
  const failing = (work: () => unknown) => {
    try {
      return work()
    } catch (error) {
      return error as Error
    }
  }
  const record = failing(() => decode('{"trans_num":"4992346398065154184","cc_num":'))
  const unnamed = failing(() => decode('{'))
  const note = failing(() => decodeNote('alert/4992346398065154184', '{'))
  expect([record, unnamed, note].map((error) => (error as Error).message)).toEqual([
    expect.stringMatching(/^the stored record of transaction …4184 is damaged \(.+\): restore a backup/),
    expect.stringMatching(/^the stored record of transaction unknown is damaged \(.+\): restore a backup/),
    expect.stringMatching(/^what was noted as alert\/…4184 is damaged \(.+\): restore a backup/),
  ])
  expect([record, unnamed, note].map(isBug)).toEqual([false, false, false])
  const long = failing(() => decode(`{"trans_num":"${'a'.repeat(100)}"`)) as Error
  expect(long.message).toContain(`transaction ${'a'.repeat(64)} is`)
  expect(decodeNote('x', '{"a":[1]}')).toEqual({ a: [1] })
  expect(decode('{"cc_num":12}')).toEqual({ cc_num: 12n })
  expect(decode('{"retried":"1"}')).toEqual({ retried: '1' })
})
