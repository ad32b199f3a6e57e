import { setImmediate, setTimeout as sleep } from 'node:timers/promises'

/** rows from which on work with them takes ms, and so a turn */
export const MANY = 50
/** ms for which alarms that are under way have the event loop to themselves, at most: before a turn, and each of them */
const [BEFORE_A_TURN, EACH] = [20, 50]

export type Turns = ReturnType<typeof openTurns>

/** Who goes first, of stages that share an event loop. */
export function openTurns() {
  let last = Promise.resolve()
  let alarms = 0
  let until = 0
  let sent = Promise.withResolvers<void>() // the last of them

  return {
    /** To be waited for before work of some ms, where more of it waits: one a round of the event loop, and alarms go first. */
    turn(): Promise<void> {
      last = last.then(async () => {
        await setImmediate()
        const end = performance.now() + BEFORE_A_TURN
        for (let now = performance.now(); alarms > 0 && now < Math.min(end, until); now = performance.now())
          await Promise.race([sent.promise, sleep(Math.min(end, until) - now)])
      })
      return last
    },
    /** Sends an alarm, while rows wait; where the other side takes its time they do not. */
    async alarm(send: () => Promise<void>): Promise<void> {
      alarms++
      until = performance.now() + EACH
      try {
        await send()
      } finally {
        if (--alarms === 0) {
          sent.resolve()
          sent = Promise.withResolvers()
        }
      }
    },
  }
}
