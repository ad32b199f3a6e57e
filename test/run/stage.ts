import { listeningLog } from '../rows.ts'

/** What a stage is given, and what it said. */
export function stage() {
  const { log, lines } = listeningLog()
  const stopping = new AbortController()
  const warnings = () => lines.filter(({ level }) => level === 'warn').map(({ msg }) => msg)
  const failures = () => lines.filter(({ level }) => level !== 'info').map(({ msg }) => msg)
  const stop = () => stopping.abort(new Error('stopped'))
  return { stage: { log, stop: stopping.signal }, stop, lines, warnings, failures }
}
export const down = () => new Error('cannot reach the model', { cause: new Error('connect ECONNREFUSED') })
export const bug = () => new TypeError("Cannot read properties of undefined (reading 'x')")
