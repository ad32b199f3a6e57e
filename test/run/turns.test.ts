import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openTurns } from '../../src/run/turns.ts'

test('work of some ms has a round of the event loop each, whoever asks for it', async () => {
  const { turn } = openTurns()
  let rounds = 0
  const seen: number[] = []
  const counting = (async () => {
    for (; seen.length < 5; rounds++) await setImmediate()
  })()
  await Promise.all(Array.from({ length: 5 }, () => turn().then(() => seen.push(rounds))))
  await counting
  expect(new Set(seen).size).toBe(5)
})

test('an alarm goes first', async () => {
  const { alarm, turn } = openTurns()
  let first = 0
  for (let i = 0; i < 20; i++) {
    let sent = false
    const sending = alarm(async () => {
      for (let hop = 0; hop < 5; hop++) await setImmediate()
      sent = true
    })
    await turn()
    if (sent) first++
    await sending
  }
  expect(first).toBeGreaterThan(10) // each is waited for by the clock
})

test('an alarm that takes its time holds nobody up', async () => {
  const { alarm, turn } = openTurns()
  const { promise, resolve } = Promise.withResolvers<void>()
  const sending = alarm(() => promise)
  for (let i = 0; i < 50; i++) await turn()
  resolve()
  await sending
})
