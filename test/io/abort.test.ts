import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test, vi } from 'vitest'
import { anyOf, deadline } from '../../src/io/abort.ts'

setFlagsFromString('--expose-gc')
const collect: () => void = runInNewContext('gc')

/** Signals that nobody listens to, the source of which nobody else holds; `abort` is called meanwhile. */
const made = {
  'a timeout': () => anyOf(new AbortController().signal, AbortSignal.timeout(100)),
  'a timeout of a timeout': () => anyOf(anyOf(AbortSignal.timeout(100)), new AbortController().signal),
  'a controller that is dropped': () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    return anyOf(controller.signal)
  },
  'a controller two signals away': () => {
    const controller = new AbortController()
    setTimeout(() => controller.abort(), 100)
    return anyOf(new AbortController().signal, anyOf(controller.signal))
  },
}

test.each(Object.entries(made))('is aborted by %s, whatever the garbage collector took', async (_, make) => {
  const signal = make()
  for (let i = 0; i < 10; i++) {
    await sleep(5)
    collect()
  }
  await sleep(150)
  collect()
  expect(signal.aborted).toBe(true)
})

test('a deadline aborts what has not ended by then, and only that is late', () => {
  vi.useFakeTimers()
  try {
    using limit = deadline(new AbortController().signal, 100)
    vi.advanceTimersByTime(99)
    expect([limit.signal.aborted, limit.late()]).toEqual([false, false])
    vi.advanceTimersByTime(1)
    expect([limit.signal.aborted, limit.late()]).toEqual([true, true])
  } finally {
    vi.useRealTimers()
  }
})

test.each(['before', 'meanwhile'])('a deadline passes on what was aborted %s, with its reason', (when) => {
  const [stop, reason] = [new AbortController(), new Error('stopped')]
  if (when === 'before') stop.abort(reason)
  using limit = deadline(stop.signal, 60_000)
  if (when === 'meanwhile') stop.abort(reason)
  expect([limit.signal.reason, limit.late()]).toEqual([reason, false])
})

test('a deadline that was met leaves nothing behind: no listener on the signal, no timer', () => {
  vi.useFakeTimers()
  try {
    const { signal } = new AbortController()
    const used = deadline(signal, 60_000)
    expect([getEventListeners(signal, 'abort').length, vi.getTimerCount()]).toEqual([1, 1])
    used[Symbol.dispose]()
    expect([getEventListeners(signal, 'abort').length, vi.getTimerCount()]).toEqual([0, 0])
  } finally {
    vi.useRealTimers()
  }
})
