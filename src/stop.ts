import { constants } from 'node:os'

/** ms after which a stop is no longer waited for; `docker stop` kills after 10 s */
const STOP_WITHIN = 9000
/** SIGHUP comes when the terminal is closed. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const

export type Stopping = ReturnType<typeof listenForStop>

/** `signal` is aborted by the first SIGTERM, SIGHUP or Ctrl-C; the second one ends the process at once. */
export function listenForStop() {
  const stop = new AbortController()
  let asked: NodeJS.Signals | undefined
  let say = (_text: string) => {}
  const end = (signal: NodeJS.Signals) => process.exit(128 + constants.signals[signal])
  const ask = (signal: NodeJS.Signals) => {
    if (asked) end(signal)
    asked = signal
    say(`${signal}: stopping`)
    stop.abort(new Error('stopped'))
    setTimeout(() => {
      say('not everything ended in time; what was not noted is done again after the next start')
      process.exit(0)
    }, STOP_WITHIN).unref()
  }
  for (const signal of SIGNALS) process.on(signal, ask)
  return {
    signal: stop.signal,
    /** Who is to be told of it; at once when it was asked for before. */
    tell(how: (text: string) => void) {
      say = how
      if (asked) say(`${asked}: stopping`)
    },
    /** For what a signal may end in the middle, as it ends any program. */
    release() {
      for (const signal of SIGNALS) process.off(signal, ask)
      if (asked) end(asked)
    },
  }
}
