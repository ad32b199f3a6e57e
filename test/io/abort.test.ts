import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { anyOf } from '../../src/io/abort.ts'

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
