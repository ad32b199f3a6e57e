import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

/** rows from which on work with them takes ms, and so a turn */
export const MANY = 50
/** ms for which alarms that are under way have the event loop to themselves, at most: before a turn, and each of them */
const [BEFORE_A_TURN, EACH] = [20, 50]

let last = Promise.resolve()
let alarms = 0
let until = 0

/** To be waited for before work of some ms, where more of it waits: one a round of the event loop, and alarms go first. */
export function turn(): Promise<void> {
  last = last.then(async () => {
    await setImmediate()
    const end = performance.now() + BEFORE_A_TURN
    while (alarms > 0 && performance.now() < Math.min(end, until)) await sleep(1)
  })
  return last
}

/** Sends an alarm, while rows wait; where the other side takes its time they do not. */
export async function alarm(send: () => Promise<void>): Promise<void> {
  alarms++
  until = performance.now() + EACH
  try {
    await send()
  } finally {
    alarms--
  }
}
