/** ms after which a stop is no longer waited for; `docker stop` kills after 10 s */
const STOP_WITHIN = 9000

/** Aborted by the first SIGTERM or Ctrl-C; the second one ends the process at once. */
export function stopSignal(say: (text: string) => void): AbortSignal {
  const stop = new AbortController()
  const ask = (signal: NodeJS.Signals) => {
    if (stop.signal.aborted) process.exit(signal === 'SIGINT' ? 130 : 143)
    say(`${signal}: stopping`)
    stop.abort(new Error('stopped'))
    setTimeout(() => {
      say('not everything ended in time; what was not noted is done again after the next start')
      process.exit(0)
    }, STOP_WITHIN).unref()
  }
  process.on('SIGTERM', ask)
  process.on('SIGINT', ask)
  return stop.signal
}
